"""A study file: its sections, each with its keys."""

import difflib
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError

from rlsp.config.constants import FRAME_SIZES
from rlsp.config.specs.base import Spec, explain, unknown_key
from rlsp.config.specs.datasets import AnyDataset
from rlsp.config.specs.degradations import AnyDegradation
from rlsp.config.specs.downloads import AnyDownload
from rlsp.config.specs.fields import (
    Ask,
    Flag,
    Line,
    Name,
    Number,
    OneOrSeveral,
    Pixels,
    Threads,
    Whole,
    WholeOr,
    mistake,
    quoted,
)
from rlsp.config.specs.metrics import MetricName, OwnMetric
from rlsp.config.specs.models import AnyModel
from rlsp.config.specs.protocols import Protocol
from rlsp.config.specs.recipes import Recipe
from rlsp.config.specs.runs import AnyEntry, Names
from rlsp.errors import ConfigError

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
Device = Literal["auto", "cpu", "cuda"]
# By section, where in the path of an error pydantic puts the branch of a union.
TAGS = {"downloads": 2, "datasets": 2, "degradations": 2, "models": 2, "runs": 2}


def _frame_sizes(value: Any) -> Any:
    """Refuse frame sizes that are neither names nor height and width."""
    if isinstance(value, str) and value != "auto":
        raise mistake(f"unknown name {quoted(value)}; known: auto")
    if value == "auto":
        return value
    if not isinstance(value, (list, tuple)) or not value:
        raise mistake(f"expected auto, or a list of sizes, got {quoted(value)}")
    sizes: list[str | tuple[int, ...]] = []
    for size in value:
        if isinstance(size, str):
            if size not in FRAME_SIZES:
                raise mistake(f"unknown name {quoted(size)}; known: {', '.join(sorted(FRAME_SIZES))}")
            sizes.append(size)
            continue
        is_pair = isinstance(size, (list, tuple)) and len(size) == 2
        if not is_pair or not all(type(side) is int and 8 <= side <= 2**14 for side in size):
            raise mistake(f"expected height and width of at least 8 LR pixels, got {quoted(size)}")
        sizes.append(tuple(size))
    return tuple(sizes)


_SIDES = {"type": "array", "items": {"type": "integer", "minimum": 8}, "minItems": 2, "maxItems": 2}
_SIZE = {"anyOf": [{"enum": list(FRAME_SIZES)}, _SIDES]}
_SIZES = (("anyOf", [{"const": "auto"}, {"type": "array", "minItems": 1, "items": _SIZE}]),)
FrameSizes = Annotated[Literal["auto"] | tuple[str | tuple[int, int], ...], Ask(_frame_sizes, _SIZES)]


class Score(Spec):
    """Scoring."""

    crops: Annotated[tuple[Pixels, ...], Field(min_length=1)] = Field(
        (0, 8),
        description="Border crops in HR pixels for which rows are kept; protocols choose among them.",
    )
    workers: Threads = Field(2, description="Threads of a scoring job.")


class Restore(Spec):
    """Restoring."""

    threads: Threads = Field(2, description="CPU threads of a restoring job.")
    precision: Precision = Field(
        "fp32",
        description="Precision of the network when test clips are restored; interpolation is in fp32.",
    )


class Precisions(Spec):
    """Comparison of precisions."""

    runs: tuple[Line, ...] = Field(
        (),
        description="Runs with weights whose restored frames in lower precisions are compared with those in fp32.",
    )
    compare: tuple[Literal["tf32", "bf16", "fp16"], ...] = Field(
        ("bf16",),
        description="Precisions to compare; those that the device does not have are left out.",
    )
    long_clip: Annotated[int, Whole(0, 10**6)] = Field(
        1000,
        description="Frames of a long clip, the first of a test set played there and back; 0 for none.",
    )


class TrainingSettings(Spec):
    """How trainings run; nothing here changes their results."""

    processes: Annotated[int, Whole(1, 1024)] = Field(
        1, description="Processes of a training, each with a GPU of its own, that share its batch (DDP)."
    )
    workers: Annotated[int, Whole(0, 1024)] = Field(
        0, description="Further processes, for each of these, that prefetch crops."
    )
    runs_per_gpu: Annotated[int | str, WholeOr(1, 16, "auto")] = Field(
        1,
        description="Trainings that share a GPU, or auto: as many as fill it, by the size of their batches. On "
        "one machine give `--resources gpu_places=` GPUs times this; a scheduler gives each training a GPU of its own.",
    )
    resident: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Keep all training clips on the GPU as 8-bit values and cut crops there; auto where they fit.",
    )


class Runtime(Spec):
    """Timing."""

    sizes: FrameSizes = Field(
        "auto",
        description="Frames that are timed, by the name of the output (360p, 720p, full-hd, 4k) or as height and "
        "width of the LR frame; auto is full-hd on a GPU and 360p on a CPU.",
    )
    grid: Flag = Field(
        False,
        description="Time every precision, mode, boundary, batch and size instead of the headline's.",
    )
    repeats: Annotated[int, Whole(1, 10**6)] = Field(
        20, description="Maximum number of samples of each case; cases are interleaved."
    )
    seconds: Annotated[float, Number(above=0, maximum=10**6)] = Field(
        60, description="Maximum time for the samples of one case; three are taken however long they are."
    )
    warmup: Annotated[int, Whole(1, 10**6)] = Field(
        3,
        description="Minimum number of frames of each case before the first sample; more follow until its time is "
        "stable.",
    )
    threads: Threads = Field(2, description="CPU threads; the job takes the whole machine besides.")
    also: tuple[Line, ...] = Field((), description="Models that are timed besides those of the runs.")
    skip: tuple[Line, ...] = Field((), description="Models of the runs that are not timed.")
    sweep: Line | None = Field(
        None,
        description="Model whose frame size, clip length, filters and layers are varied for the cost curves.",
    )


class Gallery(Spec):
    """Figures of frames."""

    clips: dict[Name, Names] = Field(
        {},
        description="Clips of a test set that temporal profiles and crops show; the default is its first.",
    )


class Released(Spec):
    """Checks of the released study."""

    exactness: tuple[tuple[Line, Line], ...] = Field(
        (), description="Pairs of runs, ours first, whose luma frames must agree to one grey level."
    )
    claims: Flag = Field(False, description="Write the ledger of published claims.")


def _meant(message: str, config: dict[str, Any]) -> str:
    """Ask whether an entry without its kind was meant to change another one, such as own-clip for own-clips."""
    section = message.partition(".")[0]
    names = [name for name in config.get(section) or () if message.startswith(f"{section}.{name}.")]
    if not message.endswith(": missing") or section not in TAGS or not names:
        return ""
    others = [name for name in config[section] if name not in names]
    close = difflib.get_close_matches(names[-1], others, n=1)
    return f"; did you mean {section}.{close[0]}?" if close else ""


class StudySpec(Spec):
    """Configuration of a study."""

    LEFT_OUT: ClassVar[frozenset[str]] = frozenset({"metrics"})

    study: Name = Field(description="Name of the study; everything it makes goes to results/<study>/.")
    extends: OneOrSeveral | None = Field(
        None,
        description="Study that this one builds on: the name of one that ships, or a file. Maps are merged, and `runs` "
        "may be a map: `add` (entries) and `remove` (models, names of runs). Trainings that are equal in both are "
        "taken from its results.",
    )
    data_root: Line = Field(
        "data",
        description="Folder for downloads, clips, LR clips and optical flow; move it to scratch space as you like.",
    )
    stage_to: Line | None = Field(
        None,
        description="Folder on the own disk of the machine that trains, to which training clips are copied once, as "
        "reading them from a shared disk is slow; ~ and variables such as $TMPDIR are those of the job. Without room "
        "there they are read from data_root. Copies stay until you remove rlsp-<user id> in that folder.",
    )
    device: Device = Field(
        "auto", description="Where to train, restore and time; auto takes a GPU when there is one."
    )
    scale: Annotated[int, Whole(2, 8)] = Field(
        4, description="Up-scaling factor of all models and degradations."
    )
    first_frames: Annotated[int, Whole(2, 10**6)] | None = Field(
        None, description="Fetch and use only this many frames of each downloaded clip."
    )
    keep_archives: Flag = Field(
        False,
        description="Keep fetched zip archives; else each is removed once all that a run needs has been taken out of "
        "it, and of one that the study needs few clips of, such as REDS4, these are fetched alone.",
    )
    compare_lr: tuple[Line, ...] = Field(
        (), description="Data sets with an official_lr, with which our bicubic LR is compared."
    )
    downloads: dict[Name, AnyDownload] = Field(
        {}, description="Files from elsewhere, each with its checksum."
    )
    datasets: dict[Name, AnyDataset] = Field({}, description="Clips to train and test on.")
    degradations: dict[Name, AnyDegradation] = Field({}, description="How LR clips are made from HR clips.")
    models: dict[Name, AnyModel] = Field({}, description="Methods; what is left out has the paper's value.")
    recipes: dict[Name, Recipe] = Field({}, description="How models are trained.")
    metrics: dict[MetricName, OwnMetric] = Field(
        {}, description="Measures of your own, beside those that ship."
    )
    protocols: dict[Name, Protocol] = Field({}, description="How rows per frame become one number.")
    headline_protocol: Line | None = Field(
        None, description="Protocol of figures and of the tables that show one number a run."
    )
    runs: Annotated[tuple[AnyEntry, ...], Field(min_length=1)] = Field(
        description="What is measured; lists of models, degradations and seeds are expanded to one run each."
    )
    test_sets: Names = Field(description="Data sets that every run is tested on.")
    score: Score = Field(Score(), description="Scoring.")
    restore: Restore = Field(Restore(), description="Restoring.")
    precisions: Precisions = Field(Precisions(), description="Comparison of precisions.")
    training: TrainingSettings = Field(TrainingSettings(), description="How trainings run.")
    runtime: Runtime = Field(Runtime(), description="Timing.")
    pictures: Gallery = Field(Gallery(), description="Figures of frames.")
    ablation: tuple[Line, ...] = Field((), description="Models of the ablation table, in its order.")
    reference_model: Line | None = Field(
        None, description="Model that run times are compared with; the default is the fastest."
    )
    released: Released = Field(Released(), description="Checks of the released study.")

    @classmethod
    def read(cls, config: dict[str, Any]) -> "StudySpec":
        """Check a configuration.

        Raises
        ------
        ConfigError
            One line with the key, what was expected and what came.
        """
        try:
            study = cls.model_validate(config)
        except ValidationError as error:
            message = explain(error, tags=TAGS)
            raise ConfigError(message + _meant(message, config)) from None
        for section in ("downloads", "datasets", "degradations", "models"):
            for name, spec in getattr(study, section).items():
                for key in spec.RESOLVED:
                    if key in config[section][name]:
                        raise ConfigError(f"{section}.{name}.{key}: {unknown_key(key, type(spec))}")
        return study
