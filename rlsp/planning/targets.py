"""The targets of Snakemake that make the steps of a run."""

from pathlib import Path

from rlsp.config.checks import check_known
from rlsp.config.study import Study


def step_targets(study: Study, run_id: str, dataset: str | None = None) -> dict[str, list[Path]]:
    """List the files that stand for the steps of a run, as the workflow's outputs have them.

    Parameters
    ----------
    study : Study
        The study of the run.
    run_id : str
        Id of the run.
    dataset : str, optional
        The test set that is asked for, by default all of the run.

    Returns
    -------
    dict
        Files by the name of their step, in the order in which they are made; a step that the run does not have is
        left out: interpolation has no weights, frames from elsewhere no LR, weights from elsewhere are there already.

    Raises
    ------
    ConfigError
        The study has no such run, or the run is not tested on this data set.
    """
    run = study.run(run_id)
    if dataset is not None:
        check_known("dataset", dataset, run.test_sets)
    test_sets = run.test_sets if dataset is None else (dataset,)
    steps: dict[str, list[Path]] = {}
    if run.kind == "trained":
        steps["training clips"] = study.train_hr(run_id)
        steps["training LR clips"] = study.train_lr(run_id)
    steps["packed clips"] = [study.clips(name) for name in test_sets]
    if run.kind != "frames":
        steps["LR clips"] = [study.test_lr(run_id, name) for name in test_sets]
    steps["flow"] = [study.flow(name) for name in test_sets]
    if run.origin in ("trained", "released-weights"):
        steps["weights"] = [study.weights(run_id)]
    steps["restored frames"] = [study.paths.restored(run_id, name) for name in test_sets]
    steps["scores"] = [study.paths.scores(run_id, name) for name in test_sets]
    return steps
