import math

import numpy as np
import pytest

from rlsp.color import rgb_to_y
from rlsp.errors import DataError
from rlsp.metrics.fidelity import crop_border, mean_ssim, mse, psnr, psnr_from_mse, psnr_rgb, ssim, ssim_map

pytestmark = pytest.mark.numerical


@pytest.fixture
def frames():
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[0:33, 0:41]
    reference = 120 + 60 * np.sin(rows / 5) * np.cos(columns / 3) + rng.normal(0, 8, (33, 41))
    return reference, np.clip(np.rint(reference + rng.normal(3, 12, reference.shape)), 0, 255).astype(
        np.uint8
    )


def slow_ssim(reference, restored):
    """Wang et al. 2004, equations 13 to 15, window by window."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for row in range(5, reference.shape[0] - 5):
        for column in range(5, reference.shape[1] - 5):
            x = reference[row - 5 : row + 6, column - 5 : column + 6].astype(float)
            y = restored[row - 5 : row + 6, column - 5 : column + 6].astype(float)
            mean_x, mean_y = (window * x).sum(), (window * y).sum()
            var_x, var_y = (window * (x - mean_x) ** 2).sum(), (window * (y - mean_y) ** 2).sum()
            covariance = (window * (x - mean_x) * (y - mean_y)).sum()
            luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
            values.append(luminance * (2 * covariance + c2) / (var_x + var_y + c2))
    return np.mean(values)


def test_psnr_of_one_grey_level_is_48_1308_db():
    reference = np.full((20, 30), 128, np.uint8)
    assert psnr(reference, reference + 1) == pytest.approx(48.1308, abs=5e-5)
    assert psnr(reference, reference - 1) == psnr(reference, reference + 1)


def test_differences_of_uint8_do_not_wrap():
    black, white = np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8)
    assert mse(black, white) == mse(white, black) == 255**2
    assert psnr(black, white) == 0


def test_psnr_of_identical_frames_is_infinite():
    frame = np.arange(48, dtype=np.uint8).reshape(6, 8)
    assert psnr(frame, frame) == math.inf
    assert psnr_from_mse(0.0) == math.inf


def test_psnr_depends_on_the_data_range_given():
    assert psnr_from_mse(1e-4, data_range=1) == pytest.approx(40)


def test_psnr_rgb_pools_the_channels():
    reference = np.zeros((5, 5, 3), np.uint8)
    restored = reference.copy()
    restored[..., 1] = 3
    assert mse(reference, restored) == pytest.approx(3)
    assert psnr_rgb(reference, restored) == psnr_from_mse(3.0)


def test_psnr_of_luma_takes_bt601_studio_range():
    # blue off by 40: 40 * 25.064 / 256 = 3.916 levels of studio luma; full range luma would say 4.56
    reference = np.full((4, 4, 3), 100, np.uint8)
    restored = reference + np.array([0, 0, 40], np.uint8)
    assert psnr(rgb_to_y(reference), rgb_to_y(restored)) == pytest.approx(36.2734, abs=5e-4)


def test_ssim_agrees_with_a_slow_restatement(frames):
    assert ssim(*frames) == pytest.approx(slow_ssim(*frames), abs=1e-12)


def test_ssim_of_identical_frames_is_one(frames):
    assert ssim(frames[0], frames[0]) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("crop", [0, 1, 8])
def test_one_map_serves_every_crop(frames, crop):
    cropped = [crop_border(frame, crop) for frame in frames]
    assert mean_ssim(ssim_map(*frames), crop=crop) == pytest.approx(ssim(*cropped), abs=1e-12)


def test_crop_border_leaves_out_each_side():
    frame = np.arange(7 * 9 * 3).reshape(7, 9, 3)
    np.testing.assert_array_equal(crop_border(frame, 2), frame[2:5, 2:7])
    assert crop_border(frame, 0).shape == frame.shape


@pytest.mark.parametrize("crop", [-1, 4])
def test_crop_border_refuses_impossible_crops(crop):
    with pytest.raises(DataError, match=f"crop: expected 0 to 3 for a frame of 9x7, got {crop}"):
        crop_border(np.zeros((7, 9)), crop)


@pytest.mark.parametrize("measure", [mse, psnr, ssim])
def test_frames_of_different_sizes_are_refused(measure):
    with pytest.raises(DataError, match=r"expected \(20, 20\) like the truth, got \(20, 21\)"):
        measure(np.zeros((20, 20)), np.zeros((20, 21)))


@pytest.mark.parametrize("shape", [(10, 30), (30, 30, 3)])
def test_ssim_refuses_what_no_window_fits(shape):
    with pytest.raises(DataError, match="at least 11 pixels"):
        ssim(np.zeros(shape), np.zeros(shape))


def test_mean_ssim_refuses_a_crop_that_leaves_no_window():
    with pytest.raises(DataError, match="crop"):
        mean_ssim(np.ones((20, 20)), crop=5)
