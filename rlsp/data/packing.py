"""Packing: data sets from wherever they come to memory-mappable clips and a manifest."""

import contextlib
import functools
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlsp.config.datasets import check_shots, find_photograph
from rlsp.config.specs.datasets import Archived, CameraMoves, Dataset, Folder, Pictures, Video, parse_dataset
from rlsp.data.archives import pack_archive
from rlsp.data.clips import (
    VIDEO_SUFFIXES,
    is_picture,
    list_frames,
    natural_key,
    pack_clip,
    read_frames,
    read_pictures,
    write_clip,
)
from rlsp.data.cuts import split_at, split_scenes
from rlsp.data.decoding import read_video
from rlsp.data.images import LOSSY_FORMATS, PICTURE_FORMATS, read_picture
from rlsp.errors import ConfigError, DataError, TooSmallError
from rlsp.files import read_json, replace_when_complete, write_json

MOST_NAMED = 8  # of what is left out of a folder


def pack_dataset(
    name: str,
    spec: Mapping[str, Any] | Dataset,
    manifest_path: Path,
    *,
    source: Path | None,
    workers: int,
) -> None:
    """Write the clips of a data set as memory-mappable arrays, and their manifest last.

    Parameters
    ----------
    name : str
        Name of the data set.
    spec : Dataset or mapping
        The resolved data set, or its plain form.
    manifest_path : Path
        The manifest to write; the clips go beside it.
    source : Path or None
        What it is made from: the user's folder, the manifest of a download (see :func:`rlsp.data.sources.fetch`), a
        fetched archive, or, of clips that were taken out of one before, their manifest.
    workers : int
        Clips packed at a time.

    Raises
    ------
    ConfigError
        The entry does not fit what is there: an unknown or too small photograph, two clips of one
        name, a region outside the frame, a folder without clips.
    DataError
        A frame or photograph is missing, damaged or of another size, or a video cannot be decoded.
    """
    manifest_path, dataset = Path(manifest_path), parse_dataset(spec, f"datasets.{name}")
    try:
        _pack(name, dataset, manifest_path, source, workers)
    except BaseException:
        with contextlib.suppress(OSError):  # one that holds something stays
            manifest_path.parent.rmdir()
        raise


def _pack(name: str, dataset: Dataset, manifest_path: Path, source: Path | None, workers: int) -> None:
    manifest_path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(dataset, Archived) and Path(source).suffix == ".json":
        write_json(manifest_path, read_json(source))
        return
    licence, jobs = _PACKERS[dataset.source](dataset, manifest_path.parent, source and Path(source))
    manifest_path.unlink(missing_ok=True)  # one that exists stands for a complete set
    entries = {}
    with ThreadPoolExecutor(workers) as pool:  # decoding, sampling and writing leave the interpreter free
        try:
            for packed in pool.map(lambda job: job(), jobs):
                for clip, entry in packed.items():
                    if clip in entries:
                        raise ConfigError(
                            f"datasets.{name}: expected clips of different names, got two {clip!r}"
                        )
                    entries[clip] = entry
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if not entries:
        raise ConfigError(f"datasets.{name}: expected at least one clip, but all were left out")
    write_json(manifest_path, {"dataset": name, "spec": dataset.dump(), "licence": licence, "clips": entries})


@functools.cache
def clip_name(text: str) -> str:
    """Name of a clip made fit for paths: lower-case letters, digits, single dots and hyphens."""
    return re.sub(r"\.{2,}", ".", re.sub(r"[^a-z0-9.]+", "-", text.lower())).strip("-.")


_Packed = dict[str, dict[str, Any]]
_Jobs = tuple[str, list[Callable[[], _Packed]]]


@dataclass(frozen=True)
class _Photograph:
    """A picture that cameras move over; its moves are drawn from the seed and `name`."""

    name: str
    clip: str
    where: str
    read: Callable[[], np.ndarray]


def _pack_moves(spec: CameraMoves, folder: Path, source: Path | None) -> _Jobs:
    if any(size % spec.scale for size in spec.size):
        raise ConfigError(f"size: expected multiples of the scale {spec.scale}, got {list(spec.size)}")
    if source is not None:
        photographs = _own_photographs(source)
        licence = "not stated"
    else:
        rows = [find_photograph(name) for name in spec.photographs or ()]
        photographs = [_shipped_photograph(row) for row in rows]
        licence = "; ".join(f"{row['name']}: {row['licence']}" for row in rows)
    jobs = [
        functools.partial(_pack_move, spec, photograph, index, folder)
        for photograph in photographs
        for index in range(spec.clips_per_photograph)
    ]
    return licence, jobs


def _shipped_photograph(row: dict[str, str]) -> _Photograph:
    from rlsp.data.images import read_photograph

    name, read = row["name"], functools.partial(read_photograph, row["file"])
    return _Photograph(name, clip_name(name), f"photographs: {name}", read)


def _own_photographs(folder: Path) -> list[_Photograph]:
    """Pictures in a folder of one's own, in the order of the numbers in their names."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: expected a folder of photographs, but there is none")
    files = [file for file in folder.iterdir() if is_picture(file) and not file.is_dir()]
    _tell_left_out(folder, files)
    if not files:
        raise ConfigError(f"{folder}: expected PNG, JPEG or other pictures, got none")
    found: dict[str, Path] = {}
    for file in sorted(files, key=lambda file: natural_key(file.name)):
        clip = _named_clip(file, file.stem)
        if clip in found:
            raise ConfigError(
                f"{folder}: expected pictures of different names, "
                f"got {found[clip].name} and {file.name}, both of clips {clip}"
            )
        found[clip] = file
    return [
        _Photograph(clip, clip, str(file), functools.partial(read_picture, file))
        for clip, file in found.items()
    ]


def _named_clip(source: Path, text: str) -> str:
    """Name the clip of a file or folder of one's own, refusing a text of which nothing is left."""
    clip = clip_name(text)
    if not clip:
        raise ConfigError(
            f"{source}: expected a name with letters a to z or digits, for the clip is named by it"
        )
    return clip


def _pack_move(spec: CameraMoves, photograph: _Photograph, index: int, folder: Path) -> _Packed:
    """Render and write one camera move with its exact flow."""
    from rlsp.data.camera_moves import render_move, seeded_generator

    rng = seeded_generator(spec.seed, photograph.name, index)
    pan = _varied_pan(spec, rng) if _is_varied(spec, index) else spec.pan
    try:
        frames, backward, visible = render_move(
            _reduced(photograph.read(), spec.resize),
            size=spec.size,
            pan=tuple(pan),
            rng=rng,
            frames=spec.frames,
            supersample=spec.supersample,
            jitter=spec.jitter,
            zoom=spec.zoom,
            rotation=spec.rotation,
            random_direction=spec.random_direction,
        )
    except TooSmallError as error:
        if not spec.skip_small:
            raise ConfigError(
                f"{photograph.where}: {error}; a smaller size, fewer frames or a slower move may fit, "
                f"and skip_small: true leaves such photographs out"
            ) from None
        print(f"{photograph.where}: clip {index} left out: {error}", file=sys.stderr)
        return {}
    clip = f"{photograph.clip}-{index}"
    entry = write_clip(folder / f"{clip}.npy", frames)
    entry["flow"] = f"{clip}.flow.npz"
    with replace_when_complete(folder / entry["flow"]) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, backward=backward, visible=visible)
    return {clip: entry}


def _is_varied(spec: CameraMoves, index: int) -> bool:
    """Whether a clip has a motion of its own: the last clips of each photograph have."""
    return spec.varied_clips == "all" or index >= spec.clips_per_photograph - spec.varied_clips


def _varied_pan(spec: CameraMoves, rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-spec.varied_speed, spec.varied_speed, size=2)


def _read_download(path: Path) -> dict[str, Any]:
    """Read the manifest of a download and check that its files are there."""
    manifest = read_json(path)
    for name, entry in manifest["files"].items():
        file = path.parent / name
        if not file.is_file() or file.stat().st_size != entry["bytes"]:
            raise DataError(f"{file}: expected {entry['bytes']} bytes, as listed in {path.name}")
    return manifest


def _pack_video(spec: Video, folder: Path, source: Path) -> _Jobs:
    manifest = _read_download(source)
    path = source.parent / next(iter(manifest["files"]))
    check_shots(spec.shots)
    return manifest["licence"], [functools.partial(_pack_shots, spec, path, folder)]


def _pack_shots(spec: Video, path: Path, folder: Path) -> _Packed:
    """Write the shots of one video; it is decoded once unless shots overlap."""
    entries = {}
    frames, position = read_video(path), 0
    for name, (first, last) in sorted(spec.shots.items(), key=lambda shot: shot[1]):
        if first < position:
            frames, position = read_video(path), 0
        end = min(last + 1, first + (spec.frames or last + 1))
        shot = itertools.islice(frames, first - position, end - position)
        shot = _all_of(shot, end - first, f"{path}: expected frames {first} to {end - 1} for clip {name}")
        clip = clip_name(name)
        entries[clip] = pack_clip(_cut(shot, spec, path), folder / f"{clip}.npy", scale=spec.scale)
        position = end
    return entries


def _all_of(frames: Iterable[np.ndarray], count: int, expectation: str) -> Iterator[np.ndarray]:
    """Pass frames on; at their end, fewer than expected are an error."""
    passed = 0
    for frame in frames:
        yield frame
        passed += 1
    if passed < count:
        raise DataError(f"{expectation}, got {passed} of them")


def _cut(frames: Iterable[np.ndarray], spec: Video, path: Path) -> Iterator[np.ndarray]:
    """Keep a region of each frame, reduced by an integer with a box filter, as the entry says."""
    for frame in frames:
        row, column, height, width = spec.region or (0, 0, *frame.shape[:2])
        if not height or not width or row + height > frame.shape[0] or column + width > frame.shape[1]:
            raise ConfigError(
                f"region: expected [row, column, height, width] inside {frame.shape[0]} rows and "
                f"{frame.shape[1]} columns of {path.name}, got {list(spec.region)}"
            )
        yield _reduced(frame[row : row + height, column : column + width], spec.resize)


def _reduced(picture: np.ndarray, divisor: int | None) -> np.ndarray:
    """Average boxes of `divisor` pixels along each axis, dropping rows and columns that fill none."""
    import cv2

    if divisor is None or divisor == 1:
        return picture
    height, width = (size // divisor for size in picture.shape[:2])
    if not height or not width:
        raise TooSmallError(
            f"resize: expected a divisor of at most {min(picture.shape[:2])} for a picture of "
            f"{picture.shape[1]}x{picture.shape[0]}, got {divisor}"
        )
    part = np.ascontiguousarray(picture[: height * divisor, : width * divisor])
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)


def _pack_listed(spec: Pictures, folder: Path, source: Path) -> _Jobs:
    manifest = _read_download(source)
    jobs = []
    for name, clip in spec.clips.items():
        paths = [path for path in manifest["files"] if path.startswith(clip.prefix)]
        expected = min(clip.frames, spec.first_frames or clip.frames)
        if len(paths) < expected or (spec.first_frames is None and len(paths) != expected):
            raise DataError(
                f"{source}: expected {expected} files {clip.prefix}... for clip {name}, got {len(paths)}"
            )
        files = [source.parent / path for path in sorted(paths, key=natural_key)[:expected]]
        jobs.append(functools.partial(_pack_files, name, files, folder, spec.scale))
    return manifest["licence"], jobs


def _pack_files(name: str, files: list[Path], folder: Path, scale: int) -> _Packed:
    clip = clip_name(name)
    return {clip: pack_clip(read_pictures(files), folder / f"{clip}.npy", scale=scale)}


def _pack_folder(spec: Folder, folder: Path, source: Path) -> _Jobs:
    clips = [(_own_clip(path), path) for path in _find_clips(source)]
    cuts = {clip_name(name): frames for name, frames in (spec.cuts or {}).items()}
    if unknown := sorted(cuts.keys() - {clip for clip, _ in clips}):
        raise ConfigError(f"cuts: expected clips of {source}, got {', '.join(unknown)}")
    jobs = [functools.partial(_pack_own, clip, path, spec, cuts.get(clip), folder) for clip, path in clips]
    return "not stated", jobs


def _own_clip(source: Path) -> str:
    return _named_clip(source, source.stem if source.is_file() else Path(os.path.abspath(source)).name)


def _find_clips(folder: Path) -> list[Path]:
    """Clips in a folder of one's own: its sub-folders of pictures and its videos, or itself."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: expected a folder of clips, but there is none")
    entries = sorted(entry for entry in folder.iterdir() if entry.name[0] != ".")
    clips = [
        entry
        for entry in entries
        if (entry.is_dir() and _holds_pictures(entry)) or (_is_video(entry) and not entry.is_dir())
    ]
    if _holds_pictures(folder):
        if clips:
            raise ConfigError(
                f"{folder}: expected either pictures of one clip or several clips, got {clips[0].name} too"
            )
        clips = [folder]
        entries = [entry for entry in entries if not is_picture(entry)]
    _tell_left_out(folder, clips, entries)
    if not clips:
        raise ConfigError(f"{folder}: expected sub-folders of pictures, video files or pictures, got none")
    return clips


def _tell_left_out(folder: Path, taken: list[Path], entries: Iterable[Path] | None = None) -> None:
    """Name what lies in a folder of one's own and is not taken; what systems put there is not worth a word."""
    entries = folder.iterdir() if entries is None else entries
    names = [entry.name for entry in entries if entry not in taken and entry.name[0] != "."]
    names = sorted(name for name in names if name.lower() not in ("thumbs.db", "desktop.ini"))
    if names:
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        print(f"{folder}: left out: {', '.join(names[:MOST_NAMED])}{more}", file=sys.stderr)


def _is_video(entry: Path) -> bool:
    return entry.suffix.lower() in VIDEO_SUFFIXES


def _holds_pictures(folder: Path) -> bool:
    return any(is_picture(file) for file in folder.iterdir())


def _pack_own(clip: str, source: Path, spec: Folder, cuts: tuple[int, ...] | None, folder: Path) -> _Packed:
    """Write a clip of one's own, or each scene where it is to be split; its entry names lossy pictures."""
    kind = PICTURE_FORMATS[list_frames(source)[0].suffix.lower()] if source.is_dir() else ""
    lossy = {"lossy": kind} if kind in LOSSY_FORMATS else {}
    frames = itertools.islice(read_frames(source), spec.frames)
    if not spec.find_cuts and cuts is None:
        return {clip: {**pack_clip(frames, folder / f"{clip}.npy", scale=spec.scale), **lossy}}
    scenes = split_scenes(frames) if cuts is None else split_at(frames, cuts)
    entries, first = {}, 0
    for number, scene in enumerate(scenes, 1):
        name = f"{clip}-{number}"
        path = folder / f"{name}.npy"
        entries[name] = {**pack_clip(scene, path, scale=spec.scale), "first_frame": first, **lossy}
        first += entries[name]["frames"]
    expected = 1 + sum(cut < (spec.frames or sys.maxsize) for cut in cuts or ())
    if cuts is not None and len(entries) < expected:
        raise ConfigError(f"cuts: expected cuts inside the {first} frames of {source}, got {list(cuts)}")
    return _long_enough(entries, spec.shortest_scene, folder, source)


def _long_enough(entries: _Packed, shortest: int, folder: Path, source: Path) -> _Packed:
    """Leave out scenes of fewer frames, and say where the others begin."""
    kept = {name: entry for name, entry in entries.items() if entry["frames"] >= shortest}
    for name, entry in entries.items():
        is_left_out = name not in kept
        if is_left_out:
            (folder / entry["file"]).unlink()
        what = f"left out, shorter than {shortest}" if is_left_out else f"clip {name}"
        print(f"{source}: {entry['frames']} frames from {entry['first_frame']} on: {what}", file=sys.stderr)
    return kept


_PACKERS = {
    "camera-moves": _pack_moves,
    "video": _pack_video,
    "frames": _pack_listed,
    "folder": _pack_folder,
    "archive": pack_archive,
}
