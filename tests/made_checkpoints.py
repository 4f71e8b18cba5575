"""A small writer of TensorFlow checkpoints."""

import os
import struct
from pathlib import Path

import numpy as np


def slow_masked_crc(data):
    """CRC-32C bit by bit, independent of the table in rlsp.released.conversion."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32


def varint(value):
    encoded = b""
    while value > 127:
        encoded, value = encoded + bytes([value & 127 | 128]), value >> 7
    return encoded + bytes([value])


def number(field, value):
    return varint(field << 3) + varint(value) if value else b""


def message(field, content):
    return varint(field << 3 | 2) + varint(len(content)) + content


def block(entries, restart_every=16):
    content, restarts, previous = b"", [], b""
    for i, (key, value) in enumerate(entries):
        shared = len(os.path.commonprefix([previous, key])) if i % restart_every else 0
        if not i % restart_every:
            restarts.append(len(content))
        content += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        previous = key
    restarts = restarts or [0]
    content += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
    return content + b"\0" + struct.pack("<I", slow_masked_crc(content + b"\0"))


def entry(array, offset, checksum):
    shape = b"".join(message(2, number(1, size)) for size in array.shape)
    fields = number(1, 1) + message(2, shape) + number(4, offset) + number(5, array.nbytes)
    return fields + varint(6 << 3 | 5) + struct.pack("<I", checksum)


def write_checkpoint(prefix, arrays):
    """Write float32 arrays as a tensor bundle of two table blocks."""
    data, entries = b"", [(b"", number(1, 1) + message(3, number(1, 1)))]
    for name in sorted(arrays):
        array = np.asarray(arrays[name], "<f4")
        entries.append((name.encode(), entry(array, len(data), slow_masked_crc(array.tobytes()))))
        data += array.tobytes()
    table, handles = b"", []
    for part in (entries[:5], entries[5:]):
        content = block(part)
        handles.append((part[-1][0], varint(len(table)) + varint(len(content) - 5)))
        table += content
    footer = b""
    for content in (block([]), block(handles)):  # metaindex, index
        footer += varint(len(table)) + varint(len(content) - 5)
        table += content
    table += footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    Path(f"{prefix}.index").write_bytes(table)
    Path(f"{prefix}.data-00000-of-00001").write_bytes(data)


def made_arrays(layers=3, filters=4):
    random = np.random.default_rng(0)
    shapes = [(9 + filters + 16, filters)] + [(filters, filters)] * (layers - 1) + [(filters, 16)]
    arrays = {"beta1_power": np.float32(0.5), "beta2_power": np.float32(0.25)}
    for i, shape in enumerate(shapes):
        for slot in ("", "/Adam", "/Adam_1"):
            arrays[f"layer{i}/kernel{slot}"] = random.normal(0, 0.1, (3, 3, *shape)).astype(np.float32)
            arrays[f"layer{i}/bias{slot}"] = random.normal(0, 5, shape[1]).astype(np.float32)
    return arrays
