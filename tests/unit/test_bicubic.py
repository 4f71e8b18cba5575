"""Bicubic up-sampling: the kernel, and that the LR grid is where the degradation put it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_degradations import BICUBIC

from rlsp.data.degradation import degrade, phase
from rlsp.errors import ConfigError
from rlsp.models import build_model
from rlsp.models.bicubic import Bicubic, bicubic_taps, upsample_bicubic

pytestmark = pytest.mark.numerical

GAUSSIAN = {
    **{"kind": "gaussian", "scale": 4, "sigma": 1.5, "truncate": 4.0},
    **{"phase": 0, "boundary": "reflect", "rounding": "rint"},
}


def keys(x, a):
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def line(values, axis):
    """A (1, size, 3, 1) or (1, 3, size, 1) frame that is constant across the other axis."""
    column = np.asarray(values, float).reshape(1, -1, 1, 1).repeat(3, axis=2)
    return column if axis == 1 else column.swapaxes(1, 2)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("offset", [0, 1.5, 3])
@pytest.mark.parametrize("a", [-0.5, -0.75])
def test_impulse_gives_the_kernel_at_its_phase(offset, axis, a):
    impulse = np.zeros(9)
    impulse[4] = 1
    result = upsample_bicubic(line(impulse, axis), scale=4, phase=offset, a=a).swapaxes(1, axis)[0, :, 5, 0]
    expected = [keys((i - offset) / 4 - 4, a) for i in range(36)]
    np.testing.assert_allclose(result, expected, atol=1e-6)
    assert min(expected) < 0 and np.flatnonzero(result == result.max()).mean() == 16 + offset


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("offset", [0, 1.5, 2])
def test_ramp_lands_at_its_phase(offset, axis):
    ramp = upsample_bicubic(line(np.arange(10), axis), scale=4, phase=offset, a=-0.5).swapaxes(1, axis)
    inside = np.arange(8, 30)
    np.testing.assert_allclose(ramp[0, inside, 5, 0], (inside - offset) / 4, atol=1e-5)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("spec", [BICUBIC, GAUSSIAN, {**GAUSSIAN, "phase": 3}])
def test_degraded_and_enlarged_ramp_comes_back_in_place(spec, axis):
    ramp = np.arange(64).reshape((-1, 1, 1) if axis == 1 else (-1, 1)) * 4
    hr = np.broadcast_to(ramp, (1, 64, 64, 3)).astype(np.uint8)
    lr = degrade(hr, spec)
    inside = np.s_[0, 20:44, 20:44]
    for candidate in (0, 1.5, 3):
        sr = upsample_bicubic(lr, scale=4, phase=candidate, a=-0.5)
        # 4 levels per HR pixel: a phase wrong by 1.5 is off by 6 levels
        error = np.abs(sr[inside] - hr[inside]).max()
        assert error < 1e-3 if candidate == phase(spec) else error > 5.9


def test_half_pixel_phase_agrees_with_torch():
    frames = np.random.default_rng(0).integers(0, 256, (2, 7, 9, 3), dtype=np.uint8)
    ours = upsample_bicubic(frames, scale=4, phase=1.5, a=-0.75)
    theirs = F.interpolate(
        torch.tensor(frames).movedim(-1, 1).float(), scale_factor=4, mode="bicubic", align_corners=False
    )
    np.testing.assert_allclose(ours, theirs.movedim(1, -1), atol=1e-3)


@pytest.mark.parametrize("offset", [0, 1.5, 3])
def test_flat_frames_stay_flat(offset):
    flat = np.full((2, 3, 5, 3), 77, np.uint8)
    result = upsample_bicubic(flat, scale=4, phase=offset)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, np.full((2, 12, 20, 3), 77))


def test_edges_are_replicated():
    frame = np.random.default_rng(0).random((1, 3, 4, 1))
    wide = np.pad(frame, ((0, 0), (3, 3), (3, 3), (0, 0)), mode="edge")
    expected = upsample_bicubic(wide, scale=4, phase=1.5)[:, 12:-12, 12:-12]
    np.testing.assert_allclose(upsample_bicubic(frame, scale=4, phase=1.5), expected, atol=1e-6)


def test_taps_are_shared_but_cannot_be_changed():
    indices, weights = bicubic_taps(5, 4, 0.0)
    assert indices.min() == 0 and indices.max() == 4
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        weights[:] = 0


@pytest.mark.parametrize(
    ("scale", "offset", "a"), [(4, 0, -0.75), (4, 1.5, -0.5), (2, 0.5, -0.75), (3, 1, -0.75)]
)
def test_model_equals_the_numpy_function(scale, offset, a):
    clip = np.random.default_rng(0).integers(0, 256, (2, 3, 6, 8, 3), dtype=np.uint8)
    model = build_model({"arch": "bicubic", "scale": scale, "phase": offset, "a": a})
    lr = torch.tensor(clip).movedim(-1, 2).float()
    result = model(lr)
    assert result.dtype == torch.float32 and result.shape == (2, 3, 3, 6 * scale, 8 * scale)
    expected = upsample_bicubic(clip, scale=scale, phase=offset, a=a)
    np.testing.assert_allclose(result.movedim(2, -1), expected, atol=1e-3)


def test_step_equals_forward_and_needs_no_neighbours():
    model = build_model({"arch": "bicubic"})
    clip = torch.rand(1, 3, 3, 5, 6) * 255
    assert (model.look_behind, model.look_ahead, model.scale, model.output) == (0, 0, 4, "rgb")
    assert not list(model.parameters()) and not model.state_dict()
    carry, restored = None, []
    for t in range(3):
        sr, carry = model.step(clip[:, t : t + 1], carry)
        restored.append(sr)
    torch.testing.assert_close(torch.stack(restored, dim=1), model(clip), rtol=0, atol=0)
    torch.testing.assert_close(model(clip[:, 1:2]), model(clip)[:, 1:2], rtol=0, atol=0)


def test_model_takes_frames_of_any_size_in_turn():
    model = build_model({"arch": "bicubic"})
    for height, width in ((5, 6), (6, 5), (1, 2), (5, 6)):
        assert model(torch.zeros(1, 1, 3, height, width)).shape == (1, 1, 3, 4 * height, 4 * width)


@pytest.mark.parametrize("scale", [0, -4, 2.5, True, "4"])
def test_a_wrong_scale_is_refused(scale):
    with pytest.raises(ValueError, match="scale: expected a positive whole number"):
        Bicubic(scale=scale, phase=0, a=-0.75)
    with pytest.raises(ConfigError, match="model bicubic.scale: expected"):
        build_model({"arch": "bicubic", "scale": scale})
