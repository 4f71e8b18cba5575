"""Score restored data sets: one row of measures per frame, clip and crop."""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from rlsp.color import rgb_to_y
from rlsp.columns import RUN, SCORES
from rlsp.data.clips import open_clips, read_restored
from rlsp.data.flow import open_flow
from rlsp.data.images import read_png
from rlsp.errors import ConfigError, DataError
from rlsp.files import write_rows
from rlsp.metrics.fidelity import WINDOW_TAPS, crop_border, mean_ssim, mse, psnr_from_mse, ssim_map
from rlsp.metrics.flow import ClipFlow, grey, one_opencv_thread
from rlsp.metrics.temporal import tof, warp_error

METRICS = ("psnr_y", "ssim_y", "psnr_rgb", "tof", "warp_error")
# frames scored by one task: few enough to share clips out evenly, many enough that reading the frame before
# the first one costs little
FRAMES_PER_TASK = 8


@dataclass(frozen=True)
class Picture:
    """One frame: its unrounded luma (H, W) float64, and (H, W, 3) uint8 RGB where there is any."""

    luma: np.ndarray
    rgb: np.ndarray | None

    @cached_property
    def grey(self) -> np.ndarray:
        """Full-range uint8 picture for optical flow, (H, W)."""
        return grey(self.luma)


@dataclass(frozen=True)
class ClipPair:
    """A restored clip beside its ground truth; frames are read when asked for.

    Attributes
    ----------
    name : str
        Name of the clip.
    truth : np.ndarray
        (T, H, W, 3) uint8 RGB, a memory map.
    rgb, y : list of Path or None
        Restored pictures, RGB and grey luma; at least one of the two.
    flow : ClipFlow or None
        Flow of the truth; None where no metric needs it.
    """

    name: str
    truth: np.ndarray
    rgb: list[Path] | None
    y: list[Path] | None
    flow: ClipFlow | None

    def read_truth(self, index: int) -> Picture:
        """Frame of the ground truth."""
        rgb = np.asarray(self.truth[index])
        return Picture(rgb_to_y(rgb), rgb)

    def read_restored(self, index: int) -> Picture:
        """Restored frame; its luma is the `y` picture where there is one.

        Raises
        ------
        DataError
            A picture is missing, damaged, or has another size or number of channels than expected.
        """
        size = self.truth.shape[1:3]
        rgb = _read_picture(self.rgb[index], (*size, 3)) if self.rgb else None
        luma = _read_picture(self.y[index], size).astype(np.float64) if self.y else rgb_to_y(rgb)
        return Picture(luma, rgb)


def score_dataset(
    restored_manifest: Path,
    clips_manifest: Path,
    flow_manifest: Path | None,
    table_path: Path,
    *,
    labels: Mapping[str, object],
    crops: Sequence[int],
    workers: int = 1,
    metrics: Collection[str] = METRICS,
) -> None:
    """Compare the restored frames of a run on one data set with the ground truth, and write the table.

    Luma measures and tOF use the `y` pictures where there are any, else luma computed from `rgb`; the luma
    of the truth is rounded for optical flow only. A cell is empty where there is nothing to measure: tof and
    warp_error of frame 0, psnr_rgb without rgb pictures, tof of frames below 48 pixels, warp_error where
    nothing is visible, and metrics not asked for. tof has its own border and is the same for every crop.

    Parameters
    ----------
    restored_manifest : Path
        ``{"run", "dataset", "clips": {clip: {"rgb": [paths] or null, "y": [paths] or null}}}``; paths are
        absolute or relative to the manifest's folder.
    clips_manifest : Path
        Manifest of the ground-truth clips, see :mod:`rlsp.data.clips`.
    flow_manifest : Path or None
        Manifest of :func:`rlsp.data.flow.write_flow_dataset`; needed for warp_error only.
    table_path : Path
        CSV to write: columns :data:`rlsp.columns.SCORES`, rows sorted by clip, frame, crop. Numbers in full precision;
        the PSNR of identical frames is ``inf``. It appears under its name only when complete.
    labels : mapping
        One value for each name in :data:`rlsp.columns.RUN`, written as they are; run and dataset must be those of the
        restored manifest.
    crops : sequence of int
        Pixels left out on each side; one row each.
    workers : int
        Threads; the numbers do not depend on it. NumPy, SciPy, OpenCV and Pillow let go of the interpreter
        lock, so two threads take half the time, and unlike processes they need no importable main module.
    metrics : collection of str
        Those of :data:`METRICS` to compute; mse_y comes with psnr_y.

    Raises
    ------
    ConfigError
        Labels, crops, workers or metrics are not as described.
    DataError
        A clip, frame or file is missing, superfluous, damaged or of another size.
    """
    _check_arguments(labels, crops, workers, metrics)
    flow_manifest = Path(flow_manifest) if flow_manifest and "warp_error" in metrics else None
    if "warp_error" in metrics and flow_manifest is None:
        raise ConfigError("metrics: expected a flow manifest for warp_error, got none")
    clips = _pair_clips(Path(restored_manifest), Path(clips_manifest), flow_manifest, labels)
    crops = sorted(crops)
    for clip in clips:
        _check_crop_fits(clip, crops[-1])
    tasks = [
        (clip, range(start, min(start + FRAMES_PER_TASK, len(clip.truth))))
        for clip in clips
        for start in range(0, len(clip.truth), FRAMES_PER_TASK)
    ]
    with one_opencv_thread(), ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(lambda task: score_frames(*task, crops=crops, metrics=metrics), tasks))
    write_rows(Path(table_path), SCORES.names, [{**labels, **row} for part in parts for row in part])


def score_frames(
    clip: ClipPair, frames: range, *, crops: Sequence[int], metrics: Collection[str] = METRICS
) -> list[dict]:
    """Score some frames of a clip, reading one after the other.

    Parameters
    ----------
    clip : ClipPair
        The clip.
    frames : range
        Consecutive frames; the one before them is read too, for the temporal measures.
    crops, metrics
        As for :func:`score_dataset`.

    Returns
    -------
    list of dict
        A row for each frame and crop: clip, frame, crop and those measures that there are.
    """
    rows = []
    is_temporal = not {"tof", "warp_error"}.isdisjoint(metrics)
    previous = None
    if is_temporal and frames.start > 0:
        previous = clip.read_truth(frames.start - 1), clip.read_restored(frames.start - 1)
    for index in frames:
        truth, restored = clip.read_truth(index), clip.read_restored(index)
        measures = {crop: _fidelity(truth, restored, crop, metrics) for crop in crops}
        if "ssim_y" in metrics:
            similarity = ssim_map(truth.luma, restored.luma)
            for crop in crops:
                measures[crop]["ssim_y"] = mean_ssim(similarity, crop=crop)
        if previous is not None:
            _add_temporal(measures, clip, index, previous, (truth, restored), metrics)
        rows += [{"clip": clip.name, "frame": index, "crop": crop, **measures[crop]} for crop in crops]
        previous = (truth, restored) if is_temporal else None
    return rows


def _fidelity(truth: Picture, restored: Picture, crop: int, metrics: Collection[str]) -> dict[str, float]:
    measures = {}
    if "psnr_y" in metrics:
        measures["mse_y"] = mse(crop_border(truth.luma, crop), crop_border(restored.luma, crop))
        measures["psnr_y"] = psnr_from_mse(measures["mse_y"])
    if "psnr_rgb" in metrics and restored.rgb is not None:
        measures["psnr_rgb"] = psnr_from_mse(
            mse(crop_border(truth.rgb, crop), crop_border(restored.rgb, crop))
        )
    return measures


def _add_temporal(
    measures: dict[int, dict[str, float]],
    clip: ClipPair,
    index: int,
    previous: tuple[Picture, Picture],
    current: tuple[Picture, Picture],
    metrics: Collection[str],
) -> None:
    """Add the measures of the pair (index - 1, index), each (truth, restored), to those of each crop."""
    (truth_before, restored_before), (truth, restored) = previous, current
    if "tof" in metrics:
        value = tof((truth_before.grey, truth.grey), (restored_before.grey, restored.grey))
        for row in measures.values():
            row["tof"] = value
    if "warp_error" in metrics:
        flow = {"backward": clip.flow.backward[index - 1], "visible": clip.flow.visible[index - 1]}
        for crop, row in measures.items():
            row["warp_error"] = warp_error(restored_before.luma, restored.luma, **flow, crop=crop)


def _read_picture(path: Path, expected: tuple[int, ...]) -> np.ndarray:
    picture = read_png(path)
    if picture.shape != expected:
        raise DataError(
            f"{path}: expected {_describe(expected)} like the truth, got {_describe(picture.shape)}"
        )
    return picture


def _describe(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]} {'grey' if len(shape) == 2 else 'RGB'}"


def _check_arguments(
    labels: Mapping[str, object], crops: Sequence[int], workers: int, metrics: Collection[str]
) -> None:
    if set(labels) != set(RUN):
        raise ConfigError(f"labels: expected {', '.join(RUN)}, got {', '.join(map(str, labels))}")
    is_valid = all(isinstance(crop, int) and crop >= 0 for crop in crops)
    if not crops or not is_valid or len(set(crops)) < len(crops):
        raise ConfigError(f"crops: expected different whole numbers from 0 on, got {list(crops)}")
    if workers < 1:
        raise ConfigError(f"workers: expected at least 1, got {workers}")
    unknown = [metric for metric in metrics if metric not in METRICS]
    if unknown:
        raise ConfigError(
            f"metrics: expected some of {', '.join(METRICS)}, got {', '.join(map(str, unknown))}"
        )


def _check_crop_fits(clip: ClipPair, crop: int) -> None:
    height, width = clip.truth.shape[1:3]
    if min(height, width) - 2 * crop < WINDOW_TAPS:
        raise DataError(
            f"clip {clip.name}: expected at least {WINDOW_TAPS} pixels each way inside crop {crop}, "
            f"got frames of {width}x{height}"
        )


def _pair_clips(
    restored_manifest: Path, clips_manifest: Path, flow_manifest: Path | None, labels: Mapping[str, object]
) -> list[ClipPair]:
    """Put each restored clip beside its truth, by name; check names and numbers of frames."""
    restored = read_restored(restored_manifest, "run", "dataset")
    for key in ("run", "dataset"):
        if restored[key] != labels[key]:
            raise DataError(f"{restored_manifest}: expected {key} {labels[key]}, got {restored[key]}")
    truths = open_clips(clips_manifest)
    for problem, names in (
        ("missing clip", truths.keys() - restored["clips"].keys()),
        ("unexpected clip", restored["clips"].keys() - truths.keys()),
    ):
        if names:
            wanted = ", ".join(sorted(truths))
            raise DataError(f"{restored_manifest}: {problem} {', '.join(sorted(names))}; expected {wanted}")
    pairs = []
    for name, truth in sorted(truths.items()):
        files = {
            kind: _picture_paths(restored_manifest, name, kind, restored["clips"][name].get(kind), len(truth))
            for kind in ("rgb", "y")
        }
        if not any(files.values()):
            raise DataError(f"{restored_manifest}: clip {name}: expected rgb or y pictures, got neither")
        flow = _truth_flow(flow_manifest, name, truth) if flow_manifest else None
        pairs.append(ClipPair(name, truth, **files, flow=flow))
    return pairs


def _picture_paths(
    manifest: Path, clip: str, kind: str, files: list[str] | None, frames: int
) -> list[Path] | None:
    if files is None:
        return None
    if len(files) != frames:
        raise DataError(f"{manifest}: clip {clip}: expected {frames} {kind} pictures, got {len(files)}")
    return [manifest.parent / file for file in files]


def _truth_flow(manifest: Path, clip: str, truth: np.ndarray) -> ClipFlow:
    flow = open_flow(manifest, clip)
    frames, height, width, _ = truth.shape
    if flow.visible.shape != (frames - 1, height, width):
        raise DataError(
            f"{manifest}: clip {clip}: expected flow of shape {(frames - 1, height, width)}, "
            f"got {flow.visible.shape}"
        )
    return flow
