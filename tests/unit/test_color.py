"""RGB <-> BT.601 studio Y'CbCr against the closed form of the standard."""

import numpy as np
import pytest
import torch

from rlsp.color import luma, rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb
from rlsp.errors import DataError

pytestmark = pytest.mark.numerical

# ITU-R BT.601: luma weights, 219 steps of luma and 224 of chroma, full-range R'G'B' in 255ths
WEIGHTS = np.array([0.299, 0.587, 0.114])
RED, GREEN, BLUE = np.eye(3) * 255
BLACK, WHITE = np.zeros(3), np.full(3, 255)


def standard_ycbcr(rgb):
    y = rgb @ WEIGHTS
    cb, cr = (rgb[2] - y) / (2 * (1 - WEIGHTS[2])), (rgb[0] - y) / (2 * (1 - WEIGHTS[0]))
    return np.array([16 + 219 * y / 255, 128 + 224 * cb / 255, 128 + 224 * cr / 255])


@pytest.mark.parametrize(
    ("rgb", "expected"), [(BLACK, 16), (WHITE, 235), (RED, 81.48), (GREEN, 144.55), (BLUE, 40.97)]
)
def test_luma_of_primaries(rgb, expected):
    assert rgb_to_y(rgb) == pytest.approx(expected, abs=0.01)
    assert luma(torch.tensor(rgb).reshape(3, 1, 1)).item() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("rgb", [BLACK, WHITE, RED, GREEN, BLUE, np.array([12.0, 200.0, 77.0])])
def test_ycbcr_follows_the_standard(rgb):
    # coefficients have three decimals in 256ths: at most 3 * 0.0005 / 256 * 255 away
    np.testing.assert_allclose(rgb_to_ycbcr(rgb), standard_ycbcr(rgb), atol=0.002)


def test_greys_have_no_chroma():
    grey = np.repeat(np.arange(256)[:, None], 3, axis=1)
    np.testing.assert_allclose(rgb_to_ycbcr(grey)[:, 1:], 128, atol=1e-9)


def test_round_trip_is_exact_for_every_level():
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    rgb = np.stack(np.meshgrid(levels, levels, levels), axis=-1)
    back = ycbcr_to_rgb(rgb_to_ycbcr(rgb))
    np.testing.assert_allclose(back, rgb, atol=1e-10)
    np.testing.assert_array_equal(np.rint(back).astype(np.uint8), rgb)


def test_the_three_ways_to_luma_agree():
    rgb = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 7, 3), dtype=np.uint8)
    y = rgb_to_y(rgb)
    assert y.dtype == np.float64 and y.shape == rgb.shape[:-1]
    np.testing.assert_allclose(rgb_to_ycbcr(rgb)[..., 0], y, atol=1e-10)
    torch_y = luma(torch.tensor(rgb).movedim(-1, -3).float())
    assert torch_y.dtype == torch.float32 and torch_y.shape == (2, 3, 1, 5, 7)
    np.testing.assert_allclose(torch_y[:, :, 0], y, atol=1e-4)


@pytest.mark.parametrize("convert", [rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb])
@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1), (3, 4), ()])
def test_other_channel_counts_are_refused(convert, shape):
    with pytest.raises(DataError, match=r"expected colours of \(\.\.\., 3\), got"):
        convert(np.zeros(shape))


@pytest.mark.parametrize("shape", [(4, 4, 3), (1, 4, 4), (3, 4)])
def test_luma_refuses_other_shapes(shape):
    with pytest.raises(DataError, match="luma: expected frames"):
        luma(torch.zeros(shape))
