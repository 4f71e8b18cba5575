"""Ablation: what neighbours, feedback and hidden state of RLSP each add."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rlsp.metrics import PSNR
from rlsp.reporting.analyses import accuracy, runtime
from rlsp.reporting.captions import counts_text, degradation_text, seeds_columns
from rlsp.reporting.cells import Number, listed, number_text
from rlsp.reporting.protocols import apply_protocol, mean_over_clips, protocol_label
from rlsp.reporting.results import Results
from rlsp.reporting.style import PAGE_WIDTH, grid_shape, new_figure, styled, wrapped
from rlsp.reporting.table import Column, Table
from rlsp.reporting.timing import headline_timing

TITLE = "Ablation"
QUESTION = (
    "What do the neighbouring frames, the previous output fed back and the hidden state each add (section 5.1 of the "
    "paper)? A small training budget shows what each is good for on clips that move like the training clips: no claim "
    "about capacity, nor about other motion."
)
SWITCHES = ("adjacent", "feedback", "state")
PAPER_ROWS = [[False, False, False], [True, False, False], [True, True, False], [True, True, True]]
KEYS = ["degradation", "dataset", "recipe"]
NUMBERS = ["psnr", "psnr_std", "ssim", "n_seeds", "seeds", "n_clips", "n_frames", "gain", "gain_std"]


def summarise(results: Results) -> pd.DataFrame:
    """Return the rows of the ablation in the order of the study, with their switches and gains.

    ``adjacent`` gives the network the previous and next LR frames beside the current one, ``feedback`` its previous
    output, ``state`` the hidden state. The four rows turn on none; adjacent; adjacent and feedback; all three. A
    model that has no such switch has it on. ``gain`` is the PSNR minus that of the row before, in dB, and ``gain_std``
    its standard deviation over seeds where both rows have the same ones: of the differences seed by seed, since what
    a seed decides (crops, their order) is the same in both.
    """
    facts, means = results.facts, results.of(accuracy.summarise)
    order = {model: row for row, model in enumerate(facts.ablation, start=1)}
    rows = means[means["model"].isin(order) & (means["clip"] == "mean")]
    rows = rows.assign(row=rows["model"].map(order)).sort_values("row", kind="stable")
    rows = rows[rows["origin"].isin(["trained", "released-weights"])]
    for switch in SWITCHES:
        rows[switch] = [bool(getattr(facts.models.get(model), switch, True)) for model in rows["model"]]
    groups = rows.groupby(["degradation", "dataset", "protocol", "recipe"], sort=False, dropna=False)
    rows = rows.assign(gain=groups["psnr"].diff(), group=groups.ngroup())
    rows = rows.sort_values(["group", "row"], kind="stable")
    rows = rows.assign(gain_std=gain_spread(rows["group"], psnr_of_seeds(rows, results)))
    timed = (
        headline_timing(results.of(runtime.summarise), facts.device)
        .drop_duplicates("model")
        .set_index("model")
    )
    rows = rows.assign(
        parameters=rows["model"].map(timed["parameters"]), runtime_ms=rows["model"].map(timed["median_ms"])
    )
    labels = ["degradation", "dataset", "protocol", "protocol_label", "row", "variant", "model", "recipe"]
    columns = [*labels, *SWITCHES, *NUMBERS, "parameters", "runtime_ms"]
    return rows.reindex(columns=columns).reset_index(drop=True)


def psnr_of_seeds(rows: pd.DataFrame, results: Results) -> list[dict[str, float]]:
    """Return {seed: PSNR} of each row of the ablation, in its order; empty for what has no seeds."""
    runs = {run for runs in rows["run"] for run in runs.split()}
    known: dict[tuple[str, str, str], float] = {}
    if runs:
        chosen = results.scores[results.scores["run"].isin(runs)]
        for name, protocol in results.facts.protocols.items():
            means = mean_over_clips(apply_protocol(chosen, protocol))
            known |= {(name, row.dataset, row.run): row.psnr for row in means.itertuples()}
    found = []
    for row in rows.itertuples():
        psnr = [known[row.protocol, row.dataset, run] for run in row.run.split()]
        found.append(dict(zip(row.seeds.split(), psnr, strict=True)) if row.seeds else {})
    return found


def gain_spread(groups: Iterable[int], of_seeds: list[dict[str, float]]) -> list[float]:
    """Return the standard deviation of each row's gain over the row before, paired over seeds."""
    spreads: list[float] = []
    before: tuple[int | None, dict[str, float]] = (None, {})
    for group, psnr in zip(groups, of_seeds, strict=True):
        is_paired = before[0] == group and len(psnr) > 1 and before[1].keys() == psnr.keys()
        gains = [psnr[seed] - before[1][seed] for seed in psnr] if is_paired else []
        spreads.append(float(np.std(gains, ddof=1)) if gains else float("nan"))
        before = (group, psnr)
    return spreads


def tables(frame: pd.DataFrame, results: Results) -> list[Table]:
    """Return one table per degradation, data set and recipe, under the headline protocol."""
    facts = results.facts
    columns = [
        Column("method", lambda row: row.variant),
        *[Column(switch, lambda row, switch=switch: "yes" if getattr(row, switch) else "no") for switch in SWITCHES],
        Column("mean", lambda row: Number(row.psnr, 2, row.psnr_std), f"{PSNR[facts.headline.channel].label} [dB]",
               "higher"),
        Column("gain", lambda row: Number(row.gain, 2, row.gain_std, is_signed=True),
               f"{PSNR[facts.headline.channel].label} [dB]"),
        Column("parameters", lambda row: Number(row.parameters, 0)),
        Column("ms per frame", lambda row: Number(row.runtime_ms, None), better="lower"),
    ]  # fmt: skip
    found = []
    for (degradation, dataset, recipe), rows in by_set(frame, results):
        title = (
            f"Ablation on {dataset}, degradation {degradation_text(degradation, facts)}, recipe {recipe}, "
            f"{protocol_label(facts.headline)}"
        )
        caption = f"{counts_text(rows)} Gain: over the row above"
        if rows["gain_std"].notna().any():
            caption += "; its spread is that of the differences between trainings of the same seed"
        found.append(
            Table.of(rows, [*columns, *seeds_columns(rows)], title, f"{caption}. {results.about(rows)}")
        )
    return found


def by_set(frame: pd.DataFrame, results: Results) -> Any:
    """Return the rows under the headline protocol by degradation, data set and recipe."""
    rows = frame[frame["protocol"] == results.facts.headline_protocol]
    return rows.groupby(KEYS, sort=False, dropna=False)


# ---- figure ------------------------------------------------------------------------------------


@styled
def figure(frame: pd.DataFrame, results: Results) -> Figure | None:
    """Draw the ablation as points, one panel per data set and degradation, one row per model.

    Points and not bars: PSNR has no zero to start from.
    """
    panels = [(key, rows[rows["psnr"].notna()]) for key, rows in by_set(frame, results)]
    panels = [(key, rows) for key, rows in panels if len(rows) > 1]  # one row alone compares nothing
    if not panels:
        return None
    grid, columns = grid_shape(len(panels), 2)
    most = max(len(rows) for _, rows in panels)
    drawing = new_figure(PAGE_WIDTH if columns > 1 else 5.0, 0.4 + grid * (0.8 + 0.42 * most))
    axes = drawing.subplots(grid, columns, squeeze=False).ravel()
    several = len({recipe for (_, _, recipe), _ in panels}) > 1
    for number, (axis, ((degradation, dataset, recipe), rows)) in enumerate(zip(axes, panels, strict=False)):
        plot_rows(axis, rows, with_names=number % columns == 0)
        seeds = f"; ± over {rows['n_seeds'].max()} seeds" if rows["psnr_std"].notna().any() else ""
        axis.set_title(f"{dataset}, {degradation}" + (f", {recipe}" if several else "") + seeds)
        axis.set_xlabel(f"{protocol_label(results.facts.headline)} [dB]")
    for axis in axes[len(panels) :]:
        axis.remove()
    return drawing


def plot_rows(axis: Axes, rows: pd.DataFrame, *, with_names: bool) -> None:
    """Draw one panel, the first row at the top, each point with its value and gain."""
    rows = rows.reset_index(drop=True)
    for row in rows.itertuples():
        spread = None if pd.isna(row.psnr_std) else row.psnr_std
        axis.errorbar(row.psnr, row.Index, xerr=spread, color="#0173b2", marker="o", markersize=4, capsize=3)
        gain = "" if pd.isna(row.gain) else f" ({number_text(row.gain, 2, row.gain_std, is_signed=True)})"
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


# ---- findings ----------------------------------------------------------------------------------


def findings(frame: pd.DataFrame, results: Results) -> list[str]:
    """Say what each row adds to the one before, and whether all of them gain, as in the paper."""
    sentences = []
    for (degradation, dataset, recipe), rows in by_set(frame, results):
        gains = rows[rows["gain"].notna()]
        if gains.empty:
            continue
        told = ", ".join(
            f"{row.variant} {number_text(row.gain, 2, row.gain_std, is_signed=True)} dB"
            for row in gains.itertuples()
        )
        several = sorted({*rows.loc[rows["seeds"].astype(bool), "n_seeds"]})
        seeds = (
            "; one seed"
            if several == [1]
            else f"; {listed([str(n) for n in several])} seeds"
            if several
            else ""
        )
        of_recipe = f", recipe {recipe}" if frame["recipe"].nunique() > 1 else ""
        sentences.append(
            f"On {dataset} ({degradation}{of_recipe}{seeds}) {order_text(rows, results)}: over the row before {told}."
        )
    return sentences


def order_text(rows: pd.DataFrame, results: Results) -> str:
    """Say which rows gained, as printed and beyond their spread; as in the paper, if these are its four rows."""
    gains = rows[rows["gain"].notna()]
    printed = gains["gain"].round(2)
    lost = [*gains.loc[printed <= 0, "variant"]]
    unsure = [*gains.loc[(printed > 0) & (gains["gain"] <= gains["gain_std"]), "variant"]]
    if lost or unsure:
        parts = [f"{listed(lost)} gained nothing"] if lost else []
        parts += [f"{listed(unsure)} gained less than the spread over seeds"] if unsure else []
        return " and ".join(parts)
    missing = len(results.facts.ablation) - len(rows)
    is_paper = rows[list(SWITCHES)].to_numpy(dtype=bool).tolist() == PAPER_ROWS and not missing
    return (
        "each row gained"
        + (", as in the paper" if is_paper else "")
        + (f" ({missing} of the study's rows were not measured)" if missing else "")
    )
