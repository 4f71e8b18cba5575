"""Training: where each training ended, and its curves."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rlsp.reporting.captions import seeds_columns
from rlsp.reporting.cells import Number, plural
from rlsp.reporting.results import Results
from rlsp.reporting.style import PAGE_WIDTH, add_legend, line_styles, new_figure, plot_line, styled
from rlsp.reporting.table import Column, Table

TITLE = "Training"
QUESTION = "How long was each variant trained, where did it end, and had it stopped improving?"
LAST_PART = 0.1  # of the steps, over which the end of a training is averaged
CURVES = {
    "loss": "training loss",
    "psnr": "PSNR while training [dB]",
    "validation_psnr": "validation PSNR-Y [dB]",  # crop 8, video, see rlsp.training.validation
}
POINTS = 200  # points per curve; each is the mean of the steps it stands for
LONG_TRAINING = 20_000  # steps; most of the fall is in the first few of more, so the axis is logarithmic


def summarise(results: Results) -> pd.DataFrame:
    """Return one row per training: steps, loss and PSNR at its end, what it still gained, and its speed.

    ``loss`` (squared grey levels of [0, 255]) and ``psnr`` (dB) are means over the last tenth of the steps, ``gain``
    is that PSNR minus the mean over the tenth before, ``validation_psnr`` the last one, ``steps_per_second`` a median.
    """
    keys = ["run", "variant", "model", "recipe", "degradation", "seed"]
    rows = []
    for key, log in logs(results).groupby(keys, sort=False, dropna=False):
        log = log.sort_values("step")
        steps = log["step"].max()
        last = log[log["step"] > (1 - LAST_PART) * steps]
        before = log[(log["step"] > (1 - 2 * LAST_PART) * steps) & (log["step"] <= (1 - LAST_PART) * steps)]
        validated = log["validation_psnr"].dropna()
        rows.append({
            **dict(zip(keys, key, strict=True)), "steps": int(steps), "loss": last["loss"].mean(),
            "psnr": last["psnr"].mean(), "gain": last["psnr"].mean() - before["psnr"].mean(),
            "validation_psnr": validated.iloc[-1] if len(validated) else float("nan"),
            "steps_per_second": log["steps_per_second"].median(),
        })  # fmt: skip
    numbers = ["steps", "loss", "psnr", "gain", "validation_psnr", "steps_per_second"]
    return pd.DataFrame(rows, columns=[*keys, *numbers])


def logs(results: Results) -> pd.DataFrame:
    """Return the rows of all trainings, with the variant of each run."""
    training = results.rows("training")
    variants = results.scores.drop_duplicates("run").set_index("run")["variant"]
    return training.assign(variant=training["run"].map(variants).fillna(training["run"]))


def tables(frame: pd.DataFrame, results: Results) -> list[Table]:
    """Return one table: a row per variant and degradation, over its seeds."""
    if frame.empty:
        return []
    keys = ["variant", "recipe", "degradation"]
    groups = frame.groupby(keys, sort=False, dropna=False)
    rows = groups.agg(
        steps=("steps", "max"), n_seeds=("run", "size"),
        seeds=("seed", lambda seeds: " ".join(map(str, seeds.dropna()))),
        psnr=("psnr", "mean"), psnr_std=("psnr", "std"), gain=("gain", "mean"), gain_std=("gain", "std"),
        validation_psnr=("validation_psnr", "mean"), validation_psnr_std=("validation_psnr", "std"),
        steps_per_second=("steps_per_second", "median"),
    ).reset_index()  # fmt: skip
    columns = [
        Column("method", lambda row: row.variant),
        *([Column("recipe", lambda row: row.recipe)] if rows["recipe"].nunique() > 1 else []),
        *([Column("degradation", lambda row: row.degradation)] if rows["degradation"].nunique() > 1 else []),
        Column("steps", lambda row: Number(row.steps, 0)),
        Column("last tenth", lambda row: Number(row.psnr, 2, row.psnr_std), "PSNR while training [dB]"),
        Column(
            "gain over the tenth before", lambda row: Number(row.gain, 2, row.gain_std, is_signed=True),
            "PSNR while training [dB]",
        ),
        Column(
            "validation [dB]", lambda row: Number(row.validation_psnr, 2, row.validation_psnr_std), is_optional=True
        ),
        Column("steps a second", lambda row: Number(row.steps_per_second, None)),
        *seeds_columns(rows),
    ]  # fmt: skip
    caption = f"PSNR is that of the crops of each step, a mean over steps. {results.about(rows)}"
    return [Table.of(rows, columns, "Trainings", caption)]


# ---- figure ------------------------------------------------------------------------------------


@styled
def figure(frame: pd.DataFrame, results: Results) -> Figure | None:
    """Draw loss (logarithmic), PSNR and validation PSNR, if any, against steps: a row of panels per degradation.

    One line per variant, the mean over seeds in a band of one standard deviation; thinned by averaging.
    """
    training = logs(results)
    columns = [column for column in CURVES if training[column].notna().any()]
    if not columns:
        return None
    styles = line_styles(results)
    panels = list(training.groupby("degradation", sort=False, dropna=False))
    drawing = new_figure(PAGE_WIDTH, 0.2 + 2.2 * len(panels))
    axes = drawing.subplots(len(panels), len(columns), squeeze=False)
    for line, (degradation, rows) in zip(axes, panels, strict=True):
        seeds = rows.groupby("variant")["run"].nunique().max()
        bands = f": mean and standard deviation of {seeds} seeds" if seeds > 1 else ""
        for axis, column in zip(line, columns, strict=True):
            plot_curves(axis, rows, column, styles)
            axis.set_title(f"{degradation}{bands}")
    add_legend(drawing)
    return drawing


def plot_curves(axis: Axes, training: pd.DataFrame, column: str, styles: dict[str, dict]) -> None:
    """Draw one line per variant, with markers spread out so that lines can be told apart in grey."""
    is_long = training["step"].max() > LONG_TRAINING
    for number, (variant, rows) in enumerate(training.groupby("variant", sort=False)):
        runs = [
            thinned(of_run[["step", column]].dropna(), POINTS, by_ratio=is_long)
            for _, of_run in rows.groupby("run")
        ]
        curve = pd.concat(runs).groupby("step")[column].agg(["mean", "std"])
        if curve.empty:
            continue
        # markers in parts of the panel, on either kind of axis
        plot_line(axis, curve["mean"], styles, variant, linewidth=0.9, markevery=(0.02 * (number % 10), 0.2))
        if len(runs) > 1:
            low, high = curve["mean"] - curve["std"], curve["mean"] + curve["std"]
            color = styles[variant]["color"]
            axis.fill_between(curve.index, low, high, color=color, alpha=0.2, linewidth=0, zorder=0)
    axis.set_xlabel("step")
    axis.set_ylabel(CURVES[column])
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


# ---- findings ----------------------------------------------------------------------------------


def range_text(values: pd.Series, *, is_signed: bool = False) -> str:
    """Return the smallest and the largest of some values, or the one that there is."""
    ends = dict.fromkeys(str(Number(value, 2, is_signed=is_signed)) for value in (values.min(), values.max()))
    return " to ".join(ends)


def findings(frame: pd.DataFrame, results: Results) -> list[str]:
    """Say how many trainings there were, and whether they still improved at their end."""
    if frame.empty:
        return []
    gains = frame["gain"].dropna()
    ends = range_text(frame["psnr"])
    text = f"{plural(len(frame), 'training')} ({results.budget}) ended at {ends} dB on their own crops"
    if gains.empty:
        return [f"{text}."]
    still = (gains > 0).sum()
    return [
        f"{text}; over the last tenth of their steps {still} of {len(gains)} still gained, {gains.median():+.2f} dB in "
        f"the median ({range_text(gains, is_signed=True)})."
    ]
