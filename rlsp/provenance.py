"""Where a result comes from: code, configuration, packages, machine, time."""

import datetime
import hashlib
import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rlsp.errors import ConfigError

PACKAGE = Path(__file__).resolve().parent
TRAINING_MODULES = ("models", "training", "datasets", "color")  # their source decides the weights
RESTORING_MODULES = ("restoration", "inference", "pictures", "models", "color")
TIMING_MODULES = ("models", "runtime", "inference", "pictures", "complexity", "hardware")
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


def source_hash(*modules: str) -> str:
    """Hash the source files of package modules, to tell which code made a result.

    Parameters
    ----------
    *modules : str
        Module names relative to the package, such as ``"scoring"`` or ``"metrics"`` (a package counts with
        all its files).

    Returns
    -------
    str
        Twelve hexadecimal digits.
    """
    digest = hashlib.sha256()
    for module in sorted(modules):
        place = PACKAGE / module.replace(".", "/")
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
        for file in files:
            digest.update(str(file.relative_to(PACKAGE)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


@cache
def commit() -> str:
    """Commit of the checkout that the package is installed from, with ``+`` when it has changes, or "unknown".

    Kept results are no change: they are written from a run, and decide none.
    """
    try:
        git = ["git", "-C", str(PACKAGE.parent)]
        found = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        code = [".", ":(exclude)results/reference"]
        changes = [*git, "status", "--porcelain", "--untracked-files=no", "--", *code]
        changed = subprocess.run(changes, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip() + ("+" if changed.stdout else "")


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
    path: Path, *, spec: dict[str, Any], device: str, modules: Sequence[str], **facts: Any
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
    modules : sequence of str
        Modules of the package that made it, whose source is hashed.
    **facts
        What else is worth knowing.
    """
    import torch

    from rlsp.devices import describe_device

    record = {
        **describe_environment(),
        "source_hash": source_hash(*modules),
        "spec": spec,
        "device": describe_device(device),
        "torch_threads": torch.get_num_threads(),
        **facts,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    os.replace(temporary, path)
