"""Accuracy beside speed: the rows of Figure 1, its panels, and the figure."""

import pandas as pd
import pytest
from made_tables import made_runtime, made_scores, made_study
from matplotlib.text import Text

from rlsp.errors import DataError
from rlsp.reporting.labels import Label, place_labels
from rlsp.reporting.printing import markdown_text
from rlsp.reporting.published import published_points, read_published
from rlsp.reporting.speed import summarise_speed
from rlsp.reporting.speed_figure import HOLLOW, plot_psnr_vs_runtime
from rlsp.reporting.style import new_figure
from rlsp.reporting.tables import summarise_accuracy
from rlsp.reporting.timing import summarise_runtime
from rlsp.reporting.wide_timing import speed_sections

TIMES = {"rlsp-7-64": 2.0, "rlsp-7-128": 5.0, "frvsr-3-64": 20.0, "frvsr-10-128": 50.0, "duf-52l": 400.0}
FRAMES = [
    ("rlsp-7-64", 26.9, "gaussian"),
    ("rlsp-7-128", 27.4, "gaussian"),
    ("duf-52l", 27.3, "gaussian-1.6"),
]


def frames(rows, dataset="vid4"):
    """Scores of released frames: (model, PSNR, degradation) each."""
    runs = [
        (f"{model}.{blur}", model, "released-frames", None, None, blur, psnr) for model, psnr, blur in rows
    ]
    return made_scores(runs, clips=[(dataset, "walk", 6)])


def times(models=TIMES, mode="eager", factor=1.0):
    """Three equal samples of each model."""
    runtime = made_runtime(models)
    runtime = runtime[runtime["repeat"] < 3].assign(mode=mode)
    return runtime.assign(runtime_ms=[factor * models[model] for model in runtime["model"]])


def study_of(**changes):
    kinds = {"gaussian": 1.5, "gaussian-1.6": 1.6}
    degradations = {name: {"kind": "gaussian", "sigma": sigma, "scale": 4} for name, sigma in kinds.items()}
    models = {model: {"arch": model.partition("-")[0], "scale": 4} for model in TIMES}
    facts = {"reference_model": "rlsp-7-128", "models": models, "degradations": degradations}
    return made_study(**(facts | changes))


def accuracy_of(scores, study):
    return summarise_accuracy(scores, study["protocols"])


def speed_of(scores, runtime, study, printed=None):
    timing = summarise_runtime(runtime, study["reference_model"])
    return summarise_speed(accuracy_of(scores, study), timing, study, printed)


@pytest.fixture
def speed():
    return speed_of(frames(FRAMES), times(), study_of(), read_published())


def drawn(scores, runtime, study, printed=None, published=None):
    accuracy = accuracy_of(scores, study)
    return plot_psnr_vs_runtime(speed_of(scores, runtime, study, printed), accuracy, study, published)


def texts_of(figure):
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


# ---- rows --------------------------------------------------------------------------------------


def test_rows_are_sorted_by_time_and_have_the_ratio_to_the_reference(speed):
    assert speed["model"].tolist() == list(TIMES)
    assert speed["median_ms"].tolist() == list(TIMES.values())
    assert speed["time_ratio"].tolist() == [0.4, 1.0, 4.0, 10.0, 80.0]
    assert speed["fps"].tolist() == [500.0, 200.0, 50.0, 20.0, 2.5]


def test_the_psnr_is_ours_or_published_with_its_source(speed):
    rows = speed.set_index("model")
    assert rows.loc["duf-52l", "psnr_from"] == "released-frames"
    assert rows.loc["duf-52l", "psnr"] == pytest.approx(27.3, abs=0.1)  # not the published 27.34
    known = read_published().query("model == 'frvsr-10-128' and metric == 'psnr'").iloc[0]
    assert rows.loc["frvsr-10-128", ["psnr", "psnr_from"]].tolist() == [float(known["value"]), "published"]
    assert rows.loc["frvsr-10-128", "psnr_source"] == f"{known['confidence']}: {known['source']}"


def test_published_times_and_factors_are_those_of_the_file(speed):
    rows, known = speed.set_index("model"), read_published().set_index(["model", "metric"])["value"]
    for model in ("rlsp-7-128", "frvsr-10-128", "frvsr-3-64"):
        assert rows.loc[model, "published_ms"] == float(known[model, "runtime"])
    assert rows.loc["rlsp-7-128", "published_device"] == "not stated"
    assert rows.loc["frvsr-10-128", "published_device"] == "Nvidia P100"
    assert rows["published_ratio"].dropna().to_dict() == {"duf-52l": "over 70", "frvsr-10-128": "about 10"}
    other = speed_of(frames(FRAMES), times(), study_of(reference_model="rlsp-7-64"), read_published())
    assert other["published_ratio"].isna().all()  # the factor is one to 7-128


def test_without_published_values_there_are_none():
    rows = speed_of(frames(FRAMES), times(), study_of()).set_index("model")
    assert rows.loc[["frvsr-3-64", "frvsr-10-128"], "psnr"].isna().all()
    assert rows[["published_ratio", "published_ms"]].isna().all(axis=None)


def test_models_without_scores_are_shown_where_nothing_is_published():
    study = study_of()
    scores = frames([("rlsp-7-128", 27.4, "gaussian")], dataset="own-clips")
    rows = speed_of(scores, times(), study, read_published())
    assert set(rows["model"]) == set(TIMES)
    assert rows.set_index("model")["psnr"].notna().to_dict() == {m: m == "rlsp-7-128" for m in TIMES}


def test_a_way_of_a_single_model_is_left_out_and_one_of_two_is_not():
    two = {model: TIMES[model] for model in ("rlsp-7-64", "rlsp-7-128")}
    runtime = pd.concat([times(), times(two, "fused", 0.5), times({"duf-52l": 400.0}, "compile", 0.5)])
    rows = speed_of(frames(FRAMES), runtime, study_of())
    assert rows.groupby("mode")["model"].nunique().to_dict() == {"eager": 5, "fused": 2}
    fused = rows[rows["mode"] == "fused"].set_index("model")
    assert fused["time_ratio"].to_dict() == {"rlsp-7-64": 0.4, "rlsp-7-128": 1.0}  # to 7-128 run the same way


def test_the_table_says_where_each_number_is_from(speed):
    (section,) = speed_sections(speed, study_of(), "FACTS")
    text = markdown_text([section])
    assert "640x360 output, LR 160x90" in text and "laptop cpu" in text
    assert "frvsr-10-128 (PSNR)" in text and "poster in the official repository, table of Vid4" in text
    lines = {line.split(" | ")[0]: line for line in text.split("\n")}
    assert "| frvsr-10-128 | eager | fp32 | 26.69 | published (Q) | 50.0 | 20.0 | 10.00 | about 10 |" in text
    assert lines["| duf-52l (blur 1.6)"].count("released frames") == 1
    assert lines["| duf-52l (blur 1.6)"].endswith("| 80.00 | over 70 | – |")


def test_a_timed_study_without_scores_has_its_times():
    study = study_of()
    empty = accuracy_of(frames(FRAMES), study).iloc[:0]
    rows = summarise_speed(empty, summarise_runtime(times(), "rlsp-7-128"), study)
    assert rows["median_ms"].tolist() == list(TIMES.values())
    assert rows["psnr"].isna().all()
    assert len(speed_sections(rows, study, "FACTS")) == 1


# ---- panels ------------------------------------------------------------------------------------


def test_blurs_of_one_kind_share_a_panel_and_the_label_says_which(speed):
    assert speed["panel"].unique().tolist() == ["gaussian"]
    labels = speed.set_index("model")["label"]
    assert labels["duf-52l"] == "duf-52l (blur 1.6)"
    assert labels["rlsp-7-128"] == "rlsp-7-128"


def test_published_values_of_a_blur_that_the_study_does_not_know_join_the_panel_of_its_kind():
    rows = speed_of(frames(FRAMES[:2]), times(), study_of(degradations={}), read_published())
    row = rows.set_index("model").loc["duf-52l"]
    assert row[["panel", "degradation", "label"]].tolist() == [
        "gaussian",
        "gaussian-1.6",
        "duf-52l (blur 1.6)",
    ]
    assert row["psnr"] == 27.34


def test_other_kinds_have_panels_of_their_own_without_published_values_of_the_first():
    scores = frames([*FRAMES, ("rlsp-7-128", 27.6, "bicubic")])
    rows = speed_of(scores, times(), study_of(), read_published())
    assert rows["panel"].unique().tolist() == ["gaussian", "bicubic"]
    bicubic = rows[rows["panel"] == "bicubic"].set_index("model")["psnr"]
    assert bicubic.notna().to_dict() == {model: model == "rlsp-7-128" for model in TIMES}


def test_a_model_run_with_two_blurs_parts_them():
    scores = frames([*FRAMES, ("rlsp-7-128", 27.1, "gaussian-1.6")])
    rows = speed_of(scores, times(), study_of(), read_published())
    panels = rows[rows["psnr"].notna()].groupby("panel")["model"].agg(set).to_dict()
    assert panels == {
        "gaussian": {"rlsp-7-64", "rlsp-7-128", "frvsr-3-64", "frvsr-10-128"},
        "gaussian-1.6": {"rlsp-7-128", "duf-52l"},
    }


def test_interpolation_of_two_blurs_parts_nothing_and_is_shown_once():
    scores = frames(FRAMES)
    baseline = [(f"bicubic.{blur}", "bicubic", "interpolation", None, None, blur, psnr)
                for blur, psnr in (("gaussian-1.6", 23.5), ("gaussian", 23.6))]  # fmt: skip
    scores = pd.concat([made_scores(baseline, clips=[("vid4", "walk", 6)]), scores])
    rows = speed_of(scores, times(TIMES | {"bicubic": 1.0}), study_of())
    assert rows["panel"].unique().tolist() == ["gaussian"]  # the reference model's
    (row,) = rows[rows["model"] == "bicubic"].itertuples()
    assert row.degradation == "gaussian" and row.psnr == pytest.approx(23.6, abs=0.2)


# ---- the figure --------------------------------------------------------------------------------


def points_of(axis):
    """The markers of a panel: {(time, PSNR rounded): is filled}."""
    lines = [
        line for line in axis.lines if len(line.get_xdata()) == 1 and line.get_marker() not in ("_", "|")
    ]
    return {
        (float(line.get_xdata()[0]), round(float(line.get_ydata()[0]), 2)): line.get_markerfacecolor()
        != "white"
        for line in lines
    }


@pytest.mark.slow
def test_measured_points_are_filled_those_with_a_published_psnr_hollow_and_the_published_ones_apart(speed):
    figure = drawn(frames(FRAMES), times(), study_of(), read_published(), published_points())
    measured, apart = figure.axes
    expected = {
        (row.median_ms, round(row.psnr, 2)): row.psnr_from != "published" for row in speed.itertuples()
    }
    assert points_of(measured) == expected
    assert sum(expected.values()) == 3
    assert measured.get_xscale() == "log"
    published = published_points()
    grey = {(line.get_xdata()[0], line.get_ydata()[0]) for line in apart.lines}
    assert grey == set(published[["runtime_ms", "psnr"]].itertuples(index=False, name=None))
    assert {line.get_markerfacecolor() for line in apart.lines} == {"none"}
    assert HOLLOW in texts_of(figure)


@pytest.mark.slow
def test_names_stand_beside_the_points_and_sizes_are_joined():
    figure = drawn(frames(FRAMES), times(), study_of(), read_published())
    texts = texts_of(figure)
    names = {"RLSP 7-64", "RLSP 7-128", "FRVSR 3-64", "FRVSR 10-128", "DUF-52L (blur 1.6)"}
    assert names <= set(texts)
    assert any("in brackets the blur" in text.replace("\n", " ") for text in texts)
    joined = [line.get_xdata().tolist() for line in figure.axes[0].lines if len(line.get_xdata()) > 1]
    assert joined == [[2.0, 5.0], [20.0, 50.0]]


def test_the_title_names_device_size_precision_and_mode():
    title = drawn(frames(FRAMES), times(), study_of()).get_suptitle().replace("\n", " ")
    for fact in ("laptop cpu, 2 threads", "640x360 output, LR 160x90", "batch 1", "fp32", "eager", "network"):
        assert fact in title


@pytest.mark.slow
def test_where_names_do_not_fit_a_legend_has_them():
    rows = [(f"rlsp-7-{64 + n}", 27.0 + n / 5000, "gaussian") for n in range(25)]
    runtime = times({model: 3.0 + n / 500 for n, (model, *_) in enumerate(rows)})
    figure = drawn(frames(rows), runtime, study_of(models={}))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [model for model, *_ in rows]


@pytest.mark.slow
def test_interpolation_that_was_not_timed_is_a_line():
    baseline = [("bicubic.gaussian", "bicubic", "interpolation", None, None, "gaussian", 23.6)]
    scores = pd.concat([made_scores(baseline, clips=[("vid4", "walk", 6)]), frames(FRAMES)])
    figure = drawn(scores, times(), study_of())
    assert "bicubic (not timed)" in texts_of(figure)
    assert drawn(scores[scores["model"] == "bicubic"], times({"bicubic": 1.0}), study_of()) is None


def test_no_times_no_figure():
    assert drawn(frames(FRAMES), times().iloc[:0], study_of()) is None


def test_published_points_without_a_column_are_refused():
    points = published_points().drop(columns="runtime_ms")
    with pytest.raises(DataError, match="published values: missing columns runtime_ms"):
        drawn(frames(FRAMES), times(), study_of(), None, points)


def test_names_lie_clear_of_points_and_of_each_other_or_are_not_written():
    figure = new_figure(4.0, 3.0)
    axis = figure.subplots()
    at = [(1.0, 1.0), (1.1, 1.0), (1.0, 1.1), (3.0, 1.0), (2.0, 2.0)]
    axis.plot(*zip(*at, strict=True), "o", linestyle="none")
    axis.margins(0.3)
    figure.draw_without_rendering()
    assert place_labels(axis, [Label(x, y, f"point {n}", "k") for n, (x, y) in enumerate(at)])
    boxes = [text.get_window_extent() for text in axis.texts]
    assert len(boxes) == 5
    for number, box in enumerate(boxes):
        assert not any(box.contains(*axis.transData.transform(point)) for point in at)
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])
    assert not place_labels(axis, [Label(*at[0], "much too long " * 20, "k")])
    assert len(axis.texts) == 5


def test_a_long_name_slides_into_the_panel_above_its_point():
    figure = new_figure(4.0, 3.0)
    axis = figure.subplots()
    axis.plot(2.0, 1.0, "o")
    axis.set_xlim(0.0, 3.0)
    figure.draw_without_rendering()
    assert place_labels(axis, [Label(2.0, 1.0, "as long as four fifths of the panel are", "k")])
    box = axis.texts[0].get_window_extent()
    assert box.width > 0.7 * axis.bbox.width  # it has no room on either side, nor centred
    assert axis.bbox.x0 - 1 <= box.x0 and box.x1 <= axis.bbox.x1 + 1
    assert not box.contains(*axis.transData.transform((2.0, 1.0)))


@pytest.mark.slow
def test_the_title_of_a_lone_panel_is_not_cut():
    figure = drawn(frames(FRAMES), times(), study_of(), None, None)
    assert len(figure.axes) == 1
    figure.draw_without_rendering()
    box, page = figure._suptitle.get_window_extent(), figure.bbox
    assert page.x0 <= box.x0 and box.x1 <= page.x1
