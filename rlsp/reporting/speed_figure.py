"""Figure 1 of the paper: PSNR against the time of one output frame."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rlsp.config.specs.facts import Facts
from rlsp.config.specs.models import SHIPPED, family_of, label_of
from rlsp.reporting.captions import frame_text
from rlsp.reporting.labels import Label, place_labels
from rlsp.reporting.protocols import protocol_label
from rlsp.reporting.published import PUBLISHED_PSNR, published_points
from rlsp.reporting.results import Results
from rlsp.reporting.style import (
    COLORS,
    MARKERS,
    PAGE_WIDTH,
    add_legend,
    grid_shape,
    label_styles,
    new_figure,
    scale_log_axis,
    styled,
    title_figure,
    variant_styles,
    wrapped,
)
from rlsp.reporting.timing import device_text, way_text

MOST_ROWS = 3  # panels below each other that fit a page
PUBLISHED_COLOR = "0.45"
FILLED = "PSNR and time measured here"
HOLLOW = "PSNR published, timed here"


@dataclass(frozen=True)
class Panel:
    """One panel: what is drawn in it, and whether its times were measured here."""

    dataset: str
    degradation: str
    rows: pd.DataFrame
    is_measured: bool


@styled
def plot_psnr_vs_runtime(points: pd.DataFrame, results: Results, untimed: pd.DataFrame) -> Figure | None:
    """Draw PSNR against time per output frame, one panel per data set and kind of degradation.

    Filled points have both measured here, with bars from the 10 to the 90 % quantile of the time and over the
    standard deviation between seeds; hollow ones the time only. A thin line joins models that differ in size only.
    What is published as a whole is hollow and grey in a panel of its own, since it was timed on other devices.
    Interpolation without a measured time is a dashed line. Names stand beside the points; where they do not fit, a
    legend has them. None when nothing was timed.

    Parameters
    ----------
    points : DataFrame
        What `rlsp.reporting.analyses.speed.summarise` returns, of one way.
    results : Results
        The study.
    untimed : DataFrame
        Means of interpolation that was not timed: ``dataset``, ``degradation``, ``variant`` and ``psnr``.
    """
    points = points[points["psnr"].notna()]
    panels = runtime_panels(points, results.published)
    if not panels:
        return None
    facts, title = results.facts, figure_title(points, results.facts)
    for columns in (2, 1) if len(panels) <= MOST_ROWS else (2,):
        figure, axes = new_panels(panels, columns, title)
        labels = [draw_named(axis, panel, facts, untimed) for axis, panel in zip(axes, panels, strict=True)]
        add_legend(figure)
        figure.draw_without_rendering()  # sizes are known from here on
        if all([place_labels(axis, of_panel) for axis, of_panel in zip(axes, labels, strict=True)]):
            return figure
    figure, axes = new_panels(panels, 2, title)
    styles = variant_styles(results)
    for axis, panel in zip(axes, panels, strict=True):
        draw_keyed(axis, panel, facts, untimed, styles)
    add_legend(figure)
    return figure


# ---- what is drawn -----------------------------------------------------------------------------


def runtime_panels(points: pd.DataFrame, published: pd.DataFrame) -> list[Panel]:
    """Return the panels: of what was measured, then of what was published for the same data and degradation."""
    panels, apart = [], []
    for (dataset, degradation), rows in points.groupby(["dataset", "panel"], sort=False):
        if (rows["psnr_from"] != "interpolation").any():  # the baseline alone is no comparison
            panels.append(Panel(dataset, degradation, rows, is_measured=True))
            known = published_points(published, dataset, degradation)
            if not known.empty:
                apart.append(Panel(dataset, degradation, known, is_measured=False))
    return [*panels, *apart]


def figure_title(points: pd.DataFrame, facts: Facts) -> str:
    """Return how the shown times were measured, and what bars and brackets mean."""
    row = next(points.itertuples())
    parts = [
        f"Measured on {device_text(row)}, {frame_text(row.lr_height, row.lr_width, facts)}, "
        f"batch {row.batch}, {way_text(row)}, {row.boundary}",
        "bars: 10 to 90 % of the times",
    ]
    counts = points.loc[points["psnr_std"].notna(), "n_seeds"]
    if not counts.empty:
        seeds = "-".join(str(int(count)) for count in sorted({counts.min(), counts.max()}))
        parts[-1] += f", standard deviation over {seeds} seeds"
    if (points["degradation"] != points["panel"]).any():
        parts.append("in brackets the blur of the input where it is not the panel's")
    return "; ".join(parts)


# ---- panels ------------------------------------------------------------------------------------


def new_panels(panels: list[Panel], columns: int, title: str) -> tuple[Figure, list[Axes]]:
    """Return a figure with an empty panel for each of `panels`, titled and its axes named."""
    is_pair = len(panels) == 2 and not panels[1].is_measured and columns == 2
    rows, columns = grid_shape(len(panels), columns)
    height = 2.9 if columns == 1 or is_pair else 2.5
    figure = new_figure(PAGE_WIDTH if len(panels) > 1 else 5.5, 0.45 + height * rows)
    ratios = [1.6, 1.0] if is_pair else [1.0] * columns
    axes = list(figure.subplots(rows, columns, squeeze=False, width_ratios=ratios).ravel())
    for axis in axes[len(panels) :]:
        axis.remove()
    title_figure(figure, title)
    return figure, axes[: len(panels)]


def name_axes(axis: Axes, panel: Panel, facts: Facts) -> None:
    """Title a panel, name its axes and scale them, with room for names around the points."""
    what = "timed here" if panel.is_measured else "published"
    axis.set_title(f"{panel.dataset}, {panel.degradation}: {what}")
    if panel.is_measured:
        axis.set_xlabel("time per output frame [ms]")
        axis.set_ylabel(f"{short_label(facts)} [dB]")
    else:
        axis.set_xlabel("published time per frame [ms],\ndevice and frame size of each source")
        axis.set_ylabel("published PSNR [dB],\nprotocol of each source")
    axis.margins(y=0.14)
    scale_log_axis(axis, "x", margin=1.5)


def short_label(facts: Facts) -> str:
    """Return the headline protocol in two lines, for an axis."""
    channel, rest = protocol_label(facts.headline).split(", ", 1)
    return f"{channel}, {rest}" if len(rest) < 12 else f"{channel}\n{rest}"


def draw_named(axis: Axes, panel: Panel, facts: Facts, untimed: pd.DataFrame) -> list[Label]:
    """Draw a panel whose points have a colour for each family; return the names to put beside them."""
    rows = panel.rows
    labels = []
    if panel.is_measured:
        draw_series(axis, rows, facts)
        families = family_styles(rows, facts)
        is_mixed = (rows["psnr_from"] == PUBLISHED_PSNR).any()
        for row in rows.itertuples():
            style = families[family(row, facts)]
            draw_point(axis, row, style)
            labels.append(Label(row.median_ms, row.psnr, wrapped(shown_name(row, facts), 24), style["color"]))
        if is_mixed:
            for name, fill in ((FILLED, "0.3"), (HOLLOW, "none")):
                key = Line2D(
                    [], [], color="0.3", marker="o", linestyle="none", markerfacecolor=fill, label=name
                )
                axis.add_line(key)
        draw_untimed(axis, panel, untimed, {})
    else:
        devices = list(rows["note"].unique())
        for row in rows.itertuples():
            marker = MARKERS[devices.index(row.note) % len(MARKERS)]
            draw_published(axis, row, marker, f"published ({row.note})")
            labels.append(
                Label(
                    row.runtime_ms,
                    row.psnr,
                    label_of(row.model, facts.models.get(row.model)),
                    PUBLISHED_COLOR,
                )
            )
    name_axes(axis, panel, facts)
    return labels


def draw_keyed(
    axis: Axes, panel: Panel, facts: Facts, untimed: pd.DataFrame, styles: dict[str, dict]
) -> None:
    """Draw a panel whose points have a style and a line of the legend for each variant."""
    if panel.is_measured:
        draw_series(axis, panel.rows, facts)
        free = label_styles([*styles, *panel.rows["variant"]])
        for row in panel.rows.itertuples():
            note = " (PSNR published)" if row.psnr_from == PUBLISHED_PSNR else ""
            draw_point(axis, row, styles.get(row.variant, free[row.variant]), wrapped(row.label + note))
        draw_untimed(axis, panel, untimed, styles)
    else:
        free = label_styles(panel.rows["model"])
        for row in panel.rows.itertuples():
            name = wrapped(f"{row.model} (published; {row.note})")
            draw_published(axis, row, free[row.model]["marker"], name)
    name_axes(axis, panel, facts)


def draw_point(axis: Axes, row: Any, style: dict[str, Any], label: str | None = None) -> None:
    """Draw a point timed here with its spread in time and between seeds; hollow where its PSNR is published."""
    time = [[max(0.0, row.median_ms - row.q10_ms)], [max(0.0, row.q90_ms - row.median_ms)]]
    axis.errorbar(
        row.median_ms,
        row.psnr,
        xerr=time,
        yerr=None if pd.isna(row.psnr_std) else row.psnr_std,
        label=label,
        elinewidth=0.8,
        markersize=6,
        zorder=3,
        color=style["color"],
        marker=style["marker"],
        linestyle="none",
        markerfacecolor="white" if row.psnr_from == PUBLISHED_PSNR else style["color"],
    )


def draw_published(axis: Axes, row: Any, marker: str, label: str) -> None:
    """Draw a point whose PSNR and time are published, hollow and grey."""
    axis.plot(
        *(row.runtime_ms, row.psnr),
        marker=marker,
        linestyle="none",
        markersize=6,
        markerfacecolor="none",
        markeredgecolor=PUBLISHED_COLOR,
        label=label,
    )


def draw_untimed(axis: Axes, panel: Panel, untimed: pd.DataFrame, styles: dict[str, dict]) -> None:
    """Draw interpolation that was not timed as a horizontal line."""
    if untimed.empty:
        return
    kinds = {panel.degradation, *panel.rows["degradation"]}
    rows = untimed[(untimed["dataset"] == panel.dataset) & untimed["degradation"].isin(kinds)]
    for row in rows.itertuples():
        color = styles.get(row.variant, {"color": "0.45"})["color"]
        axis.axhline(row.psnr, color=color, linestyle="--", label=wrapped(f"{row.variant} (not timed)"))


# ---- families ----------------------------------------------------------------------------------


def family(row: Any, facts: Facts) -> str:
    """Return what is drawn in one colour: the method of a row, or interpolation."""
    is_baseline = row.psnr_from == "interpolation"
    return "interpolation" if is_baseline else family_of(row.model, facts.models.get(row.model))


def family_styles(rows: pd.DataFrame, facts: Facts) -> dict[str, dict[str, Any]]:
    """Give each family a colour and a marker: the paper's three the first ones, interpolation a grey."""
    shipped = [spec.FAMILY for spec in SHIPPED.values()]
    found = dict.fromkeys([*shipped, *[family(row, facts) for row in rows.itertuples()]])
    found.pop("interpolation", None)
    styles = {
        name: {"color": COLORS[n % len(COLORS)], "marker": MARKERS[n % len(MARKERS)]}
        for n, name in enumerate(found)
    }
    return styles | {"interpolation": {"color": "0.35", "marker": "D"}}


def draw_series(axis: Axes, rows: pd.DataFrame, facts: Facts) -> None:
    """Join models that differ in size only with a thin grey line."""
    firsts = rows[(rows["psnr_from"] != "interpolation") & rows["model"].isin(facts.models)]
    series: dict[str, list[tuple[float, float]]] = {}
    for row in firsts.drop_duplicates("model").sort_values("median_ms").itertuples():
        series.setdefault(facts.models[row.model].series, []).append((row.median_ms, row.psnr))
    for points in series.values():
        if len(points) > 1:
            axis.plot(*zip(*points, strict=True), color="0.7", linewidth=0.8, zorder=1)


def shown_name(row: Any, facts: Facts) -> str:
    """Return a row's label with its model's name as the literature writes it: ``RLSP 7-128``, ``DUF-52L``."""
    name = label_of(row.model, facts.models.get(row.model))
    return name + row.label.removeprefix(row.model) if row.label.startswith(row.model) else row.label
