"""Who trains in a folder: one trainer at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rlsp.errors import TrainingError


class Lease:
    """A folder held against other trainers."""

    def check(self) -> None:
        """Make sure that the folder is still ours."""


@contextmanager
def hold_lease(folder: Path) -> Iterator[Lease]:
    """Hold the lock of a training's folder.

    Raises
    ------
    TrainingError
        Another live process trains there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise TrainingError(f"{folder}: another trainer is at work here; wait for it or stop it") from error
    try:
        yield Lease()
    finally:
        lock.release()
