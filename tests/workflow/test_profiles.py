"""Profiles for clusters: what they name exists, and a study runs through a scheduler."""

import json
import os
import re
import signal
import subprocess
import time
from types import SimpleNamespace

import psutil
import pytest
import yaml
from snakemake_runs import COMMAND, TINY, edit, new_folder, snakemake, train_by_hand

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


def asked_of_a_scheduler(printed):
    """List GPUs and places that each rule asks for, as a dry run tells them."""
    found = {}
    for rule, resources in re.findall(
        r"^rule (\w+):\n(?:    .*\n)*?    resources: (.*)$", printed, re.MULTILINE
    ):
        values = dict(item.split("=", 1) for item in resources.split(", "))
        found.setdefault(rule, set()).add((values.get("gpu", "0"), values.get("gpu_places", "0")))
    return found


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_scheduler_is_asked_for_whole_gpus(name, tmp_path):
    """Also where trainings share one on a machine of one's own; both kinds hand the number on as it is."""
    changes = {"device": "cuda", "training": {"runs_per_gpu": 3}}
    folder = new_folder(tmp_path / "clone", **changes)
    arguments = ["--workflow-profile", f"profiles/{name}", "--executor", "dryrun", "--dry-run"]
    asked = asked_of_a_scheduler(snakemake(folder, *arguments))
    assert asked["train"] == {("1", "1")} and asked["time"] == {("1", "3")}
    assert asked["restore"] == {("1", "3"), ("0", "0")}  # interpolation needs none
    edit(folder, lambda study: study.update(training={"runs_per_gpu": 3, "processes": 2}))
    assert asked_of_a_scheduler(snakemake(folder, *arguments))["train"] == {("2", "6")}
    pytest.importorskip("snakemake_executor_plugin_slurm")
    from snakemake_executor_plugin_slurm.utils import set_gres_string

    job = SimpleNamespace(resources={"gpu": 1, "gpu_places": 3})
    assert set_gres_string(job) == " --gpus=1"
    assert "{resources.gpu}" in profile("cluster-generic")["cluster-generic-submit-cmd"]


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
