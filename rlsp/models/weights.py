"""Weights on disk: safetensors with one metadata key, so that equal weights are equal bytes."""

import contextlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from rlsp.config.specs.fields import quoted
from rlsp.config.specs.models import BUILT
from rlsp.errors import ConfigError, DataError, first_line
from rlsp.files import kind_of_file, replace_when_complete
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
        The file is missing, damaged, of another kind, or does not fit the model it names; a tensor is of another type
        than float32, float16 or bfloat16, or holds a number that is not finite.
    """
    path = Path(path)
    _check_file(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = _read_metadata(path, file.metadata() or {})
            model = _build(path, metadata, trusted_arch)
            _check_tensors(path, file, model)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: expected weights written by rlsp, cannot read them ({error})") from error
    for name, tensor in tensors.items():
        bad = tensor.numel() - int(torch.isfinite(tensor).sum())
        if bad:
            raise DataError(
                f"{path}: tensor {name}: expected finite numbers, got {bad} of {tensor.numel()} that are not"
            )
    model = build_model(metadata["model"])
    model.load_state_dict(tensors)
    return model.eval(), metadata


# first bytes of what people have instead -> what it is
_FOREIGN = {
    b"PK": "a zip archive, as PyTorch writes .pth files",
    b"\x80": "a pickle, as older versions of PyTorch write .pth files",
    b"\x89HDF": "an HDF5 file, as Keras writes it",
    b"\x93NUMPY": "a NumPy array",
    b"\x89PNG": "a PNG picture",
}
_CONVERT = "; rlsp convert makes weights of PyTorch checkpoints of RLSP"
_LONGEST_HEADER = 10_000_000  # bytes; that of the largest model here has 60 kB
_TYPES = ("F32", "F16", "BF16")  # as safetensors calls them: those that float32 holds exactly


def _check_file(path: Path) -> None:
    """Refuse what is no safetensors file, by its first bytes, and a header that would fill the memory."""
    if str(path) in ("", "."):
        raise DataError("weights: expected a file, or released:7-48 or released:7-64, got nothing")
    kind = kind_of_file(path)
    if kind == "nothing":
        raise DataError(f"{path}: no such weights; train or download them first")
    if kind != "a file":
        raise DataError(f"{path}: expected a file of weights, got {kind}")
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    for magic, what in _FOREIGN.items():
        if start.startswith(magic):
            hint = _CONVERT if "PyTorch" in what else ""
            raise DataError(f"{path}: expected weights written by rlsp, got {what}{hint}")
    length = int.from_bytes(start, "little")
    if len(start) < 8 or not 2 <= length <= min(_LONGEST_HEADER, path.stat().st_size - 8):
        raise DataError(
            f"{path}: expected weights written by rlsp, got no safetensors file or one that is cut short"
        )


def _read_metadata(path: Path, header: dict[str, str]) -> dict[str, Any]:
    """Read what the file says of its model and of the input that it expects."""
    if METADATA_KEY not in header:
        raise DataError(
            f"{path}: expected weights written by rlsp, got metadata without the key {METADATA_KEY}"
        )
    try:
        metadata = json.loads(header[METADATA_KEY], parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected metadata in JSON, got: {error}") from None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("model"), dict):
        raise DataError(f"{path}: expected metadata with a map model, got {quoted(metadata)}")
    return metadata


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text}, which is no number")


def _build(path: Path, metadata: dict[str, Any], trusted_arch: str | None) -> VideoModel:
    """Build the model without memory for its tensors; it is one that may be built, of the scale its input has."""
    arch = metadata["model"].get("arch")
    if arch not in tuple(BUILT) and (trusted_arch is None or arch != trusted_arch):
        raise DataError(f"{path}: names the class {quoted(arch)}, which the study does not; not built")
    try:
        # a class of the user's own may do at its making what tensors without memory cannot
        with torch.device("meta") if arch in BUILT else contextlib.nullcontext():
            model = build_model(metadata["model"])
    except (ConfigError, RuntimeError, RecursionError, OverflowError) as error:
        raise DataError(f"{path}: expected the spec of a model, got: {first_line(error)}") from None
    scale = _scale_of(metadata.get("degradation"))
    if scale is not None and scale != model.scale:
        raise DataError(
            f"{path}: expected a model of the scale of its degradation, {scale!r}, got scale {model.scale}"
        )
    return model


def _scale_of(degradation: Any) -> Any:
    return degradation.get("scale") if isinstance(degradation, dict) else None


def _check_tensors(path: Path, file: Any, model: VideoModel) -> None:
    """Compare names, shapes and types with those of the model, by the header alone."""
    tensors = model.state_dict()
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    for name in shapes.keys() - set(file.keys()):
        raise DataError(f"{path}: weights do not fit the model they name: tensor {name} is missing")
    for name in file.keys():  # noqa: SIM118
        part = file.get_slice(name)
        if name not in shapes:
            raise DataError(
                f"{path}: weights do not fit the model they name: it has no tensor {quoted(name)}"
            )
        if part.get_shape() != shapes[name]:
            got = part.get_shape()
            raise DataError(
                f"{path}: weights do not fit the model they name: tensor {name}: expected shape {shapes[name]}, "
                f"got {got}"
            )
        types = _TYPES if tensors[name].is_floating_point() else ("I64",)
        if part.get_dtype() not in types:
            raise DataError(f"{path}: tensor {name}: expected {' or '.join(types)}, got {part.get_dtype()}")
