"""The workflow inside another one: `module`, with a prefix, to the end."""

import csv
import json
import subprocess
import sys

import pytest
import yaml
from snakemake_runs import TINY, run

from rlsp.shipped import ROOT

RUNS = ("rlsp-2-8.gaussian.s0", "bicubic.gaussian")
pytestmark = pytest.mark.workflow
SNAKEFILE = """\
configfile: "mine.yaml"

module rlsp:
    snakefile: "{snakefile}"
    config: config["rlsp"]
{prefix}
use rule * from rlsp as rlsp_*

rule everything:
    default_target: True
    input: rules.rlsp_all.input, "best.txt"

rule best:
    input: "{results}/tables/accuracy.csv"
    output: "best.txt"
    shell: "tail -n 1 {{input}} > {{output}}"
"""


def lay_out(folder, prefix="benchmark", **changes):
    """Make a workflow that takes this one in, with one model of the tiny study; returns the folder."""
    study = yaml.safe_load(TINY.read_text())
    study["runs"] = [
        {**study["runs"][0], "models": ["rlsp-2-8"]},
        {**study["runs"][2], "degradations": ["gaussian"]},
    ]
    study |= {"ablation": [], "runtime": {**study["runtime"], "sweep": "rlsp-2-8"}, **changes}
    folder.mkdir(exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    (folder / "mine.yaml").write_text(yaml.safe_dump({"rlsp": study}))
    snakefile = SNAKEFILE.format(
        snakefile=ROOT / "workflow" / "Snakefile",
        prefix=f"    prefix: {prefix!r}\n" if prefix else "",
        results=f"{prefix}/results/tiny" if prefix else "results/tiny",
    )
    (folder / "Snakefile").write_text(snakefile)
    return folder


def jobs(folder, snakefile, *studies):
    """List what is planned: the outputs, and the texts of the params of each rule."""
    printed = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "list_jobs.py"), str(snakefile), *studies],
        cwd=folder, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    planned = json.loads(printed)
    return list(planned["outputs"]), planned["params"]


def rows(results):
    """Read the table of accuracies."""
    return list(csv.DictReader((results / "tables" / "accuracy.csv").open()))


def test_a_module_with_a_prefix_runs_to_its_end(tmp_path, finished):
    folder = lay_out(tmp_path)
    run(folder, "snakemake", "--cores", "2")
    outside = {path.name for path in folder.iterdir()} - {".snakemake"}
    assert outside == {"Snakefile", "study.yaml", "mine.yaml", "best.txt", "benchmark"}
    results = folder / "benchmark" / "results" / "tiny"
    assert "tiny" in (results / "report.html").read_text()
    found = rows(results)
    assert {row["model"] for row in found} == {"rlsp-2-8", "bicubic"}
    alone = rows(finished / "results" / "tiny")  # the same runs among others, without a module
    assert all(row in alone for row in found)
    assert any((results / "training").glob("rlsp-2-8.gaussian.s0-*/state.pt"))
    measured = {str(path.relative_to(results / "benchmarks")) for path in results.glob("benchmarks/**/*.tsv")}
    assert measured == {
        "train/rlsp-2-8.gaussian.s0.tsv",
        *(f"{rule}/{row}/tiny-test.tsv" for rule in ("restore", "score") for row in RUNS),
    }
    assert "Nothing to be done" in run(folder, "snakemake", "--cores", "2")


@pytest.mark.parametrize("prefix", ["", "benchmark"])
def test_a_module_plans_what_the_study_alone_plans(prefix, tmp_path):
    """Outputs are the same below the prefix, params the same to the letter: none holds a path of the results."""
    folder = lay_out(tmp_path / "parent", prefix)
    outputs, params = jobs(folder, ROOT / "Snakefile", "study.yaml")
    found, found_params = jobs(folder, "Snakefile")
    below = f"{prefix}/" if prefix else ""
    assert sorted(found) == sorted(["best.txt", *(f"{below}{output}" for output in outputs)])
    assert {name.removeprefix("rlsp_"): texts for name, texts in found_params.items()} == params


def test_local_rules_of_a_module_are_not_submitted(tmp_path):
    """A list of local rules would name them without the prefix that `use rule` gives them."""
    pytest.importorskip("snakemake_executor_plugin_cluster_generic")
    cluster = ["--executor", "cluster-generic", "--cluster-generic-submit-cmd", "false", "--jobs", "1"]
    printed = run(lay_out(tmp_path), "snakemake", *cluster, "rlsp_count")
    assert "localrule rlsp_count:" in printed and "localrules directive" not in printed


def test_own_clips_of_a_module_are_given_as_an_absolute_path(tmp_path):
    clips = tmp_path / "clips"
    (clips / "walk").mkdir(parents=True)
    own = {"own": {"source": "folder", "path": str(clips)}}
    study = yaml.safe_load(TINY.read_text())
    folder = lay_out(tmp_path / "parent", test_sets=["own"], datasets=study["datasets"] | own)
    printed = run(folder, "snakemake", "--dry-run")
    assert f"input: {clips}\n" in printed


def test_the_data_of_a_module_may_lie_elsewhere(tmp_path):
    """An absolute path gets no prefix; names of the catalogue are there without a second file."""
    data = tmp_path / "scratch"
    folder = lay_out(tmp_path / "parent", data_root=str(data), test_sets=["moves-test"])
    printed = run(folder, "snakemake", "--dry-run")
    assert f"{data}/clips/moves-test-" in printed and "benchmark/results/tiny/report.html" in printed
    assert "rlsp_train" in printed and not data.exists()


def test_a_mistake_in_a_module_is_one_line(tmp_path):
    folder = lay_out(tmp_path, test_sets=["moves-tets"])
    printed = run(folder, "snakemake", "--dry-run", check=False)
    assert (
        "error: runs (rlsp-2-8.gaussian.s0).test_sets: unknown name 'moves-tets'; did you mean moves-test"
        in printed
    )
    assert "Traceback" not in printed
