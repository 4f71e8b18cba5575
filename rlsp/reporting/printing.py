"""Tables for people: cells as text, and whole tables as Markdown and LaTeX."""

import io
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import pandas as pd

EMPTY = "–"


@dataclass(frozen=True)
class Section:
    """One printed table: a caption, column heads as (group, name), and rows of text."""

    caption: str
    heads: list[tuple[str, str]]
    rows: list[list[str]]


# ---- cells -------------------------------------------------------------------------------------


def number_text(value: float, digits: int, spread: float | None = None, *, sign: str = "") -> str:
    """Return a number with a fixed count of decimals, never ``-0.00``, ``±`` a spread where there is one."""
    if pd.isna(value):
        return EMPTY
    text = f"{round(value, digits) + 0.0:{sign}.{digits}f}"
    return text if spread is None or pd.isna(spread) else f"{text} ± {spread:.{digits}f}"


def spread_text(table: pd.DataFrame, row: Hashable, column: str, digits: int) -> str:
    """Return mean ± standard deviation of a row of an indexed table, a dash when there is no such row."""
    if row not in table.index:
        return EMPTY
    return number_text(table.loc[row, column], digits, table.loc[row, f"{column}_std"])


def time_text(value: float) -> str:
    """Return a time or rate with about three digits."""
    if pd.isna(value):
        return EMPTY
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def count_text(value: float) -> str:
    """Return a whole number with thousands separated."""
    return EMPTY if pd.isna(value) else f"{round(value):,}"


def signed_text(decibels: float) -> str:
    """Return a difference with its sign and two digits, never ``-0.00``."""
    return f"{round(decibels, 2) + 0.0:+.2f}"


def plural(count: int, noun: str) -> str:
    """Return ``1 clip``, ``2 clips``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


# ---- tables ---------------------------------------------------------------------------------------


def markdown_text(sections: list[Section]) -> str:
    """Return the sections as Markdown, each a caption line and a table."""
    out = io.StringIO()
    if not sections:
        out.write("Not measured in this study.\n")
    for number, section in enumerate(sections):
        out.write("\n" if number else "")
        out.write(f"{section.caption}\n\n")
        heads = [f"{name}<br>{group}" if group else name for group, name in section.heads]
        out.write(markdown_table([heads, *section.rows], is_numeric=True) + "\n")
    return out.getvalue()


def markdown_table(rows: Sequence[Sequence[str]], *, is_numeric: bool = False) -> str:
    """Return rows, the heads first, as a table in Markdown; numbers stand to the right of all but the first column."""
    rule = "---:" if is_numeric else "---"
    head, *body = rows
    lines = [head, ["---", *[rule] * (len(head) - 1)], *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def tex_text(sections: list[Section], name: str) -> str:
    """Return the sections as LaTeX tables (package booktabs), each with its caption and a label."""
    if not sections:
        return "% Not measured in this study.\n"
    return "% needs \\usepackage{booktabs}\n" + "\n".join(
        tex_table(section, f"tab:{name.replace('_', '-')}-{number}")
        for number, section in enumerate(sections, start=1)
    )


def tex_table(section: Section, label: str) -> str:
    """Return one LaTeX table; neighbouring columns of one group share a head."""
    spans: list[tuple[str, int]] = []
    for group, _ in section.heads:
        if spans and spans[-1][0] == group:
            spans[-1] = (group, spans[-1][1] + 1)
        else:
            spans.append((group, 1))
    groups = [
        rf"\multicolumn{{{width}}}{{c}}{{{escape_tex(group)}}}" if group else " & ".join([""] * width)
        for group, width in spans
    ]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_tex(section.caption)}}}",
        rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(section.heads) - 1)}}}",
        r"\toprule",
        " & ".join(groups) + r" \\",
        " & ".join(escape_tex(name) for _, name in section.heads) + r" \\",
        r"\midrule",
        *[" & ".join(escape_tex(cell) for cell in row) + r" \\" for row in section.rows],
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape_tex(text: str) -> str:
    """Escape what LaTeX would take for a command."""
    special = {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "–": "--",
    }
    return "".join(special.get(character, character) for character in text)
