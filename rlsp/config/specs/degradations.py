"""How LR clips are made from HR clips: the entries of ``degradations``."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from rlsp.config.specs.base import Spec, parse_branch
from rlsp.config.specs.fields import Flag, Number, Scale, Whole
from rlsp.errors import ConfigError

Sigma = Annotated[float, Number(above=0, maximum=100)]


class Degradation(Spec):
    """What all degradations have: a scale, and ``first_pixel``.

    ``first_pixel`` is the phase: HR coordinate, in pixels from the centre of HR pixel 0, of the centre of LR pixel 0.
    """

    RESOLVED: ClassVar[tuple[str, ...]] = ("scale",)


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


def parse_degradation(data: Mapping[str, Any] | Degradation) -> AnyDegradation:
    """Make the spec of a resolved degradation from its plain form; no key goes without saying there.

    Raises
    ------
    ConfigError
        One line with the key, what was expected and what came.
    """
    spec: AnyDegradation = parse_branch(data, "kind", KINDS, "degradation")
    missing = [name for name in type(spec).model_fields if name not in spec.model_fields_set]
    if missing and not isinstance(data, Degradation):
        raise ConfigError(f"degradation {spec.kind}: missing keys {', '.join(missing)}")
    return spec
