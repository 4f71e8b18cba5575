"""Cost curves: growth of time and memory with frame size, clip length, and a model's width and depth."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlsp.reporting.analyses import runtime
from rlsp.reporting.cells import Number, listed
from rlsp.reporting.results import Results
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
from rlsp.reporting.table import Column, Table
from rlsp.reporting.timing import device_text, range_text, reason_text, way_text

TITLE = "Cost curves"
QUESTION = (
    "How do time and memory grow with the size of the frame, the length of the clip, and a model's width and depth, "
    "each varied on its own? An exponent of 1 is growth in proportion."
)
# What is varied: its name in a text, and in a power law.
QUANTITIES = {
    "lr_pixels": ("LR pixels", "pixels"),
    "clip_length": ("frames of the clip", "frames"),
    "filters": ("filters", "filters"),
    "layers": ("layers", "layers"),
}
WAY = ["device", "threads", "precision", "mode", "model"]  # what a table and a colour of the figure is of
CURVE_COLUMNS = (*WAY, "quantity")
FIT_COLUMNS = ("exponent", "exponent_se", "residual_percent")
COST_COLUMNS = (
    *(*CURVE_COLUMNS, "value", "lr_height", "lr_width", "median_ms", "q10_ms", "q90_ms", "n_repeats"),
    *("peak_memory_mb", "status", *[f"{cost}_{name}" for cost in ("time", "memory") for name in FIT_COLUMNS]),
)
COSTS = (("median_ms", "time [ms]"), ("peak_memory_mb", "peak memory [MB]"))
TITLES = {
    "lr_pixels": "frame size\n(time per frame)",
    "clip_length": "clip length\n(time per clip)",
    "filters": "width\n(time per frame)",
    "layers": "depth\n(time per frame)",
}


@dataclass(frozen=True)
class PowerLaw:
    """A fitted ``cost = factor * value ** exponent``.

    Attributes
    ----------
    factor, exponent : float
        Of the fit, nan where there are fewer than two values to fit.
    exponent_se : float
        Standard error of the exponent, nan where there are only two values.
    residual_percent : float
        Root mean square of the residuals of the logarithm, as the percentage that it is off by.
    """

    factor: float
    exponent: float
    exponent_se: float
    residual_percent: float


def fit_power_law(values: pd.Series, costs: pd.Series) -> PowerLaw:
    """Fit a power law by least squares on the logarithms; what is not positive is left out.

    Parameters
    ----------
    values, costs : Series
        The varied quantity, and the median cost at each of its values.
    """
    x, y = (np.asarray(column, dtype=float) for column in (values, costs))
    is_used = np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)
    x, y = np.log(x[is_used]), np.log(y[is_used])
    nothing = float("nan")
    if len(np.unique(x)) < 2:
        return PowerLaw(nothing, nothing, nothing, nothing)
    spread = ((x - x.mean()) ** 2).sum()
    exponent = ((x - x.mean()) * (y - y.mean())).sum() / spread
    intercept = y.mean() - exponent * x.mean()
    squares = ((y - intercept - exponent * x) ** 2).sum()
    freedom = len(x) - 2
    error = np.sqrt(squares / freedom / spread) if freedom else nothing
    residual = 100 * np.expm1(np.sqrt(squares / len(x)))
    return PowerLaw(float(np.exp(intercept)), float(exponent), float(error), float(residual))


def summarise(results: Results) -> pd.DataFrame:
    """Return median time and peak memory at each value of each quantity, with the exponents of their growth.

    Returns
    -------
    DataFrame
        `COST_COLUMNS`: one row per curve and value, values rising; times (ms) are per output frame, of ``clip_length``
        per clip. The fit of a curve (exponent, its standard error, the residual in %, see `PowerLaw`) stands in each
        of its rows, for time and for memory.
    """
    sweep = results.rows("sweep")
    if sweep.empty:
        return pd.DataFrame(columns=list(COST_COLUMNS))
    keys = [*CURVE_COLUMNS, "value", "lr_height", "lr_width"]
    groups = sweep.groupby(keys, sort=False, dropna=False)
    table = groups.agg(
        median_ms=("runtime_ms", "median"),
        q10_ms=("runtime_ms", lambda times: times.quantile(0.1)),
        q90_ms=("runtime_ms", lambda times: times.quantile(0.9)),
        n_repeats=("runtime_ms", "count"),
        peak_memory_mb=("peak_memory_mb", "median"),
        status=("status", "first"),
    ).reset_index()
    curves = []
    for _, curve in table.groupby(list(CURVE_COLUMNS), sort=False, dropna=False):
        curve = curve.sort_values("value", kind="stable")
        for cost, column in (("time", "median_ms"), ("memory", "peak_memory_mb")):
            law = fit_power_law(curve["value"], curve[column])
            curve = curve.assign(**{f"{cost}_{name}": getattr(law, name) for name in FIT_COLUMNS})
        curves.append(curve)
    return pd.concat(curves, ignore_index=True)[list(COST_COLUMNS)]


# ---- tables ------------------------------------------------------------------------------------


def tables(frame: pd.DataFrame, results: Results) -> list[Table]:
    """Return one table per device and way: time and memory at every value, and the exponents of their growth."""
    return [table_of(rows, results) for _, rows in frame.groupby(WAY, sort=False, dropna=False)]


def table_of(rows: pd.DataFrame, results: Results) -> Table:
    """Return the table of one way; the fit of a curve stands in its first row."""
    first, repeats = next(rows.itertuples()), rows["n_repeats"][rows["n_repeats"] > 0]
    rows = rows.assign(is_first=~rows.duplicated("quantity"))
    columns = [
        Column("varied", lambda row: name_of(row.quantity)),
        Column("value", lambda row: Number(row.value, 0)),
        Column("LR frame", lambda row: f"{row.lr_width}x{row.lr_height}"),
        Column("median [ms]", lambda row: Number(row.median_ms, None), "time"),
        *fit_columns("time", "time"),
        Column("[MB]", lambda row: Number(row.peak_memory_mb, 0), "peak memory"),
        *fit_columns("memory", "peak memory"),
        Column("remark", lambda row: reason_text(row.status), is_optional=True),
    ]
    caption = (
        f"{device_text(first)}. {fixed_text(rows, results)} Medians of "
        f"{range_text(repeats.min(), repeats.max(), 0)} repeats per output frame, per clip where its length is varied. "
        "Exponent: slope of the least-squares line through the logarithms of the medians, ± its standard error; "
        f"residual: root mean square around the line. {runtime.about(results)}"
    )
    return Table.of(rows, columns, f"{TITLE} of {first.model}, {way_text(first)}", caption)


def fit_columns(cost: str, group: str) -> list[Column]:
    """Return the exponent of the growth of time or memory, and the residual, in the first row of a curve."""
    residual = f"{cost}_residual_percent"
    return [
        Column("exponent", lambda row: exponent(row, cost) if row.is_first else "", group),
        Column("residual [%]", lambda row: Number(getattr(row, residual), 1) if row.is_first else "", group),
    ]


def exponent(row: Any, cost: str) -> Number:
    """Return the exponent of the growth of time or memory with its standard error."""
    return Number(getattr(row, f"{cost}_exponent"), 3, getattr(row, f"{cost}_exponent_se"))


def name_of(quantity: str) -> str:
    """Return what is varied, in words."""
    return QUANTITIES.get(quantity, (quantity,))[0]


def fixed_text(costs: pd.DataFrame, results: Results) -> str:
    """Return what is held fixed while one quantity is varied."""
    model = costs["model"].iloc[0]
    spec = results.facts.models.get(model)
    size = [f"{getattr(spec, key)} {key}" for key in ("layers", "blocks", "filters") if hasattr(spec, key)]
    others = costs[costs["quantity"] != "lr_pixels"]
    frames = dict.fromkeys(f"LR {row.lr_width}x{row.lr_height}" for row in others.itertuples())
    told = ", ".join([model + (f" ({', '.join(size)})" if size else ""), *frames, "batch 1"])
    return f"One quantity is varied at a time, the rest held fixed at {told}."


# ---- figure ------------------------------------------------------------------------------------


@styled
def figure(frame: pd.DataFrame, results: Results) -> Figure | None:
    """Draw time (above) and peak memory (below) against each varied quantity, both axes logarithmic.

    Points are medians, lines the fitted power laws, each with its exponent; one colour for each way of running.
    None when nothing was varied.
    """
    quantities = [name for name in QUANTITIES if (frame["quantity"] == name).any()]
    if not quantities:
        return None
    ways = list(frame.groupby(WAY, sort=False, dropna=False))
    drawing = new_figure(PAGE_WIDTH if len(quantities) > 1 else 3.0, 4.0)
    axes = drawing.subplots(len(COSTS), len(quantities), squeeze=False, sharex="col")
    for line, (cost, cost_label) in zip(axes, COSTS, strict=True):
        for axis, quantity in zip(line, quantities, strict=True):
            for number, (_, rows) in enumerate(ways):
                label = way_text(next(rows.itertuples())) if len(ways) > 1 else None
                plot_curve(axis, rows[rows["quantity"] == quantity], cost, number, label)
            scale_log_axis(axis, "x", most_ticks=3)
            scale_log_axis(axis, "y", margin=1.6, most_ticks=6)
            if axis in axes[0]:
                axis.set_title(TITLES[quantity])
            else:
                axis.set_xlabel(QUANTITIES[quantity][0])
        line[0].set_ylabel(cost_label)
    first = next(frame.itertuples())
    how = "" if len(ways) > 1 else f", {way_text(first)}"
    title_figure(drawing, f"{fixed_text(frame, results)} Measured on {device_text(first)}{how}")
    add_legend(drawing)
    return drawing


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


# ---- findings ----------------------------------------------------------------------------------


def findings(frame: pd.DataFrame, results: Results) -> list[str]:
    """Say with which power of each quantity time and memory grow, with standard errors."""
    sentences = []
    for _, rows in frame.groupby(WAY, sort=False, dropna=False):
        curves, parts = rows.drop_duplicates("quantity"), []
        for cost in ("time", "memory"):
            known = curves[curves[f"{cost}_exponent"].notna()]
            powers = [f"{exponent(row, cost)} of {name_of(row.quantity)}" for row in known.itertuples()]
            parts += [f"{cost} grows with the power {listed(powers)}"] if powers else []
        if parts:
            first = next(rows.itertuples())
            what = f"{first.model} ({way_text(first)}, {device_text(first)})"
            sentences.append(f"Of {what} {'; '.join(parts)} (± standard error of the fit).")
    return sentences
