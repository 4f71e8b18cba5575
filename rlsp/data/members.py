"""Clips of a zip archive fetched alone, by byte ranges, for a study that needs few of them."""

import errno
import io
import random
import shutil
import sys
import time
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import requests
from filelock import FileLock
from remotezip import PartialBuffer, RemoteZip, RemoteZipError
from tqdm import tqdm

from rlsp.config.specs.downloads import Archive as ArchiveDownload
from rlsp.data.archives import UNSOUND, archive_urls, check_bounds, check_members
from rlsp.data.download import Item, fetch_files, http_session, innermost
from rlsp.errors import DataError, DownloadError
from rlsp.files import file_sha256, replace_when_complete, write_json

_CHUNK_BYTES = 1 << 16
# the directory of a million files, or one picture; nothing longer is taken into memory
_RANGE_LIMIT_BYTES = 1 << 29
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class _NoRanges(Exception):
    """A server sends whole files only."""


class _Broken(Exception):
    """An answer ended before its time."""


def fetch_members(
    name: str,
    spec: ArchiveDownload,
    folders: Collection[str],
    manifest_path: Path,
    *,
    timeout: tuple[float, float] = (10, 30),
    retries: int = 5,
) -> None:
    """Fetch the files of some folders of an archive, and write a smaller archive of them in its place.

    The directory at the end of the archive is read first, then one file after the other; those that came lie in
    ``<file>.files`` until the last is there, and the next call goes on with the others. What is known of the
    archive without all its bytes is checked: its size, and the size and CRC-32 of each file that its directory
    states. Where no server sends ranges of bytes, the whole archive is fetched, checked by its SHA-256, and gives
    these files.

    Parameters
    ----------
    name : str
        Name of the download.
    spec : Archive
        The resolved download; its places are tried in turn, see :func:`rlsp.data.archives.archive_urls`.
    folders : collection of str
        Folders inside the archive, each with a slash at its end.
    manifest_path : Path
        The JSON file to write last, see :func:`rlsp.data.sources.fetch`; its ``folders`` are those that are there.
    timeout : tuple of float
        Seconds to wait for a connection, and for more bytes.
    retries : int
        How often a request, or a file that gets no further, is tried again.

    Raises
    ------
    DownloadError
        The archive cannot be had, or is not the one that the catalogue means; a folder has no files; a file came
        with wrong bytes; or the disk is full.
    """
    path = manifest_path.with_name(spec.file)
    loose = path.with_name(path.name + ".files")
    path.parent.mkdir(parents=True, exist_ok=True)
    taking = _Taking(frozenset(folders), loose)
    try:
        try:
            with FileLock(path.parent / ".lock"), http_session(1, retries) as session:
                infos = _fetch_from_one(archive_urls(name, spec), spec, session, taking, timeout, retries)
        except _NoRanges as reason:
            print(f"{name}: {reason}; the whole archive is fetched", file=sys.stderr)
            infos = _take_from_whole(name, spec, path, taking)
        _write_archive(path, loose, infos)
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise DownloadError(
            f"{path.name}: cannot be written: {error.strerror} (what came is kept and the next run goes on from here)"
        ) from None
    entry = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
    content = {"download": name, "spec": spec.dump(), "licence": spec.licence, "folders": sorted(folders)}
    write_json(manifest_path, {**content, "files": {spec.file: entry}})
    shutil.rmtree(loose)


def _fetch_from_one(
    urls: Sequence[str],
    spec: ArchiveDownload,
    session: requests.Session,
    taking: "_Taking",
    timeout: tuple[float, float],
    retries: int,
) -> list[zipfile.ZipInfo]:
    """Take the files from the first place that has them; what it is that they lack is told of each place."""
    failed: list[str] = []
    without_ranges = None
    for url in urls:
        try:
            return _fetch_from(_Ranges(url, session, spec.bytes, timeout), taking, retries)
        except _NoRanges as reason:
            without_ranges = without_ranges or reason
        except DownloadError as error:
            failed.append(str(error))
    if without_ranges:
        raise without_ranges
    reasons = "; ".join(failed)
    several = f"none of {len(failed)} places has it: " if len(failed) > 1 else ""
    raise DownloadError(
        f"{spec.file}: {several}{reasons} (what came is kept and the next run goes on from here)"
    )


def _fetch_from(ranges: "_Ranges", taking: "_Taking", retries: int) -> list[zipfile.ZipInfo]:
    """Take the files from one place, going on after breaks as long as each try brings another file."""
    fruitless = 0
    while True:
        taken = taking.taken
        try:
            with RemoteZip(ranges.url, fetcher=lambda *_, **__: ranges) as archive:
                return taking.take(archive, ranges.url, ranges.size)
        except _Broken as broken:
            most, problem = retries, f"{broken} ({ranges.url})"
        except DataError as error:
            raise DownloadError(str(error)) from None
        except _Unsound as error:
            most, problem = 1, str(error)  # bytes that are wrong twice are wrong at their source
        except (*UNSOUND, RemoteZipError) as error:
            most, problem = 1, f"expected a complete zip archive, got: {error} ({ranges.url})"
        fruitless = 0 if taking.taken > taken else fruitless + 1
        if fruitless > most:
            raise DownloadError(problem)
        time.sleep(0.5 * 2**fruitless * (0.5 + random.random()))


class _Ranges:
    """Ranges of the bytes of one archive, as :class:`remotezip.RemoteZip` asks for them; each answer is checked.

    The size is known beforehand, so that no server is asked for the last bytes of a file, which some cannot give.
    """

    def __init__(self, url: str, session: requests.Session, size: int, timeout: tuple[float, float]):
        self.url, self.size = url, size
        self._session, self._timeout = session, timeout

    def fetch(self, data_range: tuple[int, int | None], stream: bool = False) -> PartialBuffer:
        """Fetch the bytes from a first to a last one, or, from a negative first one, the last of the archive."""
        first, last = data_range
        if last is None:
            first, last = max(0, self.size + first), self.size - 1
        if not 0 <= first <= last < self.size or last - first >= _RANGE_LIMIT_BYTES:
            raise DownloadError(f"expected ranges inside {self.size} bytes, got {first}-{last} ({self.url})")
        content = self._read(first, last)
        return PartialBuffer(io.BytesIO(content), first, len(content), stream=False)

    def _read(self, first: int, last: int) -> bytes:
        headers, length = {"Range": f"bytes={first}-{last}"}, last - first + 1
        content = bytearray()
        try:
            with self._session.get(self.url, headers=headers, stream=True, timeout=self._timeout) as response:
                self._check_answer(response, f"bytes {first}-{last}/{self.size}")
                try:
                    for chunk in response.iter_content(_CHUNK_BYTES):
                        content += chunk
                        if len(content) > length:
                            break
                except requests.RequestException as error:
                    raise _Broken(f"the connection broke off: {innermost(error)}") from None
        except requests.RequestException as error:
            raise DownloadError(f"cannot be fetched: {innermost(error)} ({self.url})") from None
        if len(content) != length:
            raise _Broken(f"expected {length} bytes from byte {first} on, got {len(content)}")
        return bytes(content)

    def _check_answer(self, response: requests.Response, expected: str) -> None:
        if response.status_code == 200:
            raise _NoRanges(f"{self.url} sends whole files only")
        if response.status_code != 206:
            raise DownloadError(
                f"expected a part of the file, the server answered {response.status_code} ({self.url})"
            )
        got = response.headers.get("Content-Range", "none")
        if got != expected:
            raise DownloadError(f"expected {expected}, the server sent {got} ({self.url})")


class _Unsound(Exception):
    """A file of an archive came with wrong bytes."""


class _Taking:
    """Files of some folders on their way from an archive to a folder of loose files.

    Parameters
    ----------
    folders : frozenset of str
        Folders inside the archive.
    loose : Path
        Where the files go, at their names in the archive, each only when its bytes are right.

    Attributes
    ----------
    taken : int
        Files that came so far.
    """

    def __init__(self, folders: frozenset[str], loose: Path) -> None:
        self._folders, self._loose = folders, loose
        self.taken = 0

    def take(self, archive: zipfile.ZipFile, where: str, size: int) -> list[zipfile.ZipInfo]:
        """Take the files that are not there yet out of an archive of `size` bytes; return the entries of all.

        Raises
        ------
        DataError
            The archive is not to be trusted.
        DownloadError
            A folder has no files.
        _Unsound
            A file has wrong bytes.
        """
        infos = archive.infolist()
        check_members(where, infos, size)
        wanted = [info for info in infos if not info.is_dir() and _folder(info) in self._folders]
        if lacking := sorted(self._folders - {_folder(info) for info in wanted}):
            raise DownloadError(f"{where}: expected files in {lacking[0]}, got none")
        wanted.sort(key=lambda info: info.header_offset)
        for info in wanted:
            check_bounds(where, info)
        missing = [info for info in wanted if not self._has(info)]
        total = sum(info.compress_size for info in wanted)
        with tqdm(total=total, unit="B", unit_scale=True, unit_divisor=1024) as bar:
            bar.update(total - sum(info.compress_size for info in missing))
            for info in missing:
                self._take_one(archive, info, where)
                bar.update(info.compress_size)
        return wanted

    def _has(self, info: zipfile.ZipInfo) -> bool:
        """Whether an earlier call has brought a file."""
        path = self._loose / info.filename
        if not path.is_file() or path.stat().st_size != info.file_size:
            return False
        return zlib.crc32(path.read_bytes()) == info.CRC

    def _take_one(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> None:
        content = io.BytesIO()
        try:
            with archive.open(info) as file:  # which checks the CRC-32 at the end
                shutil.copyfileobj(file, content, _CHUNK_BYTES)
        except UNSOUND as error:
            raise _Unsound(f"{info.filename}: expected a sound file, got: {error} ({where})") from None
        if content.tell() != info.file_size:
            raise _Unsound(
                f"{info.filename}: expected {info.file_size} bytes, got {content.tell()} ({where})"
            )
        with replace_when_complete(self._loose / info.filename) as temporary:
            temporary.write_bytes(content.getbuffer())
        self.taken += 1


def _folder(info: zipfile.ZipInfo) -> str:
    """Folder that a file of an archive lies in."""
    return info.filename.rpartition("/")[0] + "/"


def _take_from_whole(name: str, spec: ArchiveDownload, path: Path, taking: _Taking) -> list[zipfile.ZipInfo]:
    """Fetch the whole archive, whose SHA-256 is checked, and take the files out of it."""
    first, *others = archive_urls(name, spec)
    whole = path.with_name(path.name + ".whole")
    item = Item(first, whole.name, spec.bytes, spec.sha256, mirrors=tuple(others))
    fetch_files([item], path.parent, workers=1)
    try:
        with zipfile.ZipFile(whole) as archive:
            infos = taking.take(archive, path.name, spec.bytes)
    except (DataError, _Unsound) as error:
        raise DownloadError(str(error)) from None
    whole.unlink()
    return infos


def _write_archive(path: Path, loose: Path, infos: Sequence[zipfile.ZipInfo]) -> None:
    """Write loose files as one archive, the same bytes each time; pictures are not compressed once more."""
    with replace_when_complete(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in _contents(loose, infos):
            archive.writestr(zipfile.ZipInfo(name), content)


def _contents(loose: Path, infos: Sequence[zipfile.ZipInfo]) -> Iterator[tuple[str, bytes]]:
    for info in infos:
        yield info.filename, (loose / info.filename).read_bytes()
