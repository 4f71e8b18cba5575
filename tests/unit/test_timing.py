"""Run times and complexity: quantiles, ratios, floors, failed cases, the headline, tables and findings."""

import pandas as pd
import pytest
from made_tables import made_cases, made_runs, made_runtime, made_study, write_made, write_rows
from tool import load_tool

from rlsp.reporting.analyses import complexity, runtime
from rlsp.reporting.printing import markdown_text
from rlsp.reporting.timing import headline_setting, headline_timing, is_processor


@pytest.fixture
def made(tmp_path):
    """What is made of samples and cases: the numbers, and the study's results."""

    def of(samples, reference_model=None, cases=None, **changes):
        rows = {"runtime": samples} | ({} if cases is None else {"cases": cases})
        results = write_rows(tmp_path, rows, made_study(reference_model=reference_model, **changes))
        return results.of(runtime.summarise), results

    return of


def timed(model, time, **setting):
    """Three samples around a time (ms) of one case."""
    rows = made_runtime([model])[:3].assign(runtime_ms=[0.9 * time, time, 1.1 * time])
    return rows.assign(**setting)


def shown(timing, results):
    return [markdown_text([table]) for table in runtime.tables(timing, results)]


def line_of(text, *cells):
    """The cells of the only line that begins with these, by the heads of the table."""
    lines = [line[2:-2].split(" | ") for line in text.split("\n") if line.startswith("| ")]
    (line,) = [line for line in lines if line[: len(cells)] == list(cells)]
    return dict(zip((head.rpartition("<br>")[2] for head in lines[0]), line, strict=True))


def test_runtime_summary_equals_hand_computed_values(made):
    samples = made_runtime(["slow", "fast"])
    samples["runtime_ms"] = [*range(10, 21), *range(1, 12)]
    table = made(samples, "slow")[0].set_index("model")
    assert table.loc["slow", ["median_ms", "q10_ms", "q90_ms"]].tolist() == [15, 11, 19]
    assert table.loc["fast", ["median_ms", "q10_ms", "q90_ms"]].tolist() == [6, 2, 10]
    assert table.loc["fast", "fps"] == pytest.approx(1000 / 6)
    assert table.loc["fast", "time_ratio"] == pytest.approx(0.4)
    assert made(samples)[0]["time_ratio"].tolist() == [2.5, 1.0]
    assert made(samples, "absent")[0]["time_ratio"].isna().all()


def test_times_of_two_devices_or_modes_never_mix(made):
    samples = pd.concat(
        [made_runtime(["a", "b"], modes=("eager", "compile")), made_runtime(["a", "b"], device="gpu")]
    )
    timing, _ = made(samples, "a")
    assert len(timing) == 6
    assert (timing[timing["model"] == "a"]["time_ratio"] == 1.0).all()
    chosen = headline_timing(timing, "gpu")
    assert set(chosen["device"]) == {"gpu"}
    chosen = headline_timing(timing)
    assert list(chosen["model"]) == ["a", "b"]
    assert set(chosen["mode"]) == {"eager"}


def test_the_floor_is_the_larger_one_and_says_which_it_is(made):
    samples = pd.concat([timed("a", 4.0), timed("b", 10.0)])
    cases = made_cases(samples)
    cases["floor_compute_ms"], cases["floor_memory_ms"] = [1.0, 2.0], [0.5, 2.5]
    timing, results = made(samples, "a", cases)
    table = timing.set_index("model")
    assert table["floor_ms"].tolist() == [1.0, 2.5]
    assert table["bound_by"].tolist() == ["compute", "memory"]
    assert table["of_floor"].tolist() == [0.25, 0.25]
    assert table["peak_memory_mb"].tolist() == [64.0, 64.0]  # of the case, not of its samples
    (text,) = shown(timing, results)
    assert "Measured ceilings: fp32 0.125 TFLOP/s, 12.5 GB/s." in text
    assert line_of(text, "b")["set by"] == "memory"
    assert line_of(text, "b")["floor / time"] == "0.25"


def test_what_all_cases_share_stands_in_the_caption_and_in_no_column(made):
    samples = pd.concat([timed("a", 4.0), timed("b", 10.0)])
    (text,) = shown(*made(samples, "a", made_cases(samples)))
    assert "set by" not in line_of(text, "b") and "(here always compute)" in text
    assert "way" not in line_of(text, "b") and "laptop cpu, 2 threads, eager fp32." in text
    assert "of 3 repeats" in text and "Study made" in text
    (text,) = shown(*made(pd.concat([samples, timed("a", 2.0, mode="fused")]), "a"))
    assert line_of(text, "a", "fused fp32")["ratio"] == "1.00"


def test_without_both_floors_there_is_none(made):
    samples = timed("a", 4.0)
    table, _ = made(samples, None, made_cases(samples, floor_memory_ms=None))
    assert table[["floor_ms", "bound_by", "of_floor"]].isna().all(axis=None)


WAYS = (("eager-nchw", "fp32", 80.0), ("eager", "fp32", 40.0), ("fused", "bf16", 10.0))


def several_ways(model="rlsp-5-32", factor=1.0):
    return [timed(model, factor * time, mode=mode, precision=precision) for mode, precision, time in WAYS]


def test_every_way_is_held_against_the_plain_one_of_the_same_model(made):
    samples = pd.concat([*several_ways(), timed("other", 16.0, mode="eager", precision="fp32")])
    table, results = made(samples, "rlsp-5-32")
    assert table["plain_ratio"].tolist()[:3] == [1.0, 2.0, 8.0]
    assert table["plain_ratio"].isna().tolist() == [False, False, False, True]
    assert table["time_ratio"].tolist() == [1.0, 1.0, 1.0, pytest.approx(0.4)]
    (text,) = shown(table, results)
    assert line_of(text, "rlsp-5-32", "fused bf16")["speed-up"] == "**8.00**"
    assert "Speed-up: over the same model in eager-nchw fp32." in text


def test_the_spread_stands_beside_the_median_and_the_fastest_is_marked(made):
    (text,) = shown(*made(pd.concat([timed("a", 100.0), timed("b", 10.0)])))
    assert (line_of(text, "a")["median"], line_of(text, "a")["10 to 90 %"]) == ("100", "92.0 to 108")
    assert (line_of(text, "b")["median"], line_of(text, "b")["frames/s"]) == ("**10.0**", "**100**")


def test_a_failed_case_shows_its_reason_and_no_numbers(made):
    samples = timed("small", 4.0)
    failed = made_cases(timed("large", 1.0), status="out of memory", floor_compute_ms=40.0)
    table, results = made(samples, "small", pd.concat([made_cases(samples), failed]))
    assert table["status"].tolist() == ["ok", "out of memory"]
    assert pd.isna(table["median_ms"].iloc[1]) and table["floor_ms"].iloc[1] == 40.0
    (text,) = shown(table, results)
    assert line_of(text, "large")["remark"] == "out of memory"
    assert [line_of(text, "large")[head] for head in ("median", "10 to 90 %", "frames/s")] == ["–", "", "–"]
    assert line_of(text, "small")["remark"] == ""
    assert "large" not in set(headline_timing(table)["model"])
    assert runtime.findings(table, results)[-1] == "Of 2 cases 1 failed."


def test_long_reasons_are_cut_in_the_table_and_whole_in_the_numbers(made):
    reason = "cannot be compiled: " + "words " * 30
    samples = timed("a", 4.0)
    table, results = made(samples.iloc[:0], None, made_cases(samples, status=reason))
    assert table["status"].tolist() == [reason]
    remark = line_of(shown(table, results)[0], "a")["remark"]
    assert remark.startswith("cannot be compiled: words") and remark.endswith("…") and len(remark) <= 60
    assert runtime.findings(table, results) == ["Of 1 case 1 failed."]


def test_a_case_that_went_well_but_left_no_samples_says_so(made):
    samples = pd.concat([timed("a", 4.0), timed("b", 4.0)])
    table, _ = made(samples[samples["model"] == "a"], None, made_cases(samples))
    assert table["status"].tolist() == ["ok", "no samples"]


def test_warnings_clocks_and_unstable_cases_are_told(made):
    samples = pd.concat([timed("a", 4.0), timed("b", 4.0)])
    cases = made_cases(samples, busy="other processes use 0.8 of 2 cores", energy_j=1.5)
    cases["clock_mhz"], cases["temperature_c"], cases["is_stable"] = [1410, 1980], [41, 56], [True, False]
    timing, results = made(samples, None, cases)
    (text,) = shown(timing, results)
    assert "While timing: clock 1410 to 1980 MHz, temperature 41 to 56 °C." in text
    assert "Warning: other processes use 0.8 of 2 cores." in text
    assert [line_of(text, model)["remark"] for model in "ab"] == ["", "not stable after warm-up"]
    assert line_of(text, "a")["energy [J]"] == "1.50"
    assert "Of 2 cases 1 were not stable after their warm-up." in runtime.findings(timing, results)[-1]


def test_a_gpu_has_a_latency_and_a_processor_none(made):
    def text_on(device):
        samples = timed("a", 4.0, device=device)
        return shown(*made(samples, None, made_cases(samples, latency_ms=7.0)))[0]

    assert line_of(text_on("NVIDIA H100"), "a")["idle"] == "7.00"
    assert "idle" not in line_of(text_on("laptop, 2 logical cores"), "a")


def test_the_headline_comes_first_and_every_other_setting_after_it(made):
    small, large = {"lr_height": 90, "lr_width": 160}, {"lr_height": 270, "lr_width": 480}
    settings = [small, small | {"batch": 8}, large | {"boundary": "rgb8"}, large, large | {"batch": 8}]
    timing, results = made(pd.concat([timed("a", 4.0, **setting) for setting in settings]))
    titles = [table.title for table in runtime.tables(timing, results)]
    alone = "network alone, float tensors to float tensors"
    assert titles[0] == f"Run times, one frame at a time, 1920x1080 output, LR 480x270, {alone}"
    assert titles[2] == f"Run times, batch 8, 640x360 output, LR 160x90, {alone}"
    assert titles[3].endswith("LR 480x270, 8-bit RGB in to 8-bit RGB out, chroma included")
    assert len(set(titles)) == len(settings)


def test_the_headline_frame_has_the_most_models_then_is_full_hd_then_the_largest(made):
    sizes = {height: {"lr_height": height, "lr_width": height * 16 // 9} for height in (90, 180, 270, 540)}

    def chosen(**models):
        samples = pd.concat(
            [timed(model, 4.0, **sizes[height]) for model, heights in models.items() for height in heights]
        )
        return headline_timing(made(samples)[0])["lr_height"].unique().tolist()

    assert chosen(a=(90, 180), b=(90, 180)) == [180]
    assert chosen(a=(90, 180, 540), b=(90, 180)) == [180]
    assert chosen(a=(90, 270, 540), b=(90, 270, 540)) == [270]
    assert chosen(a=(90, 270, 540), b=(90,)) == [90]


def test_the_headline_is_the_network_eager_in_fp32_one_frame_at_a_time(made):
    ways = [("compile", "fp32"), ("eager", "bf16"), ("eager", "fp32")]
    rows = [timed("a", 4.0, mode=mode, precision=precision) for mode, precision in ways]
    rows += [timed("a", 4.0, boundary="rgb8"), timed("a", 4.0, batch=8)]
    row = headline_timing(made(pd.concat(rows))[0]).iloc[0]
    assert row[["mode", "precision", "boundary", "batch"]].tolist() == ["eager", "fp32", "network", 1]
    only, _ = made(timed("a", 4.0, mode="channels-last", boundary="rgb8", batch=4))
    assert len(headline_timing(only)) == 1
    assert headline_setting(only.iloc[:0]).empty and headline_timing(only.iloc[:0]).empty


def test_a_failed_model_does_not_move_the_headline_table_to_other_frames(made):
    full_hd = {"lr_height": 270, "lr_width": 480}
    samples = pd.concat([timed("a", 4.0), timed("b", 4.0), timed("a", 9.0, **full_hd)])
    failed = made_cases(timed("b", 1.0, **full_hd), status="out of memory")
    timing, results = made(samples, None, pd.concat([made_cases(samples), failed]))
    first = shown(timing, results)[0]
    assert first.count("out of memory") == 1 and "LR 480x270" in first
    assert set(headline_timing(timing)["lr_height"]) == {90}  # figures show what has numbers


def test_nothing_timed_nothing_shown(made):
    timing, results = made(timed("a", 4.0).iloc[:0])
    assert tuple(timing.columns) == runtime.SUMMARY_COLUMNS
    assert runtime.tables(timing, results) == runtime.findings(timing, results) == []
    sizes = results.of(complexity.summarise)
    assert complexity.tables(sizes, results) == complexity.findings(sizes, results) == []


def test_a_processor_is_told_from_a_gpu():
    assert is_processor("Intel Xeon Processor, 2 logical cores") and is_processor("cpu")
    assert not is_processor("NVIDIA H100 80GB HBM3") and not is_processor("cuda")


# ---- findings ----------------------------------------------------------------------------------


def test_the_fastest_network_is_told_with_its_spread_and_gain_and_interpolation_is_none(made):
    samples = pd.concat(
        [*several_ways("small"), *several_ways("large", 4.0), timed("bicubic", 1.0, parameters=0)]
    )
    cases = made_cases(samples, floor_compute_ms=5.0)
    first, reference, gains, counts = runtime.findings(*made(samples, "large", cases))
    assert (
        "small in the way fused bf16 takes 10.0 ms (9.20 to 10.8) a frame, 10 to 90 % of the repeats in brackets, or "
        "100 frames per second, 8.00 times as fast as eager-nchw fp32, at 0.50 of the rate that compute allows"
        in first
    )
    assert "large in the way fused bf16 takes 40.0 ms (36.8 to 43.2)" in reference
    assert (
        gains == "Times as fast as eager-nchw fp32: fused bf16 8.00 (2 models), eager fp32 2.00 (2 models)."
    )
    assert counts == "All cases (7) ran and were stable after their warm-up."


def test_rows_of_an_earlier_version_have_no_cases_and_no_floor(made):
    (first, counts) = runtime.findings(*made(timed("a", 4.0)))
    assert "a in the way eager fp32 takes 4.00 ms (3.68 to 4.32)" in first and "rate that" not in first
    assert "All cases (1)" in counts


# ---- complexity --------------------------------------------------------------------------------


def test_complexity_counts_convolutions_and_matrix_products_once_per_frame_size(made):
    samples = pd.concat([timed("a", 4.0), timed("a", 4.0, batch=8), timed("a", 4.0, boundary="rgb8")])
    _, results = made(samples)
    (table,) = complexity.tables(results.of(complexity.summarise), results)
    assert "convolutions and matrix products" in table.caption and "network, batch 1" in table.caption
    assert len(table.rows) == 1 and [column.head for column in table.columns][-1] == "eager fp32"


def test_a_model_has_one_row_with_its_memory_and_the_least_of_all_ways(made):
    ways = [timed("a", 4.0, peak_memory_mb=300.0), timed("a", 4.0, mode="fused", peak_memory_mb=120.0)]
    _, results = made(pd.concat([*ways, timed("b", 4.0, mode="fused", peak_memory_mb=80.0)]))
    (table,) = complexity.tables(results.of(complexity.summarise), results)
    assert [[str(cell) for cell in row] for row in table.rows] == [
        ["a", "10,000", "0.20", "300", "120", "fused fp32"],
        ["b", "10,000", "0.20", "–", "80", "fused fp32"],
    ]


def test_findings_range_over_the_networks_and_leave_interpolation_out(made):
    samples = pd.concat(
        [made_runtime(["a", "b", "c"]), timed("bicubic", 1.0, parameters=0, gmac_per_frame=0.0)]
    )
    _, results = made(samples)
    (text,) = complexity.findings(results.of(complexity.summarise), results)
    assert "from 10,000 parameters (a) to 90,000 (c), 9.00 times as many" in text
    assert "(640x360 output, LR 160x90) from 0.20 GMAC (a) to 1.80 (c), 9.00 times as many" in text


@pytest.mark.slow
def test_the_readme_names_the_frames_whose_times_it_shows(tmp_path):
    timed_models = dict.fromkeys(model for _, model, origin, *_ in made_runs() if origin == "trained")
    samples = made_runtime(timed_models)
    larger = samples.assign(lr_height=270, lr_width=480, runtime_ms=9 * samples["runtime_ms"])
    results = write_made(tmp_path, runtime=pd.concat([samples, larger]))
    text = load_tool("readme_tables").study_block(tmp_path)
    assert "2 threads, LR 480x270" in text
    first = (
        results.of(runtime.summarise).set_index(["model", "lr_height"]).loc[("rlsp-5-32", 90), "median_ms"]
    )
    assert f"| {9 * first:.1f} |" in text


@pytest.mark.slow
def test_what_was_scored_and_not_timed_says_why(tmp_path):
    results = write_made(tmp_path, clips=[("photos", "coffee", 7)], study=made_study(skipped=["bicubic"]))
    last = runtime.findings(results.of(runtime.summarise), results)[-2:]
    assert last == [
        "Without a time: bicubic, left out by runtime.skip.",
        "Without a time: duf-52l, of which only frames are known, or weights without an entry of models.",
    ]
