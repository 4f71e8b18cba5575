"""The rows of the ledger: ``claims.yaml``, checked."""

from pathlib import Path
from typing import Annotated, Literal, Self

import pandas as pd
from pydantic import Field, model_validator

from rlsp.config.reading import read_yaml
from rlsp.config.specs.base import Spec
from rlsp.config.specs.fields import Finite, Flag, FrameNumber, Line, Name, mistake
from rlsp.config.specs.protocols import Protocol
from rlsp.metrics import SSIM_Y
from rlsp.reporting.protocols import metric_label, protocol_label
from rlsp.reporting.published import Printed, find_printed, read_printed
from rlsp.shipped import CLAIMS

CROP = 8
# How PSNR and SSIM are averaged over frames, in words: the literature seldom says which one it used.
_PROTOCOLS = [
    Protocol(channel="y", crop=CROP, trim=(trim, trim), average=average)
    for trim in (2, 0)
    for average in ("video", "frame")
]
PROTOCOLS: dict[str, dict[str, Protocol]] = {
    "psnr": {protocol_label(protocol): protocol for protocol in _PROTOCOLS},
    "ssim": {metric_label(SSIM_Y, protocol): protocol for protocol in _PROTOCOLS[1::2]},  # of frames only
}
DECIMALS = {"ssim": 4, "tof": 3, "parameters": 0, "gmac": 1, "runtime": 1}  # by metric; of all others 2


class Claim(Spec):
    """One published claim, and how it is checked; ``claims.yaml`` says what each key is."""

    kind: Literal["value", "margin", "speed-up", "order", "cold start", "ablation"]
    models: Annotated[dict[Name, Name | None], Field(min_length=1)]
    metric: Line
    said_of: Name | None = None
    without: Name | None = None
    frames: tuple[FrameNumber, ...] = ()
    steady: tuple[FrameNumber, FrameNumber] = (0, 0)
    rising: FrameNumber | None = None
    protocol: Line | None = None
    allowance: Finite | None = None
    at_least: Flag = False
    published: Line | None = None
    unit: str = ""
    source: Line | None = None
    confidence: Literal["Q", "S"] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        labels = PROTOCOLS.get(self.metric)
        if labels and self.protocol not in (None, *labels):
            raise mistake(f"expected one of {'; '.join(labels)}, got {self.protocol!r}", "protocol")
        if self.kind in ("margin", "speed-up") and len(self.models) != 2:
            raise mistake(f"expected two models, got {len(self.models)}", "models")
        if self.kind == "margin" and self.metric not in PROTOCOLS:
            raise mistake(
                f"expected one of {', '.join(PROTOCOLS)} for a margin, got {self.metric!r}", "metric"
            )
        if self.published is not None and not (self.source and self.confidence):
            raise mistake("expected a source and a confidence of Q or S beside it", "published")
        return self

    @property
    def labels(self) -> list[str]:
        """Protocols that it is checked under, in words."""
        return [self.protocol] if self.protocol else [*PROTOCOLS.get(self.metric, [""])]

    @property
    def decimals(self) -> int:
        """Decimals of its values and differences."""
        return 1 if self.kind == "speed-up" else DECIMALS.get(self.metric, 2)

    def find_printed(self, published: pd.DataFrame) -> Printed | None:
        """Return its published value."""
        if self.published is None:
            return self._find(published, "", [self.said_of] if self.said_of else [*self.models])
        own = {"value": self.published, "unit": self.unit, "source": self.source, "note": ""}
        return read_printed(own | {"confidence": self.confidence})

    def find_calibration(self, published: pd.DataFrame, protocol: str | None, *models: str) -> Printed | None:
        """Return what this pipeline measured once from the authors' files, of its models or of one of them."""
        return self._find(published, "_calibration", list(models or self.models), protocol)

    def _find(
        self, published: pd.DataFrame, suffix: str, models: list[str], protocol: str | None = None
    ) -> Printed | None:
        metric = self.metric + (f"_without_{self.without}" if self.without else "") + suffix
        values = [find_printed(published, model, metric, protocol) for model in models]
        if self.kind == "margin":
            return values[0].minus(values[1]) if values[0] and values[1] else None
        return values[0]


class Section(Spec):
    """Claims that make one table."""

    title: Line
    about: Line
    claims: dict[Line, Claim]


def read_claims(path: Path = CLAIMS) -> list[Section]:
    """Read the claims, by section.

    Raises
    ------
    ConfigError
        One line that names the claim, what was expected and what came.
    """
    return [Section.parse(section, name) for name, section in read_yaml(path).items()]
