"""Low-resolution clips from high-resolution ones: bicubic (BI), Gaussian blur (BD), or a function of the user's own.

*Phase* is the HR coordinate, in pixels, of the centre of LR pixel 0. Whoever compares with a picture
up-sampled from the LR clip needs it: bicubic LR pixels sit between HR pixels, subsampled ones on them.
"""

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from rlsp.config.specs.degradations import BicubicDown, Degradation, OwnDegradation, parse_degradation
from rlsp.data.clips import read_clip, read_manifest, write_clip
from rlsp.errors import ConfigError, DataError
from rlsp.files import write_json
from rlsp.own_code import import_function

_BICUBIC_BOUNDARIES = {"symmetric": "symmetric", "replicate": "edge"}  # MATLAB's name -> that of np.pad
_GAUSSIAN_BOUNDARIES = ("reflect", "mirror", "nearest", "wrap")  # of scipy.ndimage


def phase(spec: Mapping[str, Any] | Degradation) -> float:
    """HR coordinate, in pixels from the centre of HR pixel 0, of the centre of LR pixel 0.

    Parameters
    ----------
    spec : Degradation or mapping
        A resolved degradation, or its plain form.

    Raises
    ------
    ConfigError
        The degradation is of an unknown kind or has other keys than its kind.
    """
    return parse_degradation(spec).first_pixel


def degrade(frames: np.ndarray, spec: Mapping[str, Any] | Degradation) -> np.ndarray:
    """Make a clip's LR version as a resolved degradation says.

    Parameters
    ----------
    frames : np.ndarray
        (T, H, W, C) uint8.
    spec : Degradation or mapping
        A resolved degradation, or its plain form: ``kind`` and all keyword arguments of :func:`degrade_bicubic` or
        :func:`degrade_gaussian`; of a user's own see :func:`degrade_own`.

    Returns
    -------
    np.ndarray
        (T, H / scale, W / scale, C) uint8.

    Raises
    ------
    ConfigError
        The degradation is of an unknown kind, or a key is missing, unknown, or has a wrong value; or a user's own
        cannot be imported or does not take its keys.
    DataError
        The frames have another dtype, number of axes or a size that is no multiple of the scale; or a user's own makes
        something else than LR frames.
    """
    degradation = parse_degradation(spec)
    if isinstance(degradation, OwnDegradation):
        return degrade_own(frames, degradation)
    make = degrade_bicubic if isinstance(degradation, BicubicDown) else degrade_gaussian
    return make(frames, **degradation.dump(without=["kind"]))


# ---- bicubic -----------------------------------------------------------------------------------


def degrade_bicubic(
    frames: np.ndarray, *, scale: int, boundary: str = "symmetric", round_between_passes: bool = True
) -> np.ndarray:
    """Shrink like MATLAB's ``imresize(frame, 1 / scale, "bicubic")`` of a uint8 picture.

    Cubic convolution with a = -0.5, widened by the scale against aliasing; first along the columns of the
    picture (rows shrink), then along its rows; each pass rounds half up and clips to 8 bits.

    The arithmetic is exact: weights are whole numbers over a common denominator (4096 at scale 4), held in
    float64, so no sum is ever rounded and its order does not matter. At scales 2, 4, 8 and 16 the weights are
    dyadic: MATLAB's float64 is exact as well, and the results are equal to the last bit. At other scales its
    weights carry rounding errors of 1e-16, which could decide a tie (a value of exactly n + 1/2) either way.

    Parameters
    ----------
    frames : np.ndarray
        (T, H, W, C) uint8.
    scale : int
        1 to 16; H and W are multiples of it.
    boundary : {"symmetric", "replicate"}
        What lies outside the picture: its mirror image, edge pixel included (newer MATLAB), or its edge pixel
        (older MATLAB, and with it the LR pictures of Urban100 and BSD100 in the SelfExSR repository).
    round_between_passes : bool
        Round and clip to 8 bits between the passes, as MATLAB does.

    Returns
    -------
    np.ndarray
        (T, H / scale, W / scale, C) uint8. LR pixel i is centred on HR pixel scale * i + (scale - 1) / 2.

    Raises
    ------
    ConfigError
        The scale or boundary is not one of those above.
    DataError
        The frames have another dtype, number of axes or a size that is no multiple of the scale.

    References
    ----------
    .. [1] R. Keys, "Cubic convolution interpolation for digital image processing", IEEE Transactions on
       Acoustics, Speech, and Signal Processing 29(6), 1981. https://doi.org/10.1109/TASSP.1981.1163711
    """
    _check_scale(scale)
    if boundary not in _BICUBIC_BOUNDARIES:
        raise ConfigError(f"boundary: expected one of {', '.join(_BICUBIC_BOUNDARIES)}, got {boundary!r}")
    lr = _empty_lr(frames, scale)
    _, denominator, _ = bicubic_weights(scale)
    for t, frame in enumerate(frames):
        rows = _bicubic_pass(frame, 0, scale, boundary)
        if round_between_passes:
            columns = _bicubic_pass(_round_half_up(rows, denominator), 1, scale, boundary)
            lr[t] = _round_half_up(columns, denominator)
        else:
            lr[t] = _round_half_up(_bicubic_pass(rows, 1, scale, boundary), denominator**2)
    return lr


@lru_cache
def bicubic_weights(scale: int) -> tuple[tuple[int, ...], int, int]:
    """Antialiased cubic convolution weights, the same for every LR pixel at whole scales.

    Parameters
    ----------
    scale : int
        Down-scaling factor.

    Returns
    -------
    numerators : tuple of int
        Weights times the denominator, of consecutive HR pixels; they sum to the denominator.
    denominator : int
    first : int
        HR pixel of the first weight for LR pixel 0, negative above scale 1; LR pixel i starts at
        ``first + scale * i``.
    """
    centre = Fraction(scale - 1, 2)
    reach = 2 * scale  # the cubic kernel ends at 2
    first = math.floor(centre - reach) + 1
    last = math.ceil(centre + reach) - 1
    weights = [_cubic((pixel - centre) / scale) for pixel in range(first, last + 1)]
    total = sum(weights)
    weights = [weight / total for weight in weights]
    denominator = math.lcm(*(weight.denominator for weight in weights))
    return tuple(int(weight * denominator) for weight in weights), denominator, first


def _cubic(distance: Fraction) -> Fraction:
    """Keys' kernel with a = -1/2."""
    x = abs(distance)
    if x <= 1:
        return Fraction(3, 2) * x**3 - Fraction(5, 2) * x**2 + 1
    return -Fraction(1, 2) * x**3 + Fraction(5, 2) * x**2 - 4 * x + 2 if x < 2 else Fraction(0)


def _bicubic_pass(frame: np.ndarray, axis: int, scale: int, boundary: str) -> np.ndarray:
    """Filter and shrink one axis of a frame of whole numbers.

    Returns the sums before the division by the denominator: float64 holding whole numbers, exact below 2**53.
    """
    numerators, _, first = bicubic_weights(scale)
    margin = [(0, 0)] * frame.ndim
    margin[axis] = (-first, -first)
    padded = np.pad(frame, margin, mode=_BICUBIC_BOUNDARIES[boundary])
    size = frame.shape[axis] // scale
    before = (slice(None),) * axis
    total = np.zeros((*frame.shape[:axis], size, *frame.shape[axis + 1 :]))
    for offset, numerator in enumerate(numerators):
        window = slice(offset, offset + scale * (size - 1) + 1, scale)
        total += float(numerator) * padded[(*before, window)]
    return total


def _round_half_up(numerators: np.ndarray, denominator: int) -> np.ndarray:
    """Round numerators / denominator, ties up, and clip to uint8.

    Half is added before dividing: a correctly rounded quotient of whole numbers never crosses a whole number.
    """
    return np.clip(np.floor((2 * numerators + denominator) / (2 * denominator)), 0, 255).astype(np.uint8)


# ---- Gaussian ----------------------------------------------------------------------------------


def degrade_gaussian(
    frames: np.ndarray,
    *,
    scale: int,
    sigma: float = 1.5,
    truncate: float = 4.0,
    phase: int = 0,
    boundary: str = "reflect",
    rounding: str = "rint",
) -> np.ndarray:
    """Blur with a Gaussian and keep every `scale`-th pixel of both axes, starting at `phase`.

    Equal to ``scipy.ndimage.gaussian_filter(frame, [sigma, sigma, 0])[phase::scale, phase::scale]``. The
    defaults are those of the released RLSP frames: 13 taps, LR pixel 0 on HR pixel 0, 8 bits.

    Parameters
    ----------
    frames : np.ndarray
        (T, H, W, C) uint8.
    scale : int
        1 to 16; H and W are multiples of it.
    sigma : float
        Standard deviation in HR pixels.
    truncate : float
        The kernel ends at ``int(truncate * sigma + 0.5)`` pixels from its centre.
    phase : int
        0 to scale - 1: HR pixel on which LR pixel 0 sits.
    boundary : {"reflect", "mirror", "nearest", "wrap"}
        What lies outside the picture, by SciPy's names.
    rounding : {"rint", "truncate"}
        "rint": blurred in float64, rounded once, ties to even. "truncate": blurred on uint8, which cuts the
        fraction off after each axis and darkens the frame by about one grey level, as the released
        ``evaluate/super_resolve.py`` does; the released frames were not made that way.

    Returns
    -------
    np.ndarray
        (T, H / scale, W / scale, C) uint8.

    Raises
    ------
    ConfigError
        An option is not one of those above.
    DataError
        The frames have another dtype, number of axes or a size that is no multiple of the scale.
    """
    from scipy.ndimage import gaussian_filter1d  # a quarter of a second that bicubic need not wait for

    _check_scale(scale)
    _check_gaussian(scale, sigma, truncate, phase, boundary, rounding)
    lr = _empty_lr(frames, scale)
    for t, frame in enumerate(frames):
        blurred = frame.astype(np.float64) if rounding == "rint" else frame
        # rows no LR pixel needs are dropped between the axes; what is kept has the bits of gaussian_filter
        blurred = gaussian_filter1d(blurred, sigma, axis=0, mode=boundary, truncate=truncate)[phase::scale]
        blurred = gaussian_filter1d(blurred, sigma, axis=1, mode=boundary, truncate=truncate)[:, phase::scale]
        lr[t] = np.clip(np.rint(blurred), 0, 255)
    return lr


def _check_gaussian(
    scale: int, sigma: float, truncate: float, phase: int, boundary: str, rounding: str
) -> None:
    """Refuse options :func:`degrade_gaussian` does not have."""
    if not (sigma > 0 and truncate > 0):
        raise ConfigError(f"sigma and truncate: expected positive numbers, got {sigma!r} and {truncate!r}")
    if not _is_whole(phase) or not 0 <= phase < scale:
        raise ConfigError(f"phase: expected a whole number from 0 to {scale - 1}, got {phase!r}")
    if boundary not in _GAUSSIAN_BOUNDARIES:
        raise ConfigError(f"boundary: expected one of {', '.join(_GAUSSIAN_BOUNDARIES)}, got {boundary!r}")
    if rounding not in ("rint", "truncate"):
        raise ConfigError(f"rounding: expected rint or truncate, got {rounding!r}")


# ---- the user's own ----------------------------------------------------------------------------


def degrade_own(frames: np.ndarray, spec: OwnDegradation) -> np.ndarray:
    """Let a function of the user's own make each LR frame.

    Parameters
    ----------
    frames : np.ndarray
        (T, H, W, C) uint8.
    spec : OwnDegradation
        Its ``kind`` names the function, which takes a frame (H, W, C) and, by name, ``scale`` and the further keys, and
        returns the LR frame, (H / scale, W / scale, C) uint8. Clips are degraded in several threads.

    Returns
    -------
    np.ndarray
        (T, H / scale, W / scale, C) uint8.

    Raises
    ------
    ConfigError
        The function cannot be imported or does not take the keys.
    DataError
        The frames are none, or what the function returns is no LR frame.
    """
    function = import_function(spec.kind, "degradation.kind", spec.arguments(), positional=1)
    lr = _empty_lr(frames, spec.scale)
    for t, frame in enumerate(frames):
        made = np.asarray(function(frame, **spec.arguments()))
        if made.shape != lr.shape[1:] or made.dtype != np.uint8:
            raise DataError(
                f"degradation {spec.kind}: expected uint8 frames of {lr.shape[1:]}, got {made.dtype} {made.shape}"
            )
        lr[t] = made
    return lr


# ---- all ---------------------------------------------------------------------------------------


def _is_whole(number: Any) -> bool:
    """Whether a number is an integer and no boolean."""
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def _check_scale(scale: int) -> None:
    """Refuse scales the exact arithmetic is not made for: at 16 the sums of two passes still fit 53 bits."""
    if not _is_whole(scale) or not 1 <= scale <= 16:
        raise ConfigError(f"scale: expected a whole number from 1 to 16, got {scale!r}")


def _empty_lr(frames: np.ndarray, scale: int) -> np.ndarray:
    """Check an HR clip and give an array of the size of its LR clip."""
    if frames.dtype != np.uint8:
        raise DataError(f"expected uint8 frames, got {frames.dtype}")
    if frames.ndim != 4:
        raise DataError(f"expected frames of (T, H, W, C), got {frames.shape}")
    count, height, width, channels = frames.shape
    if height % scale or width % scale or not height or not width:
        raise DataError(f"expected height and width to be multiples of {scale}, got {width}x{height}")
    return np.empty((count, height // scale, width // scale, channels), np.uint8)


# ---- data sets ---------------------------------------------------------------------------------


def degrade_dataset(
    manifest_path: Path, spec: Mapping[str, Any], lr_manifest_path: Path, *, workers: int = 1
) -> None:
    """Make the LR version of every clip of a data set.

    Clips are read and written frame by frame. The manifest is removed first and written last, so a manifest
    that exists stands for a complete set.

    Parameters
    ----------
    manifest_path : Path
        Manifest of the HR clips.
    spec : dict
        A resolved degradation, see :func:`degrade`.
    lr_manifest_path : Path
        Manifest to write; the clips go beside it. It says what the HR one says, and ``degradation``: `spec`.
    workers : int
        Threads, a clip each. NumPy and SciPy let go of the interpreter lock, so two take half the time.

    Raises
    ------
    ConfigError
        The degradation is of an unknown kind, or a key is missing, unknown, or has a wrong value.
    DataError
        A clip is missing, damaged, or no multiple of the scale; or the LR folder is the HR one.
    """
    manifest_path, lr_manifest_path = Path(manifest_path), Path(lr_manifest_path)
    degradation = parse_degradation(spec)
    manifest = read_manifest(manifest_path)
    if lr_manifest_path.resolve().parent == manifest_path.resolve().parent:
        raise DataError(f"{lr_manifest_path}: expected another folder than that of the HR clips")
    lr_manifest_path.unlink(missing_ok=True)
    jobs = [
        (manifest_path.parent / entry["file"], degradation, lr_manifest_path.parent / entry["file"])
        for entry in manifest["clips"].values()
    ]
    with ThreadPoolExecutor(workers) as pool:  # after an error, clips not begun are left out
        entries = dict(zip(manifest["clips"], pool.map(_degrade_clip, *zip(*jobs, strict=True)), strict=True))
    write_json(lr_manifest_path, {**manifest, "degradation": degradation.dump(), "clips": entries})


def _degrade_clip(hr_path: Path, spec: Degradation, lr_path: Path) -> dict[str, Any]:
    """Write one LR clip, frame by frame, and give its manifest entry."""
    frames = read_clip(hr_path)
    try:
        return write_clip(lr_path, _degraded_frames(frames, spec))
    except DataError as error:
        raise DataError(f"{hr_path}: {error}") from error


def _degraded_frames(frames: np.ndarray, spec: Degradation) -> Iterator[np.ndarray]:
    """LR frames, (H / scale, W / scale, C) uint8 each."""
    for t in range(len(frames)):
        yield degrade(frames[t : t + 1], spec)[0]
