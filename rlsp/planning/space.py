"""Disk space that a study still needs for its archives, against what is free."""

import shutil
import sys
from collections.abc import Collection
from pathlib import Path
from typing import cast

from rlsp.config.datasets import archive_clips
from rlsp.config.needs import few_of_archive, needed_datasets, needed_downloads, needed_lr
from rlsp.config.specs.datasets import Archived
from rlsp.config.specs.downloads import Archive
from rlsp.config.study import Study
from rlsp.errors import DataError


def space_needed(study: Study, downloads: Collection[str] | None = None) -> dict[str, int]:
    """Bytes still to be written for archives and for what is packed from them.

    Parameters
    ----------
    study : Study
        The study.
    downloads : collection of str, optional
        Only these downloads; all that are missing by default.

    Returns
    -------
    dict
        ``archives``, ``clips`` and ``lr``; clips of a size that the catalogue does not state are left out.
    """
    missing = needed_downloads(study, missing=True) if downloads is None else downloads
    archives = [name for name in missing if name in study.archives]
    datasets = {
        name: _clips_bytes(study, name)
        for name in needed_datasets(study)
        if (download := study.spec.datasets[name].download_name) in study.archives
        and (downloads is None or download in archives)
    }
    lr_bytes = 0
    for degradation, dataset in needed_lr(study):
        size = datasets.get(dataset, 0) // study.spec.scale**2
        lr_bytes += _still_needed(size, study.lr(degradation, dataset))
    return {
        "archives": sum(_archive_bytes(study, name) for name in archives),
        "clips": sum(_still_needed(size, study.clips(name)) for name, size in datasets.items()),
        "lr": lr_bytes,
    }


def _archive_bytes(study: Study, name: str) -> int:
    """Bytes that an archive still lacks, at most: clips that are fetched alone lie there twice for a moment."""
    path = study.archive(name)
    files = [file for file in (path, path.with_name(path.name + ".part")) if file.exists()]
    if few := few_of_archive(study, name):
        return 0 if path.exists() else 2 * sum(few.values())
    spec = cast(Archive, study.spec.downloads[name])
    return max(0, spec.bytes - sum(file.stat().st_size for file in files))


def _clips_bytes(study: Study, name: str) -> int:
    """Bytes of the HR clips of a data set, or 0 where their size is not known."""
    spec = cast(Archived, study.dataset(name))
    height, width = spec.size or (0, 0)
    frames = min(spec.frames, spec.first_frames or spec.frames)
    return len(archive_clips(spec)) * frames * height * width * 3


def _still_needed(size: int, manifest: Path) -> int:
    """Bytes that a folder of clips still lacks, some of which may be there."""
    if manifest.exists():
        return 0
    return max(0, size - sum(file.stat().st_size for file in manifest.parent.glob("*.npy")))


def check_space(needs: dict[str, int], folder: Path) -> None:
    """Say on stderr how much a study needs and how much is free.

    Parameters
    ----------
    needs : dict
        See :func:`space_needed`.
    folder : Path
        Where it all goes; it need not be there yet.

    Raises
    ------
    DataError
        It does not fit.
    """
    total = sum(needs.values())
    if not total:
        return
    existing = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
    free = shutil.disk_usage(existing).free
    parts = ", ".join(f"{what} {_readable(size)}" for what, size in needs.items() if size)
    if total > free:
        raise DataError(
            f"{folder}: expected {_readable(total)} of free disk space ({parts}), got {_readable(free)}; "
            "set data_root to a folder on a larger disk"
        )
    print(
        f"disk space: {_readable(total)} needed ({parts}), {_readable(free)} free at {folder}",
        file=sys.stderr,
    )


def _readable(size: int) -> str:
    """Bytes in the unit that shows them best, powers of ten as disks are sold."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
