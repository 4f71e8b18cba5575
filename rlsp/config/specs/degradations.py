"""How LR clips are made from HR clips: the entries of ``degradations``."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from rlsp.config.specs.base import Spec, parse_branch
from rlsp.config.specs.fields import Flag, Location, Number, Scale, Whole, quoted
from rlsp.errors import ConfigError

Sigma = Annotated[float, Number(above=0, maximum=100)]


class Degradation(Spec):
    """What all degradations have: a scale, and ``first_pixel``.

    ``first_pixel`` is the phase: HR coordinate, in pixels from the centre of HR pixel 0, of the centre of LR pixel 0.
    """

    RESOLVED: ClassVar[tuple[str, ...]] = ("scale",)

    @property
    def told(self) -> dict[str, Any]:
        """What captions tell of it."""
        return {key: getattr(self, key) for key in ("scale", "sigma", "phase") if hasattr(self, key)}


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


class OwnDegradation(Degradation):
    """A function of the user's own, which is given its keys as keyword arguments."""

    model_config = ConfigDict(extra="allow")

    kind: Location = Field(
        description="package.module:function, from a frame to its LR frame; all further keys are its keyword arguments."
    )
    first_pixel: Annotated[float, Number(0, 15)] = Field(
        description="Phase: HR coordinate of LR pixel 0; 0 where every scale-th pixel is kept, (scale - 1) / 2 where "
        "pixels are averaged in blocks."
    )
    scale: Scale = Field(4, description="Reduction factor.")

    @model_validator(mode="before")
    @classmethod
    def _order_keys(cls, data: Any) -> Any:
        """Let the plain form, which params are compared by, not depend on the order in the file."""
        return dict(sorted(data.items())) if isinstance(data, Mapping) else data

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the function."""
        return {"scale": self.scale, **(self.model_extra or {})}

    @property
    def told(self) -> dict[str, Any]:
        """What captions tell of it."""
        return {"scale": self.scale, "phase": self.first_pixel, **(self.model_extra or {})}


OWN = "package.module:function"
KINDS: dict[str, type[Degradation]] = {"bicubic": BicubicDown, "gaussian": Gaussian}
BRANCHES: dict[str, type[Spec]] = {**KINDS, OWN: OwnDegradation}


def kind(entry: Any) -> str | None:
    """Choose the spec of an entry; errors name the key by the name of this function."""
    found = entry.get("kind") if isinstance(entry, Mapping) else getattr(entry, "kind", None)
    if isinstance(found, str):
        return OWN if ":" in found else found
    return None if found is None else str(found)


# An entry of ``degradations``.
AnyDegradation = Annotated[
    Annotated[BicubicDown, Tag("bicubic")]
    | Annotated[Gaussian, Tag("gaussian")]
    | Annotated[OwnDegradation, Tag(OWN)],
    Discriminator(kind),
]


def parse_degradation(data: Mapping[str, Any] | Degradation) -> AnyDegradation:
    """Make the spec of a resolved degradation from its plain form; no key goes without saying there.

    Raises
    ------
    ConfigError
        One line with the key, what was expected and what came.
    """
    if not isinstance(data, (Mapping, Degradation)):
        raise ConfigError(f"degradation: expected a map of keys, got {quoted(data)}")
    if kind(data) == OWN:
        spec: AnyDegradation = OwnDegradation.parse(data, "degradation")
    else:
        spec = parse_branch(data, "kind", BRANCHES, "degradation")
    missing = [name for name in type(spec).model_fields if name not in spec.model_fields_set]
    if missing and not isinstance(data, Degradation):
        raise ConfigError(f"degradation {spec.kind}: missing keys {', '.join(missing)}")
    return spec
