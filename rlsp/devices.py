"""Which device a job runs on, and what to call it."""

import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from rlsp.errors import ConfigError, DeviceError

# How PyTorch begins or names the errors of CUDA and its libraries.
GPU_FAILURE = re.compile(r"(CUDA( driver)? error|cuDNN error|CUBLAS|NCCL|NVML)", re.IGNORECASE)

# cuDNN swallows the lack of memory for a kernel's workspace, and then finds no kernel.
FULL_MEMORY = re.compile(
    r"out of memory|unable to find an engine|ALLOC_FAILED|can't allocate memory", re.IGNORECASE
)


@contextmanager
def claim_device(device: str) -> Iterator[str]:
    """Choose the device of this job, and hold a GPU against the other jobs on this machine.

    Snakemake counts GPUs but does not say which one a job may use; a lock file for each GPU on local disk
    does. An inherited ``CUDA_VISIBLE_DEVICES`` limits the choice; a dead process loses its lock.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        "auto" takes a GPU when there is one.

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
    wanted, found = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if wanted > found:
        raise ConfigError(f"processes: expected at most {found}, one for each GPU, got {wanted}")
    # TF32 keeps 10 bits of the mantissa and is on by default for convolutions: fp32 here means fp32.
    torch.backends.cudnn.allow_tf32 = False
    with ExitStack() as held:
        index = _lock_a_gpu(held)
        held.enter_context(torch.cuda.device(index))
        yield f"cuda:{index}"


def _lock_a_gpu(held: ExitStack) -> int:
    """Lock the first free GPU; when all are taken, wait for any."""
    folder = lock_folder()
    folder.mkdir(exist_ok=True)
    locks = [FileLock(folder / _gpu_name(index)) for index in range(torch.cuda.device_count())]
    is_told = False
    while True:
        for index, lock in enumerate(locks):
            try:
                held.enter_context(lock.acquire(timeout=0))
                return index
            except Timeout:
                continue
        if not is_told:
            print(f"all {len(locks)} GPUs are taken; waiting for one", file=sys.stderr, flush=True)
            is_told = True
        time.sleep(1)


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
    """Name a device for people: the GPU's or the processor's model name."""
    if is_gpu(device):
        return torch.cuda.get_device_name(torch.device(device))
    return f"{_processor_name()}, {os.cpu_count()} logical cores"


def _processor_name() -> str:
    try:
        if platform.system() == "Darwin":
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return re.sub(r"\((R|TM)\)|CPU|@.*", "", line.split(":", 1)[1]).strip()
    except (OSError, subprocess.CalledProcessError):
        pass
    return platform.processor() or platform.machine()
