# What only the workflow wants of a study: patterns of wildcards, and names by the folders that wildcards match.
import re


def pattern(names):
    """Give a regular expression that matches these names and nothing else (of none: nothing at all)."""
    return "|".join(re.escape(name) for name in sorted(names)) or "(?!)"


def ids(*kinds):
    """Give the pattern of the runs of some kinds."""
    return pattern(run.id for run in STUDY.runs_of(*kinds))


def plain(specs):
    """Give the plain form of specs by name: params are compared by their text."""
    return {name: spec.dump() for name, spec in specs.items()}


DOWNLOADS = {
    folder: name
    for name, folder in STUDY.download_folders.items()
    if name not in STUDY.archives
}
DATASETS = {folder: name for name, folder in STUDY.dataset_folders.items()}
DEGRADATIONS = {folder: name for name, folder in STUDY.degradation_folders.items()}
PAIRS = {"--".join(pair): pair for pair in STUDY.spec.released.exactness}
COMPARED = [STUDY.runs[name] for name in STUDY.spec.precisions.runs]
PRECISIONS = [PATHS.measured("precisions")] if COMPARED else []
SWEPT = {name: STUDY.model(name) for name in [STUDY.spec.runtime.sweep] if name}
# Further params of scores: without measures of the user's own there are none.
OWN_METRICS = {"metrics": STUDY.own_metrics()} if STUDY.spec.metrics else {}
TIMED = timing_params(STUDY)
GALLERY = gallery_entries(STUDY)
# Fetched archives are kept, or removed once all that a run needs has been taken out of them.
archive_mark = str if STUDY.spec.keep_archives else temp


def made_from(wildcards):
    """Give what a data set is packed from: files, a folder, or the clips that were taken out of an archive.

    It is asked when jobs are planned: after parsing, and before Snakemake takes its lock.
    """
    is_run = IS_MAIN and workflow.is_main_process and workflow.executor_plugin
    if is_run and not workflow.dryrun:
        with one_line_errors():
            settle_lock()
    name = DATASETS[wildcards.packed]
    if STUDY.archives_of(name):
        return ancient(str(STUDY.unpacked(name)))
    return STUDY.files_of(name)


def exactness_pair(wildcards):
    """Give the manifests of two runs whose frames must agree, ours first."""
    runs = [STUDY.runs[run] for run in PAIRS[wildcards.pair]]
    return [PATHS.restored(run.id, run.test_sets[0]) for run in runs]
