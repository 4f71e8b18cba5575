"""What measures are given: frames of a restored clip beside its ground truth, read and prepared once for all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rlsp.color import rgb_to_y
from rlsp.config.specs.metrics import Kind
from rlsp.data.images import read_png
from rlsp.errors import DataError
from rlsp.metrics.fidelity import crop_border, mse, ssim_map
from rlsp.metrics.flow import ClipFlow, grey
from rlsp.metrics.metric import Metric


@dataclass(frozen=True)
class Picture:
    """One frame: its unrounded luma (H, W) float64, and (H, W, 3) uint8 RGB where there is any; not to be changed."""

    luma: np.ndarray
    rgb: np.ndarray | None

    def __post_init__(self) -> None:
        """Let no measure change what the others are given."""
        for array in (self.luma, self.rgb):
            if array is not None:
                array.flags.writeable = False

    @cached_property
    def luma_of_rgb(self) -> np.ndarray:
        """Unrounded luma of the RGB picture, (H, W) float64; not to be changed either."""
        luma = rgb_to_y(self.rgb)
        luma.flags.writeable = False
        return luma

    @cached_property
    def grey(self) -> np.ndarray:
        """Full-range uint8 picture for optical flow, (H, W)."""
        return grey(self.luma)


@dataclass(frozen=True)
class ClipPair:
    """A restored clip beside its ground truth; frames are read when asked for.

    Attributes
    ----------
    name : str
        Name of the clip.
    truth : np.ndarray
        (T, H, W, 3) uint8 RGB, a memory map.
    rgb, y : list of Path or None
        Restored pictures, RGB and grey luma; at least one of the two.
    flow : ClipFlow or None
        Flow of the truth; None where no metric needs it.
    """

    name: str
    truth: np.ndarray
    rgb: list[Path] | None
    y: list[Path] | None
    flow: ClipFlow | None

    def read_truth(self, index: int) -> Picture:
        """Frame of the ground truth."""
        rgb = np.asarray(self.truth[index])
        return Picture(rgb_to_y(rgb), rgb)

    def read_restored(self, index: int) -> Picture:
        """Restored frame; its luma is the `y` picture where there is one.

        Raises
        ------
        DataError
            A picture is missing, damaged, or has another size or number of channels than expected.
        """
        size = self.truth.shape[1:3]
        rgb = _read_picture(self.rgb[index], (*size, 3)) if self.rgb else None
        luma = _read_picture(self.y[index], size).astype(np.float64) if self.y else rgb_to_y(rgb)
        return Picture(luma, rgb)


@dataclass(frozen=True)
class Frame:
    """One frame of a clip, true and restored; what several measures need of it is computed once."""

    clip: ClipPair
    index: int

    @cached_property
    def truth(self) -> Picture:
        """The ground truth."""
        return self.clip.read_truth(self.index)

    @cached_property
    def restored(self) -> Picture:
        """The restored frame."""
        return self.clip.read_restored(self.index)

    @cached_property
    def similarity(self) -> np.ndarray:
        """Structural similarity around each pixel, (H, W) float64."""
        found = ssim_map(self.truth.luma, self.restored.luma)
        found.flags.writeable = False
        return found


# What an input is of a frame at a crop, of a pair, and of a clip: see rlsp.config.specs.metrics.INPUTS.
OfFrame = Callable[[Frame, int], Any]
OF_FRAME: dict[str, OfFrame] = {
    "reference": lambda frame, crop: crop_border(frame.truth.luma, crop),
    "restored": lambda frame, crop: crop_border(frame.restored.luma, crop),
    "reference_rgb": lambda frame, crop: crop_border(frame.truth.rgb, crop),
    "restored_rgb": lambda frame, crop: crop_border(frame.restored.rgb, crop),
    "restored_luma_of_rgb": lambda frame, crop: crop_border(frame.restored.luma_of_rgb, crop),
    "reference_grey": lambda frame, _: frame.truth.grey,
    "restored_grey": lambda frame, _: frame.restored.grey,
    "mse": lambda frame, crop: mse(*(crop_border(of.luma, crop) for of in (frame.truth, frame.restored))),
    "similarity": lambda frame, _: frame.similarity,
}
OF_PAIR: dict[str, Callable[[Frame, Frame], Any]] = {
    "previous": lambda before, frame: before.restored.luma,
    "current": lambda before, frame: frame.restored.luma,
    "backward": lambda before, frame: frame.clip.flow.backward[before.index],
    "visible": lambda before, frame: frame.clip.flow.visible[before.index],
}
OF_CLIP: dict[str, Callable[[ClipPair], Any]] = {
    "backward": lambda clip: clip.flow.backward,
    "visible": lambda clip: clip.flow.visible,
}


@dataclass(frozen=True)
class ClipFrames(Sequence):
    """An input of every frame of a clip, each read and computed when it is asked for."""

    clip: ClipPair
    of: OfFrame
    crop: int

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.clip.truth)

    def __getitem__(self, index: int | slice) -> Any:
        """Give what it is of one frame, or a list of it of several."""
        places = range(len(self))[index]
        if isinstance(places, int):
            return self.of(Frame(self.clip, places), self.crop)
        return [self[place] for place in places]


def inputs_of(metric: Metric, frame: Frame, before: Frame | None, crop: int) -> dict[str, Any]:
    """Collect what a measure takes: of a frame, of it and the one before it, or of its whole clip."""
    return {name: _input(name, metric.kind, frame, before, crop) for name in metric.inputs}


def _input(name: str, kind: Kind, frame: Frame, before: Frame | None, crop: int) -> Any:
    if name == "crop":
        return crop
    if kind == "frame":
        return OF_FRAME[name](frame, crop)
    if kind == "clip":
        return OF_CLIP[name](frame.clip) if name in OF_CLIP else ClipFrames(frame.clip, OF_FRAME[name], crop)
    if name in OF_PAIR:
        return OF_PAIR[name](before, frame)
    return tuple(OF_FRAME[name](of, crop) for of in (before, frame))


def _read_picture(path: Path, expected: tuple[int, ...]) -> np.ndarray:
    picture = read_png(path)
    if picture.shape != expected:
        raise DataError(
            f"{path}: expected {_describe(expected)} like the truth, got {_describe(picture.shape)}"
        )
    return picture


def _describe(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]} {'grey' if len(shape) == 2 else 'RGB'}"
