"""Which part of the package may import which: only from those before it, imports inside functions included."""

import ast
from functools import cache

import pytest

from rlsp.shipped import ROOT

# Lowest first.
PARTS = (
    "errors", "shipped", "own_code", "color", "files", "columns", "clock", "processors", "devices", "provenance",
    "config", "metrics", "models", "data", "released", "inference", "training", "timing", "evaluation", "planning",
    "reporting", "jobs", "reasons", "starting", "arguments", "cli",
)  # fmt: skip
# At import.
WITHOUT_TORCH = (
    "errors",
    "shipped",
    "files",
    "columns",
    "config",
    "reporting",
    "jobs",
    "reasons",
    "starting",
    "arguments",
    "cli",
)
PACKAGE = ROOT / "rlsp"
FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


@cache
def parsed(path):
    return ast.parse(path.read_text())


def imported(path, *, at_import=False):
    """List the modules of this package that a file imports."""
    tree = parsed(path)
    nodes = tree.body if at_import else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "rlsp")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "rlsp":
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in inside)


def part_of(module):
    return module.split(".")[1] if "." in module else ""


def test_every_part_is_in_the_list():
    assert {part_of(name) for name in MODULES} - {"", "__main__"} == set(PARTS)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_imports_only_what_lies_below_it(part):
    upwards = [
        f"{name} -> {other}"
        for name, path in MODULES.items()
        if part_of(name) == part
        for other in imported(path)
        if PARTS.index(part_of(other) or "errors") > PARTS.index(part)
    ]
    assert not upwards


def circles():
    """List the modules that import themselves by way of others."""
    arrows = {name: set(imported(path)) - {name} for name, path in MODULES.items()}
    reached = {}
    for start in arrows:
        found, waiting = set(), [start]
        while waiting:
            for other in arrows[waiting.pop()] - found:
                found.add(other)
                waiting.append(other)
        reached[start] = found
    return [name for name, found in reached.items() if name in found]


def test_no_modules_import_each_other():
    assert not circles()


def heavy_modules():
    """List the modules that import PyTorch when they are imported."""
    return {
        name
        for name, path in MODULES.items()
        if any(
            (
                isinstance(node, ast.Import)
                and any(alias.name.split(".")[0] == "torch" for alias in node.names)
            )
            or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch")
            for node in parsed(path).body
        )
    }


def test_reporting_runs_no_model():
    """What needs one is a file that a job wrote. Not looked into: planning, and provenance, which asks the device."""
    found, waiting = set(), [name for name in MODULES if part_of(name) == "reporting"]
    while waiting:
        for other in set(imported(MODULES[waiting.pop()])) - found:
            if part_of(other) not in ("planning", "provenance"):
                found.add(other)
                waiting.append(other)
    assert not found & heavy_modules()


def test_planning_and_reporting_start_without_torch():
    """PyTorch takes seconds to import: what plans or draws does not wait for it."""
    heavy = heavy_modules()
    for start in (name for name in MODULES if part_of(name) in WITHOUT_TORCH):
        found, waiting = {start}, [start]
        while waiting:
            for other in set(imported(MODULES[waiting.pop()], at_import=True)) - found:
                found.add(other)
                waiting.append(other)
        assert not found & heavy, start


if __name__ == "__main__":  # python tests/unit/test_imports.py
    parts = {part_of(name) for name in MODULES} - {"", "__main__"}
    between = {(part_of(name), part_of(other)) for name, path in MODULES.items() for other in imported(path)}
    between = {(one, other) for one, other in between if one != other and one in parts and other in parts}
    print(f"{len(MODULES)} modules in {len(parts)} parts, {len(between)} arrows between parts")
    print("modules in circles:", ", ".join(circles()) or "none")
