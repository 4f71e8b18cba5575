"""How LR clips are made from HR clips: the entries of ``degradations``."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from rlsp.config.specs.base import Spec
from rlsp.config.specs.fields import Flag, Number, Scale, Whole
from rlsp.errors import ConfigError

Sigma = Annotated[float, Number(above=0, maximum=100)]


class Degradation(Spec):
    """What all degradations have."""

    RESOLVED: ClassVar[tuple[str, ...]] = ("scale",)

    @property
    def first_pixel(self) -> float:
        """Phase: HR coordinate, in pixels from the centre of HR pixel 0, of the centre of LR pixel 0."""
        raise NotImplementedError


class BicubicDown(Degradation):
    """MATLAB's bicubic reduction."""

    kind: Literal["bicubic"] = Field(
        description="MATLAB's imresize(., 1/scale, 'bicubic') on 8-bit pictures."
    )
    boundary: Literal["symmetric", "replicate"] = Field(
        "symmetric", description="Pixels beyond the border; newer MATLAB mirrors, older ones replicate."
    )
    round_between_passes: Flag = Field(
        True, description="Round to 8 bits after the vertical pass, as MATLAB does."
    )
    scale: Scale = Field(4, description="Reduction factor.")

    @property
    def first_pixel(self) -> float:
        """LR pixels lie in the middle of their HR pixels."""
        return (self.scale - 1) / 2


class Gaussian(Degradation):
    """Gaussian blur and subsampling."""

    kind: Literal["gaussian"] = Field(description="Gaussian blur, then every scale-th pixel.")
    sigma: Sigma = Field(
        1.5, description="Standard deviation in HR pixels; RLSP and FRVSR use 1.5 and DUF 1.6."
    )
    truncate: Sigma = Field(
        4.0, description="Radius of the kernel in units of sigma (13 taps for sigma 1.5)."
    )
    phase: Annotated[int, Whole(0, 7)] = Field(0, description="Row and column of the first pixel kept.")
    boundary: Literal["reflect", "nearest", "mirror", "wrap"] = Field(
        "reflect", description="Pixels beyond the border in the names of scipy.ndimage."
    )
    rounding: Literal["rint", "truncate"] = Field(
        "rint",
        description="rint: blur in float and round to nearest; truncate: blur on 8 bits as the released evaluation "
        "script does.",
    )
    scale: Scale = Field(4, description="Reduction factor.")

    @property
    def first_pixel(self) -> float:
        """LR pixels lie on HR pixels."""
        return float(self.phase)


# An entry of ``degradations``.
AnyDegradation = Annotated[BicubicDown | Gaussian, Field(discriminator="kind")]
KINDS: dict[str, type[Degradation]] = {"bicubic": BicubicDown, "gaussian": Gaussian}


def parse_degradation(data: Mapping[str, Any] | Degradation) -> Degradation:
    """Make the spec of a resolved degradation from its plain form, which has every key.

    Raises
    ------
    ConfigError
        One line with the key, what was expected and what came.
    """
    if isinstance(data, Degradation):
        return data
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(f"degradation kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    expected = set(KINDS[kind].model_fields)
    if (
        set(data) != expected
    ):  # nothing of a resolved one goes without saying: it tells what input weights expect
        raise ConfigError(
            f"degradation {kind}: expected the keys {', '.join(sorted(expected))}, got {', '.join(sorted(data))}"
        )
    return KINDS[kind].parse(data, f"degradation {kind}")
