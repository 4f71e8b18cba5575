"""The loop of a training, and everything it stops, saves and goes on for."""

import contextlib
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from rlsp.config.specs.models import architecture_modules
from rlsp.config.specs.runs import Training
from rlsp.devices import is_gpu, native_precision
from rlsp.errors import TrainingError
from rlsp.files import spec_hash
from rlsp.metrics.fidelity import psnr_from_mse
from rlsp.models import build_model
from rlsp.models.weights import save_weights
from rlsp.provenance import code_hash
from rlsp.training.checkpoint import Checkpoint, Diverged, Progress
from rlsp.training.crops import Batches, TrainingCrops, read_batches, reader_errors
from rlsp.training.distributed import Group
from rlsp.training.resident import ResidentCrops
from rlsp.training.step import TrainingStep, initialise, learning_rate_at
from rlsp.training.validation import validate
from rlsp.training.warm_start import start_from

LARGEST_LOSS = 255**2  # squared grey levels: white for black everywhere is no picture any more
# Steps between two questions to the other processes whether to stop. After a SIGTERM torchrun gives them 30 s for
# these steps and the checkpoint; a walltime leaves STOP_MARGIN.
STOP_EVERY = 10


class Trainer:
    """One training run, able to stop at any step and go on from there.

    Parameters
    ----------
    spec : Training
        All that decides the weights.
    crops : TrainingCrops or ResidentCrops
        The data.
    folder : Path
        Where checkpoints and TensorBoard events go.
    device : str
        "cpu" or a CUDA device.
    data : list of str
        Checksums of the clips; a checkpoint of other clips is refused.
    group : Group
        The processes that train together.
    workers : int
        Processes that read crops ahead.
    validation : tuple of mappings, optional
        LR and HR clips of the validation set.
    stop_at : float
        When to save and stop, in seconds of time.time().
    check_lease : callable
        Raises a TrainingError once another trainer has taken the folder over; asked before anything is written.
    start : sequence of Path
        Weights to begin with: one file, or none.

    Raises
    ------
    ConfigError
        These weights do not fit.
    """

    def __init__(
        self,
        spec: Training,
        crops: TrainingCrops | ResidentCrops | None,
        folder: Path,
        device: str,
        data: Sequence[str] = (),
        *,
        group: Group | None = None,
        workers: int = 0,
        validation: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]] | None = None,
        stop_at: float = math.inf,
        check_lease: Callable[[], None] = lambda: None,
        start: Sequence[Path] = (),
    ) -> None:
        self.spec, self.recipe, self.crops = spec, spec.recipe, crops
        self.folder, self.device, self.workers = folder, device, workers
        self.group, self.validation = group or Group(device=device), validation
        self.code = ["rlsp.training.job", *architecture_modules([spec.model])]
        self.checkpoint = Checkpoint(folder, spec_hash([spec.dump(), data]), code_hash(*self.code))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)  # for layers that the recipe's init does not know
            self.model = build_model(model_spec(spec))
        initialise(self.model, self.recipe, spec.seed)
        for path in start:
            start_from(self.model, path, trusted_arch=spec.model.arch)
        self.model.to(device, memory_format=torch.channels_last).train()
        self.progress = Progress(precision=native_precision(self.recipe.precision, device))
        exact = self.recipe.changed(precision=self.progress.precision)
        self.step = TrainingStep(self.model, exact, self.group.size)
        self.window: list[torch.Tensor] = []
        self.stopped_by: str | None = None
        self.stop_at, self.check_lease = stop_at, check_lease

    def resume(self) -> None:
        """Load the checkpoint, if there is one.

        Raises
        ------
        TrainingError
            The checkpoint is damaged or belongs to another configuration.
        """
        saved = self.checkpoint.load(self.device)
        if saved is not None:
            self.step.load_state_dict(saved)
            self.progress = Progress(**{"precision": self.progress.precision, **saved["progress"]})
            self.step.precision = self.progress.precision
            self.window = list(torch.tensor(self.progress.window, dtype=torch.float32, device=self.device))

    def save(self) -> None:
        """Write the checkpoint, if this is the process that does; nothing once the lease is lost."""
        if self.group.is_main:
            self.check_lease()
            self.progress.window = [float(mse) for mse in self.window]
            is_last = self.progress.step == self.recipe.steps
            self.checkpoint.save(self.step.state_dict(), self.progress, is_last=is_last)

    def train_step(self, number: int, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Do one step; returns the mean squared error in squared grey levels (not synchronised)."""
        return self.step(*batch, learning_rate_at(number, self.recipe))

    def run(self) -> None:
        """Train to the recipe's last step, writing checkpoints and events on the way.

        Raises
        ------
        TrainingError
            The loss is not finite or explodes, or a signal or the end of the job's time asked to stop (after
            saving a checkpoint).
        """
        steps = self.recipe.steps
        started = time.monotonic() - self.progress.seconds
        batches = Batches(self.crops, self.recipe, rank=self.group.rank, processes=self.group.size)
        on_gpu = is_gpu(self.device)
        reader = read_batches(
            batches, self.progress.step, workers=self.workers, pin_memory=on_gpu and self.workers > 0
        )
        with (
            reader_errors(),
            contextlib.closing(reader),
            event_log(self.folder, self.progress.step, self.group.is_main) as add_event,
            tqdm(
                total=steps,
                initial=self.progress.step,
                unit="step",
                mininterval=0.5 if sys.stderr.isatty() else 10,  # seconds; a log file is read with tail
                disable=not self.group.is_main,
            ) as bar,
        ):
            for number, batch in enumerate(reader, start=self.progress.step):
                self.window.append(self.train_step(number, batch))
                self.progress.step = number + 1
                self.progress.seconds = time.monotonic() - started
                bar.update()
                if self._is_due("log_every"):
                    row = self.log()
                    add_event(row)
                    bar.set_postfix(loss=f"{row['loss']:.1f}", psnr=f"{row['psnr']:.2f} dB")
                if self._is_due("checkpoint_every"):
                    self.save()
                self.stop_if_asked()

    def _is_due(self, key: str) -> bool:
        """Whether this step is one of those a key of the recipe asks for; the last step always is."""
        every = getattr(self.recipe, key)
        return every is not None and (
            self.progress.step % every == 0 or self.progress.step == self.recipe.steps
        )

    def log(self) -> dict[str, float]:
        """Add one row to the log, check the loss, and validate where it is time.

        Raises
        ------
        TrainingError
            The loss is not finite or explodes.
        """
        step, rows = self.progress.step, self.progress.rows
        mse = self.group.mean(torch.stack(self.window).double()).mean().item()
        if not math.isfinite(mse) or mse > LARGEST_LOSS:
            raise Diverged(
                f"loss is {mse:g} squared grey levels at step {step}: training diverged; lower the recipe's "
                f"learning_rate ({self.recipe.learning_rate:g}), or set clip_norm or head_scale"
            )
        before = rows[-1]["seconds"] if rows else 0.0
        row = {
            "step": step,
            "loss": mse,
            "psnr": psnr_from_mse(mse),
            "learning_rate": learning_rate_at(step - 1, self.recipe),
            "steps_per_second": len(self.window) / max(self.progress.seconds - before, 1e-9),
            "seconds": self.progress.seconds,
            "precision": self.progress.precision,
        }
        self.window.clear()
        if self.validation is not None and self._is_due("validate_every"):
            row["validation_psnr"] = self.validate()
        rows.append(row)
        return row

    def validate(self) -> float:
        """Measure PSNR-Y (dB) on the validation set; the best weights so far are kept."""
        lr, hr = self.validation
        frames = self.recipe.validate_frames
        psnr = validate(self.step.result, lr, hr, frames=frames, group=self.group)
        if self.progress.best is None or psnr > self.progress.best["psnr"]:
            self.progress.best = {"step": self.progress.step, "psnr": psnr}
            if self.group.is_main:
                self.check_lease()
                path = self.checkpoint.best(self.progress.step)
                save_weights(path, self.step.result, weights_metadata(self.spec))
        return psnr

    def stop_on_signal(self) -> None:
        """On SIGTERM (a scheduler's walltime, a preemption) stop after the step under way."""

        def note(number: int, _frame: object) -> None:
            self.stopped_by = signal.Signals(number).name

        signal.signal(signal.SIGTERM, note)

    def stop_if_asked(self) -> None:
        """Save and stop if a signal came or the job's time is nearly over.

        Raises
        ------
        TrainingError
            It has stopped.
        """
        if self.progress.step == self.recipe.steps:
            return
        if self.stopped_by is None and time.time() > self.stop_at:
            self.stopped_by = "its walltime"
        if self.group.size == 1:
            is_asked = self.stopped_by is not None
        else:  # all processes have to leave at the same step
            is_asked = self.progress.step % STOP_EVERY == 0 and self.group.any(self.stopped_by is not None)
        if is_asked:
            self.save()
            self.group.barrier()  # torchrun kills the others 30 s after the first one has left
            raise TrainingError(
                f"stopped by {self.stopped_by or 'another process'} at step {self.progress.step} of "
                f"{self.recipe.steps}; the same command goes on from there"
            )


@contextlib.contextmanager
def event_log(folder: Path, first_step: int, is_main: bool) -> Iterator[Callable[[dict[str, float]], None]]:
    """Write TensorBoard events in the process that does; what is given takes one row of the log."""
    if not is_main:
        yield lambda row: None
        return
    from torch.utils.tensorboard import SummaryWriter  # slow to import

    path = folder / "tensorboard"
    writer = None
    with _no_tracebacks_of_threads():
        try:
            writer = SummaryWriter(str(path), purge_step=first_step)
        except OSError as error:
            _tell_no_events(path, error)

        def add(row: dict[str, float]) -> None:
            nonlocal writer
            try:
                for name in ("loss", "psnr", "learning_rate", "validation_psnr"):
                    if writer is not None and name in row:
                        writer.add_scalar(name, row[name], int(row["step"]))
            except OSError as error:  # a full disk: the training itself can go on until its next checkpoint
                writer = None
                _tell_no_events(path, error)

        try:
            yield add
        finally:
            try:
                if writer is not None:
                    writer.close()
            except OSError as error:
                _tell_no_events(path, error)


def _tell_no_events(path: Path, error: OSError) -> None:
    print(f"{path}: warning: no further events for TensorBoard: {error.strerror or error}", file=sys.stderr)


@contextlib.contextmanager
def _no_tracebacks_of_threads() -> Iterator[None]:
    """Keep the thread that writes events from printing why the disk takes no more; the next call raises it."""
    before = threading.excepthook

    def hook(failed: threading.ExceptHookArgs) -> None:
        if not isinstance(failed.exc_value, OSError):
            before(failed)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def model_spec(spec: Training) -> dict[str, Any]:
    """Plain form of the model that a training builds: its entry, on the recipe's input range."""
    return {**spec.model.dump(), "input_range": spec.recipe.input_range}


def weights_metadata(spec: Training) -> dict[str, Any]:
    """Say what the weights of a training are."""
    start = spec.start_from.dump() if spec.start_from else {}
    source = "trained by rlsp" + "".join(
        f", from {key} {start[key]}" for key in ("run", "sha256") if key in start
    )
    return {"model": model_spec(spec), "degradation": spec.degradation.dump(), "source": source}
