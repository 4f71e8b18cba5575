"""Which device a job runs on, and what to call it."""

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from rlsp.clock import median_seconds
from rlsp.errors import ConfigError, DeviceError
from rlsp.processors import describe_processor

VECTOR_SETS = {"AVX512": "AVX-512", "DEFAULT": "baseline", "NO AVX": "baseline"}  # ATen's names that few know

# How PyTorch begins or names the errors of CUDA and its libraries.
GPU_FAILURE = re.compile(r"(CUDA( driver)? error|cuDNN error|CUBLAS|NCCL|NVML)", re.IGNORECASE)

# cuDNN swallows the lack of memory for a kernel's workspace, and then finds no kernel.
FULL_MEMORY = re.compile(
    r"out of memory|unable to find an engine|ALLOC_FAILED|can't allocate memory", re.IGNORECASE
)

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Names in torch.cpu.get_capabilities() of the instructions that multiply and add numbers of this precision.
# Without them oneDNN converts to fp32: correct, but no rate that the processor could be held to.
NATIVE_INSTRUCTIONS = {
    "bf16": {"avx512_bf16", "amx_bf16", "bf16"},  # the last one is Arm's
    "fp16": {"avx512_fp16", "amx_fp16"},
}
# Limits that users can set for oneDNN (its "CPU Dispatcher Control") below which it converts to fp32.
FP32_ONLY = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
# Functions of torch.cpu that older versions have instead.
OLD_QUESTIONS = {"avx512_bf16": "_is_avx512_bf16_supported", "amx_fp16": "_is_amx_fp16_supported"}


@contextmanager
def claim_device(device: str, *, places: int = 1) -> Iterator[str]:
    """Choose the device of this job, and hold a GPU against the other jobs on this machine.

    Snakemake counts GPUs but does not say which one a job may use; lock files for each GPU on local disk
    do. An inherited ``CUDA_VISIBLE_DEVICES`` limits the choice; a dead process loses its lock.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        "auto" takes a GPU when there is one.
    places : int
        1 holds a GPU alone, as what is timed must; above that the GPU is shared with jobs that share it too, this
        many at most, and those that want it alone wait.

    Yields
    ------
    str
        "cpu" or "cuda:<index>".

    Raises
    ------
    ConfigError
        A GPU was asked for and there is none.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        yield "cpu"
        return
    if not torch.cuda.is_available():
        raise ConfigError("device: expected a CUDA GPU, found none; set device: cpu")
    wanted, found = whole_of_environment("LOCAL_WORLD_SIZE", 1), torch.cuda.device_count()
    if wanted > found:
        raise ConfigError(f"processes: expected at most {found}, one for each GPU, got {wanted}")
    # TF32 keeps 10 bits of the mantissa and is on by default for convolutions: fp32 here means fp32.
    torch.backends.cudnn.allow_tf32 = False
    with ExitStack() as held:
        index = _lock_a_gpu(held, places)
        held.enter_context(torch.cuda.device(index))
        yield f"cuda:{index}"


def _lock_a_gpu(held: ExitStack, places: int) -> int:
    """Lock the first free GPU, or a place on the emptiest; when all are taken, wait for any."""
    folder = lock_folder()
    folder.mkdir(exist_ok=True)
    paths = [folder / _gpu_name(index) for index in range(torch.cuda.device_count())]
    is_told = False
    while True:
        for place, (index, path) in product(range(places), enumerate(paths)):
            try:
                with ExitStack() as locks:
                    if places > 1:
                        locks.enter_context(_shared_lock(path))
                        path = path.with_name(f"{path.name}.{place}")
                    locks.enter_context(FileLock(path).acquire(timeout=0))
                    held.push(locks.pop_all())
                return index
            except Timeout:
                continue
        if not is_told:
            print(f"all {len(paths)} GPUs are taken; waiting for one", file=sys.stderr, flush=True)
            is_told = True
        time.sleep(1)


@contextmanager
def _shared_lock(path: Path) -> Iterator[None]:
    """Hold a lock file together with others that share it, against those that lock it for themselves.

    Raises
    ------
    Timeout
        One has it for itself.
    """
    import fcntl  # not on Windows, where no GPU is shared

    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Timeout(str(path)) from None
        yield


def lock_folder() -> Path:
    """Folder of the GPU locks of this user: in memory where there is such a disk, as TMPDIR may lie on NFS."""
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    return parent / f"rlsp-gpus-{os.getuid()}"


def _gpu_name(index: int) -> str:
    """Name a GPU by its own number: schedulers let every job count its GPUs from 0."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if index < len(visible) and visible[index].strip().startswith("MIG-"):
        return re.sub(r"[^\w-]", "_", visible[index].strip())  # a part of a GPU
    return str(torch.cuda.get_device_properties(index).uuid)


def is_gpu(device: str) -> bool:
    """Tell whether a torch device is a GPU."""
    return device.startswith("cuda")


def available_precisions(device: str) -> list[str]:
    """List the precisions that a device multiplies in by instructions of its own.

    Parameters
    ----------
    device : str
        "cpu" or "cuda:<index>".

    Returns
    -------
    list of str
        Out of "fp32", "tf32", "bf16" and "fp16", in this order. A CPU of whose instructions PyTorch tells nothing
        has fp32 only; its older versions tell less.
    """
    where = torch.device(device)
    if where.type == "cuda":
        has_tensor_formats = torch.cuda.get_device_capability(where) >= (8, 0)
        return list(DTYPES) if has_tensor_formats else ["fp32", "fp16"]
    instructions = _processor_instructions()
    return ["fp32"] + [
        precision
        for precision, names in NATIVE_INSTRUCTIONS.items()
        if names & instructions and _is_known_to_onednn(precision)
    ]


def native_precision(precision: str, device: str) -> str:
    """Choose the precision that "auto" stands for; any other is returned as it is.

    Parameters
    ----------
    precision : str
        "auto", or a name.
    device : str
        "cpu" or "cuda:<index>".

    Returns
    -------
    str
        For "auto": "bf16" where the device multiplies in it by instructions of its own, else "fp32".
    """
    if precision != "auto":
        return precision
    return "bf16" if "bf16" in available_precisions(device) else "fp32"


def _processor_instructions() -> set[str]:
    try:
        return {name for name, value in torch.cpu.get_capabilities().items() if value is True}
    except (AttributeError, RuntimeError):  # older versions have single questions only
        return {name for name, question in OLD_QUESTIONS.items() if _answer(question)}


def _answer(question: str) -> bool:
    try:
        return bool(getattr(torch.cpu, question)())
    except (AttributeError, RuntimeError):
        return False


def _is_known_to_onednn(precision: str) -> bool:
    limits = (os.environ.get(name, "").upper() for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"))
    if not FP32_ONLY.isdisjoint(limits):
        return False
    try:
        return bool(getattr(torch.ops.mkldnn, f"_is_mkldnn_{precision}_supported")())
    except (AttributeError, RuntimeError):
        return False


def whole_of_environment(name: str, default: int) -> int:
    """Read a whole number from an environment variable, as torchrun sets them.

    Raises
    ------
    ConfigError
        It is none.
    """
    text = os.environ.get(name, "")
    if text and not (text.isdecimal() and len(text) < 9):
        raise ConfigError(f"{name}: expected a whole number in this environment variable, got {text[:40]!r}")
    return int(text or default)


@contextmanager
def matrix_precision(precision: str) -> Iterator[None]:
    """Allow TF32 for "tf32" alone in convolutions and matrix products, whatever is allowed outside."""
    convolution, product = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolution.allow_tf32, product.allow_tf32
    convolution.allow_tf32 = product.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        convolution.allow_tf32, product.allow_tf32 = before


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that the device's memory is full, also where CUDA or cuDNN say it otherwise."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and FULL_MEMORY.search(str(error)) is not None


@contextmanager
def gpu_errors(device: str, remedy: str, *, when_full: str) -> Iterator[None]:
    """Tell in one line that a GPU failed, was lost or ran out of memory.

    Parameters
    ----------
    device : str
        What the job runs on, as :func:`claim_device` names it.
    remedy : str
        How the work goes on, such as "the same command goes on from step 2000".
    when_full : str
        What to do when the memory is full, such as "lower the recipe's batch".

    Raises
    ------
    DeviceError
        PyTorch reported an error of CUDA.
    """
    try:
        yield
    except RuntimeError as error:  # the class of torch's OutOfMemoryError and AcceleratorError too
        reason = str(error).strip().split("\n")[0]
        if is_out_of_memory(error):
            raise DeviceError(f"{device}: out of memory ({reason.split('. ')[0]}); {when_full}") from error
        is_lost = isinstance(error, torch.AcceleratorError) or GPU_FAILURE.match(reason)
        if device == "cpu" or not is_lost:
            raise
        raise DeviceError(
            f"{device}: the GPU failed or was lost ({reason}); {remedy}; if it fails again, leave this GPU out with "
            "CUDA_VISIBLE_DEVICES or ask for another node"
        ) from error


def describe_device(device: str) -> str:
    """Name a device for people: the GPU's model name, or what :mod:`rlsp.processors` reads of the processor."""
    if is_gpu(device):
        return torch.cuda.get_device_name(torch.device(device))
    return f"{describe_processor(vector_set())}, {os.cpu_count()} logical cores"


def record_graph(work: Callable[[], Any], stream: torch.cuda.Stream) -> tuple[torch.cuda.CUDAGraph, Any]:
    """Record some work as a CUDA graph; returns it with what the work returned, which every replay writes again.

    Other threads may go on meanwhile, such as those that write pictures or pin memory.

    Parameters
    ----------
    work : callable
        Run before at least once, so that kernels are chosen.
    stream : torch.cuda.Stream
        A stream other than the default one.

    Raises
    ------
    RuntimeError
        The work does what no graph can hold, such as waiting for the GPU.
    """
    graph = torch.cuda.CUDAGraph()
    # the outer context: a recording that fails leaves its own stream as the current one
    with (
        torch.cuda.stream(torch.cuda.current_stream()),
        torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),
    ):
        result = work()
    return graph, result


def keep_compiled_code_apart() -> None:
    """Let torch.compile cache the code it makes for a processor in a folder named after its vector instructions.

    Inductor finds code by what is computed, not by the length of vectors: code made for another length (by another node
    with the same folder, or under ``ATEN_CPU_CAPABILITY``) writes past its buffers. To be called before compiling.
    """
    level = torch.backends.cpu.get_cpu_capability().lower().replace(" ", "-")
    default = Path(tempfile.gettempdir()) / f"torchinductor-{os.getuid()}"
    folder = Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR") or default)
    if folder.name != level:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / level)


def vector_set() -> str:
    """Name the vector instructions that PyTorch uses, with bf16 where the processor multiplies in it.

    ``ATEN_CPU_CAPABILITY`` and ``ONEDNN_MAX_CPU_ISA`` may limit them.
    """
    level = torch.backends.cpu.get_cpu_capability()
    names = [VECTOR_SETS.get(level, level), "bf16" if "bf16" in available_precisions("cpu") else ""]
    return " ".join(filter(None, names))


def warn_if_emulated(precision: str, device: str) -> None:
    """Warn, with the factor measured, when a device has no instructions for a precision and converts to float32.

    Parameters
    ----------
    precision : str
        What a training's convolutions are computed in.
    device : str
        "cpu" or "cuda:<index>".
    """
    if precision in available_precisions(device):
        return
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay what they are
        plain, emulated = (_convolution_seconds(device, name) for name in ("fp32", precision))
    print(
        f"warning: precision {precision}: {describe_device(device)} has no instructions for it; a convolution, forward "
        f"and backward, took {emulated / plain:.1f} times as long as in fp32; precision: auto takes fp32 where a "
        "training begins",
        file=sys.stderr,
        flush=True,
    )


def _convolution_seconds(device: str, precision: str) -> float:
    """Time a 3x3 convolution as trainings have them, forward and backward under autocast; returns seconds."""
    layer = torch.nn.Conv2d(48, 48, 3, padding=1, device=device).to(memory_format=torch.channels_last)
    crops = torch.randn(4, 48, 32, 32, device=device).contiguous(memory_format=torch.channels_last)

    def work() -> None:
        with torch.autocast(torch.device(device).type, DTYPES[precision], enabled=precision != "fp32"):
            layer(crops).float().sum().backward()

    return median_seconds(work, device)
