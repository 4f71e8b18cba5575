"""Weights on disk: safetensors with one metadata key, so that equal weights are equal bytes."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rlsp.config.specs.degradations import Degradation, parse_degradation
from rlsp.config.specs.fields import Text, quoted
from rlsp.config.specs.models import BUILT, parse_model
from rlsp.errors import ConfigError, DataError
from rlsp.files import replace_when_complete, special_kind
from rlsp.models import build_model
from rlsp.models.base import VideoModel
from rlsp.models.formats import CONVERTED, PICKLE, UNKNOWN, describe_file

METADATA_KEY = "rlsp"  # one key of sorted JSON: safetensors writes several keys in random order
MOST_HEADER_BYTES = 4_000_000  # a DUF of 1,000 layers, the most that a spec allows, has 0.8 MB
FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
CONVERT = "rlsp convert FILE OUT.safetensors --model NAME --degradation NAME"


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
    other would let a file from elsewhere run code. What it names is compared with its tensors before any of them,
    or the model, takes memory.

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
        The file is missing, damaged or of another kind; its metadata have a wrong key or value; a tensor is missing,
        superfluous, of another shape or type, or holds what is no finite number.
    """
    path = Path(path)
    check_container(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = _read_metadata(path, file.metadata() or {}, trusted_arch)
            expected = _tensors_of(path, metadata["model"])
            names = list(file.keys())
            if expected is not None:
                check_shapes(path, {name: file.get_slice(name).get_shape() for name in names}, expected)
            found = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise DataError(f"{path}: damaged: {_one_line(error)}") from None
    model = _built(path, metadata["model"])
    fill_model(path, model, found)
    return model.eval(), metadata


# ---- the file ----------------------------------------------------------------------------------


def check_container(path: Path) -> None:
    """Refuse what is no safetensors file, or one whose header takes too much memory to read.

    Raises
    ------
    DataError
        Names what the file is, and if it can be converted how.
    """
    try:
        if kind := special_kind(path):
            raise DataError(f"{path}: expected a .safetensors file, got a {kind}")
        size, header = path.stat().st_size, b""
        with open(path, "rb") as file:
            head = file.read(9)
            length = struct.unpack("<Q", head[:8])[0] if head[8:] == b"{" else None
            is_whole = length is not None and length <= size - 8
            if is_whole and length <= MOST_HEADER_BYTES:
                header = file.read(length - 1)
        found = UNKNOWN if is_whole else describe_file(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such weights; train or download them first") from None
    except (OSError, ValueError) as error:  # ValueError: of a null byte in the path
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if length is None or found not in (UNKNOWN, PICKLE):  # the length of a header may begin as a pickle does
        how = f"; convert it with: {CONVERT}" if found in CONVERTED else ""
        raise DataError(f"{path}: expected weights written by rlsp, got {found}{how}")
    if not is_whole:
        raise DataError(f"{path}: damaged: expected a header of {length} bytes, the file ends after {size}")
    if length > MOST_HEADER_BYTES:
        raise DataError(f"{path}: expected a header of at most {MOST_HEADER_BYTES} bytes, got {length}")
    _parse_json(path, "header", b"{" + header)


def _parse_json(path: Path, what: str, text: str | bytes) -> Any:
    """Parse JSON from elsewhere: no key twice, and no deeper than Python can follow."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key, value in pairs:
            if key in content:
                raise DataError(f"{path}: {what}: key {quoted(key)} given twice")
            content[key] = value
        return content

    try:
        return json.loads(text, object_pairs_hook=once)
    except ValueError as error:
        raise DataError(f"{path}: {what}: expected JSON, got: {_one_line(error)}") from None
    except RecursionError:
        raise DataError(f"{path}: {what}: expected a few maps inside each other, got too many") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


# ---- what it says of itself --------------------------------------------------------------------


def _read_metadata(path: Path, metadata: Mapping[str, str], trusted_arch: str | None) -> dict[str, Any]:
    """Read and check what a file says of its model, its input, its source and its licence."""
    if METADATA_KEY not in metadata:
        raise DataError(
            f"{path}: expected weights written by rlsp, got safetensors without the metadata {METADATA_KEY!r}; "
            f"convert them with: {CONVERT}"
        )
    content = _parse_json(path, "metadata", metadata[METADATA_KEY])
    if not isinstance(content, dict):
        raise DataError(f"{path}: metadata: expected an object, got {quoted(content)}")
    for key in ("model", "degradation"):
        if not isinstance(content.get(key, {}), dict):
            raise DataError(f"{path}: metadata: {key}: expected an object, got {quoted(content[key])}")
    if "model" not in content:
        raise DataError(f"{path}: metadata: model: missing")
    arch = content["model"].get("arch")
    if not isinstance(arch, str) or (arch not in BUILT and ":" not in arch):
        raise DataError(
            f"{path}: metadata: model.arch: expected one of {', '.join(BUILT)}, got {quoted(arch)}"
        )
    if arch not in BUILT and arch != trusted_arch:
        raise DataError(f"{path}: names the class {quoted(arch)}, which the study does not; not built")
    for key in ("licence", "source"):
        if content.get(key) is not None:
            try:
                Text().check(content[key])
            except ValueError as error:
                raise DataError(f"{path}: metadata: {key}: {error}") from None
    try:
        _check_specs(content)
    except ConfigError as error:
        raise DataError(f"{path}: metadata: {error}") from None
    return content


def _check_specs(metadata: dict[str, Any]) -> None:
    """Refuse a model or an input with a wrong key or value, or with scales that differ."""
    scale = parse_model(metadata["model"]).scale
    if "degradation" not in metadata:
        return
    spec = parse_degradation(metadata["degradation"])
    if spec.scale != scale:
        raise ConfigError(f"degradation.scale: expected {scale}, that of the model, got {spec.scale}")
    if spec.first_pixel >= scale:
        raise ConfigError(f"degradation: expected a phase below the scale {scale}, got {spec.first_pixel:g}")


def expected_input(path: Path, metadata: dict[str, Any]) -> Degradation:
    """Return the degradation that weights were trained for.

    Raises
    ------
    DataError
        They do not say.
    """
    if "degradation" not in metadata:
        raise DataError(
            f"{path}: metadata: degradation: missing; expected weights that say what input they expect"
        )
    return parse_degradation(metadata["degradation"])


# ---- its tensors -------------------------------------------------------------------------------


def _built(path: Path, spec: dict[str, Any]) -> VideoModel:
    try:
        return build_model(spec)
    except ConfigError as error:
        raise DataError(f"{path}: metadata: {error}") from None


def _tensors_of(path: Path, spec: dict[str, Any]) -> dict[str, tuple[int, ...]] | None:
    """List names and shapes of a model's tensors, for which none takes memory; None of a class that cannot tell."""
    try:
        with torch.device("meta"):
            model = _built(path, spec)
    except Exception:
        if spec["arch"] in BUILT:
            raise
        return None  # a class of the user's own that needs numbers while it is built
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def check_shapes(path: Path | str, found: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse tensors that are not those of a model.

    Parameters
    ----------
    path : Path or str
        Where they come from.
    found, expected : mapping of str to sequence of int
        Shapes by name.

    Raises
    ------
    DataError
        One is missing, superfluous or of another shape.
    """
    for name, shape in expected.items():
        if name not in found:
            raise DataError(f"{path}: {name}: expected an array of shape {shape}, but there is none")
        if tuple(found[name]) != shape:
            raise DataError(f"{path}: {name}: expected shape {shape}, got {tuple(found[name])}")
    for name in sorted(set(found) - set(expected)):
        raise DataError(f"{path}: {quoted(name)[1:-1]}: expected no such array in this model")


def fill_model(path: Path | str, model: VideoModel, tensors: Mapping[str, Tensor]) -> None:
    """Set a model's weights to tensors of its own names.

    Parameters
    ----------
    path : Path or str
        Where they come from.
    model : VideoModel
        Changed in place.
    tensors : mapping of str to Tensor
        Of the model's shapes; in another floating-point type where its own holds every number exactly, as float32
        holds those of float16 and bfloat16.

    Raises
    ------
    DataError
        One is missing, superfluous, of another shape or type, or holds what is no finite number.
    """
    wanted = model.state_dict()
    check_shapes(
        path,
        {name: tensor.shape for name, tensor in tensors.items()},
        {name: tuple(tensor.shape) for name, tensor in wanted.items()},
    )
    for name, tensor in tensors.items():
        dtype = wanted[name].dtype
        is_float = {tensor.dtype, dtype} <= FLOATS
        types = [str(kind).removeprefix("torch.") for kind in (dtype, tensor.dtype)]
        if tensor.dtype != dtype and not is_float:
            raise DataError(f"{path}: {name}: expected {types[0]}, got {types[1]}")
        if is_float and (bad := int((~tensor.isfinite()).sum())):
            raise DataError(
                f"{path}: {name}: expected finite numbers, got {bad} of {tensor.numel()} that are nan or inf"
            )
        if is_float and not torch.equal(tensor.to(dtype).to(tensor.dtype), tensor):
            raise DataError(
                f"{path}: {name}: expected {types[0]}, got {types[1]} that it does not hold exactly"
            )
    model.load_state_dict(dict(tensors))
