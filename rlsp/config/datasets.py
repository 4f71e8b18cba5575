"""What the entry of a data set means: its clips, its shots, and what two have in common."""

import csv
import functools
import importlib.resources
import itertools
import os
import re
import sys
from pathlib import Path
from typing import Any

from rlsp.errors import ConfigError


def archive_clips(dataset: dict[str, Any]) -> list[str]:
    """Names of the clips of an archive that belong to a data set, ranges such as ``000-239`` written out.

    Raises
    ------
    ConfigError
        A range runs backwards or has ends of different length, a name is there twice, a clip that is left
        out is not there, or none is left.
    """
    names = []
    for entry in dataset["clips"]:
        ends = re.fullmatch(r"(\d+)-(\d+)", entry)
        if not ends:
            names.append(entry)
            continue
        first, last = ends.groups()
        if len(first) != len(last) or first > last:
            raise ConfigError(f"clips: expected a range from low to high such as 000-239, got {entry}")
        names += [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
    known = set(names)
    if len(known) < len(names):
        raise ConfigError(f"clips: expected every clip once, got one twice in {dataset['clips']}")
    for name in dataset["leave_out"]:
        if name not in known:
            raise ConfigError(f"leave_out: expected one of the clips {dataset['clips']}, got {name!r}")
    left = [name for name in names if name not in dataset["leave_out"]]
    if not left:
        raise ConfigError("leave_out: expected to leave some clips, got none that is left")
    return left


def whole_shots(config: dict[str, Any], dataset: dict[str, Any]) -> dict[str, Any]:
    """Widen the clips of a video to the shots they are cut from: a shot is either for training or for testing."""
    if dataset["source"] != "video":
        return dataset
    shots = config["downloads"][dataset["download"]].get("shots") or [[0, sys.maxsize]]
    touched = {
        f"{name}-{number}": shot
        for name, (first, last) in dataset["shots"].items()
        for number, shot in enumerate(shots)
        if first <= shot[1] and last >= shot[0]
    }
    return {**dataset, "shots": touched}


def read_shipped_table(name: str) -> list[dict[str, str]]:
    """Rows of a CSV file in ``rlsp/config/manifests``."""
    table = importlib.resources.files("rlsp.config.manifests") / f"{name}.csv"
    try:
        with table.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError:
        raise ConfigError(
            f"manifest {name}: expected a list of files rlsp/config/manifests/{name}.csv"
        ) from None


@functools.cache
def photographs() -> dict[str, dict[str, str]]:
    """Photographs inside scikit-image that can be used: name -> file, scene and licence.

    Licences are those that the documentation of ``skimage.data`` states.
    """
    return {row["name"]: row for row in read_shipped_table("photographs")}


def find_photograph(name: str) -> dict[str, str]:
    """Row of a photograph in the table of :func:`photographs`.

    Raises
    ------
    ConfigError
        There is none of this name.
    """
    if name not in photographs():
        raise ConfigError(f"photographs: expected names among {', '.join(photographs())}, got {name}")
    return photographs()[name]


def check_shots(shots: dict[str, list[int]]) -> None:
    """Refuse a shot, first and last frame, that ends before it begins.

    Raises
    ------
    ConfigError
        There is one.
    """
    for clip, (first, last) in shots.items():
        if last < first:
            raise ConfigError(f"shots.{clip}: expected [first, last] frame, got [{first}, {last}]")


def _contents(spec: dict[str, Any]) -> list[tuple[str, list[int] | None]]:
    """Scenes, paths or videos that a data set shows, the last with the first and last frame."""
    if "path" in spec:
        return [(f"{Path(spec['path']).expanduser().resolve()}{os.sep}", None)]
    if spec["source"] == "camera-moves":
        return [(f"photograph {find_photograph(name)['scene']}", None) for name in spec["photographs"]]
    if spec["source"] == "video":
        check_shots(spec["shots"])
        return [(spec["download"], shot) for shot in spec["shots"].values()]
    if spec["source"] == "archive":
        folders = [clip_folder(spec["folder"], clip) for clip in archive_clips(spec)]
        return [(f"{spec['download']} {folder}", None) for folder in folders]
    return [(f"{spec['download']} {clip['prefix']}", None) for clip in spec["clips"].values()]


def overlap(spec_a: dict[str, Any], spec_b: dict[str, Any]) -> str | None:
    """Find something that two data sets have in common, which a train and a test set must not.

    Two pictures of one scene are the same; so are two shots of a video with a frame in common,
    whatever part of the frame is kept, and a folder and its sub-folder.

    Returns
    -------
    str or None
        What is in both, in words, or None.

    Raises
    ------
    ConfigError
        A photograph is not known, or a shot ends before it begins.
    """
    for (name_a, frames_a), (name_b, frames_b) in itertools.product(_contents(spec_a), _contents(spec_b)):
        if frames_a and frames_b:
            first, last = max(frames_a[0], frames_b[0]), min(frames_a[1], frames_b[1])
            if name_a == name_b and first <= last:
                return f"{name_a} frames {first}-{last}"
        elif name_a.startswith("photograph ") or name_b.startswith("photograph "):
            if name_a == name_b:
                return name_a
        elif name_a.startswith(name_b) or name_b.startswith(name_a):
            return max(name_a, name_b, key=len)
    return None


def clip_folder(pattern: str, clip: str) -> str:
    """Folder of a clip inside an archive."""
    return pattern.replace("{clip}", clip)
