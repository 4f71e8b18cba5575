"""Specs: typed, frozen entries of a study file, and their plain form that jobs and hashes see."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from rlsp.config.specs.fields import mistake, quoted
from rlsp.errors import ConfigError

# What pydantic calls values, in the words of YAML and JSON schema.
_KINDS = {
    "bool_type": "boolean",
    "bool_parsing": "boolean",
    "dict_type": "object",
    "model_type": "object",
    "model_attributes_type": "object",
    "list_type": "array",
    "tuple_type": "array",
}


class Spec(BaseModel):
    """A typed entry. Unknown keys are refused; :meth:`dump` gives the plain form.

    Attributes
    ----------
    LEFT_OUT : frozenset of str
        Fields that the plain form leaves out while they have their default: those that were added later, so that no
        folder is renamed, and those that say nothing when they are absent.
    RESOLVED : tuple of str
        Fields that a study fills in when it resolves the entry; a study file cannot give them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
    LEFT_OUT: ClassVar[frozenset[str]] = frozenset()
    RESOLVED: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and cls.model_config.get("extra") == "forbid":
            for key in data:
                if key not in cls.model_fields:
                    raise mistake(unknown_key(key, cls), str(key))
        return data

    @classmethod
    def parse(cls, data: Any, where: str = "") -> Self:
        """Check a map of keys and make the spec; one that is a spec already is returned as it is.

        Raises
        ------
        ConfigError
            One line with the key, what was expected and what came.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ConfigError(explain(error, where)) from None

    def dump(self, *, without: Iterable[str] = ()) -> dict[str, Any]:
        """Give the plain form: dicts, lists and scalars, keys in the order of the class."""
        left_out = set(without)
        for name in self.LEFT_OUT:
            if getattr(self, name) == type(self).model_fields[name].default:
                left_out.add(name)
        names = [*type(self).model_fields, *(self.model_extra or {})]
        return {name: _plain(getattr(self, name)) for name in names if name not in left_out}

    def changed(self, **values: Any) -> Self:
        """Copy the spec with some fields replaced; they are not checked again."""
        return self.model_copy(update=values)


def _plain(value: Any) -> Any:
    if isinstance(value, Spec):
        return value.dump()
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def unknown_key(key: Any, spec: type[Spec]) -> str:
    """Say that a spec does not have a key, and which keys it has."""
    known = [name for name in spec.model_fields if name not in spec.RESOLVED]
    close = difflib.get_close_matches(str(key), known, n=1)
    hint = f"did you mean {close[0]}? known: " if close else "expected one of "
    return f"unknown key; {hint}{', '.join(known)}"


def explain(error: ValidationError, where: str = "", tags: Mapping[str, int] | None = None) -> str:
    """Say in one line what the first of a spec's errors is about.

    Parameters
    ----------
    error : ValidationError
        What pydantic raised.
    where : str
        Place of the spec in its file, such as ``recipes.paper``.
    tags : mapping of str to int, optional
        By the first key of a path, where in the path the name of a union's branch stands, which is no key.
    """
    lines = []
    errors = error.errors(include_url=False)
    for found in errors:
        place = list(found["loc"])
        is_inside = any(
            len(other["loc"]) > len(place) and list(other["loc"][: len(place)]) == place for other in errors
        )
        if found["type"] == "too_short" and is_inside:
            continue  # pydantic does not count entries that are wrong themselves
        if place[-1:] == ["[key]"]:  # of a name, which stands before it
            del place[-2:]
        elif place and tags and len(place) > tags.get(str(place[0]), len(place)):
            del place[tags[str(place[0])]]
        key, message = _message(found)
        if found["type"] == "missing" and isinstance(place[-1], int):
            del place[-1]
            message = f"expected more entries, got {quoted(found['input'])}"
        place += [key] if key else []
        path = ".".join([where] * bool(where) + [str(part) for part in place])
        lines.append((len(place), path, f"{path}: {message}" if path else message))
    return min(lines)[2]


def _message(found: Any) -> tuple[str | None, str]:
    """Say what is wrong with one value, and with which of its keys."""
    kind, value, context = found["type"], found["input"], found.get("ctx", {})
    if kind == "mistake":
        return context["key"], context["message"]
    if kind == "missing":
        return None, "missing"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        key = context["discriminator"].strip("'()")
        if kind == "union_tag_invalid":
            expected = context["expected_tags"].replace("'", "")
            return key, f"expected one of {expected}, got {quoted(context['tag'])}"
        is_map = isinstance(value, Mapping)
        return (key, "missing") if is_map else (None, f"expected object, got {quoted(value)}")
    if kind == "literal_error":
        expected = context["expected"].replace(" or ", ", ").replace("'", "")
        return None, f"expected one of {expected}, got {quoted(value)}"
    if kind in ("too_short", "too_long"):
        bound = "at least" if kind == "too_short" else "at most"
        count = context.get("min_length", context.get("max_length"))
        return None, f"expected {bound} {count} entries, got {quoted(value)}"
    if kind in _KINDS:
        return None, f"expected {_KINDS[kind]}, got {quoted(value)}"
    return None, f"{found['msg']}, got {quoted(value)}"


def parse_branch(data: Any, key: str, branches: Mapping[str, type[Spec]], where: str) -> Any:
    """Make the spec of one of several kinds from its plain form; one that is a spec already is returned as it is.

    Parameters
    ----------
    data : mapping or Spec
        The plain form, whose `key` names the kind.
    key : str
        Such as ``source``.
    branches : mapping of str to type
        The spec of each kind.
    where : str
        Place in its file, such as ``datasets.vid4``.

    Raises
    ------
    ConfigError
        One line with the key, what was expected and what came.
    """
    if isinstance(data, Spec):
        return data
    kind = data.get(key)
    if not isinstance(kind, str) or kind not in branches:
        raise ConfigError(f"{where}.{key}: expected one of {', '.join(branches)}, got {quoted(kind)}")
    return branches[kind].parse(data, where)
