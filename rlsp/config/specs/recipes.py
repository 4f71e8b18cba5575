"""How models are trained: the entries of ``recipes``."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rlsp.config.specs.base import Spec
from rlsp.config.specs.fields import Frames, Number, Part, Positive, Steps, Threads, Whole, mistake

# On an H100, trainings of 7-48 as processes of their own: with 16,384 LR pixels of a frame's crops in a step four side
# by side did a little more than one, with 32,768 three did less (numbers were not kept). They take turns on the GPU and
# fill only the gaps of each other.
SHARED_PIXELS, SHARING_RUNS = 16384, 4

Batch = Annotated[int, Whole(1, 65536)]


class LongClips(Spec):
    """Longer crops late in training."""

    after: Part = Field(description="Part of the steps after which they begin.")
    frames: Frames = Field(description="Their frames.")
    batch: Batch = Field(description="Crops in a step then.")


class Recipe(Spec):
    """How a model is trained."""

    LEFT_OUT = frozenset({"optimizer", "carry_scale"})

    steps: Steps = Field(description="Optimiser steps.")
    batch: Batch = Field(4, description="Crops in a step.")
    crop: Annotated[int, Whole(4, 4096)] = Field(64, description="Side of a crop in LR pixels.")
    frames: Frames = Field(10, description="Frames of a crop.")
    learning_rate: Positive = Field(0.0001, description="Learning rate at its highest.")
    optimizer: Literal["adam", "soap"] = Field(
        "adam",
        description="adam, or soap: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2025, package "
        "pytorch-optimizer).",
    )
    carry_scale: Annotated[float, Number(above=0, maximum=1)] = Field(
        1,
        description="Factor on what a recurrent model carries from frame to frame, before its first layer, while it "
        "trains; the weights that are kept include it. Below 1 the frames' columns are drawn as if there were no "
        "others.",
    )
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="Learning rate after the warm-up."
    )
    warmup: Part = Field(0, description="Part of the steps over which the learning rate rises.")
    init: Literal["glorot-uniform", "he-normal"] = Field(
        "glorot-uniform",
        description="First weights; Glorot is the default of TensorFlow 1, which the authors used.",
    )
    head_scale: Positive = Field(1, description="Factor on the first weights of the output.")
    input_range: Positive = Field(
        255, description="Pictures are scaled from 0..255 to 0..this inside the model and in the loss."
    )
    clip_norm: Positive | None = Field(None, description="Largest norm of the gradient.")
    augment: tuple[Literal["flip", "transpose", "reverse"], ...] = Field(
        (),
        description="Mirror rows and columns, exchange them, turn time round: flip, transpose, reverse, each with "
        "probability 1/2.",
    )
    ema: Annotated[float, Number(above=0, below=1)] | None = Field(
        None,
        description="Decay a step of a moving average of the weights; the average is what is kept.",
    )
    long_clips: LongClips | None = Field(None, description="Longer crops late in training.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "fp32",
        description="bf16: convolutions under autocast; weights, residual and loss stay fp32. auto: bf16 where the "
        "device multiplies in it by instructions of its own, else fp32; a training that resumes elsewhere keeps what "
        "it began with.",
    )
    execution: Literal["eager", "compile", "graph"] = Field(
        "eager",
        description="How a step runs: kernel by kernel, through torch.compile, or as one CUDA graph (on a CPU: eager).",
    )
    validate_every: Steps | None = Field(
        None,
        description="Steps between two validations, a multiple of log_every; the run names a validation_set.",
    )
    validate_frames: Frames | None = Field(
        None, description="First frames of each validation clip that are restored; all by default."
    )
    keep: Literal["last", "best"] = Field(
        "last", description="Weights that are measured: the last ones, or those of the best validation."
    )
    context: Literal["real", "replicate"] = Field(
        "real", description="What stands before the first and after the last frame of a crop."
    )
    threads: Threads = Field(
        1, description="CPU threads of a training; results differ between numbers of threads."
    )
    log_every: Steps = Field(100, description="Steps between two rows of training.csv.")
    checkpoint_every: Steps = Field(
        1000, description="Steps between two checkpoints, a multiple of log_every."
    )

    @model_validator(mode="after")
    def _fit(self) -> Self:
        """Refuse settings that do not fit each other."""
        if len(set(self.augment)) < len(self.augment):
            raise mistake(f"expected each once, got {', '.join(self.augment)}", "augment")
        for key in ("checkpoint_every", "validate_every"):
            every = getattr(self, key)
            if every is not None and every % self.log_every:
                raise mistake(f"expected a multiple of log_every {self.log_every}, got {every}", key)
        if self.keep == "best" and self.validate_every is None:
            raise mistake("expected last, as the recipe does not validate, got best", "keep")
        return self

    @property
    def longest(self) -> int:
        """Frames of its longest crops."""
        return max(self.frames, self.long_clips.frames if self.long_clips else 0)

    @property
    def runs_that_fill(self) -> int:
        """How many trainings one GPU does faster side by side than one after the other."""
        return SHARING_RUNS if self.batch * self.crop**2 <= SHARED_PIXELS else 1
