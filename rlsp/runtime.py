"""Run time, memory and energy of models, all timed side by side in one job on one device."""

import csv
import os
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rlsp.complexity import count_bytes, count_macs, count_parameters
from rlsp.config import spec_hash
from rlsp.devices import claim_device, describe_device
from rlsp.hardware import (
    DeviceMonitor,
    available_precisions,
    busy_reason,
    measure_bandwidth,
    measure_matrix_rate,
)
from rlsp.inference import Execution, FrameRestorer
from rlsp.memory import MemoryProbe
from rlsp.models import build_model
from rlsp.models.base import VideoModel
from rlsp.models.initialisation import WEIGHTED
from rlsp.pictures import PictureMaker
from rlsp.scenes import read_photograph

SIZES = {
    "360p": (90, 160),
    "720p": (180, 320),
    "full-hd": (270, 480),
    "4k": (540, 960),
}  # LR of the x4 output
BOUNDARIES = {
    "network": "float tensors on the device in and out",
    "rgb8": "8-bit RGB on the device in and out, the chroma of luma models included",
}
GRID_BATCHES = (1, 4)  # one frame at a time is the online case; several clips at once give throughput
CASE_KEYS = [
    "study", "model", "spec_hash", "device", "threads", "precision", "mode", "lr_height", "lr_width",
    "boundary", "batch",
]  # fmt: skip
COLUMNS = [*CASE_KEYS, "repeat", "runtime_ms", "parameters", "gmac_per_frame", "peak_memory_mb"]
CASE_COLUMNS = [
    *CASE_KEYS, "status", "warmup_frames", "is_stable", "matrix_tflops", "bandwidth_gbs", "floor_compute_ms",
    "floor_memory_ms", "peak_memory_mb", "energy_j", "clock_mhz", "temperature_c", "busy",
]  # fmt: skip
FRAMES = 8  # of the clip that goes round and round
LEAST_SAMPLES = 3
STABLE = 0.03  # relative difference of two medians of WINDOW frames
WINDOW = 5
PROBED_FRAMES = 2  # frames whose memory is measured: the first of a clip and one with a state
ENERGY_SECONDS = 2.0  # NVML's counter moves a few dozen times a second
PHASE = 0.0  # HR coordinate of LR pixel 0; the time does not depend on it


@dataclass(frozen=True)
class Timing:
    """How models are timed.

    Attributes
    ----------
    sizes : sequence of str or of (int, int), or "auto"
        Names of :data:`SIZES`, or height and width of the LR frame in pixels.
    grid : bool
        Every precision, mode, boundary, batch and size, instead of the headline's.
    repeats : int
        Most samples of each case.
    seconds : float
        Most time for the samples of one case; :data:`LEAST_SAMPLES` are taken all the same.
    warmup : int
        Least frames of each case before the first sample.
    threads : int
        CPU threads.
    """

    sizes: Any = "auto"
    grid: bool = False
    repeats: int = 20
    seconds: float = 60
    warmup: int = 3
    threads: int = 2

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Timing":
        """Take what is about timing from the ``runtime`` part of a study's configuration."""
        return cls(**{key: config[key] for key in cls.__dataclass_fields__ if key in config})

    def lr_sizes(self, device: str) -> list[tuple[int, int]]:
        """LR sizes to time, the headline's first."""
        if self.sizes != "auto":
            return [SIZES[size] if isinstance(size, str) else tuple(size) for size in self.sizes]
        if self.grid:
            return [SIZES[name] for name in ("full-hd", "720p", "4k")] if _is_gpu(device) else [SIZES["360p"]]
        return [SIZES["full-hd" if _is_gpu(device) else "360p"]]


@dataclass(frozen=True)
class Case:
    """A model, and the way it is run."""

    model: str
    spec: dict[str, Any] = field(hash=False)
    execution: Execution
    lr_size: tuple[int, int]
    boundary: str = "network"
    batch: int = 1
    clip_length: int | None = (
        None  # a sample is a whole clip of so many frames, or one frame of an endless one
    )


def list_cases(specs: dict[str, dict[str, Any]], timing: Timing, device: str) -> list[Case]:
    """List what is timed: the headline's cases, or the full grid.

    The headline runs every model at the first size, frame by frame, as plain code in the precisions of the device
    and in the fastest way there is; the latter from 8-bit to 8-bit pictures as well.

    Parameters
    ----------
    specs : dict
        Catalogue entries by name.
    timing : Timing
        Sizes, and whether the grid is wanted.
    device : str
        Torch device.
    """
    precisions, on_gpu = available_precisions(device), _is_gpu(device)
    sizes = timing.lr_sizes(device)
    cases = []
    for model, spec in specs.items():
        ways = _ways(build_model(spec), precisions, on_gpu=on_gpu, is_grid=timing.grid)
        of_model = [Case(model, spec, way, size) for size in sizes for way in ways]
        colored = ways if timing.grid else ways[-1:]
        of_model += [Case(model, spec, way, size, "rgb8") for size in sizes for way in colored]
        batches = GRID_BATCHES if timing.grid else GRID_BATCHES[:1]
        cases += [replace(case, batch=batch) for batch in batches for case in of_model]
    return cases


def _ways(model: VideoModel, precisions: list[str], *, on_gpu: bool, is_grid: bool) -> list[Execution]:
    """List how a model is run, the fastest way last."""
    if not any(isinstance(module, WEIGHTED) for module in model.modules()):
        return [
            Execution("fp32", "eager")
        ]  # interpolation: there is nothing to multiply in another precision
    has_fused = model.fused(torch.float32) is not None
    best = "graph" if on_gpu else "fused" if has_fused else "eager"
    low = [precision for precision in ("bf16", "fp16") if precision in precisions]
    fastest = Execution(low[0] if low else "fp32", best)
    if is_grid:
        modes = [
            "eager-nchw",
            "eager",
            "compile",
            *(["fused"] if has_fused else []),
            *(["graph"] if on_gpu else []),
        ]
        ways = [Execution(precision, mode) for precision in precisions for mode in modes]
    else:
        ways = [Execution("fp32", "eager-nchw"), Execution("fp32", "eager")]
        ways += [Execution("tf32", "eager")] if "tf32" in precisions else []
        ways += [Execution("fp32", "fused")] if has_fused and not on_gpu else []
        ways += [Execution(low[0], "eager")] if low else []
        ways += [Execution(precision, best) for precision in low]
    ways = list(dict.fromkeys(ways))
    return [*(way for way in ways if way != fastest), fastest]


# ---- one model that is timed -------------------------------------------------------------------


def sliding_frames(lr_size: tuple[int, int], count: int) -> Tensor:
    """Make LR frames to time on: a window sliding over a photograph, never zeros.

    Parameters
    ----------
    lr_size : tuple of int
        Height and width in pixels.
    count : int
        Number of frames.

    Returns
    -------
    Tensor, shape (count, 3, h, w), float32 in [0, 255]
    """
    height, width = lr_size
    photograph = read_photograph("astronaut.png")
    missing = [max(0, height - photograph.shape[0]), max(0, width + count - photograph.shape[1]), 0]
    photograph = np.pad(photograph, [(0, n) for n in missing], mode="wrap")
    frames = np.stack([photograph[:height, t : t + width] for t in range(count)])
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float()


def build_for_timing(spec: dict[str, Any]) -> VideoModel:
    """Build a model with weights whose recurrence neither dies nor explodes; the time does not depend on them."""
    torch.manual_seed(0)
    model = build_model(spec).eval()
    for module in model.modules():
        if isinstance(module, WEIGHTED):
            nn.init.orthogonal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


class TimedCase:
    """A case on its device, doing one frame of an endless clip at a time.

    Parameters
    ----------
    case : Case
        What is timed.
    device : str
        Torch device.
    """

    def __init__(self, case: Case, device: str) -> None:
        self.case, self.device = case, device
        model = build_for_timing(case.spec)
        self.weight_bytes = count_parameters(model) * torch.finfo(case.execution.dtype).bits // 8
        pictures = None
        if case.boundary == "rgb8":
            pictures = PictureMaker(scale=model.scale, phase=PHASE, device=device)
        self.restorer = FrameRestorer(model, device=device, execution=case.execution, pictures=pictures)
        frames = sliding_frames(case.lr_size, FRAMES + case.batch - 1)
        clips = torch.stack([frames[n : n + FRAMES] for n in range(case.batch)])
        clips = clips.to(device, torch.uint8 if case.boundary == "rgb8" else torch.float32)
        self.windows = [window.contiguous() for window in model.windows(model.pad_clip(clips))]
        self.position, self.outputs = 0, ()
        self.restorer.start()

    def step(self) -> None:
        """Restore the next frame into the output, carrying the state on; of a clip, all of them from its start."""
        if self.case.clip_length:
            self.restorer.start()
        for _ in range(self.case.clip_length or 1):
            self.outputs = self.restorer.step(self.windows[self.position])
            self.position = (self.position + 1) % len(self.windows)

    def sample(self) -> float:
        """Do one step; returns milliseconds per frame of a clip (CUDA events on a GPU, wall clock on a CPU)."""
        if _is_gpu(self.device):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            self.step()
            end.record()
            end.synchronize()
            return start.elapsed_time(end) / self.case.batch
        start_time = time.perf_counter()
        self.step()
        return (time.perf_counter() - start_time) * 1000 / self.case.batch

    def warm_up(self, least: int, seconds: float) -> tuple[int, bool]:
        """Step until the time is stable; returns the frames it took and whether it is."""
        times, end = [], time.monotonic() + seconds
        while True:
            times.append(self.sample())
            if len(times) >= max(least, 2 * WINDOW):
                late, before = (statistics.median(times[n:][:WINDOW]) for n in (-WINDOW, -2 * WINDOW))
                if abs(late - before) <= STABLE * before:
                    return len(times), True
            if time.monotonic() > end and len(times) >= 2:  # the first one has no state, or records the graph
                return len(times), False

    def fewest_bytes(self) -> float:
        """Count the fewest bytes of one frame of one clip."""
        total = count_bytes(self.windows[0], self.outputs, self.restorer.carry, self.weight_bytes)
        return total / self.case.batch

    def energy_j(self, monitor: DeviceMonitor) -> float | None:
        """Measure the energy (J) of one frame of one clip over :data:`ENERGY_SECONDS`, where the device tells."""
        before, frames, end = monitor.energy_j(), 0, time.monotonic() + ENERGY_SECONDS
        if before is None:
            return None
        while time.monotonic() < end:
            self.sample()
            frames += self.case.batch * (self.case.clip_length or 1)
        return (monitor.energy_j() - before) / frames


def run_frames(
    spec: dict[str, Any],
    execution: list[str],
    lr_size: list[int],
    boundary: str,
    batch: int,
    clip_length: int | None,
    threads: int,
) -> None:
    """Run a few frames of a case on the CPU, in the process whose memory is measured."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    case = Case("", spec, Execution(*execution), tuple(lr_size), boundary, batch, clip_length)
    timed = TimedCase(case, "cpu")
    for _ in range(PROBED_FRAMES):
        timed.step()


# ---- all cases, side by side -------------------------------------------------------------------


@dataclass
class Measured:
    """What was measured of a case.

    Attributes
    ----------
    status : str
        "ok", or why there is no time.
    samples : list of float
        Milliseconds per output frame.
    """

    status: str = "ok"
    samples: list[float] = field(default_factory=list)
    warmup_frames: int = 0
    is_stable: bool = False
    fewest_bytes: float | None = None
    peak_memory_mb: float | None = None
    energy_j: float | None = None
    clocks_mhz: list[float] = field(default_factory=list)
    temperatures_c: list[float] = field(default_factory=list)
    is_throttled: bool = False


def measure_cases(
    cases: list[Case], timing: Timing, device: str, monitor: DeviceMonitor | None = None
) -> dict[Case, Measured]:
    """Time cases side by side: in each round every one does a frame, each round in another order.

    Cases of one frame size and batch are on the device together; one that finds no room there is timed alone
    afterwards. What cannot be run gets a status, and the others go on.

    Parameters
    ----------
    cases : list of Case
        What is timed.
    timing : Timing
        Rounds, warm-up and threads.
    device : str
        Torch device.
    monitor : DeviceMonitor, optional
        Reads clocks, temperature and energy.
    """
    torch.set_num_threads(timing.threads)
    torch.set_flush_denormal(True)
    if _is_gpu(device):
        torch.backends.cudnn.benchmark = True  # of every mode, so that each has the best kernels
    monitor = monitor or DeviceMonitor("cpu")
    found = {case: Measured() for case in cases}
    if not _is_gpu(device):
        _probe_memory(found, timing.threads)
    crowded: list[Case] = []
    for group in _groups(case for case in cases if found[case].status == "ok"):
        crowded += _measure_group(group, found, timing, device, monitor)
    for case in crowded:
        found[case] = Measured(peak_memory_mb=found[case].peak_memory_mb)
        if _measure_group([case], found, timing, device, monitor):
            found[case] = Measured(status="out of memory")
    return found


def _groups(cases: Iterable[Case]) -> Iterator[list[Case]]:
    """Put together what takes turns: cases of one frame size and batch."""
    groups: dict[tuple, list[Case]] = {}
    for case in cases:
        groups.setdefault((case.lr_size, case.batch), []).append(case)
    yield from groups.values()


def _probe_memory(found: dict[Case, Measured], threads: int) -> None:
    """Measure the memory of each case in a process of its own, where one that cannot run does no harm."""
    with MemoryProbe("rlsp.runtime:run_frames") as probe:
        for case, measured in found.items():
            try:
                measured.peak_memory_mb = probe.measure(
                    spec=case.spec, execution=[case.execution.precision, case.execution.mode],
                    lr_size=case.lr_size, boundary=case.boundary, batch=case.batch,
                    clip_length=case.clip_length, threads=threads,
                )  # fmt: skip
            except MemoryError:
                measured.status = "out of memory"
            except RuntimeError as error:
                measured.status = _failure(case, str(error))


def _measure_group(
    group: list[Case], found: dict[Case, Measured], timing: Timing, device: str, monitor: DeviceMonitor
) -> list[Case]:
    """Time the cases of a group in turns; returns those that found no memory beside the others."""
    crowded: list[Case] = []
    ready: dict[Case, TimedCase] = {}
    for case in group:
        with _failing(case, found[case], crowded):
            ready[case] = _set_up(case, found[case], timing, device)
    waiting = list(ready)
    for round_number in range(timing.repeats):
        shift = round_number % max(1, len(waiting))
        for case in waiting[shift:] + waiting[:shift]:
            with _failing(case, found[case], crowded):
                found[case].samples.append(ready[case].sample())
                _note_state(found[case], monitor)
        waiting = [case for case in waiting if _wants_more(found[case], case, timing)]
    for case, timed in ready.items():
        if found[case].status == "ok":
            with _failing(case, found[case], crowded):
                _conclude(timed, found[case], monitor)
    ready.clear()
    if _is_gpu(device):
        torch.cuda.empty_cache()
    return crowded


def _set_up(case: Case, measured: Measured, timing: Timing, device: str) -> TimedCase:
    """Build and warm up a case; on a GPU, note the memory that it takes at its peak."""
    before = 0
    if _is_gpu(device):
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    timed = TimedCase(case, device)
    measured.warmup_frames, measured.is_stable = timed.warm_up(timing.warmup, timing.seconds / 4)
    if _is_gpu(device):
        measured.peak_memory_mb = (torch.cuda.max_memory_allocated(device) - before) / 1e6
    if case.execution.mode == "graph" and not timed.restorer.is_recorded:
        raise RuntimeError("it cannot be recorded")
    return timed


class _failing:
    """Turns what goes wrong with a case into its status; a full GPU is noted, for another try alone."""

    def __init__(self, case: Case, measured: Measured, crowded: list[Case]) -> None:
        self.case, self.measured, self.crowded = case, measured, crowded

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> bool:
        if error is None:
            return False
        if not isinstance(error, Exception):
            return False
        if isinstance(error, torch.OutOfMemoryError):
            self.crowded.append(self.case)
            self.measured.status = "out of memory"
            torch.cuda.empty_cache()
        elif isinstance(error, torch.AcceleratorError):
            return False  # the GPU is lost, for the other cases too
        else:
            self.measured.status = _failure(self.case, f"{type(error).__name__}: {error}")
        self.measured.samples.clear()
        return True


def _failure(case: Case, reason: str) -> str:
    """Say in one line why a case has no time."""
    line = (reason.strip().split("\n") or [""])[0][:200]
    return f"cannot be compiled: {line}" if case.execution.mode == "compile" else f"failed: {line}"


def _note_state(measured: Measured, monitor: DeviceMonitor) -> None:
    """Read the clock and the temperature right after a sample."""
    reading = monitor.read()
    if reading.clock_mhz is not None:
        measured.clocks_mhz.append(reading.clock_mhz)
    if reading.temperature_c is not None:
        measured.temperatures_c.append(reading.temperature_c)
    measured.is_throttled = measured.is_throttled or bool(reading.throttled)


def _wants_more(measured: Measured, case: Case, timing: Timing) -> bool:
    """Whether a case takes part in the next round."""
    spent = sum(measured.samples) * case.batch / 1000
    return measured.status == "ok" and (len(measured.samples) < LEAST_SAMPLES or spent < timing.seconds)


def _conclude(timed: TimedCase, measured: Measured, monitor: DeviceMonitor) -> None:
    """Check the output of a case, count its bytes and measure its energy."""
    if not all(torch.isfinite(output).all() for output in timed.outputs if output.is_floating_point()):
        measured.status = f"output is not finite after {len(measured.samples)} samples"
        measured.samples.clear()
        return
    measured.fewest_bytes = timed.fewest_bytes()
    measured.energy_j = timed.energy_j(monitor)


# ---- tables ------------------------------------------------------------------------------------


def time_models(
    specs: dict[str, dict[str, Any]],
    table_path: Path,
    cases_path: Path,
    *,
    study: str,
    timing: Timing,
    device: str,
) -> None:
    """Time all models of a study alone on this machine and write one row for each raw sample, and for each case.

    Parameters
    ----------
    specs : dict
        Catalogue entries by name.
    table_path : Path
        CSV file to write; columns in :data:`COLUMNS`, times in milliseconds per output frame.
    cases_path : Path
        CSV file to write; columns in :data:`CASE_COLUMNS`: how each case went, and what the device could do.
    study : str
        Name of the study.
    timing : Timing
        What is timed, and how.
    device : str
        "auto", "cpu" or "cuda".
    """
    with claim_device(device) as where, DeviceMonitor(where) as monitor:
        torch.set_num_threads(timing.threads)
        busy = warn_if_busy(where)
        cases = list_cases(specs, timing, where)
        ceilings = measure_ceilings({case.execution.precision for case in cases}, where)
        found = measure_cases(cases, timing, where, monitor)
        described = describe_device(where)
    samples, outcomes = [], []
    for case, measured in found.items():
        row = {
            "study": study, "model": case.model, "spec_hash": spec_hash(case.spec), "device": described,
            "threads": timing.threads, "precision": case.execution.precision, "mode": case.execution.mode,
            "lr_height": case.lr_size[0], "lr_width": case.lr_size[1], "boundary": case.boundary,
            "batch": case.batch, "peak_memory_mb": measured.peak_memory_mb,
        }  # fmt: skip
        gmac = _count_gmac(case)
        outcomes.append(row | _outcome(case, measured, ceilings, gmac, busy))
        facts = {"parameters": count_parameters(build_model(case.spec)), "gmac_per_frame": gmac}
        samples += [row | facts | {"repeat": n, "runtime_ms": ms} for n, ms in enumerate(measured.samples)]
    write_rows(table_path, COLUMNS, samples)
    write_rows(cases_path, CASE_COLUMNS, outcomes)


def warn_if_busy(device: str) -> str:
    """Warn when the device is in use; returns the sentence, or nothing."""
    reason = busy_reason(device) or ""
    if reason:
        print(f"warning: {reason}; the times will be too long", file=sys.stderr, flush=True)
    return reason


def measure_ceilings(precisions: Iterable[str], device: str) -> dict[str, float]:
    """Measure what the device can do: FLOP/s by precision, and bytes/s as "bandwidth"."""
    rates = {precision: measure_matrix_rate(device, precision) for precision in sorted(precisions)}
    return rates | {"bandwidth": measure_bandwidth(device)}


def _count_gmac(case: Case) -> float | None:
    """Count the operations of a frame; None for a model that runs on numbers only."""
    try:
        return count_macs(case.spec, case.lr_size) / 1e9
    except Exception:
        return None


def _outcome(
    case: Case, measured: Measured, ceilings: dict[str, float], gmac: float | None, busy: str
) -> dict[str, Any]:
    """How a case went, beside the least time that its operations and its bytes take on this device."""
    rate, bandwidth = ceilings[case.execution.precision], ceilings["bandwidth"]
    noted = [busy, "the clocks were held down (power or heat)" if measured.is_throttled else ""]
    return {
        "status": measured.status,
        "warmup_frames": measured.warmup_frames,
        "is_stable": measured.is_stable,
        "matrix_tflops": rate / 1e12,
        "bandwidth_gbs": bandwidth / 1e9,
        "floor_compute_ms": None if gmac is None else 2 * gmac * 1e9 / rate * 1000,
        "floor_memory_ms": None
        if measured.fewest_bytes is None
        else measured.fewest_bytes / bandwidth * 1000,
        "energy_j": measured.energy_j,
        "clock_mhz": statistics.median(measured.clocks_mhz) if measured.clocks_mhz else None,
        "temperature_c": max(measured.temperatures_c, default=None),
        "busy": "; ".join(filter(None, noted)),
    }


def write_rows(path: Path, columns: list[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as CSV; the file appears under its name only when complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, path)


def _is_gpu(device: str) -> bool:
    return device.startswith("cuda")
