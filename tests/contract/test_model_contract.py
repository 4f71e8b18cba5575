"""What every model promises, and a class of a user's own: the same tests over all of them."""

import numpy as np
import pytest
import torch
from made_models import SPECS, noise, small
from made_trainings import make_spec

from rlsp.config.specs.models import BUILT, parse_model
from rlsp.devices import matrix_precision
from rlsp.errors import ConfigError
from rlsp.inference.restorer import Restorer
from rlsp.models import build_model
from rlsp.models.complexity import count_macs, count_parameters
from rlsp.models.initialisation import WEIGHTED
from rlsp.models.weights import load_weights, save_weights
from rlsp.training import Trainer
from rlsp.training.crops import TrainingCrops

pytestmark = pytest.mark.numerical
RECURRENT = {"rlsp", "rlsp-rgb", "frvsr", "frvsr-y", "own"}
TRAINED = [name for name, spec in SPECS.items() if spec["arch"] != "bicubic"]
every_model = pytest.mark.parametrize("name", SPECS)
every_trained_model = pytest.mark.parametrize("name", TRAINED)


def stepped(model, frames):
    """Restore a clip step by step; the outputs are copied, as a step may use its memory again."""
    carry, outputs = None, []
    for window in model.windows(model.pad_clip(frames)):
        sr, carry = model.step(window, carry)
        outputs.append(sr.clone())
    return torch.stack(outputs, dim=1)


def test_every_architecture_is_here():
    assert {spec["arch"] for spec in SPECS.values()} >= set(BUILT)


@every_model
@pytest.mark.parametrize(("frames", "height", "width"), [(3, 6, 7), (1, 9, 10), (2, 1, 1)])
def test_steps_are_forward_at_any_size_and_length(name, frames, height, width):
    model, clip = small(name), noise(frames, height, width)
    restored = model(clip)
    assert restored.shape == (2, frames, model.colors, 4 * height, 4 * width)
    assert restored.dtype == torch.float32
    assert torch.equal(stepped(model, clip), restored)


@every_model
def test_a_step_sees_the_neighbours_it_says(name):
    """Frames further away reach it through its state only; a model without one sees no more."""
    model, clip = small(name), noise(9)
    other = clip.clone()
    other[:, 4] = 255 - other[:, 4]
    before, after = model(clip), model(other)
    changed = [t for t in range(9) if not torch.equal(before[:, t], after[:, t])]
    last = 8 if name in RECURRENT else 4 + model.look_behind
    assert changed == list(range(4 - model.look_ahead, last + 1))


@every_model
def test_a_stream_is_forward(name):
    """Through the restorer, in its fastest form, from 8-bit frames."""
    model, clip = small(name), noise(3, 9, 10, n=1).round()
    whole = model(clip)[0].permute(0, 2, 3, 1).detach().numpy()
    stream = Restorer(model).frames(clip[0].permute(0, 2, 3, 1).numpy().astype(np.uint8))
    np.testing.assert_allclose(np.stack(list(stream)).reshape(whole.shape), whole, atol=0.01)


@every_model
def test_clips_of_a_batch_do_not_touch_each_other(name):
    model, clip = small(name), noise(3)
    alone = torch.cat([model(clip[:1]), model(clip[1:])])
    torch.testing.assert_close(model(clip), alone, rtol=0, atol=1e-3)


@every_model
def test_the_same_clip_gives_the_same_bytes(name):
    model, clip = small(name), noise(3)
    assert torch.equal(model(clip), model(clip))


@every_trained_model
def test_autocast_gives_a_loss_in_float32_and_every_weight_a_finite_gradient(name):
    model = small(name).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(noise(3, 8, 16), torch.zeros(2, 3, 3, 32, 64))
    loss.backward()
    assert loss.dtype == torch.float32
    for weight, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), weight


@pytest.mark.slow
@every_trained_model
def test_the_same_seed_trains_the_same_weights(name, tmp_path):
    hr = {"a": noise(9, 32, 32, n=1)[0].movedim(1, -1).numpy().astype(np.uint8)}
    lr = {"a": hr["a"][:, ::4, ::4].copy()}
    head_scale = 1 if name == "own" else 0.1
    spec = make_spec(steps=2, head_scale=head_scale, context="replicate")
    trained = []
    for seed in (0, 0, 1):
        crops = TrainingCrops(lr, hr, scale=4, crop=8, frames=3, seed=seed)
        of_model = spec.changed(model=parse_model(SPECS[name]), seed=seed)
        trainer = Trainer(of_model, crops, tmp_path / str(len(trained)), "cpu")
        trainer.run()
        trained.append(torch.cat([parameter.flatten() for parameter in trainer.model.parameters()]))
    assert torch.equal(trained[0], trained[1]) and not torch.equal(trained[0], trained[2])


@every_trained_model
def test_weights_come_back_from_their_file(name, tmp_path):
    model, clip = small(name), noise(2)
    save_weights(tmp_path / "a.safetensors", model, {"model": SPECS[name]})
    loaded, _ = load_weights(tmp_path / "a.safetensors", trusted_arch=SPECS[name]["arch"])
    assert torch.equal(loaded(clip), model(clip))


@every_model
def test_operations_grow_with_the_pixels_and_use_every_weight(name):
    """Each weight of a convolution is used once at least, somewhere between the frame and the output."""
    macs = [count_macs({**SPECS[name], "scale": 4}, size) for size in ((16, 16), (16, 32))]
    assert macs[1] == 2 * macs[0]
    weights = [m.weight.numel() for m in small(name).modules() if isinstance(m, WEIGHTED)]
    assert macs[0] >= sum(weights)
    assert count_parameters(small(name)) == sum(p.numel() for p in small(name).parameters())


@every_model
def test_scaling_the_output_layer_changes_the_output_or_is_refused(name):
    model, clip = small(name), noise(2)
    before = model(clip)
    try:
        model.scale_output(0.5)
    except NotImplementedError as error:
        assert str(error) == f"{type(model).__name__} has no output layer to scale"
    else:
        assert not torch.equal(model(clip), before)


@every_model
def test_a_key_that_it_does_not_know_is_refused(name):
    with pytest.raises(ConfigError, match="filers"):
        build_model({**SPECS[name], "filers": 3})


@pytest.mark.gpu
@every_model
def test_cpu_and_gpu_agree(name):
    """Over a clip long enough for what is carried on to drift; grey levels."""
    larger = {"layers": 7, "filters": 32} if SPECS[name]["arch"] == "rlsp" else {}
    model, clip = small(name, **larger), noise(8, 32, 32)
    on_cpu = model(clip).detach()
    with matrix_precision("fp32"):
        on_gpu = model.cuda()(clip.cuda()).detach().cpu()
    torch.testing.assert_close(on_gpu, on_cpu, rtol=0, atol=0.001 if name == "bicubic" else 0.05)
