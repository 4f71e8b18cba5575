"""Protocols: how per-frame scores become one number per clip, and per-clip numbers one per data set.

A protocol (`rlsp.config.specs.protocols.Protocol`) has a channel, a crop, a trim and an average:

- ``channel``: PSNR of the BT.601 luma (``y``), of the three RGB channels together (``rgb``), or of the luma of the
  written RGB pictures (``y-of-rgb``). A method that puts out luma is scored on that under ``y``, before its RGB
  picture was clipped; one that puts out RGB, after it. Under ``y-of-rgb`` all are scored alike. SSIM is always the
  luma's.
- ``crop``: pixels left out at each of the four borders; has to be one of the crops that were scored.
- ``trim``: frames left out at the beginning and the end of each clip.
- ``average``: ``frame`` is the mean of the PSNR of the frames; ``video`` is the PSNR of the mean squared
  error of all frames of a clip, never higher than the former.

The number of a data set is the plain mean over its clips, whatever their lengths. Measures other than PSNR are averaged
as their `rlsp.metrics.metric.Metric` says.

A frame that equals the ground truth, such as a black one, has an infinite PSNR, and so has every mean with it. Where a
run has such a frame, ``psnr_all`` is that mean and ``psnr``, which methods are compared by, the mean over the other
frames: those that differ from the ground truth in every run of the data set and degradation.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rlsp.columns import RUN, SCORES
from rlsp.config.specs.protocols import Protocol
from rlsp.errors import ConfigError, DataError
from rlsp.metrics import METRICS, PSNR
from rlsp.metrics.fidelity import psnr_from_mse
from rlsp.metrics.metric import Metric

PEAK = 255.0  # 8-bit pictures, also for luma, whose own range is 16..235: the convention of the field

KEY_COLUMNS = (*RUN, "clip")
VARIANT_LABELS = tuple(name for name in RUN if name != "dataset")


def protocol_label(protocol: Protocol) -> str:
    """Return the protocol in words, for example ``PSNR-Y, crop 8, trim 2+2, video``."""
    first, last = protocol.trim
    label = PSNR[protocol.channel].label
    return f"{label}, crop {protocol.crop}, trim {first}+{last}, {protocol.average}"


def metric_label(metric: Metric, protocol: Protocol) -> str:
    """Return what a measure of frames beside a protocol's PSNR is: crop, trim, that frames are averaged, its note."""
    first, last = protocol.trim if metric.trim is None else metric.trim
    crop = f"crop {protocol.crop}" if metric.is_cropped else "whole frame"
    note = f" ({metric.note})" if metric.note else ""
    return f"{metric.label}, {crop}, trim {first}+{last}, frame{note}"


def mse_of_psnr(psnr: pd.Series | np.ndarray) -> pd.Series | np.ndarray:
    """Return the mean squared error (grey levels squared) that a PSNR (dB) of 8-bit pictures came from."""
    return PEAK**2 / 10.0 ** (psnr / 10.0)


def measured(scores: pd.DataFrame, metrics: Iterable[Metric] = METRICS) -> list[Metric]:
    """Return the measures of which scores have a column, besides PSNR, which a protocol chooses."""
    return [metric for metric in metrics if metric.average == "mean" and metric.name in scores.columns]


def apply_protocol(
    scores: pd.DataFrame, protocol: Protocol, metrics: Sequence[Metric] = METRICS
) -> pd.DataFrame:
    """Average per-frame scores over the frames of each clip.

    Parameters
    ----------
    scores : DataFrame
        One row per run, data set, clip, frame and crop, with the columns `rlsp.columns.SCORES`.
    protocol : Protocol
        See the module's docstring.
    metrics : sequence of Metric
        Measures that there may be; a measure that was not scored has no column.

    Returns
    -------
    DataFrame
        One row per run, data set and clip: the columns `KEY_COLUMNS`, then ``crop``, ``n_frames`` (after the trim),
        ``psnr`` and ``psnr_all`` (dB, see above), and each measure by its short name, empty where a clip is too short
        for it.

    Raises
    ------
    ConfigError
        When the crop of the protocol was not scored.
    DataError
        When columns or frames are missing or doubled, several studies are mixed, or the trim leaves nothing.
    """
    check_scores(scores)
    crops = sorted(scores["crop"].unique())
    if protocol.crop not in crops:
        listed = ", ".join(str(crop) for crop in crops)
        raise ConfigError(f"protocol: expected a crop that was scored ({listed}), got {protocol.crop}")
    chosen = scores[scores["crop"] == protocol.crop]
    chosen = chosen.assign(is_equal=is_equal_frame(chosen, protocol))
    groups = chosen.groupby(list(KEY_COLUMNS), sort=False, dropna=False)
    rows = []
    for key, clip in groups:
        labels = dict(zip(KEY_COLUMNS, key, strict=True))
        where = f"{labels['run']}: {labels['dataset']}/{labels['clip']}"
        rows.append(labels | average_clip(clip, protocol, where, measured(scores, metrics)))
    return pd.DataFrame(rows).astype({column: scores[column].dtype for column in KEY_COLUMNS})


def is_equal_frame(scores: pd.DataFrame, protocol: Protocol) -> pd.Series:
    """Mark the rows of frames that equal the ground truth in one run at least of their data set and degradation."""
    column = PSNR[protocol.channel].name
    if column not in scores.columns:
        return pd.Series(False, index=scores.index)
    keys = [scores[name] for name in ("dataset", "degradation", "clip", "frame")]
    return np.isinf(scores[column]).groupby(keys, dropna=False).transform("any")


def equal_frames_text(scores: pd.DataFrame, protocol: Protocol) -> str:
    """Name the frames that `is_equal_frame` marks, of those that a protocol counts; empty where there are none."""
    rows = scores[scores["crop"] == protocol.crop]
    counted = [
        trimmed(clip, protocol.trim)
        for _, clip in rows.sort_values("frame").groupby(["run", "dataset", "clip"])
    ]
    rows = pd.concat(counted) if counted else rows
    marked = rows[is_equal_frame(rows, protocol)].drop_duplicates(["dataset", "clip", "frame"])
    parts = [f"{clip} {frames_text(of_clip)}" for clip, of_clip in marked.groupby("clip", sort=False)]
    return "; ".join(parts)


def check_scores(scores: pd.DataFrame) -> None:
    """Raise a `DataError` unless the table has all score columns, one study, and whole clips."""
    missing = [column for column in (*SCORES.names, PSNR["y"].name) if column not in scores.columns]
    if missing:
        raise DataError(f"scores: missing columns {', '.join(missing)}")
    if scores.empty:
        raise DataError("scores: expected at least one row, got none")
    if (scores["clip"] == "mean").any():
        raise DataError("scores: a clip is called mean, as tables call the mean over clips: rename it")
    studies = sorted(scores["study"].astype(str).unique())
    if len(studies) > 1:
        raise DataError(f"scores: expected one study, got {', '.join(studies)}")


def average_clip(
    rows: pd.DataFrame, protocol: Protocol, where: str, metrics: Sequence[Metric]
) -> dict[str, Any]:
    """Average the rows of one clip at one crop; `where` names the clip in errors."""
    rows = rows.sort_values("frame")
    if not np.array_equal(rows["frame"], np.arange(len(rows))):
        raise DataError(f"{where}: expected each frame 0..{len(rows) - 1} once, got {frames_text(rows)}")
    kept = trimmed(rows, protocol.trim)
    if kept.empty:
        first, last = protocol.trim
        raise DataError(f"{where}: a trim of {first}+{last} leaves none of its {len(rows)} frames")
    means = {metric.short: average_metric(rows, metric, protocol) for metric in metrics}
    psnr_all = average_psnr(kept, protocol, where)
    others = (
        kept[~kept["is_equal"]] if protocol.average == "frame" else kept[: len(kept) * np.isfinite(psnr_all)]
    )
    return {
        "crop": protocol.crop,
        "n_frames": len(kept),
        "psnr": psnr_all if len(others) == len(kept) else average_psnr(others, protocol, where),
        "psnr_all": psnr_all,
        **means,
    }


def average_metric(rows: pd.DataFrame, metric: Metric, protocol: Protocol) -> float:
    """Return the mean of a measure over the frames of a clip that count, nan where one of them has none.

    The first frame has no pair; the value of a whole clip stands in the row of its first frame.
    """
    if metric.kind == "clip":
        return float(rows[metric.name].iloc[0])
    kept = trimmed(rows, protocol.trim if metric.trim is None else metric.trim)
    kept = kept[kept["frame"] > 0] if metric.kind == "pair" else kept
    return float(kept[metric.name].mean(skipna=False))


def average_psnr(rows: pd.DataFrame, protocol: Protocol, where: str) -> float:
    """Return the PSNR (dB) of the frames of a clip, NaN when none of them has that channel."""
    column = PSNR[protocol.channel].name
    empty = rows[column].isna() if column in rows.columns else pd.Series(True, index=rows.index)
    if empty.all():  # also of no rows
        return float("nan")
    if empty.any():
        raise DataError(f"{where}: {column}: expected a number for each frame, {empty.sum()} are empty")
    if protocol.average == "frame":
        return float(rows[column].mean())
    mse = rows["mse_y"] if protocol.channel == "y" else mse_of_psnr(rows[column])
    return psnr_from_mse(float(mse.mean()))


def trimmed(rows: pd.DataFrame, trim: Sequence[int]) -> pd.DataFrame:
    """Return the rows of a clip, sorted by frame, without the first and last few."""
    first, last = trim
    return rows.iloc[first : max(first, len(rows) - last)]


def frames_text(rows: pd.DataFrame) -> str:
    """Return the frame numbers of a clip, shortened, for an error."""
    frames = [str(frame) for frame in rows["frame"]]
    return ", ".join(frames if len(frames) <= 8 else [*frames[:4], "...", *frames[-3:]])


def mean_over_clips(per_clip: pd.DataFrame) -> pd.DataFrame:
    """Average the clips of each run and data set.

    Parameters
    ----------
    per_clip : DataFrame
        What `apply_protocol` returns.

    Returns
    -------
    DataFrame
        One row per run and data set: its labels, ``dataset``, ``n_clips``, ``n_frames`` (of all clips
        together), and the means of ``psnr`` and of every other measure; a mean is empty when one clip has no value,
        but for the PSNR of clips all of whose frames equal the ground truth, which are left out of it.
    """
    is_equal = per_clip["psnr"].isna() & np.isinf(per_clip["psnr_all"])
    keys = [column for column in KEY_COLUMNS if column != "clip"]
    groups = per_clip.groupby(keys, sort=False, dropna=False)
    numbers = [column for column in per_clip.columns if column not in (*KEY_COLUMNS, "crop", "n_frames")]
    means = groups[numbers].agg(lambda column: column.mean(skipna=False))
    if is_equal.any():
        differing = per_clip[~is_equal].groupby(keys, sort=False, dropna=False)
        means["psnr"] = differing["psnr"].agg(lambda column: column.mean(skipna=False)).reindex(means.index)
    counts = groups.agg(n_clips=("clip", "size"), n_frames=("n_frames", "sum"))
    return counts.join(means).reset_index()


def leave_one_clip_out(per_clip: pd.DataFrame) -> pd.DataFrame:
    """Average the clips of each run and data set with each of them left out in turn.

    A ranking that turns when one clip goes was decided by that clip. Data sets of a single clip have no rows.

    Returns
    -------
    DataFrame
        The columns of `mean_over_clips`, with ``left_out`` naming the clip.
    """
    parts = []
    for (dataset, clip), rows in per_clip.groupby(["dataset", "clip"], sort=False):
        rest = per_clip[(per_clip["dataset"] == dataset) & (per_clip["clip"] != clip)]
        rest = rest[rest["run"].isin(rows["run"])]
        if not rest.empty:
            parts.append(mean_over_clips(rest).assign(left_out=clip))
    if not parts:
        return mean_over_clips(per_clip).assign(left_out="").iloc[:0]
    return pd.concat(parts, ignore_index=True)


def over_seeds(rows: pd.DataFrame, keys: list[str], numbers: list[str]) -> pd.DataFrame:
    """Return mean and standard deviation over the seeds of each variant, variants in order of appearance.

    Several seeds of a variant become one row: each number is a mean over seeds, ``<number>_std`` its standard deviation
    (n - 1 in the denominator, empty for a single seed), ``run`` all the runs, separated by spaces.
    """
    rows = rows.assign(variant=variant_labels(rows))
    names = ["variant", "model", "recipe", "origin", "degradation", *keys]
    if rows.empty:
        spread = [f"{number}_std" for number in numbers]
        return pd.DataFrame(
            columns=["run", *names, "n_clips", "n_frames", *numbers, *spread, "n_seeds", "seeds"]
        )
    groups = rows.groupby(names, sort=False, dropna=False)
    is_mixed = (groups[["n_clips", "n_frames"]].nunique() > 1).any(axis=1)
    if is_mixed.any():
        variant = is_mixed.index[is_mixed][0][0]
        raise DataError(f"{variant}: expected as many clips and frames for each seed, they differ")
    table = groups.agg(
        run=("run", " ".join),
        n_clips=("n_clips", "first"),
        n_frames=("n_frames", "first"),
        n_seeds=("run", "size"),
        seeds=("seed", lambda seeds: " ".join(str(seed) for seed in seeds.dropna())),
        **{number: (number, lambda column: column.mean(skipna=False)) for number in numbers},
        **{f"{number}_std": (number, "std") for number in numbers},
    )
    return table.reset_index()[["run", *names, *[name for name in table.columns if name != "run"]]]


def variant_labels(table: pd.DataFrame) -> pd.Series:
    """Name the variant of each row, as short as tells the variants of the table apart.

    Runs that differ in their seed only are one variant. The name is the model's, with the origin and the
    recipe added where the model occurs with several; runs of the same variant and seed (say, from two
    training sets) go by the name of the run.

    Parameters
    ----------
    table : DataFrame
        Rows with the columns `VARIANT_LABELS`.

    Returns
    -------
    Series of str
        Aligned with the rows of `table`.
    """
    labels = table[list(VARIANT_LABELS)].astype(object)
    labels = labels.where(labels.notna(), "")
    model = labels["model"].where(labels["model"] != "", labels["run"]).astype(str)
    name = model.copy()
    for column, within in (("origin", [model]), ("recipe", [model, labels["origin"]])):
        several = labels[column].groupby(within).transform("nunique") > 1
        text = labels[column].astype(str).str.replace("-", " ")
        name = name.where(~several | (text == ""), name + " (" + text + ")")
    twins = labels.drop_duplicates("run").assign(name=name)
    doubled = twins[twins.duplicated(["name", "degradation", "seed"], keep=False)]["name"]
    return name.where(~name.isin(doubled), labels["run"].astype(str)).rename("variant")
