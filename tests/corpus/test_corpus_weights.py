"""Weights as people have them: of other programs, damaged, with numbers that are none, and the words that name them."""

import json
import os
import struct
import zipfile

import numpy as np
import pytest
import torch
from cases import Case, names, run
from made_degradations import BICUBIC
from PIL import Image
from safetensors.torch import save

from rlsp.inference.restoration import restore_run
from rlsp.inference.upscaling import upscale
from rlsp.models import build_model
from rlsp.models.weights import load_weights, save_weights

SPEC = {"arch": "rlsp", "layers": 2, "filters": 2}
METADATA = {"model": SPEC, "degradation": BICUBIC}


def tensors(spec=SPEC):
    torch.manual_seed(0)
    return dict(build_model(spec).state_dict())


def write(folder, content=None, metadata=METADATA, *, header=None):
    """Write a file of weights with its tensors, its metadata, or its whole header replaced."""
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    found = {
        name: tensor.contiguous() for name, tensor in (tensors() if content is None else content).items()
    }
    path = folder / "mine.safetensors"
    path.write_bytes(save(found, {"rlsp": text} if header is None else header))
    return path


def with_metadata(folder, path, value):
    """Put a value at a path of keys of the metadata."""
    changed = json.loads(json.dumps(METADATA))
    *parents, last = path
    inner = changed
    for key in parents:
        inner = inner[key]
    inner[last] = value
    return write(folder, metadata=json.dumps(changed))


def with_number(folder, name, number):
    changed = tensors()
    changed[name].view(-1)[0] = number
    return write(folder, changed)


def picture(folder):
    (folder / "in").mkdir()
    Image.fromarray(np.full((8, 12, 3), 99, np.uint8)).save(folder / "in/0.png")
    return folder / "in"


def use(folder, weights):
    """Words that upscale a picture with the weights."""
    return [
        "upscale",
        str(picture(folder)),
        str(folder / "out"),
        "--weights",
        str(weights),
        "--device",
        "cpu",
    ]


def is_upscaled(folder, _):
    return len(list((folder / "out").glob("*.png"))) == 1


# ---- numbers -------------------------------------------------------------------------------------

NAMES = list(tensors())
NUMBERS = {"nan": float("nan"), "inf": float("inf"), "-inf": -float("inf")}
NUMBER_CASES = [
    Case(
        f"{label} in {name}", lambda d, name=name, number=number: load_weights(with_number(d, name, number)),
        rf"tensor {name}: expected finite numbers, got 1 of \d+ that are not",
    )
    for name in NAMES
    for label, number in NUMBERS.items()
]  # fmt: skip


def too_large(folder):
    changed = {name: torch.full_like(tensor, 3e38) for name, tensor in tensors().items()}
    return write(folder, changed)


def restore_too_large(folder):
    from rlsp.data.clips import write_clip
    from rlsp.files import write_json

    entry = write_clip(folder / "lr/a.npy", np.full((2, 8, 8, 3), 200, np.uint8))
    write_json(folder / "lr/manifest.json", {"dataset": "set", "clips": {"a": entry}})
    restore_run(
        [too_large(folder)], folder / "lr/manifest.json", folder / "set/manifest.json", run="mine", degradation=BICUBIC,
        threads=1, device="cpu",
    )  # fmt: skip


# ---- metadata ------------------------------------------------------------------------------------

WRONG = [None, "a", -8, 0, 1.5, True, [], {}, 10**30, 1e308, "1" * 500, [[[]]]]
KEYS = {
    ("model", "layers"): "model rlsp.layers: |model: ",
    ("model", "filters"): "model rlsp.filters: ",
    ("model", "scale"): "model rlsp.scale: |scale of its degradation",
    ("model", "input_range"): "model rlsp.input_range: ",
    ("model", "arch"): "names the class|spec of a model",
}


def is_allowed(path, value):
    return path == ("model", "input_range") and value in (1.5, 10**30)


METADATA_CASES = [
    *(
        Case(
            f"{'.'.join(path)} is {str(value)[:20]} ({type(value).__name__})",
            lambda d, path=path, value=value: load_weights(with_metadata(d, path, value)), line,
        )
        for path, line in KEYS.items()
        for value in WRONG
        if not is_allowed(path, value)
    ),
    *(
        Case(f"model is {value!r:.20}", lambda d, value=value: load_weights(with_metadata(d, ("model",), value)), "map model|class None")
        for value in WRONG
    ),
    *(
        Case(
            f"degradation is {str(value)[:20]} ({type(value).__name__})",
            lambda d, value=value: use(d, with_metadata(d, ("degradation",), value)), "what input they expect",
        )
        for value in WRONG
    ),
    *(
        Case(
            f"degradation.{key} is {value!r:.20}",
            lambda d, key=key, value=value: use(d, with_metadata(d, ("degradation", key), value)),
            "what input they expect|scale of its degradation",
        )
        for key, value in (
            ("scale", 2), ("scale", 0), ("scale", "4"), ("kind", "blur"), ("kind", None), ("boundary", "round"),
            ("phase", 1e9), ("round_between_passes", "yes"), ("sigma", 1.5),
        )
    ),
    Case(
        "phase 1e9 of gaussian",
        lambda d: use(d, with_metadata(d, ("degradation",), {
            "kind": "gaussian", "sigma": 1.5, "truncate": 4.0, "phase": 1e9, "boundary": "reflect", "rounding": "rint", "scale": 4,
        })),
        "phase: expected a maximum of 7",
    ),
    Case("unknown key of the model", lambda d: load_weights(with_metadata(d, ("model", "depth"), 3)), "depth: unknown key"),
    Case("own class", lambda d: load_weights(with_metadata(d, ("model", "arch"), "os:system")), "names the class 'os:system'"),
    Case("20,000 filters", lambda d: load_weights(with_metadata(d, ("model", "filters"), 20000)), r"tensor body.0.bias: expected shape \[20000\], got \[2\]"),
    Case("1,000 layers", lambda d: load_weights(with_metadata(d, ("model", "layers"), 1000)), "tensor body.* is missing"),
    Case("input_range 0", lambda d: load_weights(with_metadata(d, ("model", "input_range"), 0)), "input_range: expected more than the minimum 0, got 0"),
    Case("no metadata", lambda d: load_weights(write(d, header={})), "metadata without the key rlsp"),
    Case("other metadata", lambda d: load_weights(write(d, header={"format": "pt"})), "metadata without the key rlsp"),
    *(
        Case(f"metadata {label}", lambda d, text=text: load_weights(write(d, metadata=text)), line)
        for label, text, line in (
            ("empty", "", "expected metadata in JSON"), ("is text", "model", "expected metadata in JSON"),
            ("is null", "null", "map model, got None"), ("is a list", "[]", "map model"), ("is a number", "3", "map model"),
            ("is NaN", "NaN", "NaN, which is no number"), ("has Infinity", '{"model": {"arch": "rlsp", "layers": Infinity}}', "no number"),
            ("is 100,000 deep", "[" * 100_000, "expected metadata in JSON"),
            ("is a deep map", '{"model":' * 5000 + "1" + "}" * 5000, "map model|metadata in JSON|class"),
            ("has an empty model", '{"model": {}}', "names the class None"),
            ("has a number of 5,000 digits", '{"model": {"arch": "rlsp", "layers": %s}}' % ("9" * 5000), "expected metadata in JSON|layers"),
        )
    ),
]  # fmt: skip

# ---- tensors and bytes ---------------------------------------------------------------------------


def without(name):
    return {key: tensor for key, tensor in tensors().items() if key != name}


def changed(name, change):
    return {key: change(tensor) if key == name else tensor for key, tensor in tensors().items()}


def raw(folder, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "mine.safetensors"
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def cut(folder, count):
    path = write(folder)
    path.write_bytes(path.read_bytes()[:count] if count > 0 else path.read_bytes()[:count])
    return path


ENTRY = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
TENSOR_CASES = [
    *(Case(f"without {name}", lambda d, name=name: load_weights(write(d, without(name))), f"tensor {name} is missing") for name in NAMES),
    Case("one tensor more", lambda d: load_weights(write(d, tensors() | {"extra": torch.ones(2)})), "it has no tensor 'extra'"),
    Case("names of DataParallel", lambda d: load_weights(write(d, {f"module.{n}": t for n, t in tensors().items()})), "is missing"),
    Case("no tensors", lambda d: load_weights(write(d, {})), "is missing"),
    *(
        Case(
            f"{kind} numbers", lambda d, kind=kind: load_weights(write(d, changed("head.bias", lambda t: t.to(kind)))),
            "tensor head.bias: expected F32 or F16 or BF16, got ",
        )
        for kind in (torch.float64, torch.int8, torch.int32, torch.int64, torch.bool, torch.uint8)
    ),
    *(
        Case(
            f"all in {kind}",
            lambda d, kind=kind: use(d, write(d, {n: t.to(kind) for n, t in tensors().items()})),
            is_refused=False, check=is_upscaled,
        )
        for kind in (torch.float16, torch.bfloat16, torch.float32)
    ),
    *(
        Case(f"head.bias {label}", lambda d, change=change: load_weights(write(d, changed("head.bias", change))), "tensor head.bias: expected shape")
        for label, change in (
            ("twice as long", lambda t: torch.cat([t, t])), ("a column", lambda t: t[:, None]), ("empty", lambda t: t[:0]), ("a number", lambda t: t[0]),
        )
    ),
    *(Case(f"cut to {count} bytes", lambda d, count=count: load_weights(cut(d, count)), "got no safetensors|cannot read them") for count in (0, 1, 7, 8, 9, 100)),
    Case("cut by one byte", lambda d: load_weights(cut(d, -1)), "cannot read them"),
    Case("one byte more", lambda d: load_weights(raw(d, {"a": ENTRY}, bytes(17))), "cannot read them"),
    Case("header longer than the file", lambda d: load_weights(raw(d, {}, length=10**6)), "got no safetensors"),
    Case("header of 2**63 bytes", lambda d: load_weights(raw(d, {}, length=2**63)), "got no safetensors"),
    Case("header of 20 MB", lambda d: load_weights(raw(d, b" " * 20_000_000)), "got no safetensors"),
    Case("header is a list", lambda d: load_weights(raw(d, [])), "cannot read them"),
    Case("header is no JSON", lambda d: load_weights(raw(d, b"weights")), "cannot read them"),
    Case("header is no UTF-8", lambda d: load_weights(raw(d, b"\xff\xfe\xfa")), "cannot read them"),
    Case("header is deep", lambda d: load_weights(raw(d, b"[" * 100_000)), "cannot read them"),
    Case("tensors overlap", lambda d: load_weights(raw(d, {"a": ENTRY, "b": ENTRY}, bytes(16))), "cannot read them"),
    Case("offsets beyond the end", lambda d: load_weights(raw(d, {"a": ENTRY | {"data_offsets": [0, 1600]}}, bytes(16))), "cannot read them"),
    Case("offsets run backwards", lambda d: load_weights(raw(d, {"a": ENTRY | {"data_offsets": [16, 0]}}, bytes(16))), "cannot read them"),
    Case("shape of another size", lambda d: load_weights(raw(d, {"a": ENTRY | {"shape": [5]}}, bytes(16))), "cannot read them"),
    Case("shape that overflows", lambda d: load_weights(raw(d, {"a": ENTRY | {"shape": [2**40, 2**40]}}, bytes(16))), "cannot read them"),
    Case("unknown type", lambda d: load_weights(raw(d, {"a": ENTRY | {"dtype": "F99"}}, bytes(16))), "cannot read them"),
]  # fmt: skip

# ---- other files ---------------------------------------------------------------------------------


def file_of(folder, content, name="mine.safetensors"):
    (folder / name).write_bytes(content)
    return folder / name


def pth(folder, old=False):
    torch.save(tensors(), folder / "mine.pth", _use_new_zipfile_serialization=not old)
    return folder / "mine.pth"


def archive(folder):
    with zipfile.ZipFile(folder / "mine.zip", "w") as output:
        output.writestr("a", "b")
    return folder / "mine.zip"


def npz(folder):
    np.savez(folder / "mine.npz", a=np.ones(3))
    return folder / "mine.npz"


def npy(folder):
    np.save(folder / "mine.npy", np.ones(3))
    return folder / "mine.npy"


def fifo(folder):
    os.mkfifo(folder / "mine.safetensors")
    return folder / "mine.safetensors"


FILES = {
    "nothing": (lambda d: "", "weights: expected a file"),
    "a dot": (lambda d: ".", "weights: expected a file|got a folder"),
    "a folder": (lambda d: d, "expected a file of weights, got a folder"),
    "a missing file": (lambda d: d / "gone.safetensors", "no such weights; train or download them first"),
    "a file in a missing folder": (lambda d: d / "gone/mine.safetensors", "no such weights"),
    "a named pipe": (fifo, "got a named pipe"),
    "a device": (lambda d: "/dev/zero", "got a device"),
    "a .pth file": (pth, "as PyTorch writes .pth files; rlsp convert makes"),
    "an old .pth file": (lambda d: pth(d, old=True), "older versions of PyTorch write .pth files; rlsp convert"),
    "a zip archive": (archive, "got a zip archive"),
    "an .npz": (npz, "got a zip archive"),
    "an .npy": (npy, "got a NumPy array"),
    "HDF5": (lambda d: file_of(d, b"\x89HDF\r\n\x1a\n" + bytes(99)), "got an HDF5 file"),
    "a picture": (lambda d: picture(d) / "0.png", "got a PNG picture"),
    "text": (lambda d: file_of(d, b"these are weights"), "got no safetensors file"),
    "an empty file": (lambda d: file_of(d, b""), "got no safetensors file"),
    "a web page": (lambda d: file_of(d, b"<!DOCTYPE html><html>not found</html>"), "got no safetensors file"),
    "a pointer of Git LFS": (lambda d: file_of(d, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"), "got no safetensors"),
    "released: alone": (lambda d: "released:", "expected one of 7-48, 7-64, 7-128 after released:"),
    "released:7-65": (lambda d: "released:7-65", "expected one of 7-48"),
    "released:../7-64": (lambda d: "released:../7-64", "expected one of 7-48"),
    "a name with NUL": (lambda d: "a\0b", "null|embedded|cannot be reached"),
    "a name of 300 letters": (lambda d: "x" * 300, "cannot be reached|File name too long"),
}  # fmt: skip


def used(folder, make):
    target = folder / "upscaled"
    source = folder / "pictures"
    source.mkdir()
    Image.fromarray(np.full((8, 12, 3), 99, np.uint8)).save(source / "0.png")
    upscale(source, target, weights=str(make(folder)), device="cpu", data_root=folder, show_progress=False)


# ---- conversion ----------------------------------------------------------------------------------


def checkpoint(folder, content, name="theirs.pth"):
    torch.save(content, folder / name)
    return folder / name


def convert(path, *more):
    return ["convert", str(path), str(path.parent / "mine.safetensors"), *more]


def holds(expected):
    def check(folder, _):
        model, metadata = load_weights(folder / "mine.safetensors")
        assert (
            metadata["model"]["layers"] == SPEC["layers"] and metadata["model"]["filters"] == SPEC["filters"]
        )
        assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())

    return check


class Evil:
    def __reduce__(self):
        return os.mkdir, ("/nonexistent/evil",)


CONVERSIONS = [
    *(
        Case(f"state {label}", lambda d, wrap=wrap: convert(checkpoint(d, wrap(tensors()))), is_refused=False, check=holds(tensors()))
        for label, wrap in (
            ("alone", lambda s: s), ("under state_dict", lambda s: {"state_dict": s, "epoch": 3}), ("under params", lambda s: {"params": s}),
            ("of DataParallel", lambda s: {f"module.{n}": t for n, t in s.items()}),
        )
    ),
    Case("a missing checkpoint", lambda d: convert(d / "gone.pth"), "gone.pth: expected a checkpoint of PyTorch, but there is none"),
    Case("a text", lambda d: convert(file_of(d, b"text", "a.pth")), "expected a checkpoint of PyTorch, got"),
    Case("a pickle that runs code", lambda d: convert(checkpoint(d, Evil())), "expected a checkpoint of PyTorch, got"),
    Case("a list", lambda d: convert(checkpoint(d, [1, 2])), "expected a map of tensors, got list"),
    Case("a map without tensors", lambda d: convert(checkpoint(d, {"a": 1})), "expected a map of tensors, got dict"),
    Case("another network", lambda d: convert(checkpoint(d, {"conv.weight": torch.ones(3)})), "expected the tensors of an RLSP, got conv.weight"),
    Case("another scale", lambda d: convert(checkpoint(d, tensors()), "--scale", "3"), "outputs beside the state at scale 3"),
    Case("another degradation", lambda d: convert(checkpoint(d, tensors()), "--degradation", "blur"), "degradation: expected one of"),
    Case("nan", lambda d: convert(checkpoint(d, changed("head.bias", lambda t: t * float("nan")))), "tensor head.bias: expected finite numbers"),
    Case("a state without a layer", lambda d: convert(checkpoint(d, without("body.0.bias"))), "Missing key|expected the tensors"),
]  # fmt: skip

CASES = [
    *NUMBER_CASES,
    Case(
        "numbers that overflow",
        lambda d: use(d, too_large(d)),
        "frame 0 of a clip: expected finite numbers from ",
    ),
    Case(
        "numbers that overflow in a study",
        restore_too_large,
        "mine, set, a: frame 0 of a clip: expected finite numbers",
    ),
    *METADATA_CASES,
    *TENSOR_CASES,
    *(
        Case(f"weights are {name}", lambda d, make=make: used(d, make), line)
        for name, (make, line) in FILES.items()
    ),
    *CONVERSIONS,
    Case("right ones", lambda d: use(d, write(d)), is_refused=False, check=is_upscaled),
]


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_weights(case, tmp_path, capfd):
    run(case, tmp_path, capfd)


def test_saved_weights_are_those_of_the_cases(tmp_path):
    """The file that the cases change is byte for byte one that the product writes."""
    model = build_model(SPEC)
    model.load_state_dict(tensors())
    save_weights(tmp_path / "a.safetensors", model, METADATA)
    loaded, metadata = load_weights(write(tmp_path))
    assert metadata == METADATA and load_weights(tmp_path / "a.safetensors")[1] == METADATA
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), tensors().values(), strict=True)
    )
