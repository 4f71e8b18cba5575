"""Run times: what each model and way of running it takes, how near the device's limits, and the headline among them.

A *setting* is what a frame is (device, threads, size, boundary, batch): times may be compared inside one setting
only. A *way* is how a model is run in it (mode, precision). A *case* is a model in a setting and a way.
"""

import pandas as pd

from rlsp.columns import RUNTIME, RUNTIME_CASES

SETTING_COLUMNS = ("device", "threads", "lr_height", "lr_width", "boundary", "batch")
WAY_COLUMNS = ("mode", "precision")
FULL_HD_LR = (270, 480)  # LR rows and columns of a frame of 1920x1080, scale 4: what the paper times
PLAIN = ("eager-nchw", "fp32")  # the module as it is: torch's default layout, full precision
OK = "ok"
NO_SAMPLES = "no samples"  # of a case that went well

_CASE = ["model", *SETTING_COLUMNS, *WAY_COLUMNS]
_TIMES = ["median_ms", "q10_ms", "q90_ms", "fps", "n_repeats", "time_ratio", "plain_ratio"]
_LIMITS = ["floor_ms", "bound_by", "of_floor", "peak_memory_mb", "energy_j"]
_SIZES = ["parameters", "gmac_per_frame"]
_FROM_CASES = (
    *("status", "warmup_frames", "is_stable", "matrix_tflops", "bandwidth_gbs", "floor_compute_ms"),
    *("floor_memory_ms", "latency_ms", "energy_j", "clock_mhz", "temperature_c", "busy"),
)
SUMMARY_COLUMNS = (*_CASE, *_TIMES, *_LIMITS, *_SIZES, *[name for name in _FROM_CASES if name != "energy_j"])


def summarise_runtime(
    runtime: pd.DataFrame, reference_model: str | None = None, cases: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return the time per output frame of every case, beside the least the device could take.

    Parameters
    ----------
    runtime : DataFrame
        Raw samples, with `rlsp.columns.RUNTIME`.
    reference_model : str, optional
        Whose time counts as 1, by default that of the fastest.
    cases : DataFrame, optional
        One row for each case, of `rlsp.columns.RUNTIME_CASES`; without it (tables of an earlier version) every sample
        is of a case that went well, and floors, energy and clocks are empty.

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
    known = cases if cases is not None else RUNTIME_CASES.empty()
    if runtime.empty and known.empty:
        return pd.DataFrame(columns=list(SUMMARY_COLUMNS))
    if known.empty:  # columns without rows have no type to be joined by
        known = known.astype({name: runtime[name].dtype for name in _CASE})
    if runtime.empty:
        runtime = runtime.reindex(columns=list(RUNTIME.names)).astype({n: known[n].dtype for n in _CASE})
    table = known[[*_CASE, *_FROM_CASES]].merge(sampled(runtime), on=_CASE, how="outer", sort=False)
    memory = known[[*_CASE, "peak_memory_mb"]].rename(columns={"peak_memory_mb": "case_memory_mb"})
    table = in_order(table.merge(memory, on=_CASE, how="left"), known, runtime)
    table["peak_memory_mb"] = table.pop("case_memory_mb").astype(float).fillna(table["peak_memory_mb"])
    status = table["status"].astype(object).where(table["status"].notna(), OK)
    table["status"] = status.where((status != OK) | table["median_ms"].notna(), NO_SAMPLES)
    table = with_ratios(table, reference_model)
    return with_floors(table)[list(SUMMARY_COLUMNS)]


def sampled(runtime: pd.DataFrame) -> pd.DataFrame:
    """Return the quantiles of the samples of each case, and the size of its model."""
    groups = runtime.groupby(_CASE, sort=False, dropna=False)
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
    keys = pd.concat([cases[_CASE], runtime[_CASE]] if not cases.empty else [runtime[_CASE]])
    places = {
        key: number for number, key in enumerate(keys.drop_duplicates().itertuples(index=False, name=None))
    }
    order = [places[key] for key in table[_CASE].itertuples(index=False, name=None)]
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


# ---- the headline ------------------------------------------------------------------------------


def headline_setting(rows: pd.DataFrame) -> pd.DataFrame:
    """Choose the rows of the one setting that is shown first: the network alone, the smallest batch, one size.

    The size is the one with the most models; of several the frame that the paper times (Full HD) if it is there,
    else the largest. Of two devices or counts of threads it is the first; they never mix.
    """
    chosen = rows
    if (chosen["boundary"] == "network").any():
        chosen = chosen[chosen["boundary"] == "network"]
    if chosen.empty:
        return chosen
    for column in ("device", "threads", "boundary"):
        chosen = chosen[chosen[column] == chosen[column].iloc[0]]
    chosen = chosen[chosen["batch"] == chosen["batch"].min()]
    counts = chosen.groupby(["lr_height", "lr_width"])["model"].nunique()
    most = [size for size, count in counts.items() if count == counts.max()]
    height, width = (
        FULL_HD_LR if FULL_HD_LR in most else max(most, key=lambda size: (size[0] * size[1], size))
    )
    return chosen[(chosen["lr_height"] == height) & (chosen["lr_width"] == width)]


def headline_timing(timing: pd.DataFrame, device: str | None = None) -> pd.DataFrame:
    """Choose the one setting and way of running that figures and the ablation show.

    Eager and in fp32 where these were timed, in the headline's setting (see `headline_setting`); cases without
    numbers do not count.

    Parameters
    ----------
    timing : DataFrame
        What `summarise_runtime` returns, or its CSV, of any version.
    device : str, optional
        Preferred where something was timed on it.
    """
    chosen = timing[timing["median_ms"].notna()]
    if device is not None and (chosen["device"] == device).any():
        chosen = chosen[chosen["device"] == device]
    for column, value in (("boundary", "network"), ("mode", "eager"), ("precision", "fp32")):
        if (chosen[column] == value).any():
            chosen = chosen[chosen[column] == value]
    if chosen.empty:
        return chosen
    for column in WAY_COLUMNS:  # of several, that of the first row
        chosen = chosen[chosen[column] == chosen[column].iloc[0]]
    return headline_setting(chosen)


def is_processor(device: str) -> bool:
    """Tell whether a device, in the words of `rlsp.devices.describe_device`, is a CPU."""
    return device == "cpu" or device.endswith("logical cores")


# ---- size and cost -----------------------------------------------------------------------------


def summarise_complexity(runtime: pd.DataFrame) -> pd.DataFrame:
    """Return parameters, GMAC per output frame, and the highest peak memory (MB) of each case."""
    names = ["model", "device", "lr_height", "lr_width", "boundary", "batch", "mode", "precision"]
    numbers = [*_SIZES, "peak_memory_mb"]
    if runtime.empty:
        return pd.DataFrame(columns=[*names, *numbers])
    return runtime.groupby(names, sort=False, dropna=False)[numbers].max().reset_index()
