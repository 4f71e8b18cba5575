"""Measures of the user's own: the entries of ``metrics``, and what a measure can be given."""

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rlsp.config.specs.base import Spec
from rlsp.config.specs.fields import Ask, Flag, Line, Location, Number, Text, Whole, mistake, quoted
from rlsp.config.specs.protocols import Trim

Kind = Literal["frame", "pair", "clip"]
# What a measure can ask for, by the name of its argument. A measure of frames gets it of the frame, one of pairs as a
# tuple of frames t - 1 and t, one of clips as a sequence of all frames, each read when it is asked for.
INPUTS = {
    "reference": "luma of the ground truth, (H, W) float64, black 16, white 235, not rounded, cropped",
    "restored": "luma of the restored frame, like reference",
    "reference_rgb": "the ground truth, (H, W, 3) uint8 RGB, cropped",
    "restored_rgb": "the restored frame, like reference_rgb; without rgb frames the cell stays empty",
    "restored_luma_of_rgb": "luma of restored_rgb, like reference; without rgb frames the cell stays empty",
    "reference_grey": "grey of the ground truth, (H, W) uint8, black 0, white 255, not cropped: for optical flow",
    "restored_grey": "grey of the restored frame, like reference_grey",
    "mse": "mean squared error of the cropped luma, squared grey levels",
    "similarity": "structural similarity around each pixel of the luma, (H, W) float64, not cropped",
    "previous": "of pairs: restored luma of frame t - 1, (H, W) float64, not cropped",
    "current": "of pairs: restored luma of frame t, like previous",
    "backward": "of pairs and clips: optical flow of the ground truth from frame t to t - 1, (H, W, 2) float32, "
    "pixels, horizontal then vertical; of a clip that of all pairs, (T - 1, H, W, 2)",
    "visible": "of pairs and clips: where that flow holds, (H, W) bool; of a clip (T - 1, H, W)",
    "crop": "HR pixels left out at each border",
}
CROPPED = frozenset(
    {"reference", "restored", "reference_rgb", "restored_rgb", "restored_luma_of_rgb", "mse", "crop"}
)
OF_RGB = frozenset({"restored_rgb", "restored_luma_of_rgb"})
MOTION = frozenset({"backward", "visible"})
# What measures of a kind cannot ask for.
_NOT_OF = {"frame": {"previous", "current"} | MOTION, "pair": set(), "clip": {"previous", "current"}}


def unknown_inputs(kind: Kind, inputs: Iterable[str]) -> str:
    """Say which inputs a measure of a kind cannot have; nothing when it can have all of them."""
    known = [name for name in INPUTS if name not in _NOT_OF[kind]]
    unknown = [name for name in inputs if name not in known]
    found = f"expected inputs of a {kind}: {', '.join(known)}; got {', '.join(unknown)}"
    return found if unknown else ""


def _input(value: Any) -> str:
    if not isinstance(value, str) or value not in INPUTS:
        raise mistake(f"expected one of {', '.join(INPUTS)}, got {quoted(value)}")
    return value


Input = Annotated[str, Ask(_input, (("enum", list(INPUTS)),))]
MetricName = Annotated[
    str,
    Text(r"^[a-z][a-z0-9_]*\Z", " (a lower-case letter, then such letters, digits, underscores)", "name", 60),
]


class OwnMetric(Spec):
    """A measure of the user's own; the key is its name and its column of the scores."""

    # Those that decide no score: they are for tables alone.
    SHOWN: ClassVar[tuple[str, ...]] = ("label", "unit", "decimals", "trim", "factor", "note")
    LEFT_OUT = frozenset({"has_gaps"})

    function: Location = Field(
        description="package.module:function; it takes the inputs as arguments of these names and returns a number."
    )
    kind: Kind = Field(description="Measure each frame, each frame and the one before it, or whole clips.")
    inputs: Annotated[tuple[Input, ...], Field(min_length=1)] = Field(description="What the function takes.")
    better: Literal["higher", "lower"] = Field(description="Which of two values is better.")
    has_gaps: Flag = Field(
        False, description="It may be nan, where there is nothing to measure; else nan stops the scoring."
    )
    label: Line | None = Field(None, description="Its name in tables and figures; the default is the key.")
    unit: Annotated[str, Text(shortest=0)] = Field("", description="Such as dB; empty for a ratio.")
    decimals: Annotated[int, Whole(0, 9)] = Field(3, description="Decimals in tables.")
    trim: tuple[Trim, Trim] | None = Field(
        None,
        description="Frames left out at the beginning and the end of a clip; by default the protocol's, of pairs none.",
    )
    factor: Annotated[float, Number(above=0, maximum=10**9)] = Field(
        1, description="What tables multiply it with, which their heads say."
    )
    note: Annotated[str, Text(shortest=0)] = Field("", description="What captions say of it.")

    @model_validator(mode="after")
    def _refuse_inputs_of_other_kinds(self) -> Self:
        if unknown := unknown_inputs(self.kind, self.inputs):
            raise mistake(unknown, "inputs")
        return self
