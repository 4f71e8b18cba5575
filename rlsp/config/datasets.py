"""What the entry of a data set means: its clips, its shots, and what two have in common."""

import csv
import functools
import importlib.resources
import itertools
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

from rlsp.config.specs.datasets import Archived, CameraMoves, Dataset, Pictures, Video
from rlsp.config.specs.downloads import Package
from rlsp.errors import ConfigError

MOST_CLIPS = 100_000  # of an archive: a range of more is a mistake, and would fill the memory


def archive_clips(dataset: Archived) -> list[str]:
    """Names of the clips of an archive that belong to a data set, ranges such as ``000-239`` written out.

    Raises
    ------
    ConfigError
        A range runs backwards, has ends of different length or is too long, a name is there twice, a clip that is
        left out is not there, or none is left.
    """
    names: list[str] = []
    for entry in dataset.clips:
        ends = re.fullmatch(r"(\d+)-(\d+)", entry)
        if not ends:
            names.append(entry)
            continue
        first, last = ends.groups()
        if len(first) != len(last) or first > last:
            raise ConfigError(f"clips: expected a range from low to high such as 000-239, got {entry}")
        if len(names) + int(last) - int(first) >= MOST_CLIPS:
            raise ConfigError(f"clips: expected at most {MOST_CLIPS} clips, got the range {entry}")
        names += [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
    known = set(names)
    if len(known) < len(names):
        raise ConfigError(f"clips: expected every clip once, got one twice in {list(dataset.clips)}")
    for name in dataset.leave_out:
        if name not in known:
            raise ConfigError(f"leave_out: expected one of the clips {list(dataset.clips)}, got {name!r}")
    left = [name for name in names if name not in dataset.leave_out]
    if not left:
        raise ConfigError("leave_out: expected to leave some clips, got none that is left")
    return left


def whole_shots(downloads: Mapping[str, Any], dataset: Video) -> list[tuple[int, int]]:
    """Widen the clips of a video to the shots they are cut from: a shot is either for training or for testing."""
    download = downloads[dataset.download]
    shots = (download.shots if isinstance(download, Package) else ()) or ((0, sys.maxsize),)
    return [
        shot
        for first, last in dataset.shots.values()
        for shot in shots
        if first <= shot[1] and last >= shot[0]
    ]


def read_shipped_table(name: str) -> list[dict[str, str]]:
    """Rows of a CSV file in ``rlsp/config/manifests``."""
    table = importlib.resources.files("rlsp.config.manifests") / f"{name}.csv"
    try:
        with importlib.resources.as_file(table) as path, path.open(encoding="utf-8", newline="") as file:
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


def check_shots(shots: Mapping[str, tuple[int, int]]) -> None:
    """Refuse a shot, first and last frame, that ends before it begins.

    Raises
    ------
    ConfigError
        There is one.
    """
    for clip, (first, last) in shots.items():
        if last < first:
            raise ConfigError(f"shots.{clip}: expected [first, last] frame, got [{first}, {last}]")


def _contents(downloads: Mapping[str, Any], dataset: Dataset) -> list[tuple[str, tuple[int, int] | None]]:
    """Scenes, paths or videos that a data set shows, the last with the first and last frame."""
    if dataset.folder_on_disk is not None:
        return [(f"{dataset.folder_on_disk.resolve()}{os.sep}", None)]
    if isinstance(dataset, CameraMoves):
        return [(f"photograph {find_photograph(name)['scene']}", None) for name in dataset.photographs or ()]
    if isinstance(dataset, Video):
        check_shots(dataset.shots)
        return [(dataset.download, shot) for shot in whole_shots(downloads, dataset)]
    if isinstance(dataset, Archived):
        folders = [clip_folder(dataset.folder, clip) for clip in archive_clips(dataset)]
        return [(f"{dataset.download} {folder}", None) for folder in folders]
    if not isinstance(dataset, Pictures):
        raise TypeError(f"expected a data set whose scenes are known, got {type(dataset).__name__}")
    return [(f"{dataset.download} {clip.prefix}", None) for clip in dataset.clips.values()]


def overlap(downloads: Mapping[str, Any], first: Dataset, second: Dataset) -> str | None:
    """Find something that two data sets have in common, which a training and a test set must not.

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
    pairs = itertools.product(_contents(downloads, first), _contents(downloads, second))
    for (name_a, frames_a), (name_b, frames_b) in pairs:
        if frames_a and frames_b:
            begin, end = max(frames_a[0], frames_b[0]), min(frames_a[1], frames_b[1])
            if name_a == name_b and begin <= end:
                return f"{name_a} frames {begin}-{end}"
        elif name_a.startswith("photograph ") or name_b.startswith("photograph "):
            if name_a == name_b:
                return name_a
        elif name_a.startswith(name_b) or name_b.startswith(name_a):
            return max(name_a, name_b, key=len)
    return None


def clip_folder(pattern: str, clip: str) -> str:
    """Folder of a clip inside an archive."""
    return pattern.replace("{clip}", clip)
