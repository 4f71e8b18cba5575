"""TensorFlow checkpoints read without TensorFlow.

TensorFlow calls them *tensor bundles*: ``<prefix>.index`` is a table of names, shapes,
offsets and checksums [1]_ in the LevelDB table format [2]_, ``<prefix>.data-00000-of-00001`` the raw
little-endian arrays. Both are read here without TensorFlow, and nothing of them is executed or unpickled.

References
----------
.. [1] TensorFlow, ``tensorflow/core/protobuf/tensor_bundle.proto`` and
   ``tensorflow/core/util/tensor_bundle/tensor_bundle.cc``.
.. [2] LevelDB, ``doc/table_format.md``; TensorFlow's copy of it is ``tensorflow/core/lib/io/format.cc``.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rlsp.errors import DataError

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
    except (ValueError, TypeError, IndexError, struct.error) as error:
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
