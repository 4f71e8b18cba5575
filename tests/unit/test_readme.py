"""The blocks of the README that are made from reference tables."""

import re

import pandas as pd
import pytest
from made_tables import write_made
from tool import load_tool

from rlsp.errors import DataError
from rlsp.files import write_json
from rlsp.reporting.blocks import precisions_block, rates_block, speed_block, study_block


@pytest.mark.slow
def test_a_study_of_several_seeds_and_inputs_fits_the_block(tmp_path):
    write_made(tmp_path, seeds=(0, 1, 2), degradations=("gaussian", "bicubic"), long_name=False)
    block = study_block(tmp_path)
    lines = [line for line in block.split("\n") if line.startswith("|")]
    assert len({line.count(" | ") for line in lines}) == 1
    assert "photos (gaussian) [dB] | city (gaussian) [dB] | photos (bicubic) [dB]" in lines[0]
    accuracy = pd.read_csv(tmp_path / "tables" / "accuracy.csv")
    rows = accuracy.query("variant == 'rlsp-5-32' and clip == 'mean' and protocol == 'paper'")
    row = rows.query("dataset == 'city' and degradation == 'bicubic'").iloc[0]
    line = next(line for line in lines if line.startswith("| rlsp-5-32 |"))
    assert line.split(" | ")[4] == f"{row['psnr']:.2f} ± {row['psnr_std']:.2f}"
    for name in ("bicubic", "duf-52l"):  # no seeds; not timed here
        line = next(line for line in lines if line.startswith(f"| {name} |"))
        assert "±" not in line and line.endswith("| – | – |")
    assert "seeds 0, 1, 2 (mean ± standard deviation over seeds" in block
    assert re.search(r"gaussian input and bicubic input; mean over clips; .*; 600 steps", block)


@pytest.mark.slow
def test_the_authors_own_numbers_stand_in_brackets(tmp_path):
    write_made(tmp_path, long_name=False)
    plain, beside = study_block(tmp_path), study_block(tmp_path, {("gaussian", "city", "rlsp-5-32"): 26.65})
    assert "26.65" not in plain
    assert len(re.findall(r"\[26\.65\]", beside)) == 1
    assert re.search(r"\| rlsp-5-32 \|.* \[26\.65\] \|", beside)


def test_rates_are_medians_beside_the_plain_loop(tmp_path):
    rows = [
        {"device": "Some CPU", "threads": 1, "model": "rlsp-7-48", "loop": loop, "precision": "bf16",
         "execution": "eager", "batch": 4, "crop": 24, "frames": 8, "steps": 10, "round": number,
         "steps_per_second": rate, "device_busy": 0.98, "gmac_per_step": 9.0, "workers": 0, "resident": False,
         "matrix_tflops": 0.54}
        for number, pair in enumerate([(1.0, 4.0), (2.0, 6.0), (9.0, 50.0)])
        for loop, rate in zip(("plain", "rlsp"), pair, strict=True)
    ]  # fmt: skip
    (tmp_path / "some-cpu").mkdir()
    pd.DataFrame(rows).to_csv(tmp_path / "some-cpu" / "training_rate.csv", index=False)
    block = rates_block(tmp_path)
    # 4 * 24 * 24 * 8 * 6 = 110,592 pixels; 2 * 9 * 6 = 108 of 540 thousand million operations
    assert (
        "| Some CPU | rlsp-7-48 | 4, 24x24, 8 | bf16, eager | 6.00 | 2.00 | 3.0 | 98 % | 0.11 | 20 % |"
        in block
    )
    assert "Some CPU, 1 thread: medians of 3 rounds of 10 steps" in block
    rows[0]["steps"] = 1200
    pd.DataFrame(rows).to_csv(tmp_path / "some-cpu" / "training_rate.csv", index=False)
    assert "medians of 3 rounds of 10 to 1,200 steps" in rates_block(tmp_path)


@pytest.mark.slow
def test_every_model_has_its_plain_and_its_fastest_time(tmp_path):
    write_made(tmp_path, long_name=False)
    timing = pd.read_csv(tmp_path / "tables" / "runtime_summary.csv")
    fast = timing.assign(mode="fused", precision="bf16", median_ms=timing["median_ms"] / 4, plain_ratio=4.25)
    both = pd.concat([timing, fast[fast["model"] == "rlsp-5-32"]])
    both.to_csv(tmp_path / "tables" / "runtime_summary.csv", index=False)
    block = speed_block(tmp_path)
    for model, ways in both[both["mode"].isin(["eager", "fused"])].groupby("model"):
        line = next(line for line in block.split("\n") if line.startswith(f"| {model} "))
        cells = line.strip("| ").split(" | ")
        assert cells[2] == f"{ways.loc[ways['mode'] == 'eager', 'median_ms'].iloc[0]:.1f}"
        assert cells[5] == f"{ways['median_ms'].min():.1f}"
        assert cells[6:8] == (["fused bf16", "4.2"] if model == "rlsp-5-32" else ["eager fp32", cells[7]])


def test_differences_of_precisions_are_means_and_extremes_of_clips(tmp_path):
    labels = {"model": "rlsp-7-64", "precision": "bf16", "clip": "a", "dataset": "vid4"}
    labels |= {"device": "laptop", "threads": 2}
    rows = [("clip", 0, 5, 0.002, 60.0), ("clip", 0, 7, -0.008, 55.25), ("long", 0, 100, -0.001, 58.0)]
    rows += [("long", 100, 50, 0.0005, 57.0)]
    columns = ("part", "first_frame", "frames", "difference_db", "psnr_between")
    table = pd.DataFrame([labels | dict(zip(columns, row, strict=True)) for row in rows])
    (tmp_path / "tables").mkdir()
    table.to_csv(tmp_path / "tables" / "precisions.csv", index=False)
    block = precisions_block(tmp_path)
    assert "| rlsp-7-64 | bf16 | -0.0030 | -0.0080 | -0.0010 | +0.0005 | 55.2 |" in block
    assert "on vid4; long clip: a played there and back for 150 frames" in block
    assert "On laptop, 2 threads." in block
    table.iloc[:0].to_csv(tmp_path / "tables" / "precisions.csv", index=False)
    assert precisions_block(tmp_path).startswith("The device multiplies in no precision below fp32")


def test_of_several_devices_the_newest_reference_is_shown(tmp_path):
    find = load_tool("fill_readme").find_reference
    for device, time in (("a", "2026-01-02T00:00:00+00:00"), ("b", "2026-01-03T00:00:00+00:00")):
        write_json(tmp_path / "demo" / device / "provenance.json", {"time": time})
        (tmp_path / "demo" / device / "tables").mkdir()
    (tmp_path / "demo" / "c").mkdir()  # without tables
    assert find(tmp_path, "demo").name == "b"
    with pytest.raises(DataError, match="expected reference tables, run make reference STUDY=small"):
        find(tmp_path, "small")
