"""Temporal consistency: measures of pairs of frames and of whole clips."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rlsp.metrics.metric import Metric
from rlsp.reporting.by_clip import Shown, tables_by_clip
from rlsp.reporting.captions import degradation_text, is_comparable
from rlsp.reporting.cells import listed
from rlsp.reporting.protocols import apply_protocol, mean_over_clips, measured, over_seeds
from rlsp.reporting.results import Results
from rlsp.reporting.style import PAGE_WIDTH, new_figure, plain, styled, variant_styles, wrapped
from rlsp.reporting.table import Table

TITLE = "Temporal consistency"
QUESTION = (
    "Do restored clips move like the ground truth? tOF compares the optical flow of both; the warping error compares "
    "each restored frame with the one before, moved along the true motion."
)


def temporal_metrics(results: Results) -> list[Metric]:
    """Return the measures of pairs of frames and of whole clips that were scored."""
    return [metric for metric in measured(results.scores, results.metrics) if metric.kind != "frame"]


def summarise(results: Results) -> pd.DataFrame:
    """Return the measures per variant and clip, and their means over clips (clip ``mean``).

    Of the headline protocol only the crop is used; measures have trims of their own.
    """
    protocol = results.facts.headline.changed(trim=(0, 0))
    per_clip = apply_protocol(results.scores, protocol, results.metrics)
    mean = mean_over_clips(per_clip).assign(clip="mean")
    rows = pd.concat([per_clip.assign(n_clips=1), mean], ignore_index=True)
    names = [metric.short for metric in temporal_metrics(results)]
    return over_seeds(rows, ["dataset", "clip"], names).assign(crop=protocol.crop)


def tables(frame: pd.DataFrame, results: Results) -> list[Table]:
    """Return one table per data set and degradation: every clip of the first measure, means of the others."""
    metrics = [metric for metric in temporal_metrics(results) if frame[metric.short].notna().any()]
    if not metrics:
        return []
    measures = [Shown.of(metric, is_by_clip=metric is metrics[0]) for metric in metrics]
    notes = " ".join(f"{metric.note}." for metric in metrics if metric.note)
    found = []
    for (dataset, degradation), rows in frame.groupby(["dataset", "degradation"], sort=False):
        title = (
            f"Temporal consistency on {dataset}, degradation {degradation_text(degradation, results.facts)}, "
            f"crop {results.facts.headline.crop}"
        )
        found += tables_by_clip(rows, measures, title, f"{notes} {results.about(rows)}", trim=False)
    return found


# ---- figure ------------------------------------------------------------------------------------


@styled
def figure(frame: pd.DataFrame, results: Results) -> Figure | None:
    """Draw each measure per variant: the mean over clips, and each clip as a small tick."""
    metrics = [metric for metric in temporal_metrics(results) if frame[metric.short].notna().any()]
    if frame.empty or not metrics:
        return None
    styles = variant_styles(results)
    panels = list(frame.groupby(["dataset", "degradation"], sort=False))
    heights = [0.75 + 0.2 * rows["variant"].nunique() for _, rows in panels]
    drawing = new_figure(PAGE_WIDTH, 0.3 + sum(heights))
    axes = drawing.subplots(len(panels), len(metrics), squeeze=False, height_ratios=heights)
    for line, ((dataset, degradation), rows) in zip(axes, panels, strict=True):
        for axis, metric in zip(line, metrics, strict=True):
            plot_rows(axis, rows, metric, styles, with_names=axis is line[0])
            seeds = rows.loc[rows[f"{metric.short}_std"].notna(), "n_seeds"]
            bars = "" if seeds.empty else f"; bars: standard deviation over {seeds.max()} seeds"
            axis.set_title(wrapped(f"{dataset}, {degradation} ({metric.better} is better){bars}", 48))
    return drawing


def plot_rows(
    axis: Axes, rows: pd.DataFrame, metric: Metric, styles: dict[str, dict], *, with_names: bool
) -> None:
    """Draw one measure of one data set, variants from top to bottom."""
    variants = list(rows["variant"].unique())
    for position, variant in enumerate(variants):
        of_variant = rows[rows["variant"] == variant]
        clips = of_variant.loc[of_variant["clip"] != "mean", metric.short] * metric.factor
        mean = of_variant.loc[of_variant["clip"] == "mean"]
        spread = mean[f"{metric.short}_std"] * metric.factor
        axis.plot(clips, [position] * len(clips), "|", color="0.55", markersize=6)
        axis.errorbar(
            mean[metric.short] * metric.factor,
            [position] * len(mean),
            xerr=spread if spread.notna().all() else None,
            markersize=6,
            **(styles[variant] | {"linestyle": "none"}),
        )
    axis.set_xlabel(plain(metric.head))
    axis.set_yticks(range(len(variants)), [wrapped(variant, 32) for variant in variants])
    axis.tick_params(axis="y", labelleft=with_names, length=0)
    axis.set_ylim(len(variants) - 0.5, -0.5)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.margins(x=0.08)


# ---- findings ----------------------------------------------------------------------------------


def findings(frame: pd.DataFrame, results: Results) -> list[str]:
    """Say which method is the most consistent by each measure, beside the second and the last."""
    sentences = []
    means = frame[frame["clip"] == "mean"]
    for (dataset, degradation), rows in means.groupby(["dataset", "degradation"], sort=False):
        for metric in temporal_metrics(results):
            ordered = rows.dropna(subset=[metric.short]).sort_values(
                metric.short, ascending=metric.better == "lower"
            )
            if len(ordered) < 2 or not is_comparable(ordered):
                continue
            shown, indexed = Shown.of(metric), ordered.set_index("variant")
            numbers = {str(name): shown.number(indexed, name) for name in indexed.index}
            (best, value), *others = numbers.items()
            equal = [name for name, other in others if other.rounded == value.rounded]
            others = [(name, other) for name, other in others if name not in equal]
            told = ", ".join(f"{name} {other}" for name, other in dict([*others[:1], *others[-1:]]).items())
            verb = "are equally and the most consistent" if equal else "is the most consistent"
            sentences.append(
                f"On {dataset} ({degradation}) {listed([best, *equal])} {verb} by {metric.head}: {value}"
                f"{', against ' * bool(told)}{told}."
            )
    return sentences
