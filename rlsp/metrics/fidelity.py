"""How close a restored frame is to the ground truth: mean squared error, PSNR, SSIM."""

import math

import numpy as np
from skimage.metrics import structural_similarity

from rlsp.errors import DataError
from rlsp.metrics.metric import Metric

# Wang et al. 2004, section III.C: circular Gaussian window of 11 x 11 taps, sigma 1.5; K1 = 0.01, K2 = 0.03.
WINDOW_SIGMA = 1.5
WINDOW_TAPS = 11
K1 = 0.01
K2 = 0.03


def crop_border(frame: np.ndarray, crop: int) -> np.ndarray:
    """Leave out `crop` pixels on each side of a frame.

    Parameters
    ----------
    frame
        `(H, W)` or `(H, W, C)`, any dtype.
    crop
        Rows and columns left out on each of the four sides, pixels; 0 leaves out none.

    Returns
    -------
    numpy.ndarray
        A view of shape `(H - 2 * crop, W - 2 * crop, ...)`.

    Raises
    ------
    DataError
        When `crop` is negative or leaves nothing.
    """
    height, width = frame.shape[:2]
    largest = (min(height, width) - 1) // 2
    if not 0 <= crop <= largest:
        raise DataError(f"crop: expected 0 to {largest} for a frame of {width}x{height}, got {crop}")
    return frame[crop : height - crop, crop : width - crop]


def mse(reference: np.ndarray, restored: np.ndarray) -> float:
    """Mean squared error over all pixels (and channels), in squared grey levels.

    Parameters
    ----------
    reference, restored
        Ground truth and restored frame, same shape, `(H, W)` luma or `(H, W, 3)` RGB, any real dtype, 0..255.

    Returns
    -------
    float
        Mean of the squared differences, computed in float64.

    Raises
    ------
    DataError
        When the shapes differ.
    """
    _check_same_shape(reference, restored)
    difference = np.subtract(reference, restored, dtype=np.float64)
    return float(np.mean(np.square(difference)))


def psnr(reference: np.ndarray, restored: np.ndarray, *, data_range: float = 255.0) -> float:
    """Peak signal-to-noise ratio in dB; infinite for identical frames.

    Parameters
    ----------
    reference, restored
        As in :func:`mse`.
    data_range
        The peak: 255 for 8-bit frames. The literature uses 255 for studio luma (16..235) too.

    Raises
    ------
    DataError
        When the shapes differ.
    """
    return psnr_from_mse(mse(reference, restored), data_range=data_range)


def psnr_rgb(reference_rgb: np.ndarray, restored_rgb: np.ndarray) -> float:
    """PSNR in dB over the three channels of two `(H, W, 3)` RGB frames together, see :func:`psnr`."""
    return psnr(reference_rgb, restored_rgb)


def psnr_y_of_rgb(reference: np.ndarray, restored_luma_of_rgb: np.ndarray) -> float:
    """PSNR in dB of the luma of a restored frame's 8-bit RGB picture, see :func:`psnr`.

    A method that puts out luma is scored on that by convention. Its RGB picture has been clipped to 0..255 besides,
    which brings it closer to the ground truth: methods that put out RGB have that from the start.
    """
    return psnr(reference, restored_luma_of_rgb)


def psnr_from_mse(mse: float, *, data_range: float = 255.0) -> float:
    """PSNR in dB of a mean squared error in squared grey levels; infinite for 0."""
    if mse == 0:
        return math.inf
    return 10 * math.log10(data_range**2 / mse)


def ssim(reference: np.ndarray, restored: np.ndarray, *, data_range: float = 255.0) -> float:
    """Mean structural similarity of two luma frames (1 for identical ones).

    Only pixels whose whole window lies inside the frame count, as in the authors' code.

    Parameters
    ----------
    reference, restored
        Same shape `(H, W)`, any real dtype, 0..255; at least 11 pixels each way.
    data_range
        Peak of the two stabilising constants: 255 for 8-bit frames.

    Raises
    ------
    DataError
        When the shapes differ, are not `(H, W)`, or are smaller than the window.

    References
    ----------
    Wang, Bovik, Sheikh, Simoncelli: Image quality assessment: from error visibility to structural similarity.
    IEEE Transactions on Image Processing 13 (2004), https://doi.org/10.1109/TIP.2003.819861
    """
    return mean_ssim(ssim_map(reference, restored, data_range=data_range), crop=0)


def ssim_map(reference: np.ndarray, restored: np.ndarray, *, data_range: float = 255.0) -> np.ndarray:
    """Structural similarity around each pixel: `(H, W)` float64.

    Parameters and errors as in :func:`ssim`. The outer 5 pixels see a mirrored frame: :func:`mean_ssim`
    leaves them out. A pixel further in depends on its 11 x 11 neighbours only, so one map serves every crop.
    """
    _check_same_shape(reference, restored)
    if reference.ndim != 2 or min(reference.shape) < WINDOW_TAPS:
        raise DataError(f"ssim: expected (H, W) of at least {WINDOW_TAPS} pixels each, got {reference.shape}")
    _, similarity = structural_similarity(
        np.asarray(reference, np.float64),
        np.asarray(restored, np.float64),
        data_range=data_range,
        gaussian_weights=True,
        sigma=WINDOW_SIGMA,
        use_sample_covariance=False,
        K1=K1,
        K2=K2,
        full=True,
    )
    return similarity


def mean_ssim(similarity: np.ndarray, *, crop: int) -> float:
    """Mean SSIM of the frames cropped by `crop` pixels, from the :func:`ssim_map` of the whole frames.

    Parameters
    ----------
    similarity
        `(H, W)` map of the uncropped frames.
    crop
        Pixels left out on each side; the window's radius (5) is left out on top of it.

    Raises
    ------
    DataError
        When no window fits inside the cropped frame.
    """
    return float(np.mean(crop_border(similarity, crop + WINDOW_TAPS // 2)))


def _check_same_shape(reference: np.ndarray, restored: np.ndarray) -> None:
    if reference.shape != restored.shape:
        raise DataError(f"restored frame: expected {reference.shape} like the truth, got {restored.shape}")


RGB = ("reference_rgb", "restored_rgb")
PSNR_Y = Metric("psnr_y", "PSNR-Y", "dB", "frame", ("mse",), "higher", 2, psnr_from_mse, average="psnr")
PSNR_RGB = Metric("psnr_rgb", "PSNR-RGB", "dB", "frame", RGB, "higher", 2, psnr_rgb, average="psnr")
PSNR_Y_OF_RGB = Metric(
    "psnr_y_of_rgb", "PSNR-Y of RGB", "dB", "frame", ("reference", "restored_luma_of_rgb"), "higher", 2, psnr_y_of_rgb,
    average="psnr",
)  # fmt: skip
SSIM_Y = Metric("ssim_y", "SSIM-Y", "", "frame", ("similarity", "crop"), "higher", 4, mean_ssim)
