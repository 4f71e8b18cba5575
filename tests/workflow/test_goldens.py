"""What studies plan and make is what they planned and made: paths, folders and params decide what is made again.

A difference that is meant is written with ``PYTHONPATH=tests python tests/workflow/test_goldens.py``, and explained in
its commit.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from snakemake_runs import COMMAND, TINY, new_folder, snakemake

from rlsp.devices import describe_device
from rlsp.shipped import ROOT

pytestmark = pytest.mark.workflow
GOLDENS = ROOT / "tests" / "goldens"
BYTES = GOLDENS / "tiny-bytes.json"
STUDIES = {path.stem: path for path in sorted((ROOT / "config").glob("*.yaml")) if path.stem != "catalogue"}
STUDIES["tiny"] = TINY


def plan(study, folder):
    """List the jobs of a study in a new working folder; those with clips that the small study asks for are empty."""
    new_folder(folder)
    for name in ("clips", "photographs"):
        (folder / "training" / name).mkdir(parents=True)
    command = [COMMAND[0], str(ROOT / "tests" / "list_jobs.py"), "Snakefile", str(STUDIES[study])]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_plans_what_it_planned(study, tmp_path):
    found, expected = (
        json.loads(plan(study, tmp_path / "clone")),
        json.loads((GOLDENS / f"{study}.json").read_text()),
    )
    assert found["outputs"].keys() == expected["outputs"].keys()
    assert found["params"].keys() == expected["params"].keys()
    for name, texts in expected["params"].items():
        assert found["params"][name] == texts, name
    assert found == expected


def digests(folder):
    """Hash the weights and the restored frames of the finished tiny study, with what their bytes depend on."""
    results = folder / "results" / "tiny"
    files = sorted([*results.glob("weights/*/model.safetensors"), *results.glob("restored/**/*.png")])
    frames = {}
    for file in files:
        frames.setdefault(str(file.parent.relative_to(results)), hashlib.sha256()).update(file.read_bytes())
    made_on = {"processor": describe_device("cpu").rpartition(", ")[0], "torch": torch.__version__}
    return {**made_on, "sha256": {name: digest.hexdigest() for name, digest in frames.items()}}


def test_the_tiny_study_has_the_bytes_that_it_had(finished):
    """Bytes are promised for one type of processor and one version of PyTorch only."""
    expected, found = json.loads(BYTES.read_text()), digests(finished)
    if any(found[key] != expected[key] for key in ("processor", "torch")):
        pytest.skip(f"kept from {expected['processor']}, torch {expected['torch']}")
    assert found == expected


def write_goldens():
    GOLDENS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        clone = new_folder(Path(folder) / "clone")
        snakemake(clone, "--cores", "2")
        BYTES.write_text(json.dumps(digests(clone), indent=1) + "\n")
    for study in STUDIES:
        with tempfile.TemporaryDirectory() as folder:
            (GOLDENS / f"{study}.json").write_text(plan(study, Path(folder) / "clone"))
            print(GOLDENS / f"{study}.json")


if __name__ == "__main__":
    sys.exit(write_goldens())
