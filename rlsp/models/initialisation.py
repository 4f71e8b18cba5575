"""First weights of any method, drawn in a fixed order so that a seed gives the same numbers everywhere."""

import torch
from torch import nn

WEIGHTED = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)


def initialise_weights(model: nn.Module, init: str, generator: torch.Generator | None = None) -> None:
    """Draw the weights of all convolutions and linear layers; biases become zero.

    The layers come in the order of ``model.modules()``. Normalisation layers keep what they were built with.

    Parameters
    ----------
    model : nn.Module
        Changed in place.
    init : {"glorot-uniform", "he-normal"}
        Glorot and Bengio 2010, the default of TensorFlow 1; or He et al. 2015, fan-in, for ReLU. Fans are
        torch's: those of a transposed convolution are those of the convolution that it transposes.
    generator : torch.Generator, optional
        Source of the numbers; the default is torch's own.

    Raises
    ------
    ValueError
        ``init`` is neither.
    """
    if init not in ("glorot-uniform", "he-normal"):
        raise ValueError(f"init: expected 'glorot-uniform' or 'he-normal', got {init!r}")
    for module in model.modules():
        if isinstance(module, WEIGHTED):
            if init == "he-normal":
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            else:
                nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
