"""Settings and ways of run times: what may be compared with what, which is shown first, and how tables call them.

A *setting* is what a frame is (device, threads, size, boundary, batch): times may be compared inside one setting
only. A *way* is how a model is run in it (mode, precision). A *case* is a model in a setting and a way.
"""

from typing import Any

import pandas as pd

from rlsp.reporting.captions import frame_text
from rlsp.reporting.cells import EMPTY, Number, plural
from rlsp.reporting.results import Results

SETTING_COLUMNS = ("device", "threads", "lr_height", "lr_width", "boundary", "batch")
WAY_COLUMNS = ("mode", "precision")
FULL_HD_LR = (270, 480)  # LR rows and columns of a frame of 1920x1080, scale 4: what the paper times
OK = "ok"
LONGEST_REASON = 60  # characters of a reason that a table can bear; the CSV has all of it
BOUNDARIES = {
    "network": "network alone, float tensors to float tensors",
    "rgb8": "8-bit RGB in to 8-bit RGB out, chroma included",
}


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


def headline_way(rows: pd.DataFrame) -> pd.DataFrame:
    """Choose the rows of the one way that is shown first: eager in fp32 where there is such, else that of the first."""
    for column, value in (("mode", "eager"), ("precision", "fp32")):
        if (rows[column] == value).any():
            rows = rows[rows[column] == value]
    for column in WAY_COLUMNS:
        rows = rows[rows[column].isin(rows[column].head(1))]
    return rows


def headline_timing(timing: pd.DataFrame, device: str | None = None) -> pd.DataFrame:
    """Choose the one setting and way of running that figures and the ablation show.

    Eager and in fp32 where these were timed, in the headline's setting (see `headline_setting`); cases without
    numbers do not count.

    Parameters
    ----------
    timing : DataFrame
        What `rlsp.reporting.analyses.runtime.summarise` returns.
    device : str, optional
        Preferred where something was timed on it.
    """
    chosen = timing[timing["median_ms"].notna()]
    if device is not None and (chosen["device"] == device).any():
        chosen = chosen[chosen["device"] == device]
    if (chosen["boundary"] == "network").any():
        chosen = chosen[chosen["boundary"] == "network"]
    return headline_setting(headline_way(chosen))


def is_processor(device: str) -> bool:
    """Tell whether a device, in the words of `rlsp.devices.describe_device`, is a CPU."""
    return device == "cpu" or device.endswith("logical cores")


# ---- in words ----------------------------------------------------------------------------------


def way_text(row: Any) -> str:
    """Return how a case was run, such as ``fused bf16``."""
    return f"{row.mode} {row.precision}"


def frames_text(row: Any, results: Results) -> str:
    """Return what was timed in a setting: frames at a time, their size, and what goes in and comes out."""
    count = "one frame at a time" if row.batch == 1 else f"batch {row.batch}"
    size = frame_text(row.lr_height, row.lr_width, results.facts)
    return f"{count}, {size}, {BOUNDARIES.get(row.boundary, row.boundary)}"


def device_text(row: Any) -> str:
    """Return on what a row was measured, such as ``laptop cpu, 2 threads``."""
    return f"{row.device}, {plural(int(row.threads), 'thread')}"


def reason_text(status: str) -> str:
    """Return why a case has no numbers, shortened; empty where it has."""
    reason = "" if status == OK else " ".join(str(status).split())
    return reason if len(reason) <= LONGEST_REASON else reason[: LONGEST_REASON - 1].rstrip() + "…"


def range_text(low: float, high: float, decimals: int | None = None) -> str:
    """Return ``10.5 to 12.1``, and one number where both are printed the same."""
    return " to ".join(dict.fromkeys(str(Number(value, decimals)) for value in (low, high)))


def text_or_empty(value: Any) -> str:
    """Return a text, a dash where there is none."""
    return value if isinstance(value, str) else EMPTY


def spread_text(row: Any) -> str:
    """Return the 10 and 90 % quantiles of the times of a case, empty where there are none."""
    return "" if pd.isna(row.median_ms) else range_text(row.q10_ms, row.q90_ms)


def median_text(row: Any) -> str:
    """Return the time of a case with its spread, such as ``12.4 ms (12.0 to 14.3)``."""
    return f"{Number(row.median_ms, None)} ms ({spread_text(row)})"
