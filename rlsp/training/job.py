"""A training from its clips on disk to its weights: what is asked for, prepared, run and written."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from torch.distributed import is_torchelastic_launched

from rlsp.columns import TRAINING_LOG
from rlsp.config.specs.runs import Training
from rlsp.data.clips import open_clips, read_manifest
from rlsp.data.degradation import phase
from rlsp.data.staging import stage_clips
from rlsp.devices import claim_device, gpu_errors, is_gpu, warn_if_emulated
from rlsp.errors import DataError
from rlsp.files import replace_when_complete, write_rows
from rlsp.models import build_model
from rlsp.models.weights import save_weights
from rlsp.provenance import write_provenance
from rlsp.training.crops import TrainingCrops
from rlsp.training.distributed import Group, check_shares, launch, process_group
from rlsp.training.lease import hold_lease
from rlsp.training.loop import Trainer, model_spec, weights_metadata
from rlsp.training.resident import ResidentCrops
from rlsp.training.taking import find_equal, take_weights

WHEN_FULL = (
    "set training.resident: never, lower the recipe's batch or crop or training.runs_per_gpu, "
    "or take a GPU with more memory"
)
STOP_MARGIN = 300  # seconds before the end of a job's time: a validation, and a checkpoint on a slow disk
# Part of a GPU's free memory that resident clips may take: REDS's 69 GB fit into 80 GB, and what is left holds any
# training of the paper study.
GPU_SHARE = 0.85


@dataclass(frozen=True)
class TrainingJob:
    """What a training is asked for.

    Attributes
    ----------
    spec : Training
        All that decides the weights.
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
    runs_per_gpu : int or "auto"
        Trainings that may share a GPU; "auto": as many as fill it.
    start : sequence of Path
        Weights that the training begins with: one file, or none.
    equal : sequence of Path
        Folders of weights of studies that this one extends: an equal training is taken from there.
    """

    spec: Training
    hr_manifests: Sequence[Path]
    lr_manifests: Sequence[Path]
    weights_path: Path
    folder: Path
    device: str = "cpu"
    processes: int = 1
    workers: int = 0
    resident: str = "auto"
    stage_to: str | None = None
    walltime: float | None = None
    runs_per_gpu: int | str = 1
    start: Sequence[Path] = ()
    equal: Sequence[Path] = ()

    @property
    def places(self) -> int:
        """How many trainings share a GPU; see :func:`rlsp.devices.claim_device`."""
        if self.runs_per_gpu != "auto":
            return int(self.runs_per_gpu)
        return 1 if self.processes > 1 else self.spec.recipe.runs_that_fill


def train(job: TrainingJob) -> None:
    """Train one run, going on from its last checkpoint if there is one.

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
    source = find_equal(job.spec, job.equal, [*job.hr_manifests, *job.lr_manifests])
    if source is not None:
        print(f"taken from {source}: an equal training of a study that this one extends")
        take_weights(source, job.weights_path)
    elif job.processes > 1 and not is_torchelastic_launched():
        check_shares(job.spec.recipe, job.processes)
        launch(job.processes, train_here, job)
    else:
        train_here(job)


def train_here(job: TrainingJob) -> None:
    """Train in this process, alone or as one of a group; see :func:`train`."""
    stop_at = stop_time(job.walltime)
    torch.set_num_threads(job.spec.recipe.threads)
    torch.set_flush_denormal(True)
    with (
        claim_device(job.device, places=job.places) as device,
        process_group(device) as group,
        held_by_main(job.folder, group) as check_lease,  # before anything expensive
        gpu_errors(device, "the same command goes on from the last checkpoint", when_full=WHEN_FULL),
    ):
        check_shares(job.spec.recipe, group.size)
        trainer = prepare(job, device, group, stop_at=stop_at, check_lease=check_lease)
        trainer.stop_on_signal()
        with trainer.checkpoint.divergence_marked(is_main=group.is_main):
            trainer.resume()
            if group.is_main:
                warn_if_emulated(trainer.progress.precision, device)
            trainer.run()
        if group.is_main:
            write_results(trainer, job.weights_path)


def prepare(
    job: TrainingJob, device: str, group: Group, *, stop_at: float, check_lease: Callable[[], None]
) -> Trainer:
    """Open the clips of a training and build its trainer; nothing is resumed yet."""
    spec, manifests = job.spec, (job.lr_manifests, job.hr_manifests)
    count = len(spec.train_sets)
    lr, hr = (open_sets(paths[:count], job.stage_to) for paths in manifests)
    validation = [open_sets(paths[count:], None) for paths in manifests]
    if held_out := spec.validation_clips:
        names = held_out_names(sorted(hr), held_out)
        validation = [{name: clips.pop(name) for name in names} for clips in (lr, hr)]
    crops, workers = make_crops(spec, lr, hr), job.workers
    if is_resident(crops, job.resident, device, places=job.places):
        crops, workers = ResidentCrops(crops, device), 0
    return Trainer(
        spec,
        crops,
        job.folder,
        device,
        [sha256 for path in (*job.hr_manifests, *job.lr_manifests) for sha256 in clip_checksums(path)],
        group=group,
        workers=workers,
        validation=tuple(validation) if validation[0] else None,
        start=job.start,
        stop_at=stop_at,
        check_lease=check_lease,
    )


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


def make_crops(spec: Training, lr: dict[str, np.ndarray], hr: dict[str, np.ndarray]) -> TrainingCrops:
    """Make the crops that a training's recipe and model ask for from its LR and HR clips."""
    recipe, probe = spec.recipe, build_model(model_spec(spec))
    is_real = recipe.context == "real"
    return TrainingCrops(
        lr,
        hr,
        scale=probe.scale,
        crop=recipe.crop,
        frames=recipe.longest,
        behind=probe.look_behind if is_real else 0,
        ahead=probe.look_ahead if is_real else 0,
        seed=spec.seed,
        augment=recipe.augment,
        phase=phase(spec.degradation),
    )


def is_resident(crops: TrainingCrops, resident: str, device: str, *, places: int = 1) -> bool:
    """Decide whether clips are kept on the GPU: as asked for, else where they fit beside the training.

    Of a shared GPU each of `places` trainings takes its part of the whole memory, whoever came first.
    """
    if not is_gpu(device) or resident != "auto":
        return resident == "always"
    free, whole = torch.cuda.mem_get_info(device)
    return crops.nbytes < GPU_SHARE * (free if places == 1 else min(free, whole / places))


def open_sets(manifests: Sequence[Path], stage_to: str | None) -> dict[str, np.ndarray]:
    """Open the clips of several data sets; of one set they keep their names, else its folder's comes first."""
    clips = {}
    for path in manifests:
        prefix = f"{path.parent.name}/" if len(manifests) > 1 else ""
        for name, clip in open_clips(stage_clips(path, stage_to)).items():
            clips[prefix + name] = clip
    return clips


def held_out_names(names: Sequence[str], count: int) -> list[str]:
    """Choose clips for validation, evenly spread over all names: the same for every run of a study.

    Raises
    ------
    DataError
        None would be left to train on.
    """
    if count >= len(names):
        raise DataError(
            f"validation_clips: expected fewer than the {len(names)} clips that there are, got {count}"
        )
    return [names[(2 * i + 1) * len(names) // (2 * count)] for i in range(count)]


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
        spec=trainer.spec.dump(),
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
        kept = best if recipe.keep == "best" else last
        with replace_when_complete(weights_path) as temporary:
            temporary.write_bytes(kept.read_bytes())
