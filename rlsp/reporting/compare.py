"""Two result folders side by side: the same model, degradation, data set and protocol in both."""

from pathlib import Path

import pandas as pd

from rlsp.errors import DataError
from rlsp.reporting.printing import Section, markdown_text, number_text
from rlsp.reporting.tables import read_table

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
        ``psnr_difference`` (dB) and ``ssim_difference`` are b minus a; ``is_comparable`` is false where clips
        or frames differ in number.

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
        ssim_difference=merged["ssim_b"] - merged["ssim_a"],
        is_comparable=(merged["n_clips_a"] == merged["n_clips_b"])
        & (merged["n_frames_a"] == merged["n_frames_b"]),
    )


def read_means(study_dir: Path) -> pd.DataFrame:
    """Read the means over clips of a study's accuracy table."""
    table = read_table(study_dir / "tables" / "accuracy.csv", [*SAME, *NUMBERS, "clip"])
    return table[table["clip"] == "mean"][[*SAME, *NUMBERS]]


def comparison_markdown(comparison: pd.DataFrame, name_a: str, name_b: str) -> str:
    """Return what `compare` found as Markdown, one table per degradation, data set and protocol.

    Parameters
    ----------
    comparison : DataFrame
        What `compare` returns.
    name_a, name_b : str
        What to call the two studies.
    """
    sections = []
    for (degradation, dataset, label), rows in comparison.groupby(SAME[1:], sort=False):
        group = f"{label}, {degradation} [dB]"
        heads = [("", "model"), (name_a, "run kind"), (name_b, "run kind"), (group, name_a), (group, name_b)]
        heads += [(group, "difference"), ("SSIM-Y", "difference"), ("", "frames")]
        lines = [
            [
                *(row.model, f"{row.variant_a}, {row.origin_a}", f"{row.variant_b}, {row.origin_b}"),
                number_text(row.psnr_a, 2, row.psnr_std_a),
                number_text(row.psnr_b, 2, row.psnr_std_b),
                number_text(row.psnr_difference, 2, sign="+"),
                number_text(row.ssim_difference, 4, sign="+"),
                f"{row.n_frames_a}"
                if row.is_comparable
                else f"{row.n_frames_a} against {row.n_frames_b} (!)",
            ]
            for row in rows.itertuples()
        ]
        caption = f"{name_b} minus {name_a} on {dataset}, degradation {degradation}, mean over clips."
        sections.append(Section(caption, heads, lines))
    return markdown_text(sections)
