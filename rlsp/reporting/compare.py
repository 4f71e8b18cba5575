"""Two result folders side by side: the same model, degradation, data set and protocol in both."""

from pathlib import Path
from typing import Any

import pandas as pd

from rlsp.columns import read_table
from rlsp.errors import DataError
from rlsp.reporting.cells import Number, plural
from rlsp.reporting.printing import markdown_text
from rlsp.reporting.table import Column, Table

SAME = ["model", "degradation", "dataset", "protocol_label"]
NUMBERS = ["variant", "recipe", "origin", "n_clips", "n_frames", "n_seeds", "psnr", "psnr_std", "ssim"]


def compare(study_a_dir: Path | str, study_b_dir: Path | str) -> pd.DataFrame:
    """Put the mean accuracies of two studies side by side.

    Rows pair up by model, degradation, data set and what the protocol says (not its name), so a training can
    be held against released weights or frames of the same model.

    Parameters
    ----------
    study_a_dir, study_b_dir : path
        ``results/<study>`` folders with ``tables/accuracy.csv``.

    Returns
    -------
    DataFrame
        ``model, degradation, dataset, protocol_label``, then for each side (``_a``, ``_b``) the variant,
        recipe, origin, number of clips, frames and seeds, ``psnr``, ``psnr_std`` and ``ssim``;
        ``psnr_difference`` (dB) and ``ssim_difference`` are b minus a; ``psnr_difference_std`` is the standard
        deviation of the first between two trainings, empty where it is not known from several seeds;
        ``is_comparable`` is false where clips or frames differ in number.

    Raises
    ------
    DataError
        When a table is missing, or the two have nothing in common.
    """
    tables = [read_means(Path(folder)) for folder in (study_a_dir, study_b_dir)]
    merged = tables[0].merge(tables[1], on=SAME, how="inner", suffixes=("_a", "_b"))
    if merged.empty:
        raise DataError(
            f"{study_a_dir} and {study_b_dir}: expected a model with the same degradation, data set and "
            "protocol in both, found none"
        )
    return merged.assign(
        psnr_difference=merged["psnr_b"] - merged["psnr_a"],
        psnr_difference_std=difference_spread(merged),
        ssim_difference=merged["ssim_b"] - merged["ssim_a"],
        is_comparable=(merged["n_clips_a"] == merged["n_clips_b"])
        & (merged["n_frames_a"] == merged["n_frames_b"]),
    )


def difference_spread(merged: pd.DataFrame) -> pd.Series:
    """Return the standard deviation of b minus a: of independent seeds; what has no seed adds nothing."""
    sides = [
        merged[f"psnr_std_{side}"].mask(merged[f"origin_{side}"] != "trained", 0.0) for side in ("a", "b")
    ]
    variance = sides[0] ** 2 + sides[1] ** 2
    return (variance**0.5).mask(variance == 0)


def read_means(study_dir: Path) -> pd.DataFrame:
    """Read the means over clips of a study's accuracy table."""
    table = read_table(study_dir / "tables" / "accuracy.csv", [*SAME, *NUMBERS, "clip"])
    return table[table["clip"] == "mean"][[*SAME, *NUMBERS]]


def run_kind(variant: str, origin: str, n_seeds: int) -> str:
    """Return what a row was made from, with the number of seeds of a training."""
    return f"{variant}, {origin}" + (f", {plural(n_seeds, 'seed')}" if origin == "trained" else "")


def comparison_markdown(comparison: pd.DataFrame, name_a: str, name_b: str) -> str:
    """Return what `compare` found as Markdown, one table per degradation, data set and protocol.

    Parameters
    ----------
    comparison : DataFrame
        What `compare` returns.
    name_a, name_b : str
        What to call the two studies.
    """
    columns = [
        Column("model", lambda row: row.model),
        Column(name_a, lambda row: run_kind(row.variant_a, row.origin_a, row.n_seeds_a), "made from"),
        Column(name_b, lambda row: run_kind(row.variant_b, row.origin_b, row.n_seeds_b), "made from"),
        Column(name_a, lambda row: Number(row.psnr_a, 2, row.psnr_std_a), "PSNR [dB]"),
        Column(name_b, lambda row: Number(row.psnr_b, 2, row.psnr_std_b), "PSNR [dB]"),
        Column(
            "difference",
            lambda row: Number(row.psnr_difference, 2, row.psnr_difference_std, is_signed=True),
            "PSNR [dB]",
        ),
        Column("difference", lambda row: Number(row.ssim_difference, 4, is_signed=True), "SSIM-Y"),
        Column("frames", frames_text),
    ]
    tables = []
    for (degradation, dataset, label), rows in comparison.groupby(SAME[1:], sort=False):
        title = f"{name_b} minus {name_a} on {dataset}, degradation {degradation}, {label}"
        caption = (
            "Mean over clips; ± is the standard deviation over seeds, of a difference between two trainings."
        )
        tables.append(Table.of(rows, columns, title, caption))
    return markdown_text(tables)


def frames_text(row: Any) -> str:
    """Return the number of frames, with a mark where the two sides differ."""
    return f"{row.n_frames_a}" if row.is_comparable else f"{row.n_frames_a} against {row.n_frames_b} (!)"
