"""What is wrong with a restored clip: the commonest mistakes behind a score several dB too low.

Each suspect is judged by undoing it: a mistake is named only when the restored clip comes clearly closer to
the truth without it. The best explanation is undone first, then the rest is looked at again.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.fft import fftfreq, irfft2, next_fast_len, rfft2, rfftfreq
from scipy.signal.windows import hann
from skimage.registration import phase_cross_correlation

from rlsp.color import rgb_to_y
from rlsp.errors import DataError
from rlsp.metrics.fidelity import psnr_from_mse

MIN_GAIN = 0.3  # dB; what honest restoration errors let any of the remedies below gain by chance is less
MIN_GAIN_SHARP = 0.05  # dB, for frames found too sharp by their spectrum
BLOCK = 32  # HR pixels; smaller ones keep too much of a restoration's own errors
MIN_COLOR_GAIN = 1.5  # ratio of mean squared errors of block averages, before and after
TIE = 0.2  # dB, between two explanations
MAX_OFFSET = 3  # frames looked at before and after
MAX_SHIFT = 16  # HR pixels
SAMPLES = 5  # frames of the clip that are looked at
CROP = 8  # HR pixels at each border: sliding-window methods are bad there

LUMA_WEIGHTS = {  # red and blue weights of luma: ITU-R BT.601-7 section 2.5.1, BT.709-6 section 3.2
    "BT.601": (0.299, 0.114),
    "BT.709": (0.2126, 0.0722),
}


@dataclass(frozen=True)
class Finding:
    """One mistake.

    Attributes
    ----------
    name : str
        orientation, frame offset, shift, swapped channels, range, colour matrix, or blur.
    message : str
        One line for the user, with size and direction.
    psnr_before, psnr_after : float
        PSNR in dB against the truth without and with the mistake undone, over the frames looked at, RGB where
        both clips have colours and Y elsewhere, without 8 pixels at each border.
    """

    name: str
    message: str
    psnr_before: float
    psnr_after: float


@dataclass(frozen=True)
class _Pair:
    """The frames looked at, (n, H, W, C) float32 in [0, 255], and where they come from."""

    sr: np.ndarray
    hr: np.ndarray
    truth: np.ndarray = field(repr=False)  # all frames of the truth, untouched
    frames: tuple[int, ...]  # numbers of the frames in `sr`
    offset: int = 0  # frame t of `sr` is paired with frame t + offset of `truth`
    margin: int = 0  # border pixels that an undone shift has made up


def diagnose(sr: np.ndarray, hr: np.ndarray, *, scale: int = 4) -> list[Finding]:
    """Name the mistakes that explain a bad score.

    Parameters
    ----------
    sr, hr : np.ndarray
        Restored clip and truth, (T, H, W, 3) RGB or (T, H, W) luma, uint8, of one height and width; the
        numbers of frames may differ. Where only one has colours, its luma is taken.
    scale : int
        Up-scaling factor of the restoration.

    Returns
    -------
    list of Finding
        Empty for a correct pair; the mistake that costs most comes first, and each is measured with those
        before it undone.

    Raises
    ------
    DataError
        The clips are empty, no uint8, too small, or differ in height or width.
    """
    _check_clips(sr, hr)
    pair = _sample(sr, hr)
    findings: list[Finding] = []
    while len(findings) < 6:
        known = {finding.name for finding in findings}
        suspects = [suspect for suspect in _suspects(pair, scale) if suspect[0].name not in known]
        suspects = suspects or [suspect for suspect in _blur(pair, scale) if "blur" not in known]
        if not suspects:
            break
        finding, pair = _best(suspects)
        findings.append(finding)
    return findings


def _best(suspects: list[tuple[Finding, _Pair]]) -> tuple[Finding, _Pair]:
    """Pick the mistake that costs most; of equals the first.

    A steady pan makes a frame offset look like a shift as well.
    """
    gains = [finding.psnr_after - finding.psnr_before for finding, _ in suspects]
    return next(suspect for suspect, gain in zip(suspects, gains, strict=True) if gain >= max(gains) - TIE)


def _check_clips(sr: np.ndarray, hr: np.ndarray) -> None:
    """Refuse what cannot be compared."""
    for name, clip in (("SR", sr), ("HR", hr)):
        is_clip = clip.ndim == 3 or clip.ndim == 4 and clip.shape[3] == 3
        if not is_clip or clip.dtype != np.uint8 or not len(clip):
            raise DataError(
                f"{name}: expected uint8 (T, H, W, 3) or (T, H, W), got {clip.dtype} {clip.shape}"
            )
    if sr.shape[1:3] != hr.shape[1:3] and (turn := turned(sr, hr)):
        raise DataError(
            f"SR: expected {hr.shape[2]}x{hr.shape[1]} like HR, got {sr.shape[2]}x{sr.shape[1]}: SR is {turn}"
        )
    if sr.shape[1:3] != hr.shape[1:3]:
        raise DataError(f"SR: expected {hr.shape[2]}x{hr.shape[1]} like HR, got {sr.shape[2]}x{sr.shape[1]}")
    if min(sr.shape[1:3]) < 4 * MAX_SHIFT:
        raise DataError(f"SR: expected at least {4 * MAX_SHIFT} pixels each way, got {sr.shape[1:3]}")


def _sample(sr: np.ndarray, hr: np.ndarray) -> _Pair:
    """Take a few frames, evenly spread, and bring both clips to the same channels."""
    count = min(len(sr), len(hr))
    frames = tuple(dict.fromkeys(np.linspace(0, count - 1, SAMPLES).round().astype(int).tolist()))
    sr = sr[list(frames)]
    if sr.ndim == 4 and hr.ndim == 3:
        sr = rgb_to_y(sr)
    colors = sr.shape[3] if sr.ndim == 4 else 1
    sr = sr.reshape(*sr.shape[:3], colors).astype(np.float32)
    pair = _Pair(sr=sr, hr=sr, truth=hr, frames=frames)
    return _replace(pair, hr=_truth(pair, frames))


def _truth(pair: _Pair, frames: tuple[int, ...]) -> np.ndarray:
    """Frames of the truth with as many channels as the restored ones, float32."""
    truth = pair.truth[list(frames)]
    if truth.ndim == 4 and pair.sr.shape[3] == 1:
        truth = rgb_to_y(truth)
    return truth.reshape(len(frames), *pair.sr.shape[1:]).astype(np.float32)


def _replace(pair: _Pair, **changes) -> _Pair:
    """Copy `pair` with some fields changed."""
    return _Pair(**{**vars(pair), **changes})


def _psnr(sr: np.ndarray, hr: np.ndarray, margin: int = 0) -> float:
    """PSNR in dB over all frames and channels, away from the borders."""
    inside = slice(CROP + margin, -CROP - margin)
    error = float(np.mean((sr[:, inside, inside] - hr[:, inside, inside]) ** 2, dtype=np.float64))
    return psnr_from_mse(error if error > 1e-6 else 0)  # less is rounding of float32


Suspects = Iterator[tuple[Finding, _Pair]]


def _judge(pair: _Pair, name: str, message: str, needed: float = MIN_GAIN, **changes) -> Suspects:
    """Yield a finding and the mended pair when undoing the mistake gains more than `needed` dB."""
    mended = _replace(pair, **changes)
    before = _psnr(pair.sr, pair.hr, mended.margin)
    after = _psnr(mended.sr, mended.hr, mended.margin)
    if after > before + needed:
        message = f"{message} (PSNR {before:.2f} dB, {after:.2f} dB with this undone)"
        yield Finding(name, message, before, after), mended


def _suspects(pair: _Pair, scale: int) -> Suspects:
    """All mistakes but the blur, which is only judged when these are out of the way."""
    yield from _orientation(pair)
    yield from _frame_offset(pair)
    yield from _shift(pair, scale)
    yield from _color(pair)


# ---- orientation -------------------------------------------------------------------------------

# what undoes it -> what was done; of (n, H, W, C)
TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mirrored left to right": lambda clip: clip[:, :, ::-1],
    "upside down and mirrored": lambda clip: clip[:, ::-1],
    "rotated by 180 degrees": lambda clip: clip[:, ::-1, ::-1],
    "transposed (rows for columns)": lambda clip: clip.swapaxes(1, 2),
    "rotated by 90 degrees to the right": lambda clip: np.rot90(clip, 1, axes=(1, 2)),
    "rotated by 90 degrees to the left": lambda clip: np.rot90(clip, -1, axes=(1, 2)),
    "transposed and rotated by 180 degrees": lambda clip: clip[:, ::-1, ::-1].swapaxes(1, 2),
}


def _orientation(pair: _Pair) -> Suspects:
    """Judge whether the restored frames are mirrored or rotated."""
    best = None
    for turn, undo in TURNS.items():
        sr = np.ascontiguousarray(undo(pair.sr))
        if sr.shape == pair.hr.shape:
            for suspect in _judge(pair, "orientation", f"SR is {turn} against HR", sr=sr):
                if best is None or suspect[0].psnr_after > best[0].psnr_after:
                    best = suspect
    if best is not None:
        yield best


def turned(sr: np.ndarray, hr: np.ndarray) -> str | None:
    """Name the rotation of frames whose height and width are exchanged, by how close its undoing comes; None if not."""
    if sr.shape[1:3] != hr.shape[2:0:-1] or sr.shape[1] == sr.shape[2] or sr.ndim != 4 or hr.ndim != 4:
        return None
    first = hr[:1].astype(np.float32)
    errors = {
        turn: float(np.mean((undo(sr[:1]).astype(np.float32) - first) ** 2))
        for turn, undo in TURNS.items()
        if undo(sr[:1]).shape == first.shape
    }
    return min(errors, key=errors.__getitem__)


# ---- time and place ----------------------------------------------------------------------------


def _frame_offset(pair: _Pair) -> Suspects:
    """Judge whether restored frame t shows the truth of another time."""
    best = None
    for offset in range(-MAX_OFFSET, MAX_OFFSET + 1):
        kept = [i for i, t in enumerate(pair.frames) if 0 <= t + offset < len(pair.truth)]
        if offset == pair.offset or not kept:
            continue
        frames = tuple(pair.frames[i] for i in kept)
        now = _replace(pair, sr=pair.sr[kept], hr=pair.hr[kept], frames=frames)
        hr = _truth(pair, tuple(t + offset for t in frames))
        side = "ahead of" if offset > 0 else "behind"
        message = f"frame t of SR shows frame t{offset:+d} of HR: SR runs {abs(offset)} {side} HR"
        for suspect in _judge(now, "frame offset", message, hr=hr, offset=offset):
            if best is None or suspect[0].psnr_after > best[0].psnr_after:
                best = suspect
    if best is not None:
        yield best


def _shift(pair: _Pair, scale: int) -> Suspects:
    """Judge whether the restored frames lie beside the truth, by whole or sub-pixels."""
    rows, columns = _estimate_shift(pair.sr.mean(axis=3, keepdims=True), pair.hr.mean(axis=3))
    if not 0.1 <= max(abs(rows), abs(columns)) <= MAX_SHIFT:
        return
    rows, columns, hint = _explain_phase(rows, columns, scale)
    parts = [f"{abs(columns):.1f} px {'right' if columns > 0 else 'left'}"] if abs(columns) >= 0.1 else []
    parts += [f"{abs(rows):.1f} px {'down' if rows > 0 else 'up'}"] if abs(rows) >= 0.1 else []
    message = f"SR is shifted {' and '.join(parts)} against HR{hint}"
    margin = pair.margin + math.ceil(max(abs(rows), abs(columns)))
    yield from _judge(pair, "shift", message, sr=_move_back(pair.sr, rows, columns), margin=margin)


def _estimate_shift(sr: np.ndarray, hr: np.ndarray) -> tuple[float, float]:
    """Displacement of grey SR (n, H, W, 1) against grey HR (n, H, W) in rows (down) and columns (right)."""
    _, height, width = hr.shape
    window = np.outer(hann(height), hann(width)).astype(np.float32)
    hr = (hr - hr.mean()) * window
    if not hr.any():
        return 0.0, 0.0
    total = np.zeros(2)
    for _ in range(3):  # the window stays in place, which draws each estimate towards 0
        moved = _move_back(sr, *total)[..., 0] if total.any() else sr[..., 0]
        moved = (moved - moved.mean()) * window
        if not moved.any():
            break
        # without whitening: what SR invents at high frequencies must not vote
        backs = [
            phase_cross_correlation(*frames, upsample_factor=50, normalization=None)[0]
            for frames in zip(hr, moved, strict=True)
        ]
        total -= np.mean(backs, axis=0)
        if np.abs(total).max() > MAX_SHIFT or np.abs(backs).max() < 0.02:
            break
    return float(total[0]), float(total[1])


def _move_back(clip: np.ndarray, rows: float, columns: float) -> np.ndarray:
    """Undo a displacement by `rows` down and `columns` right."""
    return _filter(clip, lambda u, v: np.exp(2j * np.pi * (u * rows + v * columns)))


def _explain_phase(rows: float, columns: float, scale: int) -> tuple[float, float, str]:
    """Take a shift of about (scale - 1) / 2 as exactly that, and explain it by where LR pixel 0 lies."""
    half = (scale - 1) / 2
    taken = f", as when input sampled at phase 0 (gaussian) is taken for centred (bicubic, phase {half:g})"
    given = f", as when centred input (bicubic, phase {half:g}) is given to a model for phase 0 (gaussian)"
    for exact, hint in ((half, taken), (-half, given)):
        if max(abs(rows - exact), abs(columns - exact)) < 0.2:
            return exact, exact, hint
    return rows, columns, ""


# ---- colour ------------------------------------------------------------------------------------


def _color(pair: _Pair) -> Suspects:
    """Judge swapped channels, wrong range, wrong matrix.

    They change whole areas, so they are looked for in averages over blocks, where the errors of a
    restoration cancel; else a matrix, say, would go unseen in clips as difficult as Vid4.
    """
    coarse_sr, coarse_hr = _coarse(pair.sr, pair.margin), _coarse(pair.hr, pair.margin)
    for name, message, recolor in _recolorings(pair.sr.shape[3]):
        if _is_clearly_closer(recolor(coarse_sr), coarse_sr, coarse_hr):
            yield from _judge(pair, name, message, 0, sr=recolor(pair.sr))
    if pair.sr.shape[3] == 1 and pair.truth.ndim == 4:
        frames = [t + pair.offset for t in pair.frames]
        other = _luma(pair.truth[frames].astype(np.float32), "BT.709")[..., None]
        if _is_clearly_closer(_coarse(other, pair.margin), coarse_hr, coarse_sr):
            message = "SR is luma by BT.709; the truth's is taken by BT.601"
            yield from _judge(pair, "colour matrix", message, 0, hr=other)


def _coarse(clip: np.ndarray, margin: int) -> np.ndarray:
    """Means over blocks of pixels, away from the borders: (n, rows, columns, C)."""
    inside = slice(CROP + margin, -CROP - margin)
    clip = clip[:, inside, inside]
    n, height, width, colors = clip.shape
    size = min(BLOCK, height // 4, width // 4)
    rows, columns = height // size, width // size
    blocks = clip[:, : rows * size, : columns * size].reshape(n, rows, size, columns, size, colors)
    return blocks.mean(axis=(2, 4), dtype=np.float64)


def _is_clearly_closer(mended: np.ndarray, before: np.ndarray, truth: np.ndarray) -> bool:
    """Say whether colours come much closer to the truth, in place and as a whole.

    Means and standard deviations are asked too, since a misaligned picture also comes closer to the truth
    when it is merely made fainter.
    """

    def spread(clip: np.ndarray) -> np.ndarray:
        return clip.std(axis=(0, 1, 2))

    def moments(clip: np.ndarray) -> float:
        means = np.abs(clip.mean(axis=(0, 1, 2)) - truth.mean(axis=(0, 1, 2))).sum()
        return means + np.abs(spread(clip) - spread(truth)).sum()

    is_closer = np.mean((mended - truth) ** 2) < np.mean((before - truth) ** 2) / MIN_COLOR_GAIN
    is_alike = moments(mended) < 0.9 * moments(before)
    has_contrast = min(spread(truth).max(), spread(before).max()) > 1  # grey levels
    return bool(is_closer and is_alike and has_contrast)


def _recolorings(colors: int) -> Iterator[tuple[str, str, Callable[[np.ndarray], np.ndarray]]]:
    """Name, message and remedy of each mistake with colours."""
    # ITU-R BT.601-7 section 2.5: limited range has black at 16 and white at 235
    yield (
        "range",
        "SR has limited range (16..235), HR full range (0..255)",
        lambda sr: (sr - 16) * (255 / 219),
    )
    yield "range", "SR has full range (0..255), HR limited range (16..235)", lambda sr: sr * (219 / 255) + 16
    if colors != 3:
        return
    yield "swapped channels", "SR has red and blue swapped (BGR for RGB)", lambda sr: sr[..., ::-1]
    for wrong, right in (("BT.709", "BT.601"), ("BT.601", "BT.709")):
        message = f"SR was made RGB by the matrix of {wrong}, its frames are {right}"
        matrix = (_rgb_matrix(right) @ np.linalg.inv(_rgb_matrix(wrong))).T.astype(np.float32)
        yield "colour matrix", message, lambda sr, matrix=matrix: sr @ matrix


def _luma(rgb: np.ndarray, standard: str) -> np.ndarray:
    """Studio-range luma (16..235) of full-range RGB by the named standard."""
    red, blue = LUMA_WEIGHTS[standard]
    return rgb @ np.array([red, 1 - red - blue, blue]) * (219 / 255) + 16


def _rgb_matrix(standard: str) -> np.ndarray:
    """Matrix from (Y, B - Y, R - Y), each scaled as the standards do, to RGB."""
    red, blue = LUMA_WEIGHTS[standard]
    luma = np.array([red, 1 - red - blue, blue])
    to_blue = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
    to_red = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
    return np.linalg.inv(np.stack([luma, to_blue, to_red]))


# ---- blur --------------------------------------------------------------------------------------

BANDS = 12  # rings of frequency, a quarter of the LR Nyquist frequency wide each
MAX_REMEDY = 3.0  # amplitude; more would only amplify rounding


def _blur(pair: _Pair, scale: int) -> Suspects:
    """Judge whether the restored frames are much smoother or sharper than the truth below the LR Nyquist.

    A correct restoration passes those frequencies on as they are, whatever it invents above. Gain in band 2
    on the four clips of Vid4: 0.97..1.00 for the released frames of RLSP 7-64 and DUF-52L, 1.14..1.15 for
    the 7-64 weights, trained on Gaussian input, fed bicubic input. Interpolation passes on less than 0.6 in
    band 3 and has nothing above the LR Nyquist; that is no mistake.
    """
    gain, remedy, coherence = _transfer(pair, scale)
    is_interpolation = gain[3] < 0.6 and coherence[5] < 0.5
    if 0.93 <= gain[2] <= 1.06 or gain[2] < 1 and is_interpolation:
        return
    if gain[2] > 1:
        message = "SR is too sharp, as from weights for gaussian input that were given sharper bicubic input"
    else:
        message = "SR is too smooth, as from weights for bicubic input that were given blurred gaussian input"
    message += f": {100 * gain[2]:.0f} % of HR's contrast at 0.6 of the LR Nyquist frequency"
    centers = np.arange(BANDS) + 0.5

    def response(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.interp(_band(u, v, scale), centers, remedy)

    # too little training makes frames smooth, but never too sharp: there the spectrum is evidence enough
    needed = MIN_GAIN if gain[2] < 1 else MIN_GAIN_SHARP
    yield from _judge(pair, "blur", message, needed, sr=_filter(pair.sr, response))


def _transfer(pair: _Pair, scale: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare the spectra of SR and HR in rings of frequency, a quarter of the LR Nyquist wide each.

    Returns
    -------
    gain : np.ndarray
        Part of SR that follows HR, by amplitude, 1 in the lowest band.
    remedy : np.ndarray
        Gain that brings SR closest to HR (a Wiener filter).
    coherence : np.ndarray
        Correlation of SR and HR.
    """
    sr, hr = pair.sr.mean(axis=3), pair.hr.mean(axis=3)
    _, height, width = sr.shape
    window = np.outer(hann(height), hann(width)).astype(np.float32)
    sr, hr = (rfft2((clip - clip.mean((1, 2), keepdims=True)) * window) for clip in (sr, hr))
    band = _band(fftfreq(height)[:, None], rfftfreq(width)[None], scale)
    band = np.minimum(band.astype(int), BANDS)

    def per_band(power: np.ndarray) -> np.ndarray:
        return np.bincount(band.ravel(), power.sum(axis=0).ravel(), minlength=BANDS + 1)[:BANDS] + 1e-9

    common, of_sr, of_hr = per_band((sr * hr.conj()).real), per_band(abs(sr) ** 2), per_band(abs(hr) ** 2)
    gain = common / of_hr
    return gain / gain[0], np.clip(common / of_sr, 0, MAX_REMEDY), common / np.sqrt(of_sr * of_hr)


def _band(u: np.ndarray, v: np.ndarray, scale: int) -> np.ndarray:
    """Radius of the frequencies u, v (cycles per HR pixel) in quarters of the LR Nyquist, 1 / (2 scale)."""
    return np.hypot(u, v) * 8 * scale


def _filter(clip: np.ndarray, response: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Multiply the spectrum of each frame and channel by `response` of vertical and horizontal frequency."""
    pad = 2 * MAX_SHIFT  # reflected, so that opposite borders do not mix
    padded = np.pad(clip, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    height, width = (next_fast_len(size, real=True) for size in padded.shape[1:3])
    factor = response(fftfreq(height)[:, None], rfftfreq(width)[None]).astype(np.complex64)
    spectrum = rfft2(padded, s=(height, width), axes=(1, 2)) * factor[..., None]
    rows, columns = (slice(pad, pad + size) for size in clip.shape[1:3])
    return irfft2(spectrum, s=(height, width), axes=(1, 2))[:, rows, columns]
