"""FRVSR: sizes, the warp to the pixel, what the network sees, both losses, and training."""

import made_trainings
import numpy as np
import pytest
import torch

from rlsp.config.specs.models import parse_model
from rlsp.errors import ConfigError
from rlsp.models import build_model
from rlsp.models.complexity import count_macs, count_parameters
from rlsp.models.frvsr import upsample_flow, warp
from rlsp.models.weights import load_weights, save_weights
from rlsp.timing.timed import build_for_timing
from rlsp.training import Trainer
from rlsp.training.crops import TrainingCrops
from rlsp.training.loop import model_spec

pytestmark = pytest.mark.numerical

SMALL = {"arch": "frvsr", "blocks": 1, "filters": 8}


def small(**spec):
    torch.manual_seed(0)
    return build_model({**SMALL, **spec}).eval()


def clip(frames=4, height=8, width=16, n=2):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, frames, 3, height, width, generator=generator) * 255


def ramp(height, width):
    """A picture whose value is 100 * row + column."""
    return (100.0 * torch.arange(height)[:, None] + torch.arange(width)).expand(1, 1, -1, -1)


# FACTS: counted from the layers of the poster; 10-128 is the "5.1 M" of later tables.
@pytest.mark.parametrize(
    ("blocks", "filters", "parameters"),
    [
        (3, 64, 2_072_101), (5, 64, 2_219_813), (10, 64, 2_589_093),
        (3, 128, 2_988_517), (5, 128, 3_578_853), (10, 128, 5_054_693),
    ],
)  # fmt: skip
def test_parameters(blocks, filters, parameters):
    model = build_model({"arch": "frvsr", "blocks": blocks, "filters": filters})
    assert count_parameters(model) == parameters
    assert count_parameters(model.fnet) == 1_745_506


def test_defaults_are_the_largest_of_the_paper():
    assert count_parameters(build_model({"arch": "frvsr"})) == 5_054_693


def test_operations():
    """TecoGAN-PyTorch prints 142 GFLOPs for 10-64 and LR frames of 134x320.

    It counts a multiplication and an addition apart, and transposed convolutions once for each pixel that
    they make: four times too often.
    """
    spec = {"arch": "frvsr", "blocks": 10, "filters": 64}
    macs = count_macs(spec, (134, 320))
    first, second = 64 * 64 * 9 * 134 * 320, 64 * 64 * 9 * 268 * 640  # each weight once for each input pixel
    assert 2 * (macs + 3 * (first + second)) / 1e9 == pytest.approx(142, abs=0.5)


@pytest.mark.parametrize(("flow", "row", "column"), [((1, 0), 9, 6), ((0, 1), 5, 10), ((-0.5, 0.25), 8, 12)])
def test_a_flow_moves_the_estimate_by_four_times_as_much(flow, row, column):
    """A flow points to where the content comes from, columns first, so the content moves against it."""
    estimate = torch.zeros(1, 1, 24, 32)
    estimate[0, 0, 9, 10] = 1
    constant = torch.tensor(flow, dtype=torch.float32).reshape(1, 2, 1, 1).expand(-1, -1, 6, 8)
    moved = warp(estimate, upsample_flow(constant, 4))
    expected = torch.zeros_like(estimate)
    expected[0, 0, row, column] = 1
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-5)


def test_warp_equals_a_slow_restatement():
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(1, 2, 5, 7, generator=generator)
    flow = 6 * torch.rand(1, 2, 5, 7, generator=generator) - 3
    expected = np.empty((2, 5, 7))
    for row in range(5):
        for column in range(7):
            x = np.clip(column + flow[0, 0, row, column].item(), 0, 6)
            y = np.clip(row + flow[0, 1, row, column].item(), 0, 4)
            left, top = min(int(x), 5), min(int(y), 3)
            across, down = x - left, y - top
            corners = frames[0, :, top : top + 2, left : left + 2].numpy()
            expected[:, row, column] = np.array([1 - down, down]) @ corners @ np.array([1 - across, across])
    np.testing.assert_allclose(warp(frames, flow)[0], expected, atol=1e-5)


def test_zero_flow_changes_nothing_and_borders_go_on():
    picture = ramp(6, 300)
    still = torch.zeros(1, 2, 6, 300)
    torch.testing.assert_close(warp(picture, still), picture, rtol=0, atol=0.02)
    far = still + torch.tensor([1000.0, -1000.0]).reshape(1, 2, 1, 1)
    torch.testing.assert_close(warp(picture, far), torch.full_like(picture, 299), rtol=0, atol=0.02)


def test_upsampled_flow_has_half_pixel_positions():
    """HR pixel i lies at LR (i - 1.5) / 4, and the flow is in HR pixels."""
    columns = torch.arange(8.0).expand(1, 2, 6, 8)
    inside = np.arange(2, 30)
    result = upsample_flow(columns, 4)
    assert result.shape == (1, 2, 24, 32)
    np.testing.assert_allclose(result[0, 0, 5, inside], inside - 1.5, atol=1e-5)
    np.testing.assert_allclose(result[0, 0, 5, [0, 1, 30, 31]], [0, 0, 28, 28], atol=1e-5)


@pytest.mark.parametrize("output", ["rgb", "y"])
def test_the_network_sees_the_frame_and_the_packed_moved_estimate(output, monkeypatch):
    """Channel 3 + (4 i + j) C + c at (row, column) is colour c of sub-pixel (i, j), moved by the flow."""
    model, seen = small(output=output), []
    handle = model.srnet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    constant = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    monkeypatch.setattr(model, "flow", lambda previous, current: constant.expand(2, 2, 8, 16))
    frames = clip(2)
    first, carry = model.step(frames[:, :1], None)
    model.step(frames[:, 1:], carry)
    handle.remove()
    colors = model.colors
    assert seen[0].shape == (2, 3 + 16 * colors, 8, 16)
    assert not seen[0][:, 3:].any()  # black before the first frame
    for t in range(2):
        torch.testing.assert_close(seen[t][:, :3], frames[:, t] / 255)
    for i, j, c in ((0, 0, 0), (1, 2, colors - 1), (3, 3, 0)):
        channel = seen[1][:, 3 + (4 * i + j) * colors + c]
        torch.testing.assert_close(channel[:, :, :-1], first[:, c, i::4, j::4][:, :, 1:] / 255)


def doubled(x):
    """Twice the size, bilinear: each new pixel is 3/4 of the nearest and 1/4 of the next one."""
    for axis in (2, 3):
        size = x.shape[axis]
        low, high = (x.index_select(axis, torch.arange(size).add(d).clamp(0, size - 1)) for d in (-1, 1))
        halves = torch.stack([0.75 * x + 0.25 * low, 0.75 * x + 0.25 * high], dim=axis + 1)
        x = halves.flatten(axis, axis + 1)
    return x


def test_flow_network_is_the_posters():
    """Pairs of convolutions of 32, 64, 128 before a pooling, 256, 128, 64 before doubling; then 32 and 2."""
    model = small()
    layers = iter([layer for layer in model.fnet if isinstance(layer, torch.nn.Conv2d)])
    x = 4 * torch.rand(1, 6, 8, 16) - 2

    def convolution(x, leak):
        layer = next(layers)
        torch.nn.init.kaiming_normal_(layer.weight)
        x = torch.nn.functional.conv2d(x, layer.weight, layer.bias, padding=1)
        return torch.where(x > 0, x, leak * x)

    expected = x
    for filters in (32, 64, 128):
        expected = convolution(convolution(expected, 0.2), 0.2)
        assert expected.shape[1] == filters
        expected = expected.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5))
    for filters in (256, 128, 64):
        expected = convolution(convolution(expected, 0.2), 0.2)
        assert expected.shape[1] == filters
        expected = doubled(expected)
    expected = torch.tanh(convolution(convolution(expected, 0.2), 1))
    assert expected.std() > 0.05
    torch.testing.assert_close(model.fnet(x), expected, rtol=1e-4, atol=1e-5)


def test_super_resolution_network_is_the_posters():
    """Residual blocks without a ReLU after the sum, two transposed convolutions, nothing added to the output."""
    model, x = small(blocks=2), torch.rand(1, 51, 4, 5)
    first, one, two, up, _, up_again, _, last = [model.srnet[i] for i in (0, 2, 3, 4, 5, 6, 7, 8)]
    expected = torch.relu(first(x))
    for block in (one, two):
        expected = expected + block.second(torch.relu(block.first(expected)))
    expected = last(torch.relu(up_again(torch.relu(up(expected)))))
    assert expected.shape == (1, 3, 16, 20)
    torch.testing.assert_close(model.srnet(x), expected)
    impulse = torch.zeros(1, 8, 4, 5)
    impulse[0, 0, 1, 2] = 1
    made = (up(impulse) - up(0 * impulse))[0].abs().sum(dim=0).nonzero()
    assert made.min(dim=0).values.tolist() == [1, 3] and made.max(dim=0).values.tolist() == [3, 5]


def test_the_flow_network_sees_the_previous_frame_first():
    model, frames, seen = small(), clip(3), []
    model.fnet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0] * 255))
    model(frames)
    assert not seen[0][:, :3].any()  # no frame before the first one
    pairs = torch.cat([frames[:, :-1], frames[:, 1:]], dim=2)
    torch.testing.assert_close(torch.stack(seen[1:], dim=1), pairs)
    model.loss(frames, torch.zeros(2, 3, 3, 32, 64))
    torch.testing.assert_close(seen[3], pairs.flatten(0, 1))


def test_flow_is_bounded():
    model = small(max_flow=3)
    with torch.no_grad():
        model.fnet[-2].bias[:] = torch.tensor([100.0, -100.0])
    frames = clip(2)
    flow = model.flow(frames[:, 0], frames[:, 1])
    assert flow.shape == (2, 2, 8, 16)
    torch.testing.assert_close(flow[:, 0], torch.full((2, 8, 16), 3.0))
    torch.testing.assert_close(flow[:, 1], torch.full((2, 8, 16), -3.0))
    assert small().max_flow == 24


@pytest.mark.parametrize(("height", "width"), [(8, 16), (9, 10), (1, 1), (5, 23)])
def test_any_size(height, width):
    model, frames = small(), clip(2, height, width)
    assert model(frames).shape == (2, 2, 3, 4 * height, 4 * width)
    assert model.flow(frames[:, 0], frames[:, 1]).shape == (2, 2, height, width)


def test_flow_sees_bottom_and_right_borders_repeated():
    model, frames = small(), clip(2, 9, 14, n=1)[0]
    padded = np.pad(frames.numpy(), ((0, 0), (0, 0), (0, 7), (0, 2)), mode="edge")
    whole = model.flow(*torch.from_numpy(padded)[:, None])
    torch.testing.assert_close(model.flow(*frames[:, None]), whole[:, :, :9, :14], rtol=0, atol=1e-4)


def test_output_depends_on_frames_up_to_its_own():
    model, frames = small(), clip()
    other = frames.clone()
    other[:, 2] = 255 - other[:, 2]
    changed = [not torch.equal(a, b) for a, b in zip(model(frames)[0], model(other)[0], strict=True)]
    assert changed == [False, False, True, True]


def test_one_frame_is_restored_from_black():
    model, frames = small(), clip(1)
    black = torch.zeros(2, 48, 8, 16)
    expected = model.srnet(torch.cat([frames[:, 0] / 255, black], 1)) * 255
    torch.testing.assert_close(model(frames)[:, 0], expected)


@pytest.mark.parametrize("output", ["rgb", "y"])
@pytest.mark.parametrize("weight", [0, 1, 0.5])
def test_loss_is_the_sum_of_both(output, weight):
    model, lr = small(output=output, warp_loss=weight), clip(3)
    hr = torch.rand(2, 3, 3, 32, 64) * 255
    picture = torch.mean((model(lr) - model.target(hr)) ** 2)
    terms = []
    for t in (1, 2):
        flow = model.flow(lr[:, t - 1] / 255, lr[:, t] / 255)
        terms.append(torch.mean((warp(lr[:, t - 1], flow) - lr[:, t]) ** 2))
    expected = picture + weight * torch.stack(terms).mean()
    assert terms[0] > 100
    torch.testing.assert_close(model.loss(lr, hr), expected, rtol=1e-4, atol=1e-3)


def test_loss_of_a_single_frame_has_no_flow():
    model, lr = small(), clip(1)
    hr = torch.rand(2, 1, 3, 32, 64) * 255
    torch.testing.assert_close(model.loss(lr, hr), torch.mean((model(lr) - hr) ** 2))


@pytest.mark.slow
def test_the_flow_learns_where_content_comes_from():
    """The clip moves one LR pixel to the right a frame: frame t is frame t-1 fetched one pixel to its left."""
    torch.manual_seed(0)
    wide = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 12) * 255, scale_factor=4, mode="bicubic")
    lr = torch.stack([wide[..., 4 - t : 28 - t] for t in range(3)], dim=1)
    model = small(max_flow=4).train()
    optimizer = torch.optim.Adam(model.fnet.parameters(), 0.001)
    for _ in range(40):
        optimizer.zero_grad()
        flow = model.flow(lr[:, 0] / 255, lr[:, 1] / 255)
        torch.nn.functional.mse_loss(warp(lr[:, 0], flow) / 255, lr[:, 1] / 255).backward()
        optimizer.step()
    mean = model.flow(lr[:, 0] / 255, lr[:, 1] / 255)[0, :, 4:-4, 4:-4].mean(dim=(1, 2))
    assert mean[0] < -0.5 and abs(mean[1]) < 0.4


def test_input_range_is_invisible_outside():
    """Without biases SRNet is homogeneous, so a range is undone exactly by the one after it."""
    restored = []
    for input_range in (1, 255):
        model = small(input_range=input_range)
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or name.startswith("fnet"):
                torch.nn.init.zeros_(parameter)
        restored.append(model(clip()))
    torch.testing.assert_close(*restored, rtol=1e-4, atol=1e-2)


def test_autocast_keeps_coordinates_and_pictures_in_float32():
    """In bf16 a column beyond 256 could not be told from its neighbour."""
    picture, flow = ramp(8, 600), torch.full((1, 2, 8, 600), 0.5)
    model, frames = small(), clip(3)
    with torch.autocast("cpu", torch.bfloat16):
        moved = warp(picture, flow.bfloat16())
        sr = model(frames)
        carry = model.step(frames[:, :1], None)[1]
        assert model.flow(frames[:, 0], frames[:, 1]).dtype == torch.float32
        assert model.loss(frames, torch.zeros_like(sr)).dtype == torch.float32
    torch.testing.assert_close(moved[..., 3:-1, 5:-5], picture[..., 3:-1, 5:-5] + 50.5, rtol=0, atol=0.1)
    assert sr.dtype == torch.float32 and all(part.dtype == torch.float32 for part in carry)
    assert (sr - model(frames)).abs().mean() < 2  # grey levels


def test_scaling_the_output():
    model, frames = small(), clip(1)
    torch.nn.init.zeros_(model.srnet[-1].bias)
    before = model(frames)
    model.scale_output(0.1)
    torch.testing.assert_close(model(frames), 0.1 * before)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"scale": 3}, "scale: expected a power of 2, got 3"),
        ({"blocks": 0}, "blocks: expected a minimum of 1, got 0"),
        ({"layers": 3}, "layers"),
    ],
)
def test_wrong_specifications(spec, message):
    with pytest.raises(ConfigError, match=message):
        build_model({"arch": "frvsr", **spec})


@pytest.mark.parametrize("scale", [2, 8])
def test_other_scales(scale):
    assert small(scale=scale)(clip(2)).shape == (2, 2, 3, 8 * scale, 16 * scale)


def test_weights_for_timing_are_set_in_every_layer():
    model = build_for_timing({**SMALL, "scale": 4})
    biases = [parameter for name, parameter in model.named_parameters() if name.endswith("bias")]
    assert len(biases) == 14 + 1 + 2 + 2 + 1 and not any(bias.any() for bias in biases)


RECIPE = {
    **made_trainings.RECIPE,
    "steps": 60, "batch": 1, "crop": 8, "frames": 3, "learning_rate": 0.003, "schedule": "constant", "warmup": 0,
    "init": "he-normal", "head_scale": 0.1, "input_range": 1, "clip_norm": None, "context": "real", "threads": 1,
    "log_every": 10, "checkpoint_every": 60,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("output", ["rgb", "y"])
def test_the_trainer_fits_a_clip(tmp_path, output):
    row, column, color = np.indices((32, 32, 3))
    picture = 130 + 60 * np.sin(row / 9 + color) * np.cos(column / 7)
    hr = {"a": np.stack([picture] * 3).astype(np.uint8)}
    lr = {"a": hr["a"][:, ::4, ::4].copy()}
    spec = made_trainings.make_spec(**RECIPE).changed(model=parse_model({**SMALL, "output": output}))
    crops = TrainingCrops(lr, hr, scale=4, crop=8, frames=3, seed=0)
    trainer = Trainer(spec, crops, tmp_path, "cpu")
    trainer.run()
    losses = [row["loss"] for row in trainer.progress.rows]
    assert losses[-1] < 0.5 * losses[0]  # eight seeds ended at 0.03 to 0.38 of the first loss
    path = tmp_path / "model.safetensors"
    save_weights(path, trainer.model, {"model": model_spec(spec)})
    loaded, _ = load_weights(path)
    loaded.to("cpu", memory_format=torch.channels_last)  # in another order of sums rounding differs
    assert torch.equal(loaded(clip(2)), trainer.model.eval()(clip(2)))
