"""Clips to train and test on: the entries of ``datasets``."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rlsp.config.specs.base import Spec, parse_branch
from rlsp.config.specs.fields import (
    Finite,
    Flag,
    FrameNumber,
    Frames,
    Line,
    Name,
    Number,
    Scale,
    Seed,
    Shot,
    Text,
    Whole,
    WholeOr,
    Width,
    mistake,
)

ClipFolder = Annotated[str, Text(r"[{]clip[}]/\Z")]
Factor = Annotated[int, Whole(1, 4096)]
Clips = Annotated[int, Whole(1, 10**5)]
Cut = Annotated[int, Whole(1, 10**9)]
MOST_MAGNIFIED = 10**6  # no photograph is that large, and numbers do not overflow


class Dataset(Spec):
    """What all data sets have: the scale that their frames are cut to, filled in by the study."""

    RESOLVED: ClassVar[tuple[str, ...]] = ("scale",)

    @property
    def folder_on_disk(self) -> Path | None:
        """Folder of the user's own that it is made from."""
        return None

    @property
    def download_name(self) -> str | None:
        """Name of the download that it is made from."""
        return None


class CameraMoves(Dataset):
    """A camera moving over photographs."""

    LEFT_OUT = frozenset({"photographs", "path"})

    source: Literal["camera-moves"] = Field(
        description="A camera moving over photographs: those that scikit-image ships, or your own."
    )
    photographs: tuple[Line, ...] | None = Field(
        None,
        min_length=1,
        description="Names of photographs that scikit-image ships; either these or a path.",
    )
    path: Line | None = Field(
        None, description="A folder of PNG, JPEG or other pictures, without its sub-folders."
    )
    resize: Factor | None = Field(
        None,
        description="Reduce the photographs by this factor with a box filter first; large ones of a camera get "
        "sharper.",
    )
    skip_small: Flag = Field(
        False,
        description="Leave out photographs that are too small for the move, and say so in the log, instead of "
        "stopping.",
    )
    clips_per_photograph: Clips = Field(1, description="Clips made from each.")
    varied_clips: Annotated[int | str, WholeOr(0, 10**5, "all")] = Field(
        0,
        description="Of the clips of each photograph, so many, or `all`, pan with a speed and direction of their own "
        "instead of pan.",
    )
    varied_speed: Annotated[float, Number(0, 1000)] = Field(
        1.5, description="Largest speed of these along each axis, in HR pixels a frame."
    )
    frames: Frames = Field(16, description="Frames of a clip.")
    size: tuple[Annotated[int, Whole(16, 2**14)], Annotated[int, Whole(16, 2**14)]] = Field(
        (160, 160), description="Height and width in HR pixels."
    )
    supersample: Annotated[int, Whole(1, 16)] = Field(
        2, description="Rendered this much finer and box-averaged."
    )
    pan: tuple[Finite, Finite] = Field(
        (1.0, 0.25), description="Motion of the camera in HR pixels a frame (columns, rows)."
    )
    jitter: Annotated[float, Number(0, 1000)] = Field(
        0.12, description="Standard deviation of the velocity in HR pixels a frame."
    )
    zoom: Annotated[float, Number(above=-1, maximum=1000)] = Field(
        0.0, description="Relative change of magnification a frame."
    )
    rotation: Finite = Field(0.0, description="Rotation in degrees a frame.")
    random_direction: Flag = Field(
        False, description="Draw the signs of pan, zoom and rotation for each clip."
    )
    seed: Seed = Field(0, description="Seed of the moves.")
    scale: Scale = Field(4, description="Sides of the frames are multiples of it.")

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if (self.path is None) == (self.photographs is None):
            got = "neither" if self.path is None else "both"
            raise mistake(
                "expected either photographs (names of those of scikit-image) or path (a folder of pictures), "
                f"got {got}"
            )
        if (self.frames - 1) * abs(math.log1p(self.zoom)) > math.log(MOST_MAGNIFIED):
            raise mistake(
                f"expected a magnification of at most {MOST_MAGNIFIED:,} over {self.frames} frames, got {self.zoom}",
                "zoom",
            )
        return self

    @property
    def folder_on_disk(self) -> Path | None:
        """Folder of the photographs."""
        return Path(self.path).expanduser() if self.path is not None else None


class Downloaded(Dataset):
    """A data set that is made from a download."""

    RESOLVED: ClassVar[tuple[str, ...]] = ("scale", "first_frames", "files")

    download: Line = Field(description="Name of the download.")

    @property
    def download_name(self) -> str | None:
        """Name of the download that it is made from."""
        return self.download


class Video(Downloaded):
    """Shots of a downloaded video."""

    RESOLVED = ("scale", "files")

    source: Literal["video"] = Field(description="Shots of a downloaded video file.")
    shots: dict[Name, Shot] = Field(description="First and last frame of each clip, counted from 0.")
    frames: Frames | None = Field(None, description="Keep only the first frames of each shot.")
    resize: Factor | None = Field(None, description="Reduce by this factor with a box filter.")
    region: tuple[FrameNumber, FrameNumber, FrameNumber, FrameNumber] | None = Field(
        None, description="Keep this part: row, column, height, width, before resizing."
    )
    scale: Scale = Field(4, description="Sides of the frames are multiples of it.")
    files: str | None = Field(None, description="Hash of the download.")


class ClipOfFiles(Spec):
    """One clip of downloaded pictures."""

    prefix: Line = Field(description="Beginning of the paths of the clip's pictures.")
    frames: Frames = Field(description="How many there are.")


class Pictures(Downloaded):
    """Downloaded pictures."""

    source: Literal["frames"] = Field(description="Downloaded pictures.")
    clips: dict[Name, ClipOfFiles] = Field(description="Clips by name.")
    scale: Scale = Field(4, description="Sides of the frames are multiples of it.")
    first_frames: Frames | None = Field(None, description="First frames of each clip that are used.")
    files: str | None = Field(None, description="Hash of the download.")


class Folder(Dataset):
    """A folder of the user's own."""

    LEFT_OUT = frozenset({"find_cuts", "cuts", "shortest_scene"})

    source: Literal["folder"] = Field(
        description="Your own: each sub-folder of pictures, and each video file, is a clip."
    )
    path: Line = Field(description="The folder.")
    frames: Frames | None = Field(None, description="Keep only the first frames of each clip.")
    find_cuts: Flag = Field(
        False,
        description="Split clips where a scene ends; each scene is a clip of its own, `<clip>-1` and so on.",
    )
    cuts: dict[Line, Annotated[tuple[Cut, ...], Field(min_length=1)]] | None = Field(
        None,
        min_length=1,
        description="The same at cuts that you name: of each clip that has some, the first frame of every scene but "
        "the first, counted from 0.",
    )
    shortest_scene: Frames = Field(
        1, description="Leave out scenes of fewer frames, and say so in the log; only where clips are split."
    )
    scale: Scale = Field(4, description="Sides of the frames are multiples of it.")

    @model_validator(mode="after")
    def _either(self) -> Self:
        if self.find_cuts and self.cuts is not None:
            raise mistake("expected cuts that are named or found, got both", "cuts")
        for clip, cuts in (self.cuts or {}).items():
            if list(cuts) != sorted(set(cuts)):
                raise mistake(f"expected frames in rising order, got {list(cuts)}", f"cuts.{clip}")
        return self

    @property
    def folder_on_disk(self) -> Path | None:
        """The folder."""
        return Path(self.path).expanduser()


class OfficialLR(Spec):
    """LR clips that the publisher of a data set made."""

    download: Line = Field(description="Archive of the LR clips that the publisher made; for compare_lr.")
    folder: ClipFolder = Field(description="Folder of a clip inside that archive.")


class Archived(Downloaded):
    """Clips of a zip archive."""

    source: Literal["archive"] = Field(
        description="Clips of a downloaded zip archive, a folder of PNG pictures each."
    )
    folder: ClipFolder = Field(
        description="Folder of a clip inside the archive, such as train/train_sharp/{clip}/."
    )
    clips: tuple[Name, ...] = Field(
        min_length=1,
        description='Names of the clips, in quotes; "000-239" stands for all from the first to the last.',
    )
    leave_out: tuple[Name, ...] = Field(
        (), description="Of these clips, those that do not belong to the data set."
    )
    frames: Frames = Field(description="Pictures of each clip.")
    size: tuple[Width, Width] | None = Field(
        None,
        description="Height and width that every picture has; with it, the disk space needed is known beforehand.",
    )
    official_lr: OfficialLR | None = Field(None, description="LR clips that the publisher made.")
    scale: Scale = Field(4, description="Sides of the frames are multiples of it.")
    first_frames: Frames | None = Field(None, description="First frames of each clip that are used.")
    files: str | None = Field(None, description="Hash of the download.")

    def dump(self, *, without: Any = ()) -> dict[str, Any]:
        """Give the plain form; what the publisher made besides decides nothing."""
        return super().dump(without=(*without, "official_lr"))


AnyDataset = Annotated[CameraMoves | Video | Pictures | Folder | Archived, Field(discriminator="source")]
SOURCES: dict[str, type[Dataset]] = {
    "camera-moves": CameraMoves,
    "video": Video,
    "frames": Pictures,
    "folder": Folder,
    "archive": Archived,
}


def parse_dataset(data: Mapping[str, Any] | Dataset, where: str = "data set") -> Any:
    """Make the spec of a data set from its plain form; see :func:`~rlsp.config.specs.base.parse_branch`."""
    return parse_branch(data, "source", SOURCES, where)
