"""Weights on disk: safetensors with one metadata key, so that equal weights are equal bytes."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from rlsp.config.specs.models import BUILT
from rlsp.errors import ConfigError, DataError
from rlsp.files import replace_when_complete
from rlsp.models import build_model
from rlsp.models.base import VideoModel

METADATA_KEY = "rlsp"  # one key of sorted JSON: safetensors writes several keys in random order


def save_weights(path: Path, model: VideoModel, metadata: dict[str, Any]) -> None:
    """Write a model's weights, replacing ``path`` in one step.

    Parameters
    ----------
    path : Path
        File to write.
    model : VideoModel
        The model; its tensors are written contiguous and on the CPU.
    metadata : dict
        Must hold ``model``, the specification that :func:`rlsp.models.build_model` takes, and
        ``degradation``, what the weights expect as input; may hold ``licence`` and ``source``. No times, hosts
        or paths: the same training gives the same bytes.
    """
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in model.state_dict().items()}
    with replace_when_complete(path) as temporary:
        temporary.write_bytes(save(tensors, {METADATA_KEY: json.dumps(metadata, sort_keys=True)}))


def load_weights(path: Path, *, trusted_arch: str | None = None) -> tuple[VideoModel, dict[str, Any]]:
    """Read a model with its weights.

    A file names the class of its model. Only the package's own classes are built on its word: building any
    other would let a file from elsewhere run code.

    Parameters
    ----------
    path : Path
        A file written by :func:`save_weights`.
    trusted_arch : str, optional
        A class of the user's own (``package.module:Class``) that the file may name besides.

    Returns
    -------
    model : VideoModel
        In evaluation mode, on the CPU.
    metadata : dict
        As given to :func:`save_weights`.

    Raises
    ------
    DataError
        The file is missing, damaged, or does not fit the model it names.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = json.loads((file.metadata() or {})[METADATA_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        arch = metadata["model"]["arch"]
        if arch not in BUILT and arch != trusted_arch:
            raise DataError(f"{path}: names the class {arch!r}, which the study does not; not built")
        model = build_model(metadata["model"])
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such weights; train or download them first") from error
    except (SafetensorError, ConfigError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: expected weights written by rlsp, cannot read them ({error})") from error
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        detail = " ".join(str(error).split())
        raise DataError(f"{path}: weights do not fit the model they name ({detail})") from error
    return model.eval(), metadata
