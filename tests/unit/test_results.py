"""Rows of a study put together, its facts, and what captions say of them."""

import json

import pandas as pd
import pytest
from made_tables import (
    made_cases,
    made_runs,
    made_runtime,
    made_scores,
    made_study,
    made_sweep,
    made_training,
    write_made,
    write_rows,
)

from rlsp.columns import ROWS, TRAINING, read_table
from rlsp.config.specs.facts import Facts
from rlsp.config.specs.recipes import Recipe
from rlsp.errors import ConfigError, DataError
from rlsp.reporting.captions import seeds_words, training_budget
from rlsp.reporting.results import Results, collect_rows


def test_collected_numbers_are_the_same_to_the_last_bit(tmp_path):
    scores = made_scores(made_runs()[:2])
    results = write_rows(tmp_path, {"scores": scores}, made_study())
    assert (results.rows("scores")["psnr_y"].to_numpy() == scores["psnr_y"].to_numpy()).all()
    assert json.loads((tmp_path / "rows" / "study.json").read_text()) == json.loads(json.dumps(made_study()))
    for kind in ROWS.keys() - {"scores"}:
        assert results.rows(kind).empty and (tmp_path / "rows" / f"{kind}.csv").exists()


def test_names_that_look_like_numbers_or_nothing_stay_names(tmp_path):
    scores = made_scores([("007", "nan", "external", "1e3", 0, "gaussian", 25.0)], clips=[("1", "000", 3)])
    row = write_rows(tmp_path, {"scores": scores}, made_study()).scores.iloc[0]
    assert row[["run", "model", "recipe", "dataset", "clip"]].tolist() == ["007", "nan", "1e3", "1", "000"]


def test_a_measure_of_a_column_of_its_own_is_kept(tmp_path):
    scores = made_scores(made_runs()[:2]).assign(sharpness=0.5)
    assert (write_rows(tmp_path, {"scores": scores}, made_study()).scores["sharpness"] == 0.5).all()


def test_training_rows_get_the_labels_of_their_run(tmp_path):
    made_scores(made_runs()).to_csv(tmp_path / "scores.csv", index=False)
    run = "rlsp-5-32.gaussian.s0"
    log = tmp_path / "weights" / run / "training.csv"
    log.parent.mkdir(parents=True)
    columns = ["step", "loss", "psnr", "learning_rate", "steps_per_second"]
    made_training(made_runs())[columns][:5].to_csv(log, index=False)
    collect_rows({"scores": [tmp_path / "scores.csv"], "training": [log]}, made_study(), tmp_path / "rows")
    training = read_table(tmp_path / "rows" / "training.csv", TRAINING)
    labels = training[["run", "model", "recipe", "degradation"]].drop_duplicates().values.tolist()
    assert labels == [[run, "rlsp-5-32", "demo", "gaussian"]]
    assert training["seed"].tolist() == [0] * 5


def test_broken_rows_are_named(tmp_path):
    def collect(**files):
        collect_rows(
            {kind: [tmp_path / name] for kind, name in files.items()}, made_study(), tmp_path / "rows"
        )

    with pytest.raises(DataError, match=r"absent\.csv: expected a table, there is no such file"):
        collect(scores="absent.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match=r"empty\.csv: expected a CSV table"):
        collect(runtime="empty.csv")
    scores = made_scores(made_runs()[:1])
    scores.drop(columns=["mse_y", "crop"]).to_csv(tmp_path / "scores.csv", index=False)
    with pytest.raises(DataError, match=r"scores\.csv: missing columns crop, mse_y"):
        collect(scores="scores.csv")
    pd.concat([scores, scores.assign(study="other")]).to_csv(tmp_path / "scores.csv", index=False)
    with pytest.raises(DataError, match="scores: expected one study, got made, other"):
        collect(scores="scores.csv")
    made_sweep().drop(columns="value").to_csv(tmp_path / "sweep.csv", index=False)
    with pytest.raises(DataError, match=r"sweep\.csv: missing columns value"):
        collect(sweep="sweep.csv")
    cases = made_cases(made_runtime(["a"]))
    pd.concat([cases, cases.assign(study="other")]).to_csv(tmp_path / "cases.csv", index=False)
    with pytest.raises(DataError, match="cases: expected one study, got made, other"):
        collect(cases="cases.csv")
    assert not (tmp_path / "rows").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"headline_protocol": "best"}, "headline_protocol: expected one of paper, full, rgb, got 'best'"),
        (
            {"protocols": {"paper": {"channel": "y", "crop": 8, "trim": [2, 2]}}},
            "protocols.paper.average: missing",
        ),
        ({"models": {"a": {"arch": "rlsp", "depth": 7}}}, "study.models.a.depth: unknown key"),
        ({"device": 3}, "study.device: "),
    ],
)
def test_wrong_facts_are_named(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        collect_rows({}, made_study(**changes), tmp_path)
    with pytest.raises(ConfigError, match="study.device: missing"):
        Facts.read({key: value for key, value in made_study().items() if key != "device"})


def test_facts_keep_what_they_were_made_of():
    study = made_study(ablation=["a"])
    facts = Facts.read(study)
    assert facts.dump()["protocols"]["paper"] == study["protocols"]["paper"]
    assert not facts.models["rlsp-5-32-frames"].adjacent and facts.models["rlsp-5-32"].adjacent
    assert facts.headline_first == ["paper", "full", "rgb"] and facts.scale == 4


def test_damaged_facts_and_missing_ones_are_named(tmp_path):
    (tmp_path / "rows").mkdir()
    with pytest.raises(DataError, match=r"rows/study\.json"):
        Results(tmp_path)
    (tmp_path / "rows" / "study.json").write_text("{")
    with pytest.raises(DataError, match=r"study\.json: expected JSON"):
        Results(tmp_path)


# ---- captions ----------------------------------------------------------------------------------


def test_every_table_says_study_device_seeds_and_budget(tmp_path):
    results = write_made(tmp_path, seeds=(0, 1))
    rows = results.scores.drop_duplicates("run").assign(seeds=lambda rows: rows["seed"])
    assert results.about(rows[rows["seed"] == 1]) == (
        "Study made; device: laptop cpu; seeds: 1; budget: demo 600 steps."
    )


SPREAD = "(mean ± standard deviation over seeds, n - 1 in the denominator"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("bicubic", "")], "none"),
        ([("a", "0 1 2"), ("b", "0 1 2"), ("bicubic", None)], f"0, 1, 2 {SPREAD})"),
        ([("a", "1 2"), ("b", 0.0)], f"1, 2 {SPREAD}; without ±: seed 0 only)"),
        ([("a", 3), ("b", 3)], "3"),
        ([("a", "0 1"), ("b", "0 1 2"), ("c", "0 1")], f"0, 1 of a, c; 0, 1, 2 of b {SPREAD})"),
        ([("a", "0"), ("b", "1"), ("b", "1")], "0 of a; 1 of b"),
    ],
)
def test_seeds_are_told_as_the_rows_have_them(rows, words):
    table = pd.DataFrame(rows, columns=["variant", "seeds"]).assign(degradation="gaussian")
    assert seeds_words(table) == words


def test_a_budget_names_the_precision_that_was_taken():
    """That of the logs, where the recipe leaves it to the device; of logs from before, the recipe's own."""
    recipe = Recipe.parse(
        {"steps": 600, "batch": 2, "crop": 16, "frames": 8, "precision": "auto", "learning_rate": 0.1}
    )
    training = pd.DataFrame(
        {"recipe": "quick", "run": ["a", "b"], "step": 600, "precision": ["fp32", "bf16"]}
    )
    sees = "quick 600 steps of 2 crops, 16x16 LR pixels and 8 frames"
    assert training_budget(training, {"quick": recipe}) == f"{sees} in bf16 and fp32"
    assert training_budget(training[:1], {"quick": recipe}) == f"{sees} in fp32"
    older = training.drop(columns="precision")
    assert training_budget(older, {"quick": recipe.changed(precision="bf16")}) == f"{sees} in bf16"
    assert training_budget(older, {"quick": recipe}) == sees
    assert training_budget(older, {}) == "quick 600 steps"
