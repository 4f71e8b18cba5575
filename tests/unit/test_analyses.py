"""Analyses of accuracy, ablation, temporal consistency, precisions and training, on made rows."""

import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from drawn import hashes, texts_inside
from made_tables import (
    ABLATION,
    made_runs,
    made_runtime,
    made_scores,
    made_study,
    made_training,
    write_made,
    write_rows,
)
from PIL import Image

from rlsp.errors import DataError
from rlsp.metrics.fidelity import psnr_from_mse
from rlsp.reporting.analyses import (
    ANALYSES,
    ablation,
    accuracy,
    analyses,
    leave_one_clip_out,
    precisions,
    temporal,
    training,
)
from rlsp.reporting.by_clip import MOST_CLIPS
from rlsp.reporting.compare import compare, comparison_markdown
from rlsp.reporting.printing import latex_text, markdown_text, widths
from rlsp.reporting.render import findings_text, render_figures, render_tables
from rlsp.reporting.results import Results
from rlsp.reporting.style import FADED, line_styles

pytestmark = pytest.mark.slow

ONE_CLIP = [("photos", "coffee", 7)]
SPREAD = "(mean ± standard deviation over seeds, n - 1 in the denominator"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three seeds and two inputs."""
    return write_made(tmp_path_factory.mktemp("made"), seeds=(0, 1, 2), degradations=("gaussian", "bicubic"))


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """One clip of 7 frames, one seed."""
    return write_made(tmp_path_factory.mktemp("short"), clips=ONE_CLIP)


def scored(folder, runs, **changes):
    return write_rows(folder, {"scores": made_scores(runs, **changes)}, made_study())


def printed(analysis, results):
    return markdown_text(analysis.tables(results.of(analysis.summarise), results))


def found(analysis, results):
    return analysis.findings(results.of(analysis.summarise), results)


def drawn(analysis, results):
    return analysis.figure(results.of(analysis.summarise), results)


# ---- all of them -------------------------------------------------------------------------------


def test_every_analysis_has_its_files_and_its_findings(made, tmp_path):
    shutil.copytree(made.folder / "rows", tmp_path / "rows")
    render_tables(tmp_path)
    kinds = ("csv", "md", "tex", "html")
    names = {path.name for path in (tmp_path / "tables").iterdir()}
    assert names == {f"{name}.{kind}" for name in ANALYSES for kind in kinds} | {"findings.md"}
    empty = {"claims", "precisions"}
    for name in ANALYSES:
        is_empty = (tmp_path / "tables" / f"{name}.md").read_text() == "Not measured in this study.\n"
        assert is_empty == (name in empty), name
        assert pd.read_csv(tmp_path / "tables" / f"{name}.csv").empty == (name in empty), name
    text = (tmp_path / "tables" / "findings.md").read_text()
    told = {analysis.TITLE for name, analysis in analyses() if name not in empty}
    assert set(re.findall("^## (.*)$", text, flags=re.M)) == told
    assert not re.search(r"\bnan\b", text)


def test_every_table_says_protocol_or_way_seeds_device_and_budget_once(made):
    for name, analysis in analyses():
        for table in analysis.tables(made.of(analysis.summarise), made):
            assert table.caption.count("Study made") == 1, name
            assert table.caption.count("budget: demo 600 steps") == 1, name
            assert not any("crop" in column.head or "gaussian" in column.head for column in table.columns), (
                name
            )
            assert max(len(column.head) for column in table.columns) <= 30, name
            assert len(table.columns) <= 13, name


def test_no_table_is_so_wide_that_a_page_makes_it_unreadable(made):
    """The text of a page takes 345 pt; a character of small type 4, a gap of columns 6. Wider tables are shrunk."""
    for name, analysis in analyses():
        for table in analysis.tables(made.of(analysis.summarise), made):
            assert 4 * sum(widths(table)) + 6 * len(table.columns) < 345 / 0.5, (name, table.title)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_all_tables_compile_in_latex_and_fit_a_page(made, tmp_path):
    body = "\\clearpage\n".join(
        latex_text(analysis.tables(made.of(analysis.summarise), made), name) for name, analysis in analyses()
    )
    packages = "\\usepackage{booktabs,array,adjustbox}\\usepackage[utf8]{inputenc}\\usepackage[T1]{fontenc}"
    page = f"\\documentclass{{article}}{packages}\n\\begin{{document}}\n{body}\\end{{document}}\n"
    (tmp_path / "page.tex").write_text(page, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull \\hbox" not in done.stdout and "Float too large" not in done.stdout


def test_a_study_without_training_and_times_still_has_all_files(tmp_path):
    results = scored(tmp_path, [run for run in made_runs() if run[2] != "trained"])
    render_tables(tmp_path)
    for name in ("runtime", "complexity", "speed", "cost_curves", "ablation", "training", "claims"):
        assert (tmp_path / "tables" / f"{name}.md").read_text() == "Not measured in this study.\n"
    assert "budget: nothing trained" in printed(accuracy, results)
    assert {path.stem for path in render_figures(tmp_path)} == {"accuracy", "temporal"}


def test_figures_come_from_the_rows_alone_with_the_same_bytes(short, tmp_path):
    shutil.copytree(short.folder / "rows", tmp_path / "rows")
    first = render_figures(tmp_path)
    names = ["accuracy", "ablation", "temporal", "speed", "cost_curves", "training"]
    assert [path.name for path in first] == [f"{name}.{kind}" for name in names for kind in ("pdf", "png")]
    assert hashes(first) == hashes(render_figures(tmp_path, tmp_path / "again"))
    for path in first:
        assert not re.search(rb"CreationDate|20\d\d-\d\d-\d\d", path.read_bytes()[-2000:])
    with Image.open(tmp_path / "figures" / "numbers" / "ablation.png") as picture:
        assert round(picture.info["dpi"][0]) == 200
        assert "Software" not in picture.info


def test_rows_of_an_earlier_version_still_make_all_tables(made, tmp_path):
    (tmp_path / "rows").mkdir()
    for name in ("scores.csv", "runtime.csv", "training.csv", "study.json"):
        shutil.copy(made.folder / "rows" / name, tmp_path / "rows")
    scores = pd.read_csv(tmp_path / "rows" / "scores.csv").drop(columns=["tof", "warp_error"])
    scores.to_csv(tmp_path / "rows" / "scores.csv", index=False)
    render_tables(tmp_path)
    assert pd.read_csv(tmp_path / "tables" / "runtime.csv")["floor_ms"].isna().all()
    assert (tmp_path / "tables" / "temporal.md").read_text() == "Not measured in this study.\n"
    assert "temporal" not in {path.stem for path in render_figures(tmp_path)}
    assert "Accuracy" in findings_text(Results(tmp_path))


def many_runs():
    """Runs of 3 seeds of 15 models and of a bicubic baseline, for 2 degradations."""
    models = [*ABLATION, *(f"rlsp-7-{8 * number}" for number in range(1, 10)), "peer-a", "peer-b"]
    runs = []
    for degradation in ("gaussian", "bicubic"):
        runs.append((f"bicubic.{degradation}", "bicubic", "interpolation", None, None, degradation, 23.6))
        for number, model in enumerate(models):
            for seed in range(3):
                run = f"{model}.{degradation}.s{seed}"
                runs.append((run, model, "trained", "paper", seed, degradation, 25 + number / 9 + seed / 30))
    return runs


def test_figures_of_the_whole_study_are_complete_and_not_cut(tmp_path):
    runs = many_runs()
    models = {model: {"arch": "my:Peer" if "peer" in model else "rlsp"} for _, model, origin, *_ in runs[1:]}
    models.pop("bicubic", None)
    study = made_study(models=made_study()["models"] | models | made_study()["models"])
    clips = [(dataset, clip, 6) for dataset in ("vid4", "reds4") for clip in ("a", "b")]
    rows = {
        "scores": made_scores(runs, clips=clips),
        "runtime": made_runtime(models),
        "training": made_training(runs, steps=100),
    }
    results = write_rows(tmp_path, rows, study)
    grey = {label for label, style in line_styles(results).items() if style is FADED}
    assert grey == {f"rlsp-7-{8 * number}" for number in range(1, 10)}
    texts = texts_inside(drawn(accuracy, results))
    assert {"other variants (numbers in the tables)", "mean over 3 seeds"} <= set(texts)
    assert {"bicubic", "peer-a", *ABLATION} <= set(texts)
    frame = results.of(ablation.summarise)
    gain = frame[frame["protocol"] == "paper"].iloc[1]
    texts = texts_inside(drawn(ablation, results))
    assert f"{gain['psnr']:.2f} ({gain['gain']:+.2f} ± {gain['gain_std']:.2f})" in texts
    assert set(models) <= set(texts_inside(drawn(temporal, results)))


# ---- accuracy ----------------------------------------------------------------------------------


def test_accuracy_equals_hand_computed_values(made):
    scores, frame = made.rows("scores"), made.of(accuracy.summarise)
    chosen = scores[(scores["model"] == "rlsp-5-32") & (scores["crop"] == 8) & (scores["clip"] == "motor")]
    chosen = chosen[(chosen["degradation"] == "bicubic") & chosen["frame"].between(2, 13)]
    by_seed = [psnr_from_mse(rows["mse_y"].mean()) for _, rows in chosen.groupby("seed")]
    row = frame[(frame["variant"] == "rlsp-5-32") & (frame["clip"] == "motor")]
    row = row[(row["degradation"] == "bicubic") & (row["protocol"] == "paper")].iloc[0]
    assert row["psnr"] == pytest.approx(np.mean(by_seed), abs=1e-9)
    assert row["psnr_std"] == pytest.approx(np.std(by_seed, ddof=1), abs=1e-9)
    assert row["ssim"] == pytest.approx(chosen["ssim_y"].mean(), abs=1e-9)
    assert (row["n_seeds"], row["seeds"], row["n_frames"]) == (3, "0 1 2", 12)
    assert row["run"].split() == [f"rlsp-5-32.bicubic.s{seed}" for seed in range(3)]
    assert row["protocol_label"] == "PSNR-Y, crop 8, trim 2+2, video"


def test_mean_over_clips_is_the_mean_of_the_clips_for_each_data_set(made):
    frame = made.of(accuracy.summarise)
    rows = frame[(frame["variant"] == "rlsp-3-16") & (frame["degradation"] == "gaussian")]
    rows = rows[(rows["protocol"] == "full") & (rows["dataset"] == "photos")].set_index("clip")
    assert rows.loc["mean", "psnr"] == pytest.approx(rows.loc[["coffee", "motor"], "psnr"].mean(), abs=1e-9)
    assert (rows.loc["mean", "n_clips"], rows.loc["mean", "n_frames"]) == (2, 32)


def test_every_table_names_channel_crop_trim_average_and_degradation_and_its_heads_are_short(made):
    tables = accuracy.tables(made.of(accuracy.summarise), made)
    assert len(tables) == 12  # two data sets, two inputs, three protocols
    for table in tables:
        assert re.search(
            r"degradation (gaussian|bicubic), PSNR-(Y|RGB), crop \d, trim \d\+\d, (frame|video)$", table.title
        )
        assert re.search(r"beside it SSIM-Y, crop \d, trim \d\+\d, frame\.", table.caption)
        heads = [column.head for column in table.columns]
        clips = ["coffee", "motor"] if "photos" in table.title else ["shot-2"]
        assert heads == ["method", *clips, "mean", "SSIM-Y"]
    assert (
        tables[0].title.startswith("Accuracy on photos") and "video" in tables[0].title
    )  # the headline's first
    assert {column.group for column in tables[0].columns[1:4]} == {"PSNR-Y [dB]"}


def test_what_has_no_seeds_has_no_spread(made):
    for analysis, count in ((accuracy, 24), (leave_one_clip_out, 4), (temporal, 8)):
        lines = printed(analysis, made).split("\n")
        plain = [line for line in lines if re.match(r"\| (bicubic|duf-52l) \|", line)]
        assert len(plain) == count
        assert all("±" not in line for line in plain)
        assert all("±" in line for line in lines if line.startswith("| rlsp"))
        assert SPREAD in printed(analysis, made)


def test_seeds_are_counted_where_methods_differ_in_them(tmp_path):
    runs = [run for run in made_runs(seeds=(0, 1)) if run[0] != "rlsp-5-32-adjacent.gaussian.s1"]
    results = scored(tmp_path, runs)
    for analysis in (accuracy, leave_one_clip_out, ablation, temporal):
        table = analysis.tables(results.of(analysis.summarise), results)[0]
        seeds = {str(row[0]): row[-1] for row in table.rows}
        assert table.columns[-1].head == "seeds"
        assert (seeds["rlsp-5-32"], seeds["rlsp-5-32-adjacent"], seeds.get("bicubic", "–")) == ("2", "1", "–")


def test_a_single_seed_has_no_spread(short):
    frame = short.of(accuracy.summarise)
    assert frame["psnr_std"].isna().all() and (frame["n_seeds"] == 1).all()


def test_seeds_of_one_input_are_not_those_of_another(tmp_path):
    """Trained with seeds 1 and 2 for Gaussian input, with seed 0 for bicubic input: each caption says its own."""
    rows = [
        (f"rlsp-5-32.{degradation}.s{seed}", "rlsp-5-32", "trained", "demo", seed, degradation, 25.0)
        for degradation, seed in (("gaussian", 1), ("gaussian", 2), ("bicubic", 0))
    ]
    results = write_rows(tmp_path, {"scores": made_scores(rows)}, made_study(budget="600 steps"))
    for table in accuracy.tables(results.of(accuracy.summarise), results):
        seeds = "seeds: 0;" if "degradation bicubic" in table.title else f"seeds: 1, 2 {SPREAD});"
        assert f"Study made; device: laptop cpu; {seeds} budget: 600 steps." in table.caption


def test_methods_with_other_frames_are_marked_as_not_comparable(tmp_path):
    runs = made_runs()
    few = made_scores(runs[:1], clips=[("photos", "coffee", 9)])
    all_frames = made_scores(runs[1:2], clips=[("photos", "coffee", 16)])
    results = write_rows(tmp_path, {"scores": pd.concat([few, all_frames])}, made_study())
    table = accuracy.tables(results.of(accuracy.summarise), results)[0]
    assert "not comparable" in table.caption
    frames = [column.head for column in table.columns].index("frames")
    assert [row[frames] for row in table.rows] == ["5", "12"]


def test_of_many_clips_each_is_a_row(tmp_path):
    clips = [("many", f"clip-{number:02d}", 7) for number in range(MOST_CLIPS + 1)]
    results = write_made(tmp_path, clips=clips, long_name=False)
    means, every, rest = accuracy.tables(results.of(accuracy.summarise), results)[:3]
    assert [column.head for column in means.columns] == ["method", "PSNR-Y [dB]", "SSIM-Y"]
    assert [len(every.rows), len(every.columns)] == [MOST_CLIPS + 1, 7]
    assert rest.columns[-1].head == "duf-52l" and "methods 7 to 7" in rest.title
    frame = (
        results.of(accuracy.summarise).query("protocol == 'paper' and variant == 'bicubic'").set_index("clip")
    )
    assert [str(row[1]) for row in every.rows] == [f"{frame.loc[clip, 'psnr']:.2f}" for _, clip, _ in clips]


def test_findings_name_the_most_accurate_its_margins_and_their_range_over_clips(made):
    frame = made.of(accuracy.summarise)
    rows = frame[
        (frame["protocol"] == "paper") & (frame["dataset"] == "photos") & (frame["degradation"] == "gaussian")
    ]
    means = rows[rows["clip"] == "mean"].set_index("variant")["psnr"].sort_values(ascending=False)
    by_clip = rows[rows["clip"] != "mean"].pivot(index="clip", columns="variant", values="psnr")
    gains = by_clip[means.index[0]] - by_clip["bicubic"]
    sentence = found(accuracy, made)[0]
    assert sentence.startswith(
        f"On photos (gaussian) {means.index[0]} is the most accurate: {means.iloc[0]:.2f}"
    )
    margin = means.iloc[0] - means["bicubic"]
    assert (
        f"{margin:.2f} dB above bicubic (from {gains.min():+.2f} to {gains.max():+.2f} over 2 clips)"
        in sentence
    )


def test_twelve_long_names_fit(tmp_path):
    labels = [f"rlsp-7-128-variant-{'x' * 30}-{number}" for number in range(12)]
    runs = [(label, label, "external", None, None, "gaussian", 25 + n / 5) for n, label in enumerate(labels)]
    text = "".join(texts_inside(drawn(accuracy, scored(tmp_path, runs, clips=ONE_CLIP)))).replace("\n", "")
    assert all(label in text for label in labels)


def test_a_single_run_and_a_single_frame_can_be_drawn(tmp_path):
    protocols = {"all": {"channel": "y", "crop": 8, "trim": [0, 0], "average": "frame"}}
    scores = made_scores(made_runs()[:1], clips=[("photos", "coffee", 1)])
    study = made_study(protocols=protocols, headline_protocol="all")
    figure = drawn(accuracy, write_rows(tmp_path, {"scores": scores}, study))
    assert "coffee" in texts_inside(figure)
    assert figure.axes[0].lines[0].get_ydata()[0] == pytest.approx(
        scores[scores["crop"] == 8]["psnr_y"].item()
    )


def test_lines_are_the_mean_over_seeds_and_trimmed_frames_are_shaded(tmp_path):
    runs = [run for run in made_runs(seeds=(0, 1)) if run[1] == "rlsp-5-32"]
    scores = made_scores(runs, clips=ONE_CLIP)
    axis = drawn(accuracy, write_rows(tmp_path, {"scores": scores}, made_study())).axes[0]
    expected = scores[scores["crop"] == 8].groupby("frame")["psnr_y"].mean()
    assert axis.lines[0].get_ydata() == pytest.approx(expected.to_numpy())
    spans = [patch.get_extents().transformed(axis.transData.inverted()) for patch in axis.patches]
    assert [span.x0 for span in spans] == pytest.approx([-0.5, 4.5])
    assert [span.x1 for span in spans] == pytest.approx([1.5, 6.5])


# ---- one clip left out -------------------------------------------------------------------------


def test_a_ranking_that_one_clip_decides_is_told(tmp_path):
    """A method that is 3 dB better on one of three clips and 1 dB worse on the others leads with it, not without."""
    runs = [(name, name, "external", None, None, "gaussian", 25.0) for name in ("steady", "lucky")]
    scores = made_scores(runs, clips=[("set", clip, 8) for clip in "abc"])
    shift = np.where(scores["clip"] == "b", 3.0, -1.0) * (scores["model"] == "lucky")
    scores = scores.assign(psnr_y=scores["psnr_y"] + shift, mse_y=scores["mse_y"] / 10 ** (shift / 10))
    results = write_rows(tmp_path, {"scores": scores}, made_study())
    assert found(leave_one_clip_out, results) == [
        "On set (gaussian) lucky is the most accurate, but without b it is steady."
    ]
    heads = [
        column.head
        for column in leave_one_clip_out.tables(results.of(leave_one_clip_out.summarise), results)[0].columns
    ]
    assert heads == ["method", "all clips", "without a", "without b", "without c"]


# ---- ablation ----------------------------------------------------------------------------------


def test_ablation_has_the_rows_of_the_study_in_order_with_switches_and_gains(made):
    frame = made.of(ablation.summarise)
    rows = frame[(frame["dataset"] == "city") & (frame["degradation"] == "gaussian")]
    rows = rows[rows["protocol"] == "paper"]
    assert list(rows["model"]) == list(ABLATION)
    switches = [tuple(row) for row in rows[["adjacent", "feedback", "state"]].itertuples(index=False)]
    assert switches == list(ABLATION.values())
    assert np.isnan(rows["gain"].iloc[0])
    assert rows["gain"].iloc[1:].tolist() == pytest.approx(np.diff(rows["psnr"]).tolist(), abs=1e-9)
    assert rows["parameters"].tolist() == [10_000, 30_000, 90_000, 270_000]


def test_the_spread_of_a_gain_is_paired_over_seeds(made):
    scores = made.rows("scores")
    chosen = scores[(scores["dataset"] == "city") & (scores["degradation"] == "gaussian")]
    chosen = chosen[(chosen["crop"] == 8) & chosen["frame"].between(2, 46)]
    psnr = chosen.groupby(["model", "seed"])["mse_y"].mean().map(psnr_from_mse)
    gains = psnr["rlsp-5-32-adjacent"] - psnr["rlsp-5-32-frames"]
    row = made.of(ablation.summarise).query("dataset == 'city' and degradation == 'gaussian'")
    row = row[row["protocol"] == "paper"].iloc[1]
    assert row["gain_std"] == pytest.approx(np.std(gains, ddof=1), abs=1e-9)
    assert row["gain_std"] != pytest.approx(row["psnr_std"], rel=0.1)  # what both seeds share cancels
    assert f"{row['gain']:+.2f} ± {row['gain_std']:.2f}" in printed(ablation, made)
    assert "differences between trainings of the same seed" in printed(ablation, made)


def test_a_gain_between_rows_of_other_seeds_has_no_spread(tmp_path):
    runs = [run for run in made_runs(seeds=(0, 1)) if run[0] != "rlsp-5-32-adjacent.gaussian.s1"]
    table = scored(tmp_path, runs).of(ablation.summarise)
    paper = table[(table["protocol"] == "paper") & (table["dataset"] == "city")]
    assert paper["gain_std"].notna().tolist() == [False, False, False, True]
    assert paper["gain"].notna().tolist() == [False, True, True, True]


def test_a_model_missing_from_the_ablation_leaves_the_others(tmp_path):
    study = made_study(ablation=["rlsp-5-32-frames", "not-run", "rlsp-5-32"])
    table = write_rows(tmp_path, {"scores": made_scores(made_runs())}, study).of(ablation.summarise)
    paper = table[(table["protocol"] == "paper") & (table["dataset"] == "city")]
    assert list(paper["row"]) == [1, 3]
    assert paper["state"].tolist() == [False, True]


def test_the_order_of_the_paper_is_told_and_so_is_what_gained_nothing(tmp_path):
    def sentences(folder, base):
        runs = [
            (f"{model}.g.s0", model, "trained", "demo", 0, "gaussian", base[n])
            for n, model in enumerate(ABLATION)
        ]
        return found(ablation, scored(tmp_path / folder, runs, clips=[("city", "a", 40)]))

    (sentence,) = sentences("rising", (25, 26, 27, 28))
    assert "each row gained, as in the paper" in sentence and "one seed" in sentence
    (sentence,) = sentences("falling", (25, 26, 24, 28))
    assert "rlsp-5-32-feedback gained nothing" in sentence


def test_ablation_shows_values_and_gains(short):
    texts = texts_inside(drawn(ablation, short))
    rows = short.of(ablation.summarise).query("protocol == 'paper'")
    assert f"{rows['psnr'].iloc[0]:.2f}" in texts
    assert f"{rows['psnr'].iloc[3]:.2f} ({rows['gain'].iloc[3]:+.2f})" in texts
    assert any("frames only" in text for text in texts)
    assert any("adjacent + feedback + state" in text for text in texts)


# ---- temporal consistency ----------------------------------------------------------------------


def test_temporal_measures_have_trims_of_their_own(made):
    scores = made.rows("scores")
    chosen = scores[
        (scores["run"] == "bicubic.gaussian") & (scores["crop"] == 8) & (scores["clip"] == "shot-2")
    ]
    row = made.of(temporal.summarise).query(
        "variant == 'bicubic' and clip == 'shot-2' and degradation == 'gaussian'"
    )
    assert row["tof"].item() == pytest.approx(chosen[chosen["frame"].between(3, 46)]["tof"].mean())
    assert row["warp_error"].item() == pytest.approx(chosen[chosen["frame"] >= 1]["warp_error"].mean())
    assert row["n_frames"].item() == 49
    line = next(line for line in printed(temporal, made).split("\n") if line.startswith("| bicubic |"))
    assert f"{row['warp_error'].item() * 1000:.3f}" in line


def test_the_most_consistent_is_named_by_each_measure(made):
    sentences = found(temporal, made)
    assert len(sentences) == 8  # two data sets, two inputs, two measures
    assert "most consistent by tOF [pixels]" in sentences[0] and "warping error x 1000" in sentences[1]


# ---- precisions --------------------------------------------------------------------------------


def test_differences_of_precisions_are_means_and_extremes_of_clips(tmp_path):
    labels = {
        "study": "made",
        "run": "r",
        "model": "rlsp-7-64",
        "precision": "bf16",
        "clip": "a",
        "dataset": "vid4",
    }
    labels |= {"device": "laptop", "threads": 2, "mode": "fused", "psnr_y": 27.0, "psnr_y_fp32": 27.0}
    rows = [("clip", 0, 5, 0.002, 60.0), ("clip", 0, 7, -0.008, 55.25), ("long", 0, 100, -0.001, 58.0)]
    rows += [("long", 100, 50, 0.0005, 57.0)]
    columns = ("part", "first_frame", "frames", "difference_db", "psnr_between")
    table = pd.DataFrame([labels | dict(zip(columns, row, strict=True)) for row in rows])
    results = write_made(tmp_path, clips=ONE_CLIP, precisions=table)
    text = printed(precisions, results)
    assert "| rlsp-7-64 | bf16 | -0.0030 | -0.0080 | -0.0010 | +0.0005 | 55.2 |" in text
    assert "on vid4; long clip: a played there and back for 150 frames" in text
    assert "On laptop, 2 threads." in text
    assert found(precisions, results) == [
        "bf16 changes PSNR by -0.0080 dB at most (rlsp-7-64, one of 2 clips), and by +0.0005 dB at the end of 150 "
        "frames."
    ]


# ---- training ----------------------------------------------------------------------------------


def test_the_end_of_a_training_is_its_last_tenth(tmp_path):
    runs = [run for run in made_runs() if run[1] == "rlsp-3-16"]
    log = made_training(runs, steps=100).assign(psnr=np.arange(1.0, 11.0), validation_psnr=None)
    log.loc[4, "validation_psnr"] = 31.5
    results = write_made(tmp_path, clips=ONE_CLIP, training=log)
    row = results.of(training.summarise).iloc[0]
    assert (row["steps"], row["psnr"], row["gain"], row["validation_psnr"]) == (100, 10.0, 1.0, 31.5)
    (sentence,) = found(training, results)
    assert sentence.startswith("1 training (") and "ended at 10.00 dB" in sentence


def test_curves_are_thinned_by_averaging():
    curve = pd.DataFrame({"step": range(1, 1001), "loss": np.arange(1000.0)})
    thin = training.thinned(curve, 100)
    assert len(thin) == 100
    assert thin["loss"].iloc[0] == pytest.approx(4.5)
    assert training.thinned(curve[:7], 100)["loss"].tolist() == list(range(7))


def test_long_curves_are_thinned_by_factors_of_the_step():
    curve = pd.DataFrame({"step": range(100, 1_000_001, 100), "loss": 1.0})
    thin = training.thinned(curve, 200, by_ratio=True)
    assert len(thin) <= 200
    assert thin["step"].iloc[:2].tolist() == [100, 200]
    assert (thin["step"] > 500_000).sum() < 20


def test_a_training_curve_is_the_mean_over_seeds_in_a_band_of_their_spread(tmp_path):
    runs = [run for run in made_runs(seeds=(0, 1, 2)) if run[1] == "rlsp-3-16"]
    log = made_training(runs, steps=300)
    rows = {"scores": made_scores(runs, clips=ONE_CLIP), "training": log}
    figure = drawn(training, write_rows(tmp_path, rows, made_study()))
    assert any("mean and standard deviation of 3 seeds" in text for text in texts_inside(figure))
    loss = figure.axes[0]
    by_step = log.groupby("step")["loss"]
    assert loss.lines[0].get_ydata() == pytest.approx(by_step.mean().to_numpy())
    band = loss.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx((by_step.mean() + by_step.std()).max())


# ---- two studies -------------------------------------------------------------------------------


def test_two_studies_side_by_side(made, tmp_path):
    runs = [("mine", "rlsp-5-32", "released-weights", None, None, "gaussian", 30.0)]
    protocols = {"headline": made_study()["protocols"]["paper"]}
    study = made_study(study="other", protocols=protocols, headline_protocol="headline")
    other = write_rows(tmp_path / "other", {"scores": made_scores(runs).assign(study="other")}, study)
    for results in (made, other):
        render_tables(results.folder)
    table = compare(made.folder, other.folder)
    assert list(table["dataset"]) == ["photos", "city"]
    assert table["psnr_difference"].tolist() == (table["psnr_b"] - table["psnr_a"]).tolist()
    assert table["is_comparable"].all()
    assert table["origin_b"].unique().tolist() == ["released-weights"]
    assert table["psnr_difference_std"].tolist() == table["psnr_std_a"].tolist()  # of one side only
    text = comparison_markdown(table, "made", "other")
    difference, spread = table.loc[0, ["psnr_difference", "psnr_difference_std"]]
    assert f"{difference:+.2f} ± {spread:.2f}" in text
    assert "rlsp-5-32, trained, 3 seeds" in text
    unlike = scored(tmp_path / "unlike", [("x", "unlike", "external", None, None, "gaussian", 20.0)])
    render_tables(unlike.folder)
    with pytest.raises(DataError, match="found none"):
        compare(other.folder, unlike.folder)


# ---- what a sentence must not say --------------------------------------------------------------


def test_a_gain_below_its_spread_is_not_the_order_of_the_paper(tmp_path):
    """Seed by seed the second row gains 2 dB or loses 1: in the mean 0.5, with a spread of 2."""
    base = {"rlsp-5-32-frames": (25, 25), "rlsp-5-32-adjacent": (27, 24), "rlsp-5-32-feedback": (28, 28.5)}
    runs = [
        (f"{model}.g.s{seed}", model, "trained", "demo", seed, "gaussian", psnr)
        for model, of_seeds in (base | {"rlsp-5-32": (30, 30.5)}).items()
        for seed, psnr in enumerate(of_seeds)
    ]
    (sentence,) = found(ablation, scored(tmp_path, runs, clips=[("city", "a", 40)]))
    assert "(gaussian; 2 seeds) rlsp-5-32-adjacent gained less than the spread over seeds" in sentence
    assert "as in the paper" not in sentence


def test_an_ablation_without_one_of_its_rows_is_not_that_of_the_paper(tmp_path):
    runs = [run for run in made_runs() if run[1] != "rlsp-5-32-feedback"]
    (sentence,) = found(ablation, scored(tmp_path, runs, clips=[("city", "a", 40)]))
    assert "each row gained (1 of the study's rows were not measured)" in sentence


def test_methods_with_other_clips_are_not_ranked(tmp_path):
    scores = made_scores(made_runs(), clips=[("photos", "a", 16), ("photos", "b", 16)])
    scores = scores[(scores["origin"] != "released-frames") | (scores["clip"] == "b")]
    results = write_rows(tmp_path, {"scores": scores}, made_study())
    for analysis in (accuracy, leave_one_clip_out, temporal):
        assert found(analysis, results) == []
    table = accuracy.tables(results.of(accuracy.summarise), results)[0]
    mean = [column.head for column in table.columns].index("mean")
    assert "not comparable" in table.caption and not any(table.is_best(row, mean) for row in table.rows)


def test_equal_methods_are_called_equal(tmp_path):
    runs = [(name, name, "external", None, None, "gaussian", 25.0) for name in ("one", "two")]
    scores = made_scores(runs[:1], clips=[("photos", "a", 9)])
    results = write_rows(
        tmp_path, {"scores": pd.concat([scores, scores.assign(run="two", model="two")])}, made_study()
    )
    assert "one and two are equally and the most accurate: " in found(accuracy, results)[0]
    assert "one and two are equally and the most consistent by tOF" in found(temporal, results)[0]


def test_seeds_of_other_clips_and_a_clip_called_mean_are_refused(tmp_path):
    runs = [run for run in made_runs(seeds=(0, 1)) if run[1] == "rlsp-5-32"]
    scores = made_scores(runs, clips=[("photos", "a", 9), ("photos", "b", 9)])
    scores = scores[(scores["seed"] == 0) | (scores["clip"] == "a")]
    with pytest.raises(DataError, match="rlsp-5-32: expected as many clips and frames for each seed"):
        write_rows(tmp_path / "mixed", {"scores": scores}, made_study()).of(accuracy.summarise)
    with pytest.raises(DataError, match="a clip is called mean"):
        scored(tmp_path / "mean", runs, clips=[("photos", "mean", 9)]).of(accuracy.summarise)


def test_frames_without_rgb_leave_an_rgb_protocol_empty(tmp_path):
    scores = made_scores(made_runs()[:2]).drop(columns="psnr_rgb")
    results = write_rows(tmp_path, {"scores": scores}, made_study(headline_protocol="rgb"))
    assert found(accuracy, results) == found(leave_one_clip_out, results) == []
    assert drawn(accuracy, results) is None
