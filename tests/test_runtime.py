import csv
import time

import numpy as np
import pytest
import torch

from rlsp import runtime
from rlsp.devices import claim_device, describe_device
from rlsp.errors import ConfigError, DataError
from rlsp.models.base import VideoModel
from rlsp.runtime import COLUMNS, Timing, measure_samples, sliding_frames, time_models

SPECS = {
    "small": {"arch": "rlsp", "layers": 2, "filters": 4, "scale": 4},
    "large": {"arch": "rlsp", "layers": 7, "filters": 64, "scale": 4},
    "bicubic": {"arch": "bicubic", "scale": 4, "phase": 0},
}


class Sleeper(VideoModel):
    """A model that takes 20 ms a frame, for a clock that must be right."""

    def __init__(self, scale=4, output="y"):
        super().__init__(scale=scale, output=output, look_behind=0, look_ahead=0)

    def step(self, frames, carry):
        time.sleep(0.02)
        n, _, _, h, w = frames.shape
        return torch.full((n, 1, 4 * h, 4 * w), float("nan") if carry == "break" else 1.0), carry


def test_every_sample_is_kept_with_what_it_belongs_to(tmp_path):
    table = tmp_path / "runtime" / "cpu.csv"
    timing = {"lr_size": [24, 32], "repeats": 3, "warmup": 1, "threads": 1}
    time_models(SPECS, table, study="test", timing=timing, device="cpu")
    rows = list(csv.DictReader(table.open()))
    assert list(rows[0]) == COLUMNS
    assert [(row["model"], row["repeat"]) for row in rows] == [(m, str(r)) for m in SPECS for r in range(3)]
    by_model = {row["model"]: row for row in rows}
    assert by_model["large"]["parameters"] == "282128"
    assert float(by_model["large"]["gmac_per_frame"]) == pytest.approx(281_664 * 24 * 32 / 1e9)
    assert all(float(row["runtime_ms"]) > 0 for row in rows)
    assert float(by_model["large"]["peak_memory_mb"]) > 0
    assert (by_model["small"]["lr_height"], by_model["small"]["lr_width"]) == ("24", "32")


def test_clock_is_right(monkeypatch):
    monkeypatch.setattr(runtime, "build_for_timing", lambda spec: Sleeper())
    samples = measure_samples({"sleeper": {}}, Timing((8, 8), 5, 1, 1), "cpu")["sleeper"]
    assert 20 <= np.median(samples) < 40


def test_models_take_turns(monkeypatch):
    order = []

    class Noting(Sleeper):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def step(self, frames, carry):
            order.append(self.name)
            return super().step(frames, carry)

    monkeypatch.setattr(runtime, "build_for_timing", lambda spec: Noting(spec["name"]))
    measure_samples({name: {"name": name} for name in "abc"}, Timing((8, 8), 3, 1, 1), "cpu")
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"


def test_output_that_is_not_finite_spoils_the_measurement(monkeypatch):
    class Breaking(Sleeper):
        def step(self, frames, carry):
            return super().step(frames, "break")

    monkeypatch.setattr(runtime, "build_for_timing", lambda spec: Breaking())
    with pytest.raises(DataError, match="model bad: output is not finite"):
        measure_samples({"bad": {}}, Timing((8, 8), 1, 1, 1), "cpu")


def test_frames_are_a_moving_photograph_of_any_size():
    frames = sliding_frames((600, 700), 3)
    assert frames.shape == (3, 3, 600, 700)
    assert torch.equal(frames[1][..., :-1], frames[0][..., 1:])
    assert frames.std() > 20


def test_devices():
    with claim_device("cpu") as device:
        assert device == "cpu"
    assert "cores" in describe_device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_asking_for_a_gpu_without_one():
    with (
        pytest.raises(ConfigError, match="expected a CUDA GPU, found none; set device: cpu"),
        claim_device("cuda"),
    ):
        pass
    with claim_device("auto") as device:
        assert device == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_time_on_a_gpu(tmp_path):
    timing = {"lr_size": [24, 32], "repeats": 3, "warmup": 1, "threads": 1}
    time_models(SPECS, tmp_path / "cuda.csv", study="test", timing=timing, device="cuda")
    assert len((tmp_path / "cuda.csv").read_text().splitlines()) == 10
