"""Restoring clips frame by frame, in memory that does not grow with the clip."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rlsp.data.clips import open_clips
from rlsp.data.degradation import phase
from rlsp.data.images import write_png
from rlsp.devices import claim_device, gpu_errors, is_gpu
from rlsp.files import write_json
from rlsp.inference.chroma import PictureMaker
from rlsp.inference.execution import Execution, fastest_execution
from rlsp.inference.restorer import FrameRestorer, to_host
from rlsp.models import build_model
from rlsp.models.base import VideoModel
from rlsp.models.weights import load_weights

WHEN_FULL = "take a GPU with more memory or fewer users, or the device cpu"
WRITERS = 2  # threads that write pictures beside the network


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
    model: VideoModel,
    frames: Iterable[np.ndarray],
    *,
    device: str = "cpu",
    execution: Execution | None = None,
) -> Iterator[np.ndarray]:
    """Restore a stream of LR frames, ``look_ahead`` frames behind the input (one more on a GPU).

    Parameters
    ----------
    model : VideoModel
        In evaluation mode.
    frames : iterable of ndarray, shape (h, w, 3), uint8
        LR frames, RGB.
    device : str
        Torch device.
    execution : Execution, optional
        Precision and mode; by default float32 in the fastest mode of the device.

    Yields
    ------
    ndarray, shape (scale * h, scale * w) or (scale * h, scale * w, 3), float32
        Luma of a "y" model (16..235 in range, not rounded), RGB (0..255) of an "rgb" model.
    """
    restorer = FrameRestorer(model, device=device, execution=execution)
    for (sr,) in to_host(_steps(restorer, frames), device):
        yield sr[0, 0].numpy() if model.output == "y" else sr[0].permute(1, 2, 0).numpy()


def picture_restorer(
    model: VideoModel, *, phase: float, device: str = "cpu", execution: Execution | None = None
) -> FrameRestorer:
    """Make a restorer of 8-bit pictures, for any number of clips.

    Parameters
    ----------
    model : VideoModel
        In evaluation mode.
    phase : float
        HR coordinate of the centre of LR pixel 0, for the chroma of a luma model.
    device : str
        Torch device.
    execution : Execution, optional
        Precision and mode; by default float32 in the fastest mode of the device.
    """
    pictures = PictureMaker(scale=model.scale, phase=phase, device=device)
    return FrameRestorer(model, device=device, execution=execution, pictures=pictures)


def restore_pictures(
    restorer: FrameRestorer, frames: Iterable[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Restore a stream of LR frames to 8-bit pictures, made on the device; see :func:`restore_stream`.

    Parameters
    ----------
    restorer : FrameRestorer
        From :func:`picture_restorer`.
    frames : iterable of ndarray, shape (h, w, 3), uint8
        LR frames of one clip, RGB.

    Yields
    ------
    rgb : ndarray, shape (scale * h, scale * w, 3), uint8
    y : ndarray, shape (scale * h, scale * w), uint8, or None
        The luma that a "y" model put out.
    """
    for rgb, *y in to_host(_steps(restorer, frames), restorer.device):
        yield rgb[0].numpy(), y[0][0].numpy() if y else None


def _steps(restorer: FrameRestorer, frames: Iterable[np.ndarray]) -> Iterator[tuple[Tensor, ...]]:
    """Run a restorer over the frames of a clip, uploaded as 8 bits."""
    model, device = restorer.model, restorer.device

    def uploaded(frame: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.array(frame)).permute(2, 0, 1)[None]
        return tensor.pin_memory().to(device, non_blocking=True) if is_gpu(device) else tensor

    restorer.start()
    tensors = (uploaded(frame) for frame in frames)
    for window in windows(tensors, model.look_behind, model.look_ahead, model.missing_neighbour):
        yield restorer.step(torch.stack(window, dim=1))


def to_picture(frame: np.ndarray) -> np.ndarray:
    """Round a picture to 8 bits, clipping to 0..255."""
    return np.rint(np.clip(frame, 0, 255)).astype(np.uint8)


def restore_clip(
    restorer: FrameRestorer, lr: Iterable[np.ndarray], folder: Path
) -> dict[str, list[str] | None]:
    """Restore a clip to 8-bit PNG pictures.

    Parameters
    ----------
    restorer : FrameRestorer
        From :func:`picture_restorer`.
    lr : iterable of ndarray, shape (h, w, 3), uint8
        LR frames.
    folder : Path
        Receives ``rgb/00000000.png``, ... and, of a luma model, ``y/00000000.png``, ...

    Returns
    -------
    dict
        ``rgb`` and ``y``: paths relative to the parent of ``folder``, or None.
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
        for rgb, y in restore_pictures(restorer, lr):
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
        Of the network; see :func:`rlsp.inference.restorer.fastest_execution`.

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
        execution = fastest_execution(where, precision)
        restorer = picture_restorer(model.eval(), phase=phase, device=where, execution=execution)
        clips = {
            name: restore_clip(restorer, clip, folder / name)
            for name, clip in open_clips(lr_manifest).items()
        }
    write_json(manifest_path, {"run": run, "dataset": folder.name, "clips": clips})


def restore_with_weights(
    weights: Path,
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
    """Restore a data set with trained or released weights; see :func:`rlsp.models.weights.load_weights`."""
    torch.set_num_threads(threads)
    model, _ = load_weights(weights, trusted_arch=trusted_arch)
    restore_dataset(
        model,
        lr_manifest,
        manifest_path,
        run=run,
        phase=phase(degradation),
        device=device,
        precision=precision,
    )


def restore_by_interpolation(
    lr_manifest: Path, manifest_path: Path, *, run: str, degradation: dict, threads: int
) -> None:
    """Restore a data set by bicubic interpolation aligned to the phase of the degradation."""
    torch.set_num_threads(threads)
    at = phase(degradation)
    model = build_model({"arch": "bicubic", "scale": degradation["scale"], "phase": at})
    restore_dataset(model, lr_manifest, manifest_path, run=run, phase=at)
