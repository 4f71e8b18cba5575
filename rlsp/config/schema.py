"""Configuration: reading, checking against the schema, defaults."""

import copy
import difflib
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rlsp.errors import ConfigError
from rlsp.shipped import ROOT

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
CATALOGUE = ROOT / "config" / "catalogue.yaml"
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")  # of convolutions and matrix products
# Height and width of the LR frame, by the name of the output at scale 4.
FRAME_SIZES = {"360p": (90, 160), "720p": (180, 320), "full-hd": (270, 480), "4k": (540, 960)}


@functools.cache
def read_schema() -> dict[str, Any]:
    """Read the schema of study files."""
    return yaml.safe_load(SCHEMA.read_text())


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge two configurations: maps are merged, everything else is replaced (as ``--configfile`` does)."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def read_config(*files: Path) -> dict[str, Any]:
    """Read the catalogue and study files, the later ones winning.

    Raises
    ------
    ConfigError
        A file is missing or is not a YAML map.
    """
    config: dict[str, Any] = {}
    for file in (CATALOGUE, *files):
        try:
            content = yaml.safe_load(Path(file).read_text())
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{file}: not YAML ({' '.join(str(error).split())})") from error
        if not isinstance(content, dict):
            raise ConfigError(f"{file}: expected a map of keys, got {type(content).__name__}")
        config = merge(config, content)
    return config


def check_schema(config: dict[str, Any]) -> None:
    """Refuse a configuration that the schema does not know.

    Raises
    ------
    ConfigError
        One line with the key, what was expected and what came.
    """
    errors = list(_validator(read_schema()).iter_errors(config))
    if errors:
        raise ConfigError(_explain(min(errors, key=lambda error: (len(error.path), str(error.path)))))


def _validator(schema: dict[str, Any]) -> Any:
    """Make what checks a value against a part of the schema."""
    # jsonschema looks for checkers of formats, of which the schema uses none; this one takes 1.5 s to import
    is_known = "rfc3987_syntax" in sys.modules
    sys.modules.setdefault("rfc3987_syntax", None)
    try:
        from jsonschema import Draft202012Validator  # only to read a study: models run and train without
    except ImportError:
        raise ConfigError("a study file is checked with jsonschema: pip install jsonschema") from None
    finally:
        if not is_known:
            del sys.modules["rfc3987_syntax"]
    return Draft202012Validator(schema)


def _explain(error: "ValidationError") -> str:
    """Say in one line what a validation error is about."""
    where = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        unknown = next(key for key in error.instance if key not in known)
        close = difflib.get_close_matches(str(unknown), known, n=1)
        hint = f"did you mean {close[0]}? known: " if close else "expected one of "
        return f"{where + '.' if where else ''}{unknown}: unknown key; {hint}{', '.join(known)}"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return f"{where + '.' if where else ''}{missing}: missing"
    if error.validator == "pattern":
        is_name = error.validator_value == read_schema()["$defs"]["name"]["pattern"]
        what = "name" if is_name else "text"
        hint = " (lower-case letters, digits, hyphens, single dots)" if is_name else ""
        return f"{where}: {what} {error.instance!r} does not fit {error.validator_value}{hint}"
    if error.validator == "type":
        expected = error.validator_value
        expected = " or ".join(expected) if isinstance(expected, list) else expected
        hint = ""
        if isinstance(error.instance, str) and expected.startswith(("number", "integer")):
            hint = " (YAML reads 1e-3 as text: write 0.001)"
        elif type(error.instance) is int and expected == "string":
            hint = ' (YAML reads 011 as the number 9: write "011")'
        return f"{where}: expected {expected}, got {error.instance!r}{hint}"
    if error.validator == "enum":
        return (
            f"{where}: expected one of {', '.join(map(str, error.validator_value))}, got {error.instance!r}"
        )
    return f"{where}: {error.message}"


def fill_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """Return a checked configuration with every default of the schema filled in."""
    config = copy.deepcopy(config)
    _fill(read_schema(), config)
    return config


def _fill(schema: dict[str, Any], value: Any) -> None:
    for part in _applying(schema, value):
        if isinstance(value, dict):
            for key, sub in part.get("properties", {}).items():
                if key not in value and isinstance(sub, dict) and "default" in sub:
                    value[key] = copy.deepcopy(sub["default"])
                if key in value:
                    _fill(sub, value[key])
            others = part.get("additionalProperties")
            if isinstance(others, dict):
                for key in value.keys() - part.get("properties", {}).keys():
                    _fill(others, value[key])
        elif isinstance(value, list) and isinstance(part.get("items"), dict):
            for item in value:
                _fill(part["items"], item)


def _applying(schema: dict[str, Any], value: Any) -> Iterator[dict[str, Any]]:
    """Yield the parts of a schema that apply to a value: itself, its reference, its true conditions."""
    if not isinstance(schema, dict):
        return
    yield schema
    if "$ref" in schema:
        yield from _applying(read_schema()["$defs"][schema["$ref"].rsplit("/", 1)[1]], value)
    for branch in schema.get("allOf", []):
        condition = {**branch["if"], "$defs": read_schema()["$defs"]}
        if _validator(condition).is_valid(value):
            yield from _applying(branch["then"], value)
