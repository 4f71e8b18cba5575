"""Accuracy beside speed: the rows of Figure 1, its panels, the table, the findings and the figure."""

import pandas as pd
import pytest
from drawn import texts_inside
from made_tables import made_runtime, made_scores, made_study, write_rows

from rlsp.config.specs.models import family_of, label_of, parse_model
from rlsp.reporting.analyses import speed
from rlsp.reporting.labels import Label, place_labels
from rlsp.reporting.printing import markdown_text
from rlsp.reporting.published import published_points, read_published
from rlsp.reporting.results import Results
from rlsp.reporting.speed_figure import HOLLOW
from rlsp.reporting.style import new_figure

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


def spec_of(model):
    """The plain spec of a model by its name."""
    arch, *sizes = model.split("-")
    keys = {"rlsp": ("layers", "filters"), "frvsr": ("blocks", "filters"), "duf": ("layers",)}[arch]
    return {"arch": arch} | {key: int(size.strip("l")) for key, size in zip(keys, sizes, strict=True)}


def study_of(**changes):
    kinds = {"gaussian": 1.5, "gaussian-1.6": 1.6}
    degradations = {name: {"kind": "gaussian", "sigma": sigma} for name, sigma in kinds.items()}
    facts = {"reference_model": "rlsp-7-128", "models": {model: spec_of(model) for model in TIMES}}
    return made_study(**(facts | {"degradations": degradations, "ablation": []} | changes))


@pytest.fixture
def made(tmp_path):
    """What is made of scores and times: the numbers, and the study's results; by default nothing is in print."""
    nothing = read_published().iloc[:0]

    def of(scores, runtime, study=None, printed=nothing):
        write_rows(tmp_path, {"scores": scores, "runtime": runtime}, study or study_of())
        results = Results(tmp_path, printed)
        return results.of(speed.summarise), results

    return of


@pytest.fixture
def vid4(made):
    return made(frames(FRAMES), times(), printed=read_published())


def drawn(rows, results):
    return speed.figure(rows, results)


# ---- rows --------------------------------------------------------------------------------------


def test_rows_are_sorted_by_time_and_have_the_ratio_to_the_reference(vid4):
    rows, _ = vid4
    assert rows["model"].tolist() == list(TIMES)
    assert rows["median_ms"].tolist() == list(TIMES.values())
    assert rows["time_ratio"].tolist() == [0.4, 1.0, 4.0, 10.0, 80.0]
    assert rows["fps"].tolist() == [500.0, 200.0, 50.0, 20.0, 2.5]


def test_the_psnr_is_ours_or_published_with_its_source(vid4):
    rows = vid4[0].set_index("model")
    assert rows.loc["duf-52l", "psnr_from"] == "released-frames"
    assert rows.loc["duf-52l", "psnr"] == pytest.approx(27.3, abs=0.1)  # not the published 27.34
    known = read_published().query("model == 'frvsr-10-128' and metric == 'psnr'").iloc[0]
    assert rows.loc["frvsr-10-128", ["psnr", "psnr_from"]].tolist() == [float(known["value"]), "published"]
    assert rows.loc["frvsr-10-128", "psnr_source"] == f"{known['confidence']}: {known['source']}"


def test_published_times_and_factors_are_those_of_the_file(vid4, made):
    rows, known = vid4[0].set_index("model"), read_published().set_index(["model", "metric"])["value"]
    for model in ("rlsp-7-128", "frvsr-10-128", "frvsr-3-64"):
        assert rows.loc[model, "published_ms"] == float(known[model, "runtime"])
    assert rows.loc["rlsp-7-128", "published_device"] == "not stated"
    assert rows.loc["frvsr-10-128", "published_device"] == "Nvidia P100"
    assert rows["published_ratio"].dropna().to_dict() == {"duf-52l": "over 70", "frvsr-10-128": "about 10"}
    other, _ = made(frames(FRAMES), times(), study_of(reference_model="rlsp-7-64"), read_published())
    assert other["published_ratio"].isna().all()  # the factor is one to 7-128


def test_without_published_values_there_are_none(made):
    rows = made(frames(FRAMES), times())[0].set_index("model")
    assert rows.loc[["frvsr-3-64", "frvsr-10-128"], "psnr"].isna().all()
    assert rows[["published_ratio", "published_ms"]].isna().all(axis=None)


def test_models_without_scores_are_shown_where_nothing_is_published(made):
    scores = frames([("rlsp-7-128", 27.4, "gaussian")], dataset="own-clips")
    rows, _ = made(scores, times(), printed=read_published())
    assert set(rows["model"]) == set(TIMES)
    assert rows.set_index("model")["psnr"].notna().to_dict() == {m: m == "rlsp-7-128" for m in TIMES}


def test_a_way_of_a_single_model_is_left_out_and_one_of_two_is_not(made):
    two = {model: TIMES[model] for model in ("rlsp-7-64", "rlsp-7-128")}
    runtime = pd.concat([times(), times(two, "fused", 0.5), times({"duf-52l": 400.0}, "compile", 0.5)])
    rows, results = made(frames(FRAMES), runtime)
    assert rows.groupby("mode")["model"].nunique().to_dict() == {"eager": 5, "fused": 2}
    fused = rows[rows["mode"] == "fused"].set_index("model")
    assert fused["time_ratio"].to_dict() == {"rlsp-7-64": 0.4, "rlsp-7-128": 1.0}  # to 7-128 run the same way
    (table,) = speed.tables(rows, results)
    ends = {str(row[0]): [str(cell) for cell in row[-2:]] for row in table.rows}
    assert ends["rlsp-7-128"] == ["2.50", "fused fp32"] and ends["frvsr-3-64"] == ["20.0", "eager fp32"]
    assert len(table.rows) == len(TIMES)


def test_the_table_says_where_each_number_is_from(vid4):
    (table,) = speed.tables(*vid4)
    text = markdown_text([table])
    assert "640x360 output, LR 160x90" in text and "laptop cpu, 2 threads" in text and "seeds: none" in text
    assert "frvsr-10-128 (PSNR)" in text and "poster in the official repository, table of Vid4" in text
    lines = {line.split(" | ")[0]: line for line in text.split("\n")}
    assert lines["| frvsr-10-128"] == (
        "| frvsr-10-128 | 26.69 | published (Q) | 50.0 | 50.0 | 20.0 | 10.00 | about 10 | 191 (Nvidia P100) |"
    )
    assert lines["| duf-52l (blur 1.6)"].count("released frames") == 1
    assert lines["| duf-52l (blur 1.6)"].endswith("| 80.00 | over 70 | – |")


def test_a_timed_study_without_scores_has_its_times(made):
    rows, results = made(frames(FRAMES).iloc[:0], times())
    assert rows["median_ms"].tolist() == list(TIMES.values())
    assert rows["psnr"].isna().all()
    (table,) = speed.tables(rows, results)
    assert len(table.rows) == len(TIMES) and speed.figure(rows, results) is None


# ---- findings ----------------------------------------------------------------------------------


def test_the_best_for_their_time_and_the_factors_are_told(vid4):
    best, factors = speed.findings(*vid4)
    assert "On vid4 (gaussian; PSNR-Y, crop 8, trim 2+2, video; eager fp32 on laptop cpu, 2 threads" in best
    assert "more accurate than rlsp-7-64 (" in best and "2.00 ms (2.00)) and rlsp-7-128 (" in best
    assert best.endswith("; duf-52l (blur 1.6) is beaten in both.")  # FRVSR has a published PSNR only
    assert "rlsp-7-128 is 80.0 times as fast as duf-52l (80.0; published: over 70)" in factors
    assert "10.0 times as fast as frvsr-10-128 (10.0; published: about 10)" in factors
    assert "CPU" not in factors


def test_the_range_of_a_factor_is_that_of_both_spreads_and_a_processor_is_named(made):
    runtime = times({"rlsp-7-128": 5.0, "duf-52l": 400.0}).assign(device="laptop, 2 logical cores")
    runtime["runtime_ms"] *= [0.5, 1.0, 1.5] * 2  # quantiles at 0.6 and 1.4
    text = speed.findings(*made(frames(FRAMES), runtime, printed=read_published()))[-1]
    assert "80.0 times as fast as duf-52l (34.3 to 187; published: over 70)" in text
    assert "these are times on a CPU, and the published factors are of GPUs" in text


def test_without_the_reference_or_other_methods_there_is_no_factor(made):
    own = {"rlsp-7-64": 2.0, "rlsp-7-128": 5.0}
    (best,) = speed.findings(*made(frames(FRAMES), times(own)))
    assert "beaten" not in best
    findings = speed.findings(*made(frames(FRAMES), times(), study_of(reference_model="absent")))
    assert not any("times as fast" in text for text in findings)


# ---- panels ------------------------------------------------------------------------------------


def test_blurs_of_one_kind_share_a_panel_and_the_label_says_which(vid4):
    assert vid4[0]["panel"].unique().tolist() == ["gaussian"]
    labels = vid4[0].set_index("model")["label"]
    assert labels["duf-52l"] == "duf-52l (blur 1.6)"
    assert labels["rlsp-7-128"] == "rlsp-7-128"


def test_published_values_of_a_blur_that_the_study_does_not_know_join_the_panel_of_its_kind(made):
    rows, _ = made(frames(FRAMES[:2]), times(), study_of(degradations={}), read_published())
    row = rows.set_index("model").loc["duf-52l"]
    assert row[["panel", "degradation", "label"]].tolist() == [
        "gaussian",
        "gaussian-1.6",
        "duf-52l (blur 1.6)",
    ]
    assert row["psnr"] == 27.34


def test_other_kinds_have_panels_of_their_own_without_published_values_of_the_first(made):
    scores = frames([*FRAMES, ("rlsp-7-128", 27.6, "bicubic")])
    rows, _ = made(scores, times(), printed=read_published())
    assert rows["panel"].unique().tolist() == ["gaussian", "bicubic"]
    bicubic = rows[rows["panel"] == "bicubic"].set_index("model")["psnr"]
    assert bicubic.notna().to_dict() == {model: model == "rlsp-7-128" for model in TIMES}


def test_a_model_run_with_two_blurs_parts_them(made):
    scores = frames([*FRAMES, ("rlsp-7-128", 27.1, "gaussian-1.6")])
    rows, _ = made(scores, times(), printed=read_published())
    panels = rows[rows["psnr"].notna()].groupby("panel")["model"].agg(set).to_dict()
    assert panels == {
        "gaussian": {"rlsp-7-64", "rlsp-7-128", "frvsr-3-64", "frvsr-10-128"},
        "gaussian-1.6": {"rlsp-7-128", "duf-52l"},
    }


def test_interpolation_of_two_blurs_parts_nothing_and_is_shown_once(made):
    scores = frames(FRAMES)
    baseline = [(f"bicubic.{blur}", "bicubic", "interpolation", None, None, blur, psnr)
                for blur, psnr in (("gaussian-1.6", 23.5), ("gaussian", 23.6))]  # fmt: skip
    scores = pd.concat([made_scores(baseline, clips=[("vid4", "walk", 6)]), scores])
    rows, _ = made(scores, times(TIMES | {"bicubic": 1.0}))
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
def test_measured_points_are_filled_those_with_a_published_psnr_hollow_and_the_published_ones_apart(vid4):
    figure = drawn(*vid4)
    measured, apart = figure.axes
    expected = {
        (row.median_ms, round(row.psnr, 2)): row.psnr_from != "published" for row in vid4[0].itertuples()
    }
    assert points_of(measured) == expected
    assert sum(expected.values()) == 3
    assert measured.get_xscale() == "log"
    published = published_points(read_published(), "vid4", "gaussian")
    grey = {(line.get_xdata()[0], line.get_ydata()[0]) for line in apart.lines}
    assert grey == set(published[["runtime_ms", "psnr"]].itertuples(index=False, name=None))
    assert {line.get_markerfacecolor() for line in apart.lines} == {"none"}
    texts = texts_inside(figure)
    assert HOLLOW in texts and "VSR 10-128" in texts


@pytest.mark.slow
def test_names_stand_beside_the_points_and_sizes_are_joined(vid4):
    figure = drawn(*vid4)
    texts = texts_inside(figure)
    names = {"RLSP 7-64", "RLSP 7-128", "FRVSR 3-64", "FRVSR 10-128", "DUF-52L (blur 1.6)"}
    assert names <= set(texts)
    assert any("in brackets the blur" in text.replace("\n", " ") for text in texts)
    joined = [line.get_xdata().tolist() for line in figure.axes[0].lines if len(line.get_xdata()) > 1]
    assert joined == [[2.0, 5.0], [20.0, 50.0]]


def test_models_that_differ_in_more_than_size_are_not_joined(made):
    models = {model: spec_of(model) for model in TIMES}
    models["rlsp-7-64"]["feedback"] = False
    figure = drawn(*made(frames(FRAMES), times(), study_of(models=models)))
    assert all(len(line.get_xdata()) == 1 for line in figure.axes[0].lines)


def test_the_title_names_device_size_precision_and_mode(made):
    title = drawn(*made(frames(FRAMES), times())).get_suptitle().replace("\n", " ")
    for fact in ("laptop cpu, 2 threads", "640x360 output, LR 160x90", "batch 1", "eager fp32", "network"):
        assert fact in title


@pytest.mark.slow
def test_where_names_do_not_fit_a_legend_has_them(made):
    rows = [(f"rlsp-7-{64 + n}", 27.0 + n / 5000, "gaussian") for n in range(25)]
    runtime = times({model: 3.0 + n / 500 for n, (model, *_) in enumerate(rows)})
    figure = drawn(*made(frames(rows), runtime, study_of(models={})))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [model for model, *_ in rows]


@pytest.mark.slow
def test_many_models_and_seeds_are_complete_and_not_cut(made):
    models = [f"rlsp-7-{8 * number}" for number in range(1, 16)]
    runs = [
        (f"{model}.{blur}.s{seed}", model, "trained", "paper", seed, blur, 25 + number / 9 + seed / 30)
        for blur in ("gaussian", "bicubic") for number, model in enumerate(models) for seed in range(3)
    ]  # fmt: skip
    scores = made_scores(runs, clips=[(dataset, clip, 6) for dataset in ("vid4", "reds4") for clip in "ab"])
    runtime = times({model: 2.0 * 1.9**number for number, model in enumerate(models)})
    rows, results = made(scores, runtime, study_of(models={model: spec_of(model) for model in models}))
    figure = drawn(rows, results)
    assert any("standard deviation over 3 seeds" in text.replace("\n", " ") for text in texts_inside(figure))
    assert len(figure.axes) == 4
    assert " ± " in speed.findings(rows, results)[0] and "one seed" not in speed.findings(rows, results)[0]


@pytest.mark.slow
def test_interpolation_that_was_not_timed_is_a_line(made):
    baseline = [("bicubic.gaussian", "bicubic", "interpolation", None, None, "gaussian", 23.6)]
    scores = pd.concat([made_scores(baseline, clips=[("vid4", "walk", 6)]), frames(FRAMES)])
    assert "bicubic (not timed)" in texts_inside(drawn(*made(scores, times())))
    assert drawn(*made(scores[scores["model"] == "bicubic"], times({"bicubic": 1.0}))) is None


def test_no_times_nothing_shown(made):
    rows, results = made(frames(FRAMES), times().iloc[:0])
    assert drawn(rows, results) is None
    assert speed.tables(rows, results) == speed.findings(rows, results) == []


def test_published_points_have_both_numbers_and_say_which_gpu():
    points = published_points(read_published(), "vid4", "gaussian").set_index("model")
    assert points.loc["rlsp-7-128", ["psnr", "runtime_ms"]].tolist() == [27.46, 38]
    assert points.loc["frvsr-10-128", ["psnr", "runtime_ms"]].tolist() == [26.69, 191]
    assert points.loc["frvsr-3-64", ["psnr", "runtime_ms"]].tolist() == [26.17, 76.7]
    assert "not stated" in points.loc["rlsp-7-128", "note"] and "P100" in points.loc["frvsr-3-64", "note"]
    # 27.06 dB is a later rebuild's, 101.5 ms the authors': not one point
    assert "frvsr-10-64" not in points.index
    assert published_points(read_published(), "vid4", "gaussian-1.6").empty


@pytest.mark.parametrize(
    ("name", "label", "family"),
    [
        ("rlsp-7-128", "RLSP 7-128", "RLSP"),
        ("duf-52l", "DUF-52L", "DUF"),
        ("frvsr-10-128", "FRVSR 10-128", "FRVSR"),
        ("vsr-10-128", "VSR 10-128", "VSR"),  # published only
        ("frvsr-official-frames", "frvsr-official-frames", "FRVSR"),
    ],
)
def test_a_model_that_the_study_lacks_is_called_by_its_name(name, label, family):
    assert (label_of(name, None), family_of(name, None)) == (label, family)


def test_a_model_of_the_study_is_called_by_its_method():
    rlsp, own = parse_model({"arch": "rlsp"}), parse_model({"arch": "mine:Net"})
    assert (label_of("plus-feedback", rlsp), family_of("plus-feedback", rlsp)) == ("plus-feedback", "RLSP")
    assert (label_of("rlsp-7-64", own), family_of("rlsp-7-64", own)) == ("rlsp-7-64", "Net")
    assert rlsp.series == rlsp.changed(filters=64).series != rlsp.changed(layers=3).series


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
def test_the_title_of_a_lone_panel_is_not_cut(made):
    figure = drawn(*made(frames(FRAMES), times()))
    assert len(figure.axes) == 1
    figure.draw_without_rendering()
    box, page = figure._suptitle.get_window_extent(), figure.bbox
    assert page.x0 <= box.x0 and box.x1 <= page.x1
