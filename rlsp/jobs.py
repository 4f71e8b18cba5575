"""What surrounds a run of the workflow and each of its jobs: Snakemake's lock, logs, errors, elapsed time."""

import contextlib
import datetime
import json
import os
import shutil
import socket
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from rlsp.errors import ConfigError, one_line_errors
from rlsp.files import is_alive, write_json

# Seconds; Snakemake locks shortly before it tells us that it has started.
HOLDER_DELAY = 60
HOLDER = Path(".snakemake") / "rlsp-holder.json"
LOCKS = Path(".snakemake") / "locks"


@contextlib.contextmanager
def job(log: Sequence[str]) -> Iterator[None]:
    """Send everything a job prints to its log; a user's error is one line there and on the terminal.

    Parameters
    ----------
    log : sequence of str
        The rule's log files; the first one is used.
    """
    path = Path(log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    terminal = os.dup(2)
    with path.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            with one_line_errors():
                yield
        except SystemExit as end:
            print(end.code, file=sys.stderr, flush=True)
            os.write(terminal, f"{end.code} (log: {path})\n".encode())
            os._exit(1)  # Snakemake's wrapper would print a traceback below the one line
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(terminal, 2)


def record_elapsed(folder: Path, seconds: float, cores: int) -> None:
    """Add the time that a successful run of the workflow took to ``elapsed.csv`` of a study.

    Parameters
    ----------
    folder : Path
        Results of the study.
    seconds : float
        Wall-clock time.
    cores : int
        Cores that Snakemake was given.
    """
    table = folder / "elapsed.csv"
    is_new = not table.exists()
    with table.open("a") as file:
        if is_new:
            file.write("finished,seconds,cores\n")
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        file.write(f"{now},{seconds:.1f},{cores}\n")


def record_holder(folder: Path = Path()) -> None:
    """Remember which process of which machine runs the workflow in ``folder``."""
    process = psutil.Process()
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "started": process.create_time()}
    write_json(folder / HOLDER, holder)


def settle_lock(folder: Path = Path()) -> None:
    """Before Snakemake takes its lock: remove that of a killed run; of one that lives, say which process it is.

    Raises
    ------
    ConfigError
        Another run holds the folder.
    """
    locks = folder / LOCKS
    if release_stale_lock(folder) or not locks.is_dir() or not any(locks.iterdir()):
        return
    try:
        holder = json.loads((folder / HOLDER).read_text())
        who = f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        who = "one that was not started through this workflow"
    raise ConfigError(
        f"{folder.absolute()}: expected no other run of Snakemake in this folder, got {who}; wait for it, or if it is "
        "gone for sure: snakemake --unlock"
    )


def release_stale_lock(folder: Path = Path()) -> bool:
    """Remove the lock of a killed Snakemake, so that the same command simply resumes.

    Only when the holder was recorded on this machine and is no longer alive: a run on another node of a
    cluster keeps its lock.

    Returns
    -------
    bool
        Whether a lock was removed.
    """
    locks = folder / LOCKS
    if not locks.is_dir() or not any(locks.iterdir()) or not (folder / HOLDER).exists():
        return False
    try:
        holder = json.loads((folder / HOLDER).read_text())
        is_ours = holder["host"] == socket.gethostname() and not is_alive(holder)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False  # of unknown origin
    locked_at = max(file.stat().st_mtime for file in locks.iterdir())
    if not is_ours or locked_at > (folder / HOLDER).stat().st_mtime + HOLDER_DELAY:
        return False  # somebody else took the lock after the recorded holder died
    shutil.rmtree(locks)
    locks.mkdir()
    return True
