"""Names that are not defined, and settings of several entries that do not fit each other."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rlsp.columns import COLUMNS, SUMMARY_TEXTS
from rlsp.config.checkpoints import checkpoint_facts
from rlsp.config.datasets import archive_clips, overlap
from rlsp.config.runs import RELEASED, Run
from rlsp.config.specs.datasets import Archived, CameraMoves
from rlsp.config.specs.degradations import Gaussian, OwnDegradation
from rlsp.config.specs.downloads import Archive
from rlsp.config.specs.models import Model
from rlsp.config.specs.study import StudySpec
from rlsp.errors import ConfigError

SSIM_WINDOW = 11  # pixels; a frame must be larger
# Columns of scores, and of the tables made from them, that no measure of the user's own may have; the last are words of
# pandas, which makes these tables.
TAKEN = {
    *COLUMNS, *SUMMARY_TEXTS, *(name.removesuffix("_y") for name in COLUMNS), "n_clips", "n_frames", "n_seeds",
    "func", "engine", "engine_kwargs", "self",
}  # fmt: skip


def check_known(key: str, name: Any, names: Iterable[str]) -> None:
    """Refuse a name that is not among the defined ones.

    Raises
    ------
    ConfigError
        One line with the key, the name, and those that are known.
    """
    known = sorted(set(names))
    if name not in known:
        close = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(f"{key}: unknown name {name!r}; {hint}known: {', '.join(known)}")


def check_references(study: StudySpec, runs: dict[str, Run]) -> None:
    """Refuse names that are not defined, and settings that do not fit each other.

    Raises
    ------
    ConfigError
        One line with the key, what was expected and what came.
    """
    for name in study.datasets:
        _check_source(study, name)
    with_lr = {
        name for name, spec in study.datasets.items() if isinstance(spec, Archived) and spec.official_lr
    }
    for name in study.compare_lr:
        check_known("compare_lr", name, with_lr)
    for run in runs.values():
        _check_run(study, run, runs)
    for name, degradation in study.degradations.items():
        if isinstance(degradation, Gaussian | OwnDegradation) and degradation.first_pixel >= study.scale:
            key = "phase" if isinstance(degradation, Gaussian) else "first_pixel"
            raise ConfigError(
                f"degradations.{name}.{key}: expected below the scale {study.scale}, got {degradation.first_pixel:g}"
            )
    _check_metrics(study)
    for name in sorted({dataset for run in runs.values() for dataset in run.test_sets}):
        _check_test_set(study, name)
    for name, protocol in study.protocols.items():
        if protocol.crop not in study.score.crops:
            raise ConfigError(
                f"protocols.{name}.crop: expected one of score.crops {list(study.score.crops)}, got {protocol.crop}"
            )
    check_known("headline_protocol", study.headline_protocol, study.protocols)
    _check_tables(study, runs)


def _check_metrics(study: StudySpec) -> None:
    """Refuse measures of the user's own with the name of another column."""
    taken = set(TAKEN)
    for name in study.metrics:
        short = name.removesuffix("_y")  # its column in tables
        if not {name, short}.isdisjoint(taken) or name.endswith("_std"):
            raise ConfigError(f"metrics.{name}: expected another name, that of a column is taken")
        taken |= {name, short}


def _check_source(study: StudySpec, name: str) -> None:
    """Refuse a data set made from a download that is not there or of the wrong kind, or with a wrong list of clips."""
    dataset = study.datasets[name]
    is_archive = isinstance(dataset, Archived)
    places = {"download": dataset.download_name}
    if isinstance(dataset, Archived):
        try:
            archive_clips(dataset)
        except ConfigError as error:
            raise ConfigError(f"datasets.{name}.{error}") from None
        places["official_lr.download"] = dataset.official_lr.download if dataset.official_lr else None
    for key, download in places.items():
        if download is None:
            continue
        check_known(f"datasets.{name}.{key}", download, study.downloads)
        spec = study.downloads[download]
        if isinstance(spec, Archive) != is_archive:
            raise ConfigError(
                f"datasets.{name}.{key}: expected {'an archive' if is_archive else 'no archive'} "
                f"for source {dataset.source}, got {download} of kind {spec.kind}"
            )


def _check_run(study: StudySpec, run: Run, runs: dict[str, Run]) -> None:
    """Refuse a run with names that are not defined."""
    where = f"runs ({run.id})"
    if run.origin == "released-frames":
        check_known(f"{where}.frames", str(run.source).removeprefix(RELEASED), study.downloads)
    if run.origin == "released-weights":
        try:
            checkpoint_facts(str(run.source).removeprefix(RELEASED))
        except ConfigError as error:
            raise ConfigError(f"{where}.{error}") from None
    check_known(f"{where}.degradations", run.degradation, study.degradations)
    for dataset in run.test_sets:
        check_known(f"{where}.test_sets", dataset, study.datasets)
    if run.origin != "trained":
        return
    check_known(f"{where}.models", run.model, study.models)
    scales = study.models[run.model].SCALES
    if study.scale not in scales:
        *first, last = map(str, scales)
        raise ConfigError(
            f"scale: expected {', '.join(first)} or {last}, as {run.model} doubles sizes, got {study.scale}"
        )
    check_known(f"{where}.recipe", run.recipe, study.recipes)
    for dataset in run.train_sets:
        check_known(f"{where}.train_set", dataset, study.datasets)
    if run.validation_set is not None:
        check_known(f"{where}.validation_set", run.validation_set, study.datasets)
    _check_training(study, run, runs)


def _check_tables(study: StudySpec, runs: dict[str, Run]) -> None:
    """Refuse models, runs and data sets in tables and timings that the study does not have."""
    run_models = {run.model for run in runs.values()}
    for model in study.ablation:
        check_known("ablation", model, run_models)
    for model in study.runtime.also:
        check_known("runtime.also", model, study.models)
    if study.runtime.sweep is not None:
        check_known("runtime.sweep", study.runtime.sweep, study.models)
        check_swept(study.runtime.sweep, study.models[study.runtime.sweep])
    for model in study.runtime.skip:  # one that a changed study has no run of is skipped all the same
        check_known("runtime.skip", model, run_models | study.models.keys())
    for dataset in study.pictures.clips:
        check_known("pictures.clips", dataset, {name for run in runs.values() for name in run.test_sets})
    if study.reference_model is not None:
        check_known("reference_model", study.reference_model, run_models)
    with_weights = [run.id for run in runs.values() if run.kind in ("trained", "weights")]
    for run_id in study.precisions.runs:
        check_known("precisions.runs", run_id, with_weights)
    for pair in study.released.exactness:
        for run_id in pair:
            check_known("released.exactness", run_id, runs)


def check_swept(name: str, model: Model) -> None:
    """Refuse a model without the keys that the cost curves vary."""
    missing = [key for key in ("filters", "layers") if getattr(model, key, None) is None]
    if missing:
        raise ConfigError(f"runtime.sweep: expected a model with {' and '.join(missing)}, got {name}")


def _check_test_set(study: StudySpec, name: str) -> None:
    """Refuse clips, of a size known beforehand, that a crop or a trim leaves nothing of."""
    dataset = study.datasets[name]
    if not isinstance(dataset, CameraMoves):
        return
    crop, trim = max(study.score.crops), max((sum(p.trim) for p in study.protocols.values()), default=0)
    if min(dataset.size) <= 2 * crop + SSIM_WINDOW:
        raise ConfigError(
            f"score.crops: expected at most {(min(dataset.size) - SSIM_WINDOW - 1) // 2}, as the clips of {name} "
            f"are {dataset.size[1]}x{dataset.size[0]}, got {crop}"
        )
    if dataset.frames <= trim:
        raise ConfigError(
            f"protocols: expected trims below the {dataset.frames} frames of the clips of {name}, got {trim}"
        )


def _check_training(study: StudySpec, run: Run, runs: dict[str, Run]) -> None:
    """Refuse a training that has nothing to validate on, begins with nothing, or tests on what it learnt from."""
    recipe = study.recipes[str(run.recipe)]
    if recipe.validate_every is not None and run.validation_set is None and not run.validation_clips:
        raise ConfigError(
            f"runs ({run.id}).validation_set: missing, and no validation_clips; recipe {run.recipe} validates"
        )
    if run.validation_set is not None and run.validation_clips:
        raise ConfigError(f"runs ({run.id}).validation_clips: expected none beside a validation_set")
    if run.validation_clips and recipe.validate_every is None:
        raise ConfigError(
            f"runs ({run.id}).validation_clips: expected a recipe that validates, {run.recipe} has no validate_every"
        )
    start = run.start_from
    if start is not None and start.endswith(".safetensors") and not Path(start).expanduser().is_file():
        raise ConfigError(
            f"runs ({run.id}).start_from: expected a .safetensors file, there is none at {start}"
        )
    for train_set in run.train_sets:
        _check_crops(study, run, train_set)
    for train_set in seen_by(run, runs):
        for other in (*run.test_sets, *filter(None, [run.validation_set])):
            _check_apart(study, run, train_set, other)
    if run.validation_set is not None:
        for test_set in run.test_sets:
            _check_apart(study, run, run.validation_set, test_set, "validation")


def seen_by(run: Run, runs: dict[str, Run]) -> list[str]:
    """List the data sets that the weights of a training have learnt from, those that it begins with included."""
    found: dict[str, None] = {}
    first: Run | None = run
    while first is not None:
        found |= dict.fromkeys(first.train_sets)
        first = runs.get(str(first.start_from))
    return list(found)


def _check_crops(study: StudySpec, run: Run, train_set: str) -> None:
    """Refuse crops that clips, of a size known beforehand, are too small or too short for."""
    recipe, dataset = study.recipes[str(run.recipe)], study.datasets[train_set]
    if not isinstance(dataset, CameraMoves):
        return
    context = sum(study.models[run.model].neighbours) if recipe.context == "real" else 0
    smallest = min(dataset.size) // study.scale
    if smallest < recipe.crop:
        raise ConfigError(
            f"recipes.{run.recipe}.crop: expected at most {smallest} LR pixels, the size of the clips of "
            f"{train_set}, got {recipe.crop}"
        )
    late = recipe.long_clips.frames if recipe.long_clips else 0
    for key, length in (("frames", recipe.frames), ("long_clips.frames", late)):
        if dataset.frames < length + context:
            raise ConfigError(
                f"recipes.{run.recipe}.{key}: expected at most {dataset.frames - context}, as the clips of "
                f"{train_set} have {dataset.frames} frames, got {length}"
            )


def _check_apart(study: StudySpec, run: Run, train_set: str, other: str, purpose: str = "train") -> None:
    """Refuse to test on what was trained or validated on."""
    shared = overlap(study.downloads, study.datasets[train_set], study.datasets[other])
    if shared:
        kind = "validation" if other == run.validation_set else "test"
        raise ConfigError(f"runs ({run.id}): {purpose} set {train_set} and {kind} set {other} share {shared}")
