"""How figures look: colours, markers and lines that survive grey printing, sizes, and files without dates."""

import io
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from rlsp.files import replace_when_complete

if TYPE_CHECKING:
    from rlsp.reporting.results import Results

# seaborn's "colorblind" palette, dark colours first
COLORS = (
    *("#0173b2", "#d55e00", "#029e73", "#de8f05", "#cc78bc"),
    *("#5b5b5b", "#ca9161", "#56b4e9", "#a0522d", "#949494"),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "p", "*")
LINES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1, 1)),
    (0, (5, 1, 1, 1)),
    (0, (8, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
)

MOST_LINES = 12  # lines that can be told apart in one panel; of more, some are drawn grey
FADED = {
    "color": "0.8",
    "marker": "",
    "linestyle": "-",
    "zorder": 1,
    "label": "other variants (numbers in the tables)",
}

PAGE_WIDTH = 7.0  # inches: the text width of a two-column paper
TITLE_WIDTH = 105  # characters of a title in one line of a figure of that width
RC = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "figure.titlesize": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "0.88",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "pdf.fonttype": 42,  # TrueType, so that text in a PDF can be searched and edited
    "savefig.dpi": 200,
}
styled = matplotlib.rc_context(RC)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure (inches) drawn without pyplot, its parts laid out so that nothing is cut."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def title_figure(figure: Figure, title: str) -> None:
    """Title a figure, in lines as wide as it is."""
    width = int(TITLE_WIDTH * figure.get_figwidth() / PAGE_WIDTH)
    figure.suptitle(textwrap.fill(title, width, break_on_hyphens=False))


def save_figure(figure: Figure, stem: Path | str) -> list[Path]:
    """Write a figure as ``<stem>.pdf`` and ``<stem>.png`` (200 dpi), same figure, same bytes.

    Returns
    -------
    list of Path
        The two files.
    """
    # A stem may hold dots (rlsp-7-48.gaussian), so the suffix is added, not replaced.
    paths = [Path(f"{stem}.{kind}") for kind in ("pdf", "png")]
    metadata = {"pdf": {"CreationDate": None}, "png": {"Software": None}}
    with matplotlib.rc_context(RC):
        figure.draw_without_rendering()  # lay out once for both
    figure.set_layout_engine("none")
    for path in paths:
        kind = path.suffix[1:]
        with replace_when_complete(path) as temporary, matplotlib.rc_context(RC):
            drawn = io.BytesIO()  # matplotlib's PDF writer would print tracebacks on a full disk
            figure.savefig(drawn, format=kind, metadata=metadata[kind], dpi=RC["savefig.dpi"])
            temporary.write_bytes(drawn.getbuffer())
    return paths


def label_styles(labels: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Give each label a colour, a marker and a line style of its own, the same in every figure of a study."""
    labels = list(dict.fromkeys(labels))
    return {
        label: {
            "color": COLORS[number % len(COLORS)],
            "marker": MARKERS[number % len(MARKERS)],
            "linestyle": LINES[number % len(LINES)],
        }
        for number, label in enumerate(labels)
    }


def variant_styles(results: "Results") -> dict[str, dict[str, Any]]:
    """Return the style of each variant of a study, the same in all of its figures."""
    return label_styles(results.scores["variant"])


def line_styles(results: "Results") -> dict[str, dict[str, Any]]:
    """Of more variants than lines can show, leave colour to those that the study compares.

    These are interpolation, the reference model, the rows of the ablation and every other architecture; the
    rest (depths and widths, which other figures show) turns grey under one label.
    """
    styles, scores, facts = variant_styles(results), results.scores, results.facts
    if len(styles) <= MOST_LINES:
        return styles
    own = facts.models.get(facts.reference_model or "")
    compared = {*facts.ablation, facts.reference_model}
    compared |= {name for name, spec in facts.models.items() if own is None or spec.arch != own.arch}
    is_kept = scores["model"].isin(compared) | (scores["origin"] == "interpolation")
    kept = list(dict.fromkeys(scores["variant"][is_kept]))[:MOST_LINES] or list(styles)[:MOST_LINES]
    return {label: style if label in kept else FADED for label, style in styles.items()}


def plot_line(axis: Axes, values: pd.Series, styles: dict[str, dict], label: str, **changes: Any) -> None:
    """Draw a variant's line over the index of its values, with markers spread out so that grey lines differ."""
    style = {"label": wrapped(label)} | styles[label] | {"markersize": 3.5} | changes
    axis.plot(values.index, values, **style)


def add_legend(figure: Figure) -> None:
    """Put one legend for all panels below them, each label once, and make the figure taller by its height."""
    entries = {}
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if not entries:
        return
    columns = min(len(entries), 3 if figure.get_figwidth() >= PAGE_WIDTH else 2)
    rows = -(-len(entries) // columns)
    lines = [1 + label.count("\n") for label in entries]
    tallest = max(sum(lines[start : start + rows]) for start in range(0, len(lines), rows))
    figure.set_figheight(figure.get_figheight() + 0.15 + 0.13 * tallest + 0.06 * rows)
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=columns)


def scale_log_axis(axes: Axes, which: str, *, margin: float = 1.15, most_ticks: int = 8) -> None:
    """Make an axis (``x`` or ``y``) logarithmic, at least a factor of 4 wide, with plain numbers at 1, 2, 3, 5 and 7.

    Of more than `most_ticks` only 1, 2 and 5, or 1 and 3, or the powers of ten, or every other of these stay. What is
    drawn has to be positive; on either side it gets a twentieth of its range and the factor `margin`.
    """
    low, high = getattr(axes.dataLim, f"interval{which}")
    if not (0 < low <= high < np.inf):  # nothing is drawn
        return
    room, centre = margin * (high / low) ** 0.05, np.sqrt(low * high)
    low, high = min(low / room, centre / 2), max(high * room, centre * 2)
    getattr(axes, f"set_{which}lim")(low, high)  # before the scale, which else looks for limits of its own
    getattr(axes, f"set_{which}scale")("log")
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    choices = [
        [step * 10.0**decade for decade in list(decades)[::every] for step in steps]
        for steps, every in (((1, 2, 3, 5, 7), 1), ((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), 2))
    ]
    inside = [[tick for tick in ticks if low <= tick <= high] for ticks in choices]
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(
        FixedLocator(next((ticks for ticks in inside if len(ticks) <= most_ticks), inside[-1]))
    )
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:g}" if value < 1e4 else f"{value / 1e3:g}k")
    )
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def plain(text: str) -> str:
    """Return a text in which matplotlib looks for no formula."""
    return text.replace("$", r"\$")


def wrapped(label: str, width: int = 26) -> str:
    """Break a long label into lines, at spaces, hyphens or dots where there are any."""
    breakable = str(label).replace("-", "- ").replace(".", ". ")
    lines = textwrap.wrap(breakable, width) or [""]
    return "\n".join(line.replace("- ", "-").replace(". ", ".") for line in lines)


def grid_shape(count: int, columns: int) -> tuple[int, int]:
    """Return rows and columns of a grid of `count` panels, at most `columns` wide."""
    columns = max(1, min(columns, count))
    return -(-count // columns), columns
