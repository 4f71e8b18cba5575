"""Profiles for clusters: what they name exists, and a study runs through a scheduler."""

import json
import os
import re
import signal
import subprocess
import time

import psutil
import pytest
import yaml
from snakemake_runs import COMMAND, TINY, new_folder, snakemake, train_by_hand

from rlsp.shipped import ROOT

pytestmark = pytest.mark.workflow
CLUSTERS = ["slurm", "cluster-generic"]
RULES = {
    rule
    for path in (ROOT / "workflow" / "rules").glob("*.smk")
    for rule in re.findall(r"^rule (\w+):", path.read_text(), re.MULTILINE)
}
RESOURCES = {"runtime", "mem_mb", "gpu", "gpu_model", "slurm_extra", "slurm_account", "slurm_partition"}
RUN = "rlsp-2-8.gaussian.s0"


def profile(name):
    return yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())


@pytest.mark.parametrize("name", CLUSTERS)
def test_every_rule_and_resource_that_a_profile_names_exists(name):
    content = profile(name)
    assert {*content["set-resources"], *content["set-threads"], *content["preemptible-rules"]} <= RULES
    for entry in (content["default-resources"], *content["set-resources"].values()):
        assert set(entry) <= RESOURCES
    text = (ROOT / "profiles" / name / "config.yaml").read_text()
    assert {rule for rule in re.findall(r"^ +# (\w+):", text, re.MULTILINE)} <= RESOURCES
    assert (
        text.count("# ---- edit for your cluster ----")
        == text.count("# ---- end of what is to be edited")
        == 1
    )


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_profile_for_clusters_keeps_what_the_default_profile_says(name):
    assert profile("default").items() <= profile(name).items()


def test_retries_are_not_a_matter_of_submitted_rules():
    """Snakemake counts those of a rule again inside each job; local rules are not submitted."""
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        for rule, body in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)", path.read_text(), re.MULTILINE):
            assert "    localrule: True" in body or "    retries:" not in body, rule


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_study_plans_through_a_profile(name, tmp_path):
    folder = new_folder(tmp_path / "clone")
    arguments = ["--workflow-profile", f"profiles/{name}", "--executor", "dryrun", "--dry-run"]
    printed = snakemake(folder, *arguments)
    train = re.search(r"^rule train:\n.*?resources: (.*?)$", printed, re.MULTILINE | re.DOTALL)
    assert "runtime=1440" in train[1] and "mem_mb=16000" in train[1]


def test_a_training_killed_under_another_scheduler_goes_on(finished, tmp_path, monkeypatch):
    """The profile with a made-up scheduler in its block; the trainer is killed and ends with the same weights."""
    pytest.importorskip("snakemake_executor_plugin_cluster_generic")
    target = f"results/tiny/weights/{RUN}/model.safetensors"
    recipe = {**yaml.safe_load(TINY.read_text())["recipes"]["tiny"], "steps": 1500, "checkpoint_every": 20}
    changes = {"recipes": {"tiny": recipe}, "data_root": str(finished / "data")}
    straight = train_by_hand(new_folder(tmp_path / "straight", **changes), monkeypatch, RUN)

    folder = new_folder(tmp_path / "clone", **changes)
    edited, path = profile("cluster-generic"), folder / "profiles" / "cluster-generic" / "config.yaml"
    scheduler, jobs = ROOT / "tests" / "scheduler.sh", tmp_path / "jobs"
    edited["cluster-generic-submit-cmd"] = f"{scheduler} submit {jobs}"
    edited["cluster-generic-status-cmd"] = f"{scheduler} status {jobs}"
    edited.update({"latency-wait": 10, "seconds-between-status-checks": 1})
    path.write_text(yaml.safe_dump(edited))
    with (folder / "printed").open("w") as printed:
        process = subprocess.Popen(
            [*COMMAND, "--workflow-profile", "profiles/cluster-generic", "--", target],
            cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=printed, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        training, deadline = f"results/tiny/training/{RUN}-*", time.monotonic() + 120
        while not list(folder.glob(f"{training}/state.pt")):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "printed").read_text()
            time.sleep(0.05)
        lease = next(folder.glob(f"{training}/lease-*.json"))
        psutil.Process(json.loads(lease.read_text())["pid"]).send_signal(signal.SIGKILL)
        assert process.wait(200) == 0, (folder / "printed").read_text()[-4000:]
    finally:
        process.kill()
    assert "Trying to restart job" in (folder / "printed").read_text()
    assert (folder / target).read_bytes() == straight
