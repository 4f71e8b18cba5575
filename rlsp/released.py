"""The authors' released weights and frames: conversion to our state dict, and the check against their pixels.

The released TensorFlow checkpoints are *tensor bundles*: ``<prefix>.index`` is a table of names, shapes,
offsets and checksums [1]_ in the LevelDB table format [2]_, ``<prefix>.data-00000-of-00001`` the raw
little-endian arrays. Both are read here without TensorFlow, and nothing of them is executed or unpickled.

References
----------
.. [1] TensorFlow, ``tensorflow/core/protobuf/tensor_bundle.proto`` and
   ``tensorflow/core/util/tensor_bundle/tensor_bundle.cc``.
.. [2] LevelDB, ``doc/table_format.md``; TensorFlow's copy of it is ``tensorflow/core/lib/io/format.cc``.
"""

import csv
import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlsp.clips import read_png, replace_when_complete
from rlsp.errors import ConfigError, DataError
from rlsp.models import build_model
from rlsp.models.rlsp import RLSP
from rlsp.weights import save_weights

# Prefixes in the authors' folder evaluate/checkpoints; "rslp" is spelled so there.
CHECKPOINTS = {"7-48": "ckpt_rslp_48", "7-64": "ckpt_rlsp_64", "7-128": "ckpt_rlsp_128"}

SOURCE = "github.com/dariofuoli/RLSP at f59696c11b40b06db53d49cc97a422203879120b"
LICENCE = "CC BY-NC-SA 4.0, for academic research only"

TABLE_MAGIC = 0xDB4775248B80FB57  # [2], footer
FOOTER_BYTES = 48  # two block handles padded to 40 bytes, then the magic number
TRAILER_BYTES = 5  # after each block: compression type, masked CRC-32C
DATA_TYPES = {1: np.dtype("<f4")}  # types.proto: DT_FLOAT; the released checkpoints hold nothing else


# ---- checksums ---------------------------------------------------------------------------------


def _crc32c_table() -> list[int]:
    """Remainders of all bytes for the Castagnoli polynomial, reflected (RFC 3720, appendix B.4)."""
    table = list(range(256))
    for _ in range(8):
        table = [(value >> 1) ^ (0x82F63B78 if value & 1 else 0) for value in table]
    return table


def masked_crc32c(data: bytes) -> int:
    """CRC-32C of `data`, rotated and offset as LevelDB and TensorFlow store it (``util/crc32c.h``)."""
    table, crc = _crc32c_table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


# ---- protocol buffers and tables ---------------------------------------------------------------


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Decode a base-128 varint; return it and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a varint of more than 10 bytes")


def _read_fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of a protocol buffer message."""
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        kind = tag & 7
        if kind == 0:
            value, position = _read_varint(message, position)
        elif kind in (1, 2, 5):
            size, position = _read_varint(message, position) if kind == 2 else ({1: 8, 5: 4}[kind], position)
            value, position = _take(message, position, size), position + size
        else:
            raise ValueError(f"a protocol buffer field of unknown wire type {kind}")
        yield tag >> 3, value


def _take(data: bytes, start: int, size: int) -> bytes:
    """Cut `size` bytes out of `data`; fewer are an error."""
    if start < 0 or start + size > len(data):
        raise ValueError(f"{len(data)} bytes where {start + size} are needed")
    return data[start : start + size]


def _read_handle(data: bytes, position: int = 0) -> tuple[int, int, int]:
    """Decode a block handle: offset and size of the block, and the position after the handle."""
    offset, position = _read_varint(data, position)
    size, position = _read_varint(data, position)
    return offset, size, position


def _read_block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of one checked, uncompressed block of a table."""
    block = _take(table, offset, size)
    kind, checksum = struct.unpack("<BI", _take(table, offset + size, TRAILER_BYTES))
    if masked_crc32c(block + bytes([kind])) != checksum:
        raise ValueError(f"a wrong checksum of the block at byte {offset}")
    if kind != 0:
        raise ValueError(f"a block of compression type {kind} at byte {offset}")
    (restarts,) = struct.unpack("<I", block[-4:])
    end, position, key = size - 4 * (restarts + 1), 0, b""
    while position < end:
        shared, position = _read_varint(block, position)
        unshared, position = _read_varint(block, position)
        length, position = _read_varint(block, position)
        if shared > len(key) or position + unshared + length > end:
            raise ValueError(f"an entry that leaves the block at byte {offset}")
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + length]
        position += length


def _read_table(table: bytes) -> dict[str, bytes]:
    """All entries of a LevelDB table."""
    footer = _take(table, len(table) - FOOTER_BYTES, FOOTER_BYTES)
    (magic,) = struct.unpack("<Q", footer[-8:])
    if magic != TABLE_MAGIC:
        raise ValueError(f"the magic number {magic:#x} instead of {TABLE_MAGIC:#x}")
    meta_offset, meta_size, position = _read_handle(footer)
    offset, size, _ = _read_handle(footer, position)
    if list(_read_block(table, meta_offset, meta_size)):
        raise ValueError("entries in its metaindex block")
    entries = {}
    for _, handle in _read_block(table, offset, size):
        for key, value in _read_block(table, *_read_handle(handle)[:2]):
            entries[key.decode()] = value
    return entries


# ---- TensorFlow checkpoints --------------------------------------------------------------------


def read_checkpoint(prefix: Path) -> dict[str, np.ndarray]:
    """Read all arrays of a TensorFlow checkpoint, without TensorFlow.

    Parameters
    ----------
    prefix : Path
        What precedes ``.index`` and ``.data-00000-of-00001``.

    Returns
    -------
    dict
        Variable name -> float32 array, the optimizer's among them.

    Raises
    ------
    DataError
        A file is missing, truncated or damaged, or anything in the table does not fit the data.
    """
    prefix = Path(prefix)
    index_path, data_path = Path(f"{prefix}.index"), Path(f"{prefix}.data-00000-of-00001")
    try:
        index, data = index_path.read_bytes(), data_path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: expected a file of the checkpoint, but there is none") from None
    try:
        table = _read_table(index)
        _check_header(table.pop("", b""))  # the header has the empty key
        entries = {name: _parse_entry(value) for name, value in table.items()}
    except (ValueError, IndexError, struct.error) as error:
        raise DataError(f"{index_path}: expected the index of a TensorFlow checkpoint, got {error}") from None
    _check_extent(data_path, entries, len(data))
    return {name: _cut_array(data_path, name, entry, data) for name, entry in entries.items()}


def _check_header(header: bytes) -> None:
    """Check that a BundleHeaderProto names one little-endian data file."""
    fields = dict(_read_fields(header))
    if fields.get(1) != 1 or fields.get(2, 0) != 0:
        raise ValueError("a header that does not name one little-endian data file")


def _parse_entry(message: bytes) -> dict[str, Any]:
    """Fields of a BundleEntryProto; proto3 leaves out those that are 0."""
    fields = {"dtype": 0, "shape": (), "shard": 0, "offset": 0, "size": 0, "checksum": 0}
    for number, value in _read_fields(message):
        match number:
            case 1 | 3 | 4 | 5:
                fields[{1: "dtype", 3: "shard", 4: "offset", 5: "size"}[number]] = value
            case 2:  # TensorShapeProto: repeated dim = 2, each with its size = 1
                dims = [dict(_read_fields(dim)) for key, dim in _read_fields(value) if key == 2]
                fields["shape"] = tuple(dim.get(1, 0) for dim in dims)
            case 6:
                (fields["checksum"],) = struct.unpack("<I", value)
            case _:
                raise ValueError(f"an array with the unknown field {number}, such as a partitioned one")
    if fields["shard"] != 0:
        raise ValueError(f"an array in data file {fields['shard']} of one")
    return fields


def _check_extent(data_path: Path, entries: dict[str, dict], size: int) -> None:
    """Check that the arrays lie one behind the other and fill the data file exactly."""
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["offset"]):
        if entry["offset"] != position:
            raise DataError(f"{data_path}: {name}: expected at byte {position}, got byte {entry['offset']}")
        position += entry["size"]
        if position > size:
            raise DataError(f"{data_path}: {name}: expected to end at byte {position} of a file of {size}")
    if position != size:
        raise DataError(f"{data_path}: expected {position} bytes of arrays, got {size}")


def _cut_array(data_path: Path, name: str, entry: dict, data: bytes) -> np.ndarray:
    """Cut one array out of the data file, checking type, size and checksum."""
    dtype = DATA_TYPES.get(entry["dtype"])
    if dtype is None:
        raise DataError(f"{data_path}: {name}: expected float32 (data type 1), got type {entry['dtype']}")
    expected = math.prod(entry["shape"]) * dtype.itemsize
    if entry["size"] != expected:
        raise DataError(
            f"{data_path}: {name}: expected {expected} bytes for shape {entry['shape']}, got {entry['size']}"
        )
    content = data[entry["offset"] : entry["offset"] + entry["size"]]
    checksum = masked_crc32c(content)
    if checksum != entry["checksum"]:
        raise DataError(
            f"{data_path}: {name}: expected checksum {entry['checksum']:#010x}, got {checksum:#010x}"
        )
    return np.frombuffer(content, dtype).reshape(entry["shape"])


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
        Checkpoint, such as ``ckpt_rlsp_64`` (see :data:`CHECKPOINTS`).
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
        The checkpoint is damaged, or an array of the model is missing or has another shape, or there is one
        more than the model has.
    """
    model = _build_rlsp(spec, output="y")
    arrays = read_checkpoint(prefix)
    _check_arrays(Path(f"{prefix}.index"), arrays, _checkpoint_shapes(model))
    model.load_state_dict(_from_tensorflow(model, arrays))
    metadata = {"model": spec, "degradation": degradation, "source": source, "licence": licence}
    save_weights(Path(weights_path), model, metadata)


def checkpoint_facts(name: str) -> dict[str, Any]:
    """Say where a released checkpoint lies and what it holds.

    Parameters
    ----------
    name : str
        Name in the paper, one of :data:`CHECKPOINTS`, such as ``"7-64"``.

    Returns
    -------
    dict
        ``download`` (name of the catalogue entry), ``prefix`` (below the download's folder), and ``spec``,
        ``source`` and ``licence`` as :func:`convert_checkpoint` takes them.

    Raises
    ------
    ConfigError
        There is no such checkpoint.
    """
    if name not in CHECKPOINTS:
        raise ConfigError(f"weights: expected one of {', '.join(CHECKPOINTS)} after released:, got {name!r}")
    layers, filters = (int(number) for number in name.split("-"))
    return {
        "download": "rlsp-checkpoints",
        "prefix": f"evaluate/checkpoints/{CHECKPOINTS[name]}",
        "spec": {"arch": "rlsp", "layers": layers, "filters": filters, "output": "y"},
        "source": SOURCE,
        "licence": LICENCE,
    }


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
    for name, shape in shapes.items():
        if name not in arrays:
            raise DataError(f"{path}: {name}: expected an array of shape {shape}, but there is none")
        if tuple(arrays[name].shape) != shape:
            raise DataError(f"{path}: {name}: expected shape {shape}, got {tuple(arrays[name].shape)}")
    for name in sorted(set(arrays) - set(shapes)):
        variable, _, slot = name.rpartition("/")
        is_adam = slot in ("Adam", "Adam_1") and variable in shapes or name in ("beta1_power", "beta2_power")
        if not is_adam:
            raise DataError(f"{path}: {name}: expected no such array in this model")


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


def convert_pytorch_state(state: Mapping[str, Tensor], spec: dict[str, Any]) -> dict[str, Tensor]:
    """Convert a state dict of the released PyTorch module (``pytorch/rlsp.py``, RGB output) into ours.

    Its inputs and its joint last layer are ordered as ours, so this only renames.

    Parameters
    ----------
    state : mapping
        ``conv1``, ``conv_list.<i>`` and ``conv_out``, each with weight and bias.
    spec : dict
        Model of the state, with ``"output": "rgb"``.

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
    _check_arrays(Path("released PyTorch state"), state, shapes)
    return {name: state[theirs[name]] for name in theirs}


# ---- the authors' pixels -----------------------------------------------------------------------


def check_exactness(
    restored_manifest: Path,
    released_manifest: Path,
    report_path: Path,
    *,
    max_difference: int = 1,
    max_share: float = 1e-4,
    full_frames: Mapping[str, int] | None = None,
) -> None:
    """Compare the luma pictures that converted weights make with those that the authors released.

    The last frame of a clip cut short has no right neighbour, while the authors' had one; it is left out.

    Parameters
    ----------
    restored_manifest, released_manifest : Path
        Manifests of restored frames, with 8-bit ``y`` pictures of the same clips.
    report_path : Path
        CSV to write: clip, frame, max_difference (grey levels), differing_pixels, pixels. It is there also
        when the check fails.
    max_difference : int
        Largest difference allowed, in grey levels.
    max_share : float
        Largest share of differing pixels allowed in a clip.
    full_frames : mapping, optional
        Number of frames of each uncut clip. A clip is taken as cut when it has fewer frames than this, or
        than the other manifest has.

    Raises
    ------
    DataError
        A frame or a clip differs by more, or the manifests do not hold comparable pictures.
    """
    rows = []
    pairs = _pair_frames(Path(restored_manifest), Path(released_manifest), full_frames or {})
    for clip, frame, restored_path, released_path in pairs:
        restored, released = read_png(restored_path), read_png(released_path)
        if restored.shape != released.shape:
            raise DataError(f"{restored_path}: expected shape {released.shape}, got {restored.shape}")
        difference = np.abs(restored.astype(np.int16) - released)
        rows.append((clip, frame, int(difference.max()), int((difference > 0).sum()), difference.size))
    with replace_when_complete(Path(report_path)) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["clip", "frame", "max_difference", "differing_pixels", "pixels"])
        writer.writerows(rows)
    for clip in dict.fromkeys(row[0] for row in rows):
        of_clip = [row for row in rows if row[0] == clip]
        _, frame, largest, differing, pixels = max(of_clip, key=lambda row: row[2:4])
        share = sum(row[3] for row in of_clip) / sum(row[4] for row in of_clip)
        if largest > max_difference or share > max_share:
            raise DataError(
                f"{report_path}: clip {clip}: expected at most {max_difference} grey level(s) off the "
                f"released frames, in at most {max_share:g} of the pixels, got {largest} in frame {frame} "
                f"({differing} of {pixels} pixels differ) and {share:.2g} in the clip"
            )


def _pair_frames(
    restored_path: Path, released_path: Path, full_frames: Mapping[str, int]
) -> list[tuple[str, int, Path, Path]]:
    """Clip, frame number and both files of every frame to compare."""
    restored, released = _read_luma_paths(restored_path), _read_luma_paths(released_path)
    if sorted(restored) != sorted(released):
        raise DataError(f"{restored_path}: expected the clips {sorted(released)}, got {sorted(restored)}")
    pairs = []
    for clip in restored:
        ours, theirs = restored[clip], released[clip]
        n = min(len(ours), len(theirs))
        is_cut = n < max(len(ours), len(theirs), full_frames.get(clip, 0))
        count = n - 1 if is_cut else n
        if count < 1:
            raise DataError(
                f"{restored_path}: clip {clip}: expected at least 2 frames of a cut clip, got {n}"
            )
        pairs += [(clip, t, ours[t], theirs[t]) for t in range(count)]
    return pairs


def _read_luma_paths(manifest_path: Path) -> dict[str, list[Path]]:
    """Luma pictures of each clip of a manifest of restored frames."""
    try:
        clips = json.loads(manifest_path.read_text(encoding="utf-8"))["clips"]
        paths = {clip: entry["y"] for clip, entry in clips.items()}
    except FileNotFoundError:
        raise DataError(f"{manifest_path}: expected a manifest of frames, but there is none") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{manifest_path}: expected a manifest of restored frames, got: {error!r}") from None
    for clip, files in paths.items():
        if not files:
            raise DataError(f"{manifest_path}: clip {clip}: expected luma pictures, got none")
    return {clip: [manifest_path.parent / file for file in files] for clip, files in paths.items()}
