import pytest
import torch

from rlsp.config.specs.models import parse_model
from rlsp.errors import ConfigError
from rlsp.models import build_model
from rlsp.models.complexity import count_macs, count_parameters
from rlsp.models.shuffle import shuffle_down, shuffle_up

pytestmark = pytest.mark.numerical


def small(**spec):
    torch.manual_seed(0)
    return build_model({"arch": "rlsp", "layers": 3, "filters": 8, **spec}).eval()


def clip(frames=5, height=6, width=7):
    return torch.rand(2, frames, 3, height, width, generator=torch.Generator().manual_seed(1)) * 255


# Byte sizes of the released checkpoints and the released PyTorch module.
@pytest.mark.parametrize(
    ("spec", "parameters"),
    [
        ({"filters": 48}, 163_216),
        ({"filters": 64}, 282_128),
        ({}, 1_080_336),
        ({"filters": 256}, 4_225_040),
        ({"filters": 48, "output": "rgb"}, 190_896),
        ({"filters": 64, "output": "rgb"}, 319_024),
        ({"output": "rgb"}, 1_154_096),
        ({"filters": 256, "output": "rgb"}, 4_372_528),
    ],
)
def test_parameters_as_released(spec, parameters):
    assert count_parameters(build_model({"arch": "rlsp", **spec})) == parameters


@pytest.mark.parametrize(
    ("spec", "gmac"),
    [
        ({"filters": 48}, 21.1),
        ({"filters": 64}, 36.5),
        ({}, 139.9),
        ({"filters": 256, "output": "rgb"}, 566.4),
    ],
)
def test_operations_for_a_full_hd_frame(spec, gmac):
    """Every weight of a 3x3 convolution is used once for each LR pixel."""
    macs = count_macs({"arch": "rlsp", **spec}, (270, 480))
    weights = sum(p.numel() for p in build_model({"arch": "rlsp", **spec}).parameters() if p.ndim == 4)
    assert macs == weights * 270 * 480
    assert macs / 1e9 == pytest.approx(gmac, abs=0.05)


def test_shuffle_puts_channels_where_the_released_code_does():
    packed = torch.arange(2 * 2 * 3.0).reshape(1, 12, 1, 1)
    up = shuffle_up(packed, 2)
    # channel (row * 2 + column) * 3 + colour
    assert up[0, 0].tolist() == [[0, 3], [6, 9]]
    assert up[0, 2].tolist() == [[2, 5], [8, 11]]
    torch_order = torch.nn.functional.pixel_shuffle(packed, 2)
    assert not torch.equal(up, torch_order)


def test_shuffle_down_undoes_shuffle_up():
    packed = torch.rand(2, 3, 48, 5, 6)
    assert torch.equal(shuffle_down(shuffle_up(packed, 4), 4), packed)


def changed_outputs(model, frame):
    """Which output frames react to a change of one input frame."""
    frames = clip()
    other = frames.clone()
    other[:, frame] = 255 - other[:, frame]
    return [t for t in range(5) if not torch.equal(model(frames)[:, t], model(other)[:, t])]


def test_output_depends_on_frames_up_to_the_next_one():
    assert changed_outputs(small(), 3) == [2, 3, 4]
    assert changed_outputs(small(), 0) == [0, 1, 2, 3, 4]


def test_switches_cut_what_they_say():
    assert changed_outputs(small(adjacent=False, feedback=False, state=False), 2) == [2]
    assert changed_outputs(small(feedback=False, state=False), 2) == [1, 2, 3]
    assert changed_outputs(small(adjacent=False, state=False), 2) == [2, 3, 4]
    assert changed_outputs(small(adjacent=False, feedback=False), 2) == [2, 3, 4]


def test_without_weights_the_output_is_the_nearest_neighbour_luma():
    model = small()
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    frames = clip()
    red, green, blue = frames[:, :, :1], frames[:, :, 1:2], frames[:, :, 2:]
    luma = (65.738 * red + 129.057 * green + 25.064 * blue) / 256 + 16
    nearest = luma.repeat_interleave(4, -1).repeat_interleave(4, -2)
    torch.testing.assert_close(model(frames), nearest)
    assert torch.count_nonzero(build_zeroed(residual=False)(frames)) == 0


def build_zeroed(**spec):
    model = small(**spec)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    return model


@pytest.mark.parametrize("output", ["y", "rgb"])
def test_input_range_is_invisible_outside(output):
    """Without biases the network is homogeneous, so a range is undone exactly by the one after it."""
    frames, restored = clip(), []
    for input_range in (1, 255):
        model = small(output=output, input_range=input_range)
        for convolution in [*model.body, model.head]:
            torch.nn.init.zeros_(convolution.bias)
        restored.append(model(frames))
    torch.testing.assert_close(*restored, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("spec", [{}, {"output": "rgb"}, {"input_range": 1}, {"adjacent": False}])
def test_loss_is_the_mean_squared_error_of_the_output(spec):
    model, lr = small(**spec), clip()
    hr = torch.rand(2, 5, 3, 24, 28) * 255
    expected = torch.mean((model(lr) - model.target(hr)) ** 2)
    torch.testing.assert_close(model.loss(lr, hr), expected)


def test_loss_with_real_neighbours_equals_the_middle_of_a_longer_clip():
    model, lr = small(state=False, feedback=False), clip(7)
    hr = torch.rand(2, 5, 3, 24, 28) * 255
    expected = torch.mean((model(lr)[:, 1:-1] - model.target(hr)) ** 2)
    torch.testing.assert_close(model.loss(lr, hr), expected)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"arch": "rslp"}, "expected one of rlsp, frvsr, duf, bicubic or package.module:Class, got 'rslp'"),
        ({"arch": "rlsp", "filers": 3}, "filers"),
        ({"arch": "rlsp", "layers": 1}, "model rlsp.layers: expected a minimum of 2, got 1"),
        ({"arch": "rlsp", "output": "yuv"}, "output: expected one of y, rgb, got 'yuv'"),
        ({"arch": "no.such.module:Model"}, "cannot import"),
    ],
)
def test_wrong_specifications(spec, message):
    with pytest.raises(ConfigError, match=message):
        build_model(spec)


def test_own_model_by_its_import_path():
    shipped = build_model({"arch": "rlsp", "filters": 8})
    own = {**parse_model({"arch": "rlsp", "filters": 8}).arguments(), "arch": "rlsp.models.rlsp:RLSP"}
    assert count_parameters(build_model(own)) == count_parameters(shipped)
