"""A study's results as tables and figures are made from them: tidy rows, and the facts of the study.

Rows of all runs are put together once and nothing is averaged before that, so that another trim or average costs no
new score. `Results` reads them when they are asked for.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from rlsp.columns import ROWS, TRAINING_LOG, joined, read_table
from rlsp.config.specs.facts import Facts
from rlsp.errors import DataError
from rlsp.files import read_json, write_csv, write_json
from rlsp.metrics import METRICS
from rlsp.metrics.metric import Metric
from rlsp.reporting.captions import seeds_words, training_budget
from rlsp.reporting.protocols import variant_labels
from rlsp.reporting.published import read_published


def collect_rows(
    files: Mapping[str, Iterable[Path | str]],
    facts: Mapping[str, Any],
    folder: Path,
    *,
    timed: Collection[str] | None = None,
) -> None:
    """Put the rows of all runs of a study into one table of each kind, averaging nothing, beside the study's facts.

    Parameters
    ----------
    files : mapping of str to iterable of paths
        Tables of each kind of `rlsp.columns.ROWS`; of a kind that is missing a table without rows is written. Of
        ``training``, ``<run>/training.csv``, what says which run it is (``run, model, recipe, degradation, seed``) may
        be left out: then the run is the name of the folder and the rest comes from the scores of that run.
    facts : mapping
        Facts of the study in their plain form, see `rlsp.config.specs.facts`.
    folder : Path
        Where ``<kind>.csv`` and ``study.json`` go.
    timed : collection of str, optional
        Models whose times count: others may have been timed for an earlier state of the study.

    Raises
    ------
    ConfigError
        When a fact of the study is wrong.
    DataError
        When a file lacks columns, or the studies are mixed.
    """
    Facts.read(dict(facts))
    tables: dict[str, pd.DataFrame] = {}
    for name, columns in ROWS.items():
        if name == "training":
            parts = [read_training(Path(path), tables["scores"]) for path in files.get(name, ())]
        else:
            parts = [read_table(path, columns) for path in files.get(name, ())]
        if timed is not None and name in ("runtime", "cases"):
            parts = [rows[rows["model"].isin(list(timed))] for rows in parts]
        tables[name] = joined(parts, columns)
        studies = sorted(tables[name]["study"].dropna().unique()) if "study" in columns.names else []
        if len(studies) > 1:
            raise DataError(f"{name}: expected one study, got {', '.join(studies)}")
    for name, table in tables.items():
        write_csv(folder / f"{name}.csv", table)
    write_json(folder / "study.json", dict(facts))


def read_training(path: Path, scores: pd.DataFrame) -> pd.DataFrame:
    """Read one training's rows, with the labels of its run."""
    table = read_table(path, TRAINING_LOG)
    if "run" not in table.columns:
        table = table.assign(run=path.parent.name)
    known = scores.drop_duplicates("run").set_index("run")
    for column in ("model", "recipe", "degradation", "seed"):
        if column not in table.columns:
            table[column] = table["run"].map(known[column])
    return table


class Results:
    """Tidy rows of a study, each kind read when it is asked for, and what is made of them, made once.

    Parameters
    ----------
    folder : Path
        ``results/<study>``, with ``rows/<kind>.csv`` and ``rows/study.json``; kinds of rows that an earlier version did
        not write count as measured by nobody.
    published : DataFrame, optional
        What `read_published` returns, by default of the package's own file.

    Raises
    ------
    ConfigError, DataError
        The facts of the study are missing or wrong.
    """

    def __init__(self, folder: Path, published: pd.DataFrame | None = None) -> None:
        self.folder = folder
        self.facts = Facts.read(read_json(folder / "rows" / "study.json"))
        self.published = read_published() if published is None else published
        self._rows: dict[str, pd.DataFrame] = {}
        self._made: dict[Callable[[Results], pd.DataFrame], pd.DataFrame] = {}

    def rows(self, name: str) -> pd.DataFrame:
        """Read the rows of one kind of `rlsp.columns.ROWS`; they are not to be changed.

        Raises
        ------
        DataError
            The file lacks columns.
        """
        if name not in self._rows:
            path = self.folder / "rows" / f"{name}.csv"
            self._rows[name] = read_table(path, ROWS[name]) if path.exists() else ROWS[name].empty()
        return self._rows[name]

    def of(self, summarise: Callable[["Results"], pd.DataFrame]) -> pd.DataFrame:
        """Return what a function makes of these results, which is made once; it is not to be changed."""
        if summarise not in self._made:
            self._made[summarise] = summarise(self)
        return self._made[summarise]

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Scores per frame, with the ``variant`` of each run: its name in tables and figures."""
        rows = self.rows("scores")
        return rows.assign(variant=variant_labels(rows))

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Measures that a study may have: those that ship, then its own."""
        own = self.facts.metrics.items()
        return (*METRICS, *(Metric.of_own(name, spec) for name, spec in own))

    @cached_property
    def device(self) -> str:
        """The device of the study in words, with its name where something was timed on it."""
        timed = self.rows("runtime")["device"].dropna().unique()
        names = [name for name in timed if name != self.facts.device]
        return f"{self.facts.device} ({'; '.join(names)})" if names else self.facts.device

    @cached_property
    def budget(self) -> str:
        """What was trained, in words."""
        return self.facts.budget or training_budget(self.rows("training"), self.facts.recipes)

    def about(self, rows: pd.DataFrame) -> str:
        """Say what holds for all numbers of a table: study, device, the seeds of its rows, budget.

        Parameters
        ----------
        rows : DataFrame
            With the columns that `seeds_words` takes: ``variant``, ``degradation``, ``seeds``.
        """
        return f"Study {self.facts.study}; device: {self.device}; seeds: {seeds_words(rows)}; budget: {self.budget}."
