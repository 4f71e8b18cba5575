"""Fetch files over HTTP: resumed where they stopped, checked by SHA-256, never half at their names."""

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import queue
import random
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import requests
from filelock import FileLock
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util.retry import Retry

from rlsp.errors import DownloadError
from rlsp.files import file_sha256

_CHUNK_BYTES = 1 << 16  # read at a time, at most: what a broken connection brought is kept, however little
_LONGEST_WAIT = 60  # seconds, whatever a server asks for
_SLOWEST = 1000  # bytes per second over so long: below it a file would never come
_IDLE = 3  # seconds without a byte after which the progress bar says so
# answers by which a server asks to come again later
_RETRIED_STATUS = (429, 500, 502, 503, 504)
# a server that says nothing is asked once more, since each time costs a whole read timeout
_SILENCE_RETRIES = 1
_UNREACHABLE = (requests.ConnectionError, requests.Timeout, requests.exceptions.RetryError)
_VERIFIED_NAME = ".verified.jsonl"


@dataclasses.dataclass(frozen=True)
class Item:
    """One file to fetch.

    Attributes
    ----------
    url : str
        Where it comes from.
    path : str
        Where it goes, relative to the folder of all files, with forward slashes.
    bytes : int
        Its size.
    sha256 : str
        Hexadecimal SHA-256 of its content.
    mirrors : tuple of str
        Other places of the same bytes, tried in turn when the first fails; each goes on where the one
        before it stopped.
    """

    url: str
    path: str
    bytes: int
    sha256: str
    mirrors: tuple[str, ...] = ()


def fetch_files(
    items: Iterable[Item],
    folder: Path,
    *,
    workers: int = 8,
    timeout: tuple[float, float] = (10, 30),
    retries: int = 5,
    progress: bool = True,
) -> None:
    """Fetch files that are not there yet; what came once is kept whatever happens to the others.

    An unfinished file lies beside its place as ``<name>.part`` and is continued by the next call where
    the server can do so. The server is asked again with growing, jittered pauses, or when it says.

    Parameters
    ----------
    items : iterable of Item
        The files.
    folder : Path
        Where they go.
    workers : int
        Files fetched at a time.
    timeout : tuple of float
        Seconds to wait for a connection, and for more bytes.
    retries : int
        How often a request, or a file that gets no further, is tried again.
    progress : bool
        Whether a bar shows bytes and speed on stderr.

    Raises
    ------
    DownloadError
        A file could not be had or came with wrong bytes, or the disk is full: one line that names the
        first file and says how many failed.
    """
    items = list(items)
    folder = Path(folder)
    for item in items:
        _check_path(item.path)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        verified = _Verified(folder)
        missing = [item for item in items if not verified.has(item)]
        size = sum(item.bytes for item in items)
        bar = tqdm(total=size, unit="B", unit_scale=True, unit_divisor=1024, disable=not progress)
        with bar, http_session(workers, retries) as session:
            bar.update(size - sum(item.bytes for item in missing))
            fetcher = _Fetcher(folder, session, timeout, retries, bar)
            failures = _fetch_all(fetcher, missing, workers, verified)
    if failures:
        path, reason = failures[0]
        raise DownloadError(
            f"{path}: {reason} ({len(failures)} of {len(items)} files failed; the others are kept and "
            "the next run goes on from here)"
        )


def _check_path(path: str) -> None:
    """Refuse a path that leads out of the folder."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path:
        raise DownloadError(f"{path}: expected a relative path inside the folder of the download")


def http_session(workers: int, retries: int) -> requests.Session:
    """Session that keeps connections and asks again, with back-off, before a body has begun."""
    policy = _Patience(
        total=retries,
        read=min(retries, _SILENCE_RETRIES),
        backoff_factor=0.5,
        backoff_jitter=0.5,
        status_forcelist=_RETRIED_STATUS,
        allowed_methods=("GET",),
        respect_retry_after_header=True,
    )
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=policy, pool_maxsize=workers))
    # sizes, ranges and hashes are those of the file itself
    session.headers["Accept-Encoding"] = "identity"
    return session


class _Patience(Retry):
    """Waits as long as a server asks for, but a minute at most; what is no time is not waited for."""

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        """Seconds to wait, None where the server does not say."""
        try:
            asked = super().get_retry_after(response)
        except InvalidHeader:
            return None
        if asked is None or asked <= _LONGEST_WAIT:
            return asked
        line = f"the server asks to come again in {asked:.0f} s: it is asked again in {_LONGEST_WAIT} s"
        tqdm.write(line, file=sys.stderr)
        return _LONGEST_WAIT


class _Verified:
    """Memory of the files found right, by size and time of change, so that they are hashed once.

    One line of JSON per file is appended as files come, so a killed run loses nothing.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._known = {}
        with contextlib.suppress(FileNotFoundError):
            for line in (folder / _VERIFIED_NAME).read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    entry = json.loads(line)
                    self._known[entry["path"]] = (entry["bytes"], entry["mtime_ns"], entry["sha256"])

    def has(self, item: Item) -> bool:
        """Whether the file is there with the right bytes."""
        path = self._folder / item.path
        if not path.is_file() or path.stat().st_size != item.bytes:
            return False
        if self._known.get(item.path) == (item.bytes, path.stat().st_mtime_ns, item.sha256):
            return True
        if file_sha256(path) != item.sha256:
            return False
        self.add(item)
        return True

    def add(self, item: Item) -> None:
        """Remember a file whose bytes are right."""
        modified = (self._folder / item.path).stat().st_mtime_ns
        entry = {"path": item.path, "bytes": item.bytes, "mtime_ns": modified, "sha256": item.sha256}
        # the line break comes first, so that a line cut short by a kill spoils no other
        with open(self._folder / _VERIFIED_NAME, "a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(entry))


def _fetch_all(
    fetcher: "_Fetcher", items: list[Item], workers: int, verified: _Verified
) -> list[tuple[str, str]]:
    """Fetch in threads; return (path, reason) of each file that failed, the most telling first.

    The threads are daemons: Ctrl-C ends the program at once, and the parts stay for the next run. When
    as many files in a row as there are workers find no server, the rest is not tried.
    """
    waiting, done = queue.SimpleQueue(), queue.SimpleQueue()
    for item in items:
        waiting.put(item)

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while not fetcher.stopped.is_set():
                item = waiting.get_nowait()
                done.put((item, _outcome(fetcher, item)))
        done.put(None)

    running = min(workers, len(items))
    for _ in range(running):
        threading.Thread(target=work, daemon=True).start()
    errors, unreachable = {item: _Stopped("not tried") for item in items}, 0
    try:
        while running:
            try:
                result = done.get(timeout=1)
            except queue.Empty:
                fetcher.show_waiting()
                continue
            if result is None:
                running -= 1
                continue
            item, error = result
            errors[item] = error
            if error is None:
                verified.add(item)
            unreachable = unreachable + 1 if isinstance(error, _UNREACHABLE) else 0
            if unreachable >= workers:
                fetcher.stopped.set()
    finally:
        fetcher.stopped.set()
    failed = [(item, error) for item, error in errors.items() if error is not None]
    failed.sort(key=lambda pair: isinstance(pair[1], _Stopped))
    return [(item.path, _reason(error, item)) for item, error in failed]


def _outcome(fetcher: "_Fetcher", item: Item) -> Exception | None:
    """Fetch one file; give back the error that stopped it, if any."""
    try:
        fetcher.fetch(item)
    except Exception as error:  # handed to the main thread, which judges it
        if _is_disk_error(error):
            fetcher.stopped.set()
        return error
    return None


def _is_disk_error(error: Exception) -> bool:
    """Whether the disk (full, read-only, over quota) and not the network failed."""
    return (
        isinstance(error, OSError)
        and not isinstance(error, requests.RequestException)
        and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
    )


def _reason(error: Exception, item: Item) -> str:
    """One line on why a file failed; an error of the program itself is raised."""
    if isinstance(error, DownloadError):
        return str(error)
    if isinstance(error, requests.RequestException):
        return f"cannot be fetched: {innermost(error)} ({item.url})"
    if isinstance(error, OSError):
        return f"cannot be written: {error.strerror or error}"
    raise error


def _all_failed(failed: dict[str, Exception], item: Item) -> DownloadError:
    """One line on why each of several places of a file failed."""
    reasons = []
    for url, error in failed.items():
        reasons.append(_reason(error, dataclasses.replace(item, url=url)))
    return DownloadError(f"none of {len(failed)} places has it: {'; '.join(reasons)}")


def innermost(error: Exception) -> str:
    """Give what lies at the bottom of the errors that requests and urllib3 wrap around each other."""
    cause = error.args[0] if error.args else error
    cause = getattr(cause, "reason", None) or cause
    return " ".join(str(cause).split()).rsplit(": ", 1)[-1]


class _Stopped(DownloadError):
    """A file was left alone since going on has no use."""


class _Broken(Exception):
    """The body of an answer ended before its time."""


class _Slow(_Broken):
    """The body of an answer comes so slowly that trying again is no progress."""


class _Part:
    """An unfinished file, and the digest of its bytes: these are read again only by another program."""

    def __init__(self, path: Path):
        self.path = path
        self.forget()

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes taken in, in hexadecimal digits."""
        return self._digest.hexdigest()

    def update(self, chunk: bytes) -> None:
        """Take in bytes that are, or are being, written."""
        self._digest.update(chunk)
        self.hashed += len(chunk)

    def forget(self) -> None:
        """Begin the digest anew."""
        self._digest, self.hashed = hashlib.sha256(), 0

    def remove(self) -> None:
        """Throw the bytes away."""
        self.path.unlink(missing_ok=True)
        self.forget()


class _Fetcher:
    """Fetches single files into a folder, from any thread."""

    def __init__(
        self,
        folder: Path,
        session: requests.Session,
        timeout: tuple[float, float],
        retries: int,
        bar: tqdm,
    ):
        self.stopped = threading.Event()
        self._folder = folder
        self._session = session
        self._timeout = timeout
        self._retries = retries
        self._bar = bar
        self._bar_lock = threading.Lock()
        self._shown = {}
        self._moved, self._is_waiting = time.monotonic(), False

    def fetch(self, item: Item) -> None:
        """Fetch one file from the first of its places that has it."""
        path = self._folder / item.path
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _Part(path.with_name(path.name + ".part"))
        failed: dict[str, Exception] = {}
        for url in (item.url, *item.mirrors):
            try:
                self._fetch_from(dataclasses.replace(item, url=url, mirrors=()), part)
                os.replace(part.path, path)
                return
            except _Stopped:
                raise
            except (DownloadError, requests.RequestException) as error:
                failed[url] = error
        raise next(iter(failed.values())) if len(failed) == 1 else _all_failed(failed, item)

    def _fetch_from(self, item: Item, part: "_Part") -> None:
        """Fetch one file from one place; after a wrong result that builds on an old part, once more anew."""
        is_resumed = part.size > 0
        problem = self._complete(item, part)
        if problem and is_resumed:
            problem = self._complete(item, part)
        if problem:
            raise DownloadError(f"{problem} ({item.url})")

    def _complete(self, item: Item, part: "_Part") -> str | None:
        """Bring a part to its full length, going on after breaks as long as each try brings more bytes.

        Returns
        -------
        str or None
            What is wrong with its bytes; such a part is removed.
        """
        fruitless = 0
        while True:
            size_before = part.size
            try:
                self._append(item, part)
                break
            except _Broken as broken:
                is_progress = part.size > size_before and not isinstance(broken, _Slow)
                fruitless = 0 if is_progress else fruitless + 1
                if fruitless > self._retries:
                    raise DownloadError(f"{broken} ({item.url})") from None
                self.stopped.wait(0.5 * 2**fruitless * (0.5 + random.random()))
                self._check_stopped()
        size, problem = part.size, None
        if size != item.bytes:
            problem = f"expected {item.bytes} bytes, got {'more' if size > item.bytes else size}"
        elif part.sha256 != item.sha256:
            problem = f"expected SHA-256 {item.sha256}, got {part.sha256}"
        if problem:
            part.remove()
            self._show(item, 0)
        return problem

    def _append(self, item: Item, part: "_Part") -> None:
        """Fetch what a part lacks."""
        start = self._take_part(item, part)
        if start == item.bytes and start:
            return
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._session.get(item.url, headers=headers, stream=True, timeout=self._timeout) as response:
            continues = response.status_code == 206 and _range_start(response) == start
            if response.status_code != 200 and not continues:
                if response.status_code in (206, 416):
                    part.remove()  # the server has other bytes than those the part begins with
                raise DownloadError(
                    f"expected the file, the server answered {response.status_code} ({item.url})"
                )
            if not continues:
                part.remove()
            with open(part.path, "ab") as file:
                self._copy(response, item, file, part)

    def _take_part(self, item: Item, part: "_Part") -> int:
        """Read what an earlier run left of a file, once; return the number of bytes there are."""
        if part.size > item.bytes:
            part.remove()
        if part.size != part.hashed:
            part.forget()
            with open(part.path, "rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    self._check_stopped()
                    part.update(chunk)
                    self._show(item, part.hashed)
        return part.size

    def _copy(self, response: requests.Response, item: Item, file, part: "_Part") -> None:
        """Write a body to a file, and its bytes to the digest; stop once too many came."""
        since, before = time.monotonic(), part.hashed
        try:
            for chunk in _chunks(response):
                self._check_stopped()
                file.write(chunk)
                part.update(chunk)
                self._show(item, part.hashed)
                if part.hashed > item.bytes:
                    return
                if time.monotonic() - since > _LONGEST_WAIT:
                    speed = (part.hashed - before) / (time.monotonic() - since)
                    if speed < _SLOWEST:
                        raise _Slow(f"came too slowly: {speed:.0f} bytes a second after {file.tell()} bytes")
                    since, before = time.monotonic(), part.hashed
        except (requests.RequestException, HTTPError) as error:
            raise _Broken(f"the connection broke off after {file.tell()} bytes: {innermost(error)}") from None
        if file.tell() < item.bytes and "Content-Length" not in response.headers:
            raise _Broken(f"expected {item.bytes} bytes, the connection ended after {file.tell()}")

    def _check_stopped(self) -> None:
        if self.stopped.is_set():
            raise _Stopped("not finished")

    def _show(self, item: Item, position: int) -> None:
        """Move the progress bar by what a file has gained since the last call."""
        with self._bar_lock:
            self._bar.update(position - self._shown.get(item.path, 0))
            self._shown[item.path] = position
            self._moved = time.monotonic()
            if self._is_waiting:
                self._is_waiting = False
                self._bar.set_postfix_str("")

    def show_waiting(self) -> None:
        """Let the progress bar tell that no bytes come, and for how long."""
        with self._bar_lock:
            idle = time.monotonic() - self._moved
            if idle > _IDLE:
                self._is_waiting = True
                self._bar.set_postfix_str(f"waiting for {idle:.0f} s")


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """Give the bytes of a body as they come; a compressed one, which nobody asked for, unpacked."""
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        yield from response.iter_content(_CHUNK_BYTES)
        return
    while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False):
        yield chunk


def _range_start(response: requests.Response) -> int | None:
    """First byte that a partial answer brings."""
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None
