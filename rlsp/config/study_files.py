"""Study files: merged over the catalogue, and the owner of a folder of results."""

import difflib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rlsp.config.checks import check_known
from rlsp.config.reading import read_yaml
from rlsp.config.specs.fields import quoted
from rlsp.errors import ConfigError
from rlsp.files import write_json
from rlsp.shipped import ROOT

STUDIES = ROOT / "config"
CATALOGUE = STUDIES / "catalogue.yaml"
MOST_BASES = 5  # studies that build on each other; more are a circle


def first_study() -> Path:
    """Find the study that is meant where none is named: ``study.yaml`` of the working folder, else the demo."""
    own = Path("study.yaml")
    return own if own.is_file() else STUDIES / "demo.yaml"


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
        A file is missing or is not a YAML map; see :func:`rlsp.config.reading.read_yaml`.
    """
    config: dict[str, Any] = {}
    for file in files:
        config = merge(config, read_yaml(Path(file)))
    return over_catalogue(config)


def check_files(files: Iterable[str]) -> None:
    """Refuse study files that Snakemake has read, and that :func:`rlsp.config.reading.read_yaml` would not."""
    for file in files:
        read_yaml(Path(file))


def over_catalogue(config: dict[str, Any]) -> dict[str, Any]:
    """Merge a configuration over the study that it extends, if any, and both over the catalogue.

    Raises
    ------
    ConfigError
        The study that is extended is not there, or what is to be added or removed does not fit it.
    """
    return merge(read_yaml(CATALOGUE), over_base(dict(config)))


def over_base(config: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """Merge a configuration over the study that it ``extends``; that key then lists the names of all such studies."""
    name, runs = config.pop("extends", None), config.get("runs")
    if name is None:
        if isinstance(runs, dict):
            raise ConfigError(
                "runs: expected array, got a map; add and remove belong to a study with extends"
            )
        return config
    if depth == MOST_BASES:
        raise ConfigError(f"extends: expected at most {MOST_BASES} studies, one on the other")
    if not isinstance(name, str):
        raise ConfigError(f"extends: expected the name of a study or a file, got {name!r}")
    base = over_base(read_yaml(find_base(name)), depth + 1)
    if config.get("study", base.get("study")) == base.get("study"):
        raise ConfigError(
            f"study: expected a name of its own, as it extends {name}, got {base.get('study')!r}"
        )
    if not isinstance(base.get("study"), str):
        raise ConfigError(f"extends: expected a study with a name of its own, {name} has none")
    merged = merge(base, config)
    if isinstance(runs, dict):
        of_base = base.get("runs")
        merged["runs"] = changed_runs(of_base if isinstance(of_base, list) else [], runs)
    return {**merged, "extends": [base["study"], *base.get("extends", [])]}


def find_base(name: str) -> Path:
    """Find the file of a study that another extends: one that ships by its name, else a path.

    Raises
    ------
    ConfigError
        There is neither.
    """
    shipped = {path.stem: path for path in STUDIES.glob("*.yaml") if path != CATALOGUE}
    path = shipped.get(name, Path(name).expanduser())
    if not path.is_file():
        close = difflib.get_close_matches(name, shipped, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(
            f"extends: no study {name!r}; {hint}known: {', '.join(sorted(shipped))}, or the path of a file"
        )
    return path


def changed_runs(runs: list[dict[str, Any]], change: dict[str, Any]) -> list[dict[str, Any]]:
    """Take models and named runs out of a study's ``runs``, and add entries.

    Raises
    ------
    ConfigError
        A key is unknown, or what is to be removed is not there.
    """
    for key, value in change.items():
        if key not in ("add", "remove"):
            raise ConfigError(f"runs.{key}: unknown key; expected one of add, remove")
        if not isinstance(value, list):
            raise ConfigError(f"runs.{key}: expected array, got {quoted(value)}")
    left, known, removed = [], [], change.get("remove", [])
    for entry in runs:
        names = names_of(entry)
        known += names
        kept = [name for name in names if name not in removed]
        if kept or not names:
            left.append({**entry, "models": kept} if "models" in entry else entry)
    for name in removed:
        check_known("runs.remove", name, known)
    return [*left, *change.get("add", [])]


def names_of(entry: Any) -> list[str]:
    """List the models of an entry of ``runs``, or the name of its run; none of an entry that is wrong."""
    if not isinstance(entry, dict):
        return []
    names = entry.get("models", [entry.get("name", entry.get("interpolation"))])
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def study_files(config_files: Iterable[str]) -> list[str]:
    """Name the files that a study is read from, relative to the working folder or the repository if inside."""
    names = []
    for file in config_files:
        path = Path(file).resolve()
        if path != CATALOGUE:
            roots = [root for root in (Path.cwd(), ROOT) if path.is_relative_to(root)]
            names.append(str(path.relative_to(roots[0]) if roots else path))
    return sorted(set(names))


def check_owner(results: Path, files: list[str]) -> None:
    """Refuse to write into the results of a study that another file defines.

    Raises
    ------
    ConfigError
        ``results/<study>/owner.json`` names other files.
    """
    owner = results / "owner.json"
    if not owner.exists():
        return
    try:
        found = json.loads(owner.read_bytes()) if owner.is_file() else None
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        print(f"warning: {owner}: damaged; taken for missing", file=sys.stderr)
    elif found != files:
        raise ConfigError(
            f"study: {results} holds the results of {' + '.join(found)}, and {' + '.join(files)} has the same "
            f"name {results.name!r}; choose another name in the study file"
        )


def record_owner(results: Path, files: list[str]) -> None:
    """Remember which files define the study that a folder of results belongs to."""
    write_json(results / "owner.json", files)
