"""Complexity: parameters, multiply-accumulates and memory of each model, by size of the frame."""

import pandas as pd

from rlsp.reporting.analyses import runtime
from rlsp.reporting.captions import frame_text
from rlsp.reporting.cells import Number
from rlsp.reporting.results import Results
from rlsp.reporting.table import Column, Table
from rlsp.reporting.timing import headline_setting, headline_way, way_text

TITLE = "Complexity"
QUESTION = "How large is each model, and how many operations and how much memory does one output frame take?"
NUMBERS = ["parameters", "gmac_per_frame", "peak_memory_mb"]


def summarise(results: Results) -> pd.DataFrame:
    """Return parameters, GMAC per output frame, and the highest peak memory (MB) of each case."""
    samples = results.rows("runtime")
    names = ["model", "device", "lr_height", "lr_width", "boundary", "batch", "mode", "precision"]
    if samples.empty:
        return pd.DataFrame(columns=[*names, *NUMBERS])
    return samples.groupby(names, sort=False, dropna=False)[NUMBERS].max().reset_index()


def tables(frame: pd.DataFrame, results: Results) -> list[Table]:
    """Return one table per device and size of frames, of the network and the smallest batch: a row for each model."""
    found = []
    for (device, height, width), rows in frame.groupby(
        ["device", "lr_height", "lr_width"], sort=False, dropna=False
    ):
        boundary = "network" if (rows["boundary"] == "network").any() else rows["boundary"].iloc[0]
        rows = rows[rows["boundary"] == boundary]
        rows = rows[rows["batch"] == rows["batch"].min()]
        caption = (
            f"{boundary}, batch {rows['batch'].iloc[0]}; GMAC: 10^9 multiply-accumulates of convolutions and matrix "
            f"products per output frame; memory on {device}. {runtime.about(results)}"
        )
        title = f"Complexity at {frame_text(height, width, results.facts)}"
        found.append(table_of(rows, title, caption))
    return found


def table_of(rows: pd.DataFrame, title: str, caption: str) -> Table:
    """Return the table of one device and size: memory in the headline's way and in the way that needs the least."""
    shown = headline_way(rows)
    memory = shown.set_index("model")["peak_memory_mb"]
    fewest = rows.sort_values("peak_memory_mb", kind="stable").drop_duplicates("model")
    least = {row.model: row for row in fewest.itertuples()}
    group = "peak memory [MB]"
    columns = [
        Column("model", lambda row: row.model),
        Column("parameters", lambda row: Number(row.parameters, 0)),
        Column("GMAC", lambda row: Number(row.gmac_per_frame, 2)),
        Column(
            way_text(next(shown.itertuples())),
            lambda row: Number(memory.get(row.model, float("nan")), 0),
            group,
        ),
    ]
    if rows.duplicated("model").any():
        columns += [
            Column("least", lambda row: Number(least[row.model].peak_memory_mb, 0), group),
            Column("of the way", lambda row: way_text(least[row.model]), group),
        ]
    return Table.of(rows.drop_duplicates("model"), columns, title, caption)


def figure(frame: pd.DataFrame, results: Results) -> None:
    """Nothing is drawn: these are a few numbers that depend on nothing."""


def findings(frame: pd.DataFrame, results: Results) -> list[str]:
    """Say from what to what the networks of the study range; counts are exact."""
    networks = frame[frame["parameters"] > 0]
    if networks.empty or networks["model"].nunique() < 2:
        return []
    networks = headline_setting(networks.assign(threads=0)).drop_duplicates("model")
    first = networks.iloc[0]
    if networks["model"].nunique() < 2:
        return []
    parts = []
    for column, unit, decimals in (("parameters", "parameters", 0), ("gmac_per_frame", "GMAC", 2)):
        low, high = networks.loc[networks[column].idxmin()], networks.loc[networks[column].idxmax()]
        parts.append(
            f"from {Number(low[column], decimals)} {unit} ({low['model']}) to {Number(high[column], decimals)} "
            f"({high['model']}), {Number(high[column] / low[column], None)} times as many"
        )
    size = frame_text(first["lr_height"], first["lr_width"], results.facts)
    return [f"The networks range {parts[0]}, and for one frame ({size}) {parts[1]}."]
