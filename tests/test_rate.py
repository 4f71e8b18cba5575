import numpy as np
import pandas as pd
import pytest
import torch
from made_trainings import make_spec

from rlsp.clips import open_clips
from rlsp.datasets import TrainingCrops
from rlsp.estimate import RATE_COLUMNS, read_rates
from rlsp.training.rate import COLUMNS, PngCrops, gmac_per_step, measure_rates, write_rates


def test_crops_from_png_files_are_those_from_arrays(manifests, tmp_path):
    lr, hr = (open_clips(manifests[f"{side}_manifests"][0]) for side in ("lr", "hr"))
    crops = TrainingCrops(lr, hr, scale=4, crop=8, frames=3, behind=1, ahead=1, seed=0, augment=["flip"])
    files = PngCrops(crops, tmp_path / "png")
    assert len(list((tmp_path / "png").rglob("*.png"))) == 2 * 2 * 8
    for one, other in zip(files.batch(5, 3), crops.batch(5, 3), strict=True):
        assert torch.equal(one, other)


def test_rates_of_both_loops_are_measured_in_turns(manifests, tmp_path):
    spec = make_spec(steps=3)  # fewer than are measured
    trainings = [("rlsp-3-8", spec, manifests["hr_manifests"], manifests["lr_manifests"])]
    rows = measure_rates(trainings, device="cpu", workers=0, resident="auto", steps=2, rounds=3)
    table = pd.DataFrame(rows)
    assert set(table.columns) == set(COLUMNS)
    assert list(table["loop"]) == ["plain", "rlsp"] * 3
    assert list(table["round"]) == [0, 0, 1, 1, 2, 2]
    assert (table["steps_per_second"] > 0).all()
    assert table["device_busy"].between(0, 1).all()

    write_rates(tmp_path / "rates" / "some-device" / "training_rate.csv", rows)
    known = read_rates(tmp_path / "rates")
    assert list(known.columns) == list(RATE_COLUMNS)
    assert len(known) == 1  # the plain loop is no rate of a training
    expected = table[table["loop"] == "rlsp"]["steps_per_second"].median()
    assert known["steps_per_second"].item() == pytest.approx(expected)


def test_operations_of_a_step_are_the_closed_form():
    """Weights of a 3-layer cell of 8 filters: inputs 9 + 16 + 8, outputs 16 + 8; 3 passes, 2 crops of 3 frames."""
    weights = 9 * (33 * 8 + 8 * 8 + 8 * 24)
    assert gmac_per_step(make_spec()) == pytest.approx(3 * weights * 8 * 8 * 2 * 3 / 1e9)
    late = make_spec(long_clips={"after": 0.5, "frames": 6, "batch": 1})
    assert gmac_per_step(late) == gmac_per_step(make_spec())


def test_the_loop_that_waits_is_not_busy(manifests):
    from rlsp.training.rate import Loop

    def slow_batches():
        while True:
            import time

            time.sleep(0.02)
            yield np.zeros(1), np.zeros(1)

    rate, busy = Loop(slow_batches(), lambda lr, hr: None, {}).run(5, "cpu")
    assert rate == pytest.approx(50, rel=0.5)
    assert busy < 0.2
