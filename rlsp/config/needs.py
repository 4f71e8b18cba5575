"""What a study needs: data sets, LR clips, downloads."""

from rlsp.config.study import Study


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
