"""What a measure is called, what it takes, and how its values become one number."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self

from rlsp.config.specs.metrics import CROPPED, Kind, OwnMetric


@dataclass(frozen=True)
class Metric:
    """One measure of restored frames; columns, averages, tables, captions and figures follow from it.

    Attributes
    ----------
    name : str
        Column of the scores, such as ``ssim_y``.
    label : str
        What it is called in heads and captions, such as ``SSIM-Y``.
    unit : str
        Such as ``dB``, empty for a ratio.
    kind : "frame", "pair" or "clip"
        Whether it has a value for each frame, for each frame and the one before it, or for a whole clip.
    inputs : tuple of str
        What `function` takes, of :data:`rlsp.config.specs.metrics.INPUTS`.
    better : "higher" or "lower"
        Which of two values is better.
    decimals : int
        Decimals in tables.
    function : callable or None
        Takes `inputs` by name, returns a number; None of a measure of the user's own where nothing is scored.
    average : "mean" or "psnr"
        How the values of a clip become one: their mean, or under a protocol that averages over the video the PSNR of
        the mean squared error.
    trim : tuple of int or None
        Frames left out at the beginning and the end of a clip; None: those of the protocol.
    factor : float
        What tables multiply it with.
    note : str
        What a caption has to say of it.
    has_gaps : bool
        Whether it may be nan, where there is nothing to measure.
    """

    name: str
    label: str
    unit: str
    kind: Kind
    inputs: tuple[str, ...]
    better: Literal["higher", "lower"]
    decimals: int
    function: Callable[..., Any] | None
    average: Literal["mean", "psnr"] = "mean"
    trim: tuple[int, int] | None = None
    factor: float = 1.0
    note: str = ""
    has_gaps: bool = False

    @classmethod
    def of_own(cls, name: str, spec: OwnMetric, function: Callable[..., Any] | None = None) -> Self:
        """Make the record of a measure of the user's own; captions name pairs and clips by their notes alone."""
        label, note = spec.label or name, spec.note
        if spec.kind != "frame":
            trim = "trim {}+{}".format(*spec.trim) if spec.trim else ""
            told = "; ".join(filter(None, [note, trim]))
            note = f"{label}: {told}" if told else ""
        given: dict[str, Any] = {"name": name, "label": label, "note": note, "function": function}
        fields = {key: getattr(spec, key) for key in OwnMetric.model_fields if key not in given}
        return cls(**given, **fields)

    @property
    def is_cropped(self) -> bool:
        """Whether its value depends on the crop."""
        return not CROPPED.isdisjoint(self.inputs)

    @property
    def short(self) -> str:
        """Column of summaries: luma, which most are of, goes without saying."""
        return self.name.removesuffix("_y")

    @property
    def head(self) -> str:
        """Head of tables: label and unit."""
        times = f" x {self.factor:g}" if self.factor != 1 else ""
        return f"{self.label}{times}" + (f" [{self.unit}]" if self.unit else "")
