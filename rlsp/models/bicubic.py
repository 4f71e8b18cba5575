"""Bicubic interpolation: the baseline every method is compared with.

The grid matters more than the kernel: LR pixel 0 sits on HR coordinate `phase`, which depends on how the LR
frames were made (:func:`rlsp.data.degradation.phase`).
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlsp.models.base import VideoModel


def upsample_bicubic(frames: np.ndarray, *, scale: int, phase: float, a: float = -0.75) -> np.ndarray:
    """Enlarge frames by cubic convolution, with the LR grid where it belongs.

    HR pixel i sits at LR coordinate (i - phase) / scale; beyond the frame its edge pixels go on.

    Parameters
    ----------
    frames : np.ndarray
        (..., h, w, C), any real dtype and range.
    scale : int
        Up-scaling factor.
    phase : float
        HR coordinate of the centre of LR pixel 0.
    a : float
        Keys' parameter, the slope of the kernel at 1. -0.75 is OpenCV's and torch's, and scores higher: on
        Vid4 (Y, crop 8, trim 2+2, video average; Gaussian LR of sigma 1.5 at phase 0) 23.63 dB, with -0.5
        23.53 dB. -0.5 is MATLAB's and Pillow's, exact for ramps and parabolas.

    Returns
    -------
    np.ndarray
        (..., scale * h, scale * w, C) float32, neither rounded nor clipped: the kernel overshoots at edges.
    """
    for axis in (-3, -2):
        indices, weights = bicubic_taps(frames.shape[axis], scale, float(phase), a)
        along = (-1,) + (1,) * (-1 - axis)
        # shape (scale * size, 1, 1) for rows, (scale * size, 1) for columns
        frames = sum(
            np.take(frames, tap, axis=axis) * weight.reshape(along)
            for tap, weight in zip(indices, weights, strict=True)
        )
    return frames.astype(np.float32, copy=False)


@lru_cache(maxsize=64)
def bicubic_taps(size: int, scale: int, phase: float, a: float = -0.75) -> tuple[np.ndarray, np.ndarray]:
    """LR pixels, and their weights, that each HR pixel of one axis is made of.

    Parameters
    ----------
    size : int
        LR pixels along the axis.
    scale, phase, a
        As for :func:`upsample_bicubic`.

    Returns
    -------
    indices : np.ndarray
        (4, scale * size) int64, inside [0, size).
    weights : np.ndarray
        (4, scale * size) float32, each column sums to 1.
    """
    position = (np.arange(scale * size) - phase) / scale
    nearest = np.floor(position)
    taps = np.arange(-1, 3)[:, None]
    x = np.abs(position - nearest - taps)
    # Keys 1981: the kernel for |x| <= 1 and for 1 < |x| < 2; it is 0 beyond, where no tap lies
    inner = (a + 2) * x**3 - (a + 3) * x**2 + 1
    outer = a * (x**3 - 5 * x**2 + 8 * x - 4)
    weights = np.where(x <= 1, inner, outer).astype(np.float32)
    indices = np.clip(nearest + taps, 0, size - 1).astype(np.int64)
    for array in (indices, weights):
        array.flags.writeable = False  # the cache hands out the same arrays again
    return indices, weights


class Bicubic(VideoModel):
    """:func:`upsample_bicubic` as a model without parameters: one frame in, one frame out, an empty carry.

    Parameters
    ----------
    scale : int
        Up-scaling factor.
    phase : float
        HR coordinate of the centre of LR pixel 0.
    a : float
        Keys' parameter.

    Raises
    ------
    ValueError
        The scale is not a positive whole number.
    """

    def __init__(self, *, scale: int, phase: float, a: float) -> None:
        if isinstance(scale, bool) or not isinstance(scale, int) or scale < 1:
            raise ValueError(f"scale: expected a positive whole number, got {scale!r}")
        super().__init__(scale=scale, output="rgb", look_behind=0, look_ahead=0)
        self.phase, self.a = float(phase), float(a)
        self._taps: dict[tuple[int, torch.device], tuple[Tensor, Tensor]] = {}

    def step(self, frames: Tensor, carry: Any = None) -> tuple[Tensor, Any]:
        """Enlarge one frame: (N, 1, 3, h, w) in [0, 255] to (N, 3, scale * h, scale * w), not clipped."""
        sr = frames[:, 0]
        for axis, along in ((-2, (-1, 1)), (-1, (-1,))):
            indices, weights = self._taps_of(sr.shape[axis], sr.device)
            sr = sum(
                sr.index_select(axis, tap) * weight.reshape(along)
                for tap, weight in zip(indices, weights, strict=True)
            )
        return sr, ()

    def _taps_of(self, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Taps of one axis as tensors, copied to the device once."""
        if (size, device) not in self._taps:
            indices, weights = bicubic_taps(size, self.scale, self.phase, self.a)
            self._taps[size, device] = (
                torch.tensor(indices, device=device),
                torch.tensor(weights, device=device),
            )
        return self._taps[size, device]
