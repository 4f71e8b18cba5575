"""Studies: configuration, its checks, the runs it expands to, and where everything lies."""

import copy
import difflib
import functools
import hashlib
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from rlsp.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
CATALOGUE = ROOT / "config" / "catalogue.yaml"
RELEASED = "released:"
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
    errors = list(Draft202012Validator(read_schema()).iter_errors(config))
    if errors:
        raise ConfigError(_explain(min(errors, key=lambda error: (len(error.path), str(error.path)))))


def _explain(error: ValidationError) -> str:
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
        if Draft202012Validator(condition).is_valid(value):
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
    recipe, train_set : str or None
        Of a trained run.
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
    train_set: str | None = None
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
                        recipe=entry["recipe"], train_set=entry["train_set"], seed=seed, **shared,
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


def check_references(config: dict[str, Any], runs: dict[str, Run]) -> None:
    """Refuse names that are not defined, and settings that do not fit each other.

    Raises
    ------
    ConfigError
        One line with the key, what was expected and what came.
    """
    for name, dataset in config["datasets"].items():
        if "download" in dataset:
            _known(f"datasets.{name}.download", dataset["download"], config["downloads"])
    for run in runs.values():
        where = f"runs ({run.id})"
        if run.origin == "released-frames":
            _known(f"{where}.frames", run.source.removeprefix(RELEASED), config["downloads"])
        _known(f"{where}.degradations", run.degradation, config["degradations"])
        for dataset in run.test_sets:
            _known(f"{where}.test_sets", dataset, config["datasets"])
        if run.origin == "trained":
            _known(f"{where}.models", run.model, config["models"])
            _known(f"{where}.recipe", run.recipe, config["recipes"])
            _known(f"{where}.train_set", run.train_set, config["datasets"])
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
    _known("headline_protocol", config.get("headline_protocol"), config["protocols"])
    run_models = {run.model for run in runs.values()}
    for model in config["ablation"]:
        _known("ablation", model, run_models)
    for dataset in config["pictures"]["clips"]:
        _known("pictures.clips", dataset, {name for run in runs.values() for name in run.test_sets})
    if config["reference_model"] is not None:
        _known("reference_model", config["reference_model"], run_models)
    for pair in config["released"]["exactness"]:
        for run_id in pair:
            _known("released.exactness", run_id, runs)


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


def _known(key: str, name: Any, names: Any) -> None:
    if name not in names:
        close = difflib.get_close_matches(str(name), list(names), n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(f"{key}: unknown name {name!r}; {hint}known: {', '.join(sorted(names))}")


def _check_training(config: dict[str, Any], run: Run) -> None:
    from rlsp.sources import overlap  # reads pictures' libraries: not needed to plan a study without training

    recipe, dataset = config["recipes"][run.recipe], config["datasets"][run.train_set]
    for key, value in recipe.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"recipes.{run.recipe}.{key}: expected a finite number, got {value}")
    if recipe["checkpoint_every"] % recipe["log_every"]:
        raise ConfigError(
            f"recipes.{run.recipe}.checkpoint_every: expected a multiple of log_every {recipe['log_every']}, "
            f"got {recipe['checkpoint_every']}"
        )
    model = config["models"][run.model]
    context = 2 if recipe["context"] == "real" and model.get("adjacent", True) else 0
    if dataset["source"] == "camera-moves":
        smallest, frames = min(dataset["size"]) // config["scale"], dataset["frames"]
        if smallest < recipe["crop"]:
            raise ConfigError(
                f"recipes.{run.recipe}.crop: expected at most {smallest} LR pixels, the size of the clips of "
                f"{run.train_set}, got {recipe['crop']}"
            )
        if frames < recipe["frames"] + context:
            raise ConfigError(
                f"recipes.{run.recipe}.frames: expected at most {frames - context}, as the clips of "
                f"{run.train_set} have {frames} frames, got {recipe['frames']}"
            )
    for test_set in run.test_sets:
        shared = overlap(*(_whole_shots(config, spec) for spec in (dataset, config["datasets"][test_set])))
        if shared:
            raise ConfigError(
                f"runs ({run.id}): train set {run.train_set} and test set {test_set} share {shared}"
            )


class Study:
    """A checked configuration: its runs, resolved specifications and paths.

    Parameters
    ----------
    config : dict
        Catalogue and study file merged.
    results : Path
        Folder that holds a folder for each study.

    Raises
    ------
    ConfigError
        The configuration is wrong.
    """

    def __init__(self, config: dict[str, Any], results: Path = Path("results")) -> None:
        check_schema(config)
        self.config = fill_defaults(config)
        self.runs = expand_runs(self.config)
        check_references(self.config, self.runs)
        self.name: str = self.config["study"]
        self.folder = Path(results) / self.name
        self.data_root = Path(self.config["data_root"]).expanduser()

    @classmethod
    def from_file(cls, *files: Path) -> "Study":
        """Read a study from its file (and further ones that change it)."""
        return cls(read_config(*files))

    @property
    def test_sets(self) -> list[str]:
        """Every data set that some run is tested on."""
        return sorted({dataset for run in self.runs.values() for dataset in run.test_sets})

    def runs_of(self, *kinds: str) -> list[Run]:
        """List the runs of some kinds (trained, weights, frames, interpolation)."""
        return [run for run in self.runs.values() if run.kind in kinds]

    def run(self, run_id: str, *kinds: str) -> Run:
        """Look up a run by its id.

        Raises
        ------
        ConfigError
            There is none of this name, or it is of another kind.
        """
        runs = {run.id: run for run in (self.runs_of(*kinds) if kinds else self.runs.values())}
        _known("run", run_id, runs)
        return runs[run_id]

    def needed_downloads(self) -> list[str]:
        """Names of the downloads that the study's runs and data sets need."""
        datasets = {*self.test_sets, *(run.train_set for run in self.runs_of("trained"))}
        needed = {name for dataset in datasets for name in self.downloads_of(dataset)}
        for run in self.runs.values():
            if run.origin == "released-frames":
                needed.add(run.source.removeprefix(RELEASED))
            elif run.origin == "released-weights":
                needed.add(self.released_checkpoint(run.id)["download"])
        return sorted(needed)

    # Specifications: each holds all that its result depends on, and nothing else.

    def dataset(self, name: str) -> dict[str, Any]:
        """Resolve a data set, with the scale its frames are cut to and what it is downloaded from."""
        spec = dict(self.config["datasets"][name], scale=self.config["scale"])
        if spec["source"] == "frames":
            spec["first_frames"] = self.config["first_frames"]
        if "download" in spec:
            download = self.download(spec["download"])
            spec["files"] = spec_hash(
                {key: download[key] for key in download if key not in ("base_url", "licence")}
            )
        return spec

    def download(self, name: str) -> dict[str, Any]:
        """Resolve a download."""
        spec = dict(self.config["downloads"][name])
        if spec["kind"] == "files":
            spec["first_frames"] = self.config["first_frames"]
        return spec

    def degradation(self, name: str) -> dict[str, Any]:
        """Resolve a degradation."""
        return dict(self.config["degradations"][name], scale=self.config["scale"])

    def model(self, name: str) -> dict[str, Any]:
        """Resolve a model."""
        return {"scale": self.config["scale"], **self.config["models"][name]}

    def training(self, run_id: str) -> dict[str, Any]:
        """Resolve a training."""
        run = self.runs[run_id]
        return {
            "model": self.model(run.model),
            "recipe": self.config["recipes"][run.recipe],
            "train_set": self.dataset(run.train_set),
            "degradation": self.degradation(run.degradation),
            "seed": run.seed,
        }

    def labels(self, run_id: str, dataset: str) -> dict[str, Any]:
        """Identify the scores of a run in the tidy table."""
        run = self.runs[run_id]
        return {
            "study": self.name, "run": run.id, "origin": run.origin, "model": run.model,
            "recipe": run.recipe, "seed": run.seed, "degradation": run.degradation, "dataset": dataset,
        }  # fmt: skip

    def own_arch(self, run_id: str) -> str | None:
        """Class of the user's own that the weights of a run may name."""
        return self.config["models"].get(self.runs[run_id].model, {}).get("arch")

    def timed_models(self) -> dict[str, dict[str, Any]]:
        """Resolve the models to be timed: those of the study's runs, and the interpolation."""
        specs = {}
        for run in self.runs.values():
            if run.origin == "interpolation":
                specs[run.model] = {"arch": run.model, "scale": self.config["scale"]}
            elif run.model in self.config["models"]:
                specs[run.model] = self.model(run.model)
        return specs

    def facts(self) -> dict[str, Any]:
        """Resolve what tables and figures need to know besides the rows."""
        runs = self.runs.values()
        return {
            "study": self.name,
            "device": self.config["device"],
            "protocols": self.config["protocols"],
            "headline_protocol": self.config["headline_protocol"],
            "models": {name: self.model(name) for name in sorted(self.timed_models()) if name in self.config["models"]},
            "degradations": {name: self.degradation(name) for name in sorted({run.degradation for run in runs})},
            "ablation": self.config["ablation"],
            "reference_model": self.config["reference_model"],
        }  # fmt: skip

    @property
    def gpus(self) -> int:
        """GPUs that a training, restoring or timing job asks for."""
        return 0 if self.config["device"] == "cpu" else 1

    # Paths: manifests stand for the folders that they are written into last.

    @staticmethod
    def pattern(names: Iterable[str]) -> str:
        """Regular expression that matches these names and nothing else (of none: nothing at all)."""
        return "|".join(re.escape(name) for name in sorted(names)) or "(?!)"

    def _download_folder(self, name: str) -> str:
        first = self.download(name).get("first_frames")
        return name if first is None else f"{name}-first{first}"

    @property
    def downloads(self) -> dict[str, str]:
        """Name of each download by its folder."""
        return {self._download_folder(name): name for name in self.config["downloads"]}

    @property
    def packed(self) -> dict[str, str]:
        """Name of each data set by its folder."""
        return {self._dataset_folder(name): name for name in self.config["datasets"]}

    @property
    def degraded(self) -> dict[str, str]:
        """Name of each degradation by its folder."""
        return {self._degradation_folder(name): name for name in self.config["degradations"]}

    def downloaded(self, name: str) -> Path:
        """Manifest of a download."""
        return self.data_root / "downloads" / self._download_folder(name) / "manifest.json"

    def downloads_of(self, dataset: str) -> dict[str, Path]:
        """Manifests of the downloads that a data set is packed from, by name."""
        name = self.config["datasets"][dataset].get("download")
        return {name: self.downloaded(name)} if name else {}

    def files_of(self, dataset: str) -> list[Path]:
        """Files or folders that a data set is packed from."""
        spec = self.config["datasets"][dataset]
        if spec["source"] == "folder":
            return [Path(spec["path"]).expanduser()]
        return list(self.downloads_of(dataset).values())

    def state_of_folders(self, paths: Iterable[Path]) -> str:
        """Hash names, sizes and times of the files below folders: a folder's own time says too little."""
        files = (
            file for path in paths if path.is_dir() for file in sorted(path.rglob("*")) if file.is_file()
        )
        return spec_hash([[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files])

    def released_checkpoint(self, run_id: str) -> dict[str, Any]:
        """Where a released checkpoint is downloaded to, and what it holds."""
        from rlsp.released import checkpoint_facts

        run = self.runs[run_id]
        facts = checkpoint_facts(run.source.removeprefix(RELEASED))
        download = facts.pop("download")
        manifest = self.downloaded(download)
        return {
            "download": download,
            "manifest": manifest,
            "prefix": manifest.parent / facts.pop("prefix"),
            "facts": {**facts, "degradation": self.degradation(run.degradation)},
        }

    def frames_of(self, run_id: str) -> Path:
        """Manifest or folder of the frames of a run that come from elsewhere."""
        source = self.runs[run_id].source
        if source.startswith(RELEASED):
            return self.downloaded(source.removeprefix(RELEASED))
        return Path(source).expanduser()

    def _degradation_folder(self, name: str) -> str:
        return f"{name}-{spec_hash(self.degradation(name))}"

    def _dataset_folder(self, name: str) -> str:
        return f"{name}-{spec_hash(self.dataset(name))}"

    def clips(self, dataset: str) -> Path:
        """Manifest of a packed data set."""
        return self.data_root / "clips" / self._dataset_folder(dataset) / "manifest.json"

    def lr(self, degradation: str, dataset: str) -> Path:
        """Manifest of the LR clips of a data set."""
        folder = self._degradation_folder(degradation)
        return self.data_root / "lr" / folder / self._dataset_folder(dataset) / "manifest.json"

    def train_lr(self, run_id: str) -> Path:
        """Manifest of the LR clips that a run is trained on."""
        return self.lr(self.runs[run_id].degradation, self.runs[run_id].train_set)

    def test_lr(self, run_id: str, dataset: str) -> Path:
        """Manifest of the LR clips that a run restores."""
        return self.lr(self.runs[run_id].degradation, dataset)

    def flow(self, dataset: str) -> Path:
        """Manifest of the optical flow of a data set."""
        return self.data_root / "flow" / self._dataset_folder(dataset) / "manifest.json"

    def weights(self, run_id: str) -> Path:
        """Weights of a run that has any."""
        run = self.runs[run_id]
        if run.origin == "external":
            return Path(run.source).expanduser()
        return self.folder / "weights" / run_id / "model.safetensors"

    def training_folder(self, run_id: str) -> Path:
        """Folder of a training's checkpoints, named by all that decides its result."""
        return self.folder / "training" / f"{run_id}-{spec_hash(self.training(run_id))}"

    def restored(self, run_id: str, dataset: str) -> Path:
        """Manifest of a run's frames."""
        return self.folder / "restored" / run_id / dataset / "manifest.json"

    def scores(self, run_id: str, dataset: str) -> Path:
        """Scores of a run on a data set."""
        return self.folder / "scores" / run_id / f"{dataset}.csv"

    def tables(self) -> Path:
        """Folder of tables."""
        return self.folder / "tables"

    def figures(self) -> Path:
        """Folder of figures."""
        return self.folder / "figures"

    def runtime(self) -> Path:
        """Raw run times."""
        return self.folder / "runtime" / f"{self.config['device']}.csv"

    def all_scores(self) -> list[Path]:
        """Every table of scores."""
        return [self.scores(run.id, dataset) for run in self.runs.values() for dataset in run.test_sets]

    def all_restored(self) -> dict[str, dict[str, Path]]:
        """Manifests of all restored frames, by data set and run."""
        return {
            dataset: {
                run.id: self.restored(run.id, dataset)
                for run in self.runs.values()
                if dataset in run.test_sets
            }
            for dataset in self.test_sets
        }

    def _shown_name(self, run: Run) -> str:
        """Name of a run in pictures: its model, and its origin where one model has several."""
        origins = {other.origin for other in self.runs.values() if other.model == run.model}
        return f"{run.model} ({run.origin.replace('-', ' ')})" if len(origins) > 1 else run.model

    def picture_inputs(self) -> list[dict[str, Any]]:
        """Say what is shown side by side: the runs of one data set and one degradation."""
        groups: dict[tuple[str, str], dict[str, Path]] = {}
        interpolation_first = sorted(self.runs.values(), key=lambda run: run.origin != "interpolation")
        for dataset in self.test_sets:
            for run in interpolation_first:
                if dataset in run.test_sets:
                    group = groups.setdefault((dataset, run.degradation), {})
                    # of several seeds the first one
                    group.setdefault(self._shown_name(run), self.restored(run.id, dataset))
        entries = []
        for (dataset, degradation), restored in groups.items():
            manifests = {
                "clips": self.clips(dataset),
                "lr": self.lr(degradation, dataset),
                "restored": restored,
            }
            for clip in self.config["pictures"]["clips"].get(dataset, [None]):
                name = "_".join(part for part in (dataset, clip, degradation) if part)
                entries.append({"name": name, "clip": clip, **manifests})
        return entries

    def training_logs(self) -> list[Path]:
        """List the log of every training."""
        return [self.weights(run.id).with_name("training.csv") for run in self.runs_of("trained")]

    def exactness_pairs(self) -> dict[str, list[str]]:
        """Name the pairs of runs whose pictures must agree."""
        return {"--".join(pair): pair for pair in self.config["released"]["exactness"]}

    def exactness_pair(self, name: str) -> list[Path]:
        """Manifests of two runs whose pictures must agree, ours first."""
        return [
            self.restored(run_id, self.runs[run_id].test_sets[0]) for run_id in self.exactness_pairs()[name]
        ]

    def full_frames(self) -> dict[str, int]:
        """Frames of the downloaded test clips before a study takes the first ones only."""
        specs = [self.config["datasets"][name] for name in self.test_sets]
        return {
            clip: entry["frames"]
            for spec in specs
            if spec["source"] == "frames"
            for clip, entry in spec["clips"].items()
        }

    def claims(self) -> list[Path]:
        """Ledger of published claims, in a study that keeps one."""
        return [self.tables() / "claims.csv"] if self.config["released"]["claims"] else []

    def targets(self) -> list[Path]:
        """List what a study is complete with."""
        checks = [self.folder / "exactness" / f"{name}.csv" for name in self.exactness_pairs()]
        return [self.folder / "report.html", *checks]


def study_files(config_files: Iterable[str]) -> list[str]:
    """Name the files that a study is read from, relative to the working folder or the repository if inside."""
    names = []
    for file in config_files:
        path = Path(file).resolve()
        if path != CATALOGUE:
            roots = [root for root in (Path.cwd(), ROOT) if path.is_relative_to(root)]
            names.append(str(path.relative_to(roots[0]) if roots else path))
    return sorted(set(names))


def check_owner(study: Study, files: list[str]) -> None:
    """Refuse to write into the results of a study that another file defines.

    Raises
    ------
    ConfigError
        ``results/<study>/owner.json`` names other files.
    """
    owner = study.folder / "owner.json"
    if owner.exists():
        found = json.loads(owner.read_text())
        if found != files:
            raise ConfigError(
                f"study: {study.folder} holds the results of {' + '.join(found)}, and {' + '.join(files)} has the "
                f"same name {study.name!r}; choose another name or remove the folder"
            )


def record_owner(study: Study, files: list[str]) -> None:
    """Remember which files define the study that a folder of results belongs to."""
    study.folder.mkdir(parents=True, exist_ok=True)
    temporary = study.folder / "owner.json.part"
    temporary.write_text(json.dumps(files) + "\n")
    os.replace(temporary, study.folder / "owner.json")
