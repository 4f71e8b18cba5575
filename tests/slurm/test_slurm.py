"""The tiny study on a real Slurm of one node: `make test-slurm`."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from rlsp.shipped import ROOT

pytestmark = pytest.mark.slurm
SCRIPT = Path(__file__).with_name("one-node.sh")
KILLED, SLOW = "rlsp-2-8.gaussian.s0", "frames-only.gaussian.s0"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A running Slurm; skips with the reason where there cannot be one."""
    folder = tmp_path_factory.mktemp("slurm")
    try:
        started = subprocess.run([SCRIPT, "start", folder], stdout=subprocess.PIPE, text=True, timeout=500)
        if started.returncode == 77:
            pytest.skip(started.stdout.strip())
        assert started.returncode == 0, started.stdout
        yield
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=True, timeout=60)


def new_folder(folder):
    """Lay out a working folder as a clone has it: two trainings, one interpolation, one degradation."""
    folder.mkdir()
    for name in ("workflow", "profiles", "config", "envs"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "Snakefile", folder)
    study = yaml.safe_load((ROOT / "tests" / "studies" / "tiny.yaml").read_text())
    del study["runs"][1]
    study["runs"][1]["degradations"] = ["gaussian"]
    # A few seconds of training, to be stopped in the middle.
    study["recipes"]["tiny"].update(steps=1500, log_every=10, checkpoint_every=20)
    study["device"] = "auto"  # asks for the made-up GPU
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    return folder


def edit_profile(folder):
    """Do what a user does, and look often: the test has no network disk and no long queue."""
    path = folder / "profiles" / "slurm" / "config.yaml"
    profile = yaml.safe_load(path.read_text())
    profile["set-resources"]["train"]["runtime"] = 2
    for entry in (profile["default-resources"], *profile["set-resources"].values()):
        entry["mem_mb"] = 1000
    profile.update({"latency-wait": 10, "slurm-init-seconds-before-status-checks": 2})
    path.write_text(yaml.safe_dump(profile))


def start(folder, *arguments):
    command = [sys.executable, "-m", "snakemake", "--configfile", "study.yaml", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "printed").open("w") as printed:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=printed, stderr=subprocess.STDOUT
        )


def finish(process, folder, seconds):
    try:
        assert process.wait(seconds) == 0, (folder / "printed").read_text()[-6000:]
    finally:
        process.kill()


def trainer(folder, run):
    """The process that a training's lease names, once it has a checkpoint."""
    if not list(folder.glob(f"results/tiny/training/{run}-*/state.pt")):
        return None
    for lease in folder.glob(f"results/tiny/training/{run}-*/lease-*.json"):
        return psutil.Process(json.loads(lease.read_text())["pid"])
    return None


def suspend_past_its_walltime(process):
    """Let a trainer of 2 minutes miss the moment, 1 minute after its start, at which it stops itself."""
    process.suspend()
    time.sleep(max(0, process.create_time() + 62 - time.time()))
    process.resume()


def test_the_study_survives_a_kill_and_a_walltime(slurm, tmp_path):
    straight = new_folder(tmp_path / "straight")
    targets = [f"results/tiny/weights/{run}/model.safetensors" for run in (KILLED, SLOW)]
    finish(start(straight, "--cores", "2", *targets), straight, 200)

    folder = new_folder(tmp_path / "cluster")
    edit_profile(folder)
    process = start(folder, "--workflow-profile", "profiles/slurm")
    actions = {KILLED: psutil.Process.kill, SLOW: suspend_past_its_walltime}
    try:
        deadline = time.monotonic() + 250
        while actions:
            assert process.poll() is None and time.monotonic() < deadline, (folder / "printed").read_text()[
                -6000:
            ]
            for run in list(actions):
                found = trainer(folder, run)
                if found:
                    actions.pop(run)(found)
            time.sleep(0.05)
        finish(process, folder, 400)
    finally:
        process.kill()
    printed = (folder / "printed").read_text()
    assert printed.count("Trying to restart job") == 2
    assert "stopped by its walltime" in printed
    assert (folder / "results" / "tiny" / "report.html").stat().st_size > 10_000
    for target in targets:
        assert (folder / target).read_bytes() == (straight / target).read_bytes()
