"""Who may write into a folder on a shared disk: a lease with a heartbeat, which needs no file locks."""

import json
import os
import re
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from rlsp.errors import TrainingError
from rlsp.files import is_alive

NAME = re.compile(r"lease-(\d+)\.json")
LONGEST = 10_000  # characters of a lease; one has 250
# Names of a job's number under Slurm, PBS, LSF and Grid Engine.
JOB_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")


@dataclass(frozen=True)
class Lease:
    """A lease that is held.

    Parameters
    ----------
    path : Path
        Its file, ``lease-<n>.json``. Each holder's ``n`` is one more than that of the lease it took over, and
        the highest one counts; a file that is there is never written again, only touched.
    token : str
        What tells it from a later lease of the same name.
    """

    path: Path
    token: str

    def check(self) -> None:
        """Make sure that nobody took the lease over, as happens to a process that was suspended for long.

        Raises
        ------
        TrainingError
            Somebody did.
        """
        top = _highest(self.path.parent)
        found = _read(top) if top else None
        if found is None or found[0].get("token") != self.token:
            by = f" by {_describe(found[0])}" if found else ""
            raise TrainingError(
                f"{self.path.parent}: expected to hold its lease still, it was taken over{by}; this trainer stops"
            )


@contextmanager
def hold_lease(folder: Path, *, heartbeat: float = 20, stale: float = 90) -> Iterator[Lease]:
    """Hold the lease of a folder while the block runs.

    A lease is taken over at once when its holder was a process of this machine that is dead, or an earlier
    start of the same Slurm job; that of another machine when its heartbeat has stood still for long enough.

    Parameters
    ----------
    folder : Path
        The folder, on a disk that every holder sees.
    heartbeat : float
        Seconds between two signs of life.
    stale : float
        Seconds without one after which a holder on another machine is taken for dead. Twice the 60 seconds
        for which NFS may show old file times would be too careful: opening the file refreshes them.

    Yields
    ------
    Lease
        Whose ``check`` belongs before each write.

    Raises
    ------
    TrainingError
        A live process holds the lease.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lease = _take(folder, heartbeat, stale)
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(lease.path, heartbeat, ended), daemon=True)
    beating.start()
    try:
        yield lease
    finally:
        ended.set()
        beating.join()
        found = _read(lease.path)
        if found and found[0].get("token") == lease.token:
            lease.path.unlink(missing_ok=True)


def _take(folder: Path, heartbeat: float, stale: float) -> Lease:
    """Take the lease, waiting while it is not known whether its holder is alive."""
    identity = _identity()
    candidate = folder / f"lease-{identity['token']}.part"
    candidate.write_text(json.dumps(identity))
    try:
        while True:
            top = _highest(folder)
            if top:
                _wait_for_its_end(top, candidate, identity, heartbeat, stale)
            path = folder / f"lease-{_number(top) + 1 if top else 1}.json"
            if _link(candidate, path) and _highest(folder) == path:
                lease = Lease(path, identity["token"])
                lease.check()
                os.utime(path)
                for older in _leases(folder)[:-1]:
                    older.unlink(missing_ok=True)
                return lease
            # Somebody was faster: whoever has the higher number holds the folder.
            found = _read(path)
            if found and found[0].get("token") == identity["token"]:
                path.unlink(missing_ok=True)
    finally:
        candidate.unlink(missing_ok=True)


def _link(candidate: Path, path: Path) -> bool:
    """Create ``path`` with the content of ``candidate``, unless it exists: at most one process succeeds."""
    with suppress(OSError):  # NFS may report an error for a link that was made
        os.link(candidate, path)
        return True
    found = _read(path)
    if found is not None:
        return found[0].get("token") == candidate.stem.removeprefix("lease-")
    try:  # a file system without hard links
        with path.open("x") as file:
            file.write(candidate.read_text())
    except FileExistsError:
        return False
    return True


def _wait_for_its_end(
    path: Path, candidate: Path, mine: dict[str, Any], heartbeat: float, stale: float
) -> None:
    """Return when the lease at ``path`` is free; raise TrainingError when its holder is alive."""
    first = _read(path)
    watched_until = time.monotonic() + stale
    if first and "token" not in first[0]:
        print(f"{path}: damaged; taken for missing unless it is touched within {stale:g} s", file=sys.stderr)
    while first:
        found = _read(path)
        if found is None:
            return
        holder, beat = found
        # The clock of the file system judges: those of two machines may differ.
        os.utime(candidate)
        age = candidate.stat().st_mtime - beat
        is_known, is_dead = _judge(holder, mine)
        if is_dead or (not is_known and (age > stale or time.monotonic() > watched_until)):
            return
        if is_known or beat != first[1]:
            raise TrainingError(
                f"{path.parent}: expected no other trainer, found {_describe(holder)}, alive {max(age, 0):.0f} s "
                "ago; wait for it or stop it"
            )
        time.sleep(min(heartbeat, stale) / 4)


def _judge(holder: dict[str, Any], mine: dict[str, Any]) -> tuple[bool, bool]:
    """Say whether this process can tell if a holder is alive, and whether it is dead."""
    restarts = holder.get("restarts", 0)
    is_earlier = isinstance(restarts, int) and restarts < mine["restarts"]
    if holder.get("job") and holder["job"] == mine["job"] and is_earlier:
        return True, True
    if holder.get("machine") != mine["machine"]:
        return False, False
    return True, not is_alive(holder)


def _beat(path: Path, heartbeat: float, ended: threading.Event) -> None:
    while not ended.wait(heartbeat):
        try:
            os.utime(path)  # the time of the file server, and never a new file
        except FileNotFoundError:
            return  # taken over: check() tells
        except OSError:
            continue  # a server that is away for a moment


def _identity() -> dict[str, Any]:
    restarts = os.environ.get("SLURM_RESTART_COUNT", "")
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "job": next((os.environ[name] for name in JOB_VARIABLES if name in os.environ), None),
        "restarts": int(restarts) if restarts.isdecimal() and len(restarts) < 9 else 0,
        "token": secrets.token_hex(8),
    }


def _machine() -> str:
    """Name what process numbers are unique in: a boot of a machine and, in containers, a name space."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    return socket.gethostname()


def _read(path: Path) -> tuple[dict[str, Any], float] | None:
    """Read who holds a lease and when it last gave a sign of life; None if there is no such file."""
    try:
        with path.open(
            errors="replace"
        ) as file:  # opening asks an NFS server for the times, stat alone may not
            beat = os.fstat(file.fileno()).st_mtime
            text = file.read(LONGEST)
    except FileNotFoundError:
        return None
    try:
        holder = json.loads(text)
    except (ValueError, RecursionError):
        holder = {}  # of a process that died while it wrote: stale in time
    return (holder if isinstance(holder, dict) else {}), beat


def _leases(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if NAME.fullmatch(path.name)), key=_number)


def _highest(folder: Path) -> Path | None:
    return next(reversed(_leases(folder)), None)


def _number(path: Path) -> int:
    return int(NAME.fullmatch(path.name)[1])


def _describe(holder: dict[str, Any]) -> str:
    job = f", job {holder['job']}" if holder.get("job") else ""
    return f"one on host {holder.get('host', 'unknown')} (process {holder.get('pid', 'unknown')}{job})"
