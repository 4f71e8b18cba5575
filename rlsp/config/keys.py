"""The keys of study files: their list in config/README.md, and their JSON schema for editors."""

import json
from collections.abc import Iterator
from typing import Any

from rlsp.config.specs.base import Spec
from rlsp.config.specs.datasets import SOURCES
from rlsp.config.specs.degradations import KINDS, OwnDegradation
from rlsp.config.specs.downloads import DOWNLOADS
from rlsp.config.specs.metrics import INPUTS, OwnMetric
from rlsp.config.specs.models import SHIPPED, Own
from rlsp.config.specs.protocols import Protocol
from rlsp.config.specs.recipes import Recipe
from rlsp.config.specs.runs import BRANCHES
from rlsp.config.specs.study import StudySpec

# By title of a section, where its keys stand, and the spec.
SECTIONS: dict[str, tuple[str, type[Spec]]] = {
    "Study": ("", StudySpec),
    **{f"Download: {name}": ("`downloads.<name>`", spec) for name, spec in DOWNLOADS.items()},
    **{f"Data set: {name}": ("`datasets.<name>`", spec) for name, spec in SOURCES.items()},
    **{f"Degradation: {name}": ("`degradations.<name>`", spec) for name, spec in KINDS.items()},
    "Degradation: your own": ("`degradations.<name>`", OwnDegradation),
    **{f"Model: {name}": ("`models.<name>`", spec) for name, spec in SHIPPED.items()},
    "Model: your own": ("`models.<name>`", Own),
    "Recipe": ("`recipes.<name>`", Recipe),
    "Metric: your own": ("`metrics.<name>`", OwnMetric),
    "Protocol": ("`protocols.<name>`", Protocol),
    **{f"Run: {name}": ("an entry of `runs`", spec) for name, spec in BRANCHES.items()},
}
# Below the keys of metrics.
INPUTS_TABLE = "\n".join((
    "`inputs` are some of these; of pairs each is a tuple, of frames t - 1 and t, and of clips a sequence of all",
    "frames, each read when it is asked for.\n\n| input | meaning |\n| --- | --- |",
    *(f"| `{name}` | {meaning} |" for name, meaning in INPUTS.items()),
    "",
))  # fmt: skip


def list_keys() -> str:
    """Describe every key of a study file, its values and its default, as Markdown tables."""
    return "\n".join(line for title, section in SECTIONS.items() for line in _section(title, *section))


def _section(title: str, place: str, spec: type[Spec]) -> Iterator[str]:
    yield f"### {title}\n"
    if place:
        yield f"The keys of {place}.\n"
    yield "| key | values | default | meaning |\n| --- | --- | --- | --- |"
    schema = spec.model_json_schema(ref_template="{model}")
    for key, values, default, meaning in _rows(spec, schema, ""):
        yield f"| `{key}` | {values} | {default} | {meaning} |"
    yield ""
    if spec is OwnMetric:
        yield INPUTS_TABLE


def _rows(spec: type[Spec], schema: dict[str, Any], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    properties = _resolved(schema, schema)["properties"]
    for name, field in spec.model_fields.items():
        if name in spec.RESOLVED:
            continue
        if isinstance(field.annotation, type) and issubclass(field.annotation, Spec) and name != "recipe":
            inner = {**_resolved(properties[name], schema), "$defs": schema.get("$defs", {})}
            yield from _rows(field.annotation, inner, f"{prefix}{name}.")
            continue
        if field.is_required():
            default = "required"
        elif field.default is None and name in spec.LEFT_OUT:
            default = ""
        else:
            default = f"`{json.dumps(field.get_default(call_default_factory=True), default=list)}`"
        yield f"{prefix}{name}", _values(properties[name], schema), default, field.description or ""


def _resolved(part: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference to a definition."""
    name = part.get("$ref")
    return schema["$defs"][name] if name else part


def _values(part: dict[str, Any], schema: dict[str, Any]) -> str:
    """Say in words what values a part of a JSON schema admits."""
    part = _resolved(part, schema)
    if "anyOf" in part or "oneOf" in part:
        words = [_values(branch, schema) for branch in part.get("anyOf", part.get("oneOf", []))]
        return " or ".join(dict.fromkeys(words))
    if "const" in part:
        return f"`{part['const']}`"
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    text = {"object": "map", "array": "list"}.get(part.get("type", ""), part.get("type", "any"))
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    bounds = [f"{sign} {part[word]}" for word, sign in signs.items() if word in part]
    return ", ".join([text, *bounds])


def json_schema() -> str:
    """Give the JSON schema of study files as text, for editors: keys that the catalogue gives are not required."""
    schema = StudySpec.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    for spec in _all_specs():
        definition = schema if spec is StudySpec else schema["$defs"].get(spec.__name__, {})
        for name in spec.RESOLVED:
            definition.get("properties", {}).pop(name, None)
    schema["required"] = ["study"]
    runs, names = schema["properties"]["runs"], {"type": "array", "items": {"type": "string"}}
    entries = {key: runs.pop(key) for key in ("type", "items", "minItems")}
    change = {"add": entries, "remove": names}  # of a study that extends another
    runs["anyOf"] = [entries, {"type": "object", "properties": change, "additionalProperties": False}]
    for definition in schema["$defs"].values():  # a file changes what is there already; runs it gives anew
        if not {"degradations", "after"} & definition.get("properties", {}).keys():
            definition.pop("required", None)
    for section in ("downloads", "datasets", "degradations", "models"):
        (entry,) = schema["properties"][section]["patternProperties"].values()
        entry["anyOf"] = entry.pop("oneOf")
        entry.pop("discriminator", None)
    return json.dumps(_without_titles(schema), indent=1) + "\n"


def _all_specs() -> Iterator[type[Spec]]:
    waiting: list[type[Spec]] = [Spec]
    while waiting:
        found = waiting.pop().__subclasses__()
        yield from found
        waiting += found


def _without_titles(part: Any) -> Any:
    """Leave out the titles, which repeat the keys, and keep the keys of that name."""
    if isinstance(part, list):
        return [_without_titles(entry) for entry in part]
    if not isinstance(part, dict):
        return part
    return {
        key: _without_titles(value)
        for key, value in part.items()
        if key != "title" or not isinstance(value, str)
    }
