"""What planning must know of models, without torch: where their classes lie, and what a training multiplies."""

from collections.abc import Iterable
from typing import Any

ARCHITECTURES = {
    "rlsp": "rlsp.models.rlsp:RLSP",
    "bicubic": "rlsp.models.bicubic:Bicubic",
    "frvsr": "rlsp.models.frvsr:FRVSR",
    "duf": "rlsp.models.duf:DUF",
}
# What a training step multiplies, over what restoring the same frames does: a backward pass computes the gradient of
# the input and that of the weights of each convolution, each with as many multiply-accumulates as the forward pass.
PASSES = 3


def architecture_modules(specs: Iterable[dict[str, Any]]) -> list[str]:
    """List the modules that models are written in, once each, as :func:`rlsp.provenance.code_hash` takes them.

    Parameters
    ----------
    specs : iterable of dict
        Catalogue entries of models; ``arch`` is one of :data:`ARCHITECTURES` or ``package.module:Class``.
    """
    places = {ARCHITECTURES.get(spec["arch"], spec["arch"]) for spec in specs}
    return sorted({place.partition(":")[0] for place in places})
