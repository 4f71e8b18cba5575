"""Accuracy beside speed: the paper's Figure 1, of every model timed in the headline's setting.

A panel is a data set and the degradations of one kind on it: DUF was made for a blur of sigma 1.6 and RLSP for 1.5,
and every comparison of the two shows each on its own input. As soon as one model was run with two degradations of
a kind, each of these has a panel of its own; interpolation, which has no training, does not count there.
"""

import re
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from rlsp.config.specs.facts import Facts
from rlsp.config.specs.models import family_of
from rlsp.metrics import PSNR
from rlsp.reporting.analyses import accuracy, runtime
from rlsp.reporting.cells import EMPTY, Number, listed
from rlsp.reporting.protocols import protocol_label
from rlsp.reporting.published import (
    GPU_NOTE,
    PUBLISHED_PSNR,
    SPEEDUP_MODEL,
    SPEEDUPS,
    find_printed,
    full_hd_times,
    speedup_text,
)
from rlsp.reporting.results import Results
from rlsp.reporting.speed_figure import plot_psnr_vs_runtime
from rlsp.reporting.table import Column, Table
from rlsp.reporting.timing import (
    SETTING_COLUMNS,
    WAY_COLUMNS,
    device_text,
    frames_text,
    headline_timing,
    is_processor,
    median_text,
    range_text,
    spread_text,
    text_or_empty,
    way_text,
)

TITLE = "Accuracy beside speed"
QUESTION = (
    "Which model is the best for the time that there is (Figure 1 of the paper), and how many times as fast as the "
    "others is the reference model? Measured times stand beside published ones, which are of other devices."
)
# Of one model timed once, the PSNR shown is that of the first of these there is.
ORIGIN_ORDER = ("trained", "released-weights", "released-frames", "external")
_MEANS = ["dataset", "degradation", "model", "variant", "psnr", "psnr_std", "n_seeds"]
_TIMES = ("median_ms", "q10_ms", "q90_ms", "fps", "time_ratio")
SPEED_COLUMNS = (
    *("dataset", "panel", "degradation", "model", "variant", "label", *SETTING_COLUMNS, *WAY_COLUMNS),
    *("psnr", "psnr_std", "n_seeds", "psnr_from", "psnr_source", *_TIMES),
    *("published_ratio", "published_ms", "published_device", "published_source"),
)


def summarise(results: Results) -> pd.DataFrame:
    """Return PSNR and time of every model and way that was timed for several models in the headline's setting.

    Models that have no PSNR of their own in a panel have the published one, if there is any.

    Returns
    -------
    DataFrame
        `SPEED_COLUMNS`, the rows of a panel by time. ``psnr`` (dB) under the headline protocol, or as published:
        ``psnr_from`` is its origin or ``published``, ``psnr_source`` the source of the latter. ``panel`` is the
        degradation that stands for its kind; ``label`` names model and variant, with the degradation where it is
        not the panel's. ``time_ratio`` is to the reference model run the same way.
    """
    timed = timed_ways(results.of(runtime.summarise), results.facts.device)
    if timed.empty:
        return pd.DataFrame(columns=list(SPEED_COLUMNS))
    means = shown_means(results)
    parts = []
    for (dataset, panel), rows in means.groupby(["dataset", "panel"], sort=False):
        is_own = (rows["degradation"] == panel) | (rows["psnr_from"] != "interpolation")
        rows = rows[is_own | ~rows["model"].isin(rows.loc[is_own, "model"])]  # one baseline is enough
        others = [model for model in timed["model"].unique() if model not in set(rows["model"])]
        known = printed_of_panel(means, dataset, panel, results)
        parts.append(pd.concat([rows, printed_means(others, known)]).assign(dataset=dataset, panel=panel))
    if not parts:  # nothing was scored: times alone
        models = timed["model"].unique()
        parts = [pd.DataFrame({"model": models, "variant": models}).reindex(columns=[*means.columns])]
    points = pd.concat(parts, ignore_index=True).merge(timed, on="model", how="inner")
    points = with_published_times(with_labels(points, results.facts), results)
    groups = points.groupby(["dataset", "panel"], sort=False, dropna=False).ngroup()
    points = points.assign(group=groups).sort_values(["group", "median_ms"], kind="stable", ignore_index=True)
    return points.reindex(columns=list(SPEED_COLUMNS))


def timed_ways(timing: pd.DataFrame, device: str | None) -> pd.DataFrame:
    """Return the times of the headline's setting, in the headline's way and all others of several models."""
    chosen = headline_timing(timing, device)
    columns = ["model", *SETTING_COLUMNS, *WAY_COLUMNS, *_TIMES]
    if chosen.empty:
        return chosen.reindex(columns=columns)
    rows = timing[timing["median_ms"].notna()]
    for column in SETTING_COLUMNS:
        rows = rows[rows[column] == chosen[column].iloc[0]]
    several = rows.groupby(list(WAY_COLUMNS))["model"].transform("nunique") > 1
    is_headline = (rows[list(WAY_COLUMNS)] == chosen[list(WAY_COLUMNS)].iloc[0]).all(axis=1)
    return rows[several | is_headline][columns]


def shown_means(results: Results) -> pd.DataFrame:
    """Return the means over clips under the headline protocol, one origin per model, with their kinds and panels."""
    if results.rows("scores").empty:
        return pd.DataFrame(columns=[*_MEANS, "psnr_from", "kind", "panel"])
    means = accuracy.headline_means(results)
    means = means[means["psnr"].notna()]
    rank = {origin: number for number, origin in enumerate(ORIGIN_ORDER)}
    means = means.assign(rank=means["origin"].map(rank).fillna(len(rank)))
    keys = ["model", "dataset", "degradation"]
    best = means.groupby(keys, sort=False, dropna=False)["rank"].transform("min")
    means = means[means["rank"] == best]
    kinds = [kind_of(name, results.facts) for name in means["degradation"]]
    means = means[_MEANS].assign(psnr_from=means["origin"], kind=kinds)
    return means.assign(panel=panel_names(means, results.facts.reference_model))


# ---- panels ------------------------------------------------------------------------------------


def kind_of(degradation: str, facts: Facts) -> str:
    """Return what a degradation shares a panel with: its kind, by the study or by how its name begins."""
    spec = facts.degradations.get(degradation)
    return spec.kind if spec else degradation.partition("-")[0]


def panel_names(means: pd.DataFrame, reference_model: str | None) -> list[str]:
    """Return the degradation that each row's panel is named after: the reference model's, or the first."""
    names = {}
    for (dataset, _), rows in means.groupby(["dataset", "kind"], sort=False):
        learnt = rows[rows["psnr_from"] != "interpolation"]
        is_split = (learnt.groupby("model")["degradation"].nunique() > 1).any()
        reference = learnt[learnt["model"] == reference_model]
        first = next(of["degradation"].iloc[0] for of in (reference, learnt, rows) if not of.empty)
        for degradation in rows["degradation"].unique():
            names[dataset, degradation] = degradation if is_split else first
    return [names[key] for key in zip(means["dataset"], means["degradation"], strict=True)]


def with_labels(points: pd.DataFrame, facts: Facts) -> pd.DataFrame:
    """Add what to call each row: its model, its variant where the panel has several of the model, its blur."""
    groups = points.groupby(["dataset", "panel", "model"], dropna=False)["variant"]
    names = points["model"].where(groups.transform("nunique") == 1, points["variant"])
    notes = [blur_text(row, facts) for row in points.itertuples()]
    return points.assign(label=[f"{name}{note}" for name, note in zip(names, notes, strict=True)])


def blur_text(row: Any, facts: Facts) -> str:
    """Return the degradation of a row in brackets where it is not the panel's, its blur where it has one."""
    if not isinstance(row.degradation, str) or row.degradation == row.panel:
        return ""
    sigma = getattr(facts.degradations.get(row.degradation), "sigma", None)
    told = re.fullmatch(r"[a-z]+-([\d.]+)", row.degradation)
    text = told and told[1] if sigma is None else f"{sigma:g}"
    return f" (blur {text})" if text else f" ({row.degradation})"


# ---- published values --------------------------------------------------------------------------


def printed_of_panel(means: pd.DataFrame, dataset: str, panel: str, results: Results) -> pd.DataFrame:
    """Return the published values of a panel's data set and kind; of a kind that is split, of its own degradation."""
    kind = kind_of(panel, results.facts)
    rows = means[(means["dataset"] == dataset) & (means["kind"] == kind)]
    known = results.published[results.published["dataset"] == dataset]
    if rows["panel"].nunique() > 1:
        return known[known["degradation"] == panel]
    is_kind = [kind_of(name, results.facts) == kind for name in known["degradation"]]
    return known[pd.Series(is_kind, index=known.index, dtype=bool)]  # an empty list would choose no columns


def printed_means(models: list[str], known: pd.DataFrame) -> pd.DataFrame:
    """Return one row per model with its published PSNR, empty where none is in print."""
    rows = []
    for model in models:
        row = {"model": model, "variant": model}
        if value := find_printed(known, model, "psnr"):
            first = known[(known["model"] == model) & (known["metric"] == "psnr")].iloc[0]
            row |= {"degradation": first["degradation"], "psnr": value.value}
            row |= {"psnr_from": PUBLISHED_PSNR, "psnr_source": value.source}
        rows.append(row)
    return pd.DataFrame(rows)


def with_published_times(points: pd.DataFrame, results: Results) -> pd.DataFrame:
    """Add the published time of a Full HD frame with its device, and the published factor to the reference model."""
    columns: dict[str, list[Any]] = {name: [] for name in ("ratio", "ms", "device", "source")}
    times = full_hd_times(results.published)
    for model in points["model"]:
        time, factor = find_printed(times, model, "runtime"), None
        if results.facts.reference_model == SPEEDUP_MODEL and model in SPEEDUPS:
            factor = find_printed(results.published, SPEEDUP_MODEL, SPEEDUPS[model].metric)
        note = times.loc[times["model"] == model, "note"].iloc[0] if time else None
        columns["ratio"].append(speedup_text(factor, SPEEDUPS[model]) if factor else None)
        columns["ms"].append(time.value if time else float("nan"))
        columns["device"].append(note.split(";")[0].removeprefix(GPU_NOTE) if note else None)
        columns["source"].append("; ".join(value.source for value in (time, factor) if value) or None)
    return points.assign(**{f"published_{name}": values for name, values in columns.items()})


# ---- tables ------------------------------------------------------------------------------------


def tables(frame: pd.DataFrame, results: Results) -> list[Table]:
    """Return one table per panel: every model by its time, in the headline's way and in its fastest."""
    return [
        table_of(rows, results) for _, rows in frame.groupby(["dataset", "panel"], sort=False, dropna=False)
    ]


def table_of(rows: pd.DataFrame, results: Results) -> Table:
    """Return the table of one panel, a row for each model, beside what was published."""
    shown = headline_timing(rows)
    times = shown[["label", *WAY_COLUMNS, *_TIMES]]
    fastest = rows.drop_duplicates("label")  # they are sorted by time
    models = fastest.merge(times, on="label", how="left", suffixes=("_fastest", ""))
    way, best = way_text(next(shown.itertuples())), "fastest way"
    columns = [
        Column("model", lambda row: row.label),
        Column(f"{PSNR[results.facts.headline.channel].label} [dB]", lambda row: Number(row.psnr, 2, row.psnr_std),
               better=None if (rows["psnr_from"] == PUBLISHED_PSNR).any() else "higher"),
        Column("PSNR from", psnr_from_text),
        Column("median [ms]", lambda row: Number(row.median_ms, None), way, "lower"),
        Column("10 to 90 %", spread_text, way),
        Column("frames/s", lambda row: Number(row.fps, None), way),
        Column("ratio", lambda row: Number(row.time_ratio, 2), way),
        Column("ratio", lambda row: text_or_empty(row.published_ratio), "published", is_optional=True),
        Column("ms, Full HD (GPU)", published_time_text, "published", is_optional=True),
    ]  # fmt: skip
    if len(rows) > len(shown):
        columns += [
            Column("median [ms]", lambda row: Number(row.median_ms_fastest, None), best, "lower"),
            Column("which", lambda row: f"{row.mode_fastest} {row.precision_fastest}", best),
        ]
    return Table.of(models.sort_values("median_ms"), columns, *title_and_caption(rows, results))


def title_and_caption(rows: pd.DataFrame, results: Results) -> tuple[str, str]:
    """Return what a table shows, how it was measured, and the sources of what was published."""
    first = next(rows.itertuples())
    where, about = "no data set", runtime.about(results)
    if isinstance(first.dataset, str):
        where = f"{first.dataset}, {first.panel}, {protocol_label(results.facts.headline)}"
        scores = accuracy.headline_means(results)
        scores = scores[(scores["dataset"] == first.dataset) & scores["model"].isin(rows["model"])]
        about = results.about(scores)
    caption = (
        f"{device_text(first)}; {frames_text(first, results)}; times per output frame. Ratio: to the time of "
        f"{results.facts.reference_model or 'the fastest'}. PSNR of 8-bit pictures, whatever the way."
    )
    return f"{TITLE} on {where}", " ".join([caption, *published_text(rows), about])


def psnr_from_text(row: Any) -> str:
    """Return where a PSNR is from: the origin of what was measured, or that it was published and how sure it is."""
    if not isinstance(row.psnr_from, str):
        return EMPTY
    if row.psnr_from == PUBLISHED_PSNR:
        return f"published ({row.psnr_source.partition(':')[0]})"
    return row.psnr_from.replace("-", " ")


def published_time_text(row: Any) -> str:
    """Return a published time with the GPU it was measured on."""
    return EMPTY if pd.isna(row.published_ms) else f"{row.published_ms:g} ({row.published_device})"


def published_text(rows: pd.DataFrame) -> list[str]:
    """Return the sources of the published values of a table, each with the models it is for."""
    sources: dict[str, list[str]] = {}
    for column, what in (("psnr_source", "PSNR"), ("published_source", "time")):
        for row in rows.drop_duplicates("model").dropna(subset=[column]).itertuples():
            sources.setdefault(getattr(row, column), []).append(f"{row.model} ({what})")
    texts = []
    if (rows["degradation"].notna() & (rows["degradation"] != rows["panel"])).any():
        texts.append(
            "A label with a blur names the input of that model, where it is another than the panel's."
        )
    if sources:
        listing = "; ".join(f"{', '.join(models)}: {source}" for source, models in sources.items())
        texts.append(f"Published values (Q: read at the source, S: from a secondary source): {listing}.")
    return texts


def figure(frame: pd.DataFrame, results: Results) -> Figure | None:
    """Draw the paper's Figure 1, see `rlsp.reporting.speed_figure`."""
    return plot_psnr_vs_runtime(headline_timing(frame), results, untimed_interpolation(frame, results))


def untimed_interpolation(frame: pd.DataFrame, results: Results) -> pd.DataFrame:
    """Return the means of interpolation that was not timed."""
    if frame.empty or results.rows("scores").empty:
        return pd.DataFrame()
    means = accuracy.headline_means(results)
    means = means[(means["origin"] == "interpolation") & means["psnr"].notna()]
    return means[~means["variant"].isin(frame["variant"])]


# ---- findings ----------------------------------------------------------------------------------


def findings(frame: pd.DataFrame, results: Results) -> list[str]:
    """Say which models are the best for their time, and how many times as fast as other methods the reference is."""
    shown = headline_timing(frame)
    sentences = []
    measured = shown[shown["psnr"].notna() & (shown["psnr_from"] != PUBLISHED_PSNR)]
    for (dataset, panel), rows in measured.groupby(["dataset", "panel"], sort=False):
        if len(rows) < 2:
            continue
        is_beaten = [
            ((rows["median_ms"] < row.median_ms) & (rows["psnr"].round(2) > round(row.psnr, 2))).any()
            for row in rows.itertuples()
        ]
        best = rows[~pd.Series(is_beaten, index=rows.index)]
        points = [
            f"{row.label} ({Number(row.psnr, 2, row.psnr_std)} dB, {median_text(row)})"
            for row in best.itertuples()
        ]
        beaten = [row.label for row in rows.itertuples() if row.Index not in best.index]
        rest = f"; {listed(beaten)} {'is' if len(beaten) == 1 else 'are'} beaten in both" if beaten else ""
        first, is_single = next(rows.itertuples()), (rows["psnr_from"] == "trained") & (rows["n_seeds"] == 1)
        seed = "; one seed" if is_single.any() else ""
        sentences.append(
            f"On {dataset} ({panel}; {protocol_label(results.facts.headline)}{seed}; {way_text(first)} "
            f"on {device_text(first)}, 10 to 90 % of the times in brackets) no other model is both faster and more "
            f"accurate than {listed(points)}{rest}."
        )
    return sentences + speedups_text(shown, results)


def speedups_text(shown: pd.DataFrame, results: Results) -> list[str]:
    """Say how many times as fast as a model of each other method the reference model is, beside published factors.

    The model is that with a published factor, else the most accurate one.
    """
    models, name = results.facts.models, results.facts.reference_model
    rows = shown[shown["psnr_from"] != "interpolation"]
    rows = rows.assign(
        family=[family_of(model, models.get(model)) for model in rows["model"]],
        has_factor=rows["published_ratio"].notna(),
    )
    own = next(rows[rows["model"] == name].itertuples(), None)
    if own is None or (rows["family"] == own.family).all():
        return []
    others = rows[rows["family"] != own.family].sort_values(["has_factor", "psnr"], ascending=False)
    parts = []
    for row in others.drop_duplicates("family").itertuples():
        ends = range_text(row.q10_ms / own.q90_ms, row.q90_ms / own.q10_ms)
        known = f"; published: {row.published_ratio}" if row.has_factor else ""
        parts.append(f"{Number(row.time_ratio, None)} times as fast as {row.model} ({ends}{known})")
    note = ", and the published factors are of GPUs" if others["has_factor"].any() else ""
    note = f"; these are times on a CPU{note}" if is_processor(own.device) else ""
    return [
        f"On {device_text(own)} {name} is {listed(parts)}, in the way {way_text(own)}; in brackets the range between "
        f"the 10 and 90 % quantiles of both{note}."
    ]
