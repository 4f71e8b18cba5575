"""A study: its runs, the specs of what they are made from, and where each of their results lies."""

import functools
from pathlib import Path
from typing import Any, Self, cast

from rlsp.config.checkpoints import checkpoint_facts
from rlsp.config.checks import check_known, check_references
from rlsp.config.paths import Paths
from rlsp.config.runs import RELEASED, Run, expand_runs
from rlsp.config.specs.datasets import AnyDataset, Archived, Downloaded, Pictures
from rlsp.config.specs.degradations import AnyDegradation, OwnDegradation
from rlsp.config.specs.downloads import Archive, Download, Files
from rlsp.config.specs.models import BUILT, AnyModel, Bicubic, Model, architecture_modules, parse_model
from rlsp.config.specs.runs import Start, Training
from rlsp.config.specs.study import StudySpec
from rlsp.config.study_files import read_config
from rlsp.errors import ConfigError
from rlsp.files import file_sha256, spec_hash
from rlsp.own_code import modules_of


class Study:
    """A checked configuration: its runs, resolved specs and paths.

    Parameters
    ----------
    config : dict
        Catalogue and study file merged.
    results : Path
        Folder that holds a folder for each study.

    Attributes
    ----------
    spec : StudySpec
        What the file says, defaults filled in.
    runs : dict of str to Run
        The single runs by id.
    paths : Paths
        Where everything lies.

    Raises
    ------
    ConfigError
        The configuration is wrong.
    """

    def __init__(self, config: dict[str, Any], results: Path = Path("results")) -> None:
        self.spec = StudySpec.read(config)
        self.runs = expand_runs(self.spec)
        check_references(self.spec, self.runs)
        self.name = self.spec.study
        self.paths = Paths(Path(self.spec.data_root).expanduser(), Path(results) / self.name)

    @classmethod
    def from_file(cls, *files: Path) -> Self:
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

    # Specs: each holds all that its result depends on, and nothing else.

    def download(self, name: str) -> Download:
        """Resolve a download."""
        spec = self.spec.downloads[name]
        return spec.changed(first_frames=self.spec.first_frames) if isinstance(spec, Files) else spec

    def dataset(self, name: str) -> AnyDataset:
        """Resolve a data set, with the scale its frames are cut to and what it is downloaded from."""
        spec = self.spec.datasets[name]
        values: dict[str, Any] = {"scale": self.spec.scale}
        if isinstance(spec, Pictures | Archived):
            values["first_frames"] = self.spec.first_frames
        if isinstance(spec, Downloaded):
            values["files"] = spec_hash(self.download(spec.download).what_decides_bytes())
        return spec.changed(**values)

    def degradation(self, name: str) -> AnyDegradation:
        """Resolve a degradation."""
        return self.spec.degradations[name].changed(scale=self.spec.scale)

    def model(self, name: str) -> AnyModel:
        """Resolve a model."""
        return self.spec.models[name].changed(scale=self.spec.scale)

    def official_lr(self, dataset: str) -> dict[str, Any]:
        """Resolve the LR clips that the publisher of a data set made."""
        spec = self.spec.datasets[dataset]
        if not isinstance(spec, Archived) or spec.official_lr is None:
            raise ConfigError(f"datasets.{dataset}.official_lr: missing")
        return {**spec.official_lr.dump(), "frames": spec.frames, "scale": self.spec.scale}

    def with_official_lr(self) -> list[str]:
        """Names of the data sets whose publisher made LR clips too."""
        return [
            name
            for name, spec in self.spec.datasets.items()
            if isinstance(spec, Archived) and spec.official_lr
        ]

    def training(self, run_id: str) -> Training:
        """Resolve a training."""
        run = self.runs[run_id]
        start = None
        if run.start_from in self.runs:
            start = Start(run=run.start_from, training=spec_hash(self.training(str(run.start_from)).dump()))
        elif run.start_from is not None:
            start = Start(sha256=file_sha256(Path(run.start_from).expanduser()))
        return Training.model_construct(
            validation_clips=run.validation_clips or None,
            start_from=start,
            model=self.model(run.model),
            recipe=self.spec.recipes[str(run.recipe)],
            train_sets=tuple(self.dataset(name) for name in run.train_sets),
            validation_set=self.dataset(run.validation_set) if run.validation_set else None,
            degradation=self.degradation(run.degradation),
            seed=cast(int, run.seed),
        )

    def labels(self, run_id: str, dataset: str) -> dict[str, Any]:
        """Identify the scores of a run in the tidy table."""
        run = self.runs[run_id]
        return {
            "study": self.name, "run": run.id, "origin": run.origin, "model": run.model,
            "recipe": run.recipe_label, "seed": run.seed, "degradation": run.degradation, "dataset": dataset,
        }  # fmt: skip

    def compared(self, run: Run) -> dict[str, Any]:
        """Resolve a run whose precisions are compared."""
        return {
            "run": run.id,
            "model": run.model,
            "trusted_arch": self.own_arch(run.id),
            "test_sets": list(run.test_sets),
        }

    def own_arch(self, run_id: str) -> str | None:
        """Class of the user's own that the weights of a run may name."""
        model = self.spec.models.get(self.runs[run_id].model)
        return model.arch if model is not None else None

    def code_of(self, *run_ids: str) -> list[str]:
        """List the modules of the models of runs, as :func:`rlsp.provenance.code_hash` takes them."""
        models = (model for run_id in run_ids for model in self._possible_models(self.runs[run_id]))
        return architecture_modules(models)

    def _possible_models(self, run: Run) -> list[Model]:
        """Resolve the model of a run; of weights from elsewhere nothing is known but that they name a shipped class."""
        if run.origin == "interpolation":
            return [parse_model({"arch": run.model})]
        if run.origin == "released-weights":
            return [parse_model(checkpoint_facts(str(run.source).removeprefix(RELEASED))["spec"])]
        if run.model in self.spec.models:
            return [self.model(run.model)]
        return [parse_model({"arch": arch}) for arch in BUILT]

    def own_metrics(self) -> dict[str, dict[str, Any]]:
        """Resolve the measures of the user's own, as far as it decides scores."""
        return {name: spec.dump(without=spec.SHOWN) for name, spec in self.spec.metrics.items()}

    def code_of_metrics(self) -> list[str]:
        """List the modules of the user's own measures."""
        return modules_of(*(spec.function for spec in self.spec.metrics.values()))

    def code_of_degradation(self, name: str) -> list[str]:
        """List the module of a degradation of the user's own."""
        spec = self.spec.degradations[name]
        return modules_of(spec.kind) if isinstance(spec, OwnDegradation) else []

    def timed_models(self) -> dict[str, Model]:
        """Resolve the models to be timed: those of the runs and the interpolation, ``runtime.also``, less ``skip``."""
        models: dict[str, Model] = {}
        for run in self.runs.values():
            if run.origin == "interpolation":
                models[run.model] = Bicubic(arch="bicubic", scale=self.spec.scale)
            elif run.model in self.spec.models:
                models[run.model] = self.model(run.model)
        for name in self.spec.runtime.also:
            models.setdefault(name, self.model(name))
        return {name: model for name, model in models.items() if name not in self.spec.runtime.skip}

    def facts(self) -> dict[str, Any]:
        """Resolve what tables and figures need to know besides the rows, in its plain form."""
        runs, spec = self.runs.values(), self.spec
        return {
            "study": self.name,
            "device": spec.device,
            "protocols": {name: protocol.dump() for name, protocol in spec.protocols.items()},
            "headline_protocol": spec.headline_protocol,
            "models": {name: self.model(name).dump() for name in sorted(self.timed_models()) if name in spec.models},
            "degradations": {
                name: self.degradation(name).dump() for name in sorted({run.degradation for run in runs})
            },
            "recipes": {run.recipe: spec.recipes[str(run.recipe)].dump() for run in self.runs_of("trained")},
            **({"skipped": list(spec.runtime.skip)} if spec.runtime.skip else {}),
            **({"metrics": {name: metric.dump() for name, metric in spec.metrics.items()}} if spec.metrics else {}),
            "ablation": list(spec.ablation),
            "reference_model": spec.reference_model,
        }  # fmt: skip

    def full_frames(self) -> dict[str, int]:
        """Frames of the downloaded test clips before a study takes the first ones only."""
        specs = [self.spec.datasets[name] for name in self.test_sets]
        return {
            clip: entry.frames
            for spec in specs
            if isinstance(spec, Pictures)
            for clip, entry in spec.clips.items()
        }

    # Folders of what all studies share, by the name in this study.

    @functools.cached_property
    def archives(self) -> dict[str, str]:
        """File of each download that is an archive, by its name, which is its folder too."""
        return {name: spec.file for name, spec in self.spec.downloads.items() if isinstance(spec, Archive)}

    @functools.cached_property
    def download_folders(self) -> dict[str, str]:
        """Folder of each download."""
        first = self.spec.first_frames
        return {
            name: name if first is None or not isinstance(spec, Files) else f"{name}-first{first}"
            for name, spec in self.spec.downloads.items()
        }

    @functools.cached_property
    def dataset_folders(self) -> dict[str, str]:
        """Folder of each data set."""
        return {name: f"{name}-{spec_hash(self.dataset(name).dump())}" for name in self.spec.datasets}

    @functools.cached_property
    def degradation_folders(self) -> dict[str, str]:
        """Folder of each degradation."""
        return {name: f"{name}-{spec_hash(self.degradation(name).dump())}" for name in self.spec.degradations}

    # Paths by the name in this study.

    def downloaded(self, name: str) -> Path:
        """Manifest of a download."""
        return self.paths.downloaded(self.download_folders[name])

    def archive(self, name: str) -> Path:
        """File of an archive."""
        return self.paths.archive(name, self.archives[name])

    def clips(self, dataset: str) -> Path:
        """Manifest of a packed data set."""
        return self.paths.clips(self.dataset_folders[dataset])

    def unpacked(self, dataset: str) -> Path:
        """Manifest of the clips of a data set that were taken out of an archive."""
        return self.paths.unpacked(self.dataset_folders[dataset])

    def lr(self, degradation: str, dataset: str) -> Path:
        """Manifest of the LR clips of a data set."""
        return self.paths.lr(self.degradation_folders[degradation], self.dataset_folders[dataset])

    def flow(self, dataset: str) -> Path:
        """Manifest of the optical flow of a data set."""
        return self.paths.flow(self.dataset_folders[dataset])

    def archives_of(self, dataset: str) -> list[Path]:
        """List the archives that a data set is packed from."""
        name = self.spec.datasets[dataset].download_name
        return [self.archive(name)] if name in self.archives else []

    def files_of(self, dataset: str) -> list[Path]:
        """Files or folders that a data set is packed from, archives apart."""
        spec = self.spec.datasets[dataset]
        name = spec.download_name
        if spec.folder_on_disk is not None:
            return [spec.folder_on_disk]
        return [self.downloaded(name)] if name is not None and name not in self.archives else []

    def train_hr(self, run_id: str) -> list[Path]:
        """Manifests of the clips that a run is trained on and validated on, in the order of `Run.learnt_from`."""
        return [self.clips(name) for name in self.runs[run_id].learnt_from]

    def train_lr(self, run_id: str) -> list[Path]:
        """Manifests of the LR versions of these clips."""
        run = self.runs[run_id]
        return [self.lr(run.degradation, name) for name in run.learnt_from]

    def train_start(self, run_id: str) -> list[Path]:
        """Weights that a run begins with, if any."""
        start = self.runs[run_id].start_from
        if start in self.runs:
            return [self.weights(str(start))]
        return [Path(start).expanduser()] if start is not None else []

    def training_folder(self, run_id: str) -> Path:
        """Folder of a training's checkpoints, named by all that decides its result."""
        return self.paths.training_state(f"{run_id}-{spec_hash(self.training(run_id).dump())}")

    def test_lr(self, run_id: str, dataset: str) -> Path:
        """Manifest of the LR clips that a run restores."""
        return self.lr(self.runs[run_id].degradation, dataset)

    def weights(self, run_id: str) -> Path:
        """Weights of a run that has any."""
        run = self.runs[run_id]
        return Path(str(run.source)).expanduser() if run.origin == "external" else self.paths.weights(run_id)

    def restored_from(self, run_id: str) -> list[Path]:
        """List the weights of a run: none for interpolation."""
        return [] if self.runs[run_id].kind == "interpolation" else [self.weights(run_id)]

    def frames_of(self, run_id: str) -> Path:
        """Manifest or folder of the frames of a run that come from elsewhere."""
        run = self.runs[run_id]
        name = self.released_download(run)
        return self.downloaded(name) if name is not None else Path(str(run.source)).expanduser()

    def released_download(self, run: Run) -> str | None:
        """Name of the download that holds the released frames or weights of a run."""
        name = str(run.source).removeprefix(RELEASED)
        if run.origin == "released-weights":
            return str(checkpoint_facts(name)["download"])
        return name if run.origin == "released-frames" else None

    def released_checkpoint(self, run_id: str) -> dict[str, Any]:
        """Say where in its download a released checkpoint lies (``prefix``), and what it holds (``facts``)."""
        run = self.runs[run_id]
        facts = checkpoint_facts(str(run.source).removeprefix(RELEASED))
        kept = {key: facts[key] for key in ("spec", "source", "licence")}
        return {
            "prefix": facts["prefix"],
            "facts": {**kept, "degradation": self.degradation(run.degradation).dump()},
        }

    def restoring_device(self, run_id: str) -> str:
        """Device that a run is restored on; interpolation needs no GPU."""
        return "cpu" if self.runs[run_id].kind == "interpolation" else self.spec.device

    def restoring_precision(self, run_id: str) -> str:
        """Precision that a run is restored in; interpolation, on the CPU, knows one only."""
        is_interpolation = self.runs[run_id].kind == "interpolation"
        return "fp32" if is_interpolation else self.spec.restore.precision

    def check_folders(self) -> None:
        """Refuse a study whose own clips, photographs or frames are not there, before anything is planned.

        Raises
        ------
        ConfigError
            A folder that the study file names is missing.
        """
        learnt_from = {name for run in self.runs_of("trained") for name in run.learnt_from}
        for name in sorted({*self.test_sets, *learnt_from}):
            folder = self.spec.datasets[name].folder_on_disk
            if folder is not None and not folder.is_dir():
                raise ConfigError(f"datasets.{name}.path: expected a folder, there is none at {folder}")

    def all_scores(self) -> list[Path]:
        """Every table of scores."""
        return [self.paths.scores(run.id, name) for run in self.runs.values() for name in run.test_sets]

    def training_logs(self) -> list[Path]:
        """List the log of every training."""
        return [self.paths.training_log(run.id) for run in self.runs_of("trained")]

    def runtime_record(self) -> Path:
        """Record of the timing job on the study's device: specs, settings and code."""
        return self.paths.runtime(self.spec.device, "models").with_suffix(".json")

    def runtime(self, what: str = "") -> Path:
        """Raw run times on the study's device, or the table of cases or of the sweep."""
        return self.paths.runtime(self.spec.device, what)
