"""Which device a job runs on, and what to call it."""

import os
import platform
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from rlsp.errors import ConfigError


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
    # TF32 keeps 10 bits of the mantissa and is on by default for convolutions: fp32 here means fp32.
    torch.backends.cudnn.allow_tf32 = False
    with ExitStack() as held:
        index = _lock_a_gpu(held)
        held.enter_context(torch.cuda.device(index))
        yield f"cuda:{index}"


def _lock_a_gpu(held: ExitStack) -> int:
    """Lock the first free GPU; when all are taken, wait for any."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    folder = Path(tempfile.gettempdir()) / f"rlsp-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    count = torch.cuda.device_count()
    locks = []
    for index in range(count):
        name = visible[index].strip() if len(visible) == count and visible[0] else str(index)
        locks.append(FileLock(folder / re.sub(r"\W", "_", name)))
    while True:
        for index, lock in enumerate(locks):
            try:
                held.enter_context(lock.acquire(timeout=0))
                return index
            except Timeout:
                continue
        time.sleep(1)


def describe_device(device: str) -> str:
    """Name a device for people: the GPU's or the processor's model name."""
    if device.startswith("cuda"):
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
