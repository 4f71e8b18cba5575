"""Tables for people: columns of cells, made from rows and printed by `rlsp.reporting.printing`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from rlsp.reporting.cells import EMPTY, Cell, Number

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Column:
    """One column: its head, and the cell that a row has in it.

    Attributes
    ----------
    head : str
        Short, such as ``coffee-0`` or ``mean``; the caption says what all columns share.
    cell : callable
        Takes a row (a named tuple) and gives its cell.
    group : str
        Head above neighbouring columns, such as ``PSNR [dB]``.
    better : "higher", "lower" or None
        The best of the column's numbers, as they are printed, is marked.
    is_optional : bool
        Left out where all of its cells are empty.
    """

    head: str
    cell: Callable[[Any], Cell]
    group: str = ""
    better: Better | None = None
    is_optional: bool = False


@dataclass(frozen=True)
class Table:
    """One table as people see it.

    Attributes
    ----------
    title : str
        What it shows, without a full stop: data set, degradation, protocol.
    caption : str
        Sentences that say once what holds for every number: seeds, device, budget.
    columns : tuple of Column
        As shown, from left to right.
    rows : tuple of tuple of str or Number
        As many cells each as there are columns.
    is_detail : bool
        Whether a page shows it only to readers who ask for it.
    """

    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    is_detail: bool = False

    @classmethod
    def of(
        cls,
        rows: pd.DataFrame | Iterable[Any],
        columns: Iterable[Column],
        title: str,
        caption: str,
        *,
        is_detail: bool = False,
    ) -> "Table":
        """Make a table of rows: those of a frame, or any objects that the columns can read."""
        given = list(rows.itertuples()) if isinstance(rows, pd.DataFrame) else list(rows)
        cells = [(column, [column.cell(row) for row in given]) for column in columns]
        shown = [
            (column, texts)
            for column, texts in cells
            if not column.is_optional or any(str(text) not in ("", EMPTY) for text in texts)
        ]
        lines = tuple(zip(*(texts for _, texts in shown), strict=True)) if given else ()
        return cls(title, caption, tuple(column for column, _ in shown), lines, is_detail)

    @classmethod
    def of_cells(
        cls, heads: Iterable[str], rows: Iterable[Iterable[Cell]], title: str = "", caption: str = ""
    ) -> "Table":
        """Make a table of cells that are there already."""
        columns = [Column(head, lambda row, place=place: row[place]) for place, head in enumerate(heads)]
        return cls.of([tuple(row) for row in rows], columns, title, caption)

    def is_text(self, place: int) -> bool:
        """Whether a column holds text, which stands to the left."""
        return not any(isinstance(row[place], Number) for row in self.rows)

    def is_best(self, row: tuple[Cell, ...], place: int) -> bool:
        """Whether a cell is the best of its column, as it is printed; where all are equal none is."""
        better, cell = self.columns[place].better, row[place]
        if better is None or not isinstance(cell, Number) or cell.is_empty:
            return False
        numbers = [other[place] for other in self.rows]
        values = {n.rounded for n in numbers if isinstance(n, Number) and not n.is_empty}
        return len(values) > 1 and cell.rounded == (max(values) if better == "higher" else min(values))

    def groups(self) -> list[tuple[str, int]]:
        """List the heads above the columns, each with how many neighbouring columns it is above."""
        spans: list[tuple[str, int]] = []
        for column in self.columns:
            if spans and spans[-1][0] == column.group:
                spans[-1] = (column.group, spans[-1][1] + 1)
            else:
                spans.append((column.group, 1))
        return spans
