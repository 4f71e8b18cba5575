"""What a model costs on paper: parameters, operations, and the bytes that it cannot do without."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rlsp.columns import COUNTS
from rlsp.config.constants import FRAME_SIZES
from rlsp.config.specs.models import Model, parse_model
from rlsp.files import spec_hash, write_rows
from rlsp.models import build_model


def count_parameters(model: nn.Module) -> int:
    """Count the trainable numbers of a model."""
    return sum(p.numel() for p in model.parameters())


def count_macs(spec: Mapping[str, Any] | Model, lr_size: tuple[int, int]) -> float:
    """Count the multiply-accumulate operations of one output frame, biases and element-wise work left out.

    Parameters
    ----------
    spec : Model or mapping
        Spec of the model, or its plain form.
    lr_size : tuple of int
        Height and width of the LR frames, in pixels.

    Returns
    -------
    float
        Number of multiply-accumulates.
    """
    with torch.device("meta"):
        model = build_model(spec)
        window = torch.empty(1, model.look_behind + 1 + model.look_ahead, 3, *lr_size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.to("meta").step(window, None)
    return counter.get_total_flops() / 2


def count_bytes(window: Tensor, outputs: Iterable[Tensor], carried: Iterable[Tensor], weights: int) -> int:
    """Count the fewest bytes that a step moves: what is between its layers stays on the chip.

    Parameters
    ----------
    window : Tensor
        LR frames, read once.
    outputs : iterable of Tensor
        Written once.
    carried : iterable of Tensor
        Read and written once.
    weights : int
        Bytes of the weights, read once.
    """
    return weights + _bytes(window) + sum(map(_bytes, outputs)) + 2 * sum(map(_bytes, carried))


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def write_counts(specs: Mapping[str, Mapping[str, Any] | Model], path: Path) -> None:
    """Count models and write one row for each: its trainable numbers, and the operations of a Full HD frame.

    Parameters
    ----------
    specs : mapping
        Specs of the models by name, or their plain forms.
    path : Path
        CSV file; columns in :data:`rlsp.columns.COUNTS`.
    """
    height, width = size = FRAME_SIZES["full-hd"]
    rows = []
    for name, plain in specs.items():
        spec = parse_model(plain)
        hashed = plain.dump() if isinstance(plain, Model) else dict(plain)
        with torch.device("meta"):  # without memory for the weights
            parameters = count_parameters(build_model(spec))
        macs = count_macs(spec, size)
        rows.append({"model": name, "spec_hash": spec_hash(hashed), "lr_height": height, "lr_width": width,
                     "parameters": parameters, "gmac_per_frame": macs / 1e9})  # fmt: skip
    write_rows(path, COUNTS.names, rows)
