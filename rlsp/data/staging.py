"""Clips copied once to a node's own disk, for scattered reads from a shared file system are slow.

A staged set lies in ``<stage_to>/rlsp-<user id>/<hash of its manifest>/``. Other jobs may read it, so
nothing here removes it: on a node whose disk is not cleared after a job, do it yourself when no training
runs there, ``rm -r <stage_to>/rlsp-$(id -u)``.
"""

import contextlib
import hashlib
import json
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from rlsp.data.clips import read_manifest
from rlsp.files import replace_when_complete, write_json

# seconds that a job waits for another one on the same node before it reads from where the clips are
_LONGEST_WAIT = 3600


class _NotStagedError(Exception):
    """Why clips cannot be staged, in one line."""


def stage_clips(manifest: Path, stage_to: str | Path | None) -> Path:
    """Copy the clips of a manifest to a node's own disk, unless they are there already.

    Several jobs of one node may do so at the same time: one copies, the others wait. A copy that was
    killed goes on where it stopped; files count as complete by their size. Optical flow is left behind,
    for trainings do not read it. Where nothing can be staged, on a full disk say, the reason is said on
    stderr and the clips are read from where they are: slower, but the same.

    Parameters
    ----------
    manifest : Path
        Manifest of packed or degraded clips, which lie beside it.
    stage_to : str or Path, optional
        Folder on the node's own disk, made when missing; ``~`` and variables such as ``$TMPDIR`` are
        those of this node and job. None stages nothing.

    Returns
    -------
    Path
        The manifest to open: that of the copy, or `manifest` itself.

    Raises
    ------
    DataError
        The manifest is missing or damaged, or a clip that it lists is missing.
    """
    manifest = Path(manifest)
    if stage_to is None:
        return manifest
    contents = read_manifest(manifest)
    try:
        return _stage(manifest.parent, contents, _own_folder(str(stage_to)))
    except OSError as error:
        reason = f"{error.filename or stage_to}: {error.strerror or error}"
    except (_NotStagedError, NotImplementedError) as error:  # the latter on a disk without file locks
        reason = str(error)
    print(f"stage_to: {reason}; clips are read from {manifest.parent}", file=sys.stderr)
    return manifest


def _own_folder(stage_to: str) -> Path:
    """Folder of this user's staged sets, which nobody else can write to."""
    place = os.path.expandvars(os.path.expanduser(stage_to))
    if not place or "$" in place:
        raise _NotStagedError(f"expected variables that are set on this node, got {stage_to}")
    folder = Path(place).absolute() / f"rlsp-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    # anybody can make folders in /tmp, for others to take clips from
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise _NotStagedError(f"{folder}: expected a folder that belongs to user {os.getuid()}")
    return folder


def _stage(source: Path, contents: dict[str, Any], root: Path) -> Path:
    """Copy clips from the folder `source` and write their manifest last."""
    sizes = {entry["file"]: (source / entry["file"]).stat().st_size for entry in contents["clips"].values()}
    digest = hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()[:16]
    target = root / digest / "manifest.json"
    if _is_complete(target, sizes):
        return target
    with _locked(root / f"{digest}.lock"):
        if not _is_complete(target, sizes):
            _copy(source, target.parent, sizes)
            clips = {name: {**entry, "flow": None} for name, entry in contents["clips"].items()}
            write_json(target, {**contents, "clips": clips})
    return target


def _is_complete(target: Path, sizes: dict[str, int]) -> bool:
    return target.is_file() and not _missing(target.parent, sizes)


def _missing(folder: Path, sizes: dict[str, int]) -> dict[str, int]:
    """Files that are not there, or not in full."""
    return {
        name: size
        for name, size in sizes.items()
        if not (folder / name).is_file() or (folder / name).stat().st_size != size
    }


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process which has it."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        print(f"stage_to: another job copies these clips to {path.parent}, waiting", file=sys.stderr)
        try:
            lock.acquire(timeout=_LONGEST_WAIT)
        except filelock.Timeout:
            raise _NotStagedError(f"{path}: another job still copies after {_LONGEST_WAIT} s") from None
    try:
        yield
    finally:
        lock.release()


def _copy(source: Path, folder: Path, sizes: dict[str, int]) -> None:
    """Copy the files that are missing; a disk that fills up gets its room back."""
    started = time.perf_counter()
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    for leftover in folder.glob(".*.tmp"):  # of a copy that was killed
        leftover.unlink()
    missing = _missing(folder, sizes)
    needed, free = sum(missing.values()), shutil.disk_usage(folder).free
    if needed > free:
        raise _NotStagedError(f"{folder}: expected {needed / 1e9:.1f} GB of free space, got {free / 1e9:.1f}")
    try:
        for name, size in missing.items():
            with replace_when_complete(folder / name) as temporary:
                shutil.copyfile(source / name, temporary)
                if temporary.stat().st_size != size:
                    raise _NotStagedError(f"{source / name}: expected {size} bytes, copied another number")
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    seconds = time.perf_counter() - started
    print(
        f"stage_to: copied {len(missing)} clips, {needed / 1e9:.2f} GB in {seconds:.1f} s, to {folder}",
        file=sys.stderr,
    )
