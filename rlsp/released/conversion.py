"""The authors' released weights and frames: conversion to our state dict, and the check against their pixels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlsp.errors import DataError
from rlsp.models import build_model
from rlsp.models.rlsp import RLSP
from rlsp.models.weights import check_shapes, fill_model, save_weights
from rlsp.released.tensorflow import read_checkpoint

# ---- TensorFlow checkpoints --------------------------------------------------------------------


def convert_checkpoint(
    prefix: Path,
    weights_path: Path,
    *,
    spec: dict[str, Any],
    degradation: dict[str, Any],
    source: str,
    licence: str,
) -> None:
    """Convert a released TensorFlow checkpoint of RLSP into our weights.

    The graph (``tensorflow/model.py`` of the released code) has ``layers - 1`` convolutions in a row,
    ``layer0`` to ``layer<layers-2>``, and then two side by side: ``layer<layers-1>`` makes the state,
    ``layer<layers>`` the output. Its first layer sees frames t-1, t, t+1, then the state, then the feedback.

    Parameters
    ----------
    prefix : Path
        Checkpoint, such as ``ckpt_rlsp_64`` (see :data:`rlsp.config.checkpoints.CHECKPOINTS`).
    weights_path : Path
        Safetensors file to write.
    spec : dict
        Model of the checkpoint, such as ``{"arch": "rlsp", "layers": 7, "filters": 64, "output": "y"}``.
    degradation : dict
        What the weights expect as input.
    source : str
        Where the checkpoint comes from: repository and commit.
    licence : str
        Licence of the checkpoint, which the converted weights keep.

    Raises
    ------
    DataError
        The checkpoint is damaged, an array of the model is missing, has another shape or holds what is no finite
        number, or there is one more than the model has.
    """
    metadata = {"model": spec, "degradation": degradation, "source": source, "licence": licence}
    save_weights(Path(weights_path), model_from_checkpoint(prefix, spec), metadata)


def model_from_checkpoint(prefix: Path, spec: dict[str, Any]) -> RLSP:
    """Build a model with the weights of a TensorFlow checkpoint; see :func:`convert_checkpoint`."""
    model, path = _build_rlsp(spec, output="y"), Path(f"{prefix}.index")
    arrays = read_checkpoint(prefix)
    _check_arrays(path, arrays, _checkpoint_shapes(model))
    fill_model(path, model, _from_tensorflow(model, arrays))
    return model


def _build_rlsp(spec: dict[str, Any], *, output: str) -> RLSP:
    """Build the model of `spec`, which must be a whole RLSP with this output."""
    model = build_model(spec)
    is_whole = isinstance(model, RLSP) and model.look_ahead and model.feedback and model.state_channels
    if not is_whole or model.output != output:
        raise DataError(
            f"expected the specification of an RLSP with all inputs and output {output}, got {spec}"
        )
    return model


def _checkpoint_shapes(model: RLSP) -> dict[str, tuple[int, ...]]:
    """Names and shapes (kernels HWIO) of the checkpoint's variables."""
    shapes = [tuple(layer.weight.shape) for layer in model.body]
    filters = model.head.weight.shape[1]
    shapes += [(model.state_channels, filters, 3, 3), (model.packed, filters, 3, 3)]
    named = {}
    for i, (outputs, inputs, rows, columns) in enumerate(shapes):
        named[f"layer{i}/kernel"] = rows, columns, inputs, outputs
        named[f"layer{i}/bias"] = (outputs,)
    return named


def _check_arrays(path: Path, arrays: Mapping[str, Any], shapes: dict[str, tuple[int, ...]]) -> None:
    """Check that the arrays are those of the model, apart from what Adam adds."""

    def is_adam(name: str) -> bool:
        variable, _, slot = name.rpartition("/")
        is_moment = slot in ("Adam", "Adam_1") and variable in shapes
        return is_moment or name in ("beta1_power", "beta2_power")

    check_shapes(path, {name: array.shape for name, array in arrays.items() if not is_adam(name)}, shapes)


def _from_tensorflow(model: RLSP, arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """State dict of our RLSP from the variables of the TensorFlow graph."""

    def layer(i: int) -> tuple[Tensor, Tensor]:
        kernel = torch.tensor(arrays[f"layer{i}/kernel"]).permute(3, 2, 0, 1)  # HWIO -> OIHW
        return kernel, torch.tensor(arrays[f"layer{i}/bias"])

    n = len(model.body)
    state = {}
    for i in range(n):
        state[f"body.{i}.weight"], state[f"body.{i}.bias"] = layer(i)
    first = state["body.0.weight"]
    frames, hidden, feedback = first.split([9, model.state_channels, model.packed], dim=1)
    state["body.0.weight"] = torch.cat([frames, feedback, hidden], dim=1)
    (hidden_kernel, hidden_bias), (output_kernel, output_bias) = layer(n), layer(n + 1)
    state["head.weight"] = torch.cat([output_kernel, hidden_kernel])
    state["head.bias"] = torch.cat([output_bias, hidden_bias])
    return state


# ---- PyTorch weights ---------------------------------------------------------------------------


def convert_pytorch_state(state: Mapping[str, Tensor], spec: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """Convert a state dict of the released PyTorch module (``pytorch/rlsp.py``, RGB output) into ours.

    Its inputs and its joint last layer are ordered as ours, so this only renames.

    Parameters
    ----------
    state : mapping
        ``conv1``, ``conv_list.<i>`` and ``conv_out``, each with weight and bias.
    spec : dict
        Model of the state, with ``"output": "rgb"``.
    path : Path
        Where the state comes from.

    Returns
    -------
    dict
        State dict for :func:`rlsp.models.build_model` of `spec`.

    Raises
    ------
    DataError
        A tensor is missing or has another shape, or there is one more than the model has.
    """
    model = _build_rlsp(spec, output="rgb")
    last = len(model.body) - 1
    names = {"body.0": "conv1", "head": "conv_out"}
    names |= {f"body.{i}": f"conv_list.{i - 1}" for i in range(1, last + 1)}
    theirs = {}
    for name in model.state_dict():
        layer, _, parameter = name.rpartition(".")
        theirs[name] = f"{names[layer]}.{parameter}"
    shapes = {theirs[name]: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    _check_arrays(path, state, shapes)
    return {name: state[theirs[name]] for name in theirs}


# ---- the authors' pixels -----------------------------------------------------------------------
