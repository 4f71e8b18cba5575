"""The blocks of the README that are made from reference tables."""

import re

import pandas as pd
import pytest
from made_tables import ABLATION, made_cases, made_runtime, write_made
from tool import load_tool

from rlsp.errors import DataError
from rlsp.files import write_json
from rlsp.reporting.analyses import accuracy, runtime

tables = load_tool("readme_tables")


@pytest.mark.slow
def test_a_study_of_several_seeds_and_inputs_fits_the_block(tmp_path):
    results = write_made(tmp_path, seeds=(0, 1, 2), degradations=("gaussian", "bicubic"), long_name=False)
    block = tables.study_block(tmp_path)
    lines = [line for line in block.split("\n") if line.startswith("|")]
    assert len({line.count(" | ") for line in lines}) == 1
    assert "photos (gaussian) [dB] | city (gaussian) [dB] | photos (bicubic) [dB]" in lines[0]
    rows = results.of(accuracy.summarise).query(
        "variant == 'rlsp-5-32' and clip == 'mean' and protocol == 'paper'"
    )
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
    plain, beside = (
        tables.study_block(tmp_path),
        tables.study_block(tmp_path, {("gaussian", "city", "rlsp-5-32"): 26.65}),
    )
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
    block = tables.rates_block(tmp_path)
    # 4 * 24 * 24 * 8 * 6 = 110,592 pixels; 2 * 9 * 6 = 108 of 540 thousand million operations
    assert (
        "| Some CPU | rlsp-7-48 | 4, 24x24, 8 | bf16, eager | 6.00 | 2.00 | 3.0 | 98 % | 0.11 | 20 % |"
        in block
    )
    assert "Some CPU, 1 thread: medians of 3 rounds of 10 steps" in block
    rows[0]["steps"] = 1200
    pd.DataFrame(rows).to_csv(tmp_path / "some-cpu" / "training_rate.csv", index=False)
    assert "medians of 3 rounds of 10 to 1,200 steps" in tables.rates_block(tmp_path)


@pytest.mark.slow
def test_every_model_has_its_plain_and_its_fastest_time(tmp_path):
    models = [*ABLATION, "rlsp-3-16"]
    plain = made_runtime(models, modes=("eager", "eager-nchw"))
    fast = plain[(plain["model"] == "rlsp-5-32") & (plain["mode"] == "eager")]
    fast = fast.assign(mode="fused", precision="bf16", runtime_ms=fast["runtime_ms"] / 4)
    timed = pd.concat([plain, fast])
    results = write_made(tmp_path, long_name=False, runtime=timed, cases=made_cases(timed))
    ways = results.of(runtime.summarise)
    block = tables.speed_block(tmp_path)
    for model, rows in ways.groupby("model"):
        line = next(line for line in block.split("\n") if line.startswith(f"| {model} "))
        cells = line.strip("| ").split(" | ")
        best = rows.loc[rows["median_ms"].idxmin()]
        assert cells[2] == f"{rows.loc[rows['mode'] == 'eager', 'median_ms'].iloc[0]:.1f}"
        assert cells[5] == f"{best['median_ms']:.1f}"
        assert cells[6] == f"{best['mode']} {best['precision']}" and cells[7] == f"{best['plain_ratio']:.1f}"
        assert ("fused bf16" in line) == (model == "rlsp-5-32")


def test_without_a_comparison_of_precisions_that_is_said(tmp_path):
    write_made(tmp_path, clips=[("photos", "coffee", 7)])
    assert tables.precisions_block(tmp_path).startswith("The device multiplies in no precision below fp32")


def test_of_several_devices_the_newest_reference_is_shown(tmp_path):
    find = load_tool("fill_readme").find_reference
    for device, time in (("a", "2026-01-02T00:00:00+00:00"), ("b", "2026-01-03T00:00:00+00:00")):
        write_json(tmp_path / "demo" / device / "provenance.json", {"time": time})
        (tmp_path / "demo" / device / "tables").mkdir()
    (tmp_path / "demo" / "c").mkdir()  # without tables
    assert find(tmp_path, "demo").name == "b"
    with pytest.raises(DataError, match="expected reference tables, run make reference STUDY=small"):
        find(tmp_path, "small")
