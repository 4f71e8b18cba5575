"""Bounded reading of a YAML file: what is wrong with it is told in one line, before anything is built from it."""

import math
import os
from pathlib import Path
from typing import Any

import yaml

from rlsp.errors import ConfigError
from rlsp.files import special_kind

MOST_BYTES = 1_000_000
MOST_LEVELS = 32  # of maps and lists inside each other
MOST_NODES = 100_000  # keys, values, maps and lists; what an alias stands for is counted each time
MOST_DIGITS = 100  # characters of a number: PyYAML takes a minute over a 1:1:1:... of 1 MB
STANDARD = "tag:yaml.org,2002:"
NAMES = {"sequence": "list", "mapping": "map"}
KINDS = {STANDARD + kind for kind in ("str", "int", "float", "bool", "null", "seq", "map")}
LEFT_AS_TEXT = {STANDARD + kind for kind in ("timestamp", "value")}  # 2020-01-01, and a lone =


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one map, as ``yaml.safe_load`` does, except that dates stay text.

    Raises
    ------
    ConfigError
        One line that begins with the file's name. The file is missing, a folder, pipe or device, larger than
        1 MB, not UTF-8, not YAML, or not one map; it has more than 32 levels or 100,000 nodes (aliases in
        full), a key twice in one map, a key that is not text, a number of more than 100 characters, a
        control character, or a tag of another kind of value.
    """
    try:
        content = _build(_read_text(Path(path)))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a map of keys, got {type(content).__name__}")
    return content


def _read_text(path: Path) -> str:
    """Read a text file without ever waiting for a pipe or a device."""
    try:
        if kind := special_kind(path):
            raise ConfigError(f"expected a regular file, got a {kind}")
        size = path.stat().st_size
        # O_NONBLOCK: it may have become a pipe since
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(error.strerror) from None
    if len(content) > MOST_BYTES:
        megabytes = math.ceil(max(size, len(content)) / 1e5) / 10
        raise ConfigError(f"expected at most {MOST_BYTES // 10**6} MB, got {megabytes} MB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte, line = error.object[error.start], error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"expected UTF-8, got byte {byte:#04x} in line {line}") from None
    if found := yaml.SafeLoader.NON_PRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise ConfigError(f"expected text, got control character {found[0]!r} in line {line}")
    return text


def _build(text: str) -> Any:
    """Check a document and build what it says."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node, (), set())
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark, problem = error.problem_mark, error.problem
        if error.context:
            start = f" in line {error.context_mark.line + 1}" if error.context_mark else ""
            problem = f"{error.context}{start}, {problem}"
    except (ValueError, OverflowError):  # of "\UFFFFFFFF", and of %YAML with too many digits
        mark, problem = loader, "number out of range"
    raise ConfigError(f"not YAML (line {mark.line + 1}, column {mark.column + 1}: {_shown(problem, 200)})")


class _Loader(yaml.SafeLoader):
    """The safe loader of PyYAML, stopped at the first node too many or too deep."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in LEFT_AS_TEXT]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.nodes = self.level = 0  # nodes so far, and maps and lists that are open
        self.sizes: dict[yaml.Node, tuple[int, int]] = {}  # nodes and levels of what was read to its end

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        event, before = self.peek_event(), self.nodes
        if isinstance(event, yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if node not in self.sizes:
                name = _shown(event.anchor)
                raise _refusal((), f"expected *{name} after the end of &{name}, got it inside,", event)
            self._count(*self.sizes[node], event)
            return node
        levels = int(isinstance(event, yaml.CollectionStartEvent))
        self._count(1, levels, event)
        self.level += levels
        node = super().compose_node(parent, index)
        self.level -= levels
        if levels:
            pairs = node.value if isinstance(node, yaml.MappingNode) else ((item,) for item in node.value)
            levels += max((self.sizes[child][1] for pair in pairs for child in pair), default=0)
        self.sizes[node] = self.nodes - before, levels
        return node

    def _count(self, nodes: int, levels: int, event: yaml.Event) -> None:
        self.nodes += nodes
        if self.nodes > MOST_NODES:
            raise _refusal((), f"expected at most {MOST_NODES:,} nodes, aliases in full, got more", event)
        if self.level + levels > MOST_LEVELS:
            raise _refusal((), f"expected at most {MOST_LEVELS} levels of maps and lists, got more", event)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError):  # 0b_, !!int text, !!bool text
            tag, got = node.tag.replace(STANDARD, "!!"), _shown(node.value) or "nothing"
            raise _refusal((), f"expected {tag}, got {got}", node) from None


def _check(node: yaml.Node, path: tuple[str, ...], checked: set[yaml.Node]) -> None:
    """Refuse, at any depth, what is no plain value, and keys that are not text or given twice."""
    if node in checked:
        return
    checked.add(node)
    if node.tag not in KINDS:
        tag = node.tag.replace(STANDARD, "!!")
        raise _refusal(path, f"expected text, numbers, lists and maps, got {_shown(tag)}", node)
    if isinstance(node, yaml.MappingNode):
        _check_keys(node, path)
        for key, value in node.value:
            if key.tag != STANDARD + "merge":
                _check(key, path, checked)
            _check(value, (*path, key.value), checked)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _check(item, (*path, str(number)), checked)
    elif node.tag in (STANDARD + "int", STANDARD + "float") and len(node.value) > MOST_DIGITS:
        digits = f"{len(node.value):,}"
        raise _refusal(path, f"expected a number of at most {MOST_DIGITS} characters, got {digits}", node)
    elif found := yaml.SafeLoader.NON_PRINTABLE.search(node.value):  # of an escape such as "\0"
        raise _refusal(path, f"expected text, got control character {found[0]!r}", node)


def _check_keys(node: yaml.MappingNode, path: tuple[str, ...]) -> None:
    seen: dict[tuple[str, str], yaml.Node] = {}  # by tag and text: "<<" is a key, << merges
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _refusal(path, f"expected text as a key, got a {NAMES[key.id]}", key)
        if key.tag not in (STANDARD + "str", STANDARD + "merge"):
            got = _shown(key.value)
            hint = f': write "{got}"' if got else ""
            raise _refusal(path, f"expected text as a key, got {got or 'nothing'}", key, hint=hint)
        first = seen.setdefault((key.tag, key.value), key)
        if first is not key:
            raise _refusal((*path, key.value), "key given twice,", first, key)


def _refusal(path: tuple[str, ...], what: str, *places: Any, hint: str = "") -> ConfigError:
    """Make the error about nodes or events at the given places."""
    key = ".".join(_shown(part) for part in path) + ": " if path else ""
    lines = sorted({place.start_mark.line + 1 for place in places})
    where = f"line{'s' * (len(lines) > 1)} {' and '.join(map(str, lines))}"
    return ConfigError(f"{key}{what} in {where}{hint}")


def _shown(text: str, most: int = 60) -> str:
    """Return text for a message: one short line without control characters."""
    text = text[: most + 1]
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= most else f"{text[: most - 1]}…"
