"""Columns of the tidy tables: declared once, written and read by these declarations."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from rlsp.errors import DataError

TEXT_COLUMNS = (
    *("study", "run", "origin", "model", "recipe", "degradation", "dataset", "clip", "left_out", "protocol"),
    *("spec_hash", "device", "precision", "mode", "boundary", "variant", "protocol_label", "seeds"),
    *("status", "busy", "bound_by", "quantity", "panel", "label", "psnr_from", "psnr_source"),
    *("published_ratio", "published_device", "published_source"),
)


def read_table(path: Path | str, columns: Iterable[str]) -> pd.DataFrame:
    """Read a CSV table and check its columns.

    Names stay text, even ``007`` or ``nan``; seeds are whole numbers or empty.

    Raises
    ------
    DataError
        When the file is missing, unreadable, or lacks one of `columns`.
    """
    path = Path(path)
    types = dict.fromkeys(TEXT_COLUMNS, "str") | {"seed": "Int64"}
    try:
        table = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise DataError(f"{path}: expected a table, there is no such file") from None
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: expected a CSV table with a header, got: {reason}") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise DataError(f"{path}: missing columns {', '.join(missing)}")
    return table


def joined(tables: list[pd.DataFrame], columns: Iterable[str]) -> pd.DataFrame:
    """Return the rows of all tables, these columns only; with no tables, an empty one."""
    columns = list(columns)
    filled = [table[columns] for table in tables if not table.empty]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)
