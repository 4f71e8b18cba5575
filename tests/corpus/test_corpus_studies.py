"""Study files: each is read, or refused in one line that names the key, before it costs time or memory."""

import copy
import json
import os
import re
import socket
import types
import typing
from functools import cache

import pytest
from cases import Case, names, run

from rlsp.config.reading import read_yaml
from rlsp.config.specs.datasets import Archived, CameraMoves, ClipOfFiles, Folder, Video
from rlsp.config.specs.degradations import Gaussian, OwnDegradation
from rlsp.config.specs.downloads import Archive, Package
from rlsp.config.specs.fields import Number, WholeOr
from rlsp.config.specs.metrics import OwnMetric
from rlsp.config.specs.models import DUF, FRVSR, RLSP
from rlsp.config.specs.protocols import Protocol
from rlsp.config.specs.recipes import LongClips, Recipe
from rlsp.config.specs.runs import Trained
from rlsp.config.specs.study import Precisions, Restore, Runtime, Score, StudySpec, TrainingSettings
from rlsp.config.study import Study
from rlsp.config.study_files import check_owner, merge, read_config
from rlsp.shipped import ROOT

FURTHER = {
    "datasets": {"mine": {"source": "folder", "path": "."}},
    "degradations": {"mine": {"kind": "a:b", "first_pixel": 0}},
    "recipes": {"demo": {"long_clips": {"after": 0.5, "frames": 12, "batch": 1}}},
    "metrics": {"mine": {"function": "a:b", "kind": "frame", "inputs": ["restored"], "better": "higher"}},
}
# Where a study has an entry of each spec that has numbers.
PLACES = {
    StudySpec: (),
    Score: ("score",),
    Restore: ("restore",),
    Precisions: ("precisions",),
    Runtime: ("runtime",),
    TrainingSettings: ("training",),
    Trained: ("runs", 0),
    Protocol: ("protocols", "crop8-trim2-video"),
    CameraMoves: ("datasets", "moves-train"),
    Video: ("datasets", "city-test"),
    Folder: ("datasets", "mine"),
    ClipOfFiles: ("datasets", "vid4", "clips", "walk"),
    Archived: ("datasets", "reds-train"),
    Gaussian: ("degradations", "gaussian"),
    OwnDegradation: ("degradations", "mine"),
    RLSP: ("models", "rlsp-3-16"),
    FRVSR: ("models", "frvsr-3-64"),
    DUF: ("models", "duf-16l"),
    Recipe: ("recipes", "demo"),
    LongClips: ("recipes", "demo", "long_clips"),
    Package: ("downloads", "city"),
    Archive: ("downloads", "reds-val-sharp"),
    OwnMetric: ("metrics", "mine"),
}
# Lists that this study leaves out.
LISTS = {
    "trim": [0, 0],
    "shots": [[0, 15]],
    "seeds": [0],
    "pan": [1, 1],
    "crops": [0],
    "size": [64, 64],
    "cuts": {"city-1": [1]},
}


@cache
def base():
    """Return a study that has an entry of every kind."""
    return merge(read_config(ROOT / "config" / "demo.yaml"), FURTHER)


def changed(path, value):
    """Copy it with one value set."""
    config = place = copy.deepcopy(base())
    *parents, last = path
    for key in parents:
        if isinstance(place, dict) and key not in place:
            place[key] = copy.deepcopy(LISTS.get(key, {}))
        place = place[key]
    place[last] = value
    return config


# ---- every number of every entry ---------------------------------------------------------------


def numbers(annotation, place=()):
    """Find the numbers of a field: where in its value they stand, and their bounds."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        found = [bounds for bounds in arguments if isinstance(bounds, (Number, WholeOr))]
        yield from ((place, bounds) for bounds in found) if found else numbers(arguments[0], place)
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for branch in arguments:
            yield from numbers(branch, place)
    elif typing.get_origin(annotation) is tuple:
        yield from numbers(arguments[0], (*place, 0))
        if arguments[1:] and arguments[-1] is not Ellipsis:
            yield from numbers(arguments[-1], (*place, len(arguments) - 1))
    elif typing.get_origin(annotation) is dict:
        yield from numbers(arguments[1], (*place, "city-1"))


def all_numbers():
    """List spec, path in the study, bounds and whether nothing may stand there, of each number."""
    for spec, place in PLACES.items():
        hints = typing.get_type_hints(spec, include_extras=True)
        for name in spec.model_fields:
            if name in spec.RESOLVED:
                continue
            for inside, bounds in numbers(hints[name]):
                yield spec, (*place, name, *inside), bounds, type(None) in typing.get_args(hints[name])


def wrong_values(bounds, is_optional):
    """Say what can be wrong with a number, each with how the line begins."""
    yield ".nan", "expected a finite number, got nan"
    yield ".inf", "expected a finite number, got inf"
    yield "-.inf", "expected a finite number, got -inf"
    low = getattr(bounds, "above", None) if bounds.minimum is None else bounds.minimum - 1
    high = getattr(bounds, "below", None) if bounds.maximum is None else bounds.maximum * 2 + 2
    yield as_yaml(low), "expected (a minimum of|more than the minimum|a multiple)"
    yield as_yaml(high), "expected (a maximum of|less than the maximum|a multiple)"
    if (bounds.maximum or 0) < 10**30:
        yield str(10**30), "expected (a maximum of|less than the maximum)"
    yield '"1"', "(expected (number|integer), got '1'|text '1' does not fit)"
    yield "[1]", r"expected (number|integer), got \[1\]"
    yield "true", "expected (number|integer), got True"
    if not is_optional:
        yield "null", "expected (number|integer), got None"


def as_yaml(number):
    """Write a number as YAML reads it: 6e38 would be text."""
    return f"{number:.1e}" if isinstance(number, float) and abs(number) > 1e15 else repr(number)


def with_number(path, text):
    """Set one number to what YAML reads."""

    def act(folder):
        (folder / "value.yaml").write_text(f"value: {text}")
        return Study(changed(path, read_yaml(folder / "value.yaml")["value"]))

    return act


def key_of(path):
    """How the line names a key: of a run of several kinds, without what the study fills in."""
    return ".*".join(re.escape(str(part)) for part in path) + ".*"


NUMBERS = list(all_numbers())
NUMBER_CASES = [
    Case(f"{spec.__name__}: {'.'.join(map(str, path))}: {text}", with_number(path, text), key_of(path) + line)
    for spec, path, bounds, is_optional in NUMBERS
    for text, line in wrong_values(bounds, is_optional)
]

# ---- the file ----------------------------------------------------------------------------------


def said(content):
    """Ask for the targets of a run of the study that `content` (text, bytes or a function of the path) writes."""

    def act(folder):
        path = folder / "study.yaml"
        if callable(content):
            path = content(path) or path
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return ["where", "bicubic.gaussian", "--study", str(path)]

    return act


def small(text=""):
    """Write a small study and what follows."""
    return (
        "study: small\ntest_sets: [moves-test]\nruns: [{interpolation: bicubic, degradations: [gaussian]}]\n"
        f"{text}\n"
    )


def nested(levels, before="[", after="]"):
    return small(f"pictures: {before * levels}{after * levels}")


def laughs(count, width=9):
    first = "a0: &a0 [x]\n"
    return first + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]\n" for i in range(1, count))


def extending(**files):
    """Write studies that extend each other, and ask for the first."""

    def write(path):
        for name, base in files.items():
            path.with_name(f"{name}.yaml").write_text(
                f"study: {name}\nextends: {path.with_name(base + '.yaml')}\n"
            )
        return path.with_name(f"{next(iter(files))}.yaml")

    return write


def socket_at(path):
    before = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(before)


FILES = {
    "missing": (lambda path: path.with_name("none.yaml"), "none.yaml: No such file"),
    "below a file": (lambda path: [path.write_text("x"), path / "x.yaml"][1], "Not a directory"),
    "a folder": (lambda path: path.mkdir(), "expected a regular file, got a folder"),
    "a pipe": (lambda path: os.mkfifo(path), "expected a regular file, got a pipe"),
    "a socket": (socket_at, "expected a regular file, got a socket"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "study.yaml: "),
    "/dev/zero": (lambda path: "/dev/zero", "/dev/zero: expected a regular file, got a device"),
    "/dev/stdin": (lambda path: "/dev/null", "/dev/null: expected a regular file, got a device"),
    "a link to /dev/zero": (
        lambda path: path.symlink_to("/dev/zero"),
        "expected a regular file, got a device",
    ),
    "a name that is too long": (lambda path: path.with_name("x" * 300), "File name too long"),
    "a sparse file of 1 TB": (
        lambda path: [path.touch(), os.truncate(path, 2**40), None][2],
        "expected at most 1 MB, got 1099511.7 MB",
    ),
    "empty": ("", "expected a map of keys, got NoneType"),
    "spaces": ("  \n\n", "expected a map of keys, got NoneType"),
    "a comment": ("# nothing\n", "expected a map of keys, got NoneType"),
    "a word": ("demo\n", "expected a map of keys, got str"),
    "a number": ("7", "expected a map of keys, got int"),
    "null": ("null", "expected a map of keys, got NoneType"),
    "a list": ("- a\n- b\n", "expected a map of keys, got list"),
    "2 MB": ("a: b\n" * 400_000, "expected at most 1 MB, got 2.0 MB"),
    "binary": (bytes(range(256)), "expected (UTF-8|text), got"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(50), "expected UTF-8, got byte 0x89 in line 1"),
    "UTF-16": ("study: x".encode("utf-16"), "expected UTF-8, got byte 0xff in line 1"),
    "Latin-1": ("study: gr\xf6\xdfe".encode("latin-1"), "expected UTF-8, got byte 0xf6 in line 1"),
    "a null byte": (b"study: a\0b", "control character"),
    "an escape sequence": ('study: "\\e[31m"', "control character"),
    "two documents": (small() + "---\na: 1\n", "not YAML .*document"),
    "a tab": ("study:\n\tx: 1\n", "not YAML"),
    "an open bracket": ("study: [a", "not YAML"),
    "an open quote": ("study: 'a", "not YAML"),
    "an alias to nothing": ("study: *x", "not YAML .*undefined alias"),
    "an alias to itself": ("study: &a [*a]", "expected \\*a after the end of &a"),
    "an alias bomb": (laughs(30), "expected at most 100,000 nodes"),
    "a small alias bomb": (laughs(7), "expected at most 100,000 nodes"),
    "a bomb of merges": (
        "a0: &a0 {x: 1}\n"
        + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 30)),
        "expected at most 100,000 nodes",
    ),
    "3,000 lists deep": (nested(3000), "expected at most 32 levels"),
    "40 lists deep": (nested(40), "expected at most 32 levels"),
    "3,000 maps deep": (nested(3000, "{a: ", "}"), "expected at most 32 levels"),
    "3,000 levels of indentation": (
        "".join(" " * i + "a:\n" for i in range(1000)),
        "expected at most 32 levels",
    ),
    "200,000 list entries": (small("ablation: [" + "a," * 200_000 + "]"), "expected at most 100,000 nodes"),
    "a key twice": (small("test_sets: [city-test]"), "test_sets: key given twice, in lines 2 and 4"),
    "a key that is a number": (small("7: x"), "expected text as a key, got 7"),
    "a key that is a list": (small("? [a]\n: x"), "expected text as a key, got a list"),
    "a key that is nothing": (small("~: x"), "expected text as a key, got ~"),
    "a tag of Python": (
        small("x: !!python/object/apply:os.mkdir [ran]"),
        "got !!python/object/apply:os.mkdir",
    ),
    "a set": (small("x: !!set {a, b}"), "got !!set"),
    "a number of 9,000 digits": (
        small("scale: " + "9" * 9000),
        "expected a number of at most 100 characters",
    ),
    "a number of base 60": (small("scale: 1" + ":1" * 5000), "expected a number of at most 100 characters"),
}
KEYS = {
    "an unknown key": ("reicpes: {}", "reicpes: unknown key; did you mean recipes"),
    "a key in capitals": ("Scale: 4", "Scale: unknown key; did you mean scale"),
    "models as a list": ("models: [rlsp-7-48]", "models: expected object, got"),
    "runs of a map": ("recipes: []", "recipes: expected object, got"),
    "data_root empty": ("data_root: ''", "data_root: expected 1 to 4096 characters, got 0"),
    "data_root null": ("data_root: null", "data_root: expected string, got None"),
    "data_root of two lines": ('data_root: "a\\nb"', "data_root: expected text without control characters"),
    "data_root of 5,000 characters": (
        f"data_root: {'x' * 5000}",
        "data_root: expected 1 to 4096 characters, got 5000",
    ),
    "device gpu": ("device: gpu", "device: expected one of auto, cpu, cuda, got 'gpu'"),
    "device cuda:1": ("device: 'cuda:1'", "device: expected one of auto, cpu, cuda"),
    "device 0": ("device: 0", "device: expected one of auto, cpu, cuda, got 0"),
    "scale 1": ("scale: 1", "scale: expected a minimum of 2, got 1"),
    "keep_archives yes": ("keep_archives: 'yes'", "keep_archives: expected boolean, got 'yes'"),
    "keep_archives 1": ("keep_archives: 1", "keep_archives: expected boolean, got 1"),
    "frame sizes of nan": (
        "runtime: {sizes: [[.nan, 64]]}",
        r"runtime.sizes: expected height and width.*got \[nan, 64\]",
    ),
    "frame sizes of one": ("runtime: {sizes: [64]}", "runtime.sizes: expected height and width"),
    "frame sizes too small": ("runtime: {sizes: [[4, 64]]}", "runtime.sizes: expected height and width"),
    "frame sizes too large": ("runtime: {sizes: [[64, 100000]]}", "runtime.sizes: expected height and width"),
    "frame sizes of 8k": ("runtime: {sizes: [8k]}", "runtime.sizes: unknown name '8k'"),
    "frame sizes empty": ("runtime: {sizes: []}", "runtime.sizes: expected auto, or a list"),
    "a batch of 10**12": (
        "recipes: {demo: {batch: 1000000000000}}",
        "recipes.demo.batch: expected a maximum of 65536",
    ),
    "steps as 1e6": (
        "recipes: {demo: {steps: 1e6}}",
        "recipes.demo.steps: expected integer, got '1e6'.*YAML reads",
    ),
    "steps as 0.5": ("recipes: {demo: {steps: 0.5}}", "recipes.demo.steps: expected integer, got 0.5"),
    "half a recipe": ("recipes: {mine: {batch: 4}}", "recipes.mine.steps: missing"),
    "augment twice": ("recipes: {demo: {augment: [flip, flip]}}", "augment: expected each once"),
    "a validation that does not fit": (
        "recipes: {demo: {log_every: 100, validate_every: 150}}",
        "validate_every: expected a multiple of log_every 100",
    ),
    "keep best without validation": (
        "recipes: {demo: {keep: best, validate_every: null}}",
        "keep: expected last",
    ),
    "999,999,999 clips": (
        'datasets: {reds4: {clips: ["000000000-999999999"], leave_out: []}}',
        "reds4.clips: expected at most 100000 clips",
    ),
    "clips backwards": ('datasets: {reds4: {clips: ["100-000"]}}', "datasets.reds4.clips"),
    "a clip named ../x": ('datasets: {reds4: {clips: ["../x"]}}', "reds4.clips.0: name '../x' does not fit"),
    "a data set named Vid4": (
        "datasets: {Vid4: {source: folder, path: .}}",
        "datasets: name 'Vid4' does not fit",
    ),
    "a data set named a/b": (
        "datasets: {a/b: {source: folder, path: .}}",
        "datasets: name 'a/b' does not fit",
    ),
    "a name of 200 characters": (
        f"models: {{{'a' * 200}: {{arch: rlsp}}}}",
        "expected 1 to 100 characters, got 200",
    ),
    "an unknown source": (
        "datasets: {x: {source: video-file, path: .}}",
        "datasets.x.source: expected one of",
    ),
    "a source that is a list": (
        "datasets: {x: {source: [folder]}}",
        "datasets.x.source: expected one of|datasets.x",
    ),
    "no source": ("datasets: {x: {path: .}}", "datasets.x.source: missing"),
    "a data set null": ("datasets: {x: null}", "datasets.x: expected object, got None"),
    "photographs and a path": (
        "datasets: {moves-test: {path: .}}",
        "datasets.moves-test: expected either photographs .* got both",
    ),
    "a folder where variables stand": (
        "datasets: {x: {source: folder, path: 7}}",
        "datasets.x.path: expected string, got 7",
    ),
    "a zoom to nothing": (
        "datasets: {moves-test: {zoom: -1}}",
        "moves-test.zoom: expected more than the minimum -1",
    ),
    "a zoom through nothing": (
        "datasets: {moves-test: {zoom: -2}}",
        "moves-test.zoom: expected more than the minimum -1",
    ),
    "a zoom that overflows": (
        "datasets: {moves-test: {zoom: 0.9, frames: 2000}}",
        "moves-test.zoom: expected a magnification of at most 1,000,000 over 2000 frames, got 0.9",
    ),
    "a slow zoom that overflows": (
        "datasets: {moves-test: {zoom: 0.01, frames: 100000}}",
        "moves-test.zoom: expected a magnification of at most",
    ),
    "a zoom out that vanishes": (
        "datasets: {moves-test: {zoom: -0.99, frames: 16}}",
        "moves-test.zoom: expected a magnification of at most",
    ),
    "pan of one number": ("datasets: {moves-test: {pan: 1}}", "moves-test.pan: expected array, got 1"),
    "pan of three": (
        "datasets: {moves-test: {pan: [1, 2, 3]}}",
        "moves-test.pan: expected at most 2 entries",
    ),
    "pan of none": ("datasets: {moves-test: {pan: []}}", "moves-test.pan: expected (at least|more)"),
    "sigma of a list": (
        "degradations: {gaussian: {sigma: [1.5]}}",
        r"gaussian.sigma: expected number, got \[1.5\]",
    ),
    "a phase beyond the scale": (
        "degradations: {gaussian: {phase: 4}}",
        "gaussian.phase: expected below the scale 4, got 4",
    ),
    "an unknown degradation": ("degradations: {x: {kind: lanczos}}", "degradations.x.kind: expected one of"),
    "a degradation that is code": (
        "degradations: {x: {kind: 'os:system(1)', first_pixel: 0}}",
        "x.kind: text .* does not fit",
    ),
    "the scale of a degradation": ("degradations: {gaussian: {scale: 2}}", "gaussian.scale: unknown key"),
    "the input range of a model": (
        "models: {rlsp-7-48: {input_range: 0}}",
        "rlsp-7-48.input_range: expected more than the minimum 0",
    ),
    "the scale of a model": ("models: {rlsp-7-48: {scale: 2}}", "rlsp-7-48.scale: unknown key"),
    "an unknown arch": ("models: {x: {arch: edvr}}", "models.x.arch: text 'edvr' does not fit"),
    "an arch null": ("models: {x: {arch: null}}", "models.x.arch: missing|models.x"),
    "filters as text": (
        "models: {rlsp-7-48: {filters: '48'}}",
        "rlsp-7-48.filters: expected integer, got '48'",
    ),
    "an odd DUF": ("models: {duf-16l: {layers: 17}}", "duf-16l.layers: expected a multiple of 2, got 17"),
    "a protocol without its crop": (
        "protocols: {x: {channel: y, crop: 7, trim: [0, 0], average: frame}}",
        "protocols.x.crop",
    ),
    "an unknown headline": ("headline_protocol: x", "headline_protocol: unknown name 'x'"),
    "a checksum cut off": (
        "downloads: {reds-val-sharp: {sha256: abc}}",
        "reds-val-sharp.sha256: text 'abc' does not fit",
    ),
    "a url of a file": (
        "downloads: {reds-val-sharp: {urls: ['file:///etc/passwd']}}",
        "urls.0: text .* does not fit",
    ),
    "no urls": ("downloads: {reds-val-sharp: {urls: []}}", "urls: expected at least 1 entries"),
    "an archive outside": (
        "downloads: {reds-val-sharp: {file: ../x.zip}}",
        "file: text '../x.zip' does not fit",
    ),
    "test_sets as text": ("test_sets: city-test", "key given twice"),
    "an ablation of nobody": ("ablation: [rlsp-9-9]", "ablation: unknown name 'rlsp-9-9'"),
    "a metric of another name": (
        "metrics: {psnr_y: {function: 'a:b', kind: frame, inputs: [restored], better: higher}}",
        "metrics.psnr_y: expected another name",
    ),
    "a metric without a function": (
        "metrics: {x: {kind: frame, inputs: [restored], better: higher}}",
        "x.function: missing",
    ),
    "precisions of fp8": (
        "precisions: {compare: [fp8]}",
        "precisions.compare.0: expected one of tf32, bf16, fp16",
    ),
}


def with_runs(*runs):
    return f"study: small\ntest_sets: [moves-test]\nruns: {json.dumps(runs)}\n"


GAUSSIAN = {"degradations": ["gaussian"]}
TRAINED = GAUSSIAN | {"models": ["rlsp-7-48"], "recipe": "demo", "train_set": "moves-train"}
RUNS = {
    "none": ((), "runs: expected at least 1 entries"),
    "a word": (("demo",), "runs.0.*expected object, got 'demo'"),
    "nothing said": (({},), "runs.0.*: missing"),
    "null": ((None,), "runs.0.*expected object, got None"),
    "of an unknown model": (
        (TRAINED | {"models": ["rlsp-7-47"]},),
        "unknown name 'rlsp-7-47'; did you mean rlsp-7-",
    ),
    "models as text": (
        (TRAINED | {"models": "rlsp-7-48"},),
        "runs.0.models: expected array, got 'rlsp-7-48'",
    ),
    "of no model": ((TRAINED | {"models": []},), "runs.0.models: expected at least 1 entries"),
    "of an unknown recipe": ((TRAINED | {"recipe": "demos"},), "unknown name 'demos'; did you mean demo"),
    "of an unknown set": ((TRAINED | {"train_set": "moves"},), "unknown name 'moves'"),
    "trained on what is tested": (
        (TRAINED | {"train_set": "moves-test"},),
        "train set moves-test and test set moves-test",
    ),
    "twice": ((TRAINED, TRAINED), "runs.1: run rlsp-7-48.gaussian.s0 is there already"),
    "of one seed twice": ((TRAINED | {"seeds": [1, 1]},), "run rlsp-7-48.gaussian.s1 is there already"),
    "of 6,000 seeds": (
        (TRAINED | {"seeds": list(range(6000))},),
        "runs.0: expected at most 5,000 runs in all",
    ),
    "a product of a billion": (
        (
            TRAINED
            | {key: [f"{key}{n}" for n in range(1000)] for key in ("models", "degradations")}
            | {"seeds": list(range(1000))},
        ),
        "runs.0: expected at most 5,000 runs in all",
    ),
    "that begins with itself": ((TRAINED | {"start_from": "rlsp-7-48"},), "begins with itself in the end"),
    "that begins with nothing": (
        (TRAINED | {"start_from": "rlsp-7-64"},),
        "start_from: expected .* which is none",
    ),
    "that begins with a missing file": (
        (TRAINED | {"start_from": "a.safetensors"},),
        "there is none at a.safetensors",
    ),
    "that begins with a .pth": (
        (TRAINED | {"start_from": "a.pth"},),
        "start_from: expected a .safetensors file",
    ),
    "weights of PyTorch": (
        (GAUSSIAN | {"name": "x", "weights": "a.pth"},),
        "x.weights: expected released:<name> or a .safet",
    ),
    "weights of no name": (
        (GAUSSIAN | {"name": "x", "weights": ""},),
        "runs.0.weights: expected 1 to 4096 characters",
    ),
    "weights null": (
        (GAUSSIAN | {"name": "x", "weights": None},),
        "runs.0.weights: expected string, got None",
    ),
    "weights in a list": (
        (GAUSSIAN | {"name": "x", "weights": ["a.safetensors"]},),
        "runs.0.weights: expected string",
    ),
    "weights without a name": ((GAUSSIAN | {"weights": "a.safetensors"},), "runs.0.name: missing"),
    "weights named A": (
        (GAUSSIAN | {"name": "A", "weights": "a.safetensors"},),
        "runs.0.name: name 'A' does not fit",
    ),
    "weights of no release": (
        (GAUSSIAN | {"name": "x", "weights": "released:9-9"},),
        "x.gaussian.*weights: expected one of 7-48, 7-64, 7-128",
    ),
    "weights of an empty release": (
        (GAUSSIAN | {"name": "x", "weights": "released:"},),
        "weights: expected one of 7-48",
    ),
    "frames that are weights": (
        (GAUSSIAN | {"name": "x", "frames": "a.safetensors"},),
        "frames: expected a folder of frames",
    ),
    "frames of no release": ((GAUSSIAN | {"name": "x", "frames": "released:none"},), "unknown name 'none'"),
    "interpolation that is none": (
        (GAUSSIAN | {"interpolation": "bilinear"},),
        "interpolation: expected one of bicubic",
    ),
    "of an unknown input": (
        ({"interpolation": "bicubic", "degradations": ["gauss"]},),
        "unknown name 'gauss'; did you mean",
    ),
    "of no input": (
        ({"interpolation": "bicubic", "degradations": []},),
        "degradations: expected at least 1 entries",
    ),
    "validated twice": (
        (TRAINED | {"validation_set": "city-test", "validation_clips": 2},),
        "validation_clips|validation_set",
    ),
}
EXTENDED = {
    "itself": (extending(a="a"), "extends: expected at most 5 studies"),
    "a circle": (extending(a="b", b="c", c="a"), "extends: expected at most 5 studies"),
    "nothing": ("study: a\nextends: demos\n", "extends: no study 'demos'; did you mean demo"),
    "a folder": ("study: a\nextends: .\n", "extends: no study '.'"),
    "a device": ("study: a\nextends: /dev/zero\n", "extends: no study '/dev/zero'"),
    "a list": ("study: a\nextends: [demo]\n", "extends: expected the name of a study or a file, got"),
    "a number": ("study: a\nextends: 7\n", "extends: expected the name of a study or a file, got 7"),
    "under its own name": ("study: demo\nextends: demo\n", "study: expected a name of its own"),
    "without a name": ("extends: demo\n", "study: expected a name of its own"),
    "and removes nobody": (
        "study: a\nextends: demo\nruns: {remove: [rlsp-9-9]}\n",
        "runs.remove: unknown name 'rlsp-9-9'",
    ),
    "and removes a map": ("study: a\nextends: demo\nruns: {remove: [{a: 1}]}\n", "runs.remove: unknown name"),
    "and adds null": ("study: a\nextends: demo\nruns: {add: null}\n", "runs.add: expected array, got None"),
    "and adds a word": ("study: a\nextends: demo\nruns: {add: [x]}\n", "runs.* expected object, got 'x'"),
    "and changes": ("study: a\nextends: demo\nruns: {change: []}\n", "runs.change: unknown key"),
    "nothing but changes runs": ("study: a\nruns: {add: []}\n", "runs: expected array, got a map"),
}
NAMES = ["../up", "a/b", "", "A", "über", "a b", "-a", ".a", "a..b", "a" * 101, "a\\nb", "~", "a:b", "$(x)"]

# ---- what lies beside it -----------------------------------------------------------------------


def owned_by(content):
    """Plan a study whose folder of results says what `content` is."""

    def act(folder):
        owner = folder / "owner.json"
        if callable(content):
            content(owner)
        else:
            owner.write_bytes(content)
        check_owner(folder, ["config/demo.yaml"])

    return act


OWNERS = {
    "empty": b"",
    "cut off": b'["config/de',
    "binary": bytes(range(256)),
    "null": b"null",
    "a map": b'{"a": 1}',
    "a list of numbers": b"[1, 2]",
    "deep": b"[" * 100_000,
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
}


def seconds(command, *words):
    return lambda folder: [command, *words]


CASES = [
    *NUMBER_CASES,
    *(Case(f"file: {name}", said(content), line) for name, (content, line) in FILES.items()),
    *(Case(f"key: {name}", said(small(text)), line) for name, (text, line) in KEYS.items()),
    *(Case(f"run {name}", said(with_runs(*runs)), line) for name, (runs, line) in RUNS.items()),
    *(Case(f"extends {name}", said(content), line) for name, (content, line) in EXTENDED.items()),
    *(
        Case(f"study named {name!r}", said(small().replace("study: small", f'study: "{name}"')), "study: ")
        for name in NAMES
    ),
    *(
        Case(
            f"study {text}", said(small().replace("study: small", f"study: {text}")), "study: expected string"
        )
        for text in ("7", "null", "[a]", "true", "1.5", "{a: b}")
    ),
    Case("study not named", said(small().replace("study: small\n", "")), "study: missing"),
    Case("file: a byte order mark", said(b"\xef\xbb\xbf" + small().encode()), is_refused=False),
    Case("file: Windows line ends", said(small().replace("\n", "\r\n")), is_refused=False),
    Case(
        "file: by a link",
        said(lambda path: [path.with_name("a").write_text(small()), path.symlink_to("a"), None][2]),
        is_refused=False,
    ),
    Case(
        "file: a name with blanks and umlauts",
        said(
            lambda path: [path.with_name("größe 1.yaml").write_text(small()), path.with_name("größe 1.yaml")][
                1
            ]
        ),
        is_refused=False,
    ),
    *(
        Case(
            f"owner.json: {name}",
            owned_by(content),
            "warning: .*owner.json: damaged; taken for missing",
            False,
        )
        for name, content in OWNERS.items()
    ),
    Case("owner.json: of this study", owned_by(b'["config/demo.yaml"]'), is_refused=False),
    Case("owner.json: of another study", owned_by(b'["other.yaml"]'), "holds the results of other.yaml"),
    *(
        Case(
            f"{command} --seconds {text}",
            seconds(command, "--seconds", text),
            "--seconds: (expected seconds|invalid)",
        )
        for command in ("rate", "time")
        for text in ("nan", "inf", "1e300", "x")
    ),
]


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_studies(case, tmp_path, capfd):
    run(case, tmp_path, capfd)
