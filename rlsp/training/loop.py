"""The loop of a training, and everything it stops, saves and goes on for."""

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch.distributed import is_torchelastic_launched
from tqdm import tqdm

from rlsp.columns import TRAINING_LOG
from rlsp.config.architectures import architecture_modules
from rlsp.data.clips import open_clips, read_manifest
from rlsp.data.degradation import phase
from rlsp.data.staging import stage_clips
from rlsp.devices import claim_device, gpu_errors, is_gpu, native_precision, warn_if_emulated
from rlsp.errors import TrainingError
from rlsp.files import replace_when_complete, spec_hash, write_rows
from rlsp.metrics.fidelity import psnr_from_mse
from rlsp.models import build_model
from rlsp.models.weights import save_weights
from rlsp.provenance import code_hash, write_provenance
from rlsp.training.checkpoint import Checkpoint, Diverged, Progress
from rlsp.training.crops import Batches, TrainingCrops, read_batches, reader_errors
from rlsp.training.distributed import Group, check_shares, launch, process_group
from rlsp.training.lease import hold_lease
from rlsp.training.step import TrainingStep, initialise, learning_rate_at
from rlsp.training.validation import validate

LARGEST_LOSS = 255**2  # squared grey levels: white for black everywhere is no picture any more
WHEN_FULL = "set training.resident: never, lower the recipe's batch or crop, or take a GPU with more memory"
STOP_MARGIN = 300  # seconds before the end of a job's time: a validation, and a checkpoint on a slow disk
# Part of a GPU's free memory that resident clips may take: REDS's 69 GB fit into 80 GB, and what is left holds any
# training of the paper study.
GPU_SHARE = 0.85
# Steps between two questions to the other processes whether to stop. After a SIGTERM torchrun gives them 30 s for
# these steps and the checkpoint; a walltime leaves STOP_MARGIN.
STOP_EVERY = 10


class Trainer:
    """One training run, able to stop at any step and go on from there.

    Parameters
    ----------
    spec : dict
        ``model``, ``recipe``, ``degradation``, ``train_sets`` (resolved entries) and ``seed``.
    crops : TrainingCrops
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
    """

    def __init__(
        self,
        spec: dict[str, Any],
        crops: TrainingCrops | None,
        folder: Path,
        device: str,
        data: Sequence[str] = (),
        *,
        group: Group | None = None,
        workers: int = 0,
        validation: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]] | None = None,
    ) -> None:
        self.spec, self.recipe, self.crops = spec, spec["recipe"], crops
        self.folder, self.device, self.workers = folder, device, workers
        self.group, self.validation = group or Group(device=device), validation
        self.code = ["training.loop", *architecture_modules([spec["model"]])]
        self.checkpoint = Checkpoint(folder, spec_hash([spec, data]), code_hash(*self.code))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec["seed"])  # for layers that the recipe's init does not know
            self.model = build_model(model_spec(spec))
        initialise(self.model, self.recipe, spec["seed"])
        self.model.to(device, memory_format=torch.channels_last).train()
        self.progress = Progress(precision=native_precision(self.recipe["precision"], device))
        exact = self.recipe | {"precision": self.progress.precision}
        self.step = TrainingStep(self.model, exact, self.group.size)
        self.window: list[torch.Tensor] = []
        self.stopped_by: str | None = None
        self.stop_at = math.inf  # seconds of time.time()
        self.check_lease: Callable[[], None] = lambda: None

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
            is_last = self.progress.step == self.recipe["steps"]
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
        steps = self.recipe["steps"]
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
        every = self.recipe[key]
        return every is not None and (
            self.progress.step % every == 0 or self.progress.step == self.recipe["steps"]
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
                f"learning_rate ({self.recipe['learning_rate']:g}), or set clip_norm or head_scale"
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
        frames = self.recipe["validate_frames"]
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
        if self.progress.step == self.recipe["steps"]:
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
                f"{self.recipe['steps']}; the same command goes on from there"
            )


@contextlib.contextmanager
def event_log(folder: Path, first_step: int, is_main: bool) -> Iterator[Callable[[dict[str, float]], None]]:
    """Write TensorBoard events in the process that does; what is given takes one row of the log."""
    if not is_main:
        yield lambda row: None
        return
    from torch.utils.tensorboard import SummaryWriter  # slow to import

    with SummaryWriter(str(folder / "tensorboard"), purge_step=first_step) as writer:

        def add(row: dict[str, float]) -> None:
            for name in ("loss", "psnr", "learning_rate", "validation_psnr"):
                if name in row:
                    writer.add_scalar(name, row[name], int(row["step"]))

        yield add


def model_spec(spec: dict[str, Any]) -> dict[str, Any]:
    """Specification of the model that a training builds: its catalogue entry, on the recipe's input range."""
    return {**spec["model"], "input_range": spec["recipe"]["input_range"]}


def weights_metadata(spec: dict[str, Any]) -> dict[str, Any]:
    """Say what the weights of a training are."""
    return {"model": model_spec(spec), "degradation": spec["degradation"], "source": "trained by rlsp"}


def stop_time(walltime: float | None) -> float:
    """Tell when to stop, in seconds of time.time(): 5 minutes before the job's time is over, half-way at least.

    Parameters
    ----------
    walltime : float or None
        Minutes that the scheduler was asked for; None has no end. What Slurm says itself
        (``SLURM_JOB_END_TIME``) comes first.
    """
    started = psutil.Process().create_time()
    end = os.environ.get("SLURM_JOB_END_TIME", "")
    if end.isdecimal():
        ends_at = float(end)
    elif walltime is not None:
        ends_at = started + 60 * walltime
    else:
        return math.inf
    return ends_at - min(STOP_MARGIN, (ends_at - started) / 2)


def train(
    spec: dict[str, Any],
    *,
    hr_manifests: Sequence[Path],
    lr_manifests: Sequence[Path],
    weights_path: Path,
    folder: Path,
    device: str = "cpu",
    processes: int = 1,
    workers: int = 0,
    resident: str = "auto",
    stage_to: str | None = None,
    walltime: float | None = None,
) -> None:
    """Train one run, going on from its last checkpoint if there is one.

    Parameters
    ----------
    spec : dict
        ``model``, ``recipe``, ``degradation``, ``train_sets``, ``validation_set`` (resolved entries) and ``seed``.
    hr_manifests, lr_manifests : sequence of Path
        Manifests of the training sets, then of the validation set if there is one; and of their LR.
    weights_path : Path
        Receives the weights; ``training.csv`` and ``provenance.json`` are written beside it, with a validation
        set ``last.safetensors`` and ``best.safetensors`` too.
    folder : Path
        Keeps checkpoints; must survive a failed job.
    device : str
        "auto", "cpu" or "cuda".
    processes : int
        Processes to start, each with a GPU of its own. Under ``torchrun`` they are there already.
    workers : int
        Further processes, for each of these, that read crops ahead; they change no batch.
    resident : {"auto", "always", "never"}
        Keep all clips on the GPU as 8-bit values and cut crops there; "auto" where they fit.
    stage_to : str, optional
        Folder on the node's own disk that clips are copied to first.
    walltime : float, optional
        Minutes after which the scheduler ends the job.

    Raises
    ------
    TrainingError
        Another trainer is at work, the checkpoint does not fit, the loss diverges or did before, a signal
        came, or the job's time is nearly over.
    DeviceError
        The GPU failed, was lost, or its memory is full.
    DataError
        The clips are smaller than the recipe's crop, or a reading process died.
    """
    arguments = {key: value for key, value in locals().items() if key != "processes"}
    if processes > 1 and not is_torchelastic_launched():
        check_shares(spec["recipe"], processes)
        launch(processes, _train, arguments)
    else:
        _train(**arguments)


def _train(
    spec: dict[str, Any],
    *,
    hr_manifests: Sequence[Path],
    lr_manifests: Sequence[Path],
    weights_path: Path,
    folder: Path,
    device: str,
    workers: int,
    resident: str,
    stage_to: str | None,
    walltime: float | None,
) -> None:
    """Train in this process; see :func:`train`."""
    stop_at = stop_time(walltime)
    torch.set_num_threads(spec["recipe"]["threads"])
    torch.set_flush_denormal(True)
    remedy = "the same command goes on from the last checkpoint"
    with (
        claim_device(device) as where,
        process_group(where) as group,
        held_by_main(folder, group) as check_lease,  # before anything expensive
        gpu_errors(where, remedy, when_full=WHEN_FULL),
    ):
        check_shares(spec["recipe"], group.size)
        data = [sha256 for path in (*hr_manifests, *lr_manifests) for sha256 in clip_checksums(path)]
        count = len(spec["train_sets"])
        lr, hr = (open_sets(paths[:count], stage_to) for paths in (lr_manifests, hr_manifests))
        crops = make_crops(spec, lr, hr)
        if is_resident(crops, resident, where):
            crops, workers = crops.to(where), 0
        validation = [open_sets(paths[count:], None) for paths in (lr_manifests, hr_manifests)]
        trainer = Trainer(
            spec, crops, folder, where, data, group=group, workers=workers,
            validation=tuple(validation) if spec["validation_set"] else None,
        )  # fmt: skip
        trainer.stop_at, trainer.check_lease = stop_at, check_lease
        trainer.stop_on_signal()
        with trainer.checkpoint.divergence_marked(is_main=group.is_main):
            trainer.resume()
            if group.is_main:
                warn_if_emulated(trainer.progress.precision, where)
            trainer.run()
        if group.is_main:
            write_results(trainer, weights_path)


@contextlib.contextmanager
def held_by_main(folder: Path, group: Group) -> Iterator[Callable[[], None]]:
    """Hold the lease of a training's folder in the main process; the others wait until it does.

    Yields
    ------
    callable
        Raises a TrainingError once the lease is lost.
    """
    if not group.is_main:
        group.barrier()
        yield lambda: None
        return
    with hold_lease(folder) as lease:
        group.barrier()
        yield lease.check


def make_crops(spec: dict[str, Any], lr: dict[str, np.ndarray], hr: dict[str, np.ndarray]) -> TrainingCrops:
    """Make the crops that a training's recipe and model ask for from its LR and HR clips."""
    recipe, probe = spec["recipe"], build_model(model_spec(spec))
    is_real = recipe["context"] == "real"
    late = recipe["long_clips"] or {"frames": 0}
    return TrainingCrops(
        lr,
        hr,
        scale=probe.scale,
        crop=recipe["crop"],
        frames=max(recipe["frames"], late["frames"]),
        behind=probe.look_behind if is_real else 0,
        ahead=probe.look_ahead if is_real else 0,
        seed=spec["seed"],
        augment=recipe["augment"],
        phase=phase(spec["degradation"]),
    )


def is_resident(crops: TrainingCrops, resident: str, device: str) -> bool:
    """Decide whether clips are kept on the GPU: as asked for, else where they fit beside the training."""
    if not is_gpu(device) or resident != "auto":
        return resident == "always"
    return crops.nbytes < GPU_SHARE * torch.cuda.mem_get_info(device)[0]


def open_sets(manifests: Sequence[Path], stage_to: str | None) -> dict[str, np.ndarray]:
    """Open the clips of several data sets; of one set they keep their names, else its folder's comes first."""
    clips = {}
    for path in manifests:
        prefix = f"{path.parent.name}/" if len(manifests) > 1 else ""
        for name, clip in open_clips(stage_clips(path, stage_to)).items():
            clips[prefix + name] = clip
    return clips


def clip_checksums(manifest: Path) -> list[str]:
    """List the SHA-256 of the clips of a manifest, in order of their names."""
    return [entry["sha256"] for _, entry in sorted(read_manifest(manifest)["clips"].items())]


def write_results(trainer: Trainer, weights_path: Path) -> None:
    """Write the weights, the log and where they come from.

    ``model.safetensors`` holds the weights that the recipe's ``keep`` names. With a validation set the last and
    the best lie beside it.
    """
    trainer.check_lease()
    recipe, metadata = trainer.recipe, weights_metadata(trainer.spec)
    write_rows(weights_path.with_name("training.csv"), TRAINING_LOG.names, trainer.progress.rows)
    write_provenance(
        weights_path.with_name("provenance.json"),
        spec=trainer.spec,
        device=trainer.device,
        code=trainer.code,
        processes=trainer.group.size,
        best=trainer.progress.best,
        precision=trainer.progress.precision,
    )
    save_weights(weights_path, trainer.step.result, metadata)
    if trainer.progress.best is not None:
        last, best = (weights_path.with_name(f"{kind}.safetensors") for kind in ("last", "best"))
        os.replace(weights_path, last)
        best.write_bytes(trainer.checkpoint.best(trainer.progress.best["step"]).read_bytes())
        kept = best if recipe["keep"] == "best" else last
        with replace_when_complete(weights_path) as temporary:
            temporary.write_bytes(kept.read_bytes())
