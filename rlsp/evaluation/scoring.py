"""Score restored data sets: one row of measures per frame, clip and crop."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from rlsp.columns import RUN, SCORES
from rlsp.config.specs.metrics import MOTION, OF_RGB, OwnMetric, unknown_inputs
from rlsp.data.clips import open_clips, read_restored
from rlsp.data.flow import open_flow
from rlsp.errors import ConfigError, DataError
from rlsp.evaluation.inputs import ClipPair, Frame, inputs_of
from rlsp.files import write_rows
from rlsp.metrics import METRICS
from rlsp.metrics.fidelity import WINDOW_TAPS
from rlsp.metrics.flow import ClipFlow, one_opencv_thread
from rlsp.metrics.metric import Metric
from rlsp.own_code import import_function

# frames scored by one task: few enough to share clips out evenly, many enough that reading the frame before
# the first one costs little
FRAMES_PER_TASK = 8


def score_dataset(
    restored_manifest: Path,
    clips_manifest: Path,
    flow_manifest: Path | None,
    table_path: Path,
    *,
    labels: Mapping[str, object],
    crops: Sequence[int],
    workers: int = 1,
    metrics: Sequence[Metric] = METRICS,
    own: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Compare the restored frames of a run on one data set with the ground truth, and write the table.

    Luma measures and tOF use the `y` pictures where there are any, else luma computed from `rgb`; the luma
    of the truth is rounded for optical flow only. A cell is empty where there is nothing to measure: measures of pairs
    in frame 0, measures of clips in all frames but that, measures of RGB without rgb pictures, tof of frames below 48
    pixels, warp_error where nothing is visible. tof has its own border and is the same for every crop.

    Parameters
    ----------
    restored_manifest : Path
        ``{"run", "dataset", "clips": {clip: {"rgb": [paths] or null, "y": [paths] or null}}}``; paths are
        absolute or relative to the manifest's folder.
    clips_manifest : Path
        Manifest of the ground-truth clips, see :mod:`rlsp.data.clips`.
    flow_manifest : Path or None
        Manifest of :func:`rlsp.data.flow.write_flow_dataset`; needed only where a measure takes the true motion.
    table_path : Path
        CSV to write: columns :data:`rlsp.columns.SCORES`, then those of the measures; rows sorted by clip, frame, crop.
        Numbers in full precision; the PSNR of identical frames is ``inf``. It appears under its name only when
        complete.
    labels : mapping
        One value for each name in :data:`rlsp.columns.RUN`, written as they are; run and dataset must be those of the
        restored manifest.
    crops : sequence of int
        Pixels left out on each side; one row each.
    workers : int
        Threads; the numbers do not depend on it. NumPy, SciPy, OpenCV and Pillow let go of the interpreter
        lock, so two threads take half the time, and unlike processes they need no importable main module.
    metrics : sequence of Metric
        What to compute, in the order of the columns; mse_y comes with psnr_y.
    own : mapping of str to mapping, optional
        Further measures, of the user's own: plain forms of :class:`rlsp.config.specs.metrics.OwnMetric` by name.

    Raises
    ------
    ConfigError
        Labels, crops, workers or metrics are not as described, or a user's own cannot be imported.
    DataError
        A clip, frame or file is missing, superfluous, damaged or of another size; or a measure is no finite number.
    """
    metrics = (*metrics, *load_metrics(own or {}))
    _check_arguments(labels, crops, workers, metrics)
    moving = [metric.name for metric in metrics if not MOTION.isdisjoint(metric.inputs)]
    if moving and flow_manifest is None:
        raise ConfigError(f"metrics: expected a flow manifest for {', '.join(moving)}, got none")
    flow_manifest = Path(flow_manifest) if flow_manifest and moving else None
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
    columns = (*SCORES.names, *(metric.name for metric in metrics))
    write_rows(Path(table_path), columns, [{**labels, **row} for part in parts for row in part])


def load_metrics(own: Mapping[str, Mapping[str, Any]]) -> list[Metric]:
    """Make the records of a user's own measures, their functions imported.

    Raises
    ------
    ConfigError
        One line with the key: a value is wrong, or the function cannot be imported or does not take its inputs.
    """
    metrics = []
    for name, plain in own.items():
        spec = OwnMetric.parse(plain, f"metrics.{name}")
        function = import_function(spec.function, f"metrics.{name}.function", spec.inputs)
        metrics.append(Metric.of_own(name, spec, function))
    return metrics


def score_frames(
    clip: ClipPair, frames: range, *, crops: Sequence[int], metrics: Sequence[Metric] = METRICS
) -> list[dict[str, Any]]:
    """Score some frames of a clip, reading one after the other.

    Parameters
    ----------
    clip : ClipPair
        The clip.
    frames : range
        Consecutive frames; the one before them is read too, for measures of pairs.
    crops, metrics
        As for :func:`score_dataset`.

    Returns
    -------
    list of dict
        A row for each frame and crop: clip, frame, crop and those measures that there are.
    """
    rows = []
    has_pairs = any(metric.kind == "pair" for metric in metrics)
    before = Frame(clip, frames.start - 1) if has_pairs and frames.start > 0 else None
    for index in frames:
        frame = Frame(clip, index)
        cells: dict[int, dict[str, float]] = {crop: {} for crop in crops}
        for metric in metrics:
            if _is_measured(metric, frame, before):
                _add_measure(cells, metric, frame, before)
        rows += [{"clip": clip.name, "frame": index, "crop": crop, **cells[crop]} for crop in crops]
        before = frame if has_pairs else None
    return rows


def _is_measured(metric: Metric, frame: Frame, before: Frame | None) -> bool:
    """Tell whether there is something to measure: a pair, the row of a clip's number, RGB."""
    is_there = {"frame": True, "pair": before is not None, "clip": frame.index == 0}[metric.kind]
    return is_there and (frame.clip.rgb is not None or OF_RGB.isdisjoint(metric.inputs))


def _add_measure(
    cells: dict[int, dict[str, float]], metric: Metric, frame: Frame, before: Frame | None
) -> None:
    """Compute a measure for each crop, or once where the crop makes no difference."""
    value = math.nan
    for number, (crop, row) in enumerate(cells.items()):
        if metric.is_cropped or number == 0:
            given = inputs_of(metric, frame, before, crop)
            where = f"metric {metric.name}: clip {frame.clip.name}"
            where += "" if metric.kind == "clip" else f", frame {frame.index}"
            try:
                value = metric.function(**given)
            except Exception as error:
                error.add_note(where)
                raise
            value = _checked(value, metric, where)
            if metric.kind == "frame" and "mse" in given:
                row["mse_y"] = given["mse"]
        row[metric.name] = value


def _checked(value: Any, metric: Metric, where: str) -> float:
    """Refuse what is no number; nan where the measure has no gaps; and infinity, but of PSNR."""
    if isinstance(value, bool) or not isinstance(value, Real):
        shape = getattr(value, "shape", None)
        got = type(value).__name__ + ("" if shape is None else f" of shape {tuple(shape)}")
        raise DataError(f"{where}: expected a number, got {got}")
    is_missing = math.isnan(value) and metric.has_gaps
    is_equal = value == math.inf and metric.average == "psnr"
    if not (math.isfinite(value) or is_missing or is_equal):
        raise DataError(f"{where}: expected a finite number, got {float(value)}")
    return float(value)


def _check_arguments(
    labels: Mapping[str, object], crops: Sequence[int], workers: int, metrics: Sequence[Metric]
) -> None:
    if set(labels) != set(RUN):
        raise ConfigError(f"labels: expected {', '.join(RUN)}, got {', '.join(map(str, labels))}")
    is_valid = all(isinstance(crop, int) and crop >= 0 for crop in crops)
    if not crops or not is_valid or len(set(crops)) < len(crops):
        raise ConfigError(f"crops: expected different whole numbers from 0 on, got {list(crops)}")
    if workers < 1:
        raise ConfigError(f"workers: expected at least 1, got {workers}")
    names = [*SCORES.names, *(metric.name for metric in metrics)]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"metrics: expected different names, got {', '.join(doubled)} twice")
    for metric in metrics:
        if unknown := unknown_inputs(metric.kind, metric.inputs):
            raise ConfigError(f"metrics.{metric.name}.inputs: {unknown}")


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
