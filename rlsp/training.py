"""Training: one loop for every model, exact resume, the same bytes for the same seed on a CPU."""

import csv
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn
from tqdm import tqdm

from rlsp.clips import open_clips, read_manifest
from rlsp.config import spec_hash
from rlsp.datasets import TrainingCrops
from rlsp.devices import claim_device
from rlsp.errors import ConfigError, TrainingError
from rlsp.lease import Lease, hold_lease
from rlsp.models import build_model
from rlsp.models.base import VideoModel
from rlsp.provenance import TRAINING_MODULES, write_provenance
from rlsp.weights import save_weights

LARGEST_LOSS = 255**2  # squared grey levels: white for black everywhere is no picture any more
COLUMNS = ["step", "loss", "psnr", "learning_rate", "steps_per_second"]


@dataclass
class Progress:
    """Everything that a resumed training needs besides the weights."""

    step: int = 0
    seconds: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)


def learning_rate_at(step: int, recipe: dict[str, Any]) -> float:
    """Learning rate of one step (counted from 0): linear warm-up, then constant or half a cosine to 0."""
    warmup = round(recipe["warmup"] * recipe["steps"])
    if step < warmup:
        return recipe["learning_rate"] * (step + 1) / warmup
    if recipe["schedule"] == "constant":
        return recipe["learning_rate"]
    done = (step - warmup) / max(1, recipe["steps"] - warmup)
    return recipe["learning_rate"] * 0.5 * (1 + math.cos(math.pi * done))


def initialise(model: VideoModel, recipe: dict[str, Any], seed: int) -> None:
    """Draw the first weights: the recipe's ``init``, zero biases, the output scaled by ``head_scale``."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            if recipe["init"] == "he-normal":
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            else:  # the default of TensorFlow 1, which the authors used
                nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if recipe["head_scale"] != 1:
        try:
            model.scale_output(recipe["head_scale"])
        except NotImplementedError as error:
            raise ConfigError(f"head_scale: expected 1, as {error}") from error


class Trainer:
    """One training run, able to stop at any step and go on from there.

    Parameters
    ----------
    spec : dict
        ``model``, ``recipe``, ``degradation``, ``train_set`` (resolved entries) and ``seed``.
    crops : TrainingCrops
        The data.
    folder : Path
        Where checkpoints and TensorBoard events go.
    device : str
        "cpu" or a CUDA device.
    data : list of str
        Checksums of the clips; a checkpoint of other clips is refused.
    """

    def __init__(
        self, spec: dict[str, Any], crops: TrainingCrops, folder: Path, device: str, data: Sequence[str] = ()
    ) -> None:
        self.spec, self.recipe, self.crops = spec, spec["recipe"], crops
        self.folder, self.device = folder, device
        self.fingerprint = spec_hash([spec, data])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec["seed"])  # for layers that the recipe's init does not know
            self.model = build_model(model_spec(spec))
        initialise(self.model, self.recipe, spec["seed"])
        self.model.to(device, memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=self.recipe["learning_rate"], fused=True
        )
        self.progress = Progress()
        self.stopped_by: str | None = None
        self.lease: Lease | None = None
        self.deadline = math.inf

    @property
    def checkpoint(self) -> Path:
        """The file that a killed training resumes from."""
        return self.folder / "state.pt"

    def resume(self) -> None:
        """Load the checkpoint, if there is one.

        Raises
        ------
        TrainingError
            The checkpoint is damaged or belongs to another configuration.
        """
        if not self.checkpoint.exists():
            return
        try:
            saved = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            found = saved["fingerprint"]
        except Exception as error:  # torch raises many kinds for damaged files
            raise TrainingError(
                f"{self.checkpoint}: cannot be read ({error}); delete it to restart"
            ) from error
        if found != self.fingerprint:
            raise TrainingError(
                f"{self.checkpoint}: belongs to configuration and data {found}, expected {self.fingerprint}; "
                "delete it to restart"
            )
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.progress = Progress(**saved["progress"])

    def save(self) -> None:
        """Write the checkpoint, replacing the last one in one step."""
        if self.lease:
            self.lease.check()
        temporary = self.checkpoint.with_suffix(".part")
        state = {
            "fingerprint": self.fingerprint,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": vars(self.progress),
        }
        torch.save(state, temporary)
        os.replace(temporary, self.checkpoint)

    def train_step(self, step: int) -> torch.Tensor:
        """Do one step of Adam; returns the mean squared error in squared grey levels (not synchronised)."""
        lr, hr = (part.to(self.device).float() for part in self.crops.batch(step, self.recipe["batch"]))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(step, self.recipe)
        self.optimizer.zero_grad(set_to_none=True)
        mse = self.model.loss(lr, hr)
        # The loss is taken in the units of input_range, which is what clip_norm refers to.
        (mse * (self.recipe["input_range"] / 255) ** 2).backward()
        if self.recipe["clip_norm"] is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe["clip_norm"])
        self.optimizer.step()
        return mse.detach()

    def run(self) -> None:
        """Train to the recipe's last step, writing checkpoints and events on the way.

        Raises
        ------
        TrainingError
            The loss is not finite or explodes, or a signal asked to stop (after saving a checkpoint).
        """
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        steps, log_every = self.recipe["steps"], self.recipe["log_every"]
        started = time.monotonic() - self.progress.seconds
        window: list[torch.Tensor] = []
        self.stop_on_signal()
        with (
            SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.progress.step) as events,
            tqdm(
                total=steps,
                initial=self.progress.step,
                unit="step",
                mininterval=0.5 if sys.stderr.isatty() else 10,  # seconds; a log file is read with tail
            ) as bar,
        ):
            for step in range(self.progress.step, steps):
                window.append(self.train_step(step))
                self.progress.step = step + 1
                bar.update()
                if (step + 1) % log_every == 0 or step + 1 == steps:
                    self.progress.seconds = time.monotonic() - started
                    row = self.log(torch.stack(window).double().mean().item(), len(window))
                    window.clear()
                    for name in ("loss", "psnr", "learning_rate"):
                        events.add_scalar(name, row[name], step + 1)
                    bar.set_postfix(loss=f"{row['loss']:.1f}", psnr=f"{row['psnr']:.2f} dB")
                    if (step + 1) % self.recipe["checkpoint_every"] == 0 or step + 1 == steps:
                        self.save()
                    self.stop_if_asked()

    def log(self, mse: float, steps: int) -> dict[str, float]:
        """Add one row to the log and check the loss."""
        step, rows = self.progress.step, self.progress.rows
        if not math.isfinite(mse) or mse > LARGEST_LOSS:
            raise TrainingError(
                f"loss is {mse:g} squared grey levels at step {step}: training diverged; lower the recipe's "
                f"learning_rate ({self.recipe['learning_rate']:g}), or set clip_norm or head_scale"
            )
        before = rows[-1]["seconds"] if rows else 0.0
        row = {
            "step": step,
            "loss": mse,
            "psnr": 10 * math.log10(255**2 / mse) if mse > 0 else math.inf,
            "learning_rate": learning_rate_at(step - 1, self.recipe),
            "steps_per_second": steps / max(self.progress.seconds - before, 1e-9),
            "seconds": self.progress.seconds,
        }
        rows.append(row)
        return row

    def stop_on_signal(self) -> None:
        """On SIGTERM (a scheduler's walltime) stop at the next log row, after writing a checkpoint."""

        def note(number: int, _frame: object) -> None:
            self.stopped_by = signal.Signals(number).name

        signal.signal(signal.SIGTERM, note)

    def stop_if_asked(self) -> None:
        """Save and stop if a signal came or the time is up."""
        if time.time() > self.deadline:
            self.stopped_by = "its walltime"
        if self.stopped_by:
            self.save()
            raise TrainingError(
                f"stopped by {self.stopped_by} at step {self.progress.step}; the same command goes on from there"
            )


def model_spec(spec: dict[str, Any]) -> dict[str, Any]:
    """Specification of the model that a training builds: its catalogue entry, on the recipe's input range."""
    return {**spec["model"], "input_range": spec["recipe"]["input_range"]}


def train(
    spec: dict[str, Any],
    *,
    hr_manifest: Path,
    lr_manifest: Path,
    weights_path: Path,
    folder: Path,
    device: str = "cpu",
    walltime: float | None = None,
) -> None:
    """Train one run, going on from its last checkpoint if there is one.

    Parameters
    ----------
    spec : dict
        ``model``, ``recipe``, ``degradation``, ``train_set`` (resolved entries) and ``seed``.
    hr_manifest, lr_manifest : Path
        Manifests of the training clips and of their LR.
    weights_path : Path
        Receives the weights; ``training.csv`` and ``provenance.json`` are written beside it.
    folder : Path
        Keeps checkpoints; must survive a failed job.
    device : str
        "auto", "cpu" or "cuda".
    walltime : float, optional
        Minutes that the scheduler gives the job; the training stops itself before they are over.

    Raises
    ------
    TrainingError
        Another trainer is at work, the checkpoint does not fit, the loss diverges, or a signal came.
    DataError
        The clips are smaller than the recipe's crop.
    """
    recipe = spec["recipe"]
    torch.set_num_threads(recipe["threads"])
    torch.set_flush_denormal(True)
    with hold_lease(folder) as lease, claim_device(device) as where:
        probe = build_model(model_spec(spec))
        real = recipe["context"] == "real"
        crops = TrainingCrops(
            open_clips(lr_manifest),
            open_clips(hr_manifest),
            scale=probe.scale,
            crop=recipe["crop"],
            frames=recipe["frames"],
            behind=probe.look_behind if real else 0,
            ahead=probe.look_ahead if real else 0,
            seed=spec["seed"],
        )
        data = [sha256 for path in (hr_manifest, lr_manifest) for sha256 in clip_checksums(path)]
        trainer = Trainer(spec, crops, folder, where, data)
        trainer.lease, trainer.deadline = lease, deadline_of(walltime)
        trainer.resume()
        trainer.run()
        write_log(weights_path.with_name("training.csv"), trainer.progress.rows)
        metadata = {
            "model": model_spec(spec),
            "degradation": spec["degradation"],
            "source": "trained by rlsp",
        }
        write_provenance(
            weights_path.with_name("provenance.json"), spec=spec, device=where, modules=TRAINING_MODULES
        )
        save_weights(weights_path, trainer.model, metadata)
        trainer.checkpoint.unlink()  # a training that is asked for again is a new one


def deadline_of(walltime: float | None) -> float:
    """Time of day at which a job of so many minutes stops itself: 5 minutes early, half-way at the latest."""
    if walltime is None:
        return math.inf
    return psutil.Process().create_time() + 60 * walltime - min(300, 30 * walltime)


def clip_checksums(manifest: Path) -> list[str]:
    """List the SHA-256 of the clips of a manifest, in order of their names."""
    return [entry["sha256"] for _, entry in sorted(read_manifest(manifest)["clips"].items())]


def write_log(path: Path, rows: list[dict[str, float]]) -> None:
    """Write ``training.csv``: step, loss (squared grey levels), psnr (dB), learning_rate, steps_per_second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
