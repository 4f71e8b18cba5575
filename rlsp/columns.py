"""Columns of the tidy tables: declared once, written and read by these declarations."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rlsp.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

# Of each column what it holds: text, a whole number, a number or yes and no; and its unit or its meaning.
TEXT, WHOLE, NUMBER, FLAG = "text", "whole", "number", "flag"
COLUMNS: dict[str, tuple[str, str]] = {
    # what a row belongs to
    "study": (TEXT, "name"),
    "run": (TEXT, "id"),
    "origin": (TEXT, "trained, released-weights, released-frames, external or interpolation"),
    "model": (TEXT, "name"),
    "recipe": (TEXT, "name"),
    "seed": (WHOLE, ""),
    "degradation": (TEXT, "name"),
    "dataset": (TEXT, "name"),
    "clip": (TEXT, "name"),
    "frame": (WHOLE, "number, from 0"),
    "frames": (WHOLE, "count"),
    "crop": (WHOLE, "HR pixels left out at each border; in training LR pixels of a side"),
    "device": (TEXT, "name"),
    "threads": (WHOLE, "of the CPU"),
    "spec_hash": (TEXT, "of the resolved model"),
    # measures of a frame
    "mse_y": (NUMBER, "squared grey levels of [0, 255]"),
    "psnr_y": (NUMBER, "dB"),
    "ssim_y": (NUMBER, "0 to 1"),
    "psnr_rgb": (NUMBER, "dB"),
    "psnr_y_of_rgb": (NUMBER, "dB"),
    "tof": (NUMBER, "HR pixels"),
    "warp_error": (NUMBER, "squared levels of [0, 1]"),
    # how a model was run, and what was measured
    "precision": (TEXT, "fp32, tf32, bf16 or fp16"),
    "mode": (TEXT, "of rlsp.inference.execution.MODES"),
    "boundary": (TEXT, "network or rgb8; of a filter symmetric or replicate"),
    "lr_height": (WHOLE, "pixels"),
    "lr_width": (WHOLE, "pixels"),
    "batch": (WHOLE, "clips, in training crops"),
    "repeat": (WHOLE, "number of the sample, from 0"),
    "runtime_ms": (NUMBER, "milliseconds per output frame"),
    "parameters": (WHOLE, "count"),
    "gmac_per_frame": (NUMBER, "10^9 multiply-accumulates"),
    "peak_memory_mb": (NUMBER, "10^6 bytes"),
    "status": (TEXT, "ok, or why there is no time"),
    "warmup_frames": (WHOLE, "count"),
    "is_stable": (FLAG, "times of the warm-up and of the samples are alike, and the machine did nothing else"),
    "matrix_tflops": (NUMBER, "10^12 operations per second"),
    "bandwidth_gbs": (NUMBER, "10^9 bytes per second"),
    "floor_compute_ms": (NUMBER, "milliseconds"),
    "floor_memory_ms": (NUMBER, "milliseconds"),
    "latency_ms": (NUMBER, "milliseconds"),
    "energy_j": (NUMBER, "joules per output frame, of the whole board"),
    "clock_mhz": (NUMBER, "median"),
    "temperature_c": (NUMBER, "maximum"),
    "busy": (TEXT, "who else used the device"),
    "quantity": (TEXT, "what is varied"),
    "value": (NUMBER, "of the varied quantity"),
    # trainings
    "step": (WHOLE, "count"),
    "loss": (NUMBER, "mean squared error, squared grey levels of [0, 255]"),
    "psnr": (NUMBER, "dB"),
    "learning_rate": (NUMBER, ""),
    "steps_per_second": (NUMBER, ""),
    "validation_psnr": (NUMBER, "dB"),
    "loop": (TEXT, "rlsp or plain"),
    "execution": (TEXT, "eager, compile or graph"),
    "optimizer": (TEXT, "adam or soap"),
    "workers": (WHOLE, "processes that read"),
    "resident": (FLAG, "clips lie on the GPU"),
    "steps": (WHOLE, "count"),
    "round": (WHOLE, "number, from 0"),
    "device_busy": (NUMBER, "part of the time"),
    "gmac_per_step": (NUMBER, "10^9 multiply-accumulates, forward and backward"),
    # comparisons
    "part": (TEXT, "of a clip"),
    "first_frame": (WHOLE, "number, from 0"),
    "psnr_y_fp32": (NUMBER, "dB"),
    "difference_db": (NUMBER, "dB"),
    "psnr_between": (NUMBER, "dB"),
    "max_difference": (WHOLE, "grey levels"),
    "differing_pixels": (WHOLE, "count"),
    "differing_share": (NUMBER, "0 to 1"),
    "pixels": (WHOLE, "count"),
}  # fmt: skip
# Columns of summaries that are text.
SUMMARY_TEXTS = (
    "left_out", "protocol", "variant", "protocol_label", "seeds", "bound_by", "panel", "label", "psnr_from",
    "psnr_source", "published_ratio", "published_device", "published_source",
)  # fmt: skip


@dataclass(frozen=True)
class Columns:
    """The columns of a kind of file.

    Attributes
    ----------
    names : tuple of str
        Names of :data:`COLUMNS`, in order.
    added : frozenset of str
        Those that files kept from earlier versions lack: they are read as empty.
    is_open : bool
        Whether there may be further columns: measures by name.
    """

    names: tuple[str, ...]
    added: frozenset[str] = frozenset()
    is_open: bool = False

    def __post_init__(self) -> None:
        """Refuse a column that is not declared."""
        if unknown := [name for name in (*self.names, *self.added) if name not in COLUMNS]:
            raise KeyError(f"undeclared columns {', '.join(unknown)}")

    def empty(self) -> "pd.DataFrame":
        """Make a table without rows."""
        import pandas as pd

        return pd.DataFrame(columns=list(self.names))


RUN = ("study", "run", "origin", "model", "recipe", "seed", "degradation", "dataset")
TIMED = ("study", "model", "spec_hash", "device", "threads", "precision", "mode", "lr_height", "lr_width",
         "boundary", "batch")  # fmt: skip
LOGGED = ("step", "loss", "psnr", "learning_rate", "steps_per_second", "validation_psnr", "precision")

SCORES = Columns((*RUN, "clip", "frame", "crop", "mse_y"), is_open=True)
RUNTIME = Columns((*TIMED, "repeat", "runtime_ms", "parameters", "gmac_per_frame", "peak_memory_mb"))
RUNTIME_CASES = Columns((
    *TIMED, "status", "warmup_frames", "is_stable", "matrix_tflops", "bandwidth_gbs", "floor_compute_ms",
    "floor_memory_ms", "latency_ms", "peak_memory_mb", "energy_j", "clock_mhz", "temperature_c", "busy",
))  # fmt: skip
SWEEP = Columns((
    "study", "device", "threads", "precision", "mode", "model", "quantity", "value", "lr_height", "lr_width",
    "repeat", "runtime_ms", "peak_memory_mb", "status",
))  # fmt: skip
TRAINING_LOG = Columns(LOGGED, frozenset({"validation_psnr", "precision"}))
TRAINING = Columns(("run", "model", "recipe", "degradation", "seed", *LOGGED), TRAINING_LOG.added)
TRAINING_RATE = Columns((
    "device", "threads", "model", "loop", "precision", "execution", "optimizer", "batch", "crop", "frames", "workers",
    "resident", "steps", "round", "steps_per_second", "device_busy", "gmac_per_step", "matrix_tflops",
), frozenset({"optimizer", "matrix_tflops"}))  # fmt: skip
PRECISIONS = Columns((
    "study", "run", "model", "dataset", "clip", "precision", "mode", "device", "threads", "part", "first_frame",
    "frames", "psnr_y_fp32", "psnr_y", "difference_db", "psnr_between",
))  # fmt: skip
COUNTS = Columns(("model", "spec_hash", "lr_height", "lr_width", "parameters", "gmac_per_frame"))
EXACTNESS = Columns(("clip", "frame", "max_difference", "differing_pixels", "pixels"))
OFFICIAL_LR = Columns((
    "clip", "boundary", "frames", "max_difference", "differing_pixels", "pixels", "differing_share",
))  # fmt: skip


# What a study's tables are made from, each kind in rows/<name>.csv.
ROWS = {
    "scores": SCORES,
    "runtime": RUNTIME,
    "cases": RUNTIME_CASES,
    "sweep": SWEEP,
    "training": TRAINING,
    "precisions": PRECISIONS,
    "counts": COUNTS,
}


def read_table(path: Path | str, columns: Columns | Iterable[str]) -> "pd.DataFrame":
    """Read a CSV table and check its columns.

    Names stay text, even ``007`` or ``nan``; seeds are whole numbers or empty.

    Parameters
    ----------
    path : Path
        The file.
    columns : Columns or iterable of str
        What it holds; further columns are kept.

    Raises
    ------
    DataError
        When the file is missing, unreadable, or lacks a column other than those that were added later.
    """
    import pandas as pd

    path = Path(path)
    added = columns.added if isinstance(columns, Columns) else ()
    names = columns.names if isinstance(columns, Columns) else tuple(columns)
    texts = [*SUMMARY_TEXTS, *(name for name, (kind, _) in COLUMNS.items() if kind == TEXT)]
    types = dict.fromkeys(texts, "str") | {"seed": "Int64"}
    try:
        table = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise DataError(f"{path}: expected a table, there is no such file") from None
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: expected a CSV table with a header, got: {reason}") from None
    missing = [name for name in names if name not in table.columns]
    if unknown := [name for name in missing if name not in added]:
        raise DataError(f"{path}: missing columns {', '.join(unknown)}")
    for name in missing:
        table[name] = pd.Series(float("nan"), index=table.index, dtype="str" if name in texts else "float64")
    return table


def joined(tables: "list[pd.DataFrame]", columns: Columns) -> "pd.DataFrame":
    """Return the rows of all tables, without undeclared columns unless there may be; with no tables, an empty one."""
    import pandas as pd

    filled = [table if columns.is_open else table[list(columns.names)] for table in tables if not table.empty]
    return pd.concat(filled, ignore_index=True) if filled else columns.empty()
