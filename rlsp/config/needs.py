"""What a study needs: data sets, LR clips, downloads, and what of an archive."""

from typing import Any, cast

from rlsp.config.datasets import archive_clips, clip_folder
from rlsp.config.specs.datasets import Archived
from rlsp.config.specs.downloads import Archive
from rlsp.config.study import Study

# Clips that hold less than this part of an archive are fetched alone.
FEW = 0.25


def needed_datasets(study: Study) -> list[str]:
    """Names of the data sets that something of the study is made from."""
    learnt_from = (name for run in study.runs_of("trained") for name in run.learnt_from)
    return sorted({*study.test_sets, *learnt_from, *study.spec.compare_lr})


def needed_lr(study: Study) -> set[tuple[str, str]]:
    """Degradation and data set of all LR clips that the study needs."""
    return {
        (run.degradation, name) for run in study.runs.values() for name in (*run.test_sets, *run.learnt_from)
    }


def needed_downloads(study: Study, *, missing: bool = False) -> list[str]:
    """Names of the downloads that the study's runs and data sets need.

    Parameters
    ----------
    study : Study
        The study.
    missing : bool
        Leave out the archives from which everything has been taken.
    """
    needed: set[str] = set()
    taken: set[str] = set()
    for dataset in needed_datasets(study):
        name = study.spec.datasets[dataset].download_name
        if name is not None:
            is_packed = name in study.archives and study.unpacked(dataset).exists()
            (taken if is_packed else needed).add(name)
    for dataset in study.spec.compare_lr:
        name = study.official_lr(dataset)["download"]
        (taken if study.paths.official_lr(dataset).exists() else needed).add(name)
    for run in study.runs.values():
        if (name := study.released_download(run)) is not None:
            needed.add(name)
    return sorted(needed if missing else needed | taken)


def few_of_archive(study: Study, name: str) -> dict[str, int]:
    """Say which clips of an archive are fetched alone, since the study needs few of them.

    Parameters
    ----------
    study : Study
        The study.
    name : str
        Name of the download.

    Returns
    -------
    dict
        Folder inside the archive -> bytes of the clip's pixels, which are more than those of its pictures; empty where
        the whole archive is fetched: the study needs much of it or wants to keep it, it is there already, or the
        catalogue does not tell the size of the frames.
    """
    spec, path = cast(Archive, study.spec.downloads[name]), study.archive(name)
    if study.spec.keep_archives or (path.is_file() and path.stat().st_size == spec.bytes):
        return {}
    found: dict[str, int] = {}
    for pattern, dataset, reduced in _uses_of_archive(study, name):
        height, width = dataset.size or (0, 0)
        if not height:
            return {}
        size = dataset.frames * (height // reduced) * (width // reduced) * 3
        found |= {clip_folder(pattern, clip): size for clip in archive_clips(dataset)}
    return found if sum(found.values()) < FEW * spec.bytes else {}


def _uses_of_archive(study: Study, name: str) -> list[tuple[str, Archived, int]]:
    """List the folders that a study takes from an archive, the data set of their clips, and how far it is reduced."""
    sets = {dataset: study.spec.datasets[dataset] for dataset in needed_datasets(study)}
    archived = {dataset: spec for dataset, spec in sets.items() if isinstance(spec, Archived)}
    uses = [(spec.folder, spec, 1) for spec in archived.values() if spec.download == name]
    for dataset in study.spec.compare_lr:
        official = archived[dataset].official_lr
        if official is not None and official.download == name:
            uses.append((official.folder, archived[dataset], study.spec.scale))
    return uses


def what_is_fetched(study: Study, name: str) -> dict[str, Any]:
    """Give what decides the bytes that are fetched of an archive: the archive, and the folders if not all of it."""
    folders = sorted(few_of_archive(study, name))
    return study.download(name).what_decides_bytes() | ({"folders": folders} if folders else {})
