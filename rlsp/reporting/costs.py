"""Cost curves: growth of time and memory with frame size, clip length, and a model's width and depth."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

# What is varied: its name in a text, and in a power law.
QUANTITIES = {
    "lr_pixels": ("LR pixels", "pixels"),
    "clip_length": ("frames of the clip", "frames"),
    "filters": ("filters", "filters"),
    "layers": ("layers", "layers"),
}
CURVE_COLUMNS = ("device", "threads", "precision", "mode", "model", "quantity")
FIT_COLUMNS = ("exponent", "exponent_se", "residual_percent")
COST_COLUMNS = (
    *(*CURVE_COLUMNS, "value", "lr_height", "lr_width", "median_ms", "q10_ms", "q90_ms", "n_repeats"),
    *("peak_memory_mb", "status", *[f"{cost}_{name}" for cost in ("time", "memory") for name in FIT_COLUMNS]),
)


@dataclass(frozen=True)
class PowerLaw:
    """A fitted ``cost = factor * value ** exponent``.

    Attributes
    ----------
    factor, exponent : float
        Of the fit, nan where there are fewer than two values to fit.
    exponent_se : float
        Standard error of the exponent, nan where there are only two values.
    residual_percent : float
        Root mean square of the residuals of the logarithm, as the percentage that it is off by.
    """

    factor: float
    exponent: float
    exponent_se: float
    residual_percent: float


def fit_power_law(values: pd.Series, costs: pd.Series) -> PowerLaw:
    """Fit a power law by least squares on the logarithms; what is not positive is left out.

    Parameters
    ----------
    values, costs : Series
        The varied quantity, and the median cost at each of its values.
    """
    x, y = (np.asarray(column, dtype=float) for column in (values, costs))
    is_used = np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)
    x, y = np.log(x[is_used]), np.log(y[is_used])
    nothing = float("nan")
    if len(np.unique(x)) < 2:
        return PowerLaw(nothing, nothing, nothing, nothing)
    spread = ((x - x.mean()) ** 2).sum()
    exponent = ((x - x.mean()) * (y - y.mean())).sum() / spread
    intercept = y.mean() - exponent * x.mean()
    squares = ((y - intercept - exponent * x) ** 2).sum()
    freedom = len(x) - 2
    error = np.sqrt(squares / freedom / spread) if freedom else nothing
    residual = 100 * np.expm1(np.sqrt(squares / len(x)))
    return PowerLaw(float(np.exp(intercept)), float(exponent), float(error), float(residual))


def summarise_costs(sweep: pd.DataFrame) -> pd.DataFrame:
    """Return median time and peak memory at each value of each quantity, with the exponents of their growth.

    Parameters
    ----------
    sweep : DataFrame
        Raw samples with `rlsp.columns.SWEEP`: ``runtime_ms`` per output frame, of ``clip_length`` per clip.

    Returns
    -------
    DataFrame
        `COST_COLUMNS`: one row per curve and value, values rising. The fit of a curve (exponent, its standard
        error, the residual in %, see `PowerLaw`) stands in each of its rows, for time and for memory.
    """
    if sweep.empty:
        return pd.DataFrame(columns=list(COST_COLUMNS))
    keys = [*CURVE_COLUMNS, "value", "lr_height", "lr_width"]
    groups = sweep.groupby(keys, sort=False, dropna=False)
    table = groups.agg(
        median_ms=("runtime_ms", "median"),
        q10_ms=("runtime_ms", lambda times: times.quantile(0.1)),
        q90_ms=("runtime_ms", lambda times: times.quantile(0.9)),
        n_repeats=("runtime_ms", "count"),
        peak_memory_mb=("peak_memory_mb", "median"),
        status=("status", "first"),
    ).reset_index()
    curves = []
    for _, curve in table.groupby(list(CURVE_COLUMNS), sort=False, dropna=False):
        curve = curve.sort_values("value", kind="stable")
        for cost, column in (("time", "median_ms"), ("memory", "peak_memory_mb")):
            law = fit_power_law(curve["value"], curve[column])
            curve = curve.assign(**{f"{cost}_{name}": getattr(law, name) for name in FIT_COLUMNS})
        curves.append(curve)
    return pd.concat(curves, ignore_index=True)[list(COST_COLUMNS)]
