"""Names that are not defined, and settings that do not fit each other."""

import difflib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlsp.config.datasets import archive_clips, whole_shots
from rlsp.config.runs import RELEASED, Run
from rlsp.config.schema import FRAME_SIZES
from rlsp.errors import ConfigError

if TYPE_CHECKING:
    pass


SSIM_WINDOW = 11  # pixels; a picture must be larger


def _check_source(config: dict[str, Any], name: str) -> None:
    """Refuse a data set made from a download that is not there or of the wrong kind, or with a wrong list of clips."""
    dataset = config["datasets"][name]
    is_archive = dataset["source"] == "archive"
    if is_archive:
        try:
            archive_clips(dataset)
        except ConfigError as error:
            raise ConfigError(f"datasets.{name}.{error}") from None
    official_lr = dataset.get("official_lr") or {}
    places = {"download": dataset.get("download"), "official_lr.download": official_lr.get("download")}
    for key, download in places.items():
        if download is None:
            continue
        check_known(f"datasets.{name}.{key}", download, config["downloads"])
        kind = config["downloads"][download]["kind"]
        if (kind == "archive") != is_archive:
            raise ConfigError(
                f"datasets.{name}.{key}: expected {'an archive' if is_archive else 'no archive'} "
                f"for source {dataset['source']}, got {download} of kind {kind}"
            )


def check_references(config: dict[str, Any], runs: dict[str, Run]) -> None:
    """Refuse names that are not defined, and settings that do not fit each other.

    Raises
    ------
    ConfigError
        One line with the key, what was expected and what came.
    """
    for name, dataset in config["datasets"].items():
        if dataset["source"] == "camera-moves" and ("path" in dataset) == ("photographs" in dataset):
            got = "both" if "path" in dataset else "neither"
            raise ConfigError(
                f"datasets.{name}: expected either photographs (names of those of scikit-image) or path "
                f"(a folder of pictures), got {got}"
            )
        _check_source(config, name)
    with_lr = {name for name, dataset in config["datasets"].items() if dataset.get("official_lr")}
    for name in config["compare_lr"]:
        check_known("compare_lr", name, with_lr)
    for run in runs.values():
        where = f"runs ({run.id})"
        if run.origin == "released-frames":
            check_known(f"{where}.frames", run.source.removeprefix(RELEASED), config["downloads"])
        check_known(f"{where}.degradations", run.degradation, config["degradations"])
        for dataset in run.test_sets:
            check_known(f"{where}.test_sets", dataset, config["datasets"])
        if run.origin == "trained":
            check_known(f"{where}.models", run.model, config["models"])
            if config["models"][run.model]["arch"] == "frvsr" and config["scale"] not in (2, 4, 8):
                raise ConfigError(
                    f"scale: expected 2, 4 or 8, as {run.model} doubles sizes, got {config['scale']}"
                )
            check_known(f"{where}.recipe", run.recipe, config["recipes"])
            for dataset in run.train_sets:
                check_known(f"{where}.train_set", dataset, config["datasets"])
            if run.validation_set is not None:
                check_known(f"{where}.validation_set", run.validation_set, config["datasets"])
            _check_training(config, run)
    for name, degradation in config["degradations"].items():
        if degradation.get("phase", 0) >= config["scale"]:
            raise ConfigError(
                f"degradations.{name}.phase: expected below the scale {config['scale']}, got {degradation['phase']}"
            )
    for name in {dataset for run in runs.values() for dataset in run.test_sets}:
        _check_test_set(config, name)
    for name, protocol in config["protocols"].items():
        if protocol["crop"] not in config["score"]["crops"]:
            raise ConfigError(
                f"protocols.{name}.crop: expected one of score.crops {config['score']['crops']}, "
                f"got {protocol['crop']}"
            )
    check_known("headline_protocol", config.get("headline_protocol"), config["protocols"])
    run_models = {run.model for run in runs.values()}
    for model in config["ablation"]:
        check_known("ablation", model, run_models)
    _check_sizes(config["runtime"]["sizes"])
    for model in config["runtime"]["also"]:
        check_known("runtime.also", model, config["models"])
    if (sweep := config["runtime"]["sweep"]) is not None:
        check_known("runtime.sweep", sweep, config["models"])
        check_swept(sweep, config["models"][sweep])
    for model in config["runtime"]["skip"]:  # one that a changed study has no run of is skipped all the same
        check_known("runtime.skip", model, run_models | config["models"].keys())
    for dataset in config["pictures"]["clips"]:
        check_known("pictures.clips", dataset, {name for run in runs.values() for name in run.test_sets})
    if config["reference_model"] is not None:
        check_known("reference_model", config["reference_model"], run_models)
    for run_id in config["precisions"]["runs"]:
        check_known(
            "precisions.runs", run_id, {run.id for run in runs.values() if run.kind in ("trained", "weights")}
        )
    for pair in config["released"]["exactness"]:
        for run_id in pair:
            check_known("released.exactness", run_id, runs)


def check_swept(model: str, spec: dict[str, Any]) -> None:
    """Refuse a model without the keys that the cost curves vary."""
    missing = [key for key in ("filters", "layers") if key not in spec]
    if missing:
        raise ConfigError(f"runtime.sweep: expected a model with {' and '.join(missing)}, got {model}")


def _check_sizes(sizes: str | list) -> None:
    """Refuse frame sizes that are neither names nor height and width."""
    if isinstance(sizes, str):
        check_known("runtime.sizes", sizes, {"auto"})
        sizes = []
    for size in sizes:
        if isinstance(size, str):
            check_known("runtime.sizes", size, FRAME_SIZES)
        elif len(size) != 2 or not all(type(side) is int and side >= 8 for side in size):
            raise ConfigError(f"runtime.sizes: expected height and width of at least 8 LR pixels, got {size}")


def _check_test_set(config: dict[str, Any], name: str) -> None:
    """Refuse clips, of a size known beforehand, that a crop or a trim leaves nothing of."""
    dataset = config["datasets"][name]
    if dataset["source"] != "camera-moves":
        return
    crop, trim = max(config["score"]["crops"]), max(sum(p["trim"]) for p in config["protocols"].values())
    if min(dataset["size"]) <= 2 * crop + SSIM_WINDOW:
        raise ConfigError(
            f"score.crops: expected at most {(min(dataset['size']) - SSIM_WINDOW - 1) // 2}, as the clips of {name} "
            f"are {dataset['size'][1]}x{dataset['size'][0]}, got {crop}"
        )
    if dataset["frames"] <= trim:
        raise ConfigError(
            f"protocols: expected trims below the {dataset['frames']} frames of the clips of {name}, got {trim}"
        )


def check_known(key: str, name: Any, names: Any) -> None:
    """Refuse a name that is not among the defined ones.

    Raises
    ------
    ConfigError
        One line with the key, the name, and those that are known.
    """
    if name not in names:
        close = difflib.get_close_matches(str(name), list(names), n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(f"{key}: unknown name {name!r}; {hint}known: {', '.join(sorted(names))}")


def neighbours(model: dict[str, Any]) -> tuple[int, int]:
    """Look up how many LR frames before and after the current one a model of the catalogue sees.

    Said here a second time because building a model needs torch, which takes seconds to import. Of a class of
    the user's own nothing is known before: it counts as seeing one frame, and the training itself checks.
    """
    if model["arch"] == "rlsp":
        return (1, 1) if model.get("adjacent", True) else (0, 0)
    return {"duf": (3, 3)}.get(model["arch"], (0, 0))


def _check_training(config: dict[str, Any], run: Run) -> None:
    recipe = config["recipes"][run.recipe]
    _check_recipe(f"recipes.{run.recipe}", recipe)
    if recipe["validate_every"] is not None and run.validation_set is None and not run.validation_clips:
        raise ConfigError(
            f"runs ({run.id}).validation_set: missing, and no validation_clips; recipe {run.recipe} validates"
        )
    if run.validation_set is not None and run.validation_clips:
        raise ConfigError(f"runs ({run.id}).validation_clips: expected none beside a validation_set")
    start = run.start_from
    if start is not None and start.endswith(".safetensors") and not Path(start).expanduser().is_file():
        raise ConfigError(
            f"runs ({run.id}).start_from: expected a .safetensors file, there is none at {start}"
        )
    for train_set in run.train_sets:
        _check_crops(config, run, train_set)
        for other in (*run.test_sets, *filter(None, [run.validation_set])):
            _check_apart(config, run, train_set, other)
    if run.validation_set is not None:
        for test_set in run.test_sets:
            _check_apart(config, run, run.validation_set, test_set, "validation")


def _check_recipe(where: str, recipe: dict[str, Any]) -> None:
    """Refuse settings of a recipe that do not fit each other."""
    for key, value in recipe.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{where}.{key}: expected a finite number, got {value}")
    for key in ("checkpoint_every", "validate_every"):
        if recipe[key] is not None and recipe[key] % recipe["log_every"]:
            raise ConfigError(
                f"{where}.{key}: expected a multiple of log_every {recipe['log_every']}, got {recipe[key]}"
            )
    if recipe["keep"] == "best" and recipe["validate_every"] is None:
        raise ConfigError(f"{where}.keep: expected last, as the recipe does not validate, got best")


def _check_crops(config: dict[str, Any], run: Run, train_set: str) -> None:
    """Refuse crops that clips, of a size known beforehand, are too small or too short for."""
    recipe, dataset = config["recipes"][run.recipe], config["datasets"][train_set]
    if dataset["source"] != "camera-moves":
        return
    context = sum(neighbours(config["models"][run.model])) if recipe["context"] == "real" else 0
    smallest, frames = min(dataset["size"]) // config["scale"], dataset["frames"]
    if smallest < recipe["crop"]:
        raise ConfigError(
            f"recipes.{run.recipe}.crop: expected at most {smallest} LR pixels, the size of the clips of "
            f"{train_set}, got {recipe['crop']}"
        )
    for key, length in (("frames", recipe["frames"]), ("long_clips.frames", _late_frames(recipe))):
        if frames < length + context:
            raise ConfigError(
                f"recipes.{run.recipe}.{key}: expected at most {frames - context}, as the clips of "
                f"{train_set} have {frames} frames, got {length}"
            )


def _late_frames(recipe: dict[str, Any]) -> int:
    return recipe["long_clips"]["frames"] if recipe["long_clips"] else 0


def _check_apart(
    config: dict[str, Any], run: Run, train_set: str, other: str, purpose: str = "train"
) -> None:
    """Refuse to test on what was trained or validated on."""
    from rlsp.config.datasets import (
        overlap,  # reads pictures' libraries: not needed to plan a study without training
    )

    shared = overlap(*(whole_shots(config, config["datasets"][name]) for name in (train_set, other)))
    if shared:
        kind = "validation" if other == run.validation_set else "test"
        raise ConfigError(f"runs ({run.id}): {purpose} set {train_set} and {kind} set {other} share {shared}")
