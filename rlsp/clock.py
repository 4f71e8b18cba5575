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
        stream = torch.cuda.current_stream(where)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record(stream)
        for _ in range(calls):
            work()
        end.record(stream)
        end.synchronize()
        return start.elapsed_time(end) / 1000 / calls
    start_time = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start_time) / calls
