"""Lower precisions: what they change in the restored frames."""

import pandas as pd

from rlsp.reporting.cells import Number, listed, plural
from rlsp.reporting.results import Results
from rlsp.reporting.table import Column, Table

TITLE = "Lower precisions"
QUESTION = (
    "What do lower precisions change in the restored frames? Every test clip, and the first one played there and back "
    "for long, which a recurrent network could drift over."
)
KEYS = ["run", "model", "precision"]
NUMBERS = [
    "difference_db", "largest_db", "first_part_db", "last_part_db", "least_psnr_between", "n_clips", "long_frames"
]  # fmt: skip


def summarise(results: Results) -> pd.DataFrame:
    """Return, per run and precision, PSNR-Y against the ground truth minus that of fp32.

    ``difference_db`` is the mean over clips, ``largest_db`` the largest of a clip by size, ``first_part_db`` and
    ``last_part_db`` those of the first and the last part of the long clip; ``least_psnr_between`` is the smallest PSNR
    of a clip or part against fp32 itself.
    """
    rows = []
    for key, of_run in results.rows("precisions").groupby(KEYS, sort=False):
        known = of_run.dropna(subset=["difference_db"])
        clips, long = (known[known["part"] == part] for part in ("clip", "long"))
        if clips.empty:
            continue
        ends = (long["difference_db"].iloc[0], long["difference_db"].iloc[-1]) if len(long) else (None, None)
        numbers = (
            clips["difference_db"].mean(),
            clips.loc[clips["difference_db"].abs().idxmax(), "difference_db"],
            *ends,
            of_run["psnr_between"].min(),
            len(clips),
            (long["first_frame"] + long["frames"]).max() if len(long) else 0,
        )
        rows.append([*key, *numbers])
    return pd.DataFrame(rows, columns=[*KEYS, *NUMBERS])


def tables(frame: pd.DataFrame, results: Results) -> list[Table]:
    """Return one table: a row per run and precision."""
    if frame.empty:
        return []
    rows = results.rows("precisions")
    first = rows.iloc[0]
    is_double = frame.groupby("model")["run"].nunique() > 1
    clips, ends = "test clips [dB]", "long clip [dB]"
    columns = [
        Column("weights", lambda row: row.run if is_double[row.model] else row.model),
        Column("precision", lambda row: row.precision),
        Column("mean", lambda row: _difference(row.difference_db), clips),
        Column("largest", lambda row: _difference(row.largest_db), clips),
        Column("first part", lambda row: _difference(row.first_part_db), ends),
        Column("last part", lambda row: _difference(row.last_part_db), ends),
        Column("least PSNR to fp32 [dB]", lambda row: Number(row.least_psnr_between, 1)),
    ]
    long, datasets = int(frame["long_frames"].max()), list(rows["dataset"].unique())
    caption = (
        f"PSNR-Y against the ground truth (crop 8, all frames) minus that of fp32, on {listed(datasets)}"
        + (
            f"; long clip: {first['clip']} played there and back for {long:,} frames, first and last hundred"
            if long
            else ""
        )
        + f". On {first['device']}, {plural(first['threads'], 'thread')}. Study {results.facts.study}."
    )
    return [Table.of(frame, columns, "Lower precisions against fp32", caption)]


def _difference(decibels: float) -> Number:
    return Number(decibels, 4, is_signed=True)


def figure(frame: pd.DataFrame, results: Results) -> None:
    """Nothing is drawn: the differences are too small to see."""


def findings(frame: pd.DataFrame, results: Results) -> list[str]:
    """Say how much each precision changes at most, over clips and over a long one."""
    sentences = []
    for precision, rows in frame.groupby("precision", sort=False):
        worst = rows.loc[rows["largest_db"].abs().idxmax()]
        text = (
            f"{precision} changes PSNR by {Number(worst['largest_db'], 4, is_signed=True)} dB at most "
            f"({worst['model']}, one of {plural(int(worst['n_clips']), 'clip')})"
        )
        long = rows.dropna(subset=["last_part_db"])
        if not long.empty:
            last = long.loc[long["last_part_db"].abs().idxmax()]
            text += (
                f", and by {Number(last['last_part_db'], 4, is_signed=True)} dB at the end of "
                f"{plural(int(last['long_frames']), 'frame')}"
            )
        sentences.append(f"{text}.")
    return sentences
