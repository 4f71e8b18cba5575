"""Optimisers that a recipe may name, and the scale of what a recurrent model carries."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from rlsp.config.specs.recipes import Recipe
from rlsp.errors import ConfigError
from rlsp.models.base import VideoModel

# How Adam runs depends on the device and the execution of a job, not on those of the one that saved.
ADAM_EXECUTION = ("lr", "fused", "capturable")


def make_optimizer(
    parameters: list[nn.Parameter], recipe: Recipe, *, is_recorded: bool
) -> torch.optim.Optimizer:
    """Build the optimiser of a recipe.

    Parameters
    ----------
    parameters : list of Parameter
        What it changes, on its device.
    recipe : Recipe
        ``optimizer``: "adam" (Kingma and Ba 2015; decays of the moments 0.9 and 0.999) or "soap" (Vyas et al. 2025:
        Adam in the eigenbasis of Shampoo's preconditioner, of each axis of a kernel; decays 0.95, basis renewed
        every 10 steps, no weight decay), and ``learning_rate``.
    is_recorded : bool
        Whether steps are recorded as CUDA graphs.

    Raises
    ------
    ConfigError
        SOAP was asked for and its package is not installed.
    """
    rate: Any = recipe.learning_rate
    if recipe.optimizer == "adam":
        if is_recorded:  # a recorded graph reads the rate from a tensor
            rate = torch.tensor(float(rate), device=parameters[0].device)
        return torch.optim.Adam(parameters, lr=rate, fused=True, capturable=is_recorded)
    try:
        from pytorch_optimizer import SOAP  # slow to import
    except ImportError as error:
        raise ConfigError("optimizer: soap needs the package pytorch-optimizer; pip install it") from error
    return SOAP(parameters, lr=rate, weight_decay=0.0)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of the next step."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def load_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Go on from the state of an optimiser that ran on another device, perhaps, or in another way."""
    own = [{key: group[key] for key in ADAM_EXECUTION if key in group} for group in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    for group, kept in zip(optimizer.param_groups, own, strict=True):
        group.update(kept)


class ScaledInputs:
    """What a recurrent model carries from frame to frame, multiplied by a factor while it trains.

    At the start a recurrent model's first layer sees mostly its own state, which is nothing but noise then, and a
    step of the optimiser moves the output by far more through it than through the frames. With the carried inputs
    multiplied by a factor c the optimiser works on weights w of which the model uses c w: their first values and
    their steps count c of what they were. The columns of the frames are drawn as if there were no others. The model
    itself holds the product, so that it is the published one at any time.

    Parameters
    ----------
    model : VideoModel
        Its first layer is drawn already; one that carries nothing, or says nothing of it, stays as it is.
    factor : float
        Factor c on the carried inputs.
    """

    def __init__(self, model: VideoModel, factor: float) -> None:
        layer, carried = model.carried_inputs()
        self.used = layer.weight if layer is not None and factor != 1 else None
        if self.used is not None:
            factors = torch.ones(1, self.used.shape[1], 1, 1, device=self.used.device)
            factors[:, carried] = factor
            self.factors, self.weight = factors, nn.Parameter(self.used.detach() / factors)
            self.weight.grad = torch.zeros_like(self.weight)

    def parameters(self, model: VideoModel) -> list[nn.Parameter]:
        """List what the optimiser works on: the model's parameters, with the layer's weights before the factor."""
        return [self.weight if p is self.used else p for p in model.parameters()]

    def state_dict(self) -> Tensor | None:
        """Weights before the factor: a quotient of what the model holds would be rounded."""
        return self.weight.detach() if self.used is not None else None

    @torch.no_grad()
    def load_state_dict(self, saved: Tensor | None) -> None:
        """Go on from what :meth:`state_dict` gave."""
        if self.used is not None and saved is not None:
            self.weight.copy_(saved)

    @torch.no_grad()
    def take_gradient(self) -> None:
        """Take over the gradient of the layer's weights."""
        if self.used is not None:
            torch.mul(self.used.grad, self.factors, out=self.weight.grad)

    @torch.no_grad()
    def give_weights(self) -> None:
        """Give the model what it uses after a step."""
        if self.used is not None:
            torch.mul(self.weight, self.factors, out=self.used)


@torch.no_grad()
def draw_scaled(model: VideoModel, factor: float) -> None:
    """Draw the first layer of a model for :class:`ScaledInputs`: more for the frames, `factor` for what is carried."""
    layer, carried = model.carried_inputs()
    if layer is None or factor == 1:
        return
    inputs = layer.weight.shape[1]
    is_carried = torch.zeros(inputs, dtype=torch.bool)
    is_carried[carried] = True
    layer.weight[:, is_carried] *= factor
    layer.weight[:, ~is_carried] *= math.sqrt(inputs / int((~is_carried).sum()))
