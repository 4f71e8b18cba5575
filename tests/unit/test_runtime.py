import csv
import itertools
import os
import sys
import time
import types
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rlsp.columns import RUNTIME, RUNTIME_CASES
from rlsp.config.specs.models import parse_model
from rlsp.config.specs.study import Runtime
from rlsp.devices import claim_device, describe_device
from rlsp.errors import ConfigError
from rlsp.inference.execution import Execution
from rlsp.models.base import VideoModel
from rlsp.shipped import ROOT
from rlsp.timing import cases, tables, timed, turns
from rlsp.timing.cases import Case, list_cases, lr_sizes
from rlsp.timing.hardware import DeviceMonitor, Reading
from rlsp.timing.tables import time_models
from rlsp.timing.timed import TimedCase, sliding_frames
from rlsp.timing.turns import measure_cases

SPECS = {
    "small": {"arch": "rlsp", "layers": 2, "filters": 4, "scale": 4},
    "large": {"arch": "rlsp", "layers": 7, "filters": 64, "scale": 4},
    "bicubic": {"arch": "bicubic", "scale": 4, "phase": 0},
}
MODELS = {name: parse_model(spec) for name, spec in SPECS.items()}
QUICK = Runtime(sizes=[[16, 24]], repeats=3, warmup=1, seconds=0.5, threads=1)
CEILINGS = {"fp32": 1e11, "tf32": 2e11, "bf16": 4e11, "fp16": 4e11}


class Sleeper(VideoModel):
    """A model that takes 20 ms a frame, for a clock that must be right."""

    def __init__(self, scale=4, output="y"):
        super().__init__(scale=scale, output=output, look_behind=0, look_ahead=0)

    def step(self, frames, carry):
        time.sleep(0.02)
        n, _, _, h, w = frames.shape
        return torch.full((n, 1, 4 * h, 4 * w), float("nan") if carry == "break" else 1.0), carry


class Breaking(Sleeper):
    def step(self, frames, carry):
        return super().step(frames, "break")


class Failing(Sleeper):
    def step(self, frames, carry):
        raise RuntimeError("there is no such kernel\nbut many lines")


class Greedy(Sleeper):
    """A model for which there is no room beside another one, or never."""

    live, always = 0, False

    def step(self, frames, carry):
        if Greedy.live > 1 or Greedy.always:
            raise torch.OutOfMemoryError("no room")
        return super().step(frames, carry)


@pytest.fixture
def in_process(monkeypatch):
    """Models of this file, without processes for their memory and without products for the ceilings."""
    here = types.ModuleType("made_models")
    for kind in (Sleeper, Breaking, Failing, Greedy):
        setattr(here, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "made_models", here)
    monkeypatch.setattr(turns, "_probe_memory", lambda found, threads, probe: None)
    monkeypatch.setattr(turns, "memory_probe", lambda device: nullcontext())
    monkeypatch.setattr(tables, "memory_probe", lambda device: nullcontext())
    monkeypatch.setattr(tables, "measure_matrix_rate", lambda device, precision: CEILINGS[precision])
    monkeypatch.setattr(tables, "measure_bandwidth", lambda device: 1e10)
    monkeypatch.setattr(tables, "busy_reason", lambda device: "other processes use 1.0 of 2 cores")


def made_case(kind, **changes):
    return Case(
        kind, parse_model({"arch": f"made_models:{kind}"}), Execution("fp32", "eager"), (8, 8), **changes
    )


def read(path):
    return list(csv.DictReader(path.open()))


@pytest.mark.slow
def test_every_sample_is_kept_with_what_it_belongs_to(tmp_path, quick_ceilings):
    table, outcomes = tmp_path / "runtime" / "cpu.csv", tmp_path / "runtime" / "cpu-cases.csv"
    time_models(SPECS, table, outcomes, study="test", timing=QUICK, device="cpu")
    rows, outcomes = read(table), read(outcomes)
    assert tuple(rows[0]) == RUNTIME.names
    assert tuple(outcomes[0]) == RUNTIME_CASES.names
    assert {row["status"] for row in outcomes} == {"ok"}
    way = ("model", "precision", "mode", "boundary", "batch", "lr_height", "lr_width")
    ways = [tuple(row[key] for key in way) for row in outcomes]
    assert len(set(ways)) == len(ways)
    kept = [(*(row[key] for key in way), row["repeat"]) for row in rows]
    assert kept == [(*one, str(n)) for one in ways for n in range(3)]
    large = next(row for row in rows if row["model"] == "large")
    assert large["parameters"] == "282128"
    assert float(large["gmac_per_frame"]) == pytest.approx(281_664 * 16 * 24 / 1e9)
    assert all(float(row["runtime_ms"]) > 0 for row in rows)
    assert float(large["peak_memory_mb"]) > 0
    assert (large["lr_height"], large["lr_width"]) == ("16", "24")


@pytest.mark.slow
@pytest.mark.parametrize(
    "second, ceiling",
    [
        (2e11, 2e11),
        (5e10, 1e11),
        (torch.AcceleratorError("lost"), 1e11),
        (torch.OutOfMemoryError("full"), 1e11),
    ],
)
def test_ceilings_are_the_larger_of_those_before_and_after(
    tmp_path, in_process, monkeypatch, second, ceiling
):
    rates = iter([1e11, second])

    def rate(device, precision):
        found = next(rates)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(tables, "measure_matrix_rate", rate)
    specs = {"a": {"arch": "made_models:Sleeper"}}
    outcomes = tmp_path / "cases.csv"
    time_models(specs, tmp_path / "a.csv", outcomes, study="test", timing=QUICK, device="cpu")
    assert float(read(outcomes)[0]["matrix_tflops"]) == ceiling / 1e12


def test_headline_runs_every_model_in_the_same_plain_way_and_in_its_fastest():
    listed = list_cases(MODELS, QUICK, "cpu")
    way = {(case.model, case.execution.precision, case.execution.mode, case.boundary) for case in listed}
    for model in ("small", "large"):
        assert {(model, "fp32", mode, "network") for mode in ("eager-nchw", "eager", "fused")} <= way
        assert [case.execution.mode for case in listed if (case.model, case.boundary) == (model, "rgb8")] == [
            "fused"
        ]
    assert {w for w in way if w[0] == "bicubic"} == {
        ("bicubic", "fp32", "eager", b) for b in ("network", "rgb8")
    }
    assert {case.batch for case in listed} == {1}


def test_grid_has_everything(monkeypatch):
    monkeypatch.setattr(cases, "available_precisions", lambda device: ["fp32", "tf32", "bf16", "fp16"])
    timing = Runtime(grid=True)
    listed = list_cases(
        {"large": MODELS["large"], "peer": parse_model({"arch": "frvsr", "blocks": 1, "filters": 4})},
        timing,
        "cuda:0",
    )
    assert len(set(listed)) == len(listed)
    assert lr_sizes(timing, "cuda:0") == [(270, 480), (90, 160), (180, 320), (540, 960)]
    of = {name: [case for case in listed if case.model == name] for name in ("large", "peer")}
    # precisions x modes x sizes x boundaries x batches; the peer has no fused form
    assert (len(of["large"]), len(of["peer"])) == (4 * 5 * 4 * 2 * 2, 4 * 4 * 4 * 2 * 2)


def test_headline_of_a_gpu(monkeypatch):
    monkeypatch.setattr(cases, "available_precisions", lambda device: ["fp32", "tf32", "bf16", "fp16"])
    listed = list_cases({"large": MODELS["large"]}, Runtime(), "cuda:0")
    ways = [(case.execution.precision, case.execution.mode, case.boundary) for case in listed]
    assert ways == [
        ("fp32", "eager-nchw", "network"), ("fp32", "eager", "network"), ("tf32", "eager", "network"),
        ("bf16", "eager", "network"), ("fp16", "graph", "network"), ("bf16", "graph", "network"),
        ("bf16", "graph", "rgb8"),
    ]  # fmt: skip
    assert {case.lr_size for case in listed} == {(270, 480)}


@pytest.mark.slow
def test_clock_is_right(in_process):
    frame, clip, batch = (
        made_case("Sleeper"),
        made_case("Sleeper", clip_length=3),
        made_case("Sleeper", batch=4),
    )
    found = measure_cases([frame, clip, batch], QUICK, "cpu")
    medians = [np.median(found[case].samples) for case in (frame, clip, batch)]
    assert 20 <= medians[0] < 40
    assert 60 <= medians[1] < 120  # a whole clip
    assert 5 <= medians[2] < 10  # per frame: four clips advance in one step


def test_models_take_turns(in_process, monkeypatch):
    order = []
    monkeypatch.setattr(TimedCase, "step", lambda self: order.append(self.case.model))
    monkeypatch.setattr(TimedCase, "warm_up", lambda self, least, seconds: (1, True))
    listed = [Case(name, parse_model(SPECS["small"]), Execution(), (8, 8)) for name in "abc"]
    measure_cases(listed, Runtime(repeats=8, threads=1), "cpu")
    rounds = ["".join(order[n : n + 3]) for n in range(0, 24, 3)]
    assert [sorted(one) for one in rounds] == [["a", "b", "c"]] * 8
    assert len(set(rounds)) > 2  # nobody always follows the same one


def test_slow_case_gets_fewer_samples_but_three(in_process):
    slow, timing = made_case("Sleeper"), Runtime(repeats=40, warmup=1, seconds=0.01, threads=1)
    assert len(measure_cases([slow], timing, "cpu")[slow].samples) == 3


def test_warm_up_goes_on_until_the_time_is_stable(in_process, monkeypatch):
    timed = TimedCase(made_case("Sleeper"), "cpu")
    times = iter([100.0] * 3 + [50, 40, 30, 25, 22, 20, 19, 18, 17.5] + [17.0] * 50)
    monkeypatch.setattr(timed, "sample", lambda: next(times))
    frames, is_stable = timed.warm_up(3, 60)
    assert is_stable
    assert 16 <= frames <= 20
    monkeypatch.setattr(timed, "sample", lambda: next(falling))
    falling = iter(np.geomspace(1000, 1, 40))
    assert timed.warm_up(3, 0.0) == (2, False)


@pytest.mark.slow
def test_one_that_fails_spoils_nothing(in_process, tmp_path):
    specs = {name: {"arch": f"made_models:{name}"} for name in ("Failing", "Breaking", "Sleeper")}
    table, listed = tmp_path / "a.csv", tmp_path / "a-cases.csv"
    time_models(specs, table, listed, study="test", timing=QUICK, device="cpu")
    status = {(row["model"], row["boundary"]): row["status"] for row in read(listed)}
    assert status["Failing", "network"] == "failed: RuntimeError: there is no such kernel"
    assert status["Breaking", "network"] == "output is not finite after 3 samples"
    assert status["Sleeper", "network"] == "ok"
    assert {row["model"] for row in read(table) if row["boundary"] == "network"} == {"Sleeper"}


@pytest.mark.slow
def test_one_that_finds_no_room_is_timed_alone(in_process, monkeypatch):
    monkeypatch.setattr(Greedy, "live", 2)
    greedy, other = made_case("Greedy"), made_case("Sleeper")
    groups = []
    original = turns._measure_group

    def counting(group, *rest):
        groups.append([case.model for case in group])
        Greedy.live = len(group)
        return original(group, *rest)

    monkeypatch.setattr(turns, "_measure_group", counting)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    found = measure_cases([greedy, other], QUICK, "cpu")
    assert groups == [["Greedy", "Sleeper"], ["Greedy"]]
    assert [found[case].status for case in (greedy, other)] == ["ok", "ok"]
    assert len(found[greedy].samples) == 3
    monkeypatch.setattr(Greedy, "always", True)
    found = measure_cases([greedy, other], QUICK, "cpu")
    assert [found[case].status for case in (greedy, other)] == ["out of memory", "ok"]


class Full(Sleeper):
    def step(self, frames, carry):
        raise MemoryError("you tried to allocate too much")


@pytest.mark.slow
def test_memory_that_cannot_be_had_is_a_status(monkeypatch):
    """In a process of its own, where nothing else is lost."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.path.dirname(__file__), str(ROOT / "tests")]))
    full, other = (
        Case(kind, parse_model({"arch": f"test_runtime:{kind}"}), Execution(), (8, 8))
        for kind in ("Full", "Sleeper")
    )
    found = measure_cases([full, other], QUICK, "cpu")
    assert [found[case].status for case in (full, other)] == ["out of memory", "ok"]
    assert not found[full].samples and found[other].peak_memory_mb > 0


def test_floors_are_operations_and_bytes_over_what_the_device_can_do(in_process, tmp_path, capsys):
    table, listed = tmp_path / "a.csv", tmp_path / "a-cases.csv"
    time_models({"large": SPECS["large"]}, table, listed, study="test", timing=QUICK, device="cpu")
    row = next(row for row in read(listed) if (row["mode"], row["boundary"]) == ("eager", "network"))
    macs, pixels = 281_664 * 16 * 24, 16 * 24
    assert float(row["floor_compute_ms"]) == pytest.approx(2 * macs / 1e11 * 1000)
    # three float frames, the weights, luma at HR; feedback and state in and out
    fewest = 4 * (9 * pixels + 282_128 + 16 * pixels + 2 * (16 + 64) * pixels)
    assert float(row["floor_memory_ms"]) == pytest.approx(fewest / 1e10 * 1000)
    assert row["busy"] == "other processes use 1.0 of 2 cores"
    assert (
        "warning: other processes use 1.0 of 2 cores; the times will be too long" in capsys.readouterr().err
    )


@pytest.mark.slow
def test_state_of_the_device_is_noted(in_process, monkeypatch, tmp_path):
    """A frame takes half a joule, and the counter shows steps of two."""
    frames = []
    step = TimedCase.step
    monkeypatch.setattr(TimedCase, "step", lambda self: frames.append(step(self)))

    class Made(DeviceMonitor):
        def read(self):
            return Reading(clock_mhz=1500, temperature_c=61, throttled=True)

        def energy_j(self):
            return 2.0 * (len(frames) // 4)

    monkeypatch.setattr(tables, "DeviceMonitor", Made)
    monkeypatch.setattr(turns, "LOAD_SECONDS", 0.1)
    spec = {"Sleeper": {"arch": "made_models:Sleeper"}}
    time_models(spec, tmp_path / "a.csv", tmp_path / "b.csv", study="test", timing=QUICK, device="cpu")
    row = read(tmp_path / "b.csv")[0]
    assert (float(row["clock_mhz"]), float(row["temperature_c"])) == (1500, 61)
    assert float(row["energy_j"]) == 0.5  # whatever the moment at which the load began
    assert row["busy"].endswith("the clocks were held down (power or heat)")


def test_a_run_that_is_killed_leaves_what_it_has(in_process, tmp_path, monkeypatch):
    """Samples too, while the row of each case that is not measured to the end says so."""
    table, listed = tmp_path / "a.csv", tmp_path / "a-cases.csv"
    sampled, sample = [], TimedCase.sample

    def killed(self):
        sampled.append(self.case.boundary)
        if len(sampled) > 2:
            raise KeyboardInterrupt
        return sample(self)

    monkeypatch.setattr(TimedCase, "sample", killed)
    monkeypatch.setattr(TimedCase, "warm_up", lambda self, least, seconds: (1, True))
    monkeypatch.setattr(turns, "FLUSH_SECONDS", 0)
    with pytest.raises(KeyboardInterrupt):
        time_models(
            {"Sleeper": {"arch": "made_models:Sleeper"}},
            table,
            listed,
            study="test",
            timing=QUICK,
            device="cpu",
        )
    assert [row["status"] for row in read(listed)] == [turns.CUT_OFF] * 2 and len(read(table)) == 2


@pytest.mark.parametrize("killed_while", ["_probe_memory", "_set_up", "_measure_group"])
def test_a_run_that_is_killed_before_it_times_lists_its_cases(
    in_process, tmp_path, monkeypatch, killed_while
):
    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(turns, killed_while, killed)
    specs, cases = {"Sleeper": {"arch": "made_models:Sleeper"}}, tmp_path / "a-cases.csv"
    with pytest.raises(KeyboardInterrupt):
        time_models(specs, tmp_path / "a.csv", cases, study="test", timing=QUICK, device="cpu")
    assert [row["status"] for row in read(cases)] == [turns.CUT_OFF] * 2 and not read(tmp_path / "a.csv")


def test_slow_steps_are_watched_for_longer(in_process, monkeypatch):
    """They end at no step of NVML's counter of energy."""
    clock = itertools.count(step=0.25)
    monkeypatch.setattr(timed.time, "monotonic", lambda: next(clock))
    case = TimedCase(made_case("Sleeper"), "cpu")
    counter = itertools.count(step=3.0)
    monitor = SimpleNamespace(energy_j=lambda: next(counter), read=lambda: Reading(clock_mhz=1500))
    for milliseconds, least in ((100, 2), (300, 8)):
        case.step_ms = milliseconds
        energy, readings = case.under_load(monitor, 0.4)
        assert len(readings) >= least and energy > 0


def test_sizes_by_name_or_by_pixels():
    assert lr_sizes(Runtime(sizes=["4k", [24, 32]]), "cpu") == [(540, 960), (24, 32)]
    assert (lr_sizes(Runtime(), "cpu"), lr_sizes(Runtime(), "cuda:0")) == ([(90, 160)], [(270, 480)])


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
@pytest.mark.parametrize("grid", [False, True])
def test_time_on_a_gpu(tmp_path, monkeypatch, grid):
    specs = SPECS | {"frvsr": {"arch": "frvsr", "blocks": 1, "filters": 8}}
    if grid:  # of everything two, as torch.compile takes seconds for each case
        specs = {"small": SPECS["small"]}
        monkeypatch.setattr(cases, "available_precisions", lambda device: ["fp32", "bf16"])
        monkeypatch.setattr(cases, "GRID_BATCHES", (2,))
    timing = Runtime(sizes=[[24, 32]], grid=grid, repeats=3, warmup=1, seconds=1)
    table, listed = tmp_path / "cuda.csv", tmp_path / "cases.csv"
    time_models(specs, table, listed, study="test", timing=timing, device="cuda")
    rows = read(listed)
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["mode"] for row in rows} >= {"eager-nchw", "eager", "graph", *(["compile"] if grid else [])}
