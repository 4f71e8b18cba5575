"""Figures that show numbers only, each drawn from the tables of a study and nothing else."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rlsp.columns import SCORES, TRAINING, read_table
from rlsp.errors import DataError
from rlsp.reporting.cost_figure import plot_cost_curves
from rlsp.reporting.costs import summarise_costs
from rlsp.reporting.printing import number_text
from rlsp.reporting.protocols import check_protocol, protocol_label, variant_labels
from rlsp.reporting.published import read_published
from rlsp.reporting.speed import summarise_speed
from rlsp.reporting.speed_figure import plot_psnr_vs_runtime
from rlsp.reporting.style import (
    FADED,
    MOST_LINES,
    PAGE_WIDTH,
    add_legend,
    grid_shape,
    label_styles,
    new_figure,
    save_figure,
    styled,
    wrapped,
)
from rlsp.reporting.tables import read_sweep, read_timing
from rlsp.reporting.wide import SWITCHES

FIGURES = ("psnr_vs_runtime", "cost_curves", "psnr_per_frame", "ablation", "training_curves", "temporal")
VALIDATION_LABEL = "validation PSNR-Y [dB]"  # crop 8, video, see rlsp.training.validation
TRAINING_POINTS = 200  # points per curve; each is the mean of the steps it stands for
LONG_TRAINING = 20_000  # steps; most of the fall is in the first few of more, so the axis is logarithmic


def redraw_figures(
    tables_dir: Path | str,
    figures_dir: Path | str,
    study: dict[str, Any] | None = None,
    published: pd.DataFrame | None = None,
) -> list[Path]:
    """Draw every number-only figure of a study from its tables.

    Parameters
    ----------
    tables_dir : path
        Folder with the tables that `collect_tables` and `write_tables` made.
    figures_dir : path
        Where ``<figure>.pdf`` and ``<figure>.png`` go.
    study : dict, optional
        The facts of the study (see `rlsp.reporting.tables`), by default ``study.json`` of `tables_dir`.
    published : DataFrame, optional
        Published points (see `rlsp.reporting.published.published_points`); drawn in panels of their own. The PSNR
        of models that were timed here and have none of their own is that of `read_published`, in any case.

    Returns
    -------
    list of Path
        The files written: of `FIGURES` those the study has numbers for.

    Raises
    ------
    DataError
        When a table is missing or incomplete.
    """
    tables_dir, figures_dir = Path(tables_dir), Path(figures_dir)
    study = study if study is not None else read_study(tables_dir)
    scores = read_table(tables_dir / "scores.csv", SCORES)
    accuracy = read_table(
        tables_dir / "accuracy.csv", ["variant", "clip", "protocol", "psnr", "psnr_std", "origin"]
    )
    ablation = read_table(tables_dir / "ablation.csv", ["variant", "row", "psnr", "gain", *SWITCHES])
    if "gain_std" not in ablation.columns:  # tables written by an earlier version
        ablation = ablation.assign(gain_std=float("nan"))
    temporal = read_table(tables_dir / "temporal.csv", ["variant", "clip", "tof", "warp_error"])
    training = read_table(tables_dir / "training.csv", TRAINING)
    timing = read_timing(tables_dir, study.get("reference_model"))
    costs = summarise_costs(read_sweep(tables_dir))
    speed = summarise_speed(accuracy, timing, study, read_published())
    scores = scores.assign(variant=variant_labels(scores))
    styles = label_styles(scores["variant"])
    lines = fade_many(styles, scores, study)
    variants = dict(zip(scores["run"], scores["variant"], strict=True))
    training = training.assign(variant=training["run"].map(variants).fillna(training["run"]))
    drawn = {
        "psnr_vs_runtime": plot_psnr_vs_runtime(speed, accuracy, study, published, styles=styles),
        "cost_curves": plot_cost_curves(costs, study),
        "psnr_per_frame": plot_psnr_per_frame(scores, study, styles=lines),
        "ablation": plot_ablation(ablation, study),
        "training_curves": plot_training_curves(training, styles=lines),
        "temporal": plot_temporal(temporal, styles=styles),
    }
    written = []
    for name in FIGURES:
        if drawn[name] is not None:
            written += save_figure(drawn[name], figures_dir / name)
    return written


def read_study(tables_dir: Path) -> dict[str, Any]:
    """Read the facts of a study that `write_tables` left beside its tables."""
    path = tables_dir / "study.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: expected the facts of the study, there is no such file") from None
    except ValueError as error:
        raise DataError(f"{path}: expected JSON, got: {error}") from None


def fade_many(
    styles: dict[str, dict], scores: pd.DataFrame, study: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Of more variants than lines can show, leave colour to those that the study compares.

    These are interpolation, the reference model, the rows of the ablation and every other architecture; the
    rest (depths and widths, which other figures show) turns grey under one label.
    """
    if len(styles) <= MOST_LINES:
        return styles
    models, reference = study.get("models", {}), study.get("reference_model")
    compared = {*study.get("ablation", []), reference}
    own = models.get(reference, {}).get("arch")
    compared |= {name for name, spec in models.items() if spec.get("arch") != own}
    is_kept = scores["model"].isin(compared) | (scores["origin"] == "interpolation")
    kept = list(dict.fromkeys(scores["variant"][is_kept]))[:MOST_LINES] or list(styles)[:MOST_LINES]
    return {label: style if label in kept else FADED for label, style in styles.items()}


# ---- PSNR per frame ----------------------------------------------------------------------------


@styled
def plot_psnr_per_frame(
    scores: pd.DataFrame, study: dict[str, Any], *, styles: dict[str, dict] | None = None
) -> Figure | None:
    """Draw the PSNR of each frame, one panel per clip, one line per variant (mean over seeds).

    Frames that the headline protocol trims are shaded: there the recurrent models start cold.
    """
    protocol = study["protocols"][study["headline_protocol"]]
    check_protocol(protocol)
    column = f"psnr_{protocol['channel']}"
    rows = scores[(scores["crop"] == protocol["crop"]) & np.isfinite(scores[column])]
    if rows.empty:
        return None
    rows = rows.assign(variant=variant_labels(rows))
    styles = styles or label_styles(rows["variant"])
    panels = list(rows.groupby(["dataset", "degradation", "clip"], sort=False))
    is_full = len(styles) > MOST_LINES
    grid, columns = grid_shape(len(panels), 2 if len(panels) in (2, 4) or is_full else 3)
    figure = new_figure(PAGE_WIDTH if columns > 1 else 5.5, 0.2 + (2.3 if is_full else 1.8) * grid)
    axes = figure.subplots(grid, columns, squeeze=False).ravel()
    several = rows[["dataset", "degradation"]].drop_duplicates().shape[0] > 1
    for axis, ((dataset, degradation, clip), of_clip) in zip(axes, panels, strict=False):
        plot_frame_lines(axis, of_clip, column, styles)
        shade_trim(axis, of_clip["frame"].max() + 1, protocol["trim"])
        axis.set_title(wrapped(f"{dataset}/{clip}, {degradation}" if several else str(clip), 34))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    for number, axis in enumerate(axes):
        if number >= len(panels):
            axis.remove()
            continue
        if number + columns >= len(panels):
            axis.set_xlabel("frame")
        if number % columns == 0:
            axis.set_ylabel(f"PSNR-{protocol['channel'].upper()} of the frame,\ncrop {protocol['crop']} [dB]")
    seeds = rows.groupby(["variant", "degradation"])["run"].nunique().max()
    if seeds > 1:
        figure.suptitle(f"mean over {seeds} seeds")
    add_legend(figure)
    return figure


def plot_frame_lines(axis: Axes, rows: pd.DataFrame, column: str, styles: dict[str, dict]) -> None:
    """Draw one line per variant, with markers spread out so that lines can be told apart in grey."""
    lines = rows.groupby(["variant", "frame"], sort=False)[column].mean()
    for number, (variant, values) in enumerate(lines.groupby(level=0, sort=False)):
        values = values.droplevel(0).sort_index()
        every = max(1, len(values) // 6)
        axis.plot(
            *(values.index, values),
            markevery=(number % every, every),
            markersize=3.5,
            **({"label": wrapped(variant)} | styles[variant]),
        )


def shade_trim(axis: Axes, n_frames: int, trim: list[int]) -> None:
    """Shade the frames that the protocol leaves out."""
    first, last = trim
    spans = [(-0.5, first - 0.5), (n_frames - last - 0.5, n_frames - 0.5)]
    for (start, stop), count in zip(spans, (first, last), strict=True):
        if count:
            axis.axvspan(start, stop, color="0.93", zorder=0, linewidth=0)
    axis.set_xlim(-0.5, max(n_frames - 0.5, 0.5))


# ---- ablation ----------------------------------------------------------------------------------


@styled
def plot_ablation(ablation: pd.DataFrame, study: dict[str, Any]) -> Figure | None:
    """Draw the ablation as points, one panel per data set and degradation, one row per model.

    Points and not bars: PSNR has no zero to start from.
    """
    rows = ablation[ablation["protocol"] == study["headline_protocol"]]
    rows = rows[rows["psnr"].notna()]
    keys = ["dataset", "degradation", "recipe"]
    rows = rows[
        rows.groupby(keys, dropna=False)["row"].transform("size") > 1
    ]  # one row alone compares nothing
    if rows.empty:
        return None
    panels = list(rows.groupby(keys, sort=False, dropna=False))
    grid, columns = grid_shape(len(panels), 2)
    most = max(len(of_panel) for _, of_panel in panels)
    figure = new_figure(PAGE_WIDTH if columns > 1 else 5.0, 0.4 + grid * (0.8 + 0.42 * most))
    axes = figure.subplots(grid, columns, squeeze=False).ravel()
    several = rows["recipe"].nunique() > 1
    for number, (axis, ((dataset, degradation, recipe), of_panel)) in enumerate(
        zip(axes, panels, strict=False)
    ):
        plot_ablation_rows(axis, of_panel, with_names=number % columns == 0)
        seeds = f"; ± over {of_panel['n_seeds'].max()} seeds" if of_panel["psnr_std"].notna().any() else ""
        axis.set_title(f"{dataset}, {degradation}" + (f", {recipe}" if several else "") + seeds)
        axis.set_xlabel(f"{protocol_label(study['protocols'][study['headline_protocol']])} [dB]")
    for axis in axes[len(panels) :]:
        axis.remove()
    return figure


def plot_ablation_rows(axis: Axes, rows: pd.DataFrame, *, with_names: bool) -> None:
    """Draw one panel of the ablation, the first row at the top, each point with its value and gain."""
    rows = rows.reset_index(drop=True)
    for row in rows.itertuples():
        spread = None if pd.isna(row.psnr_std) else row.psnr_std
        axis.errorbar(row.psnr, row.Index, xerr=spread, color="#0173b2", marker="o", markersize=4, capsize=3)
        gain = "" if pd.isna(row.gain) else f" ({number_text(row.gain, 2, row.gain_std, sign='+')})"
        axis.annotate(
            f"{row.psnr:.2f}{gain}",
            *((row.psnr + (0.0 if spread is None else spread), row.Index), (7, 0)),
            textcoords="offset points",
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    axis.set_yticks(rows.index, [switch_text(row) for row in rows.itertuples()])
    axis.tick_params(axis="y", labelleft=with_names, length=0)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    low, high = rows["psnr"].min(), rows["psnr"].max()
    span = max(high - low, 0.2)
    room = 0.75 if rows["gain_std"].isna().all() else 1.3  # for the text of the best row
    axis.set_xlim(low - 0.15 * span, high + room * span)
    axis.xaxis.set_major_locator(MaxNLocator(5))


def switch_text(row: Any) -> str:
    """Return a model's name and what is switched on in it."""
    on = [switch for switch in SWITCHES if getattr(row, switch)]
    return f"{wrapped(row.variant)}\n{' + '.join(on) if on else 'frames only'}"


# ---- training ----------------------------------------------------------------------------------


@styled
def plot_training_curves(training: pd.DataFrame, *, styles: dict[str, dict] | None = None) -> Figure | None:
    """Draw loss (logarithmic), PSNR and validation PSNR, if any, against steps: a row of panels per degradation.

    One line per variant, the mean over seeds in a band of one standard deviation; thinned by averaging.
    """
    drawn = [column for column in ("loss", "psnr", "validation_psnr") if column in training.columns]
    columns = [column for column in drawn if training[column].notna().any()]
    if not columns:
        return None
    if "variant" not in training.columns:
        training = training.assign(variant=training["run"])
    styles = styles or label_styles(training["variant"])
    panels = list(training.groupby("degradation", sort=False, dropna=False))
    figure = new_figure(PAGE_WIDTH, 0.2 + 2.2 * len(panels))
    axes = figure.subplots(len(panels), len(columns), squeeze=False)
    for line, (degradation, rows) in zip(axes, panels, strict=True):
        for axis, column in zip(line, columns, strict=True):
            plot_curves(axis, rows, column, styles)
            axis.set_title(f"{degradation}{band_text(rows)}")
    add_legend(figure)
    return figure


def band_text(training: pd.DataFrame) -> str:
    """Return what the bands of the curves are, where a variant has several seeds."""
    most = training.groupby("variant")["run"].nunique().max()
    return f": mean and standard deviation of {most} seeds" if most > 1 else ""


def plot_curves(axis: Axes, training: pd.DataFrame, column: str, styles: dict[str, dict]) -> None:
    """Draw one line per variant, with markers spread out so that lines can be told apart in grey."""
    is_long = training["step"].max() > LONG_TRAINING
    for number, (variant, rows) in enumerate(training.groupby("variant", sort=False)):
        runs = [
            thinned(of_run[["step", column]].dropna(), TRAINING_POINTS, by_ratio=is_long)
            for _, of_run in rows.groupby("run")
        ]
        curve = pd.concat(runs).groupby("step")[column].agg(["mean", "std"])
        if curve.empty:
            continue
        style = {"label": wrapped(variant)} | styles[variant]
        axis.plot(
            *(curve.index, curve["mean"]),
            linewidth=0.9,
            markevery=(0.02 * (number % 10), 0.2),  # in parts of the panel, on either kind of axis
            markersize=3.5,
            **style,
        )
        if len(runs) > 1:
            low, high = curve["mean"] - curve["std"], curve["mean"] + curve["std"]
            axis.fill_between(curve.index, low, high, color=style["color"], alpha=0.2, linewidth=0, zorder=0)
    axis.set_xlabel("step")
    labels = {
        "loss": "training loss",
        "psnr": "PSNR while training [dB]",
        "validation_psnr": VALIDATION_LABEL,
    }
    axis.set_ylabel(labels[column])
    if is_long:
        axis.set_xscale("log")
    else:
        axis.xaxis.set_major_locator(MaxNLocator(4))
    if column == "loss" and (training["loss"] > 0).any():
        axis.set_yscale("log")


def thinned(curve: pd.DataFrame, points: int, *, by_ratio: bool = False) -> pd.DataFrame:
    """Return a curve of at most `points` points, each the mean of neighbouring ones.

    Neighbours are equally many everywhere, or `by_ratio` those within one factor in the first column.
    """
    curve = curve.sort_values(curve.columns[0])
    if by_ratio and len(curve) > points:
        at = curve[curve.columns[0]].to_numpy()
        group = np.searchsorted(np.geomspace(at[0], at[-1], points), at)
    else:
        group = np.arange(len(curve)) * points // max(points, len(curve))
    return curve.groupby(group).mean()


# ---- temporal consistency ----------------------------------------------------------------------


@styled
def plot_temporal(temporal: pd.DataFrame, *, styles: dict[str, dict] | None = None) -> Figure | None:
    """Draw tOF and warping error per variant: the mean over clips, and each clip as a small tick."""
    metrics = {
        "tof": "tOF [pixels], TecoGAN's crop and trim",
        "warp_error": "warping error x 1000, all pairs",
    }
    columns = [column for column in metrics if temporal[column].notna().any()]
    if temporal.empty or not columns:
        return None
    styles = styles or label_styles(temporal["variant"])
    milli = {name: temporal[name] * 1000 for name in ("warp_error", "warp_error_std")}
    temporal = temporal.assign(**milli)
    panels = list(temporal.groupby(["dataset", "degradation"], sort=False))
    heights = [0.75 + 0.2 * of_set["variant"].nunique() for _, of_set in panels]
    figure = new_figure(PAGE_WIDTH, 0.3 + sum(heights))
    axes = figure.subplots(len(panels), len(columns), squeeze=False, height_ratios=heights)
    for line, ((dataset, degradation), of_set) in zip(axes, panels, strict=True):
        for axis, column in zip(line, columns, strict=True):
            plot_metric_rows(axis, of_set, column, styles, with_names=axis is line[0])
            axis.set_xlabel(metrics[column])
            seeds = of_set.loc[of_set[f"{column}_std"].notna(), "n_seeds"]
            bars = "" if seeds.empty else f"; bars: standard deviation over {seeds.max()} seeds"
            axis.set_title(wrapped(f"{dataset}, {degradation} (lower is better){bars}", 48))
    return figure


def plot_metric_rows(
    axis: Axes, rows: pd.DataFrame, column: str, styles: dict[str, dict], *, with_names: bool
) -> None:
    """Draw one metric of one data set, variants from top to bottom."""
    variants = list(rows["variant"].unique())
    for position, variant in enumerate(variants):
        of_variant = rows[rows["variant"] == variant]
        clips = of_variant.loc[of_variant["clip"] != "mean", column]
        mean = of_variant.loc[of_variant["clip"] == "mean"]
        axis.plot(clips, [position] * len(clips), "|", color="0.55", markersize=6)
        axis.errorbar(
            mean[column],
            [position] * len(mean),
            xerr=mean[f"{column}_std"] if mean[f"{column}_std"].notna().all() else None,
            markersize=6,
            **(styles[variant] | {"linestyle": "none"}),
        )
    axis.set_yticks(range(len(variants)), [wrapped(variant, 32) for variant in variants])
    axis.tick_params(axis="y", labelleft=with_names, length=0)
    axis.set_ylim(len(variants) - 0.5, -0.5)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.margins(x=0.08)
