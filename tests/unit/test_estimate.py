"""What a study costs, against closed forms."""

import numpy as np
import pandas as pd
import pytest
from tool import load_tool

from rlsp.config.specs.datasets import parse_dataset
from rlsp.config.specs.recipes import Recipe
from rlsp.config.study import Study
from rlsp.config.study_files import read_config
from rlsp.errors import DataError
from rlsp.planning.estimate import (
    RATE_COLUMNS,
    clip_shapes,
    download_bytes,
    estimate_disk,
    estimate_hours,
    estimate_training,
    named_shapes,
    phases,
    read_rates,
    training_gmac,
)
from rlsp.reporting.estimates import estimate_study, hours_of_all, total
from rlsp.shipped import ROOT

# Weights of RLSP 7-128 with luma output (FACTS of the released model): 9+128+16 channels in, six layers of 128
# filters, the last with 16 more; nothing counted for biases.
WEIGHTS_7_128 = 9 * ((9 + 128 + 16) * 128 + 5 * 128 * 128 + 128 * (128 + 16))
REDS = {
    "source": "archive",
    "download": "reds",
    "folder": "x/{clip}/",
    "leave_out": [],
    "frames": 100,
    "size": [720, 1280],
}


@pytest.fixture(scope="module")
def paper():
    return Study.from_file(ROOT / "config" / "paper.yaml")


@pytest.fixture(scope="module")
def demo():
    return Study(read_config(ROOT / "config" / "demo.yaml"))


def rate(model="rlsp-3-32", device="Some GPU", gmac=10.0, speed=2.0, **changes):
    row = {
        "device": device, "threads": 1, "model": model, "precision": "fp32", "execution": "eager",
        "optimizer": "soap", "batch": 4, "crop": 64, "frames": 10, "steps_per_second": speed, "gmac_per_step": gmac,
    }  # fmt: skip
    return row | changes


def rates(*rows):
    return pd.DataFrame(rows, columns=list(RATE_COLUMNS))


def test_operations_of_a_training_are_three_times_weights_times_pixels(paper):
    gmac = training_gmac(paper.model("rlsp-7-128"), paper.spec.recipes["paper"])
    assert WEIGHTS_7_128 * 480 * 270 / 1e9 == pytest.approx(139.9, abs=0.05)  # a Full HD frame
    assert gmac == pytest.approx(3 * WEIGHTS_7_128 * 64 * 64 * 10 * 4 * 1e6 / 1e9, rel=1e-12)


def test_longer_clips_late_in_a_training_count_from_where_they_begin():
    recipe = Recipe(steps=1000, long_clips={"after": 0.8, "frames": 30, "batch": 2})
    assert list(phases(recipe)) == [(800, 10, 4), (200, 30, 2)]
    assert list(phases(recipe.changed(long_clips=None))) == [(1000, 10, 4)]


@pytest.mark.slow
def test_runs_add_up_and_without_a_rate_there_are_no_hours(paper):
    table = estimate_training(paper, rates())
    row = table.set_index(["model", "recipe"]).loc["rlsp-7-128", "paper"]
    assert (row["runs"], row["steps"]) == (6, 1_000_000)  # two inputs, three seeds
    assert row["gmac_per_step"] == pytest.approx(3 * WEIGHTS_7_128 * 64 * 64 * 40 / 1e9)
    assert row["pmac"] == pytest.approx(6 * row["gmac_per_step"])
    assert total(table, "runs") == 102
    assert table["hours"].isna().all() and table["device"].isna().all()
    text = estimate_study(paper, rates())
    assert "no rate was measured with their optimizer" in text
    assert "hours" not in text.split("\n")[2]


def test_hours_of_a_measured_training_are_steps_over_its_rate(paper):
    gmac = training_gmac(paper.model("rlsp-7-128"), paper.spec.recipes["paper"]) / 1e6
    known = rates(
        rate("rlsp-7-128", gmac=gmac, speed=50.0, optimizer="adam"),
        rate("rlsp-7-64", gmac=gmac, speed=1.0, optimizer="adam"),  # as many operations, and another model
        rate("rlsp-7-128", gmac=gmac / 4, speed=90.0, batch=1, optimizer="adam"),
        rate("rlsp-7-128", gmac=gmac, speed=70.0),
    )
    table = estimate_training(paper, known).set_index(["model", "recipe"])
    row = table.loc["rlsp-7-128", "paper"]
    assert row["hours"] == pytest.approx(6 * 1_000_000 / 50 / 3600)
    assert row["rate_of"] == "rlsp-7-128, batch 4, crop 64, frames 10, fp32, eager"
    assert row["device"] == "Some GPU, 1 thread"


def test_the_closest_measured_training_of_the_same_kind_stands_in(demo):
    known = rates(
        rate("rlsp-7-256", gmac=2000.0, speed=1.0),
        rate("rlsp-3-64", gmac=3.0, speed=4.0),
        rate("other-1", gmac=2.0, speed=100.0),
    )
    table = estimate_training(demo, known).set_index("model")
    row = table.loc["rlsp-3-48"]
    assert row["rate_of"].startswith("rlsp-3-64, ")
    assert "another kind" not in row["rate_of"]
    other = estimate_training(demo, known[known["model"] == "other-1"])
    assert other["rate_of"].str.endswith("; another kind of model").all()
    assert row["hours"] == pytest.approx(row["pmac"] * 1e6 / (3.0 * 4.0) / 3600)


def test_another_precision_is_no_measure(demo):
    half = rates(rate(precision="bf16"))
    assert estimate_training(demo, half)["hours"].isna().all()
    compiled = rates(rate(execution="compile"))  # said in the table, better than nothing
    assert estimate_training(demo, compiled)["rate_of"].str.endswith("compile").all()


def test_another_optimizer_is_no_measure(demo, tmp_path):
    """Its step may take much longer; a table that does not say is one of Adam."""
    assert demo.spec.recipes["demo"].optimizer == "soap"
    known = rates(rate(speed=9.0, optimizer="adam"), rate(device="b"))
    table = estimate_training(demo, known)
    assert set(table["device"]) == {"b, 1 thread"}
    assert estimate_training(demo, known[:1])["hours"].isna().all()
    (tmp_path / "a").mkdir()
    rates(rate()).drop(columns="optimizer").to_csv(tmp_path / "a" / "training_rate.csv", index=False)
    assert list(read_rates(tmp_path)["optimizer"]) == ["adam"]
    assert estimate_training(demo, read_rates(tmp_path))["hours"].isna().all()


def test_each_device_has_hours_of_its_own_and_a_sum_only_where_all_are_known(demo):
    known = rates(rate(device="a"), rate(device="b", speed=4.0))
    table = estimate_training(demo, known)
    assert hours_of_all(table, "a, 1 thread") == pytest.approx(2 * hours_of_all(table, "b, 1 thread"))
    assert np.isnan(hours_of_all(table[1:], "a, 1 thread"))
    text = estimate_study(demo, known)
    assert "hours on a, 1 thread" in text and "rate of, on b, 1 thread" in text
    assert total(table, "runs") == 7


@pytest.mark.parametrize(
    ("measured", "asked", "expected"),
    [
        ([("bf16", 9.0), ("fp32", 2.0)], "auto", "bf16"),
        ([("bf16", 9.0), ("fp32", 2.0)], "fp32", "fp32"),
        ([("bf16", 1.0), ("fp32", 2.0)], "auto", "fp32"),  # emulated
        ([("bf16", 1.0), ("fp32", 2.0)], "bf16", "bf16"),
        ([("fp32", 2.0)], "auto", "fp32"),
        ([("bf16", 1.0), ("tf32", 9.0)], "auto", "bf16"),
    ],
)
def test_hours_are_those_of_the_precision_that_is_asked_for(demo, measured, asked, expected):
    """Of "auto" the one that it takes on the device that was measured; models are compared with themselves."""
    known = rates(*(rate(speed=speed, precision=name) for name, speed in measured))
    recipe = demo.spec.recipes["demo"].changed(precision=asked)
    gmac = training_gmac(demo.model("rlsp-3-32"), recipe)
    ((_, _, rate_of),) = estimate_hours(demo, "rlsp-3-32", recipe, gmac, known)
    assert f", {expected}, " in rate_of


def test_space_of_reds_is_that_of_its_pixels(paper):
    disk = estimate_disk(paper).set_index(["what", "name"])["bytes"]
    frame = 720 * 1280 * 3
    assert disk["HR clips", "reds-train"] == 236 * 100 * frame
    assert disk["LR clips", "reds-train, gaussian"] == 236 * 100 * frame / 16
    assert disk["optical flow", "reds4"] == 4 * 99 * 720 * 1280 * 9
    # 90 trainings and 2 released weights, of which 6 put out RGB, and 2 interpolations
    assert disk["restored pictures", "reds4"] <= (68 * 4 + 38 * 3) * 4 * 100 * 720 * 1280
    assert disk["weights", "paper"] > 6 * 4 * WEIGHTS_7_128
    assert disk["HR clips", "vid4"] == 3 * ((41 * 576 * 720) + (34 * 576 * 704) + (96 * 480 * 720))
    assert disk["download", "vid4"] == download_bytes(paper.spec.downloads["vid4"])


def test_sizes_come_from_the_study_file_else_from_packed_clips(demo, tmp_path):
    assert clip_shapes(demo, "moves-test") == [(16, 160, 160)] * 4
    assert clip_shapes(demo, "city-test") == [(16, 320, 400)] * 2
    config = read_config(ROOT / "config" / "demo.yaml")
    config["data_root"] = str(tmp_path)
    config["datasets"]["own"] = {"source": "folder", "path": str(tmp_path / "clips")}
    config["test_sets"] = ["own"]
    config["pictures"] = {}
    study = Study(config)
    assert clip_shapes(study, "own") is None
    disk = estimate_disk(study).set_index(["what", "name"])
    assert np.isnan(disk.loc[("HR clips", "own"), "bytes"])
    assert "not yet known" in estimate_study(study, rates())
    study.clips("own").parent.mkdir(parents=True)
    study.clips("own").write_text('{"clips": {"a": {"frames": 3, "height": 8, "width": 12}}}')
    assert clip_shapes(study, "own") == [(3, 8, 12)]
    assert clip_shapes(study, "own", look=False) is None


def test_clips_of_archives_are_counted_with_ranges_and_without_what_is_left_out():
    some = parse_dataset(REDS | {"clips": ["000-239"], "leave_out": ["000", "011"]})
    assert len(named_shapes(some, {})) == 238
    assert named_shapes(parse_dataset(REDS | {"clips": ["000-029"]}), {}) == [(100, 720, 1280)] * 30


def test_downloads_have_the_size_that_is_known_beforehand(demo):
    downloads = demo.spec.downloads
    table = pd.read_csv(ROOT / "rlsp" / "config" / "manifests" / "vid4_gt.csv")
    assert download_bytes(downloads["vid4"]) == table["bytes"].sum()
    assert download_bytes(downloads["city"]) is None  # a package: its index knows
    assert download_bytes(downloads["reds-train-sharp"]) == 34_261_573_976


def test_tables_are_written_and_rates_are_read_from_all_devices(demo, tmp_path):
    for device in ("a", "b"):
        (tmp_path / device).mkdir()
        rates(rate(device=device)).to_csv(tmp_path / device / "training_rate.csv", index=False)
    text = estimate_study(demo, read_rates(tmp_path), tmp_path / "costs")
    assert (tmp_path / "costs" / "costs.md").read_text(encoding="utf-8") == text
    assert len(pd.read_csv(tmp_path / "costs" / "costs_training.csv")) == 14
    assert pd.read_csv(tmp_path / "costs" / "costs_disk.csv")["bytes"].sum() > 1e8
    assert read_rates(tmp_path / "none").empty
    rates(rate(speed=0.0)).to_csv(tmp_path / "a" / "training_rate.csv", index=False)
    with pytest.raises(DataError, match=r"training_rate\.csv: steps_per_second: expected numbers above 0"):
        read_rates(tmp_path)
    (tmp_path / "a" / "training_rate.csv").write_text("device\na\n")
    with pytest.raises(DataError, match=r"training_rate\.csv: missing columns threads"):
        read_rates(tmp_path)


def test_the_readme_has_one_line_a_study_where_it_wants_them(tmp_path):
    (tmp_path / "a").mkdir()
    rates(rate(speed=5.0)).to_csv(tmp_path / "a" / "training_rate.csv", index=False)
    files = [ROOT / "config" / f"{name}.yaml" for name in ("demo", "released")]
    lines = load_tool("readme_tables").costs_block(files, tmp_path).split("\n")
    assert lines[0] == "| study | trainings | PMAC | hours on Some GPU, 1 thread | GB on disk |"
    assert lines[2].startswith("| demo | 7 | ")
    assert lines[3].startswith("| released | 0 | 0 | 0 | ")
    assert load_tool("fill_readme").fill_readme("no block\n") == "no block\n"
