"""Full disks and damaged files of our own: one line that names the file, and nothing half written."""

import contextlib
import json
import os
import resource

import numpy as np
import pandas as pd
import pytest
from cases import Case, names, run
from made_degradations import BICUBIC
from made_tables import write_made
from matplotlib.figure import Figure

from rlsp.data.clips import open_clips, read_restored, write_clip
from rlsp.data.degradation import degrade_dataset
from rlsp.data.flow import open_flow, write_flow_dataset
from rlsp.data.images import write_png
from rlsp.data.packing import pack_dataset
from rlsp.files import allocate, read_json, write_csv, write_json, write_rows, write_text
from rlsp.inference.restoration import restore_run
from rlsp.jobs import HOLDER, LOCKS, release_stale_lock, settle_lock
from rlsp.models import build_model
from rlsp.models.weights import save_weights
from rlsp.reporting.render import render_tables
from rlsp.reporting.style import save_figure
from rlsp.training.checkpoint import Checkpoint, Progress
from rlsp.training.lease import hold_lease
from rlsp.training.loop import event_log


@contextlib.contextmanager
def full_disk(left=2000):
    """Let no file grow beyond some bytes, which is the nearest thing to a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def clips(folder, shape=(3, 32, 32, 3)):
    entry = write_clip(folder / "clips/a.npy", noise(*shape))
    write_json(folder / "clips/manifest.json", {"dataset": "set", "licence": "free", "clips": {"a": entry}})
    return folder / "clips/manifest.json"


def drawn():
    figure = Figure()
    figure.subplots().plot(noise(50))
    return figure


def pictures(folder):
    for number in range(3):
        write_png(folder / f"own/a/{number}.png", noise(32, 32, 3))
    return folder / "own"


def pack(folder, own):
    spec = {"source": "folder", "path": str(own), "scale": 4}
    pack_dataset("set", spec, folder / "packed/manifest.json", source=own, workers=1)


def checkpoint(folder):
    found = Checkpoint(folder / "state", "print", "code")
    found.folder.mkdir(exist_ok=True)
    return found


def save_state(folder):
    import torch

    checkpoint(folder).save({"weights": torch.zeros(5000)}, Progress())


def weights(folder):
    spec = {"arch": "rlsp", "layers": 2, "filters": 8}
    save_weights(folder / "model.safetensors", build_model(spec), {"model": spec, "degradation": BICUBIC})


def restore(folder, manifest):
    restore_run(
        [], manifest, folder / "sr/manifest.json", run="bicubic", degradation=BICUBIC, threads=1, device="cpu"
    )


# what is written -> how it is prepared, how it is written, and the file that the line names
WRITTEN = {
    "text": (None, lambda d, _: write_text(d / "a.txt", "x" * 9000), "a.txt"),
    "JSON": (None, lambda d, _: write_json(d / "a.json", list(range(9000))), "a.json"),
    "a table": (None, lambda d, _: write_csv(d / "a.csv", pd.DataFrame({"a": range(9000)})), "a.csv"),
    "rows": (None, lambda d, _: write_rows(d / "a.csv", ["a"], ({"a": n} for n in range(9000))), "a.csv"),
    "a picture": (None, lambda d, _: write_png(d / "a.png", noise(64, 64, 3)), "a.png"),
    "a clip": (None, lambda d, _: write_clip(d / "a.npy", noise(3, 32, 32, 3)), "a.npy"),
    "a packed clip": (pictures, pack, "packed/a.npy"),
    "LR clips": (
        lambda d: clips(d, (3, 96, 96, 3)), lambda d, m: degrade_dataset(m, BICUBIC, d / "lr/manifest.json"), "lr/a.npy",
    ),
    "optical flow": (clips, lambda d, m: write_flow_dataset(m, d / "flow/manifest.json"), "a.(backward|visible).npy"),
    "weights": (None, lambda d, _: weights(d), "model.safetensors"),
    "a checkpoint": (None, lambda d, _: save_state(d), "state.pt: cannot be written [(]File too large[)]; the last"),
    "a figure": (lambda d: drawn(), lambda d, figure: save_figure(figure, d / "a"), "a.pdf"),
    "tables": (lambda d: write_made(d), lambda d, _: render_tables(d), "tables/.*"),
    "restored frames": (clips, restore, r"sr/a/rgb/0000000\d.png"),
}  # fmt: skip


def written_case(name, prepare, write, line):
    def act(folder):
        prepared = prepare(folder) if prepare else None
        before = {path for path in folder.rglob("*") if path.is_file()}
        with full_disk():
            try:
                write(folder, prepared)
            finally:
                left = {path for path in folder.rglob("*") if path.is_file()} - before
                assert not [path for path in left if path.name[0] == "."], left

    return Case(f"{name} on a full disk", act, f"{line}.*File too large|{line}")


def into(folder, how):
    """A place where nothing can be written."""
    if how == "a file for a folder":
        (folder / "out").write_text("")
        return folder / "out/a.json"
    if how == "a folder for a file":
        (folder / "a.json/b").mkdir(parents=True)
        return folder / "a.json"
    if how == "a dangling link for a folder":
        (folder / "out").symlink_to("nowhere/at/all")
        return folder / "out/a.json"
    return folder / f"{'n' * 300}.json"


PLACES = {
    "a file for a folder": "out: (Not a directory|File exists)", "a folder for a file": "a.json: Is a directory",
    "a dangling link for a folder": "out: File exists", "a name too long": "n.json: File name too long",
}  # fmt: skip

# ---- damaged files -------------------------------------------------------------------------------

DAMAGES = {
    "empty": b"", "half": b'{"dataset": "set", "cli', "text": b"hello", "binary": bytes(range(256)), "null": b"null",
    "a list": b"[]", "a number": b"3", "a string": b'"a"', "an empty map": b"{}", "deep": b"[" * 50_000,
    "other keys": b'{"a": 1}', "clips of a list": b'{"clips": []}', "clips of null": b'{"clips": null}',
    "a clip of text": b'{"clips": {"a": "b"}, "dataset": "set"}', "a clip of null": b'{"clips": {"a": null}, "dataset": "set"}',
}  # fmt: skip
READERS = {
    "a manifest of clips": open_clips,
    "a manifest of restored frames": lambda path: read_restored(path, "run"),
    "a manifest of flow": lambda path: open_flow(path, "a"),
    "a manifest to degrade": lambda path: degrade_dataset(path, BICUBIC, path.parent / "lr/manifest.json"),
}


def damaged(folder, content, name="manifest.json"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def lease_case(name, content):
    def act(folder):
        damaged(folder, content, "lease-1.json")
        with hold_lease(folder, heartbeat=0.01, stale=0.05) as lease:
            assert lease.path.name == "lease-2.json"

    return Case(f"a lease that is {name}", act, "lease-1.json: damaged; taken for missing", is_refused=False)


def mark_case(name, content):
    def act(folder):
        damaged(folder, content, "state/diverged.json")
        with checkpoint(folder).divergence_marked():
            pass

    return Case(
        f"a mark that is {name}", act, "diverged.json: damaged .*; taken for missing", is_refused=False
    )


def holder(folder, content):
    damaged(folder, content, HOLDER)
    (folder / LOCKS).mkdir(parents=True)
    (folder / LOCKS / "0.input.lock").write_text("")
    return folder


HOLDERS = {
    **DAMAGES,
    "pid of text": b'{"host": "h", "pid": "x", "started": 1}',
    "pid below zero": b'{"host": "h", "pid": -7, "started": 1}',
}
CLIP_DAMAGES = {
    "empty": b"", "text": b"frames", "half a header": b"\x93NUMPY\x01\x00v", "a pickle": b"\x80\x04N.", "zeros": bytes(500),
}  # fmt: skip


def clip_file(folder, content):
    manifest = clips(folder)
    (folder / "clips/a.npy").write_bytes(content)
    return manifest


def table(folder, content):
    write_made(folder)
    (folder / "rows/scores.csv").write_bytes(content)
    return ["figures", "--results", str(folder)]


TABLES = {
    "empty": b"", "a header alone": b"study,run\n", "binary": bytes(range(256)) * 3, "text": b"scores of my method\n",
    "an open quote": b'study,run\n"a,b\n', "too many cells": b"study,run\na,b,c,d\na,b\n", "NUL bytes": b"\0" * 100,
    "a web page": b"<html><body>404</body></html>\n", "UTF-16": "study,run\na,b\n".encode("utf-16"),
}  # fmt: skip


def linked_folder_is_full(folder):
    with full_disk(4000), event_log(folder, 0, True) as add:
        for step in range(400):
            add({"step": step, "loss": 1.0, "psnr": 20.0, "learning_rate": 0.1})


CASES = [
    *(written_case(name, *row) for name, row in WRITTEN.items()),
    *(Case(f"{how} where a file goes", lambda d, how=how: write_json(into(d, how), {}), line) for how, line in PLACES.items()),
    Case("room that is not there", lambda d: full_allocation(d), "File too large"),
    Case("events of a training on a full disk", linked_folder_is_full, "tensorboard: warning: no further events", is_refused=False),
    *(
        Case(f"{reader} is {name}", lambda d, read=read, content=content: read(damaged(d, content)), "manifest.json: ")
        for reader, read in READERS.items()
        for name, content in DAMAGES.items()
    ),
    *(Case(f"JSON is {name}", lambda d, content=content: read_json(damaged(d, content)), "manifest.json: expected") for name, content in DAMAGES.items() if name in ("empty", "half", "text", "binary", "null", "a list", "deep")),
    *(lease_case(name, content) for name, content in DAMAGES.items()),
    *(mark_case(name, content) for name, content in DAMAGES.items()),
    *(
        Case(
            f"a holder that is {name}", lambda d, content=content: settle_lock(holder(d, content)),
            "expected no other run of Snakemake in this folder, got ",
        )
        for name, content in HOLDERS.items()
    ),
    Case("a holder that is missing", lambda d: release_stale_lock(d), is_refused=False),
    *(Case(f"a clip that is {name}", lambda d, content=content: open_clips(clip_file(d, content)), "a.npy: expected") for name, content in CLIP_DAMAGES.items()),
    *(Case(f"scores that are {name}", lambda d, content=content: table(d, content), "scores.csv: |rows") for name, content in TABLES.items()),
]  # fmt: skip


def full_allocation(folder):
    with full_disk(100):
        allocate(folder / "a.npy", 10_000)


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_disk(case, tmp_path, capfd):
    run(case, tmp_path, capfd)


def test_a_mark_of_another_training_does_not_stop_this_one(tmp_path):
    damaged(tmp_path, json.dumps({"fingerprint": "other", "message": "m"}).encode(), "state/diverged.json")
    with checkpoint(tmp_path).divergence_marked():
        assert os.path.exists(tmp_path / "state/diverged.json")
