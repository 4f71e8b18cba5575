"""Snakemake's lock on a working folder, released when the process that took it is dead."""

import json
import os
import shutil
import socket
from pathlib import Path

import psutil

# Seconds; Snakemake locks shortly before it tells us that it has started.
HOLDER_DELAY = 60
HOLDER = Path(".snakemake") / "rlsp-holder.json"
LOCKS = Path(".snakemake") / "locks"


def record_holder(folder: Path = Path()) -> None:
    """Remember which process of which machine runs the workflow in ``folder``."""
    process = psutil.Process()
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "started": process.create_time()}
    temporary = (folder / HOLDER).with_suffix(".part")
    temporary.write_text(json.dumps(holder))
    os.replace(temporary, folder / HOLDER)


def release_stale_lock(folder: Path = Path()) -> bool:
    """Remove the lock of a killed Snakemake, so that the same command simply goes on.

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
    except (ValueError, KeyError, TypeError):
        return False  # of unknown origin
    locked_at = max(file.stat().st_mtime for file in locks.iterdir())
    if not is_ours or locked_at > (folder / HOLDER).stat().st_mtime + HOLDER_DELAY:
        return False  # somebody else took the lock after the recorded holder died
    shutil.rmtree(locks)
    locks.mkdir()
    return True


def is_alive(holder: dict) -> bool:
    """Whether the process of this machine that has the ``pid`` of a holder, ``started`` then, still runs."""
    try:
        process = psutil.Process(holder["pid"])
        return abs(process.create_time() - holder["started"]) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
