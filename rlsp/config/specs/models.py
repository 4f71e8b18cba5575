"""Methods: the entries of ``models``, and what planning and tables must know of each without torch."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from rlsp.config.specs.base import Spec
from rlsp.config.specs.fields import Finite, Flag, Location, Number, Pixels, Positive, Scale, Whole, Width
from rlsp.own_code import modules_of

Output = Literal["y", "rgb"]
Layers = Annotated[int, Whole(2, 1000)]


class Model(Spec):
    """What all methods have.

    Attributes
    ----------
    LOCATION : str
        Class of the method, ``package.module:Class``.
    SCALES : tuple of int
        Up-scaling factors that it can have.
    FAMILY : str
        What the literature calls the method.
    SIZES : frozenset of str
        Fields that only say how large a model is: those that differ in nothing else are one series.
    """

    RESOLVED: ClassVar[tuple[str, ...]] = ("scale", "input_range")
    LEFT_OUT: ClassVar[frozenset[str]] = frozenset({"input_range"})
    LOCATION: ClassVar[str]
    SCALES: ClassVar[tuple[int, ...]] = tuple(range(2, 9))
    FAMILY: ClassVar[str]
    SIZES: ClassVar[frozenset[str]] = frozenset()

    scale: Scale = Field(4, description="Up-scaling factor.")

    @property
    def location(self) -> str:
        """Class of the method, ``package.module:Class``."""
        return self.LOCATION

    @property
    def family(self) -> str:
        """What the literature calls the method."""
        return self.FAMILY

    @property
    def series(self) -> str:
        """What a model has in common with smaller and larger ones of its method."""
        return str(self.dump(without=self.SIZES))

    @classmethod
    def label(cls, size: str) -> str:
        """Name a model of a size as the literature does, such as ``RLSP 7-128``."""
        return f"{cls.FAMILY} {size}"

    @property
    def neighbours(self) -> tuple[int, int]:
        """LR frames before and after the current one that it sees."""
        return 0, 0

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the class."""
        names = [*type(self).model_fields, *(self.model_extra or {})]
        return {name: getattr(self, name) for name in names if name != "arch"}


class Network(Model):
    """A method with weights."""

    input_range: Positive = Field(255, description="The network works on [0, input_range].")


class RLSP(Network):
    """Recurrent Latent Space Propagation."""

    LOCATION = "rlsp.models.rlsp:RLSP"
    FAMILY = "RLSP"
    SIZES = frozenset({"filters"})

    arch: Literal["rlsp"] = Field(description="Recurrent Latent Space Propagation.")
    layers: Layers = Field(7, description="Convolutions from input to output.")
    filters: Width = Field(128, description="Filters of each convolution and channels of the state.")
    output: Output = Field("y", description="Luma as in the paper, or RGB as in the released PyTorch code.")
    adjacent: Flag = Field(True, description="See the previous and the next LR frame.")
    feedback: Flag = Field(True, description="See the previous output.")
    state: Flag = Field(True, description="Propagate a hidden state.")
    residual: Flag = Field(True, description="Add to the nearest-neighbour up-sampled frame.")

    @property
    def neighbours(self) -> tuple[int, int]:
        """The previous and the next frame, or none."""
        return (1, 1) if self.adjacent else (0, 0)


class FRVSR(Network):
    """Frame-Recurrent Video Super-Resolution."""

    LOCATION = "rlsp.models.frvsr:FRVSR"
    SCALES = (2, 4, 8)  # sizes are doubled
    FAMILY = "FRVSR"
    SIZES = frozenset({"blocks", "filters"})

    input_range: Positive = Field(1, description="The network works on [0, input_range].")
    arch: Literal["frvsr"] = Field(description="Frame-Recurrent Video Super-Resolution.")
    blocks: Annotated[int, Whole(1, 1000)] = Field(
        10, description="Residual blocks; the paper has 3, 5 and 10."
    )
    filters: Width = Field(128, description="Filters of the residual blocks; the paper has 64 and 128.")
    output: Output = Field("rgb", description="RGB as in the paper, or luma.")
    max_flow: Positive = Field(
        24,
        description="Largest optical flow of each direction in LR pixels; the paper's is relative to the size of the "
        "frame, its re-implementations have 24.",
    )
    warp_loss: Annotated[float, Number(0, 1e9)] = Field(
        1, description="Weight of the loss of the flow beside that of the picture."
    )


class DUF(Network):
    """Dynamic upsampling filters."""

    LOCATION = "rlsp.models.duf:DUF"
    FAMILY = "DUF"
    SIZES = frozenset({"layers", "filters", "growth"})

    input_range: Positive = Field(1, description="The network works on [0, input_range].")
    arch: Literal["duf"] = Field(description="Dynamic upsampling filters.")
    layers: Annotated[int, Whole(10, 1000, multiple_of=2)] = Field(
        52, description="Layers, 4 and 2 for each dense block; the paper has 16, 28 and 52."
    )
    filters: Width = Field(
        64, description="Filters of the first convolution; 4 and 8 times as many after the dense blocks."
    )
    growth: Width | None = Field(
        None, description="Channels that a dense block adds; by default 32 of 16 layers, else 16."
    )
    output: Output = Field("rgb", description="RGB as in the released code, or luma.")
    border: Pixels = Field(
        0,
        description="LR pixels by which borders are mirrored before the network and cropped after it; the released "
        "code has none.",
    )
    huber_delta: Positive | None = Field(
        None,
        description="Threshold of the Huber function that is minimised, on pictures in 0..1; by default the mean "
        "squared error is.",
    )

    @classmethod
    def label(cls, size: str) -> str:
        """Name a model of some layers as the paper does: ``DUF-52L``."""
        return f"{cls.FAMILY}-{size.upper()}"

    @property
    def neighbours(self) -> tuple[int, int]:
        """Three before and three after: 7 frames."""
        return 3, 3


class Bicubic(Model):
    """Interpolation, which a run names and no entry defines."""

    RESOLVED = ("scale", "phase", "a")
    LEFT_OUT = frozenset({"phase", "a"})
    LOCATION = "rlsp.models.bicubic:Bicubic"
    FAMILY = "bicubic"

    arch: Literal["bicubic"] = Field(description="Bicubic interpolation.")
    phase: Annotated[float, Number(0, 16)] = Field(0.0, description="HR coordinate of LR pixel 0.")
    a: Finite = Field(-0.75, description="Keys' parameter; see rlsp.models.bicubic.")


class Own(Model):
    """A class of the user's own, of which nothing is known before it is built."""

    model_config = ConfigDict(extra="allow")
    RESOLVED = ("scale",)
    LEFT_OUT = frozenset()

    arch: Location = Field(description="package.module:Class; all other keys are its keyword arguments.")

    @property
    def location(self) -> str:
        """The class that it names."""
        return self.arch

    @property
    def family(self) -> str:
        """The class without its package."""
        return self.arch.partition(":")[2]


SHIPPED: dict[str, type[Model]] = {"rlsp": RLSP, "frvsr": FRVSR, "duf": DUF}
BUILT: dict[str, type[Model]] = {**SHIPPED, "bicubic": Bicubic}


def arch(entry: Any) -> str | None:
    """Choose the spec of an entry; errors name the key by the name of this function."""
    arch = entry.get("arch") if isinstance(entry, Mapping) else getattr(entry, "arch", None)
    if arch is None:
        return None
    return arch if isinstance(arch, str) and arch in SHIPPED else "own"


def family_of(name: str, model: Model | None) -> str:
    """Return what the method of a model is called, of a published one that the study lacks by how its name begins."""
    arch = name.partition("-")[0]
    return model.family if model else SHIPPED[arch].FAMILY if arch in SHIPPED else arch.upper()


def label_of(name: str, model: Model | None) -> str:
    """Return a model's name as the literature writes it, such as ``RLSP 7-128`` of ``rlsp-7-128``.

    Names that are not ``<method>-<size>`` stay as they are.
    """
    arch, _, size = name.partition("-")
    if arch in SHIPPED and size[:1].isdigit() and (model is None or isinstance(model, SHIPPED[arch])):
        return SHIPPED[arch].label(size)
    is_known = model is not None or re.fullmatch(r"\d+-\d+", size) is None
    return name if is_known else f"{arch.upper()} {size}"


# An entry of ``models``.
AnyModel = Annotated[
    Annotated[RLSP, Tag("rlsp")]
    | Annotated[FRVSR, Tag("frvsr")]
    | Annotated[DUF, Tag("duf")]
    | Annotated[Own, Tag("own")],
    Discriminator(arch),
]


def parse_model(data: Mapping[str, Any] | Model) -> Model:
    """Make the spec of a model from its plain form, such as that of weights on disk.

    Raises
    ------
    ConfigError
        One line with the key, what was expected and what came.
    """
    if isinstance(data, Model):
        return data
    arch = data.get("arch")
    return BUILT.get(arch if isinstance(arch, str) else "", Own).parse(dict(data), f"model {arch}")


def architecture_modules(models: Iterable[Model]) -> list[str]:
    """List the modules that models are written in, once each, as :func:`rlsp.provenance.code_hash` takes them."""
    return modules_of(*(model.location for model in models))
