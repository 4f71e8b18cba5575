"""Clips inside zip archives: fetched whole, read with care, packed without a single loose picture."""

import contextlib
import functools
import io
import os
import shutil
import stat
import struct
import threading
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from rlsp.config.datasets import archive_clips, clip_folder
from rlsp.config.specs.datasets import Archived
from rlsp.config.specs.downloads import Archive as ArchiveDownload
from rlsp.data.clips import check_numbering, natural_key, of_one_size, pack_clip
from rlsp.data.images import as_rgb, decode_png
from rlsp.errors import DataError
from rlsp.files import check_regular, read_json, spec_hash, write_json

# REDS has 24,000 pictures; so many names are still listed in seconds
_MEMBERS_LIMIT = 1_000_000
# twice a frame of 8K without any compression
_MEMBER_LIMIT_BYTES = 1 << 28
_PIXELS_LIMIT = 1 << 26
# pictures are compressed already: what shrinks a hundredfold once more is no picture
_RATIO_LIMIT = 100
_RATIO_FREE_BYTES = 1 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_CHUNK_BYTES = 1 << 16
HUB = "https://huggingface.co"
_ENCRYPTED = 1  # bit of ZipInfo.flag_bits
UNSOUND = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, struct.error)


# ---- fetching ----------------------------------------------------------------------------------


def fetch_archive(name: str, spec: ArchiveDownload, manifest_path: Path) -> None:
    """Fetch one archive to the folder of its manifest; its SHA-256 is taken while the bytes come in.

    The environment variable ``RLSP_MIRROR`` takes the place of all its URLs, ``HF_ENDPOINT`` of
    https://huggingface.co in them: below the mirror lies
    ``<name>/<file>``, as below ``<data_root>/downloads``. A file that somebody put at its place is read
    once and taken when its bytes are right.

    Parameters
    ----------
    name : str
        Name of the download.
    spec : Archive
        The resolved download; its ``urls`` are tried in turn.
    manifest_path : Path
        The JSON file to write last, see :func:`rlsp.data.sources.fetch`.

    Raises
    ------
    DownloadError
        It cannot be had from any of the places, or came with wrong bytes, or the disk is full. What came
        is kept for the next call.
    """
    from rlsp.data.download import Item, fetch_files

    first, *others = archive_urls(name, spec)
    item = Item(first, spec.file, spec.bytes, spec.sha256, mirrors=tuple(others))
    files = {spec.file: {"bytes": spec.bytes, "sha256": spec.sha256}}
    manifest = {"download": name, "spec": spec.dump(), "licence": spec.licence, "files": files}
    with _part_again_on_failure(manifest_path.with_name(spec.file)):
        fetch_files([item], manifest_path.parent, workers=1)
        write_json(manifest_path, manifest)


@contextlib.contextmanager
def _part_again_on_failure(path: Path) -> Iterator[None]:
    """Make a fetched file a part again when something after it fails.

    Snakemake deletes the outputs of a failed job; 34 GB are not worth a manifest that found no room.
    """
    try:
        yield
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, path.with_name(path.name + ".part"))
        raise


def archive_urls(name: str, spec: ArchiveDownload) -> Sequence[str]:
    """Where an archive is looked for: on the mirror if one is set, else at each of its URLs.

    The environment variable ``HF_ENDPOINT`` takes the place of https://huggingface.co, as in Hugging Face's own tools.
    """
    mirror = os.environ.get("RLSP_MIRROR")
    if not mirror:
        hub = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
        return [
            url.replace(f"{HUB}/", f"{hub}/", 1) if url.startswith(f"{HUB}/") else url for url in spec.urls
        ]
    return ["/".join([mirror.rstrip("/"), name, urllib.parse.quote(spec.file)])]


def read_archive_download(manifest_path: Path, folders: Iterable[str]) -> tuple[dict[str, Any], Path]:
    """Read the manifest of a fetched archive and find its file.

    Parameters
    ----------
    manifest_path : Path
        The manifest.
    folders : iterable of str
        Folders inside the archive that are going to be read.

    Raises
    ------
    DataError
        The file, or the manifest that says it was checked, is missing, or its size is wrong, or it was fetched without
        one of the folders.
    """
    manifest_path = Path(manifest_path)
    if not manifest_path.is_file():
        name = manifest_path.parent.name
        raise DataError(
            f"{manifest_path.parent}: expected an archive that was checked; say: rlsp fetch --study FILE {name}"
        )
    manifest = read_json(manifest_path)
    (file, entry), *_ = manifest["files"].items()
    path = manifest_path.parent / file
    if not path.is_file():
        raise DataError(
            f"{path}: expected the archive that {manifest_path.name} lists, but there is none; remove what was "
            f"packed from it, or say: rlsp fetch --study FILE {manifest_path.parent.name}"
        )
    if path.stat().st_size != entry["bytes"]:
        raise DataError(f"{path}: expected {entry['bytes']} bytes, got {path.stat().st_size}")
    lacking = sorted({*folders} - {*manifest["folders"]}) if "folders" in manifest else []
    if lacking:
        raise DataError(
            f"{path}: expected {lacking[0]} in it, but only {len(manifest['folders'])} other clips were fetched for a "
            "study that needs no more; remove it and run again"
        )
    return manifest, path


# ---- reading -----------------------------------------------------------------------------------


class Archive:
    """A zip archive of pictures from elsewhere, from which nothing is ever extracted by its name.

    It may be used by several threads: each has a handle of its own.

    Parameters
    ----------
    path : Path
        The archive.

    Raises
    ------
    DataError
        It is missing or no zip archive, a name in it leads out of a folder, is there twice or is a link,
        or its members overlap.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._handles = threading.local()
        infos = self._handle().infolist()
        check_members(self.path, infos, self.path.stat().st_size)
        self._members = {info.filename: info for info in infos}
        self._folders: dict[str, list[str]] = {}
        for name in self._members:
            folder, _, file = name.rpartition("/")
            if file.lower().endswith(".png") and not file.startswith("."):
                self._folders.setdefault(folder, []).append(name)

    def _handle(self) -> zipfile.ZipFile:
        """Handle of the calling thread, closed when the thread ends."""
        if not hasattr(self._handles, "archive"):
            check_regular(self.path, "zip archive")
            try:
                self._handles.archive = zipfile.ZipFile(self.path)
            except FileNotFoundError:
                raise DataError(f"{self.path}: expected a zip archive, but there is none") from None
            except UNSOUND as error:
                raise DataError(f"{self.path}: expected a complete zip archive, got: {error}") from None
        return self._handles.archive

    def pictures(self, folder: str, frames: int) -> list[str]:
        """Names of the PNG files of a folder in the order of their numbers.

        Parameters
        ----------
        folder : str
            The folder inside the archive.
        frames : int
            How many there have to be.

        Raises
        ------
        DataError
            There is another number of them, or one in the middle is missing.
        """
        names = sorted(self._folders.get(folder.rstrip("/"), []), key=natural_key)
        if len(names) != frames:
            raise DataError(f"{self.path}: expected {frames} PNG files in {folder}, got {len(names)}")
        try:
            check_numbering([PurePosixPath(name) for name in names])
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from None
        return names

    def read_pictures(self, names: Sequence[str], size: Sequence[int] | None) -> Iterator[np.ndarray]:
        """Read pictures as frames of one clip, (H, W, 3) uint8 RGB each.

        Parameters
        ----------
        names : sequence of str
            Members of the archive.
        size : sequence of int, optional
            Height and width that each has to have.

        Raises
        ------
        DataError
            A member is damaged, too large, no PNG, or has another size than the first.
        """
        return of_one_size((f"{self.path}: {name}", self._read_picture(name, size)) for name in names)

    def _read_picture(self, name: str, size: Sequence[int] | None) -> np.ndarray:
        """Decode one picture, whose header is looked at before any pixel."""
        content = self._read(self._members[name])
        where = f"{self.path}: {name}"
        if content[12:16] == b"IHDR" and len(content) >= 24:
            width, height = struct.unpack(">II", content[16:24])
            if size and (height, width) != tuple(size):
                raise DataError(f"{where}: expected {size[1]}x{size[0]}, got {width}x{height}")
            if width * height > _PIXELS_LIMIT:
                raise DataError(f"{where}: expected at most {_PIXELS_LIMIT} pixels, got {width}x{height}")
        return as_rgb(decode_png(io.BytesIO(content), where))

    def _read(self, info: zipfile.ZipInfo) -> bytes:
        """Bytes of one member, never more than it announces; its CRC is checked at the end."""
        check_bounds(self.path, info)
        content = io.BytesIO()
        try:
            with self._handle().open(info) as file:
                # small steps: a member that lies about its size is decompressed no further than it says
                shutil.copyfileobj(file, content, _CHUNK_BYTES)
        except UNSOUND as error:
            raise DataError(f"{self.path}: {info.filename}: expected a sound file, got: {error}") from None
        except OSError as error:
            raise DataError(f"{self.path}: {info.filename}: cannot be read: {error.strerror}") from None
        return content.getvalue()


def check_members(where: Path | str, infos: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse names and entries that no honest archive has.

    Parameters
    ----------
    where : Path or str
        The archive, as errors name it.
    infos : list of ZipInfo
        Its entries.
    size : int
        Its bytes.

    Raises
    ------
    DataError
        There is one.
    """
    if len(infos) > _MEMBERS_LIMIT:
        raise DataError(f"{where}: expected at most {_MEMBERS_LIMIT} files, got {len(infos)}")
    names = set()
    for info in infos:
        # ZipInfo.filename ends at a NUL; orig_filename is what the archive says
        name = info.orig_filename
        if (
            name.startswith("/")
            or "\\" in name
            or any(ord(letter) < 32 or ord(letter) == 127 for letter in name)
            or ".." in name.split("/")
            or name[1:2] == ":"
        ):
            raise DataError(f"{where}: expected relative names inside the archive, got {name!r}")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DataError(f"{where}: {name}: expected a file or folder, got a link")
        if name in names:
            raise DataError(f"{where}: {name}: expected every name once, got it twice")
        names.add(name)
    compressed = sum(info.compress_size for info in infos)
    if compressed > size:
        raise DataError(
            f"{where}: expected members that lie one after the other, got {compressed} bytes of them "
            f"in a file of {size}"
        )


def check_bounds(archive: Path | str, info: zipfile.ZipInfo) -> None:
    """Refuse to read a member that is no file of a picture's size.

    Raises
    ------
    DataError
        It is not.
    """
    where = f"{archive}: {info.filename}"
    if info.flag_bits & _ENCRYPTED or info.compress_type not in _METHODS:
        raise DataError(f"{where}: expected a stored or deflated file without password, got another kind")
    if info.file_size > _MEMBER_LIMIT_BYTES:
        raise DataError(f"{where}: expected at most {_MEMBER_LIMIT_BYTES} bytes, got {info.file_size}")
    if info.file_size > _RATIO_FREE_BYTES and info.file_size > _RATIO_LIMIT * info.compress_size:
        raise DataError(
            f"{where}: expected at most {_RATIO_LIMIT} times its {info.compress_size} compressed bytes, "
            f"got {info.file_size}"
        )


# ---- packing -----------------------------------------------------------------------------------


def pack_archive(
    spec: Archived, folder: Path, archive_path: Path
) -> tuple[str, list[Callable[[], dict[str, dict[str, Any]]]]]:
    """Prepare the packing of clips straight from an archive.

    A clip that is there, with a note beside it of what it was made from, is not packed again: whoever
    kills a packing of hours loses the clips under way. When all are there, the archive may be gone.

    Parameters
    ----------
    spec : Archived
        The resolved data set.
    folder : Path
        Where the clips go.
    archive_path : Path
        The archive, with the manifest of its download beside it.

    Returns
    -------
    licence : str
    jobs : list of callable
        Each packs one clip and gives its entry for the manifest, by name.

    Raises
    ------
    ConfigError
        The list of clips is wrong.
    DataError
        The archive is missing or not to be trusted, or a clip is not in it with all its frames.
    """
    made_from = spec_hash([spec.dump(), spec.scale])
    paths = {clip: folder / f"{clip}.npy" for clip in archive_clips(spec)}
    found = {clip: _finished(path, made_from) for clip, path in paths.items()}
    if all(found.values()):
        licence = read_json(archive_path.with_name("manifest.json"))["licence"]
        return licence, [functools.partial(dict, {clip: entry}) for clip, entry in found.items()]
    folders = [clip_folder(spec.folder, clip) for clip in archive_clips(spec)]
    manifest, archive_path = read_archive_download(archive_path.with_name("manifest.json"), folders)
    archive, jobs = Archive(archive_path), []
    for clip, entry in found.items():
        names = archive.pictures(clip_folder(spec.folder, clip), spec.frames)[: spec.first_frames]
        frames = functools.partial(archive.read_pictures, names, spec.size)
        job = functools.partial(_pack_clip, clip, frames, paths[clip], spec.scale, made_from)
        jobs.append(functools.partial(dict, {clip: entry}) if entry else job)
    return manifest["licence"], jobs


def _pack_clip(
    clip: str, frames: Callable[[], Iterator[np.ndarray]], path: Path, scale: int, made_from: str
) -> dict[str, dict[str, Any]]:
    """Pack one clip, and write its note after it."""
    try:
        entry = pack_clip(frames(), path, scale=scale)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written: {error.strerror or error} (finished clips are kept and the next "
            "run goes on from here)"
        ) from None
    note = {"made_from": made_from, "mtime_ns": path.stat().st_mtime_ns, "entry": entry}
    write_json(_note(path), note)
    return {clip: entry}


def _note(path: Path) -> Path:
    return path.with_name(f".{path.name}.json")


def _finished(path: Path, made_from: str) -> dict[str, Any] | None:
    """Entry of a clip that an earlier run made from the same, and that has not been touched since."""
    try:
        found = read_json(_note(path))
        entry, state = found["entry"], path.stat()
        pixels = entry["frames"] * entry["height"] * entry["width"] * 3
        is_same = (found["made_from"], found["mtime_ns"]) == (made_from, state.st_mtime_ns)
        return entry if is_same and state.st_size > pixels else None
    except (DataError, OSError, KeyError, TypeError):
        return None
