"""What a lower precision does to the pictures: against the truth, against float32, and over a long clip."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rlsp.color import luma_of, rgb_to_y, to_8_bits
from rlsp.columns import PRECISIONS
from rlsp.data.clips import open_clips
from rlsp.devices import available_precisions, claim_device, describe_device
from rlsp.files import write_rows
from rlsp.inference.execution import fastest_execution
from rlsp.inference.restorer import Restorer
from rlsp.metrics.fidelity import crop_border, mse, psnr_from_mse
from rlsp.models.base import VideoModel
from rlsp.models.weights import load_weights

CROP = 8  # HR pixels, as in the headline protocol
PART = 100  # frames of the long clip that make one row


def there_and_back(clip: np.ndarray, frames: int) -> Iterator[np.ndarray]:
    """Play a clip (T, H, W, C) forwards and backwards without a cut, until there are so many frames."""
    order = [*range(len(clip)), *range(len(clip) - 2, 0, -1)]
    for index in itertools.islice(itertools.cycle(order), frames):
        yield clip[index]


def compare_frames(
    model: VideoModel, lr: np.ndarray, hr: np.ndarray, frames: int, *, precision: str, device: str
) -> np.ndarray:
    """Restore a clip there and back in float32 and in a lower precision, side by side.

    Parameters
    ----------
    model : VideoModel
        In evaluation mode.
    lr, hr : np.ndarray, (T, h, w, 3) and (T, scale * h, scale * w, 3), uint8
        The clip and its truth.
    frames : int
        Frames to restore; as many as the clip has are the clip itself.
    precision : str
        The lower precision.
    device : str
        Torch device.

    Returns
    -------
    np.ndarray, shape (frames, 3), float64
        For each frame the mean squared errors of luma: float32's 8-bit picture and the lower precision's against
        the truth, and the two unrounded outputs against each other; 8 pixels at each border left out.
    """
    streams = [
        Restorer(model, device=device, execution=fastest_execution(device, name)).frames(
            there_and_back(lr, frames)
        )
        for name in ("fp32", precision)
    ]
    rows = []
    for exact, rough, truth in zip(*streams, there_and_back(hr, frames), strict=True):
        target = crop_border(rgb_to_y(truth), CROP)
        errors = [mse(target, crop_border(luma_of(to_8_bits(sr)), CROP)) for sr in (exact, rough)]
        rows.append([*errors, mse(*(crop_border(luma_of(sr), CROP) for sr in (exact, rough)))])
    return np.array(rows)


def compare_precisions(
    runs: Sequence[Mapping[str, Any]],
    table_path: Path,
    *,
    weights: Sequence[Path],
    lr: Iterable[Path],
    hr: Iterable[Path],
    study: str,
    precisions: list[str],
    long_clip: int,
    threads: int,
    device: str,
) -> None:
    """Compare the pictures of precisions on test clips, and on the first one played there and back for long.

    Parameters
    ----------
    runs : sequence of mappings
        For each ``run`` the ``model``'s name, ``trusted_arch``, and its ``test_sets``.
    table_path : Path
        CSV file; columns in :data:`rlsp.columns.PRECISIONS`: PSNR-Y (dB, crop 8, of the mean squared error of the
        frames) against the truth in float32 and in the lower precision, their difference, and the PSNR between the two.
        ``part`` is "clip", or "long" with one row for each 100 frames.
    weights : sequence of Path
        Weights of each run.
    lr, hr : iterable of Path
        Manifests of the LR and the HR clips of the test sets of each run, one run after the other.
    study : str
        Name of the study.
    precisions : list of str
        Those to compare with float32; what the device does not have is left out.
    long_clip : int
        Frames of the long clip; 0 for none.
    threads : int
        CPU threads.
    device : str
        "auto", "cpu" or "cuda".
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    rows = []
    with claim_device(device) as where:
        lower = [precision for precision in precisions if precision in available_precisions(where)]
        manifests = zip(lr, hr, strict=True)
        opened = [
            (entry, file, {name: next(manifests) for name in entry["test_sets"]})
            for entry, file in zip(runs, weights, strict=True)
        ]
        for (entry, file, test_sets), precision in itertools.product(opened, lower):
            model = load_weights(file, trusted_arch=entry["trusted_arch"])[0].eval()
            for dataset, pair in test_sets.items():
                lr_clips, hr_clips = (open_clips(manifest) for manifest in pair)
                labels = {
                    "study": study, "run": entry["run"], "model": entry["model"], "dataset": dataset,
                    "precision": precision, "mode": fastest_execution(where).mode,
                    "device": describe_device(where), "threads": threads,
                }  # fmt: skip
                for name, clip in lr_clips.items():
                    errors = compare_frames(
                        model, clip, hr_clips[name], len(clip), precision=precision, device=where
                    )
                    rows.append(labels | {"clip": name, "part": "clip"} | _row(errors, 0))
                name = next(iter(lr_clips)) if long_clip else None
                parts = _long_parts(model, lr_clips, hr_clips, name, long_clip, precision, where)
                for start, errors in parts:
                    rows.append(labels | {"clip": name, "part": "long"} | _row(errors, start))
    write_rows(table_path, PRECISIONS.names, rows)


def _long_parts(
    model: VideoModel,
    lr: dict[str, np.ndarray],
    hr: dict[str, np.ndarray],
    name: str | None,
    frames: int,
    precision: str,
    device: str,
) -> Iterator[tuple[int, np.ndarray]]:
    """Compare a long clip and cut what was measured into parts."""
    if name is not None:
        errors = compare_frames(model, lr[name], hr[name], frames, precision=precision, device=device)
        for start in range(0, frames, PART):
            yield start, errors[start : start + PART]


def _row(errors: np.ndarray, start: int) -> dict[str, float]:
    """Turn mean squared errors of frames into the numbers of a row."""
    exact, rough, between = (psnr_from_mse(float(column.mean())) for column in errors.T)
    return {
        "first_frame": start, "frames": len(errors), "psnr_y_fp32": exact, "psnr_y": rough,
        "difference_db": rough - exact, "psnr_between": between,
    }  # fmt: skip
