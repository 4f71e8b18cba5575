"""Running Snakemake as a user does, in a folder laid out as a clone has it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from rlsp.cli import main
from rlsp.shipped import ROOT

STUDIES = ROOT / "tests" / "studies"
TINY = STUDIES / "tiny.yaml"
COMMAND = [sys.executable, "-m", "snakemake", "--configfile", "study.yaml"]


def new_folder(folder, study=TINY, **changes):
    """Lay out a working folder with a study in it, some of its keys changed; returns the folder."""
    folder.mkdir(parents=True)
    for name in ("workflow", "profiles", "config", "envs"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "Snakefile", folder)
    write_study(folder, {**yaml.safe_load(study.read_text()), **changes})
    return folder


def read_study(folder):
    return yaml.safe_load((folder / "study.yaml").read_text())


def write_study(folder, study):
    (folder / "study.yaml").write_text(yaml.safe_dump(study))


def edit(folder, change):
    """Let a function change the study of a folder."""
    study = read_study(folder)
    change(study)
    write_study(folder, study)


def run(folder, *command, check=True, **environment):
    """Run a module of Python in a folder; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def snakemake(folder, *arguments, study="study.yaml", check=True, **environment):
    """Run Snakemake in a folder; returns what it printed."""
    return run(folder, "snakemake", "--configfile", study, *arguments, check=check, **environment)


def planned(folder, *arguments):
    """Number of jobs of each rule that would run."""
    printed = snakemake(folder, "--dry-run", *arguments)
    if "Nothing to be done" in printed:
        return {}
    jobs = re.findall(r"^(\w+) +(\d+)$", printed, re.MULTILINE)
    return {rule: int(count) for rule, count in jobs if rule != "total"}


def train_by_hand(folder, monkeypatch, run_id):
    """Train a run of a folder's study in this process; returns the bytes of its weights."""
    monkeypatch.chdir(folder)
    study = read_study(folder)
    main(["train", "--study", "study.yaml", run_id])
    return (Path("results") / study["study"] / "weights" / run_id / "model.safetensors").read_bytes()
