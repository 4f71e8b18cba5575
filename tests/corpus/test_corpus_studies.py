"""Study files as people write them: every number of every kind of entry wrong in every way, and files that are none."""

import copy
import math
import os
import socket
import tempfile

import pytest
import yaml
from cases import Case, names, run

from rlsp.config.specs.fields import Number
from rlsp.shipped import ROOT

TINY = yaml.safe_load((ROOT / "tests" / "studies" / "tiny.yaml").read_text())
RUN = "rlsp-2-8.gaussian.s0"


def plan(folder, content):
    """Words that read a study, given as text, bytes or a map."""
    path = folder / "study.yaml"
    if isinstance(content, dict):
        content = yaml.safe_dump(content, sort_keys=False)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return ["where", RUN, "--study", str(path)]


def changed(path, value):
    study = copy.deepcopy(TINY)
    *parents, last = path
    inner = study
    for key in parents:
        inner = inner.setdefault(key, {}) if isinstance(inner, dict) else inner[key]
    inner[last] = value
    return study


# ---- numbers -------------------------------------------------------------------------------------

# an entry of each kind and its numbers
ENTRIES = {
    ("datasets", "tiny-train"): (
        {"source": "camera-moves", "photographs": ["astronaut"]},
        ["clips_per_photograph", "varied_speed", "frames", "supersample", "jitter", "zoom", "rotation", "seed", "resize"],
    ),
    ("datasets", "own"): ({"source": "folder", "path": "x"}, ["frames", "shortest_scene"]),
    ("models", "rlsp-2-8"): ({"arch": "rlsp"}, ["layers", "filters"]),
    ("models", "frvsr"): ({"arch": "frvsr"}, ["blocks", "filters", "max_flow", "warp_loss"]),
    ("models", "duf"): ({"arch": "duf"}, ["layers", "filters", "growth", "border", "huber_delta"]),
    ("degradations", "gaussian"): ({"kind": "gaussian"}, ["sigma", "truncate", "phase"]),
    ("recipes", "tiny"): (
        TINY["recipes"]["tiny"],
        ["steps", "batch", "crop", "frames", "learning_rate", "head_scale", "input_range", "clip_norm", "log_every"],
    ),
    ("protocols", "crop8-trim1-video"): (TINY["protocols"]["crop8-trim1-video"], ["crop"]),
    ("runtime",): (TINY["runtime"], ["repeats", "seconds", "warmup", "threads"]),
}  # fmt: skip
NUMBERS = {
    "nan": math.nan, "inf": math.inf, "-inf": -math.inf, "-1e300": -1e300, "10**40": 10**40, "text": "many",
    "a list": [1, 2], "a map": {"a": 1}, "true": True,
}  # fmt: skip
PAIRS = {
    ("datasets", "tiny-train", "pan"): 2,
    ("datasets", "tiny-train", "size"): 2,
    ("protocols", "crop8-trim1-video", "trim"): 2,
}
NUMBER_CASES = [
    Case(
        f"{'.'.join(path)}.{key} is {label}",
        lambda d, path=path, entry=entry, key=key, value=value: plan(d, changed(path, {**entry, key: value})),
        rf"{path[-1]}.*{key}",
    )
    for path, (entry, keys) in ENTRIES.items()
    for key in keys
    for label, value in NUMBERS.items()
]
PAIR_CASES = [
    Case(
        f"{'.'.join(path)} has {label} at {place}",
        lambda d, path=path, count=count, place=place, value=value: plan(
            d, changed(path, [value if n == place else 16 for n in range(count)])
        ),
        rf"{path[-2]}.*{path[-1]}",
    )
    for path, count in PAIRS.items()
    for place in range(count)
    for label, value in NUMBERS.items()
]
OTHER_NUMBERS = [
    Case(f"long_clips.after {label}", lambda d, value=value: plan(d, changed(
        ("recipes", "tiny", "long_clips"), {"after": value, "batch": 1, "frames": 8})), "long_clips.after")
    for label, value in NUMBERS.items()
] + [
    Case(f"seed {label}", lambda d, value=value: plan(d, changed(("runs", 0, "seeds"), [value])), "seeds")
    for label, value in NUMBERS.items()
]  # fmt: skip

# ---- files ---------------------------------------------------------------------------------------


def bomb(levels):
    lines = ["study: tiny", "a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]")
    return "\n".join(lines)


def special(folder, kind):
    path = folder / "study.yaml"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with tempfile.TemporaryDirectory(dir="/tmp") as short, socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{short}/s")
            os.rename(f"{short}/s", path)
    elif kind != "missing":
        path.symlink_to(kind)
    return ["where", RUN, "--study", str(path)]


FILES = [
    *(
        Case(f"study is a {label}", lambda d, kind=kind: special(d, kind), r"study.yaml: ")
        for label, kind in (
            ("named pipe", "pipe"), ("folder", "folder"), ("socket", "socket"), ("device", "/dev/zero"), ("random device", "/dev/urandom"),
            ("missing file", "missing"), ("dangling link", "nowhere"), ("link to itself", "study.yaml"),
        )
    ),
    *(
        Case(f"study {label}", lambda d, text=text: plan(d, text), line)
        for label, text, line in (
            ("is empty", "", "study"), ("is a list", "- a\n- b\n", "map"), ("is text", "hello", "map"), ("is null", "null", "study|map"),
            ("is a number", "3", "map"), ("of NUL bytes", b"\0" * 100, "study.yaml"), ("of noise", bytes(range(256)) * 4, "study.yaml"),
            ("in UTF-16", "study: tiny".encode("utf-16"), "study.yaml"), ("in Latin-1", "study: t\xefny".encode("latin-1"), "UTF-8|study.yaml"),
            ("of 2 MB", "# " + "x" * 2_000_000, "1 MB|1,000,000|bytes"), ("of aliases that explode", bomb(9), "nodes|aliases"),
            ("3,000 lists deep", "study: " + "[" * 3000 + "]" * 3000, "levels"), ("3,000 maps deep", "a: {" * 3000 + "}" * 3000, "levels|line"),
            ("with an alias to itself", "study: tiny\na: &a [*a]", "levels|alias|nodes|line|itself"),
            ("with an unknown alias", "study: *nothing", "alias"), ("with tabs", "study:\n\tname: x", "line 2"),
            ("with an open bracket", "study: [a", "line"), ("with an open quote", 'study: "a', "line"),
            ("with two documents", "study: a\n---\nstudy: b\n", "document|line"), ("with a key twice", "study: a\nstudy: b\n", "lines 1 and 2"),
            ("with a Python object", "study: !!python/object/apply:os.system ['true']", "tag|expected|got"),
            ("with a binary", "study: !!binary aGk=", "expected"), ("with a date", "study: 2020-01-01", "runs: missing"),
            ("with a number as key", "study: tiny\n3: 4\n", "key"), ("with null as key", "study: tiny\n~: 4\n", "key"),
            ("with a list as key", "study: tiny\n? [a]\n: 4\n", "key"), ("with an escape", 'study: "a\\0b"', "control character"),
            ("with a number of 5,000 digits", "study: tiny\ndevice: " + "9" * 5000, "characters|digits"),
        )
    ),
    *(
        Case(f"name of the study is {value!r:.20}", lambda d, value=value: plan(d, changed(("study",), value)), "study")
        for value in ("", "..", "a/b", "A B", "ü", "x" * 200, "-x", 3, None, ["a"], "a\nb", ".hidden")
    ),
    *(
        Case(f"data_root is {value!r:.20}", lambda d, value=value: plan(d, changed(("data_root",), value)), "data_root")
        for value in ("", 3, None, "a\0b", ["x"], "x" * 5000)
    ),
]  # fmt: skip

# ---- entries -------------------------------------------------------------------------------------

ARCHIVE = {"source": "archive", "download": "reds", "folder": "train/{clip}/", "frames": 10}
MEANINGS = [
    ("unknown key", ("modles",), {}, "did you mean models"),
    ("unknown key of a recipe", ("recipes", "tiny", "learning_rat"), 0.1, "did you mean learning_rate"),
    ("unknown source", ("datasets", "tiny-test", "source"), "camera", "source: expected one of"),
    ("unknown arch", ("models", "rlsp-2-8", "arch"), "rslp", "arch"),
    ("unknown recipe", ("runs", 0, "recipe"), "tinny", "did you mean tiny|tinny"),
    ("unknown data set", ("test_sets",), ["tiny-tset"], "tiny-tset"),
    ("unknown model", ("runs", 0, "models"), ["rlsp-2-9"], "rlsp-2-9"),
    ("unknown degradation", ("runs", 0, "degradations"), ["gausian"], "gausian"),
    ("unknown photograph", ("datasets", "tiny-test", "photographs"), ["cofee"], "cofee"),
    ("unknown protocol", ("headline_protocol",), "crop9", "crop9"),
    ("runs is a map", ("runs",), {"a": 1}, "runs"),
    ("runs is empty", ("runs",), [], "runs"),
    ("the same run twice", ("runs",), [TINY["runs"][0]] * 2, "is there already"),
    ("a range of a billion clips", ("datasets", "tiny-test"), {**ARCHIVE, "clips": ["000000000-999999999"]}, "at most 100000 clips"),
    ("a range that runs backwards", ("datasets", "tiny-test"), {**ARCHIVE, "clips": ["9-1"]}, "low to high"),
    ("trim that is longer than a clip", ("protocols", "crop8-trim1-video", "trim"), [4, 4], "trim"),
    ("crop that is wider than a frame", ("protocols", "crop8-trim1-video", "crop"), 60, "crop"),
    ("test set in the training set", ("test_sets",), ["tiny-train"], "tiny-train"),
    ("extends nothing", ("extends",), "demmo", "demmo"),
    ("extends itself", ("extends",), "study.yaml", "study.yaml"),
]  # fmt: skip
ENTRY_CASES = [
    Case(label, lambda d, path=path, value=value: plan(d, changed(path, value)), line)
    for label, path, value, line in MEANINGS
]
CASES = [*NUMBER_CASES, *PAIR_CASES, *OTHER_NUMBERS, *FILES, *ENTRY_CASES]


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_study(case, tmp_path, capfd):
    run(case, tmp_path, capfd)


def test_the_study_that_cases_change_is_right(tmp_path, capfd):
    run(Case("tiny", lambda d: plan(d, TINY), is_refused=False), tmp_path, capfd)


def test_bounds_refuse_what_is_no_number():
    for value in (math.nan, math.inf, "1", None, True):
        with pytest.raises(Exception, match="expected"):
            Number(0, 1).check(value)
