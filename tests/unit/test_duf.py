"""DUF: sizes, where each tap and each sub-pixel goes, the network against a slow re-statement, and training."""

import copy

import made_trainings
import numpy as np
import pytest
import torch

from rlsp.config.specs.models import parse_model
from rlsp.errors import ConfigError
from rlsp.models import build_model
from rlsp.models.complexity import count_macs, count_parameters
from rlsp.models.duf import BatchNorm, dynamic_filter
from rlsp.models.weights import load_weights, save_weights
from rlsp.timing.timed import build_for_timing
from rlsp.training import Trainer
from rlsp.training.crops import TrainingCrops
from rlsp.training.loop import model_spec

pytestmark = pytest.mark.numerical

SMALL = {"arch": "duf", "layers": 10, "filters": 4, "growth": 2}


def small(**spec):
    torch.manual_seed(0)
    return build_model({**SMALL, **spec}).eval()


def clip(frames=5, height=6, width=7, n=2):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, frames, 3, height, width, generator=generator) * 255


# nets.py of the released code, trainable variables
@pytest.mark.parametrize(("layers", "parameters"), [(16, 1_900_640), (28, 2_118_432), (52, 5_821_952)])
def test_parameters(layers, parameters):
    assert count_parameters(build_model({"arch": "duf", "layers": layers})) == parameters


def test_defaults_are_the_largest_of_the_paper():
    assert count_parameters(build_model({"arch": "duf"})) == 5_821_952


@pytest.mark.slow
@pytest.mark.parametrize(("layers", "gmac"), [(16, 630.2), (52, 3703.3)])
def test_operations_for_a_full_hd_frame(layers, gmac):
    """Each weight is used once for each LR pixel of each frame it makes; then 25 taps for 16 x 3 numbers."""
    model = build_model({"arch": "duf", "layers": layers})
    blocks = list(model.blocks)
    frames = {model.first: 7, model.last[2]: 1}
    for number, block in enumerate(blocks):
        left = 2 * max(0, number - len(blocks) + 3)  # frames that the blocks before took away
        frames[block.layers[2]] = 7 - left
        frames[block.layers[5]] = 7 - left - (2 if number >= len(blocks) - 3 else 0)
    for head in (model.residual_head, model.filter_head):
        frames |= {head[0]: 1, head[2]: 1}
    expected = sum(layer.weight.numel() * count for layer, count in frames.items()) + 25 * 16 * 3
    macs = count_macs({"arch": "duf", "layers": layers}, (270, 480))
    assert macs == expected * 270 * 480
    assert macs / 1e9 == pytest.approx(gmac, abs=0.05)


def test_dynamic_filter_equals_a_slow_restatement():
    """out[c](4y+i, 4x+j) = sum over k and m of frame[c](y+k-2, x+m-2) filter[5k+m, 4i+j](y, x)."""
    model = small()
    frame = clip(1, 3, 4, n=1)[0, 0]
    filters = torch.rand(25, 16, 3, 4, generator=torch.Generator().manual_seed(2))
    padded = np.pad(frame.numpy(), ((0, 0), (2, 2), (2, 2)))
    expected = np.zeros((3, 12, 16))
    for y, x, i, j, k, m in np.ndindex(3, 4, 4, 4, 5, 5):
        expected[:, 4 * y + i, 4 * x + j] += (
            padded[:, y + k, x + m] * filters[5 * k + m, 4 * i + j, y, x].item()
        )
    model.predict = lambda frames: (filters[None], torch.zeros(1, 48, 3, 4))
    seven = frame.expand(1, 7, -1, -1, -1).clone()
    seven[:, [0, 1, 2, 4, 5, 6]] = 255  # only the middle frame is filtered
    np.testing.assert_allclose(model.step(seven, ())[0][0], expected, rtol=1e-4, atol=1e-2)


def with_chosen_taps(model, taps, residual=None):
    """Silence the heads and let their last biases choose one tap for each sub-pixel, and the residual."""
    torch.nn.init.zeros_(model.filter_head[-1].weight)
    torch.nn.init.zeros_(model.residual_head[-1].weight)
    bias = torch.zeros(25, 16)
    bias[taps, torch.arange(16)] = 100  # all the others vanish in the softmax
    with torch.no_grad():
        model.filter_head[-1].bias[:] = bias.flatten()
        model.residual_head[-1].bias[:] = 0 if residual is None else residual
    return model


def test_each_tap_and_sub_pixel_goes_where_it_should():
    """The released code reshapes the last layer's channels to (25 taps, 16 sub-pixels)."""
    taps = torch.randperm(25, generator=torch.Generator().manual_seed(3))[:16]
    model = with_chosen_taps(small(), taps)
    frames = clip(7, 6, 7, n=1)
    sr = model.step(frames, ())[0]
    padded = np.pad(frames[0, 3].numpy(), ((0, 0), (2, 2), (2, 2)))
    for s, tap in enumerate(taps.tolist()):
        i, j, k, m = s // 4, s % 4, tap // 5, tap % 5
        expected = padded[:, k : k + 6, m : m + 7]
        np.testing.assert_allclose(sr[0, :, i::4, j::4].detach(), expected, atol=1e-3)


def test_residual_channels_go_where_they_should():
    """tf.depth_to_space: channel (4 i + j) 3 + c is colour c of sub-pixel (i, j)."""
    residual = torch.arange(48.0) / 255
    model = with_chosen_taps(small(), torch.full((16,), 12), residual)
    frames = clip(7, 6, 7, n=1)
    sr = model.step(frames, ())[0][0] - frames[0, 3].repeat_interleave(4, 1).repeat_interleave(4, 2)
    for i, j, c in np.ndindex(4, 4, 3):
        expected = torch.full((6, 7), 3.0 * (4 * i + j) + c)
        torch.testing.assert_close(sr[c, i::4, j::4], expected, rtol=0, atol=1e-3)


def convolve(x, layer, pad):
    """3D convolution of (channels, T, h, w) by definition, zeros beyond."""
    weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    x = np.pad(x, [(0, 0), *((p, p) for p in pad)])
    sizes = [n - k + 1 for n, k in zip(x.shape[1:], weight.shape[2:], strict=True)]
    out = np.zeros((weight.shape[0], *sizes)) + bias[:, None, None, None]
    for t, k, m in np.ndindex(*weight.shape[2:]):
        window = x[:, t : t + sizes[0], k : k + sizes[1], m : m + sizes[2]]
        out += np.einsum("oi,ithw->othw", weight[:, :, t, k, m], window)
    return out


def normalise(x, norm):
    correction = 1 - 0.999 ** norm.num_batches_tracked.item()
    mean, variance = (b.double().numpy() / correction for b in (norm.running_mean, norm.running_var))
    gamma, beta = norm.weight.detach().double().numpy(), norm.bias.detach().double().numpy()
    scale = gamma / np.sqrt(variance + 0.001)
    return np.maximum(x * scale[:, None, None, None] + (beta - mean * scale)[:, None, None, None], 0)


def restate(model, frames):
    """Filters (25, 16, h, w) and residual (48, h, w) of seven frames (7, 3, h, w) in [0, 1], step by step."""
    x = convolve(frames.transpose(1, 0, 2, 3), model.first, (0, 1, 1))
    for block, pad in zip(model.blocks, (1, 0, 0, 0), strict=True):
        layers = block.layers
        t = convolve(normalise(x, layers[0]), layers[2], (0, 0, 0))
        t = convolve(normalise(t, layers[3]), layers[5], (pad, 1, 1))
        x = np.concatenate([x if pad else x[:, 1:-1], t])
    x = convolve(normalise(x, model.last[0]), model.last[2], (0, 1, 1))
    heads = []
    for head in (model.filter_head, model.residual_head):
        hidden = np.maximum(convolve(np.maximum(x, 0), head[0], (0, 0, 0)), 0)
        heads.append(convolve(hidden, head[2], (0, 0, 0))[:, 0])
    taps = np.exp(heads[0].reshape(25, 16, *x.shape[2:]))
    return taps / taps.sum(axis=0), heads[1]


def test_network_equals_a_slow_restatement():
    """Four blocks, 7, 5, 3 and 1 frames after them. Batch statistics as two training steps left them."""
    model = small(layers=12)
    for module in model.modules():
        if isinstance(module, BatchNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    model.train()
    for seed in range(2):
        model.loss(clip(3) * (0.5 + seed / 2), torch.zeros(2, 3, 3, 24, 28))
    model.eval()
    frames = clip(7, 4, 5, n=1)
    filters, residual = model.predict(frames / 255)
    expected_filters, expected_residual = restate(model, frames[0].double().numpy() / 255)
    assert residual.std() > 0.01 and filters.std(dim=1).mean() > 0.001
    np.testing.assert_allclose(filters[0].detach(), expected_filters, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(residual[0].detach(), expected_residual, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(filters.sum(dim=1), torch.ones(1, 16, 4, 5))


def test_longer_networks_pad_in_time_until_the_last_three_blocks():
    model, seen = small(layers=16), []
    for block in model.blocks:
        block.register_forward_hook(lambda _, inputs, output: seen.append(output.shape[2]))
    model.step(clip(7), ())
    assert seen == [7, 7, 7, 5, 3, 1]


def test_missing_neighbours_are_black():
    model, frames = small(), clip(2)
    black = torch.zeros(2, 3, 3, 6, 7)
    padded = torch.cat([black, frames, black], dim=1)
    expected = torch.stack([model.step(padded[:, t : t + 7], ())[0] for t in range(2)], dim=1)
    assert torch.equal(model(frames), expected)
    assert (model.look_behind, model.look_ahead) == (3, 3)


def test_zeros_darken_the_borders_unless_they_are_mirrored():
    """A tap that looks two pixels up reads 0 above the frame, or the mirrored rows."""
    taps = torch.full((16,), 2)  # row -2, column 0
    frames = clip(7, 6, 7, n=1)
    dark = with_chosen_taps(small(), taps).step(frames, ())[0]
    mirrored = with_chosen_taps(small(border=2), taps).step(frames, ())[0]
    assert dark.shape == mirrored.shape == (1, 3, 24, 28)
    torch.testing.assert_close(dark[:, :, :8], torch.zeros(1, 3, 8, 28), rtol=0, atol=1e-3)
    torch.testing.assert_close(mirrored[:, :, ::4, ::4][:, :, :2], frames[:, 3, :, [2, 1]], rtol=0, atol=1e-3)
    torch.testing.assert_close(dark[:, :, 8:], mirrored[:, :, 8:], rtol=0, atol=1e-3)


def test_output_depends_on_three_frames_on_each_side():
    model, frames = small(), clip(10)
    other = frames.clone()
    other[:, 5] = 255 - other[:, 5]
    changed = [t for t in range(10) if not torch.equal(model(frames)[:, t], model(other)[:, t])]
    assert changed == [2, 3, 4, 5, 6, 7, 8]


def test_luma_is_filtered_like_a_colour():
    model = with_chosen_taps(small(output="y"), torch.full((16,), 12))
    frames = clip(7)
    luma = model.target(frames[:, 3])
    torch.testing.assert_close(model.step(frames, ())[0][:, :, 1::4, 2::4], luma, rtol=1e-4, atol=1e-2)
    assert count_parameters(small()) - count_parameters(small(output="y")) == 32 * (16 + 1)


def test_normalisation_of_few_steps_is_not_pulled_to_its_start():
    """After n steps the averages weigh step i by 0.999^(n-i), as TensorFlow's zero_debias does."""
    norm = BatchNorm(2)
    batches = [torch.randn(1, 2, 3, 4, 5) * scale + scale for scale in (1, 5, 20)]
    torch.testing.assert_close(norm.eval()(batches[1]), batches[1] / 1.001**0.5)
    norm.train()
    for batch in batches:
        norm(batch)
    weights = torch.tensor([0.999**2, 0.999, 1.0])
    mean, variance = (
        sum(w * moment(batch) for w, batch in zip(weights, batches, strict=True)) / weights.sum()
        for moment in (lambda b: b.mean(dim=(0, 2, 3, 4)), lambda b: b.var(dim=(0, 2, 3, 4)))
    )
    shape = (1, 2, 1, 1, 1)
    expected = (batches[0] - mean.reshape(shape)) / (variance.reshape(shape) + 0.001).sqrt()
    torch.testing.assert_close(norm.eval()(batches[0]), expected, rtol=1e-3, atol=1e-4)
    twin = copy.deepcopy(norm)
    for buffer, other in zip(twin.buffers(), norm.buffers(), strict=True):
        buffer.copy_(0.25 * other)  # as a moving average of the buffers that has just begun
    torch.testing.assert_close(twin(batches[0]), norm(batches[0]), rtol=1e-4, atol=1e-5)
    norm.reset_running_stats()
    torch.testing.assert_close(norm(batches[1]), batches[1] / 1.001**0.5)


def test_training_normalises_by_the_batch_even_of_one():
    norm = BatchNorm(2).train()
    out = norm(torch.randn(1, 2, 3, 4, 5) * 7 + 3)
    torch.testing.assert_close(out.mean(dim=(0, 2, 3, 4)), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(out.var(dim=(0, 2, 3, 4), correction=0), torch.ones(2), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("output", ["rgb", "y"])
@pytest.mark.parametrize("neighbours", [0, 3])
def test_loss_is_the_mean_squared_error_of_the_output(output, neighbours):
    model, lr = small(output=output), clip(2 + 2 * neighbours)
    hr = torch.rand(2, 2, 3, 24, 28) * 255
    restored = model(lr)[:, neighbours : neighbours + 2]
    torch.testing.assert_close(model.loss(lr, hr), torch.mean((restored - model.target(hr)) ** 2))


def test_huber_function_in_grey_levels():
    model, lr = small(huber_delta=0.01), clip(1)
    sr = model(lr)
    error = torch.tensor([1.0, -2.55, 5.1]).reshape(1, 1, 3, 1, 1)  # threshold 2.55 grey levels
    expected = np.mean([1, 2.55**2, 2 * 2.55 * (5.1 - 2.55 / 2)])
    assert model.loss(lr, sr + error).item() == pytest.approx(expected, rel=1e-3)


def test_autocast_keeps_filters_and_pictures_in_float32():
    model, frames = small(), clip(7)
    with torch.autocast("cpu", torch.bfloat16):
        filters, residual = model.predict(frames / 255)
        sr = model.step(frames, ())[0]
        exact = dynamic_filter(frames[:, 3].bfloat16().float(), filters)
    assert filters.dtype == residual.dtype == sr.dtype == torch.float32
    torch.testing.assert_close(filters.sum(dim=1), torch.ones(2, 16, 6, 7))
    torch.testing.assert_close(exact, dynamic_filter(frames[:, 3].bfloat16().float(), filters))
    assert (sr - model.step(frames, ())[0]).abs().mean() < 2  # grey levels


@pytest.mark.parametrize("input_range", [1, 255])
def test_input_range_is_invisible_outside(input_range):
    model = with_chosen_taps(small(input_range=input_range), torch.full((16,), 12), input_range / 10)
    frames = clip(7)
    torch.testing.assert_close(
        model.step(frames, ())[0][..., ::4, ::4], frames[:, 3] + 25.5, rtol=0, atol=1e-3
    )


def test_scaling_the_output_scales_the_residual():
    model, frames = small(), clip(7)
    torch.nn.init.zeros_(model.residual_head[-1].bias)
    filters, residual = model.predict(frames)
    model.scale_output(0.1)
    torch.testing.assert_close(model.predict(frames), (filters, 0.1 * residual))


def test_channels_last_is_for_the_weights_of_two_dimensions():
    """As the trainer, the restorer and the timer ask for it of every model."""
    model, frames = small().to("cpu", memory_format=torch.channels_last), clip(7)
    assert model.first.weight.is_contiguous()
    assert torch.equal(model.step(frames, ())[0], small().step(frames, ())[0])
    flat = build_model({"arch": "frvsr", "filters": 8}).to(torch.float64, memory_format=torch.channels_last)
    weight = flat.srnet[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last) and weight.dtype == torch.float64


def test_weights_for_timing_are_set_in_every_layer():
    model = build_for_timing({**SMALL, "scale": 4})
    weight = model.blocks[0].layers[5].weight.flatten(1)
    torch.testing.assert_close(weight @ weight.T, torch.eye(2))
    assert torch.isfinite(model(clip(2))).all()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"layers": 17}, "layers: expected a multiple of 2, got 17"),
        ({"layers": 8}, "minimum of 10, got 8"),
        ({"filters": 0}, "filters: expected a minimum of 1, got 0"),
        ({"blocks": 3}, "blocks"),
    ],
)
def test_wrong_specifications(spec, message):
    with pytest.raises(ConfigError, match=message):
        build_model({"arch": "duf", **spec})


RECIPE = {
    **made_trainings.RECIPE,
    "steps": 80, "batch": 2, "crop": 8, "frames": 1, "learning_rate": 0.01, "schedule": "cosine", "warmup": 0,
    "init": "he-normal", "head_scale": 0.1, "input_range": 1, "clip_norm": None, "context": "real", "threads": 1,
    "log_every": 20, "checkpoint_every": 80,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("output", "context"), [("rgb", "real"), ("y", "replicate")])
def test_the_trainer_fits_a_clip(tmp_path, output, context):
    row, column, color = np.indices((32, 32, 3))
    hr = [130 + 60 * np.sin((row + t) / 9 + color) * np.cos(column / 7) for t in range(7)]
    hr = {"a": np.stack(hr).astype(np.uint8)}
    lr = {"a": hr["a"][:, ::4, ::4].copy()}
    spec = made_trainings.make_spec(**{**RECIPE, "context": context})
    spec = spec.changed(model=parse_model({**SMALL, "output": output}))
    around = 3 if context == "real" else 0
    crops = TrainingCrops(lr, hr, scale=4, crop=8, frames=1, behind=around, ahead=around, seed=0)
    trainer = Trainer(spec, crops, tmp_path, "cpu")
    trainer.run()
    losses = [row["loss"] for row in trainer.progress.rows]
    # eight seeds ended at 0.03 to 0.08 of the first loss, and in evaluation mode at 0.04 to 0.19 of it
    assert losses[-1] < 0.5 * losses[0]
    path = tmp_path / "model.safetensors"
    save_weights(path, trainer.model, {"model": model_spec(spec)})
    loaded, _ = load_weights(path)
    assert torch.equal(loaded(clip(7)), trainer.model.eval()(clip(7)))
    truth = loaded.target(torch.from_numpy(hr["a"]).movedim(-1, 1).float())
    frames = torch.from_numpy(lr["a"]).movedim(-1, 1).float()
    if context == "real":  # the one frame that has all its neighbours, as in training
        restored, truth = loaded(frames[None])[0, 3:4], truth[3:4]
    else:  # clips of one frame between black ones
        restored = loaded(frames[:, None])[:, 0]
    assert torch.mean((restored - truth) ** 2) < 0.5 * losses[0]
