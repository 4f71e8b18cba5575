"""One case on its device: a model that is run frame by frame, and the clock."""

import gc
import math
import statistics
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rlsp.clock import GpuTimer
from rlsp.data.images import read_photograph
from rlsp.devices import is_gpu
from rlsp.inference.execution import Execution
from rlsp.inference.restorer import Restorer
from rlsp.models import build_model
from rlsp.models.base import VideoModel
from rlsp.models.complexity import count_bytes, count_parameters
from rlsp.models.initialisation import WEIGHTED
from rlsp.timing.cases import Case
from rlsp.timing.hardware import DeviceMonitor, Reading

FRAMES = 8  # of the clip that goes round and round
STABLE = 0.03  # relative difference of two medians of WINDOW frames
WINDOW = 5
PROBED_FRAMES = 2  # frames whose memory is measured: the first of a clip and one with a state
QUEUED_FRAMES = 16  # at most, that a GPU is given without a wait while its state is read
QUEUED_MS = 20  # of work that is enough
COUNTER_SECONDS = 0.2  # NVML's counter of energy moves more often than this
SLOW_STEPS_SECONDS = 2.0  # of load at least, if a step of ours is longer than one of the counter
PHASE = 0.0  # HR coordinate of LR pixel 0; the time does not depend on it


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
        self.phase = PHASE if case.boundary == "rgb8" else None
        self.restorer = self._build()
        model = self.restorer.model
        frames = sliding_frames(case.lr_size, FRAMES + case.batch - 1)
        clips = torch.stack([frames[n : n + FRAMES] for n in range(case.batch)])
        clips = clips.to(device, torch.uint8 if case.boundary == "rgb8" else torch.float32)
        self.windows = [window.contiguous() for window in model.windows(model.pad_clip(clips))]
        self.position, self.outputs = 0, ()
        self.step_ms = 1.0

    def _build(self) -> Restorer:
        """Build the model and what runs it, ready for a clip."""
        restorer = Restorer(
            build_for_timing(self.case.spec), device=self.device, execution=self.case.execution
        )
        restorer.start(self.phase)
        return restorer

    def step(self) -> None:
        """Restore the next frame into the output, carrying the state on; of a clip, all of them from its start."""
        if self.case.clip_length:
            self.restorer.start(self.phase)
        for _ in range(self.case.clip_length or 1):
            self.outputs = self.restorer.step(self.windows[self.position])
            self.position = (self.position + 1) % len(self.windows)

    def sample(self) -> float:
        """Do one step; returns milliseconds for each clip of the batch: of a frame, or of a whole clip.

        On a GPU it is the time between two CUDA events with a step queued before the first one, as in a stream of
        frames: the device never waits for the program that starts the work, unless that is what takes longest.
        """
        if is_gpu(self.device):
            self.step()
            timer = GpuTimer(self.device)
            self.step()
            return timer.stop().seconds() * 1000 / self.case.batch
        return self.latency()

    def latency(self) -> float:
        """Do one step on an idle device and wait for it; returns milliseconds by the wall clock, as :meth:`sample`."""
        start = time.perf_counter()
        self.step()
        if is_gpu(self.device):
            torch.cuda.synchronize(self.device)
        return (time.perf_counter() - start) * 1000 / self.case.batch

    def warm_up(self, least: int, seconds: float) -> tuple[int, bool]:
        """Step until the time is stable; returns the frames it took and whether it is."""
        times, end = [], time.monotonic() + seconds
        while True:
            times.append(self.sample())
            self.step_ms = times[-1] * self.case.batch
            if len(times) >= max(least, 2 * WINDOW):
                late, before = (statistics.median(times[n:][:WINDOW]) for n in (-WINDOW, -2 * WINDOW))
                if abs(late - before) <= STABLE * before:
                    return len(times), True
            if time.monotonic() > end and len(times) >= 2:  # the first one has no state, or records the graph
                return len(times), False

    def fewest_bytes(self) -> float:
        """Count the fewest bytes of one frame of one clip."""
        model, bits = self.restorer.model, torch.finfo(self.case.execution.dtype).bits
        weights = count_parameters(build_model(self.case.spec)) * bits // 8
        carried = [] if self.restorer.carry is None else model.carried(self.restorer.carry)
        return count_bytes(self.windows[0], self.outputs, carried, weights) / self.case.batch

    def is_finite(self) -> bool:
        """Whether the last output is, and what is carried on."""
        carried = [] if self.restorer.carry is None else self.restorer.model.carried(self.restorer.carry)
        tensors = [*self.outputs, *carried]
        return all(bool(torch.isfinite(tensor).all()) for tensor in tensors if tensor.is_floating_point())

    def gpu_memory_mb(self) -> float:
        """Measure the peak of the allocator over a few frames, from the weights on; kernels are chosen already."""
        self.restorer, self.outputs = None, ()
        gc.collect()
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        self.restorer = self._build()
        for _ in range(PROBED_FRAMES + 1):  # the second one records the graph
            self.step()
        return (torch.cuda.max_memory_allocated(self.device) - before) / 1e6

    def under_load(self, monitor: DeviceMonitor, seconds: float) -> tuple[float | None, list[Reading]]:
        """Run without a pause; returns the energy (J) of a frame of a clip, if the device tells, and its states.

        The energy is that of the whole board, idle power and all, from one step of NVML's counter to another. What
        takes longer than such a step cannot end at one: it is watched for so long that a step is a small part.
        """
        if monitor.energy_j() is None and monitor.read().clock_mhz is None:
            return None, []
        if self.step_ms / 1000 > COUNTER_SECONDS:
            seconds = max(seconds, SLOW_STEPS_SECONDS)
        readings: list[Reading] = []
        before, _ = self._run_until(monitor, 0, readings)  # from one step of the counter
        after, frames = self._run_until(monitor, seconds, readings)  # to another
        return (after - before) / frames if None not in (before, after) else None, readings

    def _run_until(
        self, monitor: DeviceMonitor, seconds: float, readings: list[Reading]
    ) -> tuple[float | None, int]:
        """Run for a while and on to a step of the energy counter; returns it (J), and the frames that were done.

        Steps longer than `COUNTER_SECONDS` end where they end.
        """
        queued = 1
        if is_gpu(self.device):  # enough that it never waits for us, few enough to stop in time
            queued = max(1, min(QUEUED_FRAMES, math.ceil(QUEUED_MS / self.step_ms)))
        frames, start, last = 0, time.monotonic(), monitor.energy_j()
        while True:
            for _ in range(queued):
                self.step()
            frames += queued * self.case.batch * (self.case.clip_length or 1)
            readings.append(monitor.read())
            if is_gpu(self.device):
                torch.cuda.synchronize(self.device)
            energy, passed = monitor.energy_j(), time.monotonic() - start
            is_waiting = energy is not None and energy == last and passed < seconds + COUNTER_SECONDS
            if passed >= seconds and not is_waiting:
                return energy, frames
            last = energy


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
