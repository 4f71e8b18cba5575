"""Restoring clips frame by frame, in memory that does not grow with the clip."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlsp.clips import open_clips, write_manifest, write_png
from rlsp.color import rgb_to_ycbcr, ycbcr_to_rgb
from rlsp.degradation import phase
from rlsp.devices import claim_device
from rlsp.models import build_model
from rlsp.models.base import VideoModel
from rlsp.models.bicubic import upsample_bicubic
from rlsp.weights import load_weights

WRITERS = 2  # threads that add colour and write pictures beside the network


def windows(
    frames: Iterable[Tensor], behind: int, ahead: int, missing: Callable[[Tensor], Tensor]
) -> Iterator[list[Tensor]]:
    """Slide over a stream of frames, keeping ``behind + 1 + ahead`` of them.

    Parameters
    ----------
    frames : iterable of Tensor
        Frames in order of time.
    behind, ahead : int
        Neighbours before and after the current frame.
    missing : callable
        Makes what stands beyond the end of the clip from its first or last frame.

    Yields
    ------
    list of Tensor
        One window for each frame, in order.
    """
    window: deque[Tensor] = deque(maxlen=behind + 1 + ahead)
    last = None
    for last in frames:
        if not window:
            window.extend([missing(last)] * behind)
        window.append(last)
        if len(window) == window.maxlen:
            yield list(window)
    for _ in range(ahead if last is not None else 0):
        window.append(missing(last))
        if len(window) == window.maxlen:
            yield list(window)


def restore_stream(
    model: VideoModel, frames: Iterable[np.ndarray], *, device: str = "cpu"
) -> Iterator[np.ndarray]:
    """Restore a stream of LR frames, ``look_ahead`` frames behind the input.

    Parameters
    ----------
    model : VideoModel
        In evaluation mode.
    frames : iterable of ndarray, shape (h, w, 3), uint8
        LR frames, RGB.
    device : str
        Torch device.

    Yields
    ------
    ndarray, shape (scale * h, scale * w) or (scale * h, scale * w, 3), float32
        Luma of a "y" model (16..235 in range, not rounded), RGB (0..255) of an "rgb" model.
    """
    model = model.to(device, memory_format=torch.channels_last)
    carry: Any = None
    with torch.inference_mode():
        tensors = (torch.from_numpy(np.array(f)).to(device).permute(2, 0, 1)[None].float() for f in frames)
        for window in windows(tensors, model.look_behind, model.look_ahead, model.missing_neighbour):
            sr, carry = model.step(torch.stack(window, dim=1), carry)
            yield (
                sr[0].permute(1, 2, 0).cpu().numpy().squeeze(2)
                if model.output == "y"
                else (sr[0].permute(1, 2, 0).cpu().numpy())
            )


def to_picture(frame: np.ndarray) -> np.ndarray:
    """Round a picture to 8 bits, clipping to 0..255."""
    return np.rint(np.clip(frame, 0, 255)).astype(np.uint8)


def colorize(luma: np.ndarray, lr: np.ndarray, *, scale: int, phase: float) -> np.ndarray:
    """Add the chroma of the LR frame, bicubically up-sampled at the right phase, to a restored luma.

    Parameters
    ----------
    luma : ndarray, shape (scale * h, scale * w)
        Restored luma, BT.601 studio range.
    lr : ndarray, shape (h, w, 3), uint8
        The LR frame, RGB.
    scale : int
        Up-scaling factor.
    phase : float
        HR coordinate of the centre of LR pixel 0.

    Returns
    -------
    ndarray, shape (scale * h, scale * w, 3), uint8
        RGB.
    """
    chroma = upsample_bicubic(rgb_to_ycbcr(lr)[..., 1:], scale=scale, phase=phase)
    return to_picture(ycbcr_to_rgb(np.concatenate([luma[..., None], chroma], axis=-1)))


def restore_clip(
    model: VideoModel, lr: Iterable[np.ndarray], folder: Path, *, phase: float, device: str = "cpu"
) -> dict[str, list[str] | None]:
    """Restore a clip to 8-bit PNG pictures.

    Parameters
    ----------
    model : VideoModel
        In evaluation mode.
    lr : iterable of ndarray, shape (h, w, 3), uint8
        LR frames.
    folder : Path
        Receives ``rgb/00000000.png``, ... and, of a luma model, ``y/00000000.png``, ...
    phase : float
        HR coordinate of the centre of LR pixel 0, for the chroma.
    device : str
        Torch device.

    Returns
    -------
    dict
        ``rgb`` and ``y``: paths relative to the parent of ``folder``, or None.
    """
    waiting: deque[np.ndarray] = deque()

    def remember() -> Iterator[np.ndarray]:
        for frame in lr:
            waiting.append(np.asarray(frame))
            yield waiting[-1]

    def write(index: int, sr: np.ndarray, frame: np.ndarray) -> None:
        rgb = colorize(sr, frame, scale=model.scale, phase=phase) if model.output == "y" else to_picture(sr)
        write_png(folder / "rgb" / f"{index:08d}.png", rgb)
        if model.output == "y":
            write_png(folder / "y" / f"{index:08d}.png", to_picture(sr))

    kinds = ("rgb", "y") if model.output == "y" else ("rgb",)
    for kind in kinds:
        (folder / kind).mkdir(parents=True, exist_ok=True)
    count = 0
    # Colour and PNG take longer than a small network; a bounded queue keeps the memory constant.
    with ThreadPoolExecutor(WRITERS) as pool:
        pending: deque[Future] = deque()
        for sr in restore_stream(model, remember(), device=device):
            pending.append(pool.submit(write, count, sr, waiting.popleft()))
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
    model: VideoModel, lr_manifest: Path, manifest_path: Path, *, run: str, phase: float, device: str = "cpu"
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
    """
    torch.set_flush_denormal(True)
    folder = manifest_path.parent
    with claim_device(device) as where:
        clips = {
            name: restore_clip(model.eval(), clip, folder / name, phase=phase, device=where)
            for name, clip in open_clips(lr_manifest).items()
        }
    write_manifest(manifest_path, {"run": run, "dataset": folder.name, "clips": clips})


def restore_with_weights(
    weights: Path,
    lr_manifest: Path,
    manifest_path: Path,
    *,
    run: str,
    degradation: dict,
    threads: int,
    device: str,
    trusted_arch: str | None = None,
) -> None:
    """Restore a data set with trained or released weights; see :func:`rlsp.weights.load_weights`."""
    torch.set_num_threads(threads)
    model, _ = load_weights(weights, trusted_arch=trusted_arch)
    restore_dataset(model, lr_manifest, manifest_path, run=run, phase=phase(degradation), device=device)


def restore_by_interpolation(
    lr_manifest: Path, manifest_path: Path, *, run: str, degradation: dict, threads: int
) -> None:
    """Restore a data set by bicubic interpolation aligned to the phase of the degradation."""
    torch.set_num_threads(threads)
    at = phase(degradation)
    model = build_model({"arch": "bicubic", "scale": degradation["scale"], "phase": at})
    restore_dataset(model, lr_manifest, manifest_path, run=run, phase=at)
