import numpy as np
import pytest
import torch
from made_degradations import BICUBIC, GAUSSIAN, smooth_clip

from rlsp.color import rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb
from rlsp.data.degradation import degrade
from rlsp.inference.chroma import PictureMaker
from rlsp.models.bicubic import upsample_bicubic

pytestmark = pytest.mark.numerical


def colorize(luma, lr, phase, scale=4):
    maker = PictureMaker(scale=scale, phase=phase, device="cpu")
    frame = torch.from_numpy(lr).permute(2, 0, 1)[None]
    return maker.rgb(torch.from_numpy(luma.astype(np.float32))[None, None], frame)[0].numpy()


@pytest.mark.parametrize(("scale", "phase"), [(4, 0), (4, 1.5), (4, 2), (4, 3), (2, 0.5), (3, 1)])
def test_colours_equal_the_slow_way(scale, phase):
    """Chroma up-sampled channel by channel, then converted: borders, saturated colours and all."""
    random = np.random.default_rng(0)
    lr = random.integers(0, 256, (13, 17, 3), dtype=np.uint8)
    luma = random.uniform(0, 255, (13 * scale, 17 * scale))
    chroma = upsample_bicubic(rgb_to_ycbcr(lr)[..., 1:], scale=scale, phase=phase)
    slow = np.clip(ycbcr_to_rgb(np.concatenate([luma[..., None], chroma], axis=-1)), 0, 255)
    picture = colorize(luma, lr, phase, scale)
    assert picture.dtype == np.uint8
    assert np.abs(picture - slow).max() < 0.5 + 1e-3


@pytest.mark.parametrize(("spec", "phase"), [(GAUSSIAN, 0), (BICUBIC, 1.5)])
def test_chroma_lies_where_the_luma_lies(spec, phase):
    """With the true luma, colour comes back; with the phase of the other degradation it is off at the edges."""
    hr = smooth_clip(1)
    lr = degrade(hr, spec)[0]
    luma = rgb_to_y(hr[0])

    def error(at):
        return np.abs(colorize(luma, lr, at)[8:-8, 8:-8].astype(float) - hr[0][8:-8, 8:-8]).mean()

    assert error(phase) < 1.5
    assert error(1.5 - phase) > 1.5 * error(phase)


def test_rounding_keeps_the_luma_of_the_picture():
    hr = smooth_clip(1)
    restored = colorize(rgb_to_y(hr[0]), degrade(hr, GAUSSIAN)[0], 0)
    assert np.abs(rgb_to_y(restored) - rgb_to_y(hr[0])).max() < 1.0


def test_rgb_output_is_rounded_and_clipped():
    sr = torch.tensor([-3.0, 0.5, 1.5, 254.6, 300.0]).repeat(1, 3, 1, 1)
    maker = PictureMaker(scale=4, phase=0, device="cpu")
    picture = maker.rgb(sr, torch.zeros(1, 3, 1, 1))
    assert picture.shape == (1, 1, 5, 3)
    assert picture[0, 0, :, 0].tolist() == [0, 0, 2, 255, 255]
