"""Analyses of a study: one module each, all with the same names.

- ``TITLE``: a few words; ``QUESTION``: what it answers, with the section of the paper;
- ``summarise(results) -> DataFrame``: its numbers, from the rows of `rlsp.reporting.results.Results` alone;
- ``tables(frame, results) -> list[Table]``: those numbers as people read them; none where nothing was measured;
- ``figure(frame, results) -> Figure | None``;
- ``findings(frame, results) -> list[str]``: what came out, in sentences made from the numbers with their uncertainty.

Its files are named after the module: ``tables/<name>.csv``, ``.md``, ``.tex`` and ``.html``,
``figures/numbers/<name>.pdf`` and ``.png``. Tables, figures, workflow, report and README loop over `ANALYSES`.
"""

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from rlsp.reporting.results import Results
    from rlsp.reporting.table import Table

# In reading order. Names and not modules: planning imports none of them.
ANALYSES = (
    "accuracy",
    "leave_one_clip_out",
    "claims",
    "ablation",
    "temporal",
    "speed",
    "runtime",
    "complexity",
    "cost_curves",
    "precisions",
    "training",
)
ANALYSIS_MODULES = tuple(f"{__name__}.{name}" for name in ANALYSES)


class Analysis(Protocol):
    """What a module of this package has."""

    TITLE: str
    QUESTION: str

    def summarise(self, results: "Results") -> "pd.DataFrame":
        """Return the numbers."""

    def tables(self, frame: "pd.DataFrame", results: "Results") -> "list[Table]":
        """Return the numbers as people read them."""

    def figure(self, frame: "pd.DataFrame", results: "Results") -> "Figure | None":
        """Draw the numbers, if there are any."""

    def findings(self, frame: "pd.DataFrame", results: "Results") -> list[str]:
        """Say what came out."""


def analyses() -> Iterator[tuple[str, Analysis]]:
    """Import the analyses in reading order, each with its name."""
    for name, module in zip(ANALYSES, ANALYSIS_MODULES, strict=True):
        yield name, import_module(module)
