"""Temporal consistency of restored clips: tOF, warping error, temporal profile."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from rlsp.errors import ConfigError, DataError
from rlsp.metrics.fidelity import crop_border
from rlsp.metrics.flow import farneback, warp
from rlsp.metrics.metric import Metric

# TecoGAN, released code, metrics.py, crop_8x8: sizes become multiples of 32, at least 16 less than the frame
TOF_MULTIPLE = 32
TOF_BORDERS = 16

# BT.601 studio luma from black (16) to white (235)
LUMA_SPAN = 219


def tof(reference_grey: Sequence[np.ndarray], restored_grey: Sequence[np.ndarray]) -> float:
    """How far the motion of a restored clip is from the true motion (tOF), in pixels.

    The length of the difference between the Farneback flows (frame t - 1 to t) of true and restored frames,
    averaged over the middle of the frame: the largest height and width that are multiples of 32 and leave 8
    or more pixels on each side.

    Parameters
    ----------
    reference_grey, restored_grey : sequence of two np.ndarray
        Frames t - 1 and t, each (H, W) uint8 grey.

    Returns
    -------
    float
        Pixels; 0 for identical motion. NaN where frames are smaller than 48 pixels, which leave no middle.

    Raises
    ------
    DataError
        The shapes differ or a frame is not (H, W) uint8.

    References
    ----------
    Chu, Xie, Mayer, Leal-Taixe, Thuerey: Learning temporal coherence via self-supervision for GAN-based video
    generation. ACM Transactions on Graphics 39 (2020), https://doi.org/10.1145/3386569.3392457; details are
    those of metrics.py in its released code, where a comment says L1 norm and the code computes the L2 norm.
    """
    shape = reference_grey[0].shape
    for frame in (*reference_grey, *restored_grey):
        if frame.shape != shape or frame.ndim != 2 or frame.dtype != np.uint8:
            raise DataError(f"tOF: expected grey uint8 frames of {shape}, got {frame.dtype} {frame.shape}")
    rows, columns = (_middle(size) for size in shape)
    if rows is None or columns is None:
        return math.nan
    difference = farneback(*reference_grey) - farneback(*restored_grey)
    return float(np.mean(np.linalg.norm(difference[rows, columns], axis=-1)))


def warp_error(
    previous: np.ndarray, current: np.ndarray, *, backward: np.ndarray, visible: np.ndarray, crop: int = 0
) -> float:
    """Mean squared change of a restored clip along the true motion, black being 0 and white 1.

    sum(visible * (warp(previous) - current)^2) / sum(visible), as in Lai et al., there on RGB in [0, 1].

    Parameters
    ----------
    previous, current : np.ndarray
        Restored BT.601 studio luma of frames t - 1 and t, (H, W), any real dtype, black 16, white 235.
    backward : np.ndarray
        (H, W, 2) float32 flow of frame t to t - 1 of the ground truth, pixels, horizontal then vertical.
    visible : np.ndarray
        (H, W) bool, where that flow holds.
    crop : int
        Pixels of frame t left out on each side.

    Returns
    -------
    float
        0 where the clip moves exactly along the flow; NaN where nothing is visible.

    Raises
    ------
    DataError
        The shapes do not fit together.

    References
    ----------
    Lai, Huang, Wang, Shechtman, Yumer, Yang: Learning blind video temporal consistency. ECCV 2018,
    https://doi.org/10.1007/978-3-030-01267-0_11
    """
    if not previous.shape == current.shape == visible.shape == backward.shape[:2]:
        shapes = (previous.shape, current.shape, backward.shape, visible.shape)
        raise DataError(f"warping error: expected frames, flow and mask of one size, got {shapes}")
    warped = warp(np.asarray(previous, np.float32), np.asarray(backward))
    change = (warped - np.asarray(current, np.float64))[_inner(visible, crop)] / LUMA_SPAN
    return float(np.mean(np.square(change))) if change.size else math.nan


def temporal_profile(frames: Iterable[np.ndarray], *, row: int) -> np.ndarray:
    """Stack one row of every frame: a picture of how that row changes over time.

    Parameters
    ----------
    frames : iterable of np.ndarray
        T frames, each (H, W) or (H, W, C).
    row : int
        The row, 0 at the top.

    Returns
    -------
    np.ndarray
        (T, W) or (T, W, C), the first frame on top, dtype as in `frames`.

    Raises
    ------
    DataError
        There are no frames.
    ConfigError
        `row` is not in 0..H - 1.
    """
    profile = []
    for frame in frames:
        if not 0 <= row < frame.shape[0]:
            raise ConfigError(f"temporal profile: expected a row from 0 to {frame.shape[0] - 1}, got {row}")
        profile.append(frame[row])
    if not profile:
        raise DataError("temporal profile: expected at least one frame, got none")
    return np.stack(profile)


def _middle(size: int) -> slice | None:
    """Rows or columns that tOF is averaged over, None where there are none."""
    length = (size - TOF_BORDERS) // TOF_MULTIPLE * TOF_MULTIPLE
    start = (size - length) // 2
    return slice(start, start + length) if length > 0 else None


def _inner(visible: np.ndarray, crop: int) -> np.ndarray:
    """Clear the outer `crop` pixels of a mask."""
    inner = np.zeros_like(visible, dtype=bool)
    crop_border(inner, crop)[...] = crop_border(visible, crop)
    return inner


# Averaged as TecoGAN's metrics.py does (github.com/thunil/TecoGAN, cutfr = 2): over frames 2..n-3 of a clip of n
# frames, so that the first flow is the one from frame 2 to frame 3. On the luma that we measure, stretched to full
# range, the released 7-128 frames have 0.1699 on Vid4; with grey made from RGB as there, 0.1698.
TOF = Metric(
    "tof", "tOF", "pixels", "pair", ("reference_grey", "restored_grey"), "lower", 3, tof, trim=(3, 2),
    note="tOF: difference of the Farneback flows of restored and true luma, crop and trim of TecoGAN's metrics.py",
    has_gaps=True,
)  # fmt: skip
# The mean over all pairs of a clip (Lai et al. 2018, evaluate_WarpError.py); the first frame has no pair.
WARP_ERROR = Metric(
    "warp_error", "warping error", "", "pair", ("previous", "current", "backward", "visible", "crop"), "lower", 3,
    warp_error, trim=(1, 0), factor=1000,
    note="Warping error: mean squared change of the luma, in [0, 1], along the true motion, where it is visible in "
    "both frames, over all pairs; blurred clips change little, which it takes for consistency",
    has_gaps=True,
)  # fmt: skip
