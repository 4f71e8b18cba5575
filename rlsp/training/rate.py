"""How many training steps a second a device does, beside a plain loop over PNG files."""

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlsp.clock import GpuTimer
from rlsp.config.constants import PASSES
from rlsp.config.specs.runs import Training
from rlsp.data.images import read_png, write_png
from rlsp.devices import claim_device, describe_device, is_gpu, native_precision, warn_if_emulated
from rlsp.models import build_model
from rlsp.models.complexity import count_macs
from rlsp.training.crops import Batches, TrainingCrops, batch_shape, read_batches
from rlsp.training.job import is_resident, make_crops, open_sets
from rlsp.training.loop import model_spec
from rlsp.training.resident import ResidentCrops
from rlsp.training.step import GRAPH_WARMUP, TrainingStep, initialise

LEAST_STEPS = 3  # of a measurement, however long they take
ENDLESS = 10**9  # steps of the batches that are drawn: no measurement comes to their end
PLAIN_CLIPS = 4  # clips written as PNG files for the plain loop: enough to draw from, quickly written


@dataclass
class Loop:
    """A training loop that can be asked for more steps.

    Attributes
    ----------
    batches : iterator
        Its batches.
    step : callable
        Does a step on a batch.
    facts : dict
        What the table says about it.
    warmup : int
        Steps before the first that counts.
    steps : int
        Steps of a measurement, set by :meth:`warm_up`.
    """

    batches: Iterator[tuple[Tensor, Tensor]]
    step: Callable[[Tensor, Tensor], Tensor]
    facts: dict[str, Any]
    warmup: int
    steps: int = LEAST_STEPS

    def warm_up(self, seconds: float, device: str) -> None:
        """Run until kernels are chosen and graphs recorded, and find how many steps take so many seconds."""
        self.run(device, self.warmup)
        steps = 1
        while True:
            rate, _ = self.run(device, steps)
            if steps >= rate * seconds / 4:
                break
            steps = min(2 * steps + 1, math.ceil(rate * seconds))
        self.steps = max(LEAST_STEPS, round(rate * seconds))

    def run(self, device: str, steps: int | None = None) -> tuple[float, float]:
        """Do some steps; returns steps a second and the part of the time in which the device was at work.

        On a CPU it is at work when the loop does not wait for a batch. On a GPU the span of each step from its first
        to its last kernel counts, gaps between kernels included, taken from events, which do not stop the loop;
        of clips that lie on the GPU, cutting the batch belongs to it.
        """
        steps = self.steps if steps is None else steps
        on_gpu = is_gpu(device)
        timers: list[GpuTimer] = []
        waited = 0.0
        _synchronise(device)
        started = time.perf_counter()
        for _ in range(steps):
            if on_gpu:
                timers.append(GpuTimer(device))
            asked = time.perf_counter()
            batch = next(self.batches)
            waited += time.perf_counter() - asked
            if on_gpu and not self.facts["resident"]:
                timers[-1].start()  # again: until now the GPU waited
            self.step(*batch)
            if on_gpu:
                timers[-1].stop()
        _synchronise(device)
        seconds = time.perf_counter() - started
        busy = sum(timer.seconds() for timer in timers) if on_gpu else seconds - waited
        return steps / seconds, min(1.0, busy / seconds)


def _synchronise(device: str) -> None:
    if is_gpu(device):
        torch.cuda.synchronize(device)


def measure_rates(
    trainings: list[tuple[str, Training, list[Path], list[Path]]],
    *,
    device: str,
    workers: int,
    resident: str,
    seconds: float,
    rounds: int,
    matrix_rate: Callable[[str, str], float],
) -> Iterator[list[dict[str, Any]]]:
    """Measure the steps a second of trainings, in turns, each beside a plain loop.

    The plain loop is what one writes first: PNG files decoded for every crop, float32 without TF32, channels
    first, torch's Adam as it is, one process. Both do the same batches of the same model.

    Parameters
    ----------
    trainings : list of (str, Training, list of Path, list of Path)
        Name of the model, what decides its weights, manifests of HR and of LR.
    device : str
        "auto", "cpu" or "cuda".
    workers, resident
        See :class:`rlsp.training.TrainingJob`; of the loop that is not plain.
    seconds : float
        Time of each loop in a round, after a warm-up; it does three steps at least.
    rounds : int
        Rounds.
    matrix_rate : callable
        Tells how many operations a second a device does at most, given its name and a precision; see
        :func:`rlsp.timing.hardware.measure_matrix_rate`.

    Yields
    ------
    list of dict
        The rows of a training, one for each loop and round, with the keys of `rlsp.columns.TRAINING_RATE`.
    """
    torch.set_flush_denormal(True)
    with claim_device(device) as where, tempfile.TemporaryDirectory() as scratch:
        for number, (name, spec, hr, lr) in enumerate(trainings):
            spec = spec.changed(recipe=spec.recipe.changed(steps=ENDLESS))
            torch.set_num_threads(spec.recipe.threads)
            crops = make_crops(spec, open_sets(lr, None), open_sets(hr, None))
            loops = [
                plain_loop(spec, crops, Path(scratch) / str(number), where),
                own_loop(spec, crops, where, workers=workers, resident=resident),
            ]
            constant = {
                "device": describe_device(where), "threads": torch.get_num_threads(), "model": name,
                "gmac_per_step": gmac_per_step(spec),
            }  # fmt: skip
            for loop in loops:
                loop.facts["matrix_tflops"] = matrix_rate(where, loop.facts["precision"]) / 1e12
                loop.warm_up(seconds, where)
            rows = []
            for turn, loop in product(range(rounds), loops):
                rate, busy = loop.run(where)
                measured = {"round": turn, "steps": loop.steps, "steps_per_second": rate, "device_busy": busy}
                rows.append({**constant, **loop.facts, **measured})
            yield rows


def gmac_per_step(spec: Training) -> float:
    """Count a step's multiply-accumulates in thousand millions, forward and backward, at the recipe's first batch."""
    recipe = spec.recipe
    size, frames = batch_shape(0, recipe)
    macs = count_macs(model_spec(spec), (recipe.crop, recipe.crop))
    return PASSES * macs * size * frames / 1e9


def own_loop(spec: Training, crops: TrainingCrops, device: str, *, workers: int, resident: str) -> Loop:
    """Set up this package's loop, as :class:`rlsp.training.Trainer` does."""
    recipe = spec.recipe.changed(precision=native_precision(spec.recipe.precision, device))
    warn_if_emulated(recipe.precision, device)
    model = build_model(model_spec(spec))
    initialise(model, recipe, spec.seed)
    step = TrainingStep(model.to(device, memory_format=torch.channels_last).train(), recipe)
    is_placed = is_resident(crops, resident, device)
    crops = ResidentCrops(crops, device) if is_placed else crops
    workers = 0 if is_placed else workers
    batches = read_batches(
        Batches(crops, recipe), 0, workers=workers, pin_memory=workers > 0 and is_gpu(device)
    )
    facts = {
        **{key: getattr(recipe, key) for key in ("precision", "execution", "optimizer", "batch", "crop", "frames")},
        "loop": "rlsp", "workers": workers, "resident": is_placed,
    }  # fmt: skip
    return Loop(batches, lambda lr, hr: step(lr, hr, recipe.learning_rate), facts, warmup=GRAPH_WARMUP + 2)


def plain_loop(spec: Training, crops: TrainingCrops, folder: Path, device: str) -> Loop:
    """Set up the loop that one writes first, on some of the clips written as PNG files."""
    recipe = spec.recipe
    model = build_model(model_spec(spec))
    initialise(model, recipe, spec.seed)
    model.to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    files = png_crops(crops, folder)

    def step(lr: Tensor, hr: Tensor) -> Tensor:
        optimizer.zero_grad()
        mse = model.loss(lr.to(device).float().contiguous(), hr.to(device).float().contiguous())
        (mse * (recipe.input_range / 255) ** 2).backward()
        if recipe.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        return mse.detach()

    facts = {
        **{key: getattr(recipe, key) for key in ("batch", "crop", "frames")},
        "loop": "plain", "precision": "fp32", "execution": "eager", "optimizer": "adam", "workers": 0,
        "resident": False,
    }  # fmt: skip
    return Loop(read_batches(Batches(files, recipe), 0), step, facts, warmup=1)


def png_crops(crops: TrainingCrops, folder: Path) -> TrainingCrops:
    """Draw crops whose frames are decoded from PNG files each time, as a loop over a downloaded data set does.

    Parameters
    ----------
    crops : TrainingCrops
        What is drawn from; the first clips are written to `folder`.
    folder : Path
        Receives the files.
    """
    sides = {"lr": crops.lr_clips, "hr": crops.hr_clips}
    lr, hr = (
        {
            name: PngClip(clips[name], folder / side / str(number))
            for number, name in enumerate(crops.names[:PLAIN_CLIPS])
        }
        for side, clips in sides.items()
    )
    return crops.with_clips(lr, hr)


class PngClip:
    """A clip as a folder of PNG files that is cut like an array.

    Parameters
    ----------
    clip : ndarray, shape (T, h, w, 3), uint8
        The frames.
    folder : Path
        Receives ``00000000.png``, ...
    """

    def __init__(self, clip: np.ndarray, folder: Path) -> None:
        self.shape = clip.shape
        self.files = [folder / f"{t:08d}.png" for t in range(len(clip))]
        for file, frame in zip(self.files, clip, strict=True):
            write_png(file, np.asarray(frame))

    def __getitem__(self, window: tuple[slice, slice, slice]) -> np.ndarray:
        """Decode whole frames and keep the window of each."""
        frames, *place = window
        return np.stack([read_png(file)[tuple(place)] for file in self.files[frames]])
