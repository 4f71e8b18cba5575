"""RGB and BT.601 studio-range Y'CbCr: luma in 16..235, chroma in 16..240, centred on 128.

The matrix is that of ITU-R BT.601-7 for R'G'B' in [0, 255]: luma weights 0.299, 0.587, 0.114 spread over 219
steps, colour differences over 224 steps, written in 256ths to three decimals. The luma row is the one of
``tensorflow/model.py`` in the released RLSP code.
"""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from rlsp.errors import DataError

if TYPE_CHECKING:  # luma() needs no torch of its own, and degrading clips should not wait for its import
    from torch import Tensor

_Y = (65.738 / 256, 129.057 / 256, 25.064 / 256)
_CB = (-37.945 / 256, -74.494 / 256, 112.439 / 256)
_CR = (112.439 / 256, -94.154 / 256, -18.285 / 256)
_OFFSETS = (16.0, 128.0, 128.0)


def rgb_to_y(rgb: np.ndarray) -> np.ndarray:
    """Compute BT.601 studio luma, unrounded.

    Parameters
    ----------
    rgb : np.ndarray
        (..., 3) RGB in [0, 255], any real dtype.

    Returns
    -------
    np.ndarray
        (...) float64: black 16, white 235.

    Raises
    ------
    DataError
        The last axis does not have three channels.
    """
    rgb = _three_channels(rgb)
    return rgb[..., 0] * _Y[0] + rgb[..., 1] * _Y[1] + rgb[..., 2] * _Y[2] + _OFFSETS[0]


def luma_of(frame: np.ndarray) -> np.ndarray:
    """Take the BT.601 studio luma of a frame (H, W, 3), or of one that is luma already; returns (H, W) float64."""
    return frame.astype(np.float64) if frame.ndim == 2 else rgb_to_y(frame)


def to_8_bits(frame: np.ndarray) -> np.ndarray:
    """Round to 8 bits, half to even, clipping to 0..255."""
    return np.rint(np.clip(frame, 0, 255)).astype(np.uint8)


def rgb_to_ycbcr(rgb: np.ndarray) -> np.ndarray:
    """Convert RGB to BT.601 studio Y'CbCr, unrounded.

    Parameters
    ----------
    rgb : np.ndarray
        (..., 3) RGB in [0, 255], any real dtype.

    Returns
    -------
    np.ndarray
        (..., 3) float64, channels Y, Cb, Cr.

    Raises
    ------
    DataError
        The last axis does not have three channels.
    """
    return _three_channels(rgb) @ _matrix().T + np.array(_OFFSETS)


def ycbcr_to_rgb(ycbcr: np.ndarray) -> np.ndarray:
    """Convert BT.601 studio Y'CbCr to RGB: the inverse of :func:`rgb_to_ycbcr`, neither rounded nor clipped.

    Parameters
    ----------
    ycbcr : np.ndarray
        (..., 3) channels Y, Cb, Cr, any real dtype.

    Returns
    -------
    np.ndarray
        (..., 3) float64 RGB; outside [0, 255] where no RGB colour matches.

    Raises
    ------
    DataError
        The last axis does not have three channels.
    """
    return (_three_channels(ycbcr) - np.array(_OFFSETS)) @ _inverse_matrix().T


def luma(frames: "Tensor") -> "Tensor":
    """Compute BT.601 studio luma of torch frames, unrounded.

    Parameters
    ----------
    frames : Tensor, shape (..., 3, H, W)
        RGB, floating point, in [0, 255].

    Returns
    -------
    Tensor, shape (..., 1, H, W)
        Same dtype and device; black 16, white 235.

    Raises
    ------
    DataError
        The third axis from the end does not have three channels.
    """
    if frames.ndim < 3 or frames.shape[-3] != 3:
        raise DataError(f"luma: expected frames of (..., 3, H, W), got {tuple(frames.shape)}")
    red, green, blue = (frames[..., channel : channel + 1, :, :] for channel in range(3))
    return red * _Y[0] + green * _Y[1] + blue * _Y[2] + _OFFSETS[0]


@cache
def _matrix() -> np.ndarray:
    """RGB -> Y'CbCr, (3, 3) float64, before the offsets."""
    return np.array([_Y, _CB, _CR])


@cache
def _inverse_matrix() -> np.ndarray:
    """Y'CbCr -> RGB: inverted numerically, since printed inverses are rounded and lose the round trip."""
    return np.linalg.inv(_matrix())


def _three_channels(colors: np.ndarray) -> np.ndarray:
    """Refuse arrays whose last axis is not three channels."""
    colors = np.asarray(colors)
    if colors.ndim == 0 or colors.shape[-1] != 3:
        raise DataError(f"expected colours of (..., 3), got {colors.shape}")
    return colors
