"""How rows per frame become one number: the entries of ``protocols``."""

from typing import Annotated, Literal

from pydantic import Field

from rlsp.config.specs.base import Spec
from rlsp.config.specs.fields import Pixels, Whole

Trim = Annotated[int, Whole(0, 10**6)]


class Protocol(Spec):
    """Channel, crop, trim and averaging of a PSNR."""

    channel: Literal["y", "rgb", "y-of-rgb"] = Field(
        description="y: luma, the one put out where a method does; rgb; y-of-rgb: luma of the RGB pictures of all."
    )
    crop: Pixels = Field(description="Border left out in HR pixels, one of score.crops.")
    trim: tuple[Trim, Trim] = Field(description="Frames left out at the beginning and the end of a clip.")
    average: Literal["frame", "video"] = Field(
        description="frame: mean of the PSNR of frames; video: PSNR of the mean squared error of a clip."
    )
