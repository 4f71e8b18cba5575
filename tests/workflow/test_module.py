"""The workflow inside another one: `module`, with a prefix, to the end."""

import csv

import pytest
import yaml
from snakemake_runs import TINY, run

from rlsp.shipped import ROOT

pytestmark = pytest.mark.workflow
SNAKEFILE = """\
configfile: "mine.yaml"

module rlsp:
    snakefile: "{snakefile}"
    config: config["rlsp"]
    prefix: {prefix!r}

use rule * from rlsp as rlsp_*

rule everything:
    default_target: True
    input: rules.rlsp_all.input, "best.txt"

rule best:
    input: "{prefix}/results/tiny/tables/accuracy.csv"
    output: "best.txt"
    shell: "tail -n 1 {{input}} > {{output}}"
"""


def lay_out(folder, **changes):
    """Make a workflow that takes this one in, with one model of the tiny study."""
    study = yaml.safe_load(TINY.read_text())
    study["runs"] = [
        {**study["runs"][0], "models": ["rlsp-2-8"]},
        {**study["runs"][2], "degradations": ["gaussian"]},
    ]
    study |= {"ablation": [], **changes}
    (folder / "mine.yaml").write_text(yaml.safe_dump({"rlsp": study}))
    snakefile = SNAKEFILE.format(snakefile=ROOT / "workflow" / "Snakefile", prefix="benchmark")
    (folder / "Snakefile").write_text(snakefile)
    return folder


def test_a_module_with_a_prefix_runs_to_its_end(tmp_path):
    folder = lay_out(tmp_path)
    run(folder, "snakemake", "--cores", "2")
    outside = {path.name for path in folder.iterdir()} - {".snakemake"}
    assert outside == {"Snakefile", "mine.yaml", "best.txt", "benchmark"}
    results = folder / "benchmark" / "results" / "tiny"
    assert "tiny" in (results / "report.html").read_text()
    rows = list(csv.DictReader((results / "tables" / "accuracy.csv").open()))
    assert {row["model"] for row in rows} == {"rlsp-2-8", "bicubic"}
    assert any((results / "training").glob("rlsp-2-8.gaussian.s0-*/state.pt"))
    assert "Nothing to be done" in run(folder, "snakemake", "--cores", "2")


def test_the_data_of_a_module_may_lie_elsewhere(tmp_path):
    """An absolute path gets no prefix; names of the catalogue are there without a second file."""
    data = tmp_path / "scratch"
    folder = tmp_path / "parent"
    folder.mkdir()
    lay_out(folder, data_root=str(data), test_sets=["moves-test"])
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
