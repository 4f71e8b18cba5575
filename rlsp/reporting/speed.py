"""Accuracy beside speed: the paper's Figure 1 as rows, of every model timed in the headline's setting.

A panel is a data set and the degradations of one kind on it: DUF was made for a blur of sigma 1.6 and RLSP for 1.5,
and every comparison of the two shows each on its own input. As soon as one model was run with two degradations of
a kind, each of these has a panel of its own; interpolation, which has no training, does not count there.
"""

import re
from typing import Any

import pandas as pd

from rlsp.reporting.published import (
    GPU_NOTE,
    SPEEDUP_MODEL,
    SPEEDUPS,
    find_printed,
    full_hd_times,
    speedup_text,
)
from rlsp.reporting.timing import SETTING_COLUMNS, WAY_COLUMNS, headline_timing

# Of one model timed once, the PSNR shown is that of the first of these there is.
ORIGIN_ORDER = ("trained", "released-weights", "released-frames", "external")
PUBLISHED_PSNR = "published"  # where the PSNR of a model that has no weights and no frames is from
_TIMES = ("median_ms", "q10_ms", "q90_ms", "fps", "time_ratio")
SPEED_COLUMNS = (
    *("dataset", "panel", "degradation", "model", "variant", "label", *SETTING_COLUMNS, *WAY_COLUMNS),
    *("psnr", "psnr_std", "n_seeds", "psnr_from", "psnr_source", *_TIMES),
    *("published_ratio", "published_ms", "published_device", "published_source"),
)


def summarise_speed(
    accuracy: pd.DataFrame, timing: pd.DataFrame, study: dict[str, Any], printed: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return PSNR and time of every model and way that was timed for several models in the headline's setting.

    Parameters
    ----------
    accuracy : DataFrame
        What `rlsp.reporting.tables.summarise_accuracy` returns.
    timing : DataFrame
        What `rlsp.reporting.timing.summarise_runtime` returns.
    study : dict
        The facts of the study (see `rlsp.reporting.tables`).
    printed : DataFrame, optional
        What `rlsp.reporting.published.read_published` returns: the PSNR of models that have none of their own in
        a panel, and published times and factors. Without it these are empty.

    Returns
    -------
    DataFrame
        `SPEED_COLUMNS`, the rows of a panel by time. ``psnr`` (dB) under the headline protocol, or as published:
        ``psnr_from`` is its origin or ``published``, ``psnr_source`` the source of the latter. ``panel`` is the
        degradation that stands for its kind; ``label`` names model and variant, with the degradation where it is
        not the panel's.
        ``time_ratio`` is to the reference model run the same way.
    """
    timed = timed_ways(timing, study.get("device"))
    means = shown_means(accuracy, study)
    means = means.assign(panel=panel_names(means, study))
    parts = []
    for (dataset, panel), rows in means.groupby(["dataset", "panel"], sort=False):
        is_own = (rows["degradation"] == panel) | (rows["psnr_from"] != "interpolation")
        rows = rows[is_own | ~rows["model"].isin(rows.loc[is_own, "model"])]  # one baseline is enough
        others = [model for model in timed["model"].unique() if model not in set(rows["model"])]
        known = printed_of_panel(means, dataset, panel, study, printed)
        parts.append(pd.concat([rows, printed_means(others, known)]).assign(dataset=dataset, panel=panel))
    if timed.empty:
        return pd.DataFrame(columns=list(SPEED_COLUMNS))
    if not parts:  # nothing was scored: times alone
        models = timed["model"].unique()
        parts = [pd.DataFrame({"model": models, "variant": models}).reindex(columns=[*means.columns])]
    points = pd.concat(parts, ignore_index=True).merge(timed, on="model", how="inner")
    points = with_labels(points, study)
    points = with_published_times(points, printed, study.get("reference_model"))
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


def shown_means(accuracy: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """Return the means over clips under the headline protocol, one origin per model, with the degradation's kind."""
    means = accuracy[(accuracy["clip"] == "mean") & (accuracy["protocol"] == study["headline_protocol"])]
    means = means[means["psnr"].notna()]
    rank = {origin: number for number, origin in enumerate(ORIGIN_ORDER)}
    means = means.assign(rank=means["origin"].map(rank).fillna(len(rank)))
    keys = ["model", "dataset", "degradation"]
    best = means.groupby(keys, sort=False, dropna=False)["rank"].transform("min")
    means = means[means["rank"] == best]
    columns = ["dataset", "degradation", "model", "variant", "psnr", "psnr_std", "n_seeds"]
    kinds = [kind_of(name, study) for name in means["degradation"]]
    return means[columns].assign(psnr_from=means["origin"], kind=kinds)


# ---- panels ------------------------------------------------------------------------------------


def kind_of(degradation: str, study: dict[str, Any]) -> str:
    """Return what a degradation shares a panel with: its kind, by the study or by how its name begins."""
    spec = study.get("degradations", {}).get(degradation, {})
    return spec.get("kind", degradation.partition("-")[0])


def panel_names(means: pd.DataFrame, study: dict[str, Any]) -> list[str]:
    """Return the degradation that each row's panel is named after: the reference model's, or the first."""
    names = {}
    for (dataset, _), rows in means.groupby(["dataset", "kind"], sort=False):
        learnt = rows[rows["psnr_from"] != "interpolation"]
        is_split = (learnt.groupby("model")["degradation"].nunique() > 1).any()
        reference = learnt[learnt["model"] == study.get("reference_model")]
        first = next(of["degradation"].iloc[0] for of in (reference, learnt, rows) if not of.empty)
        for degradation in rows["degradation"].unique():
            names[dataset, degradation] = degradation if is_split else first
    return [names[key] for key in zip(means["dataset"], means["degradation"], strict=True)]


def with_labels(points: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """Add what to call each row: its model, its variant where the panel has several of the model, its blur."""
    groups = points.groupby(["dataset", "panel", "model"], dropna=False)["variant"]
    names = points["model"].where(groups.transform("nunique") == 1, points["variant"])
    notes = [blur_text(row, study) for row in points.itertuples()]
    return points.assign(label=[f"{name}{note}" for name, note in zip(names, notes, strict=True)])


def blur_text(row: Any, study: dict[str, Any]) -> str:
    """Return the degradation of a row in brackets where it is not the panel's, its blur where it has one."""
    if not isinstance(row.degradation, str) or row.degradation == row.panel:
        return ""
    spec = study.get("degradations", {}).get(row.degradation, {})
    told = re.fullmatch(r"[a-z]+-([\d.]+)", row.degradation)
    sigma = f"{spec['sigma']:g}" if "sigma" in spec else told and told[1]
    return f" (blur {sigma})" if sigma else f" ({row.degradation})"


# ---- published values --------------------------------------------------------------------------


def printed_of_panel(
    means: pd.DataFrame, dataset: str, panel: str, study: dict[str, Any], printed: pd.DataFrame | None
) -> pd.DataFrame | None:
    """Return the published values of a panel's data set and kind; of a kind that is split, of its own degradation."""
    if printed is None:
        return None
    rows = means[(means["dataset"] == dataset) & (means["kind"] == kind_of(panel, study))]
    known = printed[printed["dataset"] == dataset]
    if rows["panel"].nunique() > 1:
        return known[known["degradation"] == panel]
    is_kind = [kind_of(name, study) == kind_of(panel, study) for name in known["degradation"]]
    return known[pd.Series(is_kind, index=known.index, dtype=bool)]  # an empty list would choose no columns


def printed_means(models: list[str], known: pd.DataFrame | None) -> pd.DataFrame:
    """Return one row per model with its published PSNR, empty where none is in print."""
    rows = []
    for model in models:
        row = {"model": model, "variant": model}
        value = find_printed(known, model, "psnr") if known is not None else None
        if value is not None:
            first = known[(known["model"] == model) & (known["metric"] == "psnr")].iloc[0]
            row |= {"degradation": first["degradation"], "psnr": value.value}
            row |= {"psnr_from": PUBLISHED_PSNR, "psnr_source": value.source}
        rows.append(row)
    return pd.DataFrame(rows)


def with_published_times(
    points: pd.DataFrame, printed: pd.DataFrame | None, reference_model: str | None
) -> pd.DataFrame:
    """Add the published time of a Full HD frame with its device, and the published factor to the reference model."""
    columns = {name: [] for name in ("ratio", "ms", "device", "source")}
    times = full_hd_times(printed) if printed is not None else None
    for model in points["model"]:
        time = find_printed(times, model, "runtime") if times is not None else None
        factor = None
        if printed is not None and reference_model == SPEEDUP_MODEL and model in SPEEDUPS:
            factor = find_printed(printed, SPEEDUP_MODEL, SPEEDUPS[model].metric)
        note = times.loc[times["model"] == model, "note"].iloc[0] if time else None
        columns["ratio"].append(speedup_text(factor, SPEEDUPS[model]) if factor else None)
        columns["ms"].append(time.value if time else float("nan"))
        columns["device"].append(note.split(";")[0].removeprefix(GPU_NOTE) if note else None)
        columns["source"].append("; ".join(value.source for value in (time, factor) if value) or None)
    return points.assign(**{f"published_{name}": values for name, values in columns.items()})
