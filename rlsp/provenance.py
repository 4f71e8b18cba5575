"""Where a result comes from: code, configuration, packages, machine, time."""

import ast
import datetime
import hashlib
import platform
import re
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rlsp import __version__
from rlsp.errors import ConfigError
from rlsp.files import write_json
from rlsp.own_code import find_own
from rlsp.shipped import CHECKOUT, PACKAGE

# Nothing of these decides a result but through values that jobs take as params: errors, plain files, the names of
# columns, what a study says, where clips are fetched from, and what starts the work.
NO_PART = tuple(
    f"rlsp.{name}"
    for name in (
        "errors", "shipped", "own_code", "files", "columns", "provenance", "processors", "config", "starting", "cli",
        "jobs", "data.archives", "data.members", "data.sources", "data.download", "data.staging",
        "training.lease", "training.taking",
    )
)  # fmt: skip
# LR clips that code of the same arithmetic made are not made again: the hash of rlsp.data.degradation now and then.
KEPT = {"23c784cbf128": "b66dab1ecf32"}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
RECORDED_PACKAGES = (
    "torch", "numpy", "scipy", "scikit-image", "opencv-python-headless", "pillow", "pandas", "snakemake",
)  # fmt: skip


OLDEST_TORCH = (
    2,
    9,
)  # mixed precision, compiled steps and what a processor tells of itself are as of this version


def check_torch() -> None:
    """Refuse an unsupported PyTorch before anything imports it.

    Raises
    ------
    ConfigError
        PyTorch is older than what is needed, or not installed.
    """
    needed = f"expected PyTorch {'.'.join(map(str, OLDEST_TORCH))} or newer"
    try:
        found = version("torch")
    except PackageNotFoundError:
        raise ConfigError(f"{needed}, found none; install it with: pip install torch") from None
    numbers = tuple(int(number) for number in re.findall(r"\d+", found)[:2])
    if numbers < OLDEST_TORCH:
        raise ConfigError(f"{needed}, found {found}; install it with: pip install --upgrade torch")


def missing_extra(what: str, extra: str, *packages: str) -> str:
    """Say which package of an extra is not installed and how to get it; nothing when all are there.

    Parameters
    ----------
    what : str
        What needs the packages, such as "the report".
    extra : str
        Extra of this package that brings them (pyproject.toml).
    *packages : str
        Their names at import.
    """
    missing = [package for package in packages if find_spec(package) is None]
    return f"{what} needs {' and '.join(missing)}: pip install 'rlsp[{extra}]'" if missing else ""


def check_extra(what: str, extra: str, *packages: str) -> None:
    """Refuse work for which an extra is missing; see :func:`missing_extra`.

    Raises
    ------
    ConfigError
        A package of the extra is not installed.
    """
    if missing := missing_extra(what, extra, *packages):
        raise ConfigError(missing)


def code_hash(*roots: str) -> str:
    """Hash the code that a result depends on: modules, and all of this package that they import.

    What counts is the syntax tree without docstrings, so that comments and layout change nothing; imports inside
    functions count too. `NO_PART` is left out, and so is what a user's own module imports of his own.

    Parameters
    ----------
    *roots : str
        Full names of modules, such as ``"rlsp.evaluation.scoring"``.

    Returns
    -------
    str
        Twelve hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name in imported_modules(*roots):
        digest.update(f"{name} {_read_code(name)[0]}\n".encode())
    found = digest.hexdigest()[:12]
    return KEPT.get(found, found)


def imported_modules(*roots: str) -> list[str]:
    """List modules with all of this package that they import, by their full names; see :func:`code_hash`."""
    waiting, found = list(roots), set()
    while waiting:
        name = waiting.pop()
        if name not in found and not any(name == part or name.startswith(f"{part}.") for part in NO_PART):
            found.add(name)
            waiting += _read_code(name)[1]
    return sorted(found)


def _own_file(module: str) -> Path | None:
    """File of a module of this package."""
    place = PACKAGE.parent / module.replace(".", "/")
    files = place.with_suffix(".py"), place / "__init__.py"
    return next((file for file in files if file.is_file()), None)


@cache
def _read_code(module: str) -> tuple[str, tuple[str, ...]]:
    """Return the hash of a module's code, and what it imports of this package."""
    file = _own_file(module) if module.startswith(f"{PACKAGE.name}.") else find_own(module)
    if file is None:
        return "unknown", ()
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:  # in code of the user's own: said when it is imported
        return "unknown", ()
    named: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            named |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    imports = {name for name in named if name.startswith(f"{PACKAGE.name}.") and _own_file(name)}
    return hashlib.sha256("\n".join(_shape(tree)).encode()).hexdigest(), tuple(sorted(imports))


def _shape(node: ast.AST) -> Iterator[str]:
    """Spell a syntax tree out, docstrings left out; alike in all versions of Python that can read it."""
    yield type(node).__name__
    for field in node._fields:
        value = getattr(node, field, None)
        values = list(value) if isinstance(value, list) else [value]
        if (
            field == "body"
            and isinstance(node, DOCUMENTED)
            and ast.get_docstring(node, clean=False) is not None
        ):
            values = values[1:]
        for one in values:
            if isinstance(one, ast.AST):
                yield from _shape(one)
            elif one is not None or isinstance(node, ast.Constant):
                yield f"{field}={one!r}"


@cache
def commit() -> str:
    """Commit of the checkout that the package is in, with ``+`` when it has changes; "wheel 0.1.0" or "unknown" else.

    Kept results are no change: they are written from a run, and decide none. The commit of a repository that the
    package merely lies in, such as one around a virtual environment, is none of ours.
    """
    if CHECKOUT is None:
        return f"wheel {__version__}"
    try:
        git = ["git", "-C", str(CHECKOUT)]
        found = subprocess.run(
            [*git, "rev-parse", "--show-toplevel", "HEAD"], capture_output=True, text=True, check=True
        )
        top, head = found.stdout.splitlines()
        if Path(top).resolve() != CHECKOUT:
            return "unknown"
        code = [".", ":(exclude)results/reference"]
        changes = [*git, "status", "--porcelain", "--untracked-files=no", "--", *code]
        changed = subprocess.run(changes, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed.stdout else "")


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide results."""
    found = {}
    for name in RECORDED_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def describe_environment() -> dict[str, Any]:
    """Describe the code, packages, machine and time of this process."""
    return {
        "commit": commit(),
        "packages": package_versions(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def write_provenance(
    path: Path, *, spec: dict[str, Any], device: str, code: Sequence[str], **facts: Any
) -> None:
    """Write ``provenance.json`` beside a result.

    Parameters
    ----------
    path : Path
        File to write.
    spec : dict
        The resolved specification that made the result.
    device : str
        Device it ran on.
    code : sequence of str
        Modules that made it, as :func:`code_hash` takes them.
    **facts
        What else is worth knowing.
    """
    import torch

    from rlsp.devices import describe_device

    record = {
        **describe_environment(),
        "source_hash": code_hash(*code),
        "spec": spec,
        "device": describe_device(device),
        "torch_threads": torch.get_num_threads(),
        **facts,
    }
    write_json(path, record, indent=2, sort_keys=True)
