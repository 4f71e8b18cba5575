"""Weights that other programs wrote, as ours: state dicts of PyTorch, plain safetensors, checkpoints of TensorFlow."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rlsp.config.specs.degradations import Degradation
from rlsp.config.specs.fields import quoted
from rlsp.config.specs.models import RLSP, Model
from rlsp.errors import ConfigError, DataError
from rlsp.files import file_sha256, special_kind
from rlsp.models import build_model
from rlsp.models.formats import TENSORFLOW, TORCH, UNKNOWN, describe_file
from rlsp.models.weights import fill_model, save_weights
from rlsp.released.conversion import convert_pytorch_state, model_from_checkpoint

# Where trainers keep the weights among the rest: BasicSR (averaged ones first, as it does), Lightning, others.
STATE_KEYS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "net", "generator")
WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and torch.compile
RELEASED_NAMES = {"conv1.weight", "conv_out.weight"}  # of the authors' pytorch/rlsp.py


def convert_weights(
    source: Path, target: Path, *, model: Model, degradation: Degradation, licence: str | None = None
) -> None:
    """Convert weights of one of our models, or of the authors' PyTorch or TensorFlow code, into ours.

    Parameters
    ----------
    source : Path
        A state dict that ``torch.save`` wrote, alone or within a trainer's checkpoint, or safetensors; its names are
        those of our model or of the authors' module, perhaps after ``module.``. Or the prefix of a TensorFlow
        checkpoint of the authors' graph, or one of its files. Nothing is executed: of a pickle only tensors and plain
        values are read.
    target : Path
        Safetensors file to write.
    model : Model
        What the weights are of.
    degradation : Degradation
        What they expect as input, resolved.
    licence : str, optional
        Of the weights.

    Raises
    ------
    DataError
        The source is missing, of another kind or damaged, or does not hold the weights of this model.
    ConfigError
        The model cannot be built, or the target has another ending or is the source.
    """
    if target.suffix != ".safetensors":
        raise ConfigError(f"{target}: expected a name that ends in .safetensors, as studies ask for")
    if target.exists() and source.exists() and target.samefile(source):
        raise ConfigError(f"{target}: expected another target than the source, got the same")
    prefix = _tensorflow_prefix(source)
    if prefix is not None:
        built, of = model_from_checkpoint(prefix, model.dump()), Path(f"{prefix}.index")
    else:
        state, of = read_state(source), source
        if RELEASED_NAMES <= set(state) and isinstance(model, RLSP):
            state = convert_pytorch_state(state, model.dump(), source)
        built = build_model(model)
        fill_model(source, built, state)
    metadata = {"model": model.dump(), "degradation": degradation.dump()}
    metadata |= {"source": f"converted from {of.name}, SHA-256 {file_sha256(of)}"}
    save_weights(target, built, metadata | ({"licence": licence} if licence else {}))


def _tensorflow_prefix(source: Path) -> Path | None:
    """Name a TensorFlow checkpoint as TensorFlow does, by its prefix; None of anything else."""
    if source.is_file() and describe_file(source) == TENSORFLOW and source.suffix:
        return source.with_suffix("")
    return source if not source.exists() and Path(f"{source}.index").is_file() else None


def read_state(source: Path) -> dict[str, Tensor]:
    """Read the tensors of a PyTorch or safetensors file by name, wrappers of their names taken off.

    Raises
    ------
    DataError
        The file is missing, of another kind or damaged, or holds no state dict, or several names become one.
    """
    try:
        if kind := special_kind(source):
            raise DataError(f"{source}: expected a file, got a {kind}")
        found = describe_file(source)
        if found == TORCH:
            _check_archive(source)
            content = torch.load(source, map_location="cpu", weights_only=True)
        elif found == UNKNOWN:
            content = load_file(source)
        else:
            raise DataError(
                f"{source}: expected a state dict of PyTorch, safetensors or a checkpoint of TensorFlow, got {found}"
            )
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror or error}") from None
    except SafetensorError as error:
        raise DataError(f"{source}: expected a state dict of PyTorch or safetensors, got: {error}") from None
    except Exception as error:  # of a damaged or hostile pickle: whatever its parts cause
        raise DataError(
            f"{source}: expected a state dict of tensors alone, as torch.save(model.state_dict(), file) writes it, got "
            f"what cannot be read without running its code, or is damaged ({type(error).__name__})"
        ) from None
    return _unwrapped(source, _find_state(source, content))


def _check_archive(source: Path) -> None:
    """Refuse an archive with wrong checksums, which PyTorch does not look at, or one that is larger than its file."""
    if not zipfile.is_zipfile(source):  # of PyTorch before 1.6
        return
    with zipfile.ZipFile(source) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise DataError(
                    f"{source}: {member.filename}: expected it as torch.save stores it, got it compressed"
                )
        if damaged := archive.testzip():
            raise DataError(f"{source}: {damaged}: damaged, its checksum is wrong")


def _find_state(source: Path, content: Any) -> dict[str, Tensor]:
    """Find the state dict in what a trainer saved."""
    if isinstance(content, Mapping):
        for candidate in (content, *(content.get(key) for key in STATE_KEYS)):
            if not isinstance(candidate, Mapping) or not candidate:
                continue
            if all(isinstance(name, str) and isinstance(t, Tensor) for name, t in candidate.items()):
                return dict(candidate)
    keys = f" with {quoted(list(content)[:5])}" if isinstance(content, Mapping) else ""
    raise DataError(
        f"{source}: expected a state dict, alone or as one of {', '.join(STATE_KEYS)}, "
        f"got {type(content).__name__}{keys}"
    )


def _unwrapped(source: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off what DataParallel and torch.compile put before every name."""
    for wrapper in WRAPPERS * 2:
        if all(name.startswith(wrapper) for name in state):
            state = {name.removeprefix(wrapper): tensor for name, tensor in state.items()}
    return state
