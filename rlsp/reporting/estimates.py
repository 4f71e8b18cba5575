"""The estimate of what a study costs, as tables for people."""

from pathlib import Path

import pandas as pd

from rlsp.config.constants import PASSES
from rlsp.config.study import Study
from rlsp.files import write_csv, write_text
from rlsp.planning.estimate import estimate_disk, estimate_training
from rlsp.reporting.printing import EMPTY, Section, count_text, markdown_text, time_text


def cost_sections(study: Study, training: pd.DataFrame, disk: pd.DataFrame) -> list[Section]:
    """Return the estimate as tables for people."""
    trainings = [] if training.empty else [training_section(study, training)]
    return [*trainings, disk_section(study, disk)]


def training_section(study: Study, training: pd.DataFrame) -> Section:
    """Return the table of operations and hours, one line per model and recipe, and their sum."""
    devices = list(training["device"].dropna().unique())
    heads = [("", "model"), ("", "recipe"), ("", "runs"), ("", "steps of a run"), ("", "GMAC a step")]
    heads += [
        ("", "PMAC, all runs"),
        *[(device, head) for device in devices for head in ("hours", "rate of")],
    ]
    lines = []
    for (model, recipe), rows in training.groupby(["model", "recipe"], sort=False):
        row, by_device = rows.iloc[0], rows.set_index("device")
        cells = [count_text(row.runs), count_text(row.steps), amount_text(row.gmac_per_step)]
        lines.append([model, recipe, *cells, amount_text(row.pmac)])
        for device in devices:
            known = device in by_device.index
            hours = by_device.loc[device, "hours"] if known else float("nan")
            lines[-1] += [amount_text(hours), by_device.loc[device, "rate_of"] if known else EMPTY]
    pmac, runs = total(training, "pmac"), total(training, "runs")
    totals = [amount_text(hours_of_all(training, device)) for device in devices]
    cells = [cell for text in totals for cell in (text, "")]
    lines.append(["all", "", count_text(runs), "", "", amount_text(pmac), *cells])
    hours = "one training at a time, from measured rates" if devices else "no device was measured"
    caption = (
        f"Trainings of study {study.name}. Operations: multiply-accumulates of convolutions at the size of the crops, "
        f"{PASSES} times those of the forward pass; 1 PMAC is a million GMAC. Hours: {hours}; reading, validating, "
        "restoring and scoring come on top."
    )
    return Section(caption, heads, lines)


def total(training: pd.DataFrame, column: str) -> float:
    """Sum a column over models and recipes, each once."""
    return training.drop_duplicates(["model", "recipe"])[column].sum()


def hours_of_all(training: pd.DataFrame, device: str) -> float:
    """Return the hours of the whole study on a device, not a number unless every training has a rate there."""
    hours = training[training["device"] == device]["hours"]
    trainings = training[["model", "recipe"]].drop_duplicates()
    return float(hours.sum()) if len(hours) == len(trainings) else float("nan")


def disk_section(study: Study, disk: pd.DataFrame) -> Section:
    """Return the table of what takes space."""
    heads = [("", "what"), ("", "of"), ("", "GB"), ("", "how it is known")]
    lines = [
        [
            row.what,
            row.name,
            amount_text(row.bytes / 1e9),
            row.how if row.bytes == row.bytes else "not yet known",
        ]
        for row in disk.itertuples(index=False)
    ]
    lines.append(["all that is known", "", amount_text(disk["bytes"].sum() / 1e9), ""])
    caption = (
        f"Space that study {study.name} takes (1 GB is 10^9 bytes) if nothing is deleted: an archive may go once its "
        "clips are packed, and downloads and clips are shared by all studies of one data_root."
    )
    return Section(caption, heads, lines)


def amount_text(value: float) -> str:
    """Return an amount with about three digits, small ones too."""
    return f"{value:.3g}" if 0 <= value < 1 else time_text(value)


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
    text = markdown_text(cost_sections(study, training, disk))
    if folder is not None:
        write_csv(folder / "costs_training.csv", training)
        write_csv(folder / "costs_disk.csv", disk)
        write_text(folder / "costs.md", text)
    return text
