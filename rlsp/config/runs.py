"""Runs: what a study trains, converts, takes in or interpolates."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rlsp.config.specs.runs import Entry, Frames, Interpolation, Trained, Weights
from rlsp.config.specs.study import StudySpec
from rlsp.errors import ConfigError

RELEASED = "released:"
MOST_RUNS = 5000


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
    validation_clips : int
        Of a trained run: clips of its training sets that are restored instead, and not trained on.
    seed : int or None
        Of a trained run.
    start_from : str or None
        Of a trained run: the run or the file of the weights that it begins with.
    start_name : str or None
        The model of that run, or the file's name without its ending.
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
    validation_clips: int = 0
    start_from: str | None = None
    start_name: str | None = None

    @property
    def recipe_label(self) -> str | None:
        """Recipe as tables name it: of a run that did not begin from scratch with what it began with."""
        return f"{self.recipe} from {self.start_name}" if self.start_name else self.recipe

    @property
    def learnt_from(self) -> tuple[str, ...]:
        """Data sets that its training reads: those of its crops, then that of its validation."""
        return (*self.train_sets, *filter(None, [self.validation_set]))

    @property
    def kind(self) -> str:
        """How its frames come about: trained, weights, frames or interpolation."""
        if self.origin in ("trained", "interpolation"):
            return self.origin
        is_weights = self.origin == "released-weights" or str(self.source).endswith(".safetensors")
        return "weights" if is_weights else "frames"


def expand_runs(study: StudySpec) -> dict[str, Run]:
    """Expand the entries of ``runs`` to single runs by id.

    Raises
    ------
    ConfigError
        Two runs have the same id, there are more than 5,000, or a frames run ends in ``.safetensors``.
    """
    runs: dict[str, Run] = {}
    for number, entry in enumerate(study.runs):
        for run in _expand_entry(entry, entry.test_sets or study.test_sets):
            if run.id in runs:
                raise ConfigError(
                    f"runs.{number}: run {run.id} is there already; give the entry a tag or name"
                )
            if len(runs) == MOST_RUNS:
                raise ConfigError(f"runs.{number}: expected at most {MOST_RUNS:,} runs in all, got more")
            runs[run.id] = run
    for run in [run for run in runs.values() if run.start_from is not None]:
        start = _find_start(run, str(run.start_from), runs)
        name = runs[start].model if start in runs else Path(start).stem
        runs[run.id] = replace(run, start_from=start, start_name=name)
    for run in runs.values():
        before, first = 0, run
        while first.start_from in runs:
            before, first = before + 1, runs[str(first.start_from)]
            if before > len(runs):
                raise ConfigError(
                    f"runs ({run.id}).start_from: {run.start_from} begins with itself in the end"
                )
    return runs


def _find_start(run: Run, wanted: str, runs: dict[str, Run]) -> str:
    """Find the id of the run that a run begins with; a file stays one.

    Raises
    ------
    ConfigError
        There is no such run, or there are several.
    """
    if wanted.endswith(".safetensors"):
        return wanted
    facts = (wanted, run.degradation, run.seed)
    trained = [other for other in runs.values() if other.kind == "trained"]
    found = [
        other.id
        for other in trained
        if wanted == other.id or facts == (other.model, other.degradation, other.seed)
    ]
    if len(found) != 1:
        raise ConfigError(
            f"runs ({run.id}).start_from: expected a .safetensors file, the id of a trained run, or a model that is "
            f"trained once with this degradation and seed, got {wanted!r}, which is {' or '.join(found) or 'none'}"
        )
    return found[0]


def _expand_entry(entry: Entry, test_sets: tuple[str, ...]) -> Iterator[Run]:
    for degradation in entry.degradations:
        if isinstance(entry, Trained):
            yield from _trainings(entry, degradation, test_sets)
        elif isinstance(entry, Interpolation):
            name = entry.interpolation
            yield Run(f"{name}.{degradation}", "interpolation", name, degradation, test_sets)
        elif isinstance(entry, Weights | Frames):
            yield _from_elsewhere(entry, degradation, test_sets)


def _trainings(entry: Trained, degradation: str, test_sets: tuple[str, ...]) -> Iterator[Run]:
    for model in entry.models:
        for seed in entry.seeds:
            parts = [model, entry.tag, degradation, f"s{seed}"]
            yield Run(
                ".".join(part for part in parts if part), "trained", model, degradation, test_sets,
                recipe=entry.recipe, train_sets=entry.train_set, seed=seed, validation_set=entry.validation_set,
                validation_clips=entry.validation_clips or 0, start_from=entry.start_from,
            )  # fmt: skip


def _from_elsewhere(entry: Weights | Frames, degradation: str, test_sets: tuple[str, ...]) -> Run:
    kind, source = ("weights", entry.weights) if isinstance(entry, Weights) else ("frames", entry.frames)
    is_file = source.endswith(".safetensors")
    if kind == "weights" and not source.startswith(RELEASED) and not is_file:
        raise ConfigError(
            f"runs: {entry.name}.weights: expected released:<name> or a .safetensors file, got {source!r}"
        )
    if kind == "frames" and is_file:
        raise ConfigError(f"runs: {entry.name}.frames: expected a folder of frames, got {source!r}")
    origin = f"released-{kind}" if source.startswith(RELEASED) else "external"
    return Run(
        f"{entry.name}.{degradation}",
        origin,
        entry.model or entry.name,
        degradation,
        test_sets,
        source=source,
    )
