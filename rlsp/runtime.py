"""Run time, operations and memory of models, all timed side by side in one job."""

import csv
import json
import os
import re
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rlsp.config import spec_hash
from rlsp.devices import claim_device, describe_device
from rlsp.errors import DataError
from rlsp.models import build_model
from rlsp.models.base import VideoModel
from rlsp.models.initialisation import WEIGHTED
from rlsp.scenes import read_photograph

COLUMNS = [
    "study", "model", "spec_hash", "device", "threads", "precision", "mode", "lr_height", "lr_width",
    "boundary", "batch", "repeat", "runtime_ms", "parameters", "gmac_per_frame", "peak_memory_mb",
]  # fmt: skip


@dataclass(frozen=True)
class Timing:
    """How models are timed.

    Attributes
    ----------
    lr_size : tuple of int
        Height and width of the LR frames, in pixels.
    repeats : int
        Timed frames of each model.
    warmup : int
        Frames of each model before the first timed one.
    threads : int
        CPU threads.
    """

    lr_size: tuple[int, int]
    repeats: int
    warmup: int
    threads: int


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
            nn.init.orthogonal_(module.weight, gain=0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


def count_parameters(model: nn.Module) -> int:
    """Count the trainable numbers of a model."""
    return sum(p.numel() for p in model.parameters())


def count_macs(spec: dict[str, Any], lr_size: tuple[int, int]) -> float:
    """Count the multiply-accumulate operations of one output frame, biases and element-wise work left out.

    Parameters
    ----------
    spec : dict
        Catalogue entry of the model.
    lr_size : tuple of int
        Height and width of the LR frames, in pixels.

    Returns
    -------
    float
        Number of multiply-accumulates.
    """
    with torch.device("meta"):
        model = build_model(spec)
        window = torch.empty(1, model.look_behind + 1 + model.look_ahead, 3, *lr_size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.to("meta").step(window, None)
    return counter.get_total_flops() / 2


class Stepper:
    """One model on one device, doing one frame of an endless clip at a time."""

    def __init__(self, spec: dict[str, Any], frames: Tensor, device: str) -> None:
        self.model = build_for_timing(spec).to(device, memory_format=torch.channels_last)
        padded = self.model.pad_clip(frames[None].to(device))
        self.windows = [w.contiguous() for w in self.model.windows(padded)]
        self.carry: Any = None
        self.position = 0
        n, _, _, h, w = self.windows[0].shape
        scale = self.model.scale
        self.buffer = torch.empty(n, self.model.colors, scale * h, scale * w, device=device)

    def step(self) -> None:
        """Restore the next frame into the output buffer, carrying the state on."""
        sr, self.carry = self.model.step(self.windows[self.position], self.carry)
        self.buffer.copy_(sr)
        self.position = (self.position + 1) % len(self.windows)

    def timed_step(self) -> float:
        """Do one step; returns milliseconds (CUDA events on a GPU, wall clock on a CPU)."""
        if self.buffer.device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            self.step()
            end.record()
            end.synchronize()
            return start.elapsed_time(end)
        start_time = time.perf_counter()
        self.step()
        return (time.perf_counter() - start_time) * 1000


def peak_memory_mb(spec: dict[str, Any], lr_size: tuple[int, int], threads: int, device: str) -> float:
    """Measure the memory that a model adds at its peak, over a few frames.

    On a CPU: growth of the resident set of this process, which should be a fresh one; on a GPU: of the
    allocator's peak.

    Returns
    -------
    float
        Megabytes (10^6 bytes).
    """
    torch.set_num_threads(threads)
    frames = sliding_frames(lr_size, 4)
    before = _peak_rss_bytes(reset=True)
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    with torch.inference_mode():
        stepper = Stepper(spec, frames, device)
        for _ in range(4):
            stepper.step()
    peak = torch.cuda.max_memory_allocated(device) if on_gpu else _peak_rss_bytes() - before
    return peak / 1e6


def _peak_rss_bytes(*, reset: bool = False) -> int:
    """Peak of this process's resident set; on Linux since the last reset, elsewhere since its start."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss of a child starts at its parent's peak
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found:
            return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, in kB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _in_fresh_process(spec: dict[str, Any], lr_size: tuple[int, int], threads: int, device: str) -> float:
    """Measure the peak memory in a process of its own, so that one model's peak does not hide another's."""
    code = (
        "import json, sys; from rlsp.runtime import peak_memory_mb; "
        "print(peak_memory_mb(*json.loads(sys.argv[1])))"
    )
    command = [sys.executable, "-c", code, json.dumps([spec, lr_size, threads, device])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"model {spec.get('arch')}: cannot measure its memory: {reason}")
    return float(done.stdout)


def measure_samples(specs: dict[str, dict[str, Any]], timing: Timing, device: str) -> dict[str, list[float]]:
    """Time models side by side: in each round every model does one frame, each round in another order.

    Parameters
    ----------
    specs : dict
        Catalogue entries by name.
    timing : Timing
        Size, rounds and threads.
    device : str
        Torch device.

    Returns
    -------
    dict
        Milliseconds of each round, by model.

    Raises
    ------
    DataError
        A model's output is not finite.
    """
    torch.set_num_threads(timing.threads)
    torch.set_flush_denormal(True)
    frames = sliding_frames(timing.lr_size, 8)
    samples: dict[str, list[float]] = {name: [] for name in specs}
    names = list(specs)
    with torch.inference_mode():
        steppers = {name: Stepper(spec, frames, device) for name, spec in specs.items()}
        for stepper in steppers.values():
            for _ in range(timing.warmup):
                stepper.step()
        for round_number in range(timing.repeats):
            shift = round_number % len(names)
            for name in names[shift:] + names[:shift]:
                samples[name].append(steppers[name].timed_step())
        for name, stepper in steppers.items():
            if not torch.isfinite(stepper.buffer).all():
                raise DataError(f"model {name}: output is not finite after {timing.repeats} frames")
    return samples


def time_models(
    specs: dict[str, dict[str, Any]], table_path: Path, *, study: str, timing: dict[str, Any], device: str
) -> None:
    """Time all models of a study alone on this machine and write one row for each raw sample.

    Parameters
    ----------
    specs : dict
        Catalogue entries by name.
    table_path : Path
        CSV file to write; columns in :data:`COLUMNS`, times in milliseconds per output frame.
    study : str
        Name of the study.
    timing : dict
        ``lr_size``, ``repeats``, ``warmup`` and ``threads``; see :class:`Timing`.
    device : str
        "auto", "cpu" or "cuda".
    """
    settings = Timing(tuple(timing["lr_size"]), timing["repeats"], timing["warmup"], timing["threads"])
    with claim_device(device) as where:
        memory = {
            name: _in_fresh_process(spec, settings.lr_size, settings.threads, where)
            for name, spec in specs.items()
        }
        samples = measure_samples(specs, settings, where)
        described = describe_device(where)
    constant = {
        "study": study, "device": described, "threads": settings.threads, "precision": "fp32",
        "mode": "channels-last", "lr_height": settings.lr_size[0], "lr_width": settings.lr_size[1],
        "boundary": "network", "batch": 1,
    }  # fmt: skip
    rows = []
    for name, spec in specs.items():
        measured = {
            "model": name,
            "spec_hash": spec_hash(spec),
            "parameters": count_parameters(build_model(spec)),
            "gmac_per_frame": count_macs(spec, settings.lr_size) / 1e9,
            "peak_memory_mb": memory[name],
        }
        rows += [
            {**constant, **measured, "repeat": repeat, "runtime_ms": sample}
            for repeat, sample in enumerate(samples[name])
        ]
    _write_rows(table_path, rows)


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, path)
