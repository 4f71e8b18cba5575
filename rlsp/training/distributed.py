"""Several processes, each with a GPU of its own, that train one model together (``torchrun``, DDP)."""

import datetime
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure, record
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from rlsp.config.specs.recipes import Recipe
from rlsp.devices import is_gpu, whole_of_environment
from rlsp.errors import ConfigError, RlspError, TrainingError

TIMEOUT = datetime.timedelta(hours=2)  # the others wait while one validates or writes to a slow disk


class Group:
    """The processes of a training, or the only one.

    Attributes
    ----------
    rank, size : int
        Number of this process, counted from 0, and how many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1, device: str = "cpu") -> None:
        self.rank, self.size, self.device = rank, size, device

    @property
    def is_main(self) -> bool:
        """Whether this process writes logs and checkpoints."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """Average tensors of all processes."""
        return self.sum(values) / self.size

    def sum(self, values: Tensor) -> Tensor:
        """Add up tensors of all processes."""
        if self.size == 1:
            return values
        total = values.to(self.device, copy=True)
        dist.all_reduce(total)
        return total.to(values.device)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process: all of them get the same answer."""
        return bool(self.sum(torch.tensor(float(flag))).item() > 0)

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def process_group(device: str) -> Iterator[Group]:
    """Join the processes that ``torchrun`` (or :func:`launch`) started; alone, there is nothing to join.

    Parameters
    ----------
    device : str
        Device of this process: gradients go over NCCL between GPUs, over gloo between CPUs.
    """
    size = whole_of_environment("WORLD_SIZE", 1)
    if size == 1 or not dist.is_torchelastic_launched():
        yield Group(device=device)
        return
    on_gpu = is_gpu(device)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo", timeout=TIMEOUT, device_id=torch.device(device) if on_gpu else None
    )
    yield Group(dist.get_rank(), dist.get_world_size(), device)
    dist.destroy_process_group()  # only when all got here: one that failed would wait in NCCL for the others


def check_shares(recipe: Recipe, processes: int) -> None:
    """Refuse a batch that the processes cannot share evenly.

    Raises
    ------
    ConfigError
        A batch of the recipe is no multiple of the number of processes.
    """
    for batch in filter(None, (recipe.batch, recipe.long_clips and recipe.long_clips.batch)):
        if batch % processes:
            raise ConfigError(f"batch: expected a multiple of the {processes} processes, got {batch}")


def launch(processes: int, function: Callable[[Any], None], argument: Any) -> None:
    """Run a function in several processes of this machine, as ``torchrun --nproc-per-node`` would.

    Parameters
    ----------
    processes : int
        How many.
    function : callable
        Found by its name in each process.
    argument : object
        What it is called with; pickled on the way.

    Raises
    ------
    TrainingError
        One of them failed; the others were stopped.
    """
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        max_restarts=0,
        monitor_interval=0.2,
    )
    try:
        with _main_not_imported_again():
            elastic_launch(config, _run)(function, argument)
    except ChildFailedError as error:
        raise TrainingError(_explain(*error.get_first_failure())) from error
    except SignalException as error:
        raise TrainingError(
            f"stopped by {error.sigval.name}; the same command goes on from the last checkpoint"
        ) from error


@contextmanager
def _main_not_imported_again() -> Iterator[None]:
    """Keep started processes from importing the main module: a script of Snakemake's fails outside of its job."""
    main = sys.modules["__main__"]
    file = main.__dict__.pop("__file__", None)
    try:
        yield
    finally:
        if file is not None:
            main.__file__ = file


@record  # leaves the error where the process that waits finds it
def _run(function: Callable[[Any], None], argument: Any) -> None:
    """Run in each process. One that fails ends, and the others are stopped: none waits for it in vain."""
    try:
        function(argument)
    except RlspError:
        raise
    except BaseException:
        traceback.print_exc()
        raise


def _explain(rank: int, failure: ProcessFailure) -> str:
    """Say in one line how a process ended: the message of its error, or its signal."""
    if failure.exitcode < 0:
        return f"process {rank} of the training was ended by signal {-failure.exitcode}; the same command goes on"
    message = failure.message
    text = message.get("message", "") if isinstance(message, dict) else str(message)
    kind, _, rest = text.partition(": ")
    is_ours = kind in (
        "ConfigError",
        "DataError",
        "DeviceError",
        "DownloadError",
        "TrainingError",
        "Diverged",
    )
    return rest if is_ours else f"process {rank} of the training failed: {' '.join(text.split())}"
