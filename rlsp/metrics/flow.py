"""Optical flow of ground-truth clips: estimated or exact, with what is hidden, once per data set."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

# Lai et al. 2018, released code, detect_occlusion: shares of the squared flow, and floors in squared pixels
CONSISTENCY_SHARE, CONSISTENCY_FLOOR = 0.01, 0.5
BOUNDARY_SHARE, BOUNDARY_FLOOR = 0.01, 0.002

# the medium preset starts at half size with patches of 8; below about 46 pixels OpenCV silently takes other
# parameters, and some sizes crash
DIS_SMALLEST = 48


class ClipFlow(NamedTuple):
    """Flow of one clip, index t - 1 for the pair of frames (t - 1, t).

    Attributes
    ----------
    backward : np.ndarray
        (T - 1, H, W, 2) float32, HR pixels, horizontal then vertical: pixel (row, column) of frame t shows
        what was at (column + backward[..., 0], row + backward[..., 1]) in frame t - 1.
    visible : np.ndarray
        (T - 1, H, W) bool: that place is inside frame t - 1 and nothing hides it.
    kind : str
        ``exact`` (known from how the clip was made) or ``dis`` (estimated on the ground truth).
    """

    backward: np.ndarray
    visible: np.ndarray
    kind: str


@contextlib.contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Let OpenCV compute in the calling thread alone: frames are spread over threads instead."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def grey(luma: np.ndarray) -> np.ndarray:
    """Turn luma into the uint8 picture that optical flow is computed on.

    Parameters
    ----------
    luma : np.ndarray
        BT.601 studio luma (black 16, white 235), any shape and real dtype.

    Returns
    -------
    np.ndarray
        uint8, black 0, white 255: the grey of ``cv2.COLOR_RGB2GRAY``, which TecoGAN's tOF takes. On rounded
        studio luma instead, tOF of the released frames is 3 % smaller.
    """
    return np.clip(np.rint((np.asarray(luma, np.float64) - 16) * (255 / 219)), 0, 255).astype(np.uint8)


def farneback(previous: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Optical flow from one frame to the next by Farneback's method, with TecoGAN's parameters.

    Parameters
    ----------
    previous, current : np.ndarray
        (H, W) uint8 grey.

    Returns
    -------
    np.ndarray
        (H, W, 2) float32, pixels, horizontal then vertical: what is at (column, row) in `previous` is at
        (column + flow[..., 0], row + flow[..., 1]) in `current`.

    References
    ----------
    Chu, Xie, Mayer, Leal-Taixe, Thuerey: Learning temporal coherence via self-supervision for GAN-based video
    generation. ACM Transactions on Graphics 39 (2020), https://doi.org/10.1145/3386569.3392457; the
    parameters are those of metrics.py in its released code.
    """
    # OpenCV's stubs do not admit None: no first guess of the flow.
    return cv2.calcOpticalFlowFarneback(  # type: ignore[call-overload]
        previous,
        current,
        None,
        pyr_scale=0.5,
        levels=3,
        winsize=15,
        iterations=3,
        poly_n=5,
        poly_sigma=1.2,
        flags=0,
    )


def dis(previous: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Optical flow by dense inverse search (DIS), medium preset; small frames are padded to 48 pixels.

    Parameters, result
        As for :func:`farneback`.

    References
    ----------
    Kroeger, Timofte, Dai, Van Gool: Fast optical flow using dense inverse search. ECCV 2016,
    https://doi.org/10.1007/978-3-319-46493-0_29
    """
    height, width = previous.shape
    borders = (0, max(0, DIS_SMALLEST - height), 0, max(0, DIS_SMALLEST - width))  # top, bottom, left, right
    padded = [cv2.copyMakeBorder(frame, *borders, cv2.BORDER_REPLICATE) for frame in (previous, current)]
    # OpenCV's stubs leave this function out.
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*padded, None)[:height, :width]  # type: ignore[attr-defined]


def warp(previous: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Move a frame to the next point in time along the backward flow, bilinearly.

    Parameters
    ----------
    previous : np.ndarray
        (H, W) or (H, W, C) float32, frame t - 1.
    backward : np.ndarray
        (H, W, 2) float32, see :class:`ClipFlow`.

    Returns
    -------
    np.ndarray
        Frame t as it would look if nothing but the flow happened; same shape. Places outside frame t - 1 take
        its nearest pixel.
    """
    columns, rows = _origins(backward)
    return cv2.remap(previous, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def is_inside(backward: np.ndarray) -> np.ndarray:
    """Tell where the flow points into the other frame: (H, W, 2) float32 -> (H, W) bool."""
    height, width = backward.shape[:2]
    columns, rows = _origins(backward)
    return (columns >= 0) & (columns <= width - 1) & (rows >= 0) & (rows <= height - 1)


def occlusion(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Tell which pixels of frame t have no trustworthy counterpart in frame t - 1.

    A pixel is occluded where forward and backward flow do not cancel, or where the backward flow has an edge
    (motion boundary).

    Parameters
    ----------
    forward : np.ndarray
        (H, W, 2) float32, flow of frame t - 1 to t, pixels.
    backward : np.ndarray
        (H, W, 2) float32, flow of frame t to t - 1, pixels.

    Returns
    -------
    np.ndarray
        (H, W) bool.

    References
    ----------
    Lai et al.: Learning blind video temporal consistency. ECCV 2018, https://doi.org/10.1007/978-3-030-01267-0_11;
    the test is Ruder, Dosovitskiy, Brox: Artistic style transfer for videos. GCPR 2016,
    https://doi.org/10.1007/978-3-319-45886-1_3.
    """
    forward_here = warp(forward, backward)
    backward_size = _squared_length(backward)
    gap = _squared_length(forward_here + backward)
    both_sizes = _squared_length(forward_here) + backward_size
    is_inconsistent = gap > CONSISTENCY_SHARE * both_sizes + CONSISTENCY_FLOOR
    edge = np.zeros_like(backward_size)  # one-sided differences, 0 at the last row and column
    edge[:, :-1] += _squared_length(np.diff(backward, axis=1))
    edge[:-1] += _squared_length(np.diff(backward, axis=0))
    return is_inconsistent | (edge > BOUNDARY_SHARE * backward_size + BOUNDARY_FLOOR)


def _origins(backward: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column and row in frame t - 1 of every pixel of frame t, each (H, W) float32."""
    height, width = backward.shape[:2]
    columns = np.arange(width, dtype=np.float32)[None, :] + backward[..., 0]
    rows = np.arange(height, dtype=np.float32)[:, None] + backward[..., 1]
    return columns, rows


def _squared_length(vectors: np.ndarray) -> np.ndarray:
    return np.square(vectors[..., 0]) + np.square(vectors[..., 1])
