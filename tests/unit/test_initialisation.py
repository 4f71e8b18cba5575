"""First weights: the same numbers for RLSP as ever, and every kind of layer covered."""

import numpy as np
import pytest
import torch
from torch import nn

from rlsp.models import build_model
from rlsp.models.initialisation import initialise_weights

pytestmark = pytest.mark.numerical


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("init", ["glorot-uniform", "he-normal"])
def test_layers_are_drawn_in_order(init):
    """The reference demo was trained from these very numbers: each convolution in turn, biases zero."""
    model = build_model({"arch": "rlsp", "layers": 3, "filters": 8})
    initialise_weights(model, init, generator(5))
    source = generator(5)
    for layer in [*model.body, model.head]:
        expected = torch.empty_like(layer.weight)
        fan_in, fan_out = 9 * layer.in_channels, 9 * layer.out_channels
        if init == "he-normal":
            expected.normal_(0, (2 / fan_in) ** 0.5, generator=source)
        else:
            bound = (6 / (fan_in + fan_out)) ** 0.5
            expected.uniform_(-bound, bound, generator=source)
        torch.testing.assert_close(layer.weight.detach(), expected, rtol=1e-6, atol=0)
        assert not layer.bias.any()


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (nn.Conv2d(16, 24, 3), 16 * 9),
        (nn.Conv3d(16, 24, 3), 16 * 27),
        (nn.ConvTranspose2d(16, 24, 3, bias=False), 24 * 9),
        (nn.Linear(300, 24), 300),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_of_layer_is_drawn(layer, fan_in):
    nn.init.constant_(layer.weight, 7)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, 7)
    initialise_weights(nn.Sequential(layer), "he-normal", generator())
    std = (2 / fan_in) ** 0.5
    np.testing.assert_allclose(layer.weight.std().item(), std, rtol=0.1)
    assert abs(layer.weight.mean().item()) < 0.1 * std
    assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize(
    "spec", [{"arch": "frvsr", "blocks": 1, "filters": 4}, {"arch": "duf", "layers": 10}]
)
@pytest.mark.parametrize("init", ["glorot-uniform", "he-normal"])
def test_a_seed_decides_all_first_weights(spec, init):
    first, again, other = (build_model(spec) for _ in range(3))
    for model, seed in ((first, 1), (again, 1), (other, 2)):
        initialise_weights(model, init, generator(seed))
    for name, weight in first.named_parameters():
        assert torch.equal(weight, again.get_parameter(name))
        assert weight.ndim == 1 or not torch.equal(weight, other.get_parameter(name))


def test_normalisation_keeps_its_defaults():
    norm = nn.BatchNorm3d(4)
    initialise_weights(nn.Sequential(norm), "he-normal")
    assert norm.weight.eq(1).all() and norm.bias.eq(0).all()


def test_an_unknown_way_is_refused():
    with pytest.raises(ValueError, match="init: expected 'glorot-uniform' or 'he-normal', got 'orthogonal'"):
        initialise_weights(nn.Linear(1, 1), "orthogonal")
