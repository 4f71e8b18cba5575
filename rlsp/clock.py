"""How long a piece of work takes, on a processor or on a GPU."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

WARMUP_SECONDS = 0.1  # a GPU needs some time to raise its clocks
MEASURED_SECONDS = {"cpu": 0.25, "cuda": 0.1}  # of each product, unless its three repeats take longer
CALLS_OF_A_SAMPLE = {"cpu": 1, "cuda": 4}  # on a GPU the launch of one alone would count


def median_seconds(work: Callable[[], Any], device: str) -> float:
    """Time some work, warm-up left out; returns the median of its samples, in seconds."""
    start = time.perf_counter()
    while True:
        sample_seconds(work, device)
        if time.perf_counter() - start > WARMUP_SECONDS:
            break
    samples: list[float] = []
    start = time.perf_counter()
    measured = MEASURED_SECONDS[torch.device(device).type]
    while len(samples) < 3 or time.perf_counter() - start < measured:
        samples.append(sample_seconds(work, device))
    return statistics.median(samples)


def sample_seconds(work: Callable[[], Any], device: str) -> float:
    """Time one call, on a GPU the mean of several by CUDA events; returns seconds."""
    where = torch.device(device)
    calls = CALLS_OF_A_SAMPLE[where.type]
    if where.type == "cuda":
        timer = GpuTimer(device)
        for _ in range(calls):
            work()
        return timer.stop().seconds() / calls
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start) / calls


class GpuTimer:
    """The time between two moments in a GPU's queue of work, by CUDA events; begins where it is made.

    Parameters
    ----------
    device : str, optional
        "cuda:<index>"; by default the current GPU.
    """

    def __init__(self, device: str | None = None) -> None:
        self._stream = torch.cuda.current_stream(device)
        self._start, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.start()

    def start(self) -> None:
        """Begin here, again if need be; the program does not wait."""
        self._start.record(self._stream)

    def stop(self) -> "GpuTimer":
        """End here; the program does not wait."""
        self._end.record(self._stream)
        return self

    def seconds(self) -> float:
        """Wait for the end; returns the time from the start, in seconds."""
        self._end.synchronize()
        return self._start.elapsed_time(self._end) / 1000
