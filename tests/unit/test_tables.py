import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from made_tables import (
    ABLATION,
    PROTOCOLS,
    made_cases,
    made_runs,
    made_runtime,
    made_scores,
    made_study,
    made_sweep,
    made_training,
    write_made,
)

from rlsp.columns import TRAINING, read_table
from rlsp.errors import ConfigError, DataError
from rlsp.metrics.fidelity import psnr_from_mse
from rlsp.reporting.compare import compare, comparison_markdown
from rlsp.reporting.printing import Section, escape_tex, markdown_text, number_text, tex_text
from rlsp.reporting.tables import (
    collect_tables,
    summarise_ablation,
    summarise_accuracy,
    write_tables,
)
from rlsp.reporting.timing import summarise_runtime
from rlsp.reporting.wide import Facts, accuracy_sections, seeds_words, training_budget

SUMMARIES = (
    *("accuracy", "leave_one_clip_out", "ablation", "runtime", "complexity", "temporal"),
    *("speed", "cost_curves"),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    write_made(folder, seeds=(0, 1, 2), degradations=("gaussian", "bicubic"))
    return folder / "tables"


def write_scores(folder, scores):
    folder.mkdir(parents=True, exist_ok=True)
    scores.to_csv(folder / "scores.csv", index=False)
    return folder / "scores.csv"


@pytest.mark.slow
def test_every_summary_is_written_and_parses(made):
    for name in SUMMARIES:
        table = pd.read_csv(made / f"{'runtime_summary' if name == 'runtime' else name}.csv")
        assert len(table) > 0
        check_markdown((made / f"{name}.md").read_text(encoding="utf-8"))
        check_tex((made / f"{name}.tex").read_text(encoding="utf-8"))
    assert json.loads((made / "study.json").read_text()) == made_study()


def check_markdown(text):
    for block in text.strip().split("\n\n"):
        lines = block.split("\n")
        if lines[0].startswith("|"):
            assert len({line.count(" | ") for line in lines}) == 1
        else:
            assert all(
                fact in block for fact in ("Study made", "device", "seeds: 0, 1, 2", "budget: demo 600")
            )


def check_tex(text):
    for table in text.split(r"\begin{table}")[1:]:
        columns = len(re.search(r"\\begin\{tabular\}\{(l r*)\}".replace(" ", ""), table)[1])
        body = [line for line in table.split("\n") if line.endswith(r"\\")]
        assert all(line.count(" & ") == columns - 1 for line in body[1:])
        assert not re.search(r"(?<!\\)[_%#$](?!\\pm)", re.sub(r"\$\\pm\$|\\label.*", "", table))


@pytest.mark.slow
def test_accuracy_equals_hand_computed_values(made):
    scores = pd.read_csv(made / "scores.csv")
    accuracy = pd.read_csv(made / "accuracy.csv")
    chosen = scores[(scores["model"] == "rlsp-5-32") & (scores["crop"] == 8) & (scores["clip"] == "motor")]
    chosen = chosen[(chosen["degradation"] == "bicubic") & chosen["frame"].between(2, 13)]
    by_seed = [psnr_from_mse(rows["mse_y"].mean()) for _, rows in chosen.groupby("seed")]
    row = accuracy[(accuracy["variant"] == "rlsp-5-32") & (accuracy["clip"] == "motor")]
    row = row[(row["degradation"] == "bicubic") & (row["protocol"] == "paper")].iloc[0]
    assert row["psnr"] == pytest.approx(np.mean(by_seed), abs=1e-9)
    assert row["psnr_std"] == pytest.approx(np.std(by_seed, ddof=1), abs=1e-9)
    assert row["ssim"] == pytest.approx(chosen["ssim_y"].mean(), abs=1e-9)
    assert (row["n_seeds"], row["seeds"], row["n_frames"]) == (3, "0 1 2", 12)
    assert row["run"].split() == [f"rlsp-5-32.bicubic.s{seed}" for seed in range(3)]
    assert row["protocol_label"] == "PSNR-Y, crop 8, trim 2+2, video"


def test_mean_over_clips_is_the_mean_of_the_clips_for_each_data_set(made):
    accuracy = pd.read_csv(made / "accuracy.csv")
    rows = accuracy[(accuracy["variant"] == "rlsp-3-16") & (accuracy["degradation"] == "gaussian")]
    rows = rows[(rows["protocol"] == "full") & (rows["dataset"] == "photos")].set_index("clip")
    assert rows.loc["mean", "psnr"] == pytest.approx(rows.loc[["coffee", "motor"], "psnr"].mean(), abs=1e-9)
    assert (rows.loc["mean", "n_clips"], rows.loc["mean", "n_frames"]) == (2, 32)


def test_every_printed_number_names_channel_crop_trim_average_and_degradation(made):
    text = (made / "accuracy.md").read_text(encoding="utf-8")
    for head in re.findall(r"^\| method \|.*$", text, flags=re.M):
        for cell in head.split(" | ")[1:-3]:
            assert re.search(
                r"(PSNR-(Y|RGB)|SSIM-Y), crop \d, trim \d\+\d, (frame|video), (gaussian|bicubic)", cell
            )


def test_a_single_seed_has_no_spread():
    accuracy = summarise_accuracy(made_scores(made_runs()), made_study()["protocols"])
    assert accuracy["psnr_std"].isna().all()
    assert (accuracy["n_seeds"] == 1).all()
    assert number_text(26.894, 2, float("nan")) == "26.89"
    assert number_text(26.894, 2, 0.031) == "26.89 ± 0.03"
    assert number_text(float("nan"), 2) == "–"


def test_ablation_has_the_rows_of_the_study_in_order_with_switches_and_gains(made):
    ablation = pd.read_csv(made / "ablation.csv")
    rows = ablation[(ablation["dataset"] == "city") & (ablation["degradation"] == "gaussian")]
    rows = rows[rows["protocol"] == "paper"]
    assert list(rows["model"]) == list(ABLATION)
    switches = [tuple(row) for row in rows[["adjacent", "feedback", "state"]].itertuples(index=False)]
    assert switches == list(ABLATION.values())
    assert np.isnan(rows["gain"].iloc[0])
    assert rows["gain"].iloc[1:].tolist() == pytest.approx(np.diff(rows["psnr"]).tolist(), abs=1e-9)
    assert rows["parameters"].tolist() == [10_000, 30_000, 90_000, 270_000]


def test_the_spread_of_a_gain_is_paired_over_seeds(made):
    scores = pd.read_csv(made / "scores.csv")
    chosen = scores[(scores["dataset"] == "city") & (scores["degradation"] == "gaussian")]
    chosen = chosen[(chosen["crop"] == 8) & chosen["frame"].between(2, 46)]
    psnr = chosen.groupby(["model", "seed"])["mse_y"].mean().map(psnr_from_mse)
    gains = psnr["rlsp-5-32-adjacent"] - psnr["rlsp-5-32-frames"]
    row = pd.read_csv(made / "ablation.csv").query("dataset == 'city' and degradation == 'gaussian'")
    row = row[row["protocol"] == "paper"].iloc[1]
    assert row["gain_std"] == pytest.approx(np.std(gains, ddof=1), abs=1e-9)
    assert row["gain_std"] != pytest.approx(row["psnr_std"], rel=0.1)  # what both seeds share cancels
    text = (made / "ablation.md").read_text(encoding="utf-8")
    assert f"{row['gain']:+.2f} ± {row['gain_std']:.2f}" in text
    assert "differences between trainings of the same seed" in text


def test_a_gain_between_rows_of_other_seeds_has_no_spread():
    runs = [run for run in made_runs(seeds=(0, 1)) if run[0] != "rlsp-5-32-adjacent.gaussian.s1"]
    scores, study = made_scores(runs), made_study()
    timing = summarise_runtime(made_runtime([]).reindex(columns=["model"]))
    table = summarise_ablation(summarise_accuracy(scores, study["protocols"]), study, timing, scores)
    paper = table[(table["protocol"] == "paper") & (table["dataset"] == "city")]
    assert paper["gain_std"].notna().tolist() == [False, False, False, True]
    assert paper["gain"].notna().tolist() == [False, True, True, True]


def test_what_has_no_seeds_has_no_spread_and_no_count_of_them(made):
    for name in ("accuracy", "leave_one_clip_out", "temporal"):
        text = (made / f"{name}.md").read_text(encoding="utf-8")
        lines = [line for line in text.split("\n") if re.match(r"\| (bicubic|duf-52l) \|", line)]
        assert len(lines) == {"accuracy": 24, "leave_one_clip_out": 4, "temporal": 8}[name]
        assert all("±" not in line and line.endswith("| – |") for line in lines)
        trained = [line for line in text.split("\n") if line.startswith("| rlsp")]
        assert all("±" in line and line.endswith("| 3 |") for line in trained)
        assert "mean ± standard deviation over seeds, n - 1 in the denominator" in text


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


def test_seeds_of_one_input_are_not_those_of_another(tmp_path):
    """Trained with seeds 1 and 2 for Gaussian input, with seed 0 for bicubic input: each caption says its own."""
    rows = [
        (f"rlsp-5-32.{degradation}.s{seed}", "rlsp-5-32", "trained", "demo", seed, degradation, 25.0)
        for degradation, seed in (("gaussian", 1), ("gaussian", 2), ("bicubic", 0))
    ]
    study, accuracy = made_study(), summarise_accuracy(made_scores(rows), PROTOCOLS)
    sections = accuracy_sections(accuracy, study, Facts("Study made", "600 steps"))
    for section in sections:
        seeds = "seeds: 0;" if "degradation bicubic" in section.caption else f"seeds: 1, 2 {SPREAD});"
        assert f"Study made; {seeds} budget: 600 steps." in section.caption
    assert seeds_words(accuracy) == f"1, 2 {SPREAD}; without ±: seed 0 only)"


def test_a_model_missing_from_the_ablation_leaves_the_others():
    study = made_study(ablation=["rlsp-5-32-frames", "not-run", "rlsp-5-32"])
    scores = made_scores(made_runs())
    accuracy = summarise_accuracy(scores, study["protocols"])
    timing = summarise_runtime(made_runtime([]).reindex(columns=["model"]))
    table = summarise_ablation(accuracy, study, timing, scores)
    paper = table[(table["protocol"] == "paper") & (table["dataset"] == "city")]
    assert list(paper["row"]) == [1, 3]
    assert paper["state"].tolist() == [False, True]


def test_training_rows_get_the_labels_of_their_run(tmp_path):
    scores = write_scores(tmp_path, made_scores(made_runs()))
    run = "rlsp-5-32.gaussian.s0"
    log = tmp_path / "weights" / run / "training.csv"
    log.parent.mkdir(parents=True)
    made_training(made_runs())[["step", "loss", "psnr", "learning_rate", "steps_per_second"]][:5].to_csv(
        log, index=False
    )
    collect_tables([scores], [], [log], tmp_path / "tables")
    training = read_table(tmp_path / "tables" / "training.csv", TRAINING)
    assert training[["run", "model", "recipe", "degradation"]].drop_duplicates().values.tolist() == [
        [run, "rlsp-5-32", "demo", "gaussian"]
    ]
    assert training["seed"].tolist() == [0] * 5


def test_a_study_without_training_and_times_still_has_all_tables(tmp_path):
    runs = [run for run in made_runs() if run[2] != "trained"]
    collect_tables([write_scores(tmp_path, made_scores(runs))], [], [], tmp_path / "tables")
    write_tables(tmp_path / "tables", made_study())
    for name in SUMMARIES:
        assert (tmp_path / "tables" / f"{name}.md").exists()
    for name in ("runtime", "speed", "cost_curves"):
        assert (tmp_path / "tables" / f"{name}.md").read_text() == "Not measured in this study.\n"
    for name in ("runtime_cases", "sweep", "runtime_summary", "speed", "cost_curves"):
        assert pd.read_csv(tmp_path / "tables" / f"{name}.csv").empty
    assert "budget: nothing trained" in (tmp_path / "tables" / "accuracy.md").read_text(encoding="utf-8")


def test_collected_numbers_are_the_same_to_the_last_bit(tmp_path):
    scores = made_scores(made_runs()[:2])
    collect_tables([write_scores(tmp_path, scores)], [], [], tmp_path / "tables")
    collected = read_table(tmp_path / "tables" / "scores.csv", scores.columns)
    assert (collected["psnr_y"].to_numpy() == scores["psnr_y"].to_numpy()).all()


def test_names_that_look_like_numbers_or_nothing_stay_names(tmp_path):
    scores = made_scores([("007", "nan", "external", "1e3", 0, "gaussian", 25.0)], clips=[("1", "000", 3)])
    collect_tables([write_scores(tmp_path, scores)], [], [], tmp_path / "tables")
    row = read_table(tmp_path / "tables" / "scores.csv", []).iloc[0]
    assert row[["run", "model", "recipe", "dataset", "clip"]].tolist() == ["007", "nan", "1e3", "1", "000"]


def test_methods_with_other_frames_are_marked_as_not_comparable(tmp_path):
    runs = made_runs()
    scores = pd.concat(
        [
            made_scores(runs[:1], clips=[("photos", "coffee", 9)]),
            made_scores(runs[1:2], clips=[("photos", "coffee", 16)]),
        ]
    )
    collect_tables([write_scores(tmp_path, scores)], [], [], tmp_path / "tables")
    write_tables(tmp_path / "tables", made_study())
    assert "not comparable" in (tmp_path / "tables" / "accuracy.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_folder_of_an_earlier_version_has_no_cases_and_no_cost_curves_and_still_all_tables(made, tmp_path):
    old = tmp_path / "tables"
    old.mkdir()
    for name in ("scores", "runtime", "training"):
        shutil.copy(made / f"{name}.csv", old)
    write_tables(old, made_study())
    before, after = (pd.read_csv(folder / "runtime_summary.csv") for folder in (made, old))
    assert after["median_ms"].tolist() == before["median_ms"].tolist()
    assert set(after["status"]) == {"ok"}
    assert after["floor_ms"].isna().all()
    text = (old / "runtime.md").read_text(encoding="utf-8")
    assert "floor" not in text and "ceilings" not in text and "floor" in (made / "runtime.md").read_text()
    assert (old / "cost_curves.md").read_text() == "Not measured in this study.\n"


def test_broken_inputs_are_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.csv: expected a table, there is no such file"):
        collect_tables([tmp_path / "absent.csv"], [], [], tmp_path / "tables")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match=r"empty\.csv: expected a CSV table"):
        collect_tables([], [tmp_path / "empty.csv"], [], tmp_path / "tables")
    scores = made_scores(made_runs()[:1])
    path = write_scores(tmp_path, scores.drop(columns=["tof", "crop"]))
    with pytest.raises(DataError, match=r"scores\.csv: missing columns crop, tof"):
        collect_tables([path], [], [], tmp_path / "tables")
    other = write_scores(tmp_path / "other", scores.assign(study="other"))
    path = write_scores(tmp_path, scores)
    with pytest.raises(DataError, match="scores: expected one study, got made, other"):
        collect_tables([path, other], [], [], tmp_path / "tables")
    made_sweep().drop(columns="value").to_csv(tmp_path / "sweep.csv", index=False)
    with pytest.raises(DataError, match=r"sweep\.csv: missing columns value"):
        collect_tables([path], [], [], tmp_path / "tables", sweep_files=[tmp_path / "sweep.csv"])
    cases = made_cases(made_runtime(["a"]))
    pd.concat([cases, cases.assign(study="other")]).to_csv(tmp_path / "cases.csv", index=False)
    with pytest.raises(DataError, match="runtime_cases: expected one study, got made, other"):
        collect_tables([path], [], [], tmp_path / "tables", case_files=[tmp_path / "cases.csv"])


def test_wrong_facts_are_named(tmp_path):
    with pytest.raises(ConfigError, match="study: missing device"):
        write_tables(tmp_path, {"study": "made", "protocols": {}, "headline_protocol": "paper"})
    with pytest.raises(ConfigError, match="headline_protocol: expected one of paper, full, rgb, got 'best'"):
        write_tables(tmp_path, made_study(headline_protocol="best"))


def test_special_characters_are_escaped():
    assert escape_tex("a_b 10% & {x} ± \\") == r"a\_b 10\% \& \{x\} $\pm$ \textbackslash{}"
    section = Section("caption", [("", "name"), ("g", "n|m")], [["a_b", "1 ± 2"]])
    assert "| a_b | 1 ± 2 |" in markdown_text([section])
    assert r"n\|m<br>g" in markdown_text([section])
    assert r"a\_b & 1 $\pm$ 2 \\" in tex_text([section], "some_name")
    assert r"\label{tab:some-name-1}" in tex_text([section], "some_name")


def test_two_studies_side_by_side(made, tmp_path):
    runs = [("mine", "rlsp-5-32", "released-weights", None, None, "gaussian", 30.0)]
    scores = made_scores(runs).assign(study="other")
    folder = tmp_path / "other"
    collect_tables([write_scores(folder, scores)], [], [], folder / "tables")
    renamed = {"headline": made_study()["protocols"]["paper"]}
    write_tables(
        folder / "tables", made_study(study="other", protocols=renamed, headline_protocol="headline")
    )
    table = compare(made.parent, folder)
    assert list(table["dataset"]) == ["photos", "city"]
    assert table["psnr_difference"].tolist() == (table["psnr_b"] - table["psnr_a"]).tolist()
    assert table["is_comparable"].all()
    assert table["origin_b"].unique().tolist() == ["released-weights"]
    assert table["psnr_difference_std"].tolist() == table["psnr_std_a"].tolist()  # of one side only
    text = comparison_markdown(table, "made", "other")
    difference, spread = table.loc[0, ["psnr_difference", "psnr_difference_std"]]
    assert f"{difference:+.2f} ± {spread:.2f}" in text
    assert "rlsp-5-32, trained, 3 seeds" in text
    with pytest.raises(DataError, match="found none"):
        compare(folder, write_unlike(tmp_path / "unlike"))


def write_unlike(folder):
    scores = made_scores([("x", "unlike", "external", None, None, "gaussian", 20.0)])
    collect_tables([write_scores(folder, scores)], [], [], folder / "tables")
    write_tables(folder / "tables", made_study())
    return folder


def test_a_gain_of_nothing_has_no_minus():
    assert number_text(-0.004, 2, 0.01, sign="+") == "+0.00 ± 0.01"
    assert number_text(-0.006, 2, sign="+") == "-0.01"
    assert number_text(27.455, 2) == f"{27.455:.2f}"


def test_a_budget_names_the_precision_that_was_taken():
    """That of the logs, where the recipe leaves it to the device; of logs from before, the recipe's own."""
    recipe = {"batch": 2, "crop": 16, "frames": 8, "precision": "auto"}
    training = pd.DataFrame(
        {"recipe": "quick", "run": ["a", "b"], "step": 600, "precision": ["fp32", "bf16"]}
    )
    sees = "quick 600 steps of 2 crops, 16x16 LR pixels and 8 frames"
    assert training_budget(training, {"quick": recipe}) == f"{sees} in bf16 and fp32"
    assert training_budget(training[:1], {"quick": recipe}) == f"{sees} in fp32"
    older = training.drop(columns="precision")
    assert training_budget(older, {"quick": recipe | {"precision": "bf16"}}) == f"{sees} in bf16"
    assert training_budget(older, {"quick": recipe}) == sees
    assert training_budget(older, {}) == "quick 600 steps"
