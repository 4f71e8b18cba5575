"""Cost curves as a figure: time and memory against frame size, clip length, width and depth."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlsp.reporting.costs import CURVE_COLUMNS, QUANTITIES, PowerLaw, fit_power_law
from rlsp.reporting.style import (
    COLORS,
    MARKERS,
    PAGE_WIDTH,
    add_legend,
    new_figure,
    scale_log_axis,
    styled,
    title_figure,
)
from rlsp.reporting.wide_timing import fixed_text

COSTS = (("median_ms", "time [ms]"), ("peak_memory_mb", "peak memory [MB]"))
TITLES = {
    "lr_pixels": "frame size\n(time per frame)",
    "clip_length": "clip length\n(time per clip)",
    "filters": "width\n(time per frame)",
    "layers": "depth\n(time per frame)",
}


@styled
def plot_cost_curves(costs: pd.DataFrame, study: dict[str, Any]) -> Figure | None:
    """Draw time (above) and peak memory (below) against each varied quantity, both axes logarithmic.

    Points are medians, lines the fitted power laws, each with its exponent; one colour for each way of running.
    None when nothing was varied.

    Parameters
    ----------
    costs : DataFrame
        What `rlsp.reporting.costs.summarise_costs` returns.
    study : dict
        The facts of the study, which say what is held fixed.
    """
    quantities = [name for name in QUANTITIES if (costs["quantity"] == name).any()]
    if not quantities:
        return None
    ways = list(
        costs.groupby([column for column in CURVE_COLUMNS if column != "quantity"], sort=False, dropna=False)
    )
    figure = new_figure(PAGE_WIDTH if len(quantities) > 1 else 3.0, 4.0)
    axes = figure.subplots(len(COSTS), len(quantities), squeeze=False, sharex="col")
    for line, (cost, cost_label) in zip(axes, COSTS, strict=True):
        for axis, quantity in zip(line, quantities, strict=True):
            for number, (_, rows) in enumerate(ways):
                label = f"{rows['mode'].iloc[0]}, {rows['precision'].iloc[0]}" if len(ways) > 1 else None
                plot_curve(axis, rows[rows["quantity"] == quantity], cost, number, label)
            scale_log_axis(axis, "x", most_ticks=3)
            scale_log_axis(axis, "y", margin=1.6, most_ticks=6)
            if axis in axes[0]:
                axis.set_title(TITLES[quantity])
            else:
                axis.set_xlabel(QUANTITIES[quantity][0])
        line[0].set_ylabel(cost_label)
    first = costs.iloc[0]
    how = "" if len(ways) > 1 else f", {first['mode']}, {first['precision']}"
    threads = f"{first['threads']} thread{'s' if first['threads'] > 1 else ''}"
    title = f"{fixed_text(costs, study)} Measured on {first['device']}, {threads}{how}"
    title_figure(figure, title)
    add_legend(figure)
    return figure


def plot_curve(axis: Axes, rows: pd.DataFrame, cost: str, number: int, label: str | None) -> None:
    """Draw the medians of one curve, its fitted power law, and the exponent in the upper left corner."""
    rows = rows[(rows[cost] > 0) & (rows["value"] > 0)]
    if rows.empty:
        return
    color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
    axis.plot(rows["value"], rows[cost], linestyle="none", color=color, marker=marker, label=label)
    law = fit_power_law(rows["value"], rows[cost])
    if pd.isna(law.exponent):
        return
    ends = rows["value"].agg(["min", "max"])
    axis.plot(ends, law.factor * ends**law.exponent, color=color, linewidth=0.9)
    axis.annotate(
        law_text(law, rows["quantity"].iloc[0]),
        *((0, 1), (3, -2 - 11 * number)),
        xycoords="axes fraction",
        textcoords="offset points",
        va="top",
        color=color,
    )


def law_text(law: PowerLaw, quantity: str) -> str:
    """Return a fitted growth, such as ``∝ pixels^0.98``, with the exponent raised."""
    exponent = round(law.exponent, 2) + 0.0  # never -0.00
    return rf"$\propto$ {QUANTITIES[quantity][1]}$^{{{exponent:.2f}}}$"
