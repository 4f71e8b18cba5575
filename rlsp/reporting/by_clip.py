"""Tables of measures by clip: a row for each method, a column for each clip and their mean."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rlsp.metrics.metric import Metric
from rlsp.reporting.captions import counts_text, is_comparable, seeds_columns
from rlsp.reporting.cells import Number, with_spread
from rlsp.reporting.table import Better, Column, Table

MOST_CLIPS = 8  # columns of clips that a page has room for; of more, each clip has a row
MOST_METHODS = 6  # columns of methods, where clips have rows


@dataclass(frozen=True)
class Shown:
    """A measure of a table: the column of its numbers, how they are printed, whether every clip is shown."""

    column: str
    head: str
    decimals: int
    better: Better | None
    factor: float = 1.0
    is_by_clip: bool = False

    @classmethod
    def of(cls, metric: Metric, *, is_by_clip: bool = False) -> "Shown":
        """Show a measure as its record says."""
        return cls(metric.short, metric.head, metric.decimals, metric.better, metric.factor, is_by_clip)

    def number(self, rows: pd.DataFrame, row: Any) -> Number:
        """Return the number of a row of an indexed table, with its spread over seeds."""
        found = with_spread(rows, row, self.column, self.decimals)
        spread = None if found.spread is None else found.spread * self.factor
        return Number(found.value * self.factor, self.decimals, spread)


def tables_by_clip(
    rows: pd.DataFrame, measures: Sequence[Shown], title: str, caption: str, *, trim: bool = True,
    is_detail: bool = False,
) -> list[Table]:  # fmt: skip
    """Return the table of one data set and input; of more than `MOST_CLIPS` clips, each is a row of further tables.

    Parameters
    ----------
    rows : DataFrame
        ``variant``, ``clip`` (of which one is ``mean``), the columns of `measures` and their ``_std``, ``n_clips``,
        ``n_frames``, ``n_seeds`` and ``seeds``.
    measures : sequence of Shown
        Those of which every clip is shown come first.
    title, caption : str
        What it shows, and what holds for all of it; clips and frames are added.
    trim : bool
        Whether frames were counted after the trim of a protocol.
    is_detail : bool
        Of the first table; further ones are details anyway.
    """
    clips = [clip for clip in rows["clip"].unique() if clip != "mean"]
    is_wide = len(clips) <= MOST_CLIPS
    means = rows[rows["clip"] == "mean"]
    by_variant = {str(variant): of.set_index("clip") for variant, of in rows.groupby("variant", sort=False)}
    columns = [Column("method", lambda variant: variant)]
    for shown in measures:
        several = [*clips, "mean"] if shown.is_by_clip and is_wide else ["mean"]
        for clip in several:
            head = (clip, shown.head) if len(several) > 1 else (shown.head, "")
            better = shown.better if clip != "mean" or is_comparable(means) else None
            columns.append(Column(head[0], _cell(by_variant, shown, clip), head[1], better))
    first = {str(row.variant): row for row in means.itertuples()}
    if not is_comparable(means):
        columns.append(Column("clips", lambda variant: str(int(first[variant].n_clips))))
        columns.append(Column("frames", lambda variant: str(int(first[variant].n_frames))))
    columns += seeds_columns(means, lambda variant: first[variant])
    caption = f"{counts_text(means, trim=trim)} {caption}"
    tables = [Table.of(by_variant, columns, title, caption, is_detail=is_detail)]
    if not is_wide:
        for shown in measures:
            tables += _clip_rows(by_variant, shown, clips, title) if shown.is_by_clip else []
    return tables


def _cell(by_variant: dict[str, pd.DataFrame], shown: Shown, clip: str) -> Any:
    return lambda variant: shown.number(by_variant[variant], clip)


def _clip_rows(
    by_variant: dict[str, pd.DataFrame], shown: Shown, clips: Iterable[str], title: str
) -> list[Table]:
    """Return tables with a row for each clip and a column for each method, as many as methods need."""
    variants = list(by_variant)
    tables = []
    for start in range(0, len(variants), MOST_METHODS):
        chosen = variants[start : start + MOST_METHODS]
        columns = [
            Column("clip", lambda clip: clip),
            *(
                Column(name, lambda clip, name=name: shown.number(by_variant[name], clip), shown.head)
                for name in chosen
            ),
        ]
        part = f", methods {start + 1} to {start + len(chosen)}" if len(variants) > MOST_METHODS else ""
        caption = "The table before has means, and says how they were measured."
        tables.append(Table.of(clips, columns, f"{title}: every clip{part}", caption, is_detail=True))
    return tables
