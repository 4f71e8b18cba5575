"""What a change in a study plans again: the rules that use the changed spec, and no others."""

import json
import re
import subprocess
import sys

import pandas as pd
import pytest
from made_metrics import OWN
from snakemake_runs import edit, new_folder, planned, snakemake

from rlsp.shipped import ROOT

pytestmark = pytest.mark.workflow


def plan(folder):
    """List the jobs of a folder's study: by output the rule and the texts of its params."""
    command = [sys.executable, str(ROOT / "tests" / "list_jobs.py"), "Snakefile", "study.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    jobs = {}
    for output, told in found["outputs"].items():
        rule, *params = told.split(" ")
        texts = {key: found["params"][f"{rule}.{key}"][int(n)] for key, n in (p.split("=") for p in params)}
        jobs[output] = (rule, texts)
    return jobs


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    return plan(new_folder(tmp_path_factory.mktemp("before") / "clone"))


def put(*path):
    """Make a change of a study that sets a value."""
    *parents, last, value = path

    def change(study):
        for key in parents:
            study = study.setdefault(key, {}) if isinstance(study, dict) else study[key]
        study[last] = value

    return change


def add_model(study):
    study["models"]["another"] = {"arch": "rlsp", "layers": 2, "filters": 4}
    study["runs"].append({**study["runs"][0], "models": ["another"], "degradations": ["gaussian"]})


CHANGES = {
    "model": (put("models", "rlsp-2-8", "filters", 4), {"train", "time", "collect"}),
    "recipe": (put("recipes", "tiny", "learning_rate", 0.002), {"train", "collect"}),
    "degradation": (
        put("degradations", "gaussian", "sigma", 1.4),
        {"degrade", "train", "restore", "collect"},
    ),
    "training set": (put("datasets", "tiny-train", "seed", 9), {"pack", "degrade", "train"}),
    "test set": (put("datasets", "tiny-test", "seed", 9), {"pack", "degrade", "flow"}),
    "protocol": (put("protocols", "crop8-all-frame", "average", "video"), {"collect"}),
    "score": (put("score", {"crops": [0, 4, 8]}), {"score"}),
    "own metric": (put("metrics", {"own": OWN["mean_error"]}), {"score", "collect"}),
    "restore": (put("restore", {"precision": "bf16"}), {"restore"}),
    "runtime": (put("runtime", "repeats", 4), {"time"}),
    "training": (put("training", {"workers": 1}), set()),
    "download": (put("downloads", {"vid4": {"base_url": "http://mirror"}}), set()),
    "run": (add_model, {"train", "restore", "score", "time", "collect", "pictures"}),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_changed_spec_plans_what_uses_it(before, tmp_path, kind):
    change, expected = CHANGES[kind]
    folder = new_folder(tmp_path / "clone")
    edit(folder, change)
    after = plan(folder)
    changed = {output for output in before.keys() | after.keys() if before.get(output) != after.get(output)}
    rules = {(after.get(output) or before[output])[0] for output in changed}
    assert rules == expected
    trained = {re.sub(r"^.*weights/([^/]+)/.*", r"\1", output) for output in changed if "/weights/" in output}
    if kind == "model":  # none but its own
        assert trained == {"rlsp-2-8.gaussian.s0", "rlsp-2-8.bicubic.s0"}
    if kind == "run":
        assert trained == {"another.gaussian.s0"}


CODE = """
import numpy as np

def brightness(restored):
    return restored.mean()

def blocks(frame, *, scale, darker):
    parts = frame.reshape(frame.shape[0] // scale, scale, frame.shape[1] // scale, scale, 3)
    return np.clip(np.rint(parts.mean(axis=(1, 3))) - darker, 0, 255).astype(np.uint8)
"""
BRIGHTNESS = {
    "function": "my_measures:brightness",
    "kind": "frame",
    "inputs": ["restored"],
    "better": "higher",
}
SCORES = "results/tiny/scores/bicubic.mine/tiny-test.csv"


@pytest.mark.slow
def test_a_metric_and_a_degradation_of_the_users_own_run_and_are_run_again_when_they_change(tmp_path):
    """Their code lies in the folder that Snakemake is started in, and nowhere where Python would find it."""
    folder = new_folder(
        tmp_path / "clone",
        metrics={"brightness": BRIGHTNESS},
        degradations={"mine": {"kind": "my_camera:blocks", "first_pixel": 1.5, "darker": 3}},
        runs=[{"interpolation": "bicubic", "degradations": ["mine"]}],
        ablation=[],
    )
    metric, degradation = folder / "my_measures.py", folder / "my_camera.py"
    for file in (metric, degradation):
        file.write_text(CODE)
    # as `snakemake` starts it, without the working folder among the places of modules
    snakemake(folder, "--cores", "2", SCORES, PYTHONSAFEPATH="1")
    rows = pd.read_csv(folder / SCORES)
    assert rows["brightness"].between(16, 235).all() and rows["psnr_y"].between(28, 34).all()
    assert not planned(folder, SCORES)
    metric.write_text(CODE.replace("restored.mean()", "restored.max()"))
    assert planned(folder, SCORES) == {"score": 1}
    metric.write_text(CODE + "# a comment\n")
    edit(folder, put("metrics", "brightness", "decimals", 1))
    assert not planned(folder, SCORES)
    degradation.write_text(CODE.replace("- darker", "+ darker"))
    assert planned(folder, SCORES) == {"degrade": 1, "restore": 1, "score": 1}
