"""Restore data sets to 8-bit pictures on disk."""

import sys
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rlsp.config.specs.degradations import parse_degradation
from rlsp.data.clips import open_clips
from rlsp.data.degradation import phase
from rlsp.data.images import write_png
from rlsp.devices import claim_device, gpu_errors
from rlsp.errors import DataError
from rlsp.files import write_json
from rlsp.inference.execution import fastest_execution
from rlsp.inference.restorer import Restorer
from rlsp.models import build_model
from rlsp.models.base import VideoModel
from rlsp.models.weights import expected_input, load_weights

WHEN_FULL = "take a GPU with more memory or fewer users, or the device cpu"
WRITERS = 2  # threads that write pictures beside the network


def restore_clip(
    restorer: Restorer, lr: Iterable[np.ndarray], folder: Path, *, phase: float
) -> dict[str, list[str] | None]:
    """Restore a clip to 8-bit PNG pictures.

    Parameters
    ----------
    restorer : Restorer
        The model.
    lr : iterable of ndarray, shape (h, w, 3), uint8
        LR frames.
    folder : Path
        Receives ``rgb/00000000.png``, ... and, of a luma model, ``y/00000000.png``, ...
    phase : float
        HR coordinate of the centre of LR pixel 0.

    Returns
    -------
    dict
        ``rgb`` and ``y``: paths relative to the parent of ``folder``, or None.

    Raises
    ------
    DataError
        The model put out what is no finite number.
    """

    def write(index: int, rgb: np.ndarray, y: np.ndarray | None) -> None:
        write_png(folder / "rgb" / f"{index:08d}.png", rgb)
        if y is not None:
            write_png(folder / "y" / f"{index:08d}.png", y)

    kinds = ("rgb", "y") if restorer.model.output == "y" else ("rgb",)
    for kind in kinds:
        (folder / kind).mkdir(parents=True, exist_ok=True)
    count = 0
    # Compressing PNG takes longer than a small network; a bounded queue keeps the memory constant.
    with ThreadPoolExecutor(WRITERS) as pool:
        pending: deque[Future] = deque()
        for rgb, y in restorer.pictures(lr, phase, name=str(folder)):
            pending.append(pool.submit(write, count, rgb, y))
            count += 1
            if len(pending) > 2 * WRITERS:
                pending.popleft().result()
        for job in pending:
            job.result()
    names = [f"{index:08d}.png" for index in range(count)]
    return {
        kind: [f"{folder.name}/{kind}/{name}" for name in names] if kind in kinds else None
        for kind in ("rgb", "y")
    }


def restore_dataset(
    model: VideoModel,
    lr_manifest: Path,
    manifest_path: Path,
    *,
    run: str,
    phase: float,
    device: str = "cpu",
    precision: str = "fp32",
) -> None:
    """Restore every clip of a data set; the manifest is written last.

    Parameters
    ----------
    model : VideoModel
        The method.
    lr_manifest : Path
        Manifest of the LR clips.
    manifest_path : Path
        Manifest of the restored frames, which are written beside it.
    run : str
        Name of the run.
    phase : float
        HR coordinate of the centre of LR pixel 0.
    device : str
        "auto", "cpu" or "cuda".
    precision : str
        Of the network; see :func:`rlsp.inference.execution.fastest_execution`.

    Raises
    ------
    ConfigError
        The device does not have the precision.
    DeviceError
        The GPU failed, was lost, or its memory is full.
    """
    torch.set_flush_denormal(True)
    folder = manifest_path.parent
    with claim_device(device) as where, gpu_errors(where, "run it again", when_full=WHEN_FULL):
        restorer = Restorer(model.eval(), device=where, execution=fastest_execution(where, precision))
        clips = {
            name: restore_clip(restorer, clip, folder / name, phase=phase)
            for name, clip in open_clips(lr_manifest).items()
        }
    write_json(manifest_path, {"run": run, "dataset": folder.name, "clips": clips})


def restore_run(
    weights: Sequence[Path],
    lr_manifest: Path,
    manifest_path: Path,
    *,
    run: str,
    degradation: dict,
    threads: int,
    device: str,
    precision: str = "fp32",
    trusted_arch: str | None = None,
) -> None:
    """Restore a data set with trained or released weights or, without any, by bicubic interpolation.

    Parameters
    ----------
    weights : sequence of Path
        One file, see :func:`rlsp.models.weights.load_weights`, or none.
    lr_manifest, manifest_path, run, device, precision
        See :func:`restore_dataset`.
    degradation : dict
        How the LR clips were made; interpolation and chroma are aligned to its phase.
    threads : int
        CPU threads.
    trusted_arch : str, optional
        Class of the user's own that the weights may name.

    Raises
    ------
    DataError
        The weights cannot be read, are of another scale, do not say what input they expect, or put out what is no
        finite number.
    ConfigError, DeviceError
        See :func:`restore_dataset`.
    """
    torch.set_num_threads(threads)
    at = phase(degradation)
    if weights:
        model, metadata = load_weights(weights[0], trusted_arch=trusted_arch)
        _check_input(weights[0], metadata, degradation)
    else:
        model = build_model({"arch": "bicubic", "scale": degradation["scale"], "phase": at})
    restore_dataset(model, lr_manifest, manifest_path, run=run, phase=at, device=device, precision=precision)


def _check_input(path: Path, metadata: dict[str, Any], degradation: dict[str, Any]) -> None:
    """Refuse weights of another scale, and say when they were trained for another input."""
    spec = expected_input(path, metadata)
    if spec.scale != degradation["scale"]:
        raise DataError(f"{path}: expected weights of scale {degradation['scale']}, got scale {spec.scale}")
    if spec.dump() != parse_degradation(degradation).dump():
        given = ", ".join(f"{key} {value}" for key, value in degradation.items())
        trained = ", ".join(f"{key} {value}" for key, value in spec.dump().items())
        print(f"warning: {path}: trained for {trained}; restores {given}", file=sys.stderr)
