"""Published values: their file, each with its source and how sure it is.

A row's confidence is ``Q``, quoted from the source itself, ``S``, from a secondary source, or ``M``, measured once
from the authors' released files. The last are no published values but the calibration of this pipeline; their
metrics end in ``_calibration``. Where a model has several published values of a metric, the first row counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from rlsp.columns import read_table
from rlsp.errors import DataError
from rlsp.reporting.cells import number_text

PUBLISHED = Path(__file__).with_name("published.csv")
PUBLISHED_COLUMNS = (
    *("model", "dataset", "degradation", "metric", "value", "unit"),
    *("protocol", "source", "confidence", "note"),
)

FULL_HD = "output 1920x1080"  # the protocol of a time of one Full HD frame
UNSAID = ("", "dB", "pixels", "GMAC")  # units that go without saying
GPU_NOTE = "GPU: "  # how the note of a time begins; the rest, up to a semicolon, is the GPU


@dataclass(frozen=True)
class Speedup:
    """A published factor: under which metric it is, and whether it was printed as a lower bound."""

    metric: str
    is_bound: bool


PUBLISHED_PSNR = "published"  # where the PSNR of a model that has no weights and no frames is from
SPEEDUP_MODEL = "rlsp-7-128"  # that is this many times as fast as:
SPEEDUPS = {
    "duf-52l": Speedup("speedup_over_duf", is_bound=True),
    "frvsr-10-128": Speedup("speedup_over_frvsr", is_bound=False),
}


class Citation(NamedTuple):
    """Where a published value is from."""

    confidence: str
    source: str
    note: str

    def __str__(self) -> str:
        """Print it."""
        return f"{self.confidence}: {self.source}" + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True)
class Printed:
    """A published value: as a number, how much its last digit hides, as printed, and where."""

    value: float
    half_unit: float
    text: str
    cited: tuple[Citation, ...]

    @property
    def source(self) -> str:
        """Where it is from, in words."""
        return "; ".join(map(str, self.cited))

    def minus(self, other: "Printed") -> "Printed":
        """Return the difference of two published values."""
        value = self.value - other.value
        cited = tuple(dict.fromkeys((*self.cited, *other.cited)))
        text = f"{number_text(value, 2, is_signed=True)} ({self.text} - {other.text})"
        return Printed(value, self.half_unit + other.half_unit, text, cited)


def read_published(path: Path | str = PUBLISHED) -> pd.DataFrame:
    """Read the published values, as text: the digits of a number tell how exact it is.

    Raises
    ------
    DataError
        When the file is missing or lacks a column, or a row has no source or no confidence of M, Q or S.
    """
    read_table(path, PUBLISHED_COLUMNS)  # that the file and its columns are there
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    wrong = table[~table["confidence"].isin(["M", "Q", "S"]) | (table["source"] == "")]
    if not wrong.empty:
        row = wrong.iloc[0]
        raise DataError(
            f"{path}: {row['model']}, {row['metric']}: expected a source and a confidence of M, Q or S, "
            f"got {row['source']!r} and {row['confidence']!r}"
        )
    return table


def published_points(published: pd.DataFrame, dataset: str, degradation: str) -> pd.DataFrame:
    """Return the models with both a PSNR and a Full HD run time in print.

    Times of different devices say nothing about each other: draw the points apart, never as a line.

    Returns
    -------
    DataFrame
        ``model, dataset, degradation, psnr`` (dB), ``runtime_ms`` (per frame of 1920x1080), and ``note``,
        which names the GPU.
    """
    table = published[published["confidence"] != "M"]
    accuracy = table[(table["metric"] == "psnr") & (table["dataset"] == dataset)]
    accuracy = accuracy[accuracy["degradation"] == degradation].drop_duplicates("model")
    times = full_hd_times(table).drop_duplicates("model")[["model", "value", "note"]]
    points = accuracy.drop(columns="note").merge(times, on="model", suffixes=("", "_time"))
    points["note"] = points["note"].str.split(";").str[0]  # the GPU; how it was read follows
    points = points.assign(psnr=points["value"].astype(float), runtime_ms=points["value_time"].astype(float))
    return points[["model", "dataset", "degradation", "psnr", "runtime_ms", "note"]]


def full_hd_times(published: pd.DataFrame) -> pd.DataFrame:
    """Return the published times of one Full HD frame."""
    return published[(published["metric"] == "runtime") & (published["protocol"] == FULL_HD)]


def speedup_text(printed: Printed, speedup: Speedup) -> str:
    """Return a published factor as it was printed, such as ``over 70``."""
    return f"{'over' if speedup.is_bound else 'about'} {printed.value:.0f}"


def find_printed(
    published: pd.DataFrame, model: str, metric: str, protocol: str | None = None
) -> Printed | None:
    """Return the first published value of a model and metric, None where there is none."""
    rows = published[(published["model"] == model) & (published["metric"] == metric)]
    if protocol is not None:
        rows = rows[rows["protocol"] == protocol]
    return None if rows.empty else read_printed(rows.iloc[0])


def read_printed(row: Mapping[str, str] | pd.Series) -> Printed:
    """Make a published value of its row; one that is no number is nan."""
    note = row["note"] if row["confidence"] != "M" else ""
    cited = (Citation(row["confidence"], row["source"], note),)
    try:
        value = float(row["value"])
    except ValueError:
        return Printed(float("nan"), 0.0, row["value"], cited)
    factor = 1e6 if row["unit"] == "M" else 1.0
    half_unit = 0.5 * 10.0 ** -len(row["value"].partition(".")[2])
    unit = "" if row["unit"] in UNSAID else f" {row['unit']}"
    text = f"{value:,.0f}" if row["value"].isdigit() else row["value"]
    return Printed(value * factor, half_unit * factor, text + unit, cited)
