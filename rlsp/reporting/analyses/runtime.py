"""Run times: what each model and way of running it takes, and how near the device's limits that is."""

from typing import Any

import pandas as pd

from rlsp.columns import RUNTIME
from rlsp.reporting.analyses import accuracy
from rlsp.reporting.cells import Number, listed, plural
from rlsp.reporting.results import Results
from rlsp.reporting.table import Column, Table
from rlsp.reporting.timing import (
    OK,
    SETTING_COLUMNS,
    WAY_COLUMNS,
    device_text,
    frames_text,
    headline_setting,
    is_processor,
    median_text,
    range_text,
    reason_text,
    spread_text,
    text_or_empty,
    way_text,
)

TITLE = "Run times"
QUESTION = (
    "How long does one output frame take, what does each way of running a model gain over the plain module, and how "
    "near is it to what the device can do at most? Times of two devices, sizes or batches are never compared."
)
PLAIN = ("eager-nchw", "fp32")  # the module as it is: torch's default layout, full precision
NO_SAMPLES = "no samples"  # of a case that went well
UNSTABLE = "not stable after warm-up"

CASE = ["model", *SETTING_COLUMNS, *WAY_COLUMNS]
_TIMES = ["median_ms", "q10_ms", "q90_ms", "fps", "n_repeats", "time_ratio", "plain_ratio"]
_LIMITS = ["floor_ms", "bound_by", "of_floor", "peak_memory_mb", "energy_j"]
_FROM_CASES = (
    *("status", "warmup_frames", "is_stable", "matrix_tflops", "bandwidth_gbs", "floor_compute_ms"),
    *("floor_memory_ms", "latency_ms", "energy_j", "clock_mhz", "temperature_c", "busy"),
)
SUMMARY_COLUMNS = (
    *(*CASE, *_TIMES, *_LIMITS, "parameters", "gmac_per_frame"),
    *[name for name in _FROM_CASES if name != "energy_j"],
)


def summarise(results: Results) -> pd.DataFrame:
    """Return the time per output frame of every case, beside the least the device could take.

    Rows of an earlier version have no list of cases: then every sample is of a case that went well, and floors,
    energy and clocks are empty.

    Returns
    -------
    DataFrame
        One row per case, with `SUMMARY_COLUMNS`: ``median_ms``, ``q10_ms`` and ``q90_ms`` (linear between
        samples), ``fps`` (1000 / median), ``n_repeats``; ``time_ratio``, the median over that of the
        reference model in the same setting and way; ``plain_ratio``, how many times as fast the case is as the
        same model in the way `PLAIN`; ``floor_ms``, the larger of the two floors, ``bound_by`` which of them it is
        (``compute`` or ``memory``), ``of_floor``, the floor over the median (1: at the floor); ``latency_ms``, from
        starting a frame on an idle device to its end, by the wall clock;
        ``status``, ``ok`` or why there are no numbers.
    """
    runtime, cases = results.rows("runtime"), results.rows("cases")
    if runtime.empty and cases.empty:
        return pd.DataFrame(columns=list(SUMMARY_COLUMNS))
    if cases.empty:  # columns without rows have no type to be joined by
        cases = cases.astype({name: runtime[name].dtype for name in CASE})
    if runtime.empty:
        runtime = runtime.reindex(columns=list(RUNTIME.names)).astype({n: cases[n].dtype for n in CASE})
    table = cases[[*CASE, *_FROM_CASES]].merge(sampled(runtime), on=CASE, how="outer", sort=False)
    memory = cases[[*CASE, "peak_memory_mb"]].rename(columns={"peak_memory_mb": "case_memory_mb"})
    table = in_order(table.merge(memory, on=CASE, how="left"), cases, runtime)
    table["peak_memory_mb"] = table.pop("case_memory_mb").astype(float).fillna(table["peak_memory_mb"])
    status = table["status"].astype(object).where(table["status"].notna(), OK)
    table["status"] = status.where((status != OK) | table["median_ms"].notna(), NO_SAMPLES)
    table = with_ratios(table, results.facts.reference_model)
    return with_floors(table)[list(SUMMARY_COLUMNS)]


def sampled(runtime: pd.DataFrame) -> pd.DataFrame:
    """Return the quantiles of the samples of each case, and the size of its model."""
    groups = runtime.groupby(CASE, sort=False, dropna=False)
    return groups.agg(
        median_ms=("runtime_ms", "median"),
        q10_ms=("runtime_ms", lambda times: times.quantile(0.1)),
        q90_ms=("runtime_ms", lambda times: times.quantile(0.9)),
        n_repeats=("runtime_ms", "size"),
        parameters=("parameters", "first"),
        gmac_per_frame=("gmac_per_frame", "first"),
        peak_memory_mb=("peak_memory_mb", "max"),
    ).reset_index()


def in_order(table: pd.DataFrame, cases: pd.DataFrame, runtime: pd.DataFrame) -> pd.DataFrame:
    """Sort cases as they come in the list of cases, then as they come in the samples."""
    keys = pd.concat([cases[CASE], runtime[CASE]] if not cases.empty else [runtime[CASE]])
    places = {
        key: number for number, key in enumerate(keys.drop_duplicates().itertuples(index=False, name=None))
    }
    order = [places[key] for key in table[CASE].itertuples(index=False, name=None)]
    return (
        table.assign(order=order).sort_values("order", kind="stable", ignore_index=True).drop(columns="order")
    )


def with_ratios(table: pd.DataFrame, reference_model: str | None) -> pd.DataFrame:
    """Add frames per second, the ratio to the reference model and that to the plain way of the same model."""
    way = [*SETTING_COLUMNS, *WAY_COLUMNS]
    candidates = table if reference_model is None else table[table["model"] == reference_model]
    reference = candidates.groupby(way, sort=False, dropna=False)["median_ms"].min()
    is_plain = (table["mode"] == PLAIN[0]) & (table["precision"] == PLAIN[1])
    plain = table[is_plain].groupby(["model", *SETTING_COLUMNS], sort=False, dropna=False)["median_ms"].min()
    table = table.merge(reference.rename("reference_ms").reset_index(), on=way, how="left")
    table = table.merge(plain.rename("plain_ms").reset_index(), on=["model", *SETTING_COLUMNS], how="left")
    return table.assign(
        fps=1000.0 / table["median_ms"],
        time_ratio=table["median_ms"] / table["reference_ms"],
        plain_ratio=table["plain_ms"] / table["median_ms"],
    )


def with_floors(table: pd.DataFrame) -> pd.DataFrame:
    """Add the least time per frame (ms), what sets it, and which part of the median it is."""
    floors = table[["floor_compute_ms", "floor_memory_ms"]].astype(float)
    floor = floors.max(axis=1, skipna=False)
    bound = (floors["floor_compute_ms"] >= floors["floor_memory_ms"]).map({True: "compute", False: "memory"})
    return table.assign(
        floor_ms=floor, bound_by=bound.where(floor.notna()), of_floor=floor / table["median_ms"]
    )


def is_unstable(timing: pd.DataFrame) -> pd.Series:
    """Return which cases were not stable after their warm-up; unknown counts as stable."""
    return timing["is_stable"].astype(str).str.lower().isin(["false", "0", "0.0"])


# ---- tables ------------------------------------------------------------------------------------


def tables(frame: pd.DataFrame, results: Results) -> list[Table]:
    """Return the table of the headline's setting, then one for every other setting."""
    headline = headline_setting(frame)
    rest = frame.drop(index=headline.index).groupby(list(SETTING_COLUMNS), sort=False, dropna=False)
    settings = [rows for rows in (headline, *(rows for _, rows in rest)) if not rows.empty]
    return [table_of(rows, results) for rows in settings]


def table_of(rows: pd.DataFrame, results: Results) -> Table:
    """Return the run times of one setting: a row for each case, those that failed with their reason."""
    ways, bounds = rows[list(WAY_COLUMNS)].drop_duplicates(), rows["bound_by"].dropna().unique()
    notes = ["" if is_ok else UNSTABLE for is_ok in ~is_unstable(rows)]
    reasons = [reason_text(status) or note for status, note in zip(rows["status"], notes, strict=True)]
    time, relative = "time per frame [ms]", "relative"
    columns = [
        Column("model", lambda row: row.model),
        *([Column("way", way_text)] if len(ways) > 1 else []),
        Column("median", lambda row: Number(row.median_ms, None), time, "lower"),
        Column("10 to 90 %", spread_text, time, is_optional=True),
        Column("idle", latency, time, "lower", is_optional=True),
        Column("frames/s", lambda row: Number(row.fps, None), better="higher"),
        Column("ratio", lambda row: Number(row.time_ratio, 2), relative),
        Column("speed-up", lambda row: Number(row.plain_ratio, 2), relative, "higher", is_optional=True),
        Column("floor / time", lambda row: Number(row.of_floor, 2), relative, is_optional=True),
        *([Column("set by", lambda row: text_or_empty(row.bound_by), relative)] if len(bounds) > 1 else []),
        Column("memory [MB]", lambda row: Number(row.peak_memory_mb, 0), better="lower"),
        Column("energy [J]", lambda row: Number(row.energy_j, None), better="lower", is_optional=True),
        Column("remark", lambda row: row.remark, is_optional=True),
    ]
    first = next(rows.itertuples())
    title, way = f"Run times, {frames_text(first, results)}", "" if len(ways) > 1 else f", {way_text(first)}"
    caption = f"{device_text(first)}{way}. {caption_of(rows, results)} {about(results)}"
    return Table.of(rows.assign(remark=reasons), columns, title, caption)


def about(results: Results) -> str:
    """Say what holds for tables of times, of whatever was trained, see `Results.about`."""
    is_empty = results.rows("scores").empty
    rows = (
        pd.DataFrame(columns=["variant", "degradation", "seeds"])
        if is_empty
        else accuracy.headline_means(results)
    )
    return results.about(rows)


def latency(row: Any) -> Number:
    """Return the latency of a GPU; on a CPU every sample is one."""
    return Number(float("nan") if is_processor(row.device) else row.latency_ms, None)


def caption_of(rows: pd.DataFrame, results: Results) -> str:
    """Return how the cases of a setting were timed, and what the device can do at most."""
    counts = rows["n_repeats"].dropna()
    repeats = "" if counts.empty else f" of {range_text(counts.min(), counts.max(), 0)} repeats"
    parts = [
        f"Medians and quantiles{repeats}, all cases interleaved. Ratio: to the time of "
        f"{results.facts.reference_model or 'the fastest'} in the same way."
    ]
    if rows["plain_ratio"].notna().any():
        parts.append(f"Speed-up: over the same model in {' '.join(PLAIN)}.")
    if any(not latency(row).is_empty for row in rows.itertuples()):
        parts.append("Idle: from starting a frame on an idle device to its end, by the wall clock.")
    return " ".join([*parts, *limits_text(rows), *circumstances_text(rows)])


def limits_text(rows: pd.DataFrame) -> list[str]:
    """Say what the floor is, what sets it, and the measured ceilings of the device, where they are known."""
    texts, bounds = [], rows["bound_by"].dropna().unique()
    if len(bounds):
        texts.append(
            "Floor: the larger of operations over the measured matrix rate and fewest bytes over the measured "
            f"bandwidth{f' (here always {bounds[0]})' if len(bounds) == 1 else ''}; floor / time is 1 at the floor."
        )
    rates = rows.dropna(subset=["matrix_tflops"]).drop_duplicates("precision")
    parts = [f"{row.precision} {rate_text(row.matrix_tflops)} TFLOP/s" for row in rates.itertuples()]
    widths = rows["bandwidth_gbs"].dropna()
    parts += [f"{rate_text(widths.max())} GB/s"] if not widths.empty else []
    return [*texts, f"Measured ceilings: {', '.join(parts)}."] if parts else texts


def rate_text(value: float) -> str:
    """Return a rate with three significant digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def circumstances_text(rows: pd.DataFrame) -> list[str]:
    """Return clocks and temperatures while timing, and what else the machine was busy with."""
    parts = []
    for column, name, unit in (("clock_mhz", "clock", "MHz"), ("temperature_c", "temperature", "°C")):
        values = rows[column].dropna().astype(float)
        if not values.empty:
            ends = dict.fromkeys(f"{value:.0f}" for value in (values.min(), values.max()))
            parts.append(f"{name} {' to '.join(ends)} {unit}")
    texts = [f"While timing: {', '.join(parts)}."] if parts else []
    busy = [str(text).rstrip(".") for text in rows["busy"].dropna().unique() if str(text).strip()]
    return [*texts, f"Warning: {'; '.join(busy)}."] if busy else texts


def figure(frame: pd.DataFrame, results: Results) -> None:
    """Nothing is drawn: the figure of accuracy beside speed shows the headline's times."""


# ---- findings ----------------------------------------------------------------------------------


def findings(frame: pd.DataFrame, results: Results) -> list[str]:
    """Say which network is the fastest and in which way, what each way gains, and how many cases went well."""
    timed = headline_setting(frame)
    timed = timed[timed["median_ms"].notna()]
    networks = timed[timed["parameters"] > 0].sort_values("median_ms", kind="stable")
    if networks.empty:
        return [] if frame.empty else [counts_text(frame), *untimed_text(frame, results)]
    first = next(networks.itertuples())
    where = f"{device_text(first)} ({frames_text(first, results)})"
    sentences = [f"On {where} {fastest_text(first)}, the fastest of all networks and ways."]
    for row in networks[networks["model"] == results.facts.reference_model].head(1).itertuples():
        if row.model != first.model:
            sentences.append(f"The reference model's fastest way: {fastest_text(row)}.")
    return [*sentences, *gains_text(networks), counts_text(frame), *untimed_text(frame, results)]


def untimed_text(frame: pd.DataFrame, results: Results) -> list[str]:
    """Say of what was scored and not timed why it has no time."""
    runs = results.scores.drop_duplicates("variant")
    runs = runs[~runs["model"].isin(frame["model"])]
    reasons: dict[str, list[str]] = {}
    for run in runs.itertuples():
        if run.model in results.facts.skipped:
            reason = "left out by runtime.skip"
        elif run.origin in ("released-frames", "external"):
            reason = "of which only frames are known, or weights without an entry of models"
        else:
            reason = "not timed yet"
        reasons.setdefault(reason, []).append(str(run.variant))
    return [f"Without a time: {listed(names)}, {reason}." for reason, names in reasons.items()]


def fastest_text(row: Any) -> str:
    """Return what a case takes, over what the plain way of the model does, and how near the floor it is."""
    text = (
        f"{row.model} in the way {way_text(row)} takes {median_text(row)} a frame, 10 to 90 % of the repeats in "
        f"brackets, or {Number(row.fps, None)} frames per second"
    )
    if pd.notna(row.plain_ratio) and (row.mode, row.precision) != PLAIN:
        text += f", {row.plain_ratio:.2f} times as fast as {' '.join(PLAIN)}"
    if pd.notna(row.of_floor):
        text += f", at {row.of_floor:.2f} of the rate that {row.bound_by} allows"
    return text


def gains_text(networks: pd.DataFrame) -> list[str]:
    """Say how many times as fast as the plain way each other way is, with its range over models."""
    is_plain = (networks[list(WAY_COLUMNS)] == list(PLAIN)).all(axis=1)
    gains = networks[networks["plain_ratio"].notna() & ~is_plain].groupby(list(WAY_COLUMNS), sort=False)[
        "plain_ratio"
    ]
    parts = [
        f"{mode} {precision} {range_text(ratios.min(), ratios.max(), 2)} ({plural(len(ratios), 'model')})"
        for (mode, precision), ratios in sorted(gains, key=lambda way: -way[1].median())
    ]
    return [f"Times as fast as {' '.join(PLAIN)}: {', '.join(parts)}."] if parts else []


def counts_text(frame: pd.DataFrame) -> str:
    """Say how many cases failed or were not stable after their warm-up."""
    counts = {"failed": frame["status"] != OK, "were not stable after their warm-up": is_unstable(frame)}
    told = [f"{rows.sum()} {what}" for what, rows in counts.items() if rows.any()]
    if told:
        return f"Of {plural(len(frame), 'case')} {listed(told)}."
    return f"All cases ({len(frame)}) ran and were stable after their warm-up."
