"""Frames that were restored elsewhere, taken in as a run: released pictures, or one's own method."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from rlsp.data.clips import read_manifest
from rlsp.data.packing import clip_name
from rlsp.errors import DataError
from rlsp.files import write_json


def adopt_frames(clips_manifest: Path, manifest_path: Path, *, frames: Path, run: str) -> None:
    """List the restored pictures of a run for every clip of a data set; nothing is copied.

    Pictures of ``<clip>`` are the PNG files of a folder named ``<clip>``, ``<clip>_rgb`` or ``<clip>/rgb``
    (RGB), and ``<clip>_y`` or ``<clip>/y`` (8-bit luma), anywhere below ``frames``, in the order of the numbers
    in their names. Names of folders are read as those of a data set are: ``Clip_A`` is clip ``clip-a``.

    Parameters
    ----------
    clips_manifest : Path
        Manifest of the ground-truth clips.
    manifest_path : Path
        Manifest of restored frames to write.
    frames : Path
        A folder, or the manifest of a download.
    run : str
        Name of the run.

    Raises
    ------
    DataError
        A clip has no pictures or two folders of them, a picture is missing in the middle, or there are too few.
    """
    root = frames.parent if frames.suffix == ".json" else frames
    if not root.is_dir():
        raise DataError(f"{root}: expected a folder of restored frames for run {run}, there is none")
    is_download = frames.suffix == ".json"
    files = _listed_files(frames) if is_download else sorted(_png_files(root))
    truth = read_manifest(clips_manifest)
    clips = {}
    for clip, entry in truth["clips"].items():
        found = {kind: _pictures_of(files, clip, kind) for kind in ("rgb", "y")}
        if not any(found.values()):
            raise DataError(
                f"{root}: run {run} has no pictures of clip {clip} (a folder {clip}, {clip}_y, ...)"
            )
        clips[clip] = {
            kind: _checked(pictures, entry["frames"], f"{root}: clip {clip} ({kind})", longer=is_download)
            for kind, pictures in found.items()
        }
    write_json(manifest_path, {"run": run, "dataset": truth["dataset"], "clips": clips})


def _listed_files(manifest: Path) -> list[Path]:
    listed = json.loads(manifest.read_text())["files"]
    return [manifest.parent / name for name in listed if name.endswith(".png")]


def _png_files(root: Path) -> Iterator[Path]:
    """PNG files below a folder, links to folders followed; each folder is entered once, also by links in a circle."""
    seen = set()
    for folder, inner, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        yield from (Path(folder, name) for name in files if name.lower().endswith(".png") and name[0] != ".")


def _pictures_of(files: Iterable[Path], clip: str, kind: str) -> list[Path]:
    """Pictures of a kind of a clip, all of one folder."""
    names = {f"{clip}-{kind}", clip} if kind == "rgb" else {f"{clip}-{kind}"}
    chosen = [
        file
        for file in files
        if clip_name(file.parent.name) in names
        or (file.parent.name == kind and clip_name(file.parent.parent.name) == clip)
    ]
    folders = sorted({str(file.parent) for file in chosen})
    if len(folders) > 1:
        raise DataError(
            f"{folders[0]}: expected one folder of {kind} pictures of clip {clip}, got {folders[1]} too"
        )
    return sorted(chosen, key=_number)


def _number(file: Path) -> int:
    digits = re.findall(r"\d+", file.stem)
    if not digits:
        raise DataError(f"{file}: expected a number in the name of a picture of a clip")
    return int(digits[-1])


def _checked(pictures: list[Path], frames: int, where: str, *, longer: bool) -> list[str] | None:
    """Check numbers without a gap and the count; a download may have more frames than a shortened clip."""
    if not pictures:
        return None
    numbers = [_number(file) for file in pictures]
    for before, after, file in zip(numbers, numbers[1:], pictures[1:], strict=False):
        if after != before + 1:
            raise DataError(f"{where}: expected picture {before + 1} after picture {before}, got {file.name}")
    if len(pictures) < frames or (len(pictures) > frames and not longer):
        raise DataError(f"{where}: expected {frames} pictures like the clip, got {len(pictures)}")
    return [str(file.resolve()) for file in pictures[:frames]]
