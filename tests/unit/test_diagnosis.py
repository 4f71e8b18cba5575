import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.data import astronaut, coffee

from rlsp.color import rgb_to_y
from rlsp.data.degradation import degrade_bicubic, degrade_gaussian
from rlsp.errors import DataError
from rlsp.evaluation.diagnosis import Finding, diagnose
from rlsp.models.bicubic import upsample_bicubic


def to_uint8(frames):
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def hr():
    """A camera that moves over a photograph by (3, 2) pixels per frame: no phase mistake looks like that."""
    return np.stack([coffee()[2 * t : 2 * t + 160, 3 * t + 100 : 3 * t + 292] for t in range(5)])


@pytest.fixture(scope="module")
def sr(hr):
    """A plausible restoration: fine detail mostly lost, some of it wrong, what LR frames hold intact."""
    smooth = gaussian_filter(hr.astype(float), (0, 0.8, 0.8, 0))
    smooth += 0.5 * (smooth - gaussian_filter(smooth, (0, 0.8, 0.8, 0)))
    noise = np.random.default_rng(0).normal(0, 3, hr.shape)
    return to_uint8(smooth + noise - gaussian_filter(noise, (0, 2, 2, 0)))


def interpolate(lr, phase):
    return to_uint8(upsample_bicubic(lr, scale=4, phase=phase))


def the_one(findings: list[Finding], name: str) -> Finding:
    assert [finding.name for finding in findings] == [name]
    (finding,) = findings
    assert finding.psnr_after > finding.psnr_before
    assert "\n" not in finding.message
    assert f"PSNR {finding.psnr_before:.2f} dB, {finding.psnr_after:.2f} dB" in finding.message
    return finding


# ---- quiet --------------------------------------------------------------------------------------


def test_quiet_on_a_correct_pair(sr, hr):
    assert diagnose(sr, hr) == []
    assert diagnose(hr, hr) == []
    assert diagnose(to_uint8(rgb_to_y(sr)), hr) == []
    assert diagnose(to_uint8(rgb_to_y(sr)), to_uint8(rgb_to_y(hr))) == []
    assert diagnose(sr[:1], hr[:1]) == []


@pytest.mark.parametrize("sigma", [2, 8])
def test_quiet_on_noise(hr, sigma):
    noise = np.random.default_rng(0).normal(0, sigma, hr.shape)
    assert diagnose(to_uint8(hr + noise), hr) == []


def test_quiet_on_aligned_interpolation(hr):
    assert diagnose(interpolate(degrade_bicubic(hr, scale=4), 1.5), hr) == []
    assert diagnose(interpolate(degrade_gaussian(hr, scale=4), 0), hr) == []


def test_quiet_where_nothing_moves_and_nothing_is_seen():
    flat = np.full((3, 96, 96, 3), 90, np.uint8)
    assert diagnose(flat, flat) == []
    assert diagnose(flat + np.uint8(3), flat) == []


def test_quiet_on_another_picture(hr):
    other = np.stack([astronaut()[:160, :192]] * len(hr))
    assert {finding.name for finding in diagnose(other, hr)} <= {"shift"}  # no range, matrix, blur


# ---- place and time -----------------------------------------------------------------------------


def test_gaussian_input_taken_for_centred(hr):
    finding = the_one(diagnose(interpolate(degrade_gaussian(hr, scale=4), 1.5), hr), "shift")
    assert "1.5 px right and 1.5 px down" in finding.message
    assert "sampled at phase 0 (gaussian) is taken for centred (bicubic, phase 1.5)" in finding.message


def test_centred_input_given_to_phase_0(hr):
    finding = the_one(diagnose(interpolate(degrade_bicubic(hr, scale=4), 0), hr), "shift")
    assert "1.5 px left and 1.5 px up" in finding.message
    assert "centred input (bicubic, phase 1.5) is given to a model for phase 0" in finding.message


def test_phase_hint_follows_the_scale(hr):
    findings = diagnose(np.roll(hr, (1, 1), (1, 2)), hr, scale=3)  # (3 - 1) / 2 = 1
    assert "phase 1)" in the_one(findings, "shift").message
    assert "phase" not in the_one(diagnose(np.roll(hr, (1, 1), (1, 2)), hr), "shift").message


@pytest.mark.parametrize(
    "rows, columns, words",
    [
        (1, 0, " 1.0 px down"),
        (-2, 0, " 2.0 px up"),
        (0, -5, " 5.0 px left"),
        (3, 1, " 1.0 px right and 3.0 px down"),
    ],
)
def test_whole_pixel_shift(sr, hr, rows, columns, words):
    finding = the_one(diagnose(np.roll(sr, (rows, columns), (1, 2)), hr), "shift")
    assert f"shifted{words} against HR (" in finding.message
    assert finding.psnr_after > finding.psnr_before + 1


@pytest.mark.parametrize(
    "offset, words", [(1, "t+1 of HR: SR runs 1 ahead of HR"), (-2, "t-2 of HR: SR runs 2 behind HR")]
)
def test_frame_offset(sr, hr, offset, words):
    numbers = np.clip(np.arange(5) + offset, 0, 4)
    findings = diagnose(sr[numbers], hr)
    assert words in the_one(findings, "frame offset").message


def test_lost_first_frame(sr, hr):
    assert "t+1 of HR" in the_one(diagnose(sr[1:], hr), "frame offset").message


# ---- colour -------------------------------------------------------------------------------------


def test_swapped_channels(sr, hr):
    assert "BGR for RGB" in the_one(diagnose(sr[..., ::-1], hr), "swapped channels").message


def test_limited_range(sr, hr):
    finding = the_one(diagnose(to_uint8(sr * (219 / 255) + 16), hr), "range")
    assert "SR has limited range (16..235), HR full" in finding.message


def test_full_range(sr, hr):
    finding = the_one(diagnose(sr, to_uint8(hr * (219 / 255) + 16)), "range")
    assert "SR has full range (0..255), HR limited" in finding.message


def test_full_range_luma(sr, hr):
    full = to_uint8((rgb_to_y(sr) - 16) * 255 / 219)
    assert "SR has full range" in the_one(diagnose(full, hr), "range").message


# Full-range RGB -> Y'CbCr, rows Y, Cb, Cr: the printed coefficients of JFIF (BT.601) and of BT.709
TO_YCBCR = {
    "BT.601": [[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]],
    "BT.709": [[0.2126, 0.7152, 0.0722], [-0.1146, -0.3854, 0.5], [0.5, -0.4542, -0.0458]],
}


@pytest.mark.parametrize("right, wrong", [("BT.601", "BT.709"), ("BT.709", "BT.601")])
def test_wrong_matrix(sr, hr, right, wrong):
    stored = sr.astype(float) @ np.array(TO_YCBCR[right]).T
    shown = to_uint8(stored @ np.linalg.inv(TO_YCBCR[wrong]).T)
    finding = the_one(diagnose(shown, hr), "colour matrix")
    assert f"by the matrix of {wrong}, its frames are {right}" in finding.message


def test_luma_of_another_standard(sr, hr):
    # BT.709-6, section 3.2 and 3.4: 219 E'Y + 16
    luma = to_uint8(sr @ np.array([0.2126, 0.7152, 0.0722]) * 219 / 255 + 16)
    assert "BT.709" in the_one(diagnose(luma, hr), "colour matrix").message


# ---- blur ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [1, 1.5])
def test_too_smooth(sr, hr, sigma):
    findings = diagnose(to_uint8(gaussian_filter(sr.astype(float), (0, sigma, sigma, 0))), hr)
    assert "SR is too smooth" in the_one(findings, "blur").message


def test_too_sharp(sr, hr):
    """Deblurred as weights for blurred input do it to input that was less blurred."""
    frames = sr.astype(float)
    sharp = to_uint8(frames + 0.6 * (frames - gaussian_filter(frames, (0, 2, 2, 0))))
    assert "SR is too sharp" in the_one(diagnose(sharp, hr), "blur").message


# ---- several, and bad input ---------------------------------------------------------------------


def test_luma_like_colours_do_not_hide_two_mistakes(hr):
    """Nearly grey pictures: each of the two alone brings means and spreads only a little closer."""
    grey = rgb_to_y(hr)[..., None] + 0.15 * (hr - hr.mean(axis=3, keepdims=True))
    findings = diagnose(to_uint8(grey[..., ::-1] * (219 / 255) + 16), to_uint8(grey))
    assert {finding.name for finding in findings} == {"swapped channels", "range"}


def test_several_mistakes_at_once(sr, hr):
    bad = np.roll(to_uint8(sr[..., ::-1] * (219 / 255) + 16), (-2, 1), (1, 2))
    findings = diagnose(bad, hr)
    assert {finding.name for finding in findings} == {"swapped channels", "range", "shift"}
    for before, after in zip(findings[:-1], findings[1:], strict=True):
        assert after.psnr_after > before.psnr_after


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda clip: clip[:, :-4], "SR: expected 192x160 like HR, got 192x156"),
        (lambda clip: clip.astype(np.float32), r"SR: expected uint8 \(T, H, W, 3\)"),
        (lambda clip: clip[:0], r"SR: expected uint8 \(T, H, W, 3\)"),
        (lambda clip: clip[..., :2], r"SR: expected uint8 \(T, H, W, 3\)"),
    ],
)
def test_clips_that_cannot_be_compared(hr, make, message):
    with pytest.raises(DataError, match=message):
        diagnose(make(hr), hr)


def test_tiny_clips(hr):
    with pytest.raises(DataError, match="at least 64 pixels"):
        diagnose(hr[:, :32, :32], hr[:, :32, :32])
