"""What is measured: the entries of ``runs``, and the resolved training of one run."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from rlsp.config.specs.base import Spec
from rlsp.config.specs.datasets import AnyDataset
from rlsp.config.specs.degradations import AnyDegradation
from rlsp.config.specs.fields import Line, Name, OneOrSeveral, Seed, Whole
from rlsp.config.specs.models import AnyModel
from rlsp.config.specs.recipes import Recipe

Names = Annotated[tuple[Line, ...], Field(min_length=1)]
HeldOut = Annotated[int, Whole(1, 10**5)]


class Entry(Spec):
    """What all entries of ``runs`` have."""

    degradations: Names = Field(description="Which degradations made its input.")
    test_sets: Names | None = Field(None, description="Instead of the study's.")


class Trained(Entry):
    """Models that are trained."""

    models: Names = Field(description="Models to train.")
    recipe: Line = Field(description="How.")
    train_set: OneOrSeveral = Field(
        description="On what: a data set, or several whose clips are drawn alike."
    )
    validation_set: Line | None = Field(
        None, description="Data set that is restored now and then, where the recipe says so."
    )
    validation_clips: HeldOut | None = Field(
        None,
        description="Instead of a validation_set: so many clips of the training sets, evenly spread over their names, "
        "are restored and not trained on.",
    )
    start_from: Line | None = Field(
        None,
        description="First weights: a model that is trained once with the same degradation and seed, the id of a "
        "trained run, or a .safetensors file. A larger model computes the same at first.",
    )
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = Field(
        (0,), description="One run for each seed."
    )
    tag: Name | None = Field(
        None,
        description="Added to the names of these runs to tell them from others of the same model.",
    )


class Weights(Entry):
    """Weights from elsewhere."""

    name: Name = Field(description="Name of the run.")
    weights: Line = Field(description="A safetensors file of ours, or released:<7-48|7-64|7-128>.")
    model: Line | None = Field(None, description="Name shown in tables; the default is the run's.")


class Frames(Entry):
    """Frames that were restored elsewhere."""

    name: Name = Field(description="Name of the run.")
    frames: Line = Field(
        description="A folder with a sub-folder of PNG pictures for each clip, or released:<set>."
    )
    model: Line | None = Field(None, description="Name shown in tables; the default is the run's.")


class Interpolation(Entry):
    """The baseline."""

    interpolation: Literal["bicubic"] = Field(
        description="The baseline, aligned to the phase of the degradation."
    )


BRANCHES: dict[str, type[Entry]] = {
    "models": Trained,
    "weights": Weights,
    "interpolation": Interpolation,
    "frames": Frames,
}


def _branch(entry: Any) -> str | None:
    if isinstance(entry, Entry):
        return next(key for key, branch in BRANCHES.items() if isinstance(entry, branch))
    if not isinstance(entry, Mapping):
        return None
    return next((key for key in BRANCHES if key in entry), "models")


# An entry of ``runs``.
AnyEntry = Annotated[
    Annotated[Trained, Tag("models")]
    | Annotated[Weights, Tag("weights")]
    | Annotated[Interpolation, Tag("interpolation")]
    | Annotated[Frames, Tag("frames")],
    Discriminator(_branch),
]


class Start(Spec):
    """What the first weights of a training are: those of another run of the study, or of a file."""

    LEFT_OUT = frozenset({"run", "training", "sha256"})

    run: Line | None = Field(None, description="Id of the run.")
    training: Line | None = Field(None, description="Hash of that run's training.")
    sha256: Line | None = Field(None, description="SHA-256 of the file.")


class Training(Spec):
    """All that decides the weights of a run."""

    LEFT_OUT = frozenset({"validation_clips", "start_from"})

    validation_clips: HeldOut | None = Field(None, description="Clips that are held out.")
    start_from: Start | None = Field(None, description="What the first weights are.")
    model: AnyModel = Field(description="The model, with its scale.")
    recipe: Recipe = Field(description="How it is trained.")
    train_sets: tuple[AnyDataset, ...] = Field(description="Data sets that crops are drawn from.")
    validation_set: AnyDataset | None = Field(None, description="Data set that is restored now and then.")
    degradation: AnyDegradation = Field(description="How the input is made, with its scale.")
    seed: Seed = Field(description="Seed of the first weights and of the crops.")
