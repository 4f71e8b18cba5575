"""Tables, figures and findings of all analyses of a study, made from its rows."""

from pathlib import Path

import pandas as pd

from rlsp.files import write_text
from rlsp.reporting.analyses import analyses
from rlsp.reporting.printing import write_tables
from rlsp.reporting.results import Results
from rlsp.reporting.style import save_figure


def render_tables(folder: Path, *, published: pd.DataFrame | None = None) -> None:
    """Write the tables of every analysis, and ``findings.md``: what came out, in sentences.

    Parameters
    ----------
    folder : Path
        ``results/<study>``: rows are read from ``rows/``, tables go to ``tables/``.
    published : DataFrame, optional
        Published values, see `Results`.

    Raises
    ------
    ConfigError
        When a fact of the study is wrong, or a protocol asks for a crop that was not scored.
    DataError
        When the rows are incomplete, or a trim leaves nothing of a clip.
    """
    results = Results(folder, published)
    for name, analysis in analyses():
        frame = results.of(analysis.summarise)
        write_tables(folder / "tables", name, frame, analysis.tables(frame, results))
    write_text(folder / "tables" / "findings.md", findings_text(results))


def findings_text(results: Results) -> str:
    """Return what came out of each analysis as Markdown; an analysis that found nothing is left out."""
    parts = []
    for _, analysis in analyses():
        sentences = analysis.findings(results.of(analysis.summarise), results)
        if sentences:
            listed = "\n".join(f"- {sentence}" for sentence in sentences)
            parts.append(f"## {analysis.TITLE}\n\n{analysis.QUESTION}\n\n{listed}\n")
    return "\n".join([f"# What came out of study {results.facts.study}\n", *parts])


def render_figures(
    folder: Path, figures: Path | None = None, *, published: pd.DataFrame | None = None
) -> list[Path]:
    """Draw the figure of every analysis that has one, from numbers alone.

    Parameters
    ----------
    folder : Path
        ``results/<study>``.
    figures : Path, optional
        Where ``<analysis>.pdf`` and ``.png`` go, by default ``figures/numbers/`` of the folder.
    published : DataFrame, optional
        Published values, see `Results`.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    ConfigError, DataError
        As for `render_tables`.
    """
    results = Results(folder, published)
    figures = folder / "figures" / "numbers" if figures is None else figures
    figures.mkdir(parents=True, exist_ok=True)
    written = []
    for name, analysis in analyses():
        figure = analysis.figure(results.of(analysis.summarise), results)
        if figure is not None:
            written += save_figure(figure, figures / name)
    return written
