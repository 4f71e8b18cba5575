from itertools import chain
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from made_trainings import make_spec

from rlsp.columns import TRAINING_RATE
from rlsp.data.clips import open_clips
from rlsp.files import write_rows
from rlsp.planning.estimate import RATE_COLUMNS, read_rates
from rlsp.training import rate
from rlsp.training.crops import TrainingCrops
from rlsp.training.rate import gmac_per_step, measure_rates, png_crops


def test_crops_from_png_files_are_those_from_arrays(manifests, tmp_path):
    lr, hr = (open_clips(manifests[f"{side}_manifests"][0]) for side in ("lr", "hr"))
    crops = TrainingCrops(lr, hr, scale=4, crop=8, frames=3, behind=1, ahead=1, seed=0, augment=["flip"])
    files = png_crops(crops, tmp_path / "png")
    assert len(list((tmp_path / "png").rglob("*.png"))) == 2 * 2 * 8
    for one, other in zip(files.batch(5, 3), crops.batch(5, 3), strict=True):
        assert torch.equal(one, other)


def test_rates_of_both_loops_are_measured_in_turns(manifests, tmp_path):
    spec = make_spec(steps=3, optimizer="soap")  # fewer than are measured
    trainings = [("rlsp-3-8", spec, manifests["hr_manifests"], manifests["lr_manifests"])]
    arguments = {"device": "cpu", "workers": 0, "resident": "auto", "matrix_rate": lambda *_: 2e12}
    rows = list(chain(*measure_rates(trainings, **arguments, seconds=0.02, rounds=3)))
    table = pd.DataFrame(rows)
    assert set(table.columns) == set(TRAINING_RATE.names)
    assert list(table["loop"]) == ["plain", "rlsp"] * 3
    assert list(table["round"]) == [0, 0, 1, 1, 2, 2]
    assert list(table["optimizer"]) == ["adam", "soap"] * 3  # the plain loop is what one writes first
    assert (table["steps_per_second"] > 0).all()
    assert table["device_busy"].between(0, 1).all()
    assert (table["matrix_tflops"] == 2).all()

    write_rows(tmp_path / "rates" / "some-device" / "training_rate.csv", TRAINING_RATE.names, rows)
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


@pytest.fixture
def clock(monkeypatch):
    """Time that moves only where a test moves it."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(rate.time, "perf_counter", lambda: now.seconds)
    return now


def made_loop(clock, *, waits, works, warmup=2):
    def batches():
        while True:
            clock.seconds += waits
            yield None, None

    def step(lr, hr):
        clock.seconds += works

    return rate.Loop(batches(), step, {}, warmup=warmup)


def test_the_loop_that_waits_is_not_busy(clock):
    assert made_loop(clock, waits=0.015, works=0.005).run("cpu", 5) == (
        pytest.approx(50),
        pytest.approx(0.25),
    )


@pytest.mark.parametrize(("milliseconds", "steps"), [(1, 2000), (100, 20), (900, 3), (5000, 3)])
def test_loops_run_for_some_time_and_three_steps_at_least(clock, milliseconds, steps):
    """A slow loop takes no longer than it must, whatever the fast one beside it does."""
    loop = made_loop(clock, waits=0, works=milliseconds / 1000)
    loop.warm_up(2, "cpu")
    assert loop.steps == steps
    assert clock.seconds <= max(2.1, 4 * milliseconds / 1000)  # of warm-up
    before = clock.seconds
    assert loop.run("cpu") == (pytest.approx(1000 / milliseconds), 1)
    assert clock.seconds - before == pytest.approx(steps * milliseconds / 1000)
