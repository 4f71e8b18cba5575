"""Accuracy: PSNR, SSIM and other measures of single frames, per clip and protocol."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rlsp.metrics import METRICS, PSNR
from rlsp.metrics.metric import Metric
from rlsp.reporting.by_clip import Shown, tables_by_clip
from rlsp.reporting.captions import degradation_text, is_comparable
from rlsp.reporting.cells import Number, listed, plural
from rlsp.reporting.protocols import (
    apply_protocol,
    equal_frames_text,
    mean_over_clips,
    measured,
    metric_label,
    over_seeds,
    protocol_label,
)
from rlsp.reporting.results import Results
from rlsp.reporting.style import (
    MOST_LINES,
    PAGE_WIDTH,
    add_legend,
    grid_shape,
    line_styles,
    new_figure,
    plain,
    plot_line,
    styled,
    wrapped,
)
from rlsp.reporting.table import Table

TITLE = "Accuracy"
QUESTION = (
    "How close do the 8-bit frames that each run wrote come to the ground truth (Table 2 of the paper)? Two averages "
    "are in use in the literature: the mean of the PSNR of frames, and the PSNR of the mean squared error of a clip."
)


def frame_metrics(results: Results) -> list[Metric]:
    """Return the measures of single frames that were scored, besides PSNR."""
    return [metric for metric in measured(results.scores, results.metrics) if metric.kind == "frame"]


def summarise(results: Results) -> pd.DataFrame:
    """Return each measure per variant, clip and protocol, and the means over clips (clip ``mean``).

    Several seeds of a variant become one row, see `rlsp.reporting.protocols.over_seeds`. Columns are ``psnr``,
    ``psnr_all`` where frames equal the ground truth, and the short names of the other measures of single frames, each
    with ``_std``.
    """
    names = ["psnr", *["psnr_all"] * has_equal_frames(results), *[m.short for m in frame_metrics(results)]]
    parts = []
    for name, protocol in results.facts.protocols.items():
        per_clip = apply_protocol(results.scores, protocol, results.metrics)
        means = mean_over_clips(per_clip).assign(clip="mean")
        rows = pd.concat([per_clip.assign(n_clips=1), means], ignore_index=True)
        rows = over_seeds(rows, ["dataset", "clip"], names)
        parts.append(rows.assign(protocol=name, protocol_label=protocol_label(protocol)))
    return pd.concat(parts, ignore_index=True)


def has_equal_frames(results: Results) -> bool:
    """Whether a frame equals the ground truth, so that a PSNR is infinite."""
    columns = [metric.name for metric in PSNR.values() if metric.name in results.scores.columns]
    return bool(np.isinf(results.scores[columns]).any(axis=None))


def headline_means(results: Results) -> pd.DataFrame:
    """Return the means over clips under the headline protocol."""
    accuracy = results.of(summarise)
    return accuracy[(accuracy["clip"] == "mean") & (accuracy["protocol"] == results.facts.headline_protocol)]


def tables(frame: pd.DataFrame, results: Results) -> list[Table]:
    """Return one table per data set, degradation and protocol, the headline protocol first."""
    found = []
    for name in results.facts.headline_first:
        protocol = results.facts.protocols[name]
        psnr = PSNR[protocol.channel]
        measures = [Shown("psnr", f"{psnr.label} [dB]", psnr.decimals, psnr.better, is_by_clip=True)]
        equal = equal_frames_text(results.scores, protocol) if "psnr_all" in frame.columns else ""
        if equal:
            others = Shown(
                "psnr", f"{psnr.label} of other frames [dB]", psnr.decimals, psnr.better, is_by_clip=True
            )
            measures = [Shown("psnr_all", f"{psnr.label} [dB]", psnr.decimals, None, is_by_clip=True), others]
        measures += [Shown.of(metric) for metric in frame_metrics(results)]
        beside = "; ".join(metric_label(metric, protocol) for metric in frame_metrics(results))
        of_protocol = frame[frame["protocol"] == name]
        for (dataset, degradation), rows in of_protocol.groupby(["dataset", "degradation"], sort=False):
            title = (
                f"Accuracy on {dataset}, degradation {degradation_text(degradation, results.facts)}, "
                f"{protocol_label(protocol)}"
            )
            caption = f"Protocol {name}; beside it {beside}. " if beside else f"Protocol {name}. "
            caption += (
                f"Equal to the ground truth in a run, of infinite PSNR: frames {equal}. " if equal else ""
            )
            is_detail = name != results.facts.headline_protocol
            found += tables_by_clip(rows, measures, title, caption + results.about(rows), is_detail=is_detail)
    return found


# ---- figure ------------------------------------------------------------------------------------


@styled
def figure(frame: pd.DataFrame, results: Results) -> Figure | None:
    """Draw the PSNR of each frame, one panel per clip, one line per variant (mean over seeds).

    Measures of single frames that a study adds have panels of their own. Frames that the headline protocol trims are
    shaded: there the recurrent models start cold.
    """
    protocol = results.facts.headline
    added = [metric for metric in frame_metrics(results) if metric not in METRICS]
    scores = results.scores[results.scores["crop"] == protocol.crop]
    panels = []
    for metric in (PSNR[protocol.channel], *added):
        if metric.name not in scores.columns:
            continue
        rows = scores[np.isfinite(scores[metric.name])]
        panels += [(metric, *part) for part in rows.groupby(["dataset", "degradation", "clip"], sort=False)]
    if not panels:
        return None
    styles = line_styles(results)
    is_full = len(styles) > MOST_LINES
    grid, columns = grid_shape(len(panels), 2 if len(panels) in (2, 4) or is_full else 3)
    drawing = new_figure(PAGE_WIDTH if columns > 1 else 5.5, 0.2 + (2.3 if is_full else 1.8) * grid)
    axes = drawing.subplots(grid, columns, squeeze=False).ravel()
    several = scores[["dataset", "degradation"]].drop_duplicates().shape[0] > 1
    for number, (axis, (metric, (dataset, degradation, clip), rows)) in enumerate(
        zip(axes, panels, strict=False)
    ):
        plot_frame_lines(axis, rows, metric.name, styles)
        shade_trim(axis, rows["frame"].max() + 1, protocol.trim)
        axis.set_title(wrapped(f"{dataset}/{clip}, {degradation}" if several else str(clip), 34))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if number + columns >= len(panels):
            axis.set_xlabel("frame")
        if number % columns == 0 or metric is not panels[number - 1][0]:
            unit = f" [{metric.unit}]" if metric.unit else ""
            axis.set_ylabel(plain(f"{metric.label} of the frame,\ncrop {protocol.crop}{unit}"))
    for axis in axes[len(panels) :]:
        axis.remove()
    seeds = scores.groupby(["variant", "degradation"])["run"].nunique().max()
    if seeds > 1:
        drawing.suptitle(f"mean over {seeds} seeds")
    add_legend(drawing)
    return drawing


def plot_frame_lines(axis: Axes, rows: pd.DataFrame, column: str, styles: dict[str, dict]) -> None:
    """Draw one line per variant, with markers spread out so that lines can be told apart in grey."""
    lines = rows.groupby(["variant", "frame"], sort=False)[column].mean()
    for number, (variant, values) in enumerate(lines.groupby(level=0, sort=False)):
        values = values.droplevel(0).sort_index()
        every = max(1, len(values) // 6)
        plot_line(axis, values, styles, str(variant), markevery=(number % every, every))


def shade_trim(axis: Axes, n_frames: int, trim: tuple[int, int]) -> None:
    """Shade the frames that the protocol leaves out."""
    first, last = trim
    spans = [(-0.5, first - 0.5), (n_frames - last - 0.5, n_frames - 0.5)]
    for (start, stop), count in zip(spans, (first, last), strict=True):
        if count:
            axis.axvspan(start, stop, color="0.93", zorder=0, linewidth=0)
    axis.set_xlim(-0.5, max(n_frames - 0.5, 0.5))


# ---- findings ----------------------------------------------------------------------------------


def findings(frame: pd.DataFrame, results: Results) -> list[str]:
    """Say which method is the most accurate on each data set and input, and by how much over the next and bicubic."""
    sentences = []
    headline = frame[frame["protocol"] == results.facts.headline_protocol]
    for (dataset, degradation), rows in headline.groupby(["dataset", "degradation"], sort=False):
        means = rows[rows["clip"] == "mean"].dropna(subset=["psnr"]).sort_values("psnr", ascending=False)
        if len(means) < 2 or not is_comparable(means):
            continue
        best, others = means.iloc[0], means.iloc[1:]
        equal = [*others.loc[others["psnr"].round(2) == round(best["psnr"], 2), "variant"]]
        others = others[~others["variant"].isin(equal)]
        baseline = others[others["origin"] == "interpolation"]
        compared = pd.concat([others[:1], baseline[:1]]).drop_duplicates("variant")
        margins = " and ".join(margin_text(rows, best, other) for _, other in compared.iterrows())
        names = listed([best["variant"], *equal])
        verb = "are equally and the most accurate" if equal else "is the most accurate"
        seed = "; one seed" if ((means["origin"] == "trained") & (means["n_seeds"] == 1)).any() else ""
        sentences.append(
            f"On {dataset} ({degradation}{seed}) {names} {verb}: {Number(best['psnr'], 2, best['psnr_std'])} dB"
            f"{', ' * bool(margins)}{margins}; {protocol_label(results.facts.headline)}."
        )
    clipping = clipping_text(results)
    return [*sentences, clipping] if clipping else sentences


def clipping_text(results: Results) -> str:
    """Say what methods that put out luma gain where they are scored on their clipped RGB pictures, as others are."""
    scores, headline = results.scores, results.facts.headline
    of_rgb = PSNR["y-of-rgb"].name
    if headline.channel != "y" or of_rgb not in scores.columns or scores[of_rgb].isna().all():
        return ""
    both = scores.dropna(subset=[of_rgb])
    alike = apply_protocol(both, headline.changed(channel="y-of-rgb"), results.metrics)["psnr"]
    gains = (
        (alike - apply_protocol(both, headline, results.metrics)["psnr"])
        .replace([np.inf, -np.inf], np.nan)
        .dropna()
    )
    if gains.empty or gains.abs().max() < 0.005:
        return ""
    return (
        "Methods that put out luma are scored on it, before their RGB pictures are clipped. Scored on the luma of "
        f"these, as methods that put out RGB are, clips change by {gains.min():+.2f} to {gains.max():+.2f} dB."
    )


def margin_text(rows: pd.DataFrame, better: pd.Series, worse: pd.Series) -> str:
    """Return how far one method lies above another, and the range over clips that a mean of few of them hides."""
    clips = rows[rows["clip"] != "mean"].pivot(index="clip", columns="variant", values="psnr")
    gains = (clips[better["variant"]] - clips[worse["variant"]]).dropna()
    text = f"{better['psnr'] - worse['psnr']:.2f} dB above {worse['variant']}"
    if len(gains) < 2:
        return text
    return f"{text} (from {gains.min():+.2f} to {gains.max():+.2f} over {plural(len(gains), 'clip')})"
