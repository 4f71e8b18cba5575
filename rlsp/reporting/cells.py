"""Cells of tables: numbers as text, each with its decimals and its spread."""

from collections.abc import Hashable
from dataclasses import dataclass

import pandas as pd

EMPTY = "–"


@dataclass(frozen=True)
class Number:
    """A number of a table, printed with `decimals` or about three digits, and ``±`` its spread where there is one.

    Attributes
    ----------
    value : float
        The number; a dash where it is none.
    decimals : int or None
        None for times and rates: 0.15, 1.50, 15.0, 150, 1,500.
    spread : float or None
        Such as the standard deviation over seeds.
    is_signed : bool
        A difference: with its sign, never ``-0.00``.
    """

    value: float
    decimals: int | None = 2
    spread: float | None = None
    is_signed: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is no number."""
        return bool(pd.isna(self.value))

    @property
    def digits(self) -> int:
        """Decimals that are printed."""
        if self.decimals is not None:
            return self.decimals
        return 0 if abs(self.value) >= 100 else 1 if abs(self.value) >= 10 else 2

    @property
    def rounded(self) -> float:
        """The number as it is printed."""
        return round(self.value, self.digits) + 0.0

    def __str__(self) -> str:
        """Print it."""
        if self.is_empty:
            return EMPTY
        sign = "+" if self.is_signed else ""
        text = f"{self.rounded:{sign},.{self.digits}f}"
        return (
            text
            if self.spread is None or pd.isna(self.spread)
            else f"{text} ± {self.spread:,.{self.digits}f}"
        )


Cell = str | Number


def number_text(value: float, decimals: int, spread: float | None = None, *, is_signed: bool = False) -> str:
    """Return a number with a fixed count of decimals, ``±`` a spread where there is one."""
    return str(Number(value, decimals, spread, is_signed))


def time_text(value: float) -> str:
    """Return a time or rate with about three digits."""
    return str(Number(value, None))


def with_spread(table: pd.DataFrame, row: Hashable, column: str, decimals: int) -> Number:
    """Return mean ± standard deviation of a row of an indexed table; an empty number where there is no such row."""
    if row not in table.index:
        return Number(float("nan"))
    return Number(table.loc[row, column], decimals, table.loc[row, f"{column}_std"])


def plural(count: int, noun: str) -> str:
    """Return ``1 clip``, ``2 clips``, ``1,500 frames``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(words: list[str]) -> str:
    """Return ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)
