import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rlsp import clock, devices
from rlsp.devices import native_precision, warn_if_emulated
from rlsp.errors import ConfigError
from rlsp.timing import hardware
from rlsp.timing.hardware import (
    DeviceMonitor,
    Reading,
    available_precisions,
    busy_reason,
    measure_bandwidth,
    measure_matrix_rate,
)

pytestmark = pytest.mark.numerical

ANY_PRECISION = SimpleNamespace(
    **{f"_is_mkldnn_{precision}_supported": lambda: True for precision in ("bf16", "fp16")}
)

CUDA_SETTINGS = [
    (torch.backends.cudnn, "allow_tf32"),
    (torch.backends.cuda.matmul, "allow_tf32"),
    (torch.backends.cudnn, "benchmark"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_operations_are_those_that_pytorch_counts(quick_ceilings, dtype):
    products = list(hardware._dense_products("cpu", dtype))
    assert len(products) == 3
    for operations, work in products:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            product = work()
        assert counter.get_total_flops() == operations
        assert product.dtype == dtype
        assert product.float().std() > 1  # random, not zeros
    assert product.is_contiguous(memory_format=torch.channels_last)


def test_rate_is_operations_over_time_of_the_best_product(quick_ceilings, monkeypatch):
    seconds = iter([0.25, 0.5, 0.125])
    monkeypatch.setattr(hardware, "median_seconds", lambda work, device: next(seconds))
    rates = [2 * 32**3 / 0.25, 2 * 64**3 / 0.5, 2 * 24 * 24 * 16 * 16 / 0.125]
    assert measure_matrix_rate("cpu", "fp32") == max(rates) == rates[2]


def test_bandwidth_counts_reading_and_writing(quick_ceilings, monkeypatch):
    monkeypatch.setattr(hardware, "median_seconds", lambda work, device: 0.5)
    assert measure_bandwidth("cpu") == 2 * 2**20 / 0.5


def test_the_copy_is_one_of_random_bytes(quick_ceilings, monkeypatch):
    def look(work, device):
        target = work()
        assert target.nbytes == 2**20
        assert len(target.unique()) > 0.99 * target.numel()
        return 1

    monkeypatch.setattr(hardware, "median_seconds", look)
    measure_bandwidth("cpu")


def test_time_is_the_median_after_the_warm_up(quick_ceilings, monkeypatch):
    seconds = iter([9.0, 1.0, 3.0, 2.0])
    monkeypatch.setattr(clock, "sample_seconds", lambda work, device: next(seconds))
    assert hardware.median_seconds(lambda: None, "cpu") == 2.0


def test_measuring_leaves_the_random_numbers_alone(quick_ceilings):
    state = torch.get_rng_state()
    measure_matrix_rate("cpu", "fp32")
    measure_bandwidth("cpu")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.fixture(params=[True, False])
def settings_before(request):
    # monkeypatch cannot put these back: PyTorch answers for them by __getattr__
    values = [getattr(library, name) for library, name in CUDA_SETTINGS]
    for library, name in CUDA_SETTINGS:
        setattr(library, name, request.param)
    yield [request.param] * 3
    for (library, name), value in zip(CUDA_SETTINGS, values, strict=True):
        setattr(library, name, value)


@pytest.mark.parametrize(("precision", "allowed"), [("tf32", True), ("fp32", False), ("fp16", False)])
def test_tf32_is_switched_and_put_back(quick_ceilings, monkeypatch, precision, allowed, settings_before):
    seen = []

    def note(work, device):
        seen.append([getattr(library, name) for library, name in CUDA_SETTINGS])
        raise RuntimeError("out of memory")

    monkeypatch.setattr(hardware, "median_seconds", note)
    monkeypatch.setattr(hardware, "available_precisions", lambda device: ["fp32", "tf32", "bf16", "fp16"])
    with pytest.raises(RuntimeError, match="out of memory"):
        measure_matrix_rate("cpu", precision)
    assert seen == [[allowed, allowed, True]]
    assert [getattr(library, name) for library, name in CUDA_SETTINGS] == settings_before


@pytest.mark.parametrize("precision", ["tf32", "int8"])
def test_a_precision_that_the_device_has_not(precision):
    with pytest.raises(ConfigError, match=f"precision: expected one of fp32.* on cpu, got {precision}"):
        measure_matrix_rate("cpu", precision)


@pytest.fixture
def no_limit(monkeypatch):
    """Forget the limit of `make test-isa` on what oneDNN uses."""
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not Path("/proc/cpuinfo").exists(), reason="not Linux on x86"
)
@pytest.mark.skipif(
    "ONEDNN_MAX_CPU_ISA" in os.environ, reason="oneDNN is told to use less than the processor has"
)
def test_precisions_of_this_cpu_are_those_of_its_flags():
    flags = set(Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split())
    expected = ["fp32"]
    expected += ["bf16"] if flags & {"avx512_bf16", "amx_bf16"} else []
    is_told = hasattr(torch.cpu, "get_capabilities")  # of fp16 older versions of PyTorch say nothing
    expected += ["fp16"] if is_told and flags & {"avx512_fp16", "amx_fp16"} else []
    assert available_precisions("cpu") == expected


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [
        ({"avx2": True, "architecture": "x86_64", "l2_cache_size": 2**20}, ["fp32"]),
        ({"avx512_bf16": True}, ["fp32", "bf16"]),
        ({"avx512_bf16": False, "avx512_fp16": False}, ["fp32"]),
        ({"avx512_bf16": True, "avx512_fp16": True}, ["fp32", "bf16", "fp16"]),
        ({"bf16": True, "fp16_arith": True}, ["fp32", "bf16"]),
    ],
)
def test_precisions_of_other_cpus(monkeypatch, no_limit, instructions, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions, raising=False)
    monkeypatch.setattr(torch.ops, "mkldnn", ANY_PRECISION)
    assert available_precisions("cpu") == expected


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("AVX512_CORE_VNNI", ["fp32"]), ("avx2", ["fp32"]), ("AVX512_CORE_BF16", ["fp32", "bf16"])],
)
def test_onednn_may_be_told_to_use_less(monkeypatch, limit, expected):
    """At the level AVX512_CORE it converts bf16 to fp32 and back, which it calls support."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    monkeypatch.setattr(torch.ops, "mkldnn", ANY_PRECISION)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert available_precisions("cpu") == expected


def test_older_pytorch_answers_single_questions(monkeypatch, no_limit):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.ops, "mkldnn", ANY_PRECISION)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_fp16_supported", lambda: False, raising=False)
    assert available_precisions("cpu") == ["fp32", "bf16"]


def test_auto_is_bf16_where_it_is_native(monkeypatch):
    for available, expected in ((["fp32", "bf16"], "bf16"), (["fp32"], "fp32"), (["fp32", "fp16"], "fp32")):
        monkeypatch.setattr(devices, "available_precisions", lambda device, found=available: found)
        assert native_precision("auto", "cpu") == expected
        assert native_precision("bf16", "cpu") == "bf16"  # asked for by name it stays


def test_emulation_is_said_with_the_factor_measured(monkeypatch, capsys):
    monkeypatch.setattr(devices, "available_precisions", lambda device: ["fp32"])
    monkeypatch.setattr(devices, "median_seconds", lambda work, device: next(seconds))
    monkeypatch.setattr(devices, "describe_device", lambda device: "Some CPU")
    seconds = iter([0.5, 4.0])
    warn_if_emulated("bf16", "cpu")
    printed = capsys.readouterr().err
    assert printed.startswith(
        "warning: precision bf16: Some CPU has no instructions for it; a convolution, forward and"
    )
    assert "took 8.0 times as long as in fp32; precision: auto takes fp32 where a training begins" in printed
    warn_if_emulated("fp32", "cpu")
    assert capsys.readouterr().err == ""


def test_the_measured_convolution_trains_in_the_precision(monkeypatch):
    seen = []
    plain = torch.nn.functional.conv2d
    monkeypatch.setattr(
        torch.nn.functional, "conv2d", lambda *a, **k: seen.append(plain(*a, **k)) or seen[-1]
    )
    monkeypatch.setattr(devices, "median_seconds", lambda work, device: work())
    devices._convolution_seconds("cpu", "fp32")
    devices._convolution_seconds("cpu", "bf16")
    assert [product.dtype for product in seen] == [torch.float32, torch.bfloat16]


def test_instructions_that_pytorch_does_not_tell_or_onednn_does_not_use(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())
    assert available_precisions("cpu") == ["fp32"]
    monkeypatch.undo()
    for name in ("get_capabilities", "_is_avx512_bf16_supported", "_is_amx_fp16_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert available_precisions("cpu") == ["fp32"]


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((7, 5), ["fp32", "fp16"]), ((8, 0), ["fp32", "tf32", "bf16", "fp16"]), ((12, 0), None)],
)
def test_precisions_of_gpus(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert available_precisions("cuda:0") == (expected or ["fp32", "tf32", "bf16", "fp16"])


class FakeNvml:
    """Two GPUs as NVML numbers them, the second one with a part; an unknown function is not in the driver."""

    NVML_TEMPERATURE_GPU, NVML_CLOCK_SM, NVML_CLOCK_MEM = 0, 1, 2

    class NVMLError(Exception):
        pass

    def __init__(self):
        self.refused, self.reasons, self.is_open = set(), 0, 0
        self.use, self.pids = [0], [os.getpid()]

    def answer(self, name, value):
        if name in self.refused or not self.is_open:
            raise self.NVMLError("Not Supported")
        return value

    def nvmlInit(self):
        if "nvmlInit" in self.refused:
            raise self.NVMLError("NVML Shared Library Not Found")
        self.is_open += 1

    def nvmlShutdown(self):
        self.is_open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid not in {"GPU-first", "GPU-second", "MIG-part"}:
            raise self.NVMLError("Not Found")
        return self.answer("handle", uuid)

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle):
        if handle != "MIG-part":
            raise self.NVMLError("Invalid Argument")
        return "GPU-second"

    def nvmlDeviceGetClockInfo(self, handle, clock):
        clocks = {"GPU-first": {1: 1000, 2: 5000}, "GPU-second": {1: 1980, 2: 2619}}
        return self.answer(f"clock {clock}", clocks[handle][clock])

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return self.answer("temperature", {"GPU-first": 40, "GPU-second": 65}[handle])

    def nvmlDeviceGetPowerUsage(self, handle):
        if handle == "MIG-part":
            raise self.NVMLError("Not Supported")
        return self.answer("power", 250_500)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        if handle == "MIG-part":
            raise self.NVMLError("Not Supported")
        return self.answer("energy", 12_345_678)

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle):
        return self.answer("reasons", self.reasons)

    def nvmlDeviceGetUtilizationRates(self, handle):
        use = self.use.pop(0) if len(self.use) > 1 else self.use[0]
        return self.answer("use", SimpleNamespace(gpu=use, memory=0))

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return self.answer("processes", [SimpleNamespace(pid=pid) for pid in self.pids])


@pytest.fixture
def nvml(monkeypatch):
    """Pretend that NVML's second GPU is PyTorch's only one."""
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid="second"))
    return fake


def test_a_gpu_is_found_by_its_own_number(nvml):
    with DeviceMonitor("cuda:0") as monitor:
        assert nvml.is_open == 1
        assert monitor.read() == Reading(1980, 2619, 65, 250.5, False)
        assert monitor.energy_j() == 12_345.678
        assert (monitor.utilisation(), monitor.process_ids()) == (0, [os.getpid()])
    assert nvml.is_open == 0
    assert monitor.read() == Reading() and monitor.energy_j() is None
    monitor.close()
    assert nvml.is_open == 0


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_part_of_a_gpu_has_the_clocks_of_the_whole(nvml, monkeypatch, is_listed):
    if is_listed:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-part")
    else:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid="part"))
    with DeviceMonitor("cuda:0") as monitor:
        assert monitor.read() == Reading(1980, 2619, 65, None, False)
        assert monitor.energy_j() is None


@pytest.mark.parametrize(
    ("reasons", "expected"),
    # nothing, idle, set by the user, both; power cap, its brake with idle, heat
    [(0x0, False), (0x1, False), (0x2, False), (0x3, False), (0x4, True), (0x81, True), (0x40, True)],
)
def test_throttled_is_neither_idle_nor_set(nvml, reasons, expected):
    nvml.reasons = reasons
    with DeviceMonitor("cuda:0") as monitor:
        assert monitor.read().throttled is expected


@pytest.mark.parametrize(
    ("call", "field"),
    [
        ("clock 1", "clock_mhz"),
        ("clock 2", "memory_clock_mhz"),
        ("temperature", "temperature_c"),
        ("power", "power_w"),
        ("reasons", "throttled"),
    ],
)
def test_what_a_gpu_does_not_support_is_none(nvml, call, field):
    nvml.refused = {call, "energy", "use", "processes"}
    with DeviceMonitor("cuda:0") as monitor:
        reading = vars(monitor.read())
        assert [name for name, value in reading.items() if value is None] == [field]
        assert monitor.energy_j() is monitor.utilisation() is monitor.process_ids() is None


def test_functions_have_other_names_in_other_drivers(nvml, monkeypatch):
    monkeypatch.delattr(FakeNvml, "nvmlDeviceGetTemperature")
    nvml.nvmlDeviceGetTemperatureV = lambda handle, sensor: 66
    nvml.refused = {"reasons"}
    nvml.nvmlDeviceGetCurrentClocksThrottleReasons = lambda handle: 0x4
    with DeviceMonitor("cuda:0") as monitor:
        assert (monitor.read().temperature_c, monitor.read().throttled) == (66, True)


@pytest.mark.parametrize("problem", ["no package", "no library", "unknown GPU", "no permission"])
def test_without_nvml_nothing_is_told(nvml, monkeypatch, problem):
    if problem == "no package":
        monkeypatch.setitem(sys.modules, "pynvml", None)
    elif problem == "no library":
        nvml.refused = {"nvmlInit"}
    elif problem == "unknown GPU":
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid="third"))
    else:
        nvml.refused = {"handle"}
    with DeviceMonitor("cuda:0") as monitor:
        assert monitor.read() == Reading()
        assert monitor.energy_j() is monitor.utilisation() is monitor.process_ids() is None
    assert busy_reason("cuda:0", seconds=0) is None
    assert nvml.is_open == 0


def test_a_cpu_tells_nothing(nvml):
    with DeviceMonitor("cpu") as monitor:
        assert monitor.read() == Reading()
        assert monitor.energy_j() is None
    assert nvml.is_open == 0


def test_the_real_package_has_every_function_that_is_asked():
    pynvml = pytest.importorskip("pynvml")
    asked = {name for name in vars(FakeNvml) if name.startswith("nvml") or name.startswith("NVML")}
    asked |= {"nvmlDeviceGetTemperatureV", "nvmlDeviceGetCurrentClocksThrottleReasons"}
    assert not {name for name in asked if not hasattr(pynvml, name)}
    for name in ("NVML_TEMPERATURE_GPU", "NVML_CLOCK_SM", "NVML_CLOCK_MEM"):
        assert getattr(pynvml, name) == getattr(FakeNvml, name)
    idle = pynvml.nvmlClocksEventReasonGpuIdle | pynvml.nvmlClocksEventReasonApplicationsClocksSetting
    assert idle == hardware.HARMLESS_CLOCK_REASONS


@pytest.fixture
def made_clock(monkeypatch):
    """Clock that moves only while somebody sleeps; what happens then can be added."""
    now = SimpleNamespace(seconds=100.0, own=7.0, on_sleep=lambda: None)

    def sleep(seconds):
        now.seconds += seconds
        now.on_sleep()

    monkeypatch.setattr(hardware.time, "sleep", sleep)
    monkeypatch.setattr(hardware.time, "monotonic", lambda: now.seconds)
    monkeypatch.setattr(hardware.time, "process_time", lambda: now.own)
    return now


def test_another_process_on_the_gpu(nvml, made_clock):
    nvml.pids = [os.getppid(), os.getpid()]
    assert busy_reason("cuda:0") == f"other processes hold cuda:0: {os.getppid()}"
    assert nvml.is_open == 0


def test_hidden_work_on_the_gpu_shows_in_its_utilisation(nvml, made_clock):
    nvml.use = [100, 0, 80, 40]  # the first is asked before our own work is forgotten
    assert busy_reason("cuda:0", seconds=0.15) == "cuda:0 is 40% in use while this process does nothing"


def test_our_own_work_just_before_does_not_count(nvml, made_clock):
    nvml.use = [100, 0]
    assert busy_reason("cuda:0", seconds=1) is None


def test_our_own_process_may_have_another_number_outside_of_the_container(nvml, made_clock, monkeypatch):
    monkeypatch.setattr(hardware.psutil, "pid_exists", lambda pid: pid < 1000)
    nvml.pids = [70_000]
    assert busy_reason("cuda:0") is None
    nvml.pids = [70_000, 80_000]
    assert busy_reason("cuda:0") == "other processes hold cuda:0: 80000"
    nvml.pids = [500]
    assert busy_reason("cuda:0") == "other processes hold cuda:0: 500"


STAT = """cpu  9 9 9 9 9 9 9 9 9 9
cpu0 {} 0 100 5000 70 0 0 0 0 0
cpu1 0 {} 100 5000 {} 0 0 0 0 0
cpu2 {} 0 0 0 0 0 0 0 0 0
intr 17
"""


@pytest.fixture
def cores(monkeypatch, tmp_path, made_clock):
    """Three cores, two of them ours; the list holds ticks used while somebody sleeps."""
    used = [0, 0, 0, 0]
    stat = tmp_path / "stat"
    stat.write_text(STAT.format(10, 20, 30, 40))
    made_clock.on_sleep = lambda: stat.write_text(
        STAT.format(*(before + ticks for before, ticks in zip((10, 20, 30, 40), used, strict=True)))
    )
    monkeypatch.setattr(hardware, "PROC_STAT", stat)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    return used


def test_an_idle_cpu(cores):
    assert busy_reason("cpu") is None


def test_use_below_the_threshold_a_waiting_disk_and_cores_of_others_do_not_count(cores):
    cores[:] = [10, 18, 190, 200]
    assert busy_reason("cpu", seconds=2) is None  # 0.14 cores


def test_use_by_others_is_told_in_cores(cores):
    cores[:] = [100, 60, 0, 0]
    assert busy_reason("cpu", seconds=2) == "other processes use 0.8 of 2 cores"


def test_our_own_use_of_the_cpu_does_not_count(cores, made_clock):
    cores[:] = [100, 60, 0, 0]
    write = made_clock.on_sleep

    def work():
        write()
        made_clock.own += 1.4

    made_clock.on_sleep = work
    assert busy_reason("cpu", seconds=2) is None


def test_a_machine_that_does_not_tell(monkeypatch, made_clock, tmp_path):
    monkeypatch.setattr(hardware, "PROC_STAT", tmp_path / "none")
    assert busy_reason("cpu") is None


@pytest.mark.skipif(not hardware.PROC_STAT.exists(), reason="no /proc/stat")
def test_a_real_process_keeps_the_cpu_busy():
    command = [sys.executable, "-c", "print('started', flush=True)\nwhile True: pass"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "started\n"
            reason = busy_reason("cpu", seconds=0.5)
        finally:
            process.kill()
    assert reason.startswith("other processes use ") and reason.endswith(" cores")
    assert float(reason.split()[3]) > 0.1


@pytest.mark.gpu
def test_a_real_gpu():
    pytest.importorskip("pynvml")
    rates = {name: measure_matrix_rate("cuda:0", name) for name in available_precisions("cuda:0")}
    assert all(1e11 < rate < 1e16 for rate in rates.values())
    assert rates["fp16"] > rates["fp32"]
    assert 1e10 < measure_bandwidth("cuda:0") < 1e14
    with DeviceMonitor("cuda:0") as monitor:
        if monitor.read() == Reading():
            pytest.skip("NVML does not tell")
        before = monitor.energy_j()
        measure_matrix_rate("cuda:0", "fp16")
        reading, after = monitor.read(), monitor.energy_j()
        assert 100 < reading.clock_mhz < 5000
        assert reading.temperature_c is None or 0 < reading.temperature_c < 120
        assert reading.power_w is None or 1 < reading.power_w < 2000
        assert before is None or 1 < after - before < 1e5
    assert busy_reason("cuda:0") is None or "cuda:0" in busy_reason("cuda:0")
