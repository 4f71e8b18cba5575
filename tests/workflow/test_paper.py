"""The paper study: what it holds, and that it can be planned; it is too large to be run here."""

import os
import re
import resource
import shutil
import subprocess
import sys

import pytest

from rlsp.config.specs.protocols import Protocol
from rlsp.config.study import Study
from rlsp.shipped import ROOT

PLAN_SECONDS = 30  # of CPU time; beside a busy core the clock says more


@pytest.fixture(scope="module")
def paper():
    return Study.from_file(ROOT / "config" / "paper.yaml")


def test_every_depth_width_row_and_peer_is_trained_for_both_inputs_with_three_seeds(paper):
    trained = paper.runs_of("trained")
    models = {run.model for run in trained}
    depths = {f"rlsp-{layers}-128" for layers in (3, 5, 7, 10)}
    widths = {f"rlsp-7-{filters}" for filters in (48, 64, 128, 256)}
    peers = {"frvsr-10-128", "duf-16l", "duf-28l", "duf-52l"}
    assert models == depths | widths | set(paper.spec.ablation) | peers | {"rlsp-7-128-rgb"}
    found = {(run.model, run.degradation, run.seed) for run in trained}
    assert found == {(m, d, s) for m in models for d in ("bicubic", "gaussian") for s in (0, 1, 2)}
    assert all(run.test_sets == ("vid4", "reds4") for run in trained)


def test_rows_of_the_ablation_add_one_thing_each(paper):
    switches = [
        tuple(getattr(paper.model(name), switch) for switch in ("adjacent", "feedback", "state"))
        for name in paper.spec.ablation
    ]
    assert switches == [(False, False, False), (True, False, False), (True, True, False), (True, True, True)]
    sizes = {(paper.model(name).layers, paper.model(name).filters) for name in paper.spec.ablation}
    assert sizes == {(7, 128)}


def test_each_thing_from_elsewhere_meets_the_blur_and_the_clips_it_was_made_for(paper):
    elsewhere = [run for run in paper.runs.values() if run.origin.startswith("released")]
    assert {run.degradation for run in elsewhere} == {"gaussian"}
    assert {run.test_sets for run in elsewhere if run.kind == "frames"} == {("vid4",)}


def test_reds4_can_be_read_as_the_literature_does(paper):
    """In RGB and whole frames; RLSP's own numbers are of the luma."""
    protocols = list(paper.spec.protocols.values())
    assert Protocol(channel="rgb", crop=0, trim=(0, 0), average="frame") in protocols
    assert paper.spec.protocols[paper.spec.headline_protocol].channel == "y"


@pytest.mark.workflow
def test_the_whole_study_is_planned_in_half_a_minute(tmp_path):
    for name in ("workflow", "profiles", "config", "envs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "Snakefile", tmp_path)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--dry-run", "--configfile", "config/paper.yaml"],
        cwd=tmp_path, env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE))
    assert jobs["train"] == "102"
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < PLAN_SECONDS
