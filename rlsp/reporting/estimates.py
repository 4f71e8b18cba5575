"""The estimate of what a study costs, as tables for people."""

import math
from pathlib import Path

import pandas as pd

from rlsp.config.constants import PASSES
from rlsp.config.study import Study
from rlsp.files import write_csv, write_text
from rlsp.planning.estimate import estimate_disk, estimate_training
from rlsp.reporting.cells import EMPTY, Cell, Number
from rlsp.reporting.printing import markdown_text
from rlsp.reporting.table import Table


def cost_tables(study: Study, training: pd.DataFrame, disk: pd.DataFrame) -> list[Table]:
    """Return the estimate as tables for people."""
    trainings = [] if training.empty else [training_table(study, training)]
    return [*trainings, disk_table(study, disk)]


def training_table(study: Study, training: pd.DataFrame) -> Table:
    """Return the table of operations and hours, one line per model and recipe, and their sum."""
    devices = list(training["device"].dropna().unique())
    lines: list[list[Cell]] = []
    for (model, recipe), rows in training.groupby(["model", "recipe"], sort=False):
        row, by_device = rows.iloc[0], rows.set_index("device")
        lines.append(
            [
                model,
                recipe,
                Number(row.runs, 0),
                Number(row.steps, 0),
                amount(row.gmac_per_step),
                amount(row.pmac),
            ]
        )
        for device in devices:
            is_known = device in by_device.index
            hours = by_device.loc[device, "hours"] if is_known else float("nan")
            lines[-1] += [amount(hours), by_device.loc[device, "rate_of"] if is_known else EMPTY]
    totals = [cell for device in devices for cell in (amount(hours_of_all(training, device)), "")]
    sums = Number(total(training, "runs"), 0), amount(total(training, "pmac"))
    lines.append(["all", "", sums[0], "", "", sums[1], *totals])
    hours = (
        "one training at a time, from measured rates"
        if devices
        else "no rate was measured with their optimizer"
    )
    caption = (
        f"Operations: multiply-accumulates of convolutions at the size of the crops, {PASSES} times those of the "
        f"forward pass; 1 PMAC is a million GMAC. Hours: {hours}; reading, validating, restoring and scoring come "
        "on top."
    )
    heads = ["model", "recipe", "runs", "steps of a run", "GMAC a step", "PMAC, all runs"]
    heads += [f"{head} {device}" for device in devices for head in ("hours on", "rate of, on")]
    return Table.of_cells(heads, lines, f"Trainings of study {study.name}", caption)


def total(training: pd.DataFrame, column: str) -> float:
    """Sum a column over models and recipes, each once."""
    return training.drop_duplicates(["model", "recipe"])[column].sum()


def hours_of_all(training: pd.DataFrame, device: str) -> float:
    """Return the hours of the whole study on a device, not a number unless every training has a rate there."""
    hours = training[training["device"] == device]["hours"]
    trainings = training[["model", "recipe"]].drop_duplicates()
    return float(hours.sum()) if len(hours) == len(trainings) else float("nan")


def disk_table(study: Study, disk: pd.DataFrame) -> Table:
    """Return the table of what takes space."""
    lines: list[list[Cell]] = [
        [row.what, row.name, amount(row.bytes / 1e9), row.how if row.bytes == row.bytes else "not yet known"]
        for row in disk.itertuples(index=False)
    ]
    lines.append(["all that is known", "", amount(disk["bytes"].sum() / 1e9), ""])
    caption = (
        "1 GB is 10^9 bytes, and nothing is deleted: an archive may go once its clips are packed, and downloads and "
        "clips are shared by all studies of one data_root."
    )
    return Table.of_cells(
        ["what", "of", "GB", "how it is known"], lines, f"Space that study {study.name} takes", caption
    )


def amount(value: float) -> Number:
    """Return an amount with about three digits, small ones too."""
    if value == 0:
        return Number(value, 0)
    return Number(value, 2 - math.floor(math.log10(value)) if 0 < value < 1 else None)


def estimate_study(study: Study, rates: pd.DataFrame, folder: Path | None = None) -> str:
    """Estimate a study; returns Markdown, and leaves it with its numbers as CSV in a folder.

    Parameters
    ----------
    study : Study
        The study.
    rates : DataFrame
        See `read_rates`.
    folder : Path, optional
        Where ``costs.md``, ``costs_training.csv`` and ``costs_disk.csv`` go.
    """
    training, disk = estimate_training(study, rates), estimate_disk(study)
    text = markdown_text(cost_tables(study, training, disk))
    if folder is not None:
        write_csv(folder / "costs_training.csv", training)
        write_csv(folder / "costs_disk.csv", disk)
        write_text(folder / "costs.md", text)
    return text
