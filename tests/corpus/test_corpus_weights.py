"""Files that are given as weights: each is used, or refused in one line that says what it is and what is wrong."""

import io
import json
import math
import os
import pickle
import socket
import struct
import zipfile
from functools import cache

import numpy as np
import pytest
import torch
from cases import Case, names, run
from made_checkpoints import made_arrays, write_checkpoint
from made_degradations import BICUBIC, GAUSSIAN
from PIL import Image
from safetensors.torch import save, save_file
from torch import nn

from rlsp.data.clips import pack_clip
from rlsp.data.images import write_png
from rlsp.files import write_json
from rlsp.inference.restoration import restore_run
from rlsp.models import build_model
from rlsp.models.weights import load_weights
from rlsp.training.warm_start import start_from

MODEL = {"arch": "rlsp", "layers": 3, "filters": 4}
METADATA = {"model": MODEL, "degradation": BICUBIC}
STUDY = """
study: mine
extends: demo
models:
  tiny: {arch: rlsp, layers: 3, filters: 4}
  tiny-rgb: {arch: rlsp, layers: 3, filters: 4, output: rgb}
"""


@cache
def state(output="y"):
    """Tensors of the small model, the same each time."""
    torch.manual_seed(0)
    return build_model(MODEL | {"output": output}).state_dict()


def text_of(metadata):
    return metadata if isinstance(metadata, str) else json.dumps(metadata)


def content(metadata=METADATA, tensors=None, **further):
    """Bytes of a weights file."""
    return save({**state(), **(tensors or {})}, {"rlsp": text_of(metadata), **further})


def safetensors(header, data=b"", length=None):
    """Bytes of a file with any header."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def upscaled(make):
    """Upscale one small picture with what `make` writes (bytes, or a function of the file's path)."""

    def act(folder):
        path = folder / "model.safetensors"
        found = make(path) if callable(make) else make
        if isinstance(found, bytes):
            path.write_bytes(found)
        return upscale_words(folder, found if isinstance(found, str) else path)

    return act


def upscale_words(folder, weights):
    write_png(folder / "in" / "0.png", np.full((8, 8, 3), 90, np.uint8))
    return ["upscale", str(folder / "in"), str(folder / "out"), "--weights", str(weights), "--device", "cpu"]


def is_written(folder, _):
    assert len(list((folder / "out").iterdir())) == 1


def loads(make):
    """Load what `make` writes."""

    def act(folder):
        (folder / "model.safetensors").write_bytes(make)
        return load_weights(folder / "model.safetensors")

    return act


# ---- what is no weights file -------------------------------------------------------------------


def torch_file(value, **options):
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return buffer.getvalue()


def numpy_file(write):
    buffer = io.BytesIO()
    write(buffer, np.zeros(3))
    return buffer.getvalue()


class Whole(nn.Module):
    """A module that is pickled whole, with its class."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1)


def picture(kind):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, kind)
    return buffer.getvalue()


CONVERT = "convert it with: rlsp convert FILE OUT.safetensors"
OTHERS = {
    "empty": (b"", "got an empty file$"),
    "one byte": (b"x", "got text$"),
    "text": (b"these are no weights\n" * 3, "got text$"),
    "umlauts": ("Gewichte für später ".encode() * 40, "got text$"),
    "JSON": (json.dumps(METADATA).encode(), "got text$"),
    "JSON whose ninth byte is a brace": (b'{"abcd":{"x": 1}}', "got text$"),
    "a web page": (b"<!DOCTYPE html>\n<html><body>Not found", "got a web page"),
    "a pointer of Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "Git LFS .*git lfs pull",
    ),
    "noise": (bytes(range(128, 256)), "got something else|got a pickle"),
    "zeros": (bytes(1000), "got something else"),
    "PNG": (picture("png"), "got a PNG picture$"),
    "JPEG": (picture("jpeg"), "got a JPEG picture$"),
    "mp4": (b"\0\0\0\x20ftypisom" + bytes(100), "got a video$"),
    "mkv": (b"\x1aE\xdf\xa3" + bytes(100), "got a Matroska video$"),
    "gzip": (b"\x1f\x8b\x08" + bytes(100), "got a gzip archive$"),
    "tar": (bytes(257) + b"ustar" + bytes(300), "got a tar archive$"),
    "zip": (zipped(a_dot_txt="x"), "got a zip archive$"),
    "empty zip": (zipped(), "got a zip archive$"),
    "half a zip": (zipped(a_dot_txt="x" * 1000)[:500], "got a damaged zip archive$"),
    "npy": (numpy_file(np.save), "got a NumPy array$"),
    "npz": (numpy_file(np.savez), r"got NumPy arrays \(.npz\)$"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "got an HDF5 file"),
    "Keras": (zipped(model_dot_weights_dot_h5="x"), "got a Keras model$"),
    "GGUF": (b"GGUF\x03\0\0\0" + bytes(100), "got a GGUF file$"),
    "pickle": (pickle.dumps({"a": 1}), "got a pickle$"),
    "PyTorch": (torch_file(state()), f"got a PyTorch checkpoint; {CONVERT}"),
    "PyTorch before 1.6": (
        torch_file(state(), _use_new_zipfile_serialization=False),
        f"got a PyTorch checkpoint; {CONVERT}",
    ),
    "half of a PyTorch file": (torch_file(state())[:2000], "got a damaged zip archive$"),
    "a trainer's checkpoint": (torch_file({"state_dict": state(), "epoch": 1}), "got a PyTorch checkpoint"),
    "a whole module": (torch_file(Whole()), "got a PyTorch checkpoint"),
    "TorchScript": (
        zipped(m__data_dot_pkl="x", m__constants_dot_pkl="x"),
        "got a TorchScript module$",
    ),
    "the list of checkpoints": (
        b'model_checkpoint_path: "ckpt-1"\n',
        "got the list of a folder's TensorFlow",
    ),
}


def as_other(name):
    """Write the small model under a name that says what it is."""

    def act(folder):
        (folder / name).write_bytes(b"\x08\x07\x12\x07pytorch" if name.endswith(".onnx") else bytes(100))
        return upscale_words(folder, folder / name)

    return act


def tensorflow(name):
    def act(folder):
        write_checkpoint(folder / "model.ckpt", made_arrays())
        (folder / "model.ckpt.meta").write_bytes(b"\n\x05graph")
        return upscale_words(folder, folder / name)

    return act


def special(make):
    def act(folder):
        make(folder / "model.safetensors")
        return upscale_words(folder, folder / "model.safetensors")

    return act


def listening(path):
    with socket.socket(socket.AF_UNIX) as server:
        before = os.getcwd()
        os.chdir(path.parent)  # the name of a socket is short
        try:
            server.bind(path.name)
        finally:
            os.chdir(before)


def link_in_a_circle(path):
    path.symlink_to(path.name)


def sparse(path):
    """Make a file of 1 TB, of which the disk keeps nothing."""
    path.touch()
    os.truncate(path, 2**40)


PLACES = [
    Case("1 TB of zeros", special(sparse), "got something else"),
    Case("nothing named", lambda folder: upscale_words(folder, ""), "weights: expected .* got ''"),
    Case("a folder", special(lambda path: path.mkdir()), "expected a .safetensors file, got a folder"),
    Case("a pipe", special(os.mkfifo), "expected a .safetensors file, got a pipe"),
    Case("a socket", special(listening), "expected a .safetensors file, got a socket"),
    Case("a link to itself", special(link_in_a_circle), "model.safetensors: cannot be read: "),
    Case("a link to nothing", special(lambda path: path.symlink_to("gone")), "no such weights"),
    Case(
        "a missing file", lambda folder: upscale_words(folder, folder / "none.safetensors"), "no such weights"
    ),
    Case(
        "a missing folder",
        lambda folder: upscale_words(folder, folder / "a/b.safetensors"),
        "no such weights",
    ),
    Case(
        "a name that is too long",
        lambda folder: upscale_words(folder, folder / ("x" * 300)),
        "cannot be read: ",
    ),
    Case(
        "below a file",
        lambda folder: upscale_words(folder, folder / "in/0.png/w"),
        "cannot be read: Not a dir",
    ),
    *(
        Case(f"the device {name}", lambda folder, name=name: upscale_words(folder, name), "got a device")
        for name in ("/dev/zero", "/dev/null", "/dev/urandom")
    ),
    *(
        Case(
            f"released:{name[:20]}",
            lambda folder, name=name: upscale_words(folder, f"released:{name}"),
            "weights: expected one of 7-48, 7-64, 7-128 after released:, got",
        )
        for name in (
            "",
            "7-63",
            "rlsp-7-64",
            "7-64.safetensors",
            "../7-64",
            "7/64",
            "7-64 ",
            "x" * 1000,
            "٧-64",
        )
    ),
    Case(
        "Released:7-64",
        lambda folder: upscale_words(folder, "Released:7-64"),
        "Released:7-64: no such weights",
    ),
    *(
        Case(f"TensorFlow: {name}", tensorflow(name), f"got a TensorFlow checkpoint; {CONVERT}")
        for name in ("model.ckpt.index", "model.ckpt.data-00000-of-00001", "model.ckpt.meta")
    ),
    Case("TensorFlow: the prefix", tensorflow("model.ckpt"), "no such weights"),
    *(
        Case(name, as_other(name), f"{name}: expected weights written by rlsp, got {found}")
        for name, found in (
            ("m.onnx", "an ONNX model"),
            ("m.pb", "a TensorFlow graph"),
            ("m.tflite", "a TensorFlow Lite model"),
            ("M.ONNX", "an ONNX model"),
        )
    ),
    *(
        Case(f"no weights: {name}", upscaled(data), f"model.safetensors: .*{line}")
        for name, (data, line) in OTHERS.items()
    ),
]

# ---- headers -----------------------------------------------------------------------------------

DATA = bytes(24)


def entry(shape=(2, 3), offsets=(0, 24), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


TOLD = {"__metadata__": {"rlsp": json.dumps(METADATA)}}
HEADERS = {
    "a huge header length": (
        safetensors({}, length=2**63),
        "damaged: expected a header of 9223372036854775808 bytes",
    ),
    "the largest header length": (safetensors({}, length=2**64 - 1), "damaged: expected a header of"),
    "a header longer than the file": (
        safetensors({"a": entry()}, length=10**6),
        "damaged: expected a header of",
    ),
    "a header of 0 bytes": (safetensors(b""), "got something else"),
    "a header of 100 MB": (
        safetensors(b'{"a":"' + b"x" * 100_000_000 + b'"}'),
        "expected a header of at most 4000000 bytes, got 1000",
    ),
    "a header of 5 MB of spaces": (
        safetensors(b"{" + b" " * 5_000_000 + b"}"),
        "expected a header of at most",
    ),
    "a header that is no JSON": (safetensors(b"{no JSON at all}"), "header: expected JSON, got"),
    "a header cut off": (safetensors(b'{"a": {"dtype": "F32"'), "header: expected JSON, got"),
    "a header that is not UTF-8": (safetensors(b'{"\xff": 1}'), "header: expected JSON, got"),
    "a header of deep lists": (
        safetensors(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"),
        "header: expected a few maps",
    ),
    "a tensor given twice": (
        safetensors(
            b'{"a":{"dtype":"F32","shape":[6],"data_offsets":[0,24]},"a":{"dtype":"F32","shape":[2,3],'
            b'"data_offsets":[0,24]}}',
            DATA,
        ),
        "header: key 'a' given twice",
    ),
    "metadata given twice": (
        safetensors(
            b'{"__metadata__":{"rlsp":"{}","rlsp":"{}"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":'
            b"[0,24]}}",
            DATA,
        ),
        "header: key 'rlsp' given twice",
    ),
    "metadata that are a number": (
        safetensors({"__metadata__": {"rlsp": 1}, "a": entry()}, DATA),
        "damaged: .*string",
    ),
    "overlapping tensors": (safetensors(TOLD | {"a": entry(), "b": entry()}, DATA), "damaged: .*offset"),
    "a gap between tensors": (
        safetensors(TOLD | {"a": entry(), "b": entry(offsets=(30, 54))}, bytes(54)),
        "damaged: ",
    ),
    "offsets that go backwards": (safetensors(TOLD | {"a": entry(offsets=(24, 0))}, DATA), "damaged: "),
    "offsets beyond the file": (safetensors(TOLD | {"a": entry(offsets=(0, 2**40))}, DATA), "damaged: "),
    "data cut off": (content()[:-50], "damaged: .*incomplete"),
    "one byte too few": (content()[:-1], "damaged: .*incomplete"),
    "one byte too many": (content() + b"\0", "damaged: .*incomplete"),
    "half of the file": (content()[: len(content()) // 2], "damaged: "),
    "only the header": (content()[: 8 + struct.unpack("<Q", content()[:8])[0]], "damaged: "),
    "the first 100 bytes": (content()[:100], "damaged: expected a header of"),
    "a negative side": (safetensors(TOLD | {"a": entry((2, -3))}, DATA), "damaged: "),
    "sides that overflow": (safetensors(TOLD | {"a": entry((2**62, 2**62))}, DATA), "damaged: .*overflow"),
    "a side that is text": (safetensors(TOLD | {"a": entry(("2", 3))}, DATA), "damaged: "),
    "an unknown type": (safetensors(TOLD | {"a": entry(dtype="X9")}, DATA), "damaged: "),
    "a type of another size": (safetensors(TOLD | {"a": entry(dtype="F64")}, DATA), "damaged: "),
    "no tensors": (
        safetensors(TOLD),
        "body.0.weight: expected an array of shape .4, 29, 3, 3., but there is none",
    ),
    "a list as header": (safetensors([1]), "expected weights written by rlsp, got something else"),
}

# ---- metadata ----------------------------------------------------------------------------------


def of_model(**changes):
    return METADATA | {"model": MODEL | changes}


def of_input(**changes):
    return METADATA | {"degradation": GAUSSIAN | changes}


def without(metadata, key):
    return {name: value for name, value in metadata.items() if name != key}


def nested(levels):
    return '{"model": ' + "[" * levels + "]" * levels + "}"


NUMBERS = (math.nan, math.inf, -math.inf, -1, 0)
MODEL_VALUES = {
    "input_range": [*NUMBERS, 1e39, "255", None, [], True],
    "layers": [*NUMBERS, 1, 7.5, 10**12, "7", None, [7], {}, False],
    "filters": [*NUMBERS, 1.5, 10**9, "64", None, [64]],
    "scale": [*NUMBERS, 17, "4", None],
    "output": ["Y", "", None, 1, ["y"]],
    "adjacent": ["yes", 1, None],
    "residual": [0, "false"],
    "arch": ["RLSP", "rlsp2", "", None, 7, ["rlsp"], {}, True],
    "colour": ["blue"],
}
INPUT_VALUES = {
    "kind": ["gauss", "", None, 7, [], {}],
    "sigma": [*NUMBERS, 1e9, "1.5", None],
    "phase": [math.nan, math.inf, -1, 1e9, 0.5, 4, "0", None],
    "scale": [math.nan, -4, 0, 17, 2, 3, "4", None],
    "rounding": ["round", None],
    "boundary": ["zero", 0],
    "blur": [1],
}
ODD = {
    "null": "null",
    "a word": '"a"',
    "a number": "-8",
    "a list": "[]",
    "true": "true",
    "NaN": "NaN",
}
METADATA_CASES = [
    *(
        Case(
            f"metadata: model.{key} {value!r}",
            upscaled(content(of_model(**{key: value}))),
            rf"metadata: .*{key}.*(expected|missing|unknown key)",
        )
        for key, values in MODEL_VALUES.items()
        for value in values
    ),
    *(
        Case(
            f"metadata: degradation.{key} {value!r}",
            upscaled(content(of_input(**{key: value}))),
            r"metadata: degradation.*(expected|unknown key)",
        )
        for key, values in INPUT_VALUES.items()
        for value in values
    ),
    *(
        Case(
            f"metadata: degradation without {key}",
            upscaled(content(METADATA | {"degradation": without(GAUSSIAN, key)})),
            f"metadata: degradation.*{key}",
        )
        for key in GAUSSIAN
    ),
    *(
        Case(f"metadata: {name}", upscaled(content(text)), "metadata: expected an object, got")
        for name, text in ODD.items()
    ),
    *(
        Case(
            f"metadata: model is {name}",
            upscaled(content(f'{{"model": {text}}}')),
            "metadata: model: expected an object",
        )
        for name, text in ODD.items()
    ),
    *(
        Case(
            f"metadata: degradation is {name}",
            upscaled(content(f'{{"model": {json.dumps(MODEL)}, "degradation": {text}}}')),
            "metadata: degradation: expected an object",
        )
        for name, text in ODD.items()
    ),
    *(
        Case(
            f"metadata: {key} is {value!r}",
            upscaled(content(METADATA | {key: value})),
            f"metadata: {key}: expected",
        )
        for key in ("licence", "source")
        for value in (7, ["MIT"], "two\nlines", "\x1b[31mred", "x" * 5000)
    ),
    Case("metadata: not JSON", upscaled(content("{model}")), "metadata: expected JSON, got"),
    Case("metadata: empty", upscaled(content("")), "metadata: expected JSON, got"),
    Case("metadata: cut off", upscaled(content(json.dumps(METADATA)[:-5])), "metadata: expected JSON, got"),
    Case("metadata: 900 levels", upscaled(content(nested(900))), "metadata: "),
    Case(
        "metadata: 100,000 levels",
        upscaled(content(nested(100_000))),
        "metadata: expected a few maps inside each other",
    ),
    Case(
        "metadata: a number of 10,000 digits",
        upscaled(content('{"model": {"layers": ' + "9" * 10_000 + "}}")),
        "metadata: expected JSON, got",
    ),
    Case(
        "metadata: a key twice",
        upscaled(content('{"model": {"arch": "rlsp", "arch": "duf"}}')),
        "key 'arch' given twice",
    ),
    Case("metadata: no model", upscaled(content({"degradation": BICUBIC})), "metadata: model: missing"),
    Case("metadata: no degradation", upscaled(content({"model": MODEL})), "say what input they expect"),
    Case("metadata: {}", upscaled(content({})), "metadata: model: missing"),
    Case(
        "metadata: class of another package",
        upscaled(content(of_model(arch="subprocess:Popen"))),
        "names the class 'subprocess:Popen', which the study does not; not built",
    ),
    Case(
        "metadata: class with a very long name",
        upscaled(content(of_model(arch="a:" + "b" * 9000))),
        "names the class",
    ),
    Case(
        "metadata: none of ours",
        upscaled(save(state(), {"format": "pt"})),
        "without the metadata 'rlsp'; convert them with",
    ),
    Case("metadata: none", upscaled(save(state())), "without the metadata 'rlsp'; convert them with"),
    Case(
        "metadata: another key's",
        upscaled(save(state(), {"RLSP": json.dumps(METADATA)})),
        "without the metadata 'rlsp'",
    ),
    Case(
        "metadata: further keys",
        upscaled(content(format="pt", author="me")),
        is_refused=False,
        check=is_written,
    ),
    Case(
        "metadata: a further fact",
        upscaled(content(METADATA | {"epoch": 3})),
        is_refused=False,
        check=is_written,
    ),
    Case(
        "metadata: a licence",
        upscaled(content(METADATA | {"licence": "CC BY"})),
        "licence CC BY",
        False,
        is_written,
    ),
    Case(
        "metadata: input range 1",
        upscaled(content(of_model(input_range=1))),
        is_refused=False,
        check=is_written,
    ),
]

# ---- tensors -----------------------------------------------------------------------------------


def holding(name, value, dtype=None):
    """Weights with one number in one tensor."""
    tensor = state()[name].clone()
    tensor = tensor.to(dtype) if dtype else tensor
    tensor.view(-1)[-1] = value
    return content(tensors={name: tensor})


def in_type(dtype, change=lambda tensor: tensor):
    return content(tensors={name: change(tensor).to(dtype) for name, tensor in state().items()})


def is_equal(dtype):
    def check(_, result):
        for name, tensor in result[0].state_dict().items():
            assert tensor.dtype == torch.float32 and torch.equal(tensor, state()[name].to(dtype).float()), (
                name
            )

    return check


def larger(**changes):
    """A small file that says it is of a large model."""
    return content(of_model(**changes))


TENSORS = [
    *(
        Case(
            f"{value} in {name}",
            upscaled(holding(name, value)),
            f"{name}: expected finite numbers, got 1 of .* nan or inf",
        )
        for name in state()
        for value in (math.nan, math.inf, -math.inf)
    ),
    *(
        Case(
            f"{value} in half precision",
            upscaled(holding("head.bias", value, torch.float16)),
            "head.bias: expected finite",
        )
        for value in (math.nan, math.inf)
    ),
    Case(
        "all nan",
        upscaled(content(tensors={"body.1.weight": torch.full((4, 4, 3, 3), math.nan)})),
        "got 144 of 144",
    ),
    *(
        Case(
            f"without {name}",
            upscaled(save({n: t for n, t in state().items() if n != name}, {"rlsp": json.dumps(METADATA)})),
            f"{name}: expected an array of shape",
        )
        for name in state()
    ),
    Case(
        "a tensor too many",
        upscaled(content(tensors={"body.2.weight": torch.zeros(4)})),
        "body.2.weight: expected no such",
    ),
    Case(
        "an optimizer's tensor",
        upscaled(content(tensors={"exp_avg.0": torch.zeros(4)})),
        "exp_avg.0: expected no such",
    ),
    Case(
        "a tensor with a name of 9,000 characters",
        upscaled(content(tensors={"x" * 9000: torch.zeros(1)})),
        "expected no such array",
    ),
    *(
        Case(
            f"body.1.weight of shape {shape}",
            upscaled(content(tensors={"body.1.weight": torch.zeros(shape)})),
            r"body.1.weight: expected shape \(4, 4, 3, 3\), got",
        )
        for shape in ((4, 4, 3), (4, 4, 5, 5), (4, 8, 3, 3), (144,), (0,), (), (4, 4, 3, 3, 1), (3, 3, 4, 4))
    ),
    *(
        Case(f"tensors of {name}", upscaled(in_type(dtype)), f"body.0.bias: expected float32, got {name}")
        for name, dtype in (
            ("int8", torch.int8),
            ("uint8", torch.uint8),
            ("int32", torch.int32),
            ("int64", torch.int64),
            ("bool", torch.bool),
            ("float8_e4m3fn", torch.float8_e4m3fn),
            ("complex64", torch.complex64),
        )
    ),
    *(
        Case(f"tensors of {name} are taken", loads(in_type(dtype)), is_refused=False, check=is_equal(dtype))
        for name, dtype in (
            ("float32", torch.float32),
            ("float16", torch.float16),
            ("bfloat16", torch.bfloat16),
            ("float64", torch.float64),
        )
    ),
    Case(
        "float64 that float32 rounds",
        upscaled(in_type(torch.float64, lambda tensor: tensor.double() / 3)),
        "expected float32, got float64 that it does not hold exactly",
    ),
    Case(
        "float64 that float32 does not reach",
        upscaled(holding("head.bias", 1e300, torch.float64)),
        "head.bias: expected float32, got float64 that it does not hold exactly",
    ),
    *(
        Case(
            f"says {key} {value}",
            upscaled(larger(**{key: value})),
            r"expected (an array of )?shape \(.*got|expected an array|expected no",
        )
        for key, value in (
            ("filters", 20_000),
            ("filters", 65_536),
            ("filters", 5),
            ("layers", 1000),
            ("layers", 4),
            ("layers", 2),
            ("output", "rgb"),
            ("state", False),
            ("feedback", False),
            ("adjacent", False),
        )
    ),
    Case(
        "says scale 2 of both",
        upscaled(content({"model": MODEL | {"scale": 2}, "degradation": BICUBIC | {"scale": 2}})),
        "body.0.weight: expected shape",
    ),
    Case(
        "says it is a large DUF",
        upscaled(content(METADATA | {"model": {"arch": "duf", "layers": 1000, "filters": 65_536}})),
        "expected an array of shape|expected shape",
    ),
    Case(
        "says it is a large FRVSR",
        upscaled(content(METADATA | {"model": {"arch": "frvsr", "blocks": 1000, "filters": 65_536}})),
        "expected an array of shape|expected shape",
    ),
    Case(
        "says it is bicubic",
        upscaled(content(METADATA | {"model": {"arch": "bicubic"}})),
        "expected no such array",
    ),
]

# ---- in a study --------------------------------------------------------------------------------


def restored(make, degradation=GAUSSIAN, **options):
    """Restore a clip of two frames as a study does."""

    def act(folder):
        (folder / "w.safetensors").write_bytes(make)
        lr, target = folder / "lr" / "manifest.json", folder / "sr" / "set" / "manifest.json"
        frames = iter(np.full((2, 8, 8, 3), 90, np.uint8))
        entries = {"walk": pack_clip(frames, lr.with_name("walk.npy"), scale=1)}
        write_json(lr, {"dataset": "set", "spec": {}, "licence": "CC0", "clips": entries})
        restore_run(
            [folder / "w.safetensors"],
            lr,
            target,
            run="r",
            degradation=degradation,
            threads=1,
            device="cpu",
            **options,
        )
        return target

    return act


def is_restored(_, target):
    assert sorted(json.loads(target.read_text())["clips"]) == ["walk"]


def blown_up(factor, output="y"):
    """Finite weights that give no finite frames."""
    tensors = {name: torch.full_like(tensor, factor) for name, tensor in state(output).items()}
    return save(tensors, {"rlsp": json.dumps({"model": MODEL | {"output": output}, "degradation": GAUSSIAN})})


def begun_with(make):
    def act(folder):
        (folder / "w.safetensors").write_bytes(make)
        start_from(build_model(MODEL), folder / "w.safetensors")

    return act


SCALE_2 = {"rlsp": json.dumps({"model": MODEL | {"scale": 2}, "degradation": BICUBIC | {"scale": 2}})}
NOT_FINITE = "expected finite numbers from the network in fp32, got nan or inf"
STUDIES = [
    Case("a run with the study's input", restored(content(of_input())), is_refused=False, check=is_restored),
    Case(
        "a run with another input",
        restored(content()),
        "warning: .*w.safetensors: trained for kind bicubic.*restores kind g",
        False,
        is_restored,
    ),
    Case(
        "a run with another sigma",
        restored(content(of_input(sigma=1.6))),
        "warning: .*sigma 1.6.*restores.*sigma 1.5",
        False,
        is_restored,
    ),
    Case(
        "a run with another phase",
        restored(content(of_input(phase=2))),
        "warning: .*phase 2",
        False,
        is_restored,
    ),
    Case(
        "a run that does not say its input",
        restored(content({"model": MODEL})),
        "w.safetensors: .*say what input",
    ),
    Case(
        "a run of scale 2",
        restored(save(build_model(MODEL | {"scale": 2}).state_dict(), SCALE_2)),
        "w.safetensors: expected weights of scale 4, got scale 2",
    ),
    Case("a run with a nan", restored(holding("body.0.weight", math.nan)), "body.0.weight: expected finite"),
    Case("frames that are infinite", restored(blown_up(1e30)), f"sr.set.walk: frame 0: {NOT_FINITE}"),
    Case(
        "frames that are infinite, RGB",
        restored(blown_up(1e30, "rgb")),
        f"sr.set.walk: frame 0: {NOT_FINITE}",
    ),
    Case("frames that overflow later", restored(blown_up(1e4)), f"sr.set.walk: frame [01]: {NOT_FINITE}"),
    Case(
        "frames of a video that are infinite",
        upscaled(blown_up(1e30)),
        "in: frame 0: expected finite numbers from the network in (fp32|bf16), got nan or inf",
    ),
    Case(
        "a training that begins with a nan",
        begun_with(holding("head.bias", math.nan)),
        "head.bias: expected finite",
    ),
    Case("a training that begins with a .pth", begun_with(torch_file(state())), "got a PyTorch checkpoint"),
    Case("a training that begins with text", begun_with(b"text"), "got text"),
]

# ---- converted ---------------------------------------------------------------------------------


def released(filters=4, layers=3):
    """Tensors of the authors' PyTorch module."""
    torch.manual_seed(0)
    packed = 48
    shapes = {"conv1": (filters, 9 + packed + filters), "conv_out": (packed + filters, filters)}
    shapes |= {f"conv_list.{i}": (filters, filters) for i in range(layers - 2)}
    found = {}
    for name, shape in shapes.items():
        found[f"{name}.weight"], found[f"{name}.bias"] = torch.randn(*shape, 3, 3), torch.randn(shape[0])
    return found


def prefixed(prefix, tensors=None):
    return {prefix + name: tensor for name, tensor in (tensors or state()).items()}


def converted(
    write, *further, model="tiny", degradation="bicubic", source="model.pth", target="out.safetensors"
):
    """Convert what `write` puts there (bytes, a value for torch.save, or a function of the path)."""

    def act(folder):
        path = folder / source
        if callable(write) and not isinstance(write, nn.Module):
            write(path)
        else:
            path.write_bytes(write if isinstance(write, bytes) else torch_file(write))
        (folder / "study.yaml").write_text(STUDY)
        words = ["--study", folder / "study.yaml", "--model", model, "--degradation", degradation, *further]
        return list(map(str, ["convert", path, folder / target, *words]))

    return act


def holds(tensors, **facts):
    """Check tensors and facts of a converted file."""

    def check(folder, _):
        model, metadata = load_weights(folder / "out.safetensors")
        found = model.state_dict()
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
        assert metadata["source"].startswith("converted from ") and "SHA-256" in metadata["source"]
        for key, value in facts.items():
            assert {**metadata["model"], **metadata}[key] == value, key

    return check


OURS = {"conv1": "body.0", "conv_list.0": "body.1", "conv_out": "head"}
RENAMED = {f"{OURS[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": t for name, t in released().items()}


class Code:
    """What would run when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def nothing_ran(_, __):
    assert not os.path.exists("unpickled")


WRAPPED = {
    "alone": state(),
    "of DataParallel": prefixed("module."),
    "of torch.compile": prefixed("_orig_mod."),
    "of both": prefixed("module._orig_mod."),
    "as state_dict": {"state_dict": state(), "epoch": 3, "optimizer": {"lr": 0.1}},
    "as params of BasicSR": {"params": state()},
    "as model": {"model": state(), "step": 7},
    "as state_dict of DataParallel": {"state_dict": prefixed("module.")},
    "in half precision": {name: tensor.half() for name, tensor in state().items()},
    "with averaged weights": {"params": released(), "params_ema": state()},
}


def expected_of(value):
    return (
        {name: tensor.half().float() for name, tensor in state().items()}
        if value is WRAPPED["in half precision"]
        else state()
    )


def tensorflow_files(path):
    write_checkpoint(path.with_name("ckpt"), made_arrays())


def has_tensorflow_weights(folder, _):
    head = load_weights(folder / "out.safetensors")[0].head.bias
    assert np.array_equal(head[:16].detach(), made_arrays()["layer3/bias"])


def compressed(data):
    """Compress the members of an archive."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as source,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return buffer.getvalue()


def empty_path(path):
    """Write nothing."""


CONVERTED = [
    *(
        Case(
            f"convert: a state dict {name}",
            converted(value),
            is_refused=False,
            check=holds(expected_of(value)),
        )
        for name, value in WRAPPED.items()
    ),
    Case(
        "convert: before PyTorch 1.6",
        converted(torch_file(state(), _use_new_zipfile_serialization=False)),
        is_refused=False,
        check=holds(state()),
    ),
    Case(
        "convert: safetensors",
        converted(lambda path: save_file(state(), path), source="a.safetensors"),
        is_refused=False,
        check=holds(state()),
    ),
    Case(
        "convert: the authors' module",
        converted(released(), model="tiny-rgb"),
        is_refused=False,
        check=holds(RENAMED, output="rgb"),
    ),
    Case(
        "convert: the authors' module in DataParallel",
        converted(prefixed("module.", released()), model="tiny-rgb"),
        is_refused=False,
        check=holds(RENAMED),
    ),
    *(
        Case(
            f"convert: TensorFlow, {name}",
            converted(tensorflow_files, source=name),
            is_refused=False,
            check=has_tensorflow_weights,
        )
        for name in ("ckpt", "ckpt.index", "ckpt.data-00000-of-00001")
    ),
    Case(
        "convert: with facts",
        converted(state(), "--input-range", "1", "--licence", "MIT"),
        is_refused=False,
        check=holds(state(), input_range=1, licence="MIT", degradation=BICUBIC),
    ),
    Case(
        "convert: the authors' module as luma",
        converted(released()),
        "expected the specification of an RLSP .* output rgb",
    ),
    Case(
        "convert: another model",
        converted(state(), model="rlsp-7-48"),
        "model.pth: body.0.weight: expected shape",
    ),
    Case(
        "convert: the authors' module of four layers",
        converted(released(layers=4), model="tiny-rgb"),
        "model.pth: conv_list.1.(weight|bias): expected no such",
    ),
    Case(
        "convert: a nan",
        converted(state() | {"head.bias": torch.full((20,), math.nan)}),
        "head.bias: expected finite",
    ),
    Case(
        "convert: a tensor that is huge by its strides",
        converted(state() | {"head.bias": torch.zeros(1).expand(10**12)}),
        r"head.bias: expected shape \(20,\), got \(1000000000000,\)",
    ),
    Case(
        "convert: quantised to int8",
        converted({n: t.to(torch.int8) for n, t in state().items()}),
        "expected float32, got int8",
    ),
    Case("convert: a whole module", converted(Whole()), "expected a state dict of tensors alone"),
    Case(
        "convert: code in a pickle",
        converted({"state_dict": Code()}),
        "expected a state dict of tensors alone",
        check=nothing_ran,
    ),
    Case(
        "convert: code in an old pickle",
        converted(torch_file(Code(), _use_new_zipfile_serialization=False)),
        "expected a state dict of tensors alone",
        check=nothing_ran,
    ),
    *(
        Case(
            f"convert: {type(value).__name__} {str(value)[:20]}",
            converted(value),
            "expected a state dict, alone or as one of",
        )
        for value in (
            None,
            7,
            "text",
            [],
            {},
            [torch.zeros(2)],
            {"a": 1},
            {"weights": {"a": torch.zeros(2)}},
            {7: torch.zeros(2)},
        )
    ),
    Case("convert: a tensor", converted(torch.zeros(3)), "expected a state dict, alone or as one of"),
    Case(
        "convert: a damaged file",
        converted(torch_file(state())[:-3000]),
        "got a damaged zip archive|or is damaged",
    ),
    Case(
        "convert: damaged data",
        converted(torch_file(state()).replace(state()["head.bias"].numpy().tobytes(), b"?" * 80)),
        "model.pth: .*: damaged, its checksum is wrong",
    ),
    Case(
        "convert: a compressed archive",
        converted(compressed(torch_file(state()))),
        "expected it as torch.save stores it",
    ),
    *(
        Case(f"convert: {name}", converted(OTHERS[name][0]), f"model.pth: .*{OTHERS[name][1]}")
        for name in (
            "empty",
            "text",
            "a web page",
            "PNG",
            "npz",
            "HDF5",
            "pickle",
            "TorchScript",
            "a pointer of Git LFS",
        )
    ),
    Case(
        "convert: noise", converted(bytes(5000)), "model.pth: expected a state dict of PyTorch or safetensors"
    ),
    Case("convert: nothing there", converted(empty_path), "model.pth: cannot be read: No such file"),
    Case(
        "convert: a folder", converted(lambda path: path.mkdir()), "model.pth: expected a file, got a folder"
    ),
    Case("convert: a pipe", converted(os.mkfifo), "model.pth: expected a file, got a pipe"),
    Case(
        "convert: half a TensorFlow checkpoint",
        converted(
            lambda path: (tensorflow_files(path), path.with_name("ckpt.data-00000-of-00001").unlink()),
            source="ckpt",
        ),
        "expected a file of the checkpoint, but there is none",
    ),
    Case(
        "convert: to another ending",
        converted(state(), target="out.pth"),
        "expected a name that ends in .safetensors",
    ),
    Case(
        "convert: onto itself",
        converted(lambda path: save_file(state(), path), source="out.safetensors"),
        "another target",
    ),
    Case(
        "convert: an unknown model",
        converted(state(), model="rlsp-7-47"),
        "--model: unknown name 'rlsp-7-47'; did you mean",
    ),
    Case(
        "convert: an unknown input",
        converted(state(), degradation="gauss"),
        "--degradation: unknown name 'gauss'; did you",
    ),
    *(
        Case(
            f"convert: input range {value}",
            converted(state(), "--input-range", value),
            "input_range: expected|invalid float",
        )
        for value in ("0", "-1", "nan", "inf", "1e300", "x")
    ),
]

CASES = [
    *PLACES,
    *(
        Case(f"header: {name}", upscaled(data), f"model.safetensors: .*{line}")
        for name, (data, line) in HEADERS.items()
    ),
    *METADATA_CASES,
    *TENSORS,
    *STUDIES,
    *CONVERTED,
]


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_weights(case, tmp_path, capfd):
    run(case, tmp_path, capfd)
