"""The workflow as a user runs it, on a study of a minute."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml
from snakemake_runs import COMMAND, TINY, edit, new_folder, planned, run, snakemake, train_by_hand

from rlsp.reporting.analyses import ANALYSES
from rlsp.shipped import ROOT

pytestmark = pytest.mark.workflow
TRAINED = ["rlsp-2-8.gaussian.s0", "frames-only.gaussian.s0", "rlsp-2-8.bicubic.s0"]


@pytest.fixture
def changeable(finished, tmp_path):
    """A copy of the finished folder, modification times kept."""
    return Path(shutil.copytree(finished, tmp_path / "copy", symlinks=True))


def test_everything_a_user_expects_is_there(finished):
    results = finished / "results" / "tiny"
    for trained in TRAINED:
        for name in ("model.safetensors", "training.csv", "provenance.json"):
            assert (results / "weights" / trained / name).stat().st_size > 0
    scores = pd.read_csv(results / "rows" / "scores.csv")
    assert scores.groupby("run").size().to_dict() == dict.fromkeys([*TRAINED, *BASELINES], 6 * 2)
    for name in ANALYSES:
        for suffix in (".csv", ".md", ".tex", ".html"):
            assert (results / "tables" / f"{name}{suffix}").stat().st_size > 0
    assert "# What came out of study tiny" in (results / "tables" / "findings.md").read_text()
    for name in ("accuracy", "ablation", "temporal", "speed", "training"):
        for suffix in (".pdf", ".png"):
            assert (results / "figures" / "numbers" / f"{name}{suffix}").stat().st_size > 1000
    assert (
        len(list((results / "figures" / "pictures").glob("*.png"))) == 4
    )  # profiles and crops of two degradations
    luma = results / "restored" / TRAINED[0] / "tiny-test"
    assert len(list(luma.glob("*/y/*.png"))) == len(list(luma.glob("*/rgb/*.png"))) == 6


BASELINES = ["bicubic.gaussian", "bicubic.bicubic"]


def test_report_needs_nothing_else(finished):
    page = (finished / "results" / "tiny" / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 8
    assert "rlsp-2-8" in page
    loaded = re.findall(r"""(?:src|href)=["'](?!data:|#)([^"']+)""", page)
    assert [url for url in loaded if not url.startswith("https://")] == []
    assert not re.search(r"<(?:script|link|img)[^>]*(?:src|href)=[\"']https?:", page)


def test_second_run_does_nothing(finished):
    assert planned(finished) == {}


def test_a_study_that_extends_another_takes_its_trainings(changeable):
    """One run is equal, one has another recipe: the first is there at once, and the other study stays as it was."""
    recipe = {"other": {"steps": 20, "crop": 8, "frames": 4, "log_every": 10, "checkpoint_every": 20}}
    entry = {
        "models": ["rlsp-2-8"],
        "recipe": "other",
        "train_set": "tiny-train",
        "degradations": ["gaussian"],
    }
    mine = {"study": "mine", "extends": "study.yaml", "recipes": recipe, "ablation": []}
    mine["runs"] = {"remove": ["frames-only"], "add": [{**entry, "tag": "other"}]}
    (changeable / "mine.yaml").write_text(yaml.safe_dump(mine))
    runs = ("rlsp-2-8.gaussian.s0", "rlsp-2-8.other.gaussian.s0")
    weights = [f"results/mine/weights/{run}/model.safetensors" for run in runs]
    snakemake(changeable, "--cores", "2", *weights, study="mine.yaml")
    taken, trained = (
        json.loads((changeable / path).with_name("provenance.json").read_text()) for path in weights
    )
    assert taken["taken_from"] == f"results/tiny/weights/{runs[0]}" and "taken_from" not in trained
    of_tiny = changeable / "results/tiny/weights" / runs[0] / "model.safetensors"
    assert (changeable / weights[0]).read_bytes() == of_tiny.read_bytes()
    assert "taken from results/tiny" in (changeable / f"results/mine/logs/train/{runs[0]}.log").read_text()
    assert planned(changeable) == {}


def test_changed_average_runs_only_the_aggregation(changeable):
    edit(
        changeable, lambda study: study["protocols"]["crop8-trim1-video"].update(trim=[0, 2], average="frame")
    )
    assert set(planned(changeable)) == {"collect", "tables", "figures", "pictures", "report", "study"}


def test_added_model_trains_only_itself(changeable):
    def add(study):
        study["models"]["rlsp-3-4"] = {"arch": "rlsp", "layers": 3, "filters": 4}
        study["runs"][0]["models"].append("rlsp-3-4")

    edit(changeable, add)
    plan = planned(changeable)
    assert (plan["train"], plan["restore"], plan["score"], plan["time"]) == (1, 1, 1, 1)
    assert not {"pack", "degrade", "flow"} & set(plan)


def test_a_model_taken_out_times_nothing_again(changeable):
    """Its rows go; a model that comes in times all of them, in turns."""

    def without(study):
        study["runs"][0]["models"].remove("frames-only")
        study["ablation"].remove("frames-only")

    edit(changeable, without)
    assert not {"time", "train", "restore", "score"} & set(planned(changeable))
    snakemake(changeable, "--cores", "2")
    timed = pd.read_csv(changeable / "results" / "tiny" / "rows" / "runtime.csv")["model"].unique()
    assert set(timed) == {"rlsp-2-8", "bicubic"}
    edit(changeable, lambda study: study["runtime"].update(repeats=4))
    assert planned(changeable)["time"] == 1
    said = snakemake(changeable, "--dry-run")
    (reason,) = re.findall(r"reason: Params have changed since last execution: (.*)", said)
    parts = reason.split("; ")
    taken_out = [part for part in parts if part.startswith("frames-only: ") and part.endswith(" -> (none)")]
    assert sorted([*taken_out, "repeats: 3 -> 4"]) == sorted(parts)


def test_comment_in_a_script_runs_nothing(changeable):
    for script in (changeable / "workflow" / "scripts").glob("*.py"):
        script.write_text(script.read_text() + "# a comment\n")
    assert planned(changeable) == {}


def test_changed_recipe_trains_again(changeable):
    edit(changeable, lambda study: study["recipes"]["tiny"].update(steps=50))
    assert planned(changeable)["train"] == 3


def test_lost_report_and_figures_are_made_again(changeable):
    shutil.rmtree(changeable / "results" / "tiny" / "figures" / "numbers")
    (changeable / "results" / "tiny" / "report.html").unlink()
    assert set(planned(changeable)) == {"figures", "report", "study"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda study: study["recipes"]["tiny"].update(step=3),
            "recipes.tiny.step: unknown key; did you mean steps",
        ),
        (
            lambda study: study["runs"][0].update(train_set="tiny-test"),
            "train set tiny-test and test set tiny-test",
        ),
        (lambda study: study["runs"][0]["models"].append("rlsp-9-9"), "unknown name 'rlsp-9-9'"),
    ],
)
def test_mistake_in_the_configuration_stops_before_any_job(tmp_path, change, message):
    folder = new_folder(tmp_path / "clone")
    edit(folder, change)
    printed = snakemake(folder, "--cores", "1", check=False)
    assert message in printed
    assert not (folder / "results").exists()
    assert not (folder / "data").exists()


def test_other_file_with_the_same_study_name_is_refused(changeable):
    (changeable / "other.yaml").write_text((changeable / "study.yaml").read_text())
    printed = snakemake(changeable, "--dry-run", study="other.yaml", check=False)
    assert "has the same name 'tiny'" in printed


def processes_below(pid):
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def test_killed_in_the_middle_it_goes_on_and_ends_the_same(finished, tmp_path, monkeypatch):
    """Snakemake and its trainers get SIGKILL while they train; the same command again finishes the study."""
    study = yaml.safe_load(TINY.read_text())
    recipe = {**study["recipes"]["tiny"], "steps": 400, "checkpoint_every": 20}
    changes = {"recipes": {"tiny": recipe}, "runs": study["runs"][:1], "data_root": str(finished / "data")}
    target = f"results/tiny/weights/{TRAINED[0]}/model.safetensors"
    straight = train_by_hand(new_folder(tmp_path / "straight", **changes), monkeypatch, TRAINED[0])

    folder = new_folder(tmp_path / "killed", **changes)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*COMMAND, "--cores", "1", target], cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )
        deadline = time.monotonic() + 120
        while not list(folder.glob("results/tiny/training/*/state.pt")):
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.02)
        trainers = processes_below(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        for trainer in trainers:
            trainer.kill()
        process.wait()
    assert not (folder / target).exists()
    snakemake(folder, "--cores", "1", target)
    assert (folder / target).read_bytes() == straight


def test_a_training_may_have_several_processes(finished, tmp_path):
    changes = {"training": {"processes": 2}, "runs": yaml.safe_load(TINY.read_text())["runs"][:1]}
    folder = new_folder(tmp_path / "clone", data_root=str(finished / "data"), **changes)
    target = Path("results/tiny/weights/rlsp-2-8.gaussian.s0/model.safetensors")
    snakemake(folder, "--cores", "2", str(target))
    provenance = json.loads((folder / target).with_name("provenance.json").read_text())
    assert provenance["processes"] == 2


def test_snakemake_report(finished, tmp_path):
    snakemake(finished, "--report", str(tmp_path / "report.zip"))
    assert (tmp_path / "report.zip").stat().st_size > 100_000


def test_figures_from_rows(finished, tmp_path):
    """The number-only figures come out the same from the rows alone."""
    shutil.copytree(finished / "results" / "tiny" / "rows", tmp_path / "tiny" / "rows")
    run(tmp_path, "rlsp", "figures", "--results", "tiny", "--output", str(tmp_path / "out"))
    drawn = finished / "results" / "tiny" / "figures" / "numbers"
    assert {p.name for p in (tmp_path / "out").iterdir()} == {p.name for p in drawn.glob("[!.]*")}
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (drawn / path.name).read_bytes()


def test_lint():
    run(ROOT, "snakemake", "--lint")


# paper: test_paper.py
STUDIES_TO_PLAN = sorted(
    path.stem for path in (ROOT / "config").glob("*.yaml") if path.stem not in ("catalogue", "paper")
)


@pytest.mark.parametrize("study", STUDIES_TO_PLAN)
def test_every_study_of_the_repository_plans(study, tmp_path):
    folder, file = new_folder(tmp_path / "clone"), str(ROOT / "config" / f"{study}.yaml")
    if study.startswith("small"):  # on folders of one's own
        printed = snakemake(folder, "--dry-run", study=file, check=False)
        assert "datasets.own-clips.path: expected a folder, there is none at training/clips" in printed
        for name in ("clips", "photographs"):
            (folder / "training" / name).mkdir(parents=True)
    assert "report" in snakemake(folder, "--dry-run", study=file)
