"""What studies plan is what they planned: paths, folders and params decide what is made again.

A difference that is meant is written with ``PYTHONPATH=tests python tests/workflow/test_goldens.py``, and explained in
its commit.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from snakemake_runs import COMMAND, TINY, new_folder

from rlsp.config.schema import ROOT

pytestmark = pytest.mark.workflow
GOLDENS = ROOT / "tests" / "goldens"
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


def write_goldens():
    GOLDENS.mkdir(exist_ok=True)
    for study in STUDIES:
        with tempfile.TemporaryDirectory() as folder:
            (GOLDENS / f"{study}.json").write_text(plan(study, Path(folder) / "clone"))
            print(GOLDENS / f"{study}.json")


if __name__ == "__main__":
    sys.exit(write_goldens())
