"""A study: its runs, what each of their results depends on, and where everything lies."""

import functools
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rlsp.config.architectures import ARCHITECTURES, architecture_modules
from rlsp.config.checkpoints import checkpoint_facts
from rlsp.config.checks import check_known, check_references
from rlsp.config.recipes import runs_that_fill
from rlsp.config.runs import RELEASED, Run, expand_runs
from rlsp.config.schema import CATALOGUE, ROOT, check_schema, fill_defaults, read_config
from rlsp.errors import ConfigError
from rlsp.files import file_sha256, spec_hash, write_json

# what does not decide the bytes of a download
_PLACES_AND_TERMS = ("base_url", "urls", "licence")


class Study:
    """A checked configuration: its runs, resolved specifications and paths.

    Parameters
    ----------
    config : dict
        Catalogue and study file merged; the study keeps a copy of its own, which does not change.
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
        check_known("run", run_id, runs)
        return runs[run_id]

    def needed_datasets(self) -> list[str]:
        """Names of the data sets that something of the study is made from."""
        learnt_from = (name for run in self.runs_of("trained") for name in self.learnt_from(run))
        return sorted({*self.test_sets, *learnt_from, *self.config["compare_lr"]})

    def archive_datasets(self) -> list[str]:
        """Names of the needed data sets that are packed from archives."""
        return [
            name for name in self.needed_datasets() if self.config["datasets"][name]["source"] == "archive"
        ]

    def needed_lr(self) -> set[tuple[str, str]]:
        """Degradation and data set of all LR clips that the study needs."""
        trained = {
            (run.degradation, name) for run in self.runs_of("trained") for name in self.learnt_from(run)
        }
        return trained | {(run.degradation, name) for run in self.runs.values() for name in run.test_sets}

    def missing_downloads(self) -> list[str]:
        """Names of the needed downloads without the archives from which everything has been taken."""
        waiting = {
            name
            for dataset in self.archive_datasets()
            if not self.packing_steps(dataset)[0].exists()
            for name in self.downloads_of(dataset)
        }
        waiting |= {
            self.official_lr(name)["download"]
            for name in self.config["compare_lr"]
            if not self.lr_comparison(name).exists()
        }
        return [name for name in self.needed_downloads() if name not in self.archives or name in waiting]

    def needed_downloads(self) -> list[str]:
        """Names of the downloads that the study's runs and data sets need."""
        datasets = self.needed_datasets()
        needed = {name for dataset in datasets for name in self.downloads_of(dataset)}
        needed |= {self.official_lr(dataset)["download"] for dataset in self.config["compare_lr"]}
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
        spec.pop("official_lr", None)
        if spec["source"] in ("frames", "archive"):
            spec["first_frames"] = self.config["first_frames"]
        if "download" in spec:
            download = self.download(spec["download"])
            spec["files"] = spec_hash(
                {key: download[key] for key in download if key not in _PLACES_AND_TERMS}
            )
        return spec

    def download(self, name: str) -> dict[str, Any]:
        """Resolve a download."""
        spec = dict(self.config["downloads"][name])
        if spec["kind"] == "files":
            spec["first_frames"] = self.config["first_frames"]
        return spec

    def archive_bytes(self, name: str) -> dict[str, Any]:
        """Resolve what decides the bytes of an archive."""
        return {key: value for key, value in self.download(name).items() if key not in _PLACES_AND_TERMS}

    def official_lr(self, dataset: str) -> dict[str, Any]:
        """Resolve the LR clips that the publisher of a data set made."""
        spec = self.config["datasets"][dataset]
        return {**spec["official_lr"], "frames": spec["frames"], "scale": self.config["scale"]}

    def with_official_lr(self) -> list[str]:
        """Names of the data sets whose publisher made LR clips too."""
        return [name for name, spec in self.config["datasets"].items() if spec.get("official_lr")]

    def degradation(self, name: str) -> dict[str, Any]:
        """Resolve a degradation."""
        return dict(self.config["degradations"][name], scale=self.config["scale"])

    def model(self, name: str) -> dict[str, Any]:
        """Resolve a model."""
        return {"scale": self.config["scale"], **self.config["models"][name]}

    def training(self, run_id: str) -> dict[str, Any]:
        """Resolve a training."""
        run = self.runs[run_id]
        further: dict[str, Any] = {}  # what is not there by default is left out, so that no folder is renamed
        if run.validation_clips:
            further["validation_clips"] = run.validation_clips
        if run.start_from in self.runs:
            further["start_from"] = {
                "run": run.start_from,
                "training": spec_hash(self.training(run.start_from)),
            }
        elif run.start_from is not None:
            further["start_from"] = {"sha256": file_sha256(Path(run.start_from).expanduser())}
        return {
            **further,
            "model": self.model(run.model),
            "recipe": self.config["recipes"][run.recipe],
            "train_sets": [self.dataset(name) for name in run.train_sets],
            "validation_set": self.dataset(run.validation_set) if run.validation_set else None,
            "degradation": self.degradation(run.degradation),
            "seed": run.seed,
        }

    def labels(self, run_id: str, dataset: str) -> dict[str, Any]:
        """Identify the scores of a run in the tidy table."""
        run = self.runs[run_id]
        return {
            "study": self.name, "run": run.id, "origin": run.origin, "model": run.model,
            "recipe": run.recipe_label, "seed": run.seed, "degradation": run.degradation, "dataset": dataset,
        }  # fmt: skip

    def own_arch(self, run_id: str) -> str | None:
        """Class of the user's own that the weights of a run may name."""
        return self.config["models"].get(self.runs[run_id].model, {}).get("arch")

    def code_of(self, *run_ids: str) -> list[str]:
        """List the modules of the models of runs, as :func:`rlsp.provenance.code_hash` takes them."""
        return architecture_modules(
            spec for run_id in run_ids for spec in self._possible_models(self.runs[run_id])
        )

    def _possible_models(self, run: Run) -> list[dict[str, Any]]:
        """Resolve the model of a run; of weights from elsewhere nothing is known but that they name a shipped class."""
        if run.origin == "interpolation":
            return [{"arch": run.model}]
        if run.origin == "released-weights":
            return [checkpoint_facts(run.source.removeprefix(RELEASED))["spec"]]
        if run.model in self.config["models"]:
            return [self.model(run.model)]
        return [{"arch": name} for name in ARCHITECTURES]

    def timed_models(self) -> dict[str, dict[str, Any]]:
        """Resolve the models to be timed: those of the runs and the interpolation, ``runtime.also``, less ``skip``."""
        specs = {}
        for run in self.runs.values():
            if run.origin == "interpolation":
                specs[run.model] = {"arch": run.model, "scale": self.config["scale"]}
            elif run.model in self.config["models"]:
                specs[run.model] = self.model(run.model)
        for model in self.config["runtime"]["also"]:
            specs.setdefault(model, self.model(model))
        skipped = self.config["runtime"]["skip"]
        return {model: spec for model, spec in specs.items() if model not in skipped}

    def swept_model(self) -> dict[str, Any] | None:
        """Resolve the model of the cost curves, where the study wants them."""
        name = self.config["runtime"]["sweep"]
        return self.model(name) if name else None

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
            "recipes": {run.recipe: self.config["recipes"][run.recipe] for run in self.runs_of("trained")},
            "ablation": self.config["ablation"],
            "reference_model": self.config["reference_model"],
        }  # fmt: skip

    @property
    def places(self) -> int:
        """Trainings that share a GPU; resources count places, of which a job that wants a GPU alone takes all."""
        wanted, runs = self.config["training"]["runs_per_gpu"], self.runs_of("trained")
        if wanted != "auto":
            return wanted
        if self.config["training"]["processes"] > 1:
            return 1
        return max((runs_that_fill(self.config["recipes"][run.recipe]) for run in runs), default=1)

    @property
    def gpus(self) -> int:
        """GPUs that a restoring or timing job asks for, in places."""
        return 0 if self.config["device"] == "cpu" else self.places

    # Paths: manifests stand for the folders that they are written into last.

    @staticmethod
    def pattern(names: Iterable[str]) -> str:
        """Regular expression that matches these names and nothing else (of none: nothing at all)."""
        return "|".join(re.escape(name) for name in sorted(names)) or "(?!)"

    def _download_folder(self, name: str) -> str:
        first = self.download(name).get("first_frames")
        return name if first is None else f"{name}-first{first}"

    @functools.cached_property
    def archives(self) -> dict[str, str]:
        """File of each download that is an archive, by its name, which is its folder too."""
        downloads = self.config["downloads"].items()
        return {name: spec["file"] for name, spec in downloads if spec["kind"] == "archive"}

    @functools.cached_property
    def downloads(self) -> dict[str, str]:
        """Name of each other download by its folder."""
        return {
            self._download_folder(name): name
            for name in self.config["downloads"]
            if name not in self.archives
        }

    @functools.cached_property
    def packed(self) -> dict[str, str]:
        """Name of each data set by its folder."""
        return {folder: name for name, folder in self._dataset_folders.items()}

    @functools.cached_property
    def degraded(self) -> dict[str, str]:
        """Name of each degradation by its folder."""
        return {folder: name for name, folder in self._degradation_folders.items()}

    def downloaded(self, name: str) -> Path:
        """Manifest of a download."""
        return self.data_root / "downloads" / self._download_folder(name) / "manifest.json"

    def archive(self, name: str) -> Path:
        """File of an archive."""
        return self.downloaded(name).with_name(self.archives[name])

    def archive_mark(self, temporary: Callable[[str], str]) -> Callable[[str], str]:
        """Choose how the workflow marks archives: as temporary, or not at all when they are kept."""
        return str if self.config["keep_archives"] else temporary

    def archives_of(self, dataset: str) -> list[Path]:
        """List the archives that a data set is packed from."""
        return [self.archive(name) for name in self.downloads_of(dataset) if name in self.archives]

    def lr_comparison(self, dataset: str) -> Path:
        """Table of the comparison of our LR clips with the official ones."""
        return self.folder / "official_lr" / f"{dataset}.csv"

    def downloads_of(self, dataset: str) -> dict[str, Path]:
        """Manifests of the downloads that a data set is packed from, by name."""
        name = self.config["datasets"][dataset].get("download")
        return {name: self.downloaded(name)} if name else {}

    def files_of(self, dataset: str) -> list[Path]:
        """Files or folders that a data set is packed from, archives apart."""
        spec = self.config["datasets"][dataset]
        if "path" in spec:
            return [Path(spec["path"]).expanduser()]
        return [path for name, path in self.downloads_of(dataset).items() if name not in self.archives]

    def state_of_folders(self, paths: Iterable[Path]) -> str:
        """Hash names, sizes and times of the files below folders: a folder's own time says too little."""
        files = (
            file for path in paths if path.is_dir() for file in sorted(path.rglob("*")) if file.is_file()
        )
        return spec_hash([[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files])

    def released_checkpoint(self, run_id: str) -> dict[str, Any]:
        """Where a released checkpoint is downloaded to, and what it holds."""
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

    def check_folders(self) -> None:
        """Refuse a study whose own clips, photographs or frames are not there, before anything is planned.

        Raises
        ------
        ConfigError
            A folder that the study file names is missing.
        """
        used = {*self.test_sets, *(name for run in self.runs_of("trained") for name in self.learnt_from(run))}
        for name in sorted(used):
            path = self.config["datasets"][name].get("path")
            if path is not None and not Path(path).expanduser().is_dir():
                raise ConfigError(f"datasets.{name}.path: expected a folder, there is none at {path}")

    def frames_of(self, run_id: str) -> Path:
        """Manifest or folder of the frames of a run that come from elsewhere."""
        source = self.runs[run_id].source
        if source.startswith(RELEASED):
            return self.downloaded(source.removeprefix(RELEASED))
        return Path(source).expanduser()

    @functools.cached_property
    def _degradation_folders(self) -> dict[str, str]:
        return {name: f"{name}-{spec_hash(self.degradation(name))}" for name in self.config["degradations"]}

    @functools.cached_property
    def _dataset_folders(self) -> dict[str, str]:
        return {name: f"{name}-{spec_hash(self.dataset(name))}" for name in self.config["datasets"]}

    def clips(self, dataset: str) -> Path:
        """Manifest of a packed data set."""
        return self.data_root / "clips" / self._dataset_folders[dataset] / "manifest.json"

    def packing_steps(self, dataset: str) -> list[Path]:
        """Manifests that packing writes one after the other, the last of which is that of the clips.

        Of an archive there are two, since a temporary file that is fetched again for another data set
        makes Snakemake repeat what was made from it directly, and all that follows: the first step stands
        between them, finds its clips done, and what follows takes it as ancient.
        """
        last = self.clips(dataset)
        return [last.with_name("unpacked.json"), last] if self.archives_of(dataset) else [last]

    def lr(self, degradation: str, dataset: str) -> Path:
        """Manifest of the LR clips of a data set."""
        folder = self._degradation_folders[degradation]
        return self.data_root / "lr" / folder / self._dataset_folders[dataset] / "manifest.json"

    @staticmethod
    def learnt_from(run: Run) -> tuple[str, ...]:
        """Name the data sets that a training reads: those of its crops, then that of its validation."""
        return (*run.train_sets, *filter(None, [run.validation_set]))

    def train_hr(self, run_id: str) -> list[Path]:
        """Manifests of the clips that a run is trained on and validated on, in the order of `learnt_from`."""
        return [self.clips(name) for name in self.learnt_from(self.runs[run_id])]

    def train_lr(self, run_id: str) -> list[Path]:
        """Manifests of the LR versions of these clips."""
        run = self.runs[run_id]
        return [self.lr(run.degradation, name) for name in self.learnt_from(run)]

    def train_start(self, run_id: str) -> list[Path]:
        """Weights that a run begins with, if any."""
        start = self.runs[run_id].start_from
        if start in self.runs:
            return [self.weights(start)]
        return [Path(start).expanduser()] if start is not None else []

    def training_threads(self, run_id: str) -> int:
        """CPU threads that a training asks for: those of its processes, and of the ones that read ahead."""
        settings, recipe = self.config["training"], self.config["recipes"][self.runs[run_id].recipe]
        return settings["processes"] * (recipe["threads"] + settings["workers"])

    @property
    def training_gpus(self) -> int:
        """GPUs that a training asks for, in places: one, or whole GPUs for each of several processes."""
        processes = self.config["training"]["processes"]
        return min(self.gpus, 1) if processes == 1 else self.gpus * processes

    def test_lr(self, run_id: str, dataset: str) -> Path:
        """Manifest of the LR clips that a run restores."""
        return self.lr(self.runs[run_id].degradation, dataset)

    def flow(self, dataset: str) -> Path:
        """Manifest of the optical flow of a data set."""
        return self.data_root / "flow" / self._dataset_folders[dataset] / "manifest.json"

    def weights(self, run_id: str) -> Path:
        """Weights of a run that has any."""
        run = self.runs[run_id]
        if run.origin == "external":
            return Path(run.source).expanduser()
        return self.folder / "weights" / run_id / "model.safetensors"

    def restored_from(self, run_id: str) -> list[Path]:
        """List the weights of a run: none for interpolation."""
        return [] if self.runs[run_id].kind == "interpolation" else [self.weights(run_id)]

    def restoring_device(self, run_id: str) -> str:
        """Device that a run is restored on; interpolation needs no GPU."""
        return "cpu" if self.runs[run_id].kind == "interpolation" else self.config["device"]

    def restoring_precision(self, run_id: str) -> str:
        """Precision that a run is restored in; interpolation, on the CPU, knows one only."""
        return "fp32" if self.runs[run_id].kind == "interpolation" else self.config["restore"]["precision"]

    def restoring_gpus(self, run_id: str) -> int:
        """GPUs that restoring a run asks for."""
        return 0 if self.restoring_device(run_id) == "cpu" else self.gpus

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

    def runtime_cases(self) -> Path:
        """Table of what was timed, with how it went, its floors, memory and energy."""
        return self.runtime().with_name(f"{self.config['device']}-cases.csv")

    def sweeps(self) -> list[Path]:
        """Raw run times of the cost curves, where the study wants them."""
        path = self.runtime().with_name(f"{self.config['device']}-sweep.csv")
        return [path] if self.config["runtime"]["sweep"] else []

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

    def compared_precisions(self) -> dict[str, dict[str, Any]]:
        """Resolve the runs whose precisions are compared: model, weights, and manifests of LR and HR clips."""
        return {
            run.id: {
                "model": run.model,
                "weights": str(self.weights(run.id)),
                "trusted_arch": self.own_arch(run.id),
                "clips": {
                    dataset: [str(self.test_lr(run.id, dataset)), str(self.clips(dataset))]
                    for dataset in run.test_sets
                },
            }
            for run in (self.run(name, "trained", "weights") for name in self.config["precisions"]["runs"])
        }

    def precision_inputs(self) -> list[str]:
        """List the files that comparing precisions reads."""
        compared = self.compared_precisions().values()
        manifests = [path for run in compared for pair in run["clips"].values() for path in pair]
        return sorted({*manifests, *(run["weights"] for run in compared)})

    def precisions(self) -> list[Path]:
        """Table of compared precisions, in a study that has one."""
        return [self.tables() / "precisions.csv"] if self.config["precisions"]["runs"] else []

    def full_frames(self) -> dict[str, int]:
        """Frames of the downloaded test clips before a study takes the first ones only."""
        specs = [self.config["datasets"][name] for name in self.test_sets]
        return {
            clip: entry["frames"]
            for spec in specs
            if spec["source"] == "frames"
            for clip, entry in spec["clips"].items()
        }

    def counts(self) -> Path:
        """Table of parameters and operations of the study's models."""
        return self.tables() / "counts.csv"

    def claims(self) -> list[Path]:
        """Ledger of published claims, in a study that keeps one."""
        return [self.tables() / "claims.csv"] if self.config["released"]["claims"] else []

    def targets(self) -> list[Path]:
        """List what a study is complete with."""
        checks = [self.folder / "exactness" / f"{name}.csv" for name in self.exactness_pairs()]
        comparisons = [self.lr_comparison(name) for name in self.config["compare_lr"]]
        return [self.folder / "report.html", *checks, *comparisons, *self.precisions()]


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
    write_json(study.folder / "owner.json", files)
