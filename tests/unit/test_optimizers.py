"""Optimisers of recipes, and what a recurrent model carries scaled while it trains."""

import math

import pytest
import torch
from made_trainings import make_recipe, make_spec, run_training, stop_training
from safetensors.torch import load_file

from rlsp.models import build_model
from rlsp.training import deferred
from rlsp.training.deferred import DeferredGradients
from rlsp.training.optimizers import ScaledInputs, make_optimizer
from rlsp.training.step import TrainingStep, initialise

pytestmark = pytest.mark.numerical

MODELS = {
    "rlsp": {"arch": "rlsp", "layers": 3, "filters": 8, "input_range": 1},
    "frames-only": {
        "arch": "rlsp", "layers": 3, "filters": 8, "input_range": 1, "adjacent": False, "feedback": False,
        "state": False,
    },
    "frvsr": {"arch": "frvsr", "blocks": 1, "filters": 8},
}  # fmt: skip


def clips(frames=3, size=8, context=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lr = torch.randint(0, 256, (2, frames + context, 3, size, size), generator=generator)
    return lr.float(), torch.randint(0, 256, (2, frames, 3, 4 * size, 4 * size), generator=generator).float()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_deferred_gradients_are_those_of_autograd(name, dtype, monkeypatch):
    """In float64 to its rounding; under autocast the sum over frames is rounded once instead of at each frame.

    Each layer's weight gradient is one convolution, whatever the number of frames.
    """
    torch.manual_seed(0)
    model = build_model(MODELS[name])
    lr, hr = clips(context=model.look_behind + model.look_ahead)
    is_exact = dtype == torch.float64
    if is_exact:
        model, lr, hr = model.double(), lr.double(), hr.double()

    def loss():
        with torch.autocast("cpu", dtype, enabled=not is_exact):
            return model.loss(lr, hr)

    loss().backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    asked = []
    backward_pass = deferred._convolution_backward
    monkeypatch.setattr(
        deferred,
        "_convolution_backward",
        lambda *arguments: asked.append(arguments[4]) or backward_pass(*arguments),
    )
    with DeferredGradients(model) as gradients:
        value = loss()
    gradients.backward(value)
    layers = sum(type(module) is torch.nn.Conv2d for module in model.modules())
    assert sum(of_weight for _, of_weight, _ in asked) == layers < sum(of_input for of_input, *_ in asked)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        difference = (parameter.grad - gradient).norm() / gradient.norm()
        # RLSP's frames are added in float64 or float32, all other sums in their own order
        assert difference < (1e-5 if is_exact else 0.02)
    assert all("forward" not in vars(module) for module in model.modules())


def test_scaled_inputs_are_drawn():
    """Frames as if there were no other inputs, the carried columns a quarter: worked out by hand."""
    recipe = make_recipe()
    plain, scaled = (build_model(MODELS["rlsp"]) for _ in range(2))
    initialise(plain, recipe, 5)
    initialise(scaled, recipe.changed(carry_scale=0.25), 5)
    before, after = plain.body[0].weight, scaled.body[0].weight
    inputs, frames = 9 + 16 + 8, 9
    torch.testing.assert_close(after[:, :frames], before[:, :frames] * math.sqrt(inputs / frames))
    torch.testing.assert_close(after[:, frames:], before[:, frames:] * 0.25)
    assert torch.equal(scaled.body[1].weight, plain.body[1].weight)


@pytest.mark.parametrize("rate", [0.01, 0.003])
def test_scaled_inputs_take_smaller_steps(rate):
    """Adam's first step is the rate, whatever the gradient: a quarter of it where the input counts a quarter."""
    recipe = make_recipe(carry_scale=0.25, clip_norm=None)
    model = build_model(MODELS["rlsp"])
    initialise(model, recipe, 0)
    before = model.body[0].weight.detach().clone()
    lr, hr = (part.to(torch.uint8) for part in clips())
    TrainingStep(model, recipe)(lr, hr, rate)
    moved = (model.body[0].weight - before).abs()
    is_used = moved > rate / 100  # a filter that is silent on this batch stays
    frames, carried = moved[:, :9][is_used[:, :9]], moved[:, 9:25][is_used[:, 9:25]]
    assert min(frames.numel(), carried.numel()) > 400
    torch.testing.assert_close(frames, torch.full_like(frames, rate), rtol=0.05, atol=0)
    torch.testing.assert_close(carried, torch.full_like(carried, rate / 4), rtol=0.05, atol=0)


def test_a_model_that_carries_nothing_stays():
    recipe = make_recipe(carry_scale=0.25)
    plain, scaled = (build_model(MODELS["frames-only"]) for _ in range(2))
    initialise(plain, make_recipe(), 0)
    initialise(scaled, recipe, 0)
    assert torch.equal(plain.body[0].weight, scaled.body[0].weight)
    assert ScaledInputs(scaled, 0.25).parameters(scaled)[0] is scaled.body[0].weight


@pytest.mark.parametrize("name", ["rlsp", "frvsr"])
def test_carried_inputs_are_all_that_is_carried(name):
    """Without them a frame is restored as if there had been none before it; with the others alone it is not."""
    model = build_model(MODELS[name]).eval()
    layer, carried = model.carried_inputs()
    if name == "frvsr":  # a flow of zero, as the frame before is carried for the flow alone
        model.flow = lambda previous, frame: frame.new_zeros(len(frame), 2, *frame.shape[2:])
    lr = clips()[0]
    width = model.look_behind + 1 + model.look_ahead
    with torch.no_grad():
        _, carry = model.step(lr[:, :width], None)
        assert not torch.equal(*(model.step(lr[:, 1 : 1 + width], before)[0] for before in (carry, None)))
        layer.weight[:, carried] = 0
        one, other = (model.step(lr[:, 1 : 1 + width], before)[0] for before in (carry, None))
        assert torch.equal(one, other)
        assert not torch.equal(one, model.step(lr[:, :width], None)[0])


@pytest.mark.slow
def test_soap_with_scaled_inputs_resumes_exactly(manifests, tmp_path):
    """Stopped between two renewals of the basis, it ends with the bytes of a straight run, in plain weights."""
    spec = make_spec(optimizer="soap", carry_scale=0.25, steps=24, checkpoint_every=8, ema=0.9)
    straight = run_training(manifests, tmp_path, "straight", spec)
    stop_training(manifests, tmp_path, "run", spec, after=15)
    resumed = run_training(manifests, tmp_path, "run", spec)
    assert resumed.read_bytes() == straight.read_bytes()
    assert "body.0.weight" in load_file(straight)


def test_soap_fits_what_a_quadratic_form_scales():
    """A layer whose inputs are badly scaled and mixed: SOAP is there when Adam is still on the way."""

    class Mixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(4, 6))

    generator = torch.Generator().manual_seed(1)
    mixing = torch.randn(6, 6, generator=generator) * torch.logspace(0, -1.5, 6)
    x = torch.randn(200, 6, generator=generator) @ torch.linalg.qr(torch.randn(6, 6, generator=generator))[0]
    x = x @ mixing
    y = x @ torch.randn(6, 4, generator=generator)
    left = {}
    for name in ("adam", "soap"):
        model = Mixed()
        optimizer = make_optimizer(
            [model.weight], make_recipe(optimizer=name, learning_rate=0.03), is_recorded=False
        )
        for _ in range(300):
            optimizer.zero_grad()
            loss = ((x @ model.weight.T - y) ** 2).mean()
            loss.backward()
            optimizer.step()
        left[name] = loss.item()
    assert left["soap"] < left["adam"] / 3


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["adam", "soap"])
def test_a_recorded_step_does_what_an_eager_one_does(optimizer):
    lr, hr = (part.to(torch.uint8).cuda() for part in clips())
    results = []
    for execution in ("eager", "graph"):
        torch.manual_seed(0)
        recipe = make_recipe(execution=execution, optimizer=optimizer, carry_scale=0.25)
        model = build_model(MODELS["rlsp"])
        initialise(model, recipe, 0)
        step = TrainingStep(model.cuda(), recipe)
        results.append([step(lr, hr, 0.001).item() for _ in range(25)])
    assert results[1] == pytest.approx(results[0], rel=1e-3)
    assert results[0][-1] < results[0][0]
