"""Configuration: reading, checking, defaults, and the runs it expands to."""

import copy
import difflib
import functools
import hashlib
import json
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rlsp.errors import ConfigError

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
CATALOGUE = ROOT / "config" / "catalogue.yaml"
RELEASED = "released:"
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")  # of convolutions and matrix products
# Height and width of the LR frame, by the name of the output at scale 4.
FRAME_SIZES = {"360p": (90, 160), "720p": (180, 320), "full-hd": (270, 480), "4k": (540, 960)}
SSIM_WINDOW = 11  # pixels; a picture must be larger


@functools.cache
def read_schema() -> dict[str, Any]:
    """Read the schema of study files."""
    return yaml.safe_load(SCHEMA.read_text())


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge two configurations: maps are merged, everything else is replaced (as ``--configfile`` does)."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def read_config(*files: Path) -> dict[str, Any]:
    """Read the catalogue and study files, the later ones winning.

    Raises
    ------
    ConfigError
        A file is missing or is not a YAML map.
    """
    config: dict[str, Any] = {}
    for file in (CATALOGUE, *files):
        try:
            content = yaml.safe_load(Path(file).read_text())
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{file}: not YAML ({' '.join(str(error).split())})") from error
        if not isinstance(content, dict):
            raise ConfigError(f"{file}: expected a map of keys, got {type(content).__name__}")
        config = merge(config, content)
    return config


def check_schema(config: dict[str, Any]) -> None:
    """Refuse a configuration that the schema does not know.

    Raises
    ------
    ConfigError
        One line with the key, what was expected and what came.
    """
    errors = list(_validator(read_schema()).iter_errors(config))
    if errors:
        raise ConfigError(_explain(min(errors, key=lambda error: (len(error.path), str(error.path)))))


def _validator(schema: dict[str, Any]) -> Any:
    """Make what checks a value against a part of the schema."""
    # jsonschema looks for checkers of formats, of which the schema uses none; this one takes 1.5 s to import
    is_known = "rfc3987_syntax" in sys.modules
    sys.modules.setdefault("rfc3987_syntax", None)
    try:
        from jsonschema import Draft202012Validator  # only to read a study: models run and train without
    except ImportError:
        raise ConfigError("a study file is checked with jsonschema: pip install jsonschema") from None
    finally:
        if not is_known:
            del sys.modules["rfc3987_syntax"]
    return Draft202012Validator(schema)


def _explain(error: "ValidationError") -> str:
    """Say in one line what a validation error is about."""
    where = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        unknown = next(key for key in error.instance if key not in known)
        close = difflib.get_close_matches(str(unknown), known, n=1)
        hint = f"did you mean {close[0]}? known: " if close else "expected one of "
        return f"{where + '.' if where else ''}{unknown}: unknown key; {hint}{', '.join(known)}"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return f"{where + '.' if where else ''}{missing}: missing"
    if error.validator == "pattern":
        is_name = error.validator_value == read_schema()["$defs"]["name"]["pattern"]
        what = "name" if is_name else "text"
        hint = " (lower-case letters, digits, hyphens, single dots)" if is_name else ""
        return f"{where}: {what} {error.instance!r} does not fit {error.validator_value}{hint}"
    if error.validator == "type":
        expected = error.validator_value
        expected = " or ".join(expected) if isinstance(expected, list) else expected
        hint = ""
        if isinstance(error.instance, str) and expected.startswith(("number", "integer")):
            hint = " (YAML reads 1e-3 as text: write 0.001)"
        elif type(error.instance) is int and expected == "string":
            hint = ' (YAML reads 011 as the number 9: write "011")'
        return f"{where}: expected {expected}, got {error.instance!r}{hint}"
    if error.validator == "enum":
        return (
            f"{where}: expected one of {', '.join(map(str, error.validator_value))}, got {error.instance!r}"
        )
    return f"{where}: {error.message}"


def fill_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """Return a checked configuration with every default of the schema filled in."""
    config = copy.deepcopy(config)
    _fill(read_schema(), config)
    return config


def _fill(schema: dict[str, Any], value: Any) -> None:
    for part in _applying(schema, value):
        if isinstance(value, dict):
            for key, sub in part.get("properties", {}).items():
                if key not in value and isinstance(sub, dict) and "default" in sub:
                    value[key] = copy.deepcopy(sub["default"])
                if key in value:
                    _fill(sub, value[key])
            others = part.get("additionalProperties")
            if isinstance(others, dict):
                for key in value.keys() - part.get("properties", {}).keys():
                    _fill(others, value[key])
        elif isinstance(value, list) and isinstance(part.get("items"), dict):
            for item in value:
                _fill(part["items"], item)


def _applying(schema: dict[str, Any], value: Any) -> Iterator[dict[str, Any]]:
    """Yield the parts of a schema that apply to a value: itself, its reference, its true conditions."""
    if not isinstance(schema, dict):
        return
    yield schema
    if "$ref" in schema:
        yield from _applying(read_schema()["$defs"][schema["$ref"].rsplit("/", 1)[1]], value)
    for branch in schema.get("allOf", []):
        condition = {**branch["if"], "$defs": read_schema()["$defs"]}
        if _validator(condition).is_valid(value):
            yield from _applying(branch["then"], value)


def spec_hash(spec: Any) -> str:
    """Hash a resolved specification: eight hexadecimal digits that appear in paths."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Run:
    """One thing that is measured.

    Attributes
    ----------
    id : str
        Name in paths and tables.
    origin : {"trained", "released-weights", "released-frames", "interpolation", "external"}
    model : str
        Name shown in tables.
    degradation : str
        Name of the degradation that made its input.
    test_sets : tuple of str
        Data sets it is tested on.
    recipe : str or None
        Of a trained run.
    train_sets : tuple of str
        Of a trained run: data sets that its crops are drawn from.
    validation_set : str or None
        Of a trained run: data set that is restored now and then while it is trained.
    seed : int or None
        Of a trained run.
    source : str or None
        Weight file, folder of frames, or released name of a run that is not trained here.
    """

    id: str
    origin: str
    model: str
    degradation: str
    test_sets: tuple[str, ...]
    recipe: str | None = None
    train_sets: tuple[str, ...] = ()
    validation_set: str | None = None
    seed: int | None = None
    source: str | None = None

    @property
    def kind(self) -> str:
        """How its frames come about: trained, weights, frames or interpolation."""
        if self.origin in ("trained", "interpolation"):
            return self.origin
        is_weights = self.origin == "released-weights" or self.source.endswith(".safetensors")
        return "weights" if is_weights else "frames"


def expand_runs(config: dict[str, Any]) -> dict[str, Run]:
    """Expand the entries of ``runs`` to single runs by id.

    Raises
    ------
    ConfigError
        Two runs have the same id, or a frames run ends in ``.safetensors``.
    """
    runs: dict[str, Run] = {}
    for number, entry in enumerate(config["runs"]):
        for run in _expand_entry(entry, tuple(config["test_sets"])):
            if run.id in runs:
                raise ConfigError(
                    f"runs.{number}: run {run.id} is there already; give the entry a tag or name"
                )
            runs[run.id] = run
    return runs


def _expand_entry(entry: dict[str, Any], test_sets: tuple[str, ...]) -> Iterator[Run]:
    shared = {"test_sets": tuple(entry.get("test_sets", test_sets))}
    for degradation in entry["degradations"]:
        shared["degradation"] = degradation
        if "models" in entry:
            for model in entry["models"]:
                for seed in entry["seeds"]:
                    parts = [model, entry.get("tag"), degradation, f"s{seed}"]
                    yield Run(
                        ".".join(part for part in parts if part), "trained", model,
                        recipe=entry["recipe"], train_sets=_names(entry["train_set"]), seed=seed,
                        validation_set=entry["validation_set"], **shared,
                    )  # fmt: skip
        elif "interpolation" in entry:
            name = entry["interpolation"]
            yield Run(f"{name}.{degradation}", "interpolation", name, **shared)
        else:
            kind = "weights" if "weights" in entry else "frames"
            source = entry[kind]
            if kind == "weights" and not source.startswith(RELEASED) and not source.endswith(".safetensors"):
                raise ConfigError(
                    f"runs: {entry['name']}.weights: expected released:<name> or a .safetensors file, got {source!r}"
                )
            if kind == "frames" and source.endswith(".safetensors"):
                raise ConfigError(
                    f"runs: {entry['name']}.frames: expected a folder of frames, got {source!r}"
                )
            origin = f"released-{kind}" if source.startswith(RELEASED) else "external"
            model = entry.get("model", entry["name"])
            yield Run(f"{entry['name']}.{degradation}", origin, model, source=source, **shared)


def _names(value: str | list[str]) -> tuple[str, ...]:
    """Give one name or several as several."""
    return (value,) if isinstance(value, str) else tuple(value)


def archive_clips(dataset: dict[str, Any]) -> list[str]:
    """Names of the clips of an archive that belong to a data set, ranges such as ``000-239`` written out.

    Raises
    ------
    ConfigError
        A range runs backwards or has ends of different length, a name is there twice, a clip that is left
        out is not there, or none is left.
    """
    names = []
    for entry in dataset["clips"]:
        ends = re.fullmatch(r"(\d+)-(\d+)", entry)
        if not ends:
            names.append(entry)
            continue
        first, last = ends.groups()
        if len(first) != len(last) or first > last:
            raise ConfigError(f"clips: expected a range from low to high such as 000-239, got {entry}")
        names += [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
    known = set(names)
    if len(known) < len(names):
        raise ConfigError(f"clips: expected every clip once, got one twice in {dataset['clips']}")
    for name in dataset["leave_out"]:
        if name not in known:
            raise ConfigError(f"leave_out: expected one of the clips {dataset['clips']}, got {name!r}")
    left = [name for name in names if name not in dataset["leave_out"]]
    if not left:
        raise ConfigError("leave_out: expected to leave some clips, got none that is left")
    return left


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


def _whole_shots(config: dict[str, Any], dataset: dict[str, Any]) -> dict[str, Any]:
    """Widen the clips of a video to the shots they are cut from: a shot is either for training or for testing."""
    if dataset["source"] != "video":
        return dataset
    shots = config["downloads"][dataset["download"]].get("shots") or [[0, sys.maxsize]]
    touched = {
        f"{name}-{number}": shot
        for name, (first, last) in dataset["shots"].items()
        for number, shot in enumerate(shots)
        if first <= shot[1] and last >= shot[0]
    }
    return {**dataset, "shots": touched}


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
    if recipe["validate_every"] is not None and run.validation_set is None:
        raise ConfigError(f"runs ({run.id}).validation_set: missing; recipe {run.recipe} validates")
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
    from rlsp.sources import overlap  # reads pictures' libraries: not needed to plan a study without training

    shared = overlap(*(_whole_shots(config, config["datasets"][name]) for name in (train_set, other)))
    if shared:
        kind = "validation" if other == run.validation_set else "test"
        raise ConfigError(f"runs ({run.id}): {purpose} set {train_set} and {kind} set {other} share {shared}")
