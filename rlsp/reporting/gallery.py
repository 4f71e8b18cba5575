"""Which restored frames a study shows side by side."""

from typing import Any

from rlsp.config.runs import Run
from rlsp.config.study import Study


def gallery_entries(study: Study) -> list[dict[str, Any]]:
    """List what is shown side by side: the runs of one data set and one degradation.

    Returns
    -------
    list of dict
        ``name`` of the figure, ``dataset``, ``degradation``, ``clip`` (None: the first one), and ``runs``, the id of
        each run by the name it is shown by: interpolation first, of several seeds the first one.
    """
    groups: dict[tuple[str, str], dict[str, str]] = {}
    interpolation_first = sorted(study.runs.values(), key=lambda run: run.origin != "interpolation")
    for dataset in study.test_sets:
        for run in interpolation_first:
            if dataset in run.test_sets:
                groups.setdefault((dataset, run.degradation), {}).setdefault(shown_name(study, run), run.id)
    return [
        {
            "name": "_".join(part for part in (dataset, clip, degradation) if part),
            "dataset": dataset,
            "degradation": degradation,
            "clip": clip,
            "runs": runs,
        }
        for (dataset, degradation), runs in groups.items()
        for clip in study.spec.pictures.clips.get(dataset, (None,))
    ]


def shown_name(study: Study, run: Run) -> str:
    """Name a run by its model, and its origin where one model has several."""
    origins = {other.origin for other in study.runs.values() if other.model == run.model}
    return f"{run.model} ({run.origin.replace('-', ' ')})" if len(origins) > 1 else run.model
