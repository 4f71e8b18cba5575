"""Files on disk: written whole or not at all, JSON, CSV, hashes."""

import contextlib
import csv
import glob
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from rlsp.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


LONGEST_NAME = 255  # bytes of a file name on the usual file systems
ROOM = 60  # bytes of what temporary names add


@contextlib.contextmanager
def replace_when_complete(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`, moved onto it at the end, or removed after an error.

    Parameters
    ----------
    path : Path
        The final name; its folder is made when missing.

    Yields
    ------
    Path
        The temporary name to write to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is None or error.filename == str(temporary):  # a full disk names no file
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def temporary_path(path: Path) -> Path:
    """Name a file or folder beside `path` that belongs to this thread of this process of this machine alone."""
    return path.with_name(f"{_temporary_prefix(path)}.{os.getpid()}-{threading.get_ident()}.tmp")


def remove_leftovers(path: Path) -> None:
    """Remove what processes of this machine that are dead have left beside `path` under temporary names."""
    for left in path.parent.glob(f"{glob.escape(_temporary_prefix(path))}.*.tmp"):
        owner = re.fullmatch(r"[.](\d+)-\d+[.]tmp", left.name.removeprefix(_temporary_prefix(path)))
        if owner and not psutil.pid_exists(int(owner[1])):
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def _temporary_prefix(path: Path) -> str:
    """Begin a hidden name with that of a file, or its hash where that leaves no room, and the machine."""
    machine = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
    name = path.name
    if len(os.fsencode(name)) > LONGEST_NAME - ROOM:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{name}.{machine}"


def special_kind(path: Path) -> str | None:
    """Say what a path is that must not be opened for its content: a folder, pipe, socket or device; else None.

    Raises
    ------
    OSError
        There is nothing, or it cannot be looked at.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode):
        return None
    return {"d": "folder", "p": "pipe", "s": "socket"}.get(stat.filemode(mode)[0], "device")


def check_regular(path: Path, what: str) -> None:
    """Refuse what is no file before it is opened, which may never return; one that is missing is left to who opens it.

    Raises
    ------
    DataError
        It is a folder, a pipe, a socket or a device.
    """
    with contextlib.suppress(OSError, ValueError):
        if kind := special_kind(path):
            raise DataError(f"{path}: expected a {what}, got a {kind}")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8); it appears under its name only when complete."""
    with replace_when_complete(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, content: Any, *, indent: int = 1, sort_keys: bool = False) -> None:
    """Write a JSON file; it appears under its name only when complete."""
    write_text(path, json.dumps(content, indent=indent, sort_keys=sort_keys) + "\n")


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Write a table as CSV, without its index; it appears under its name only when complete."""
    with replace_when_complete(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as CSV, of their keys those in `columns`; it appears under its name only when complete.

    A key that is missing, None or not a number is an empty cell.
    """
    with replace_when_complete(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            cells = (row.get(column) for column in columns)
            writer.writerow("" if cell is None or cell != cell else cell for cell in cells)


def read_json(path: Path, what: str = "manifest") -> dict:
    """Read a JSON file that holds a map; `what` it is, errors tell.

    Raises
    ------
    DataError
        The file is missing or damaged.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: expected a {what}, but there is none") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected JSON, got: {error}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a map of keys, got {type(content).__name__}")
    return content


def spec_hash(spec: Any) -> str:
    """Hash a resolved specification: eight hexadecimal digits that appear in paths."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:8]


def state_of_folders(paths: Iterable[Path]) -> str:
    """Hash names, sizes and times of the files below folders: a folder's own time says too little."""
    folders = (Path(path) for path in paths)
    files = (file for path in folders if path.is_dir() for file in sorted(path.rglob("*")) if file.is_file())
    return spec_hash([[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files])


def is_alive(holder: dict) -> bool:
    """Whether the process of this machine that has the ``pid`` of a holder, ``started`` then, still runs.

    A damaged holder, without these or with others, is none.
    """
    try:
        process = psutil.Process(holder["pid"])
        return abs(process.create_time() - holder["started"]) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError, OverflowError):
        return False


def allocate(path: Path, size: int) -> None:
    """Reserve the bytes of a file: a memory map of a file that a full disk has no room for ends the process."""
    with open(path, "ab") as file:
        os.posix_fallocate(file.fileno(), 0, size)
