"""The list of configuration keys in config/README.md, made from the schema."""

import json
from collections.abc import Iterator
from typing import Any

from rlsp.config.schema import read_schema

Row = tuple[str, str, str, str]


def list_keys() -> str:
    """Describe every key of a study file, its values and its default, as Markdown tables."""
    schema = read_schema()
    sections = [("Study", "", schema)]
    definitions = schema["$defs"]
    for name, definition in definitions.items():
        if "description" not in definition and "properties" in definition and _has_rows(definition):
            sections.append((name.replace("-", ": ", 1), _place(name), definition))
    return "\n".join(line for section in sections for line in _section(*section))


def _has_rows(definition: dict[str, Any]) -> bool:
    return any("description" in value for value in definition["properties"].values())


def _place(name: str) -> str:
    places = {"run": "an entry of `runs`"}
    kind = name.split("-")[0]
    return places.get(kind, f"`{kind}s.<name>`")


def _section(title: str, place: str, definition: dict[str, Any]) -> Iterator[str]:
    yield f"### {title[0].upper() + title[1:]}\n"
    if place:
        yield f"The keys of {place}.\n"
    yield "| key | values | default | meaning |\n| --- | --- | --- | --- |"
    required = definition.get("required", [])
    for key, value, default, meaning in _rows(definition["properties"], ""):
        yield f"| `{key}` | {value} | {'required' if key in required else default} | {meaning} |"
    yield ""


def _rows(properties: dict[str, Any], prefix: str) -> Iterator[Row]:
    for key, value in properties.items():
        target = {**_target(value), **{k: v for k, v in value.items() if k != "$ref"}}
        if "properties" in target:
            yield from _rows(target["properties"], f"{prefix}{key}.")
            continue
        default = f"`{json.dumps(target['default'])}`" if "default" in target else ""
        yield f"{prefix}{key}", _values(target), default, target.get("description", "")


def _target(value: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in value:
        return read_schema()["$defs"][value["$ref"].rsplit("/", 1)[1]]
    return value


def _values(schema: dict[str, Any]) -> str:
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kinds = schema.get("type", "")
    text = " or ".join(kinds) if isinstance(kinds, list) else kinds
    for word, sign in (("exclusiveMinimum", ">"), ("minimum", "≥"), ("maximum", "≤")):
        if word in schema:
            text += f", {sign} {schema[word]}"
    return text.replace("object", "map").replace("array", "list")
