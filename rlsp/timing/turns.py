"""All cases in turns, and what is measured of each; one that fails spoils nothing."""

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field

import torch

from rlsp.config.specs.study import Runtime
from rlsp.devices import is_gpu, is_out_of_memory
from rlsp.timing.cases import Case
from rlsp.timing.hardware import DeviceMonitor, Reading
from rlsp.timing.memory import MemoryProbe
from rlsp.timing.timed import WINDOW, TimedCase

OK = "ok"
CUT_OFF = "cut off: not measured to the end"
FULL = "out of memory"
LEAST_SAMPLES = 3
REHEARSED = (16, 16)  # LR pixels of frames that load libraries before memory is measured
LOAD_SECONDS = 0.4  # of energy, clock and temperature, at least
LOAD_SECONDS_OF_GRID = 0.1
FLUSH_SECONDS = 10  # between two times that what is measured so far is handed out
MEMORY_SHARE = 0.9  # of a GPU for PyTorch; libraries, kernels and graphs need some beside it


@dataclass
class Measured:
    """What was measured of a case.

    Attributes
    ----------
    status : str
        "ok" as long as nothing went wrong, or why there is no time.
    is_done : bool
        Whether all that was wanted of it is measured.
    samples : list of float
        Milliseconds per output frame.
    """

    status: str = OK
    is_done: bool = False
    samples: list[float] = field(default_factory=list)
    warmup_frames: int = 0
    is_stable: bool = False
    fewest_bytes: float | None = None
    latency_ms: float | None = None
    peak_memory_mb: float | None = None
    energy_j: float | None = None
    readings: list[Reading] = field(default_factory=list)


def measure_cases(
    cases: list[Case],
    timing: Runtime,
    device: str,
    monitor: DeviceMonitor | None = None,
    *,
    probe: MemoryProbe | None = None,
    flush: Callable[[dict[Case, Measured]], None] = lambda found: None,
) -> dict[Case, Measured]:
    """Time cases side by side: in each round every one does a frame, each round in another order.

    Cases of one frame size and batch are on the device together; one that finds no room there is timed alone
    afterwards. What cannot be run gets a status, and the others go on.

    Parameters
    ----------
    cases : list of Case
        What is timed.
    timing : Runtime
        Rounds, warm-up and threads.
    device : str
        Torch device.
    monitor : DeviceMonitor, optional
        Reads clocks, temperature and energy.
    probe : MemoryProbe, optional
        From :func:`memory_probe`, which several calls may share; measures memory on a CPU.
    flush : callable, optional
        Takes what is measured so far, now and then: a run that is killed has lost little.
    """
    torch.set_num_threads(timing.threads)
    torch.set_flush_denormal(True)
    if is_gpu(device):
        torch.backends.cudnn.benchmark = True  # of every mode, so that each has the best kernels
        torch.backends.cudnn.benchmark_limit = 0  # of all there are
        torch.cuda.set_per_process_memory_fraction(MEMORY_SHARE, device)
    monitor = monitor or DeviceMonitor("cpu")
    found = {case: Measured() for case in cases}
    flush(found)
    if not is_gpu(device):
        with nullcontext(probe) if probe else memory_probe(device) as own:
            _probe_memory(found, timing.threads, own)
    flush(found)
    crowded: list[Case] = []
    for group in _groups(case for case in cases if found[case].status == OK):
        crowded += _measure_group(group, found, timing, device, monitor, flush)
    for case in crowded:
        found[case] = Measured(peak_memory_mb=found[case].peak_memory_mb)
        if _measure_group([case], found, timing, device, monitor, flush):
            found[case] = Measured(status=FULL)
    return found


def _groups(cases: Iterable[Case]) -> Iterator[list[Case]]:
    """Put together what takes turns: cases of one frame size and batch."""
    groups: dict[tuple, list[Case]] = {}
    for case in cases:
        groups.setdefault((case.lr_size, case.batch), []).append(case)
    yield from groups.values()


def memory_probe(device: str) -> AbstractContextManager[MemoryProbe | None]:
    """Start the process that measures memory on a CPU; on a GPU its allocator tells, and there is none."""
    return nullcontext() if is_gpu(device) else MemoryProbe("rlsp.timing.timed:run_frames")


def _probe_memory(found: dict[Case, Measured], threads: int, probe: MemoryProbe) -> None:
    """Measure the memory of each case in a process of its own, where one that cannot run does no harm."""
    for case, measured in found.items():
        try:
            arguments = {
                "spec": case.spec.dump(), "execution": [case.execution.precision, case.execution.mode],
                "lr_size": case.lr_size, "boundary": case.boundary, "batch": case.batch,
                "clip_length": case.clip_length, "threads": threads,
            }  # fmt: skip
            small = arguments | {"lr_size": REHEARSED, "batch": 1, "clip_length": None}
            measured.peak_memory_mb = probe.measure(rehearsal=small, **arguments)
        except MemoryError:
            measured.status = FULL
        except RuntimeError as error:
            measured.status = _failure(case, str(error), measured)


def _measure_group(
    group: list[Case],
    found: dict[Case, Measured],
    timing: Runtime,
    device: str,
    monitor: DeviceMonitor,
    flush: Callable[[dict[Case, Measured]], None],
) -> list[Case]:
    """Time the cases of a group in turns; returns those that found no memory beside the others."""
    flushed = time.monotonic()
    crowded: list[Case] = []
    ready: dict[Case, TimedCase] = {}
    for case in group:
        with _failing(case, found[case], crowded):
            ready[case] = _set_up(case, timing, found[case], device)
        if time.monotonic() > flushed + FLUSH_SECONDS:
            flush(found)
            flushed = time.monotonic()
    waiting = list(ready)
    for round_number in range(timing.repeats):
        random.Random(round_number).shuffle(waiting)  # nobody always follows the same one
        for case in waiting:
            with _failing(case, found[case], crowded):
                found[case].samples.append(ready[case].sample())
            if found[case].status != OK:
                del ready[case]
        waiting = [case for case in ready if _wants_more(found[case], case, timing)]
        if time.monotonic() > flushed + FLUSH_SECONDS:
            flush(found)
            flushed = time.monotonic()
    for case in list(ready):
        with _failing(case, found[case], crowded):
            _conclude(ready.pop(case), found[case], timing, monitor)
    if any(case.execution.mode == "compile" for case in group):
        torch._dynamo.reset()
    _free(device)
    flush(found)
    return crowded


def _free(device: str) -> None:
    """Give the memory of what has gone back to the device."""
    gc.collect()
    if is_gpu(device):
        with suppress(RuntimeError):  # of a GPU that is lost
            torch.cuda.empty_cache()


def _set_up(case: Case, timing: Runtime, measured: Measured, device: str) -> TimedCase:
    """Build and warm up a case."""
    timed = TimedCase(case, device)
    measured.warmup_frames, measured.is_stable = timed.warm_up(timing.warmup, timing.seconds / 4)
    if is_gpu(device):
        measured.peak_memory_mb = timed.gpu_memory_mb()
    if case.execution.mode == "graph" and not timed.restorer.is_recorded:
        raise RuntimeError("it cannot be recorded as a CUDA graph")
    return timed


@contextmanager
def _failing(case: Case, measured: Measured, crowded: list[Case]) -> Iterator[None]:
    """Turn what goes wrong with a case into its status; a full device is noted, for another try alone."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            crowded.append(case)
            measured.status = FULL
        else:
            measured.status = _failure(case, f"{type(error).__name__}: {error}", measured)
        measured.samples.clear()


def _failure(case: Case, reason: str, measured: Measured) -> str:
    """Say in one line why a case has no time."""
    line = (reason.strip().split("\n") or [""])[0][:200]
    is_compiling = case.execution.mode == "compile" and not measured.warmup_frames
    return f"cannot be compiled: {line}" if is_compiling else f"failed: {line}"


def _wants_more(measured: Measured, case: Case, timing: Runtime) -> bool:
    """Whether a case takes part in the next round."""
    spent = sum(measured.samples) * case.batch / 1000
    return measured.status == OK and (len(measured.samples) < LEAST_SAMPLES or spent < timing.seconds)


def _conclude(timed: TimedCase, measured: Measured, timing: Runtime, monitor: DeviceMonitor) -> None:
    """Check the output of a case, count its bytes, and watch the device while it runs."""
    if not timed.is_finite():
        measured.status = f"output is not finite after {len(measured.samples)} samples"
        measured.samples.clear()
        return
    measured.fewest_bytes = timed.fewest_bytes()
    measured.latency_ms = statistics.median(measured.samples)
    if is_gpu(timed.device):
        torch.cuda.synchronize(timed.device)
        measured.latency_ms = statistics.median(timed.latency() for _ in range(2 * WINDOW))
    seconds = LOAD_SECONDS_OF_GRID if timing.grid else LOAD_SECONDS
    measured.energy_j, measured.readings = timed.under_load(monitor, seconds)
    measured.is_done = True
