"""What the device could do, and the state it is in while models are timed."""

import os
import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

import psutil
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from rlsp.clock import median_seconds
from rlsp.devices import DTYPES, available_precisions, matrix_precision
from rlsp.errors import ConfigError

# Dense products large enough to fill the device and short enough to repeat, by kind of device.
MATRIX_SIDES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
CONVOLUTION_CHANNELS = {"cpu": (512,), "cuda": (1024, 2048)}
CONVOLUTION_SIDE = {"cpu": 64, "cuda": 128}
COPY_BYTES = {"cpu": 2**28, "cuda": 2**30}  # larger than the caches


# Clock limits that are no throttling: nvmlClocksEventReasonGpuIdle and ...ApplicationsClocksSetting of nvml.h.
HARMLESS_CLOCK_REASONS = 0x1 | 0x2

PROC_STAT = Path("/proc/stat")
BUSY_CORES = 0.15
BUSY_UTILISATION = 0.1
# NVML averages the utilisation over up to one second (nvmlUtilization_t), which must not be our own work.
UTILISATION_WINDOW_SECONDS = 1.0


def measure_matrix_rate(device: str, precision: str) -> float:
    """Measure how fast a device multiplies matrices through PyTorch, the ceiling of a model's speed on it.

    The best of a few dense products of random numbers counts, each by its median time: matrix products and
    1x1 convolutions in channels-last, which are of different libraries (on a CPU of MKL and oneDNN). A CPU
    uses the threads that PyTorch is set to.

    Parameters
    ----------
    device : str
        "cpu" or "cuda:<index>".
    precision : {"fp32", "tf32", "bf16", "fp16"}
        Precision of the factors. The settings for TF32 are as before afterwards.

    Returns
    -------
    float
        Floating-point operations per second, a multiplication and an addition counted as two.

    Raises
    ------
    ConfigError
        The device has no such precision, see :func:`available_precisions`.
    """
    available = available_precisions(device)
    if precision not in available:
        raise ConfigError(f"precision: expected one of {', '.join(available)} on {device}, got {precision}")
    with matrix_precision(precision), _best_kernels(), torch.inference_mode():
        rate = max(
            operations / median_seconds(work, device)
            for operations, work in _dense_products(device, DTYPES[precision])
        )
    _release_memory(device)
    return rate


def measure_bandwidth(device: str) -> float:
    """Measure how fast a device copies its own memory, reading and writing counted.

    What a CPU reads of the target before it writes there is not counted, so that its memory may be up to 1.5
    times as fast. A CPU uses the threads that PyTorch is set to.

    Parameters
    ----------
    device : str
        "cpu" or "cuda:<index>".

    Returns
    -------
    float
        Bytes per second.
    """
    size = COPY_BYTES[torch.device(device).type]
    with torch.inference_mode():
        source = torch.empty(size // 8, dtype=torch.int64, device=device)
        source.random_(generator=torch.Generator(device).manual_seed(0))
        seconds = median_seconds(partial(torch.empty_like(source).copy_, source), device)
    del source
    _release_memory(device)
    return 2 * size / seconds


@contextmanager
def _best_kernels() -> Iterator[None]:
    """Let cuDNN try its algorithms."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _dense_products(device: str, dtype: torch.dtype) -> Iterator[tuple[float, Callable[[], Tensor]]]:
    """Make products of random numbers, each with its number of operations."""
    kind = torch.device(device).type
    generator = torch.Generator(device).manual_seed(0)  # the caller's random numbers stay what they are
    random = partial(torch.randn, dtype=dtype, device=device, generator=generator)
    for side in MATRIX_SIDES[kind]:
        left, right = random(side, side), random(side, side)
        yield 2.0 * side**3, partial(torch.matmul, left, right, out=torch.empty_like(left))
    height = width = CONVOLUTION_SIDE[kind]
    for channels in CONVOLUTION_CHANNELS[kind]:
        picture = random(1, channels, height, width).contiguous(memory_format=torch.channels_last)
        weight = random(channels, channels, 1, 1).contiguous(memory_format=torch.channels_last)
        yield 2.0 * channels**2 * height * width, partial(conv2d, picture, weight)


def _release_memory(device: str) -> None:
    """Give a GPU's memory back: what is timed next may run in another process."""
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()


@dataclass(frozen=True)
class Reading:
    """State of a GPU at one moment; None is what it, or a CPU, does not tell.

    Attributes
    ----------
    clock_mhz : int or None
        Clock of the multiprocessors, in MHz.
    memory_clock_mhz : int or None
        Clock of the memory, in MHz.
    temperature_c : int or None
        Temperature of the chip, in degrees Celsius.
    power_w : float or None
        Power of the board, in watts; some GPUs tell its mean over a second.
    throttled : bool or None
        Whether the clock is held down by power, heat or the like; idling and clocks set by the user do not
        count.
    """

    clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    throttled: bool | None = None


class DeviceMonitor:
    """Reads the state of an NVIDIA GPU by NVML, and changes nothing.

    On a CPU, or where NVML cannot be used, every reading is None. Clocks and temperature of a part of a GPU
    (MIG) are those of the whole; its power and energy are None where NVML knows them of the whole only.

    Parameters
    ----------
    device : str
        "cpu" or "cuda:<index>", as PyTorch counts.

    References
    ----------
    .. [1] NVML API Reference Guide, https://docs.nvidia.com/deploy/nvml-api/
    """

    def __init__(self, device: str) -> None:
        self._nvml: ModuleType | None = None
        self._handle: Any = None  # the GPU, or the part of it, that PyTorch uses
        self._board: Any = None  # the whole GPU
        where = torch.device(device)
        if where.type != "cuda" or not torch.cuda.is_available():
            return
        self._nvml = _start_nvml()
        if self._nvml is None:
            return
        index = torch.cuda.current_device() if where.index is None else where.index
        handles = (self._ask(["nvmlDeviceGetHandleByUUID"], uuid) for uuid in _nvml_uuids(index))
        self._handle = next((handle for handle in handles if handle is not None), None)
        if self._handle is None:
            self.close()
            return
        self._board = self._ask(["nvmlDeviceGetDeviceHandleFromMigDeviceHandle"], self._handle)
        if self._board is None:  # what is no part is refused
            self._board = self._handle

    def read(self) -> Reading:
        """Read clocks, temperature, power and throttling; to be asked while the GPU works, not after."""
        if self._nvml is None:
            return Reading()
        nvml, board = self._nvml, self._board
        # The second name is for another driver or another version of the package.
        temperature = ["nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV"]
        reasons = self._ask(
            ["nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"], board
        )
        return Reading(
            clock_mhz=self._ask(["nvmlDeviceGetClockInfo"], board, nvml.NVML_CLOCK_SM),
            memory_clock_mhz=self._ask(["nvmlDeviceGetClockInfo"], board, nvml.NVML_CLOCK_MEM),
            temperature_c=self._ask(temperature, board, nvml.NVML_TEMPERATURE_GPU),
            power_w=_divided(self._ask(["nvmlDeviceGetPowerUsage"], self._handle), 1000),  # NVML: mW
            throttled=None if reasons is None else bool(reasons & ~HARMLESS_CLOCK_REASONS),
        )

    def energy_j(self) -> float | None:
        """Read the energy that the GPU has used since its driver was loaded, in joules.

        The counter moves in steps of some tens of milliseconds: take differences between two steps, or over seconds.
        """
        return _divided(self._ask(["nvmlDeviceGetTotalEnergyConsumption"], self._handle), 1000)  # NVML: mJ

    def utilisation(self) -> float | None:
        """Read the share of the last second, or of a part of it, in which the GPU worked: 0 to 1."""
        rates = self._ask(["nvmlDeviceGetUtilizationRates"], self._handle)
        return None if rates is None else rates.gpu / 100

    def process_ids(self) -> list[int] | None:
        """List the processes that hold the GPU for computing, this one among them."""
        processes = self._ask(["nvmlDeviceGetComputeRunningProcesses"], self._handle)
        return None if processes is None else [process.pid for process in processes]

    def close(self) -> None:
        """Let go of NVML; all readings are None from now on."""
        self._ask(["nvmlShutdown"])
        self._nvml = None

    def __enter__(self) -> Self:
        """Give the monitor to a ``with`` block, which closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the monitor."""
        self.close()

    def _ask(self, names: list[str], *arguments: Any) -> Any:
        """Call the first of these NVML functions that this driver knows; None when there is no answer."""
        if self._nvml is None:
            return None
        for name in names:
            try:
                return getattr(self._nvml, name)(*arguments)
            except (AttributeError, self._nvml.NVMLError):
                continue
        return None


def _start_nvml() -> ModuleType | None:
    # Without this package, or on a machine without NVIDIA's library, models can still be timed.
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError, OSError):
        return None
    return pynvml


def _nvml_uuids(index: int) -> list[str]:
    """Names that NVML may have for a GPU of PyTorch, whose numbers CUDA_VISIBLE_DEVICES changes."""
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    if index < len(visible) and visible[index].startswith("MIG-"):
        return [visible[index]]
    uuid = torch.cuda.get_device_properties(index).uuid
    return [f"GPU-{uuid}", f"MIG-{uuid}"]


def _divided(value: float | None, divisor: float) -> float | None:
    return None if value is None else value / divisor


def busy_reason(device: str, *, seconds: float = 1.0) -> str | None:
    """Tell whether another process uses the device, which would spoil what is timed on it.

    This process should do nothing meanwhile. Of a CPU only the cores that this process may run on count.

    Parameters
    ----------
    device : str
        "cpu" or "cuda:<index>".
    seconds : float
        How long to watch, in seconds. A GPU takes one more, until NVML has forgotten our own work.

    Returns
    -------
    str or None
        Who uses how much; None when nobody does, or when the machine does not tell.
    """
    if torch.device(device).type == "cuda":
        return _gpu_busy_reason(device, seconds)
    return _cpu_busy_reason(seconds)


def _gpu_busy_reason(device: str, seconds: float) -> str | None:
    torch.cuda.synchronize(device)  # holds the GPU from here on, so that this process is among those listed
    with DeviceMonitor(device) as monitor:
        others = _other_processes(monitor.process_ids() or [])
        if others:
            return f"other processes hold {device}: {', '.join(map(str, others))}"
        # Processes of other containers may be hidden; their work is not.
        if monitor.utilisation() is None:
            return None
        time.sleep(UTILISATION_WINDOW_SECONDS)
        samples = [monitor.utilisation()]
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
            samples.append(monitor.utilisation())
        shares = [share for share in samples if share is not None]
    share = statistics.mean(shares) if shares else 0.0
    if share <= BUSY_UTILISATION:
        return None
    return f"{device} is {share:.0%} in use while this process does nothing"


def _other_processes(pids: list[int]) -> list[int]:
    """Leave this process out of those that hold a GPU.

    In a container some drivers tell the numbers that processes have outside of it: then this process is one of
    those that do not exist in here.
    """
    others = sorted(set(pids) - {os.getpid()})
    if os.getpid() in pids:
        return others
    unknown = [pid for pid in others if not psutil.pid_exists(pid)]
    return [pid for pid in others if pid not in unknown[:1]]


def _cpu_busy_reason(seconds: float) -> str | None:
    start, own_start, before = time.monotonic(), time.process_time(), _busy_seconds_of_cores()
    time.sleep(seconds)
    elapsed, own, after = time.monotonic() - start, time.process_time() - own_start, _busy_seconds_of_cores()
    cores = before.keys() & after.keys()
    if not cores:
        return None
    used = (sum(after[core] - before[core] for core in cores) - own) / elapsed
    if used <= BUSY_CORES:
        return None
    return f"other processes use {used:.1f} of {len(cores)} cores"


def _busy_seconds_of_cores() -> dict[int, float]:
    """Seconds that each core this process may run on has worked since the machine started."""
    try:
        lines = PROC_STAT.read_text().splitlines()
    except OSError:
        return {}
    ours, ticks_per_second = os.sched_getaffinity(0), os.sysconf("SC_CLK_TCK")
    seconds = {}
    for line in lines:
        found = re.match(r"cpu(\d+) (.+)", line)
        if found and int(found[1]) in ours:
            # proc_stat(5); guests are in `user` and `nice` already, and waiting for a disk is idling
            user, nice, system, _idle, _iowait, irq, softirq = map(int, found[2].split()[:7])
            seconds[int(found[1])] = (user + nice + system + irq + softirq) / ticks_per_second
    return seconds
