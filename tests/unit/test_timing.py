"""Run times: quantiles, ratios, floors, failed cases, the headline, and the tables made of them."""

import pandas as pd
import pytest
from made_tables import made_cases, made_runtime, made_study

from rlsp.reporting.blocks import study_block
from rlsp.reporting.printing import markdown_text
from rlsp.reporting.timing import (
    headline_setting,
    headline_timing,
    is_processor,
    summarise_complexity,
    summarise_runtime,
)
from rlsp.reporting.wide_timing import complexity_sections, runtime_sections


def test_runtime_summary_equals_hand_computed_values():
    runtime = made_runtime(["slow", "fast"])
    runtime["runtime_ms"] = [*range(10, 21), *range(1, 12)]
    table = summarise_runtime(runtime, "slow").set_index("model")
    assert table.loc["slow", ["median_ms", "q10_ms", "q90_ms"]].tolist() == [15, 11, 19]
    assert table.loc["fast", ["median_ms", "q10_ms", "q90_ms"]].tolist() == [6, 2, 10]
    assert table.loc["fast", "fps"] == pytest.approx(1000 / 6)
    assert table.loc["fast", "time_ratio"] == pytest.approx(0.4)
    assert summarise_runtime(runtime, None)["time_ratio"].tolist() == [2.5, 1.0]
    assert summarise_runtime(runtime, "absent")["time_ratio"].isna().all()


def test_times_of_two_devices_or_modes_never_mix():
    runtime = pd.concat(
        [made_runtime(["a", "b"], modes=("eager", "compile")), made_runtime(["a", "b"], device="gpu")]
    )
    timing = summarise_runtime(runtime, "a")
    assert len(timing) == 6
    assert (timing[timing["model"] == "a"]["time_ratio"] == 1.0).all()
    shown = headline_timing(timing, "gpu")
    assert set(shown["device"]) == {"gpu"}
    shown = headline_timing(timing)
    assert list(shown["model"]) == ["a", "b"]
    assert set(shown["mode"]) == {"eager"}


def timed(model, time, **setting):
    """Three samples around a time (ms) of one case."""
    rows = made_runtime([model])[:3].assign(runtime_ms=[0.9 * time, time, 1.1 * time])
    return rows.assign(**setting)


def shown(timing, **changes):
    return [markdown_text([section]) for section in runtime_sections(timing, made_study(**changes), "FACTS")]


def line_of(text, *cells):
    """The cells of the only line that begins with these, by the heads of the table."""
    lines = [line[2:-2].split(" | ") for line in text.split("\n") if line.startswith("| ")]
    (line,) = [line for line in lines if line[: len(cells)] == list(cells)]
    return dict(zip((head.partition("<br>")[0] for head in lines[0]), line, strict=True))


def test_the_floor_is_the_larger_one_and_says_which_it_is():
    runtime = pd.concat([timed("a", 4.0), timed("b", 10.0)])
    cases = made_cases(runtime)
    cases["floor_compute_ms"], cases["floor_memory_ms"] = [1.0, 2.0], [0.5, 2.5]
    table = summarise_runtime(runtime, "a", cases).set_index("model")
    assert table["floor_ms"].tolist() == [1.0, 2.5]
    assert table["bound_by"].tolist() == ["compute", "memory"]
    assert table["of_floor"].tolist() == [0.25, 0.25]
    assert table["peak_memory_mb"].tolist() == [64.0, 64.0]  # of the case, not of its samples
    (text,) = shown(table.reset_index())
    assert "Measured ceilings: fp32 0.125 TFLOP/s, 12.5 GB/s." in text
    assert line_of(text, "b")["floor set by"] == "memory"
    assert line_of(text, "b")["floor / median"] == "0.25"


def test_without_both_floors_there_is_none():
    runtime = timed("a", 4.0)
    table = summarise_runtime(runtime, None, made_cases(runtime, floor_memory_ms=None))
    assert table[["floor_ms", "bound_by", "of_floor"]].isna().all(axis=None)


def test_every_way_is_held_against_the_plain_one_of_the_same_model():
    ways = (("eager-nchw", "fp32", 80.0), ("eager", "fp32", 40.0), ("fused", "bf16", 10.0))
    runtime = pd.concat(
        [timed("rlsp-5-32", time, mode=mode, precision=precision) for mode, precision, time in ways]
        + [timed("other", 16.0, mode="eager", precision="fp32")]
    )
    table = summarise_runtime(runtime, "rlsp-5-32")
    assert table["plain_ratio"].tolist()[:3] == [1.0, 2.0, 8.0]
    assert table["plain_ratio"].isna().tolist() == [False, False, False, True]
    assert table["time_ratio"].tolist() == [1.0, 1.0, 1.0, pytest.approx(0.4)]
    (text,) = shown(table)
    assert line_of(text, "rlsp-5-32", "fused", "bf16")["times eager-nchw fp32"] == "8.00"


def test_a_failed_case_shows_its_reason_and_no_numbers():
    runtime = timed("small", 4.0)
    failed = made_cases(timed("large", 1.0), status="out of memory", floor_compute_ms=40.0)
    table = summarise_runtime(runtime, "small", pd.concat([made_cases(runtime), failed]))
    assert table["status"].tolist() == ["ok", "out of memory"]
    assert pd.isna(table["median_ms"].iloc[1]) and table["floor_ms"].iloc[1] == 40.0
    (text,) = shown(table)
    assert line_of(text, "large")["remark"] == "out of memory"
    assert [line_of(text, "large")[head] for head in ("median", "90 %", "frames per second")] == ["–"] * 3
    assert line_of(text, "small")["remark"] == "–"
    assert "large" not in set(headline_timing(table)["model"])


def test_long_reasons_are_cut_in_the_table_and_whole_in_the_numbers():
    reason = "cannot be compiled: " + "words " * 30
    runtime = timed("a", 4.0)
    table = summarise_runtime(runtime.iloc[:0], None, made_cases(runtime, status=reason))
    assert table["status"].tolist() == [reason]
    remark = line_of(shown(table)[0], "a")["remark"]
    assert remark.startswith("cannot be compiled: words") and remark.endswith("…") and len(remark) <= 60


def test_a_case_that_went_well_but_left_no_samples_says_so():
    runtime = pd.concat([timed("a", 4.0), timed("b", 4.0)])
    table = summarise_runtime(runtime[runtime["model"] == "a"], None, made_cases(runtime))
    assert table["status"].tolist() == ["ok", "no samples"]


def test_warnings_clocks_and_unstable_cases_are_told():
    runtime = pd.concat([timed("a", 4.0), timed("b", 4.0)])
    cases = made_cases(runtime, busy="other processes use 0.8 of 2 cores", energy_j=1.5)
    cases["clock_mhz"], cases["temperature_c"], cases["is_stable"] = [1410, 1980], [41, 56], [True, False]
    (text,) = shown(summarise_runtime(runtime, None, cases))
    assert "While timing: clock 1410 to 1980 MHz, temperature 41 to 56 °C." in text
    assert "Warning: other processes use 0.8 of 2 cores." in text
    assert [line_of(text, model)["remark"] for model in "ab"] == ["–", "not stable after warm-up"]
    assert line_of(text, "a")["energy per frame [J]"] == "1.50"


def test_the_headline_comes_first_and_every_other_setting_after_it():
    small, large = {"lr_height": 90, "lr_width": 160}, {"lr_height": 270, "lr_width": 480}
    settings = [small, small | {"batch": 8}, large | {"boundary": "rgb8"}, large, large | {"batch": 8}]
    runtime = pd.concat([timed("a", 4.0, **setting) for setting in settings])
    study = {"models": {"a": {"scale": 4}}}
    texts = shown(summarise_runtime(runtime), **study)
    assert [text.partition(":")[0] for text in texts] == ["Headline", *["Grid"] * 4]
    assert texts[0].startswith(
        "Headline: latency, one frame at a time; 1920x1080 output, LR 480x270; network alone"
    )
    assert texts[2].startswith("Grid: throughput, batch 8; 640x360 output, LR 160x90; network alone")
    assert "8-bit RGB in to 8-bit RGB out" in texts[3]
    assert all("FACTS" in text for text in texts)


def test_the_headline_frame_has_the_most_models_then_is_full_hd_then_the_largest():
    sizes = {height: {"lr_height": height, "lr_width": height * 16 // 9} for height in (90, 180, 270, 540)}

    def chosen(**models):
        runtime = pd.concat(
            [timed(model, 4.0, **sizes[height]) for model, heights in models.items() for height in heights]
        )
        return headline_timing(summarise_runtime(runtime))["lr_height"].unique().tolist()

    assert chosen(a=(90, 180), b=(90, 180)) == [180]
    assert chosen(a=(90, 180, 540), b=(90, 180)) == [180]
    assert chosen(a=(90, 270, 540), b=(90, 270, 540)) == [270]
    assert chosen(a=(90, 270, 540), b=(90,)) == [90]


def test_the_headline_is_the_network_eager_in_fp32_one_frame_at_a_time():
    ways = [("compile", "fp32"), ("eager", "bf16"), ("eager", "fp32")]
    rows = [timed("a", 4.0, mode=mode, precision=precision) for mode, precision in ways]
    rows += [timed("a", 4.0, boundary="rgb8"), timed("a", 4.0, batch=8)]
    row = headline_timing(summarise_runtime(pd.concat(rows))).iloc[0]
    assert row[["mode", "precision", "boundary", "batch"]].tolist() == ["eager", "fp32", "network", 1]
    only = summarise_runtime(timed("a", 4.0, mode="channels-last", boundary="rgb8", batch=4))
    assert len(headline_timing(only)) == 1
    assert headline_setting(only.iloc[:0]).empty and headline_timing(only.iloc[:0]).empty


def test_a_failed_model_does_not_move_the_headline_table_to_other_frames():
    full_hd = {"lr_height": 270, "lr_width": 480}
    runtime = pd.concat([timed("a", 4.0), timed("b", 4.0), timed("a", 9.0, **full_hd)])
    failed = made_cases(timed("b", 1.0, **full_hd), status="out of memory")
    timing = summarise_runtime(runtime, None, pd.concat([made_cases(runtime), failed]))
    assert shown(timing)[0].count("out of memory") == 1 and "LR 480x270" in shown(timing)[0]
    assert set(headline_timing(timing)["lr_height"]) == {90}  # figures show what has numbers


def test_a_processor_is_told_from_a_gpu():
    assert is_processor("Intel Xeon Processor, 2 logical cores") and is_processor("cpu")
    assert not is_processor("NVIDIA H100 80GB HBM3") and not is_processor("cuda")


def test_complexity_counts_convolutions_and_matrix_products_once_per_frame_size():
    runtime = pd.concat([timed("a", 4.0), timed("a", 4.0, batch=8), timed("a", 4.0, boundary="rgb8")])
    (section,) = complexity_sections(summarise_complexity(runtime), "FACTS")
    assert "convolutions and matrix products" in section.caption and "network, batch 1" in section.caption
    assert len(section.rows) == 1


@pytest.mark.slow
def test_the_readme_names_the_frames_whose_times_it_shows(tmp_path):
    from made_tables import write_made

    write_made(tmp_path)
    rows = pd.read_csv(tmp_path / "tables" / "runtime_summary.csv")
    larger = rows.assign(lr_height=270, lr_width=480, median_ms=rows["median_ms"] * 9)
    pd.concat([rows, larger]).to_csv(tmp_path / "tables" / "runtime_summary.csv", index=False)
    text = study_block(tmp_path)
    assert "2 threads, LR 480x270" in text
    first = rows.set_index("model").loc["rlsp-5-32", "median_ms"]
    assert f"| {9 * first:.1f} |" in text
