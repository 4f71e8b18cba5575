"""The printer of tables: Markdown, LaTeX and HTML for people, CSV for programs."""

import html
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rlsp.files import write_csv, write_text
from rlsp.reporting.table import Table

NOTHING = "Not measured in this study."
WIDEST_TEXT = 30  # characters of a column of text in LaTeX; longer ones are broken into lines
LATIN_END = "\u0180"
TEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "–": "--",
    "×": r"$\times$",
    "…": r"\ldots{}",
    "²": r"$^2$",
    "°": r"$^\circ$",
}


def write_tables(folder: Path, name: str, rows: pd.DataFrame, tables: Sequence[Table]) -> None:
    """Write ``<name>.csv``, the numbers of an analysis in full precision, and its tables as Markdown, LaTeX, HTML."""
    write_csv(folder / f"{name}.csv", rows)
    write_text(folder / f"{name}.md", markdown_text(tables))
    write_text(folder / f"{name}.tex", latex_text(tables, name))
    write_text(folder / f"{name}.html", html_text(tables))


# ---- Markdown ----------------------------------------------------------------------------------


def markdown_text(tables: Sequence[Table]) -> str:
    """Return tables as Markdown, each a caption and a table; the best of a column is bold."""
    return "\n".join(map(markdown_table, tables)) if tables else f"{NOTHING}\n"


def markdown_table(table: Table) -> str:
    """Return one table with its caption; the head of a group stands above the first of its columns."""
    return (
        f"**{escape_markdown(table.title)}.** {escape_markdown(table.caption)}\n\n{markdown_lines(table)}\n"
    )


def markdown_lines(table: Table) -> str:
    """Return the lines of a table without its caption."""
    heads = []
    for group, width in table.groups():
        inside = [escape_markdown(column.head) for column in table.columns[len(heads) : len(heads) + width]]
        heads += [f"{escape_markdown(group)}<br>{inside[0]}" if group else inside[0], *inside[1:]]
    rules = ["---" if table.is_text(place) else "---:" for place in range(len(heads))]
    body = []
    for row in table.rows:
        cells = [escape_markdown(str(cell)) for cell in row]
        body.append(
            [f"**{cell}**" if table.is_best(row, place) else cell for place, cell in enumerate(cells)]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, rules, *body))


def escape_markdown(text: str) -> str:
    """Escape what would begin an HTML element or another cell."""
    return text.replace("<", "\\<").replace("|", "\\|").replace("\n", " ")


# ---- LaTeX -------------------------------------------------------------------------------------


def latex_text(tables: Sequence[Table], name: str) -> str:
    """Return tables as LaTeX, each with its caption and a label, no wider than the text of a page."""
    if not tables:
        return f"% {NOTHING}\n"
    return "% needs \\usepackage{booktabs,array,adjustbox}\n" + "\n".join(
        latex_table(table, f"tab:{name.replace('_', '-')}-{number}")
        for number, table in enumerate(tables, start=1)
    )


def latex_table(table: Table, label: str) -> str:
    """Return one LaTeX table; neighbouring columns of one group share a head, long texts are broken into lines."""
    groups = [
        rf"\multicolumn{{{width}}}{{c}}{{{escape_tex(group)}}}" if group else " & ".join([""] * width)
        for group, width in table.groups()
    ]
    rules, place = [], 1
    for group, width in table.groups():
        rules += [rf"\cmidrule(lr){{{place}-{place + width - 1}}}"] if group else []
        place += width
    above = [" & ".join(groups) + r" \\", " ".join(rules)] if rules else []
    body = [
        [
            rf"\textbf{{{escape_tex(str(cell))}}}" if table.is_best(row, place) else escape_tex(str(cell))
            for place, cell in enumerate(row)
        ]
        for row in table.rows
    ]
    lines = [
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{escape_tex(f'{table.title}. {table.caption}')}}}",
        rf"\label{{{label}}}",
        r"\begin{adjustbox}{max width=\textwidth}",
        rf"\begin{{tabular}}{{{latex_columns(table)}}}",
        r"\toprule",
        *above,
        " & ".join(escape_tex(column.head) for column in table.columns) + r" \\",
        r"\midrule",
        *[" & ".join(row) + r" \\" for row in body],
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{adjustbox}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def widths(table: Table) -> list[int]:
    """Count the characters that each column takes in LaTeX."""
    found = []
    for place, column in enumerate(table.columns):
        longest = max([len(column.head), *(len(str(row[place])) for row in table.rows)])
        found.append(min(longest, WIDEST_TEXT) if table.is_text(place) else longest)
    return found


def latex_columns(table: Table) -> str:
    """Return the kinds of the columns: numbers to the right, text to the left, long text in lines."""
    kinds = []
    for place, width in enumerate(widths(table)):
        is_long = any(len(str(row[place])) > WIDEST_TEXT for row in table.rows)
        text = rf">{{\raggedright\arraybackslash}}p{{{width / 2:g}em}}" if is_long else "l"
        kinds.append(text if table.is_text(place) else "r")
    return "".join(kinds)


def escape_tex(text: str) -> str:
    """Escape what LaTeX would take for a command; of letters beyond Latin ones, which its fonts lack, say which."""
    return "".join(
        TEX.get(character, character if character < LATIN_END else rf"\textsf{{U+{ord(character):04X}}}")
        for character in text
    )


# ---- HTML --------------------------------------------------------------------------------------


def html_text(tables: Sequence[Table]) -> str:
    """Return tables as HTML, without any style of their own; details unfold, every text of a study is escaped."""
    parts = [
        f"<details><summary>{html.escape(table.title)}</summary>\n{html_table(table)}</details>\n"
        if table.is_detail
        else html_table(table)
        for table in tables
    ]
    return "\n".join(parts) if tables else f"<p>{NOTHING}</p>\n"


def html_table(table: Table) -> str:
    """Return one table with its caption; numbers have the class ``number``, the best of a column is strong."""
    groups = [
        f'<th colspan="{width}" scope="colgroup">{html.escape(group)}</th>' for group, width in table.groups()
    ]
    kinds = ["" if table.is_text(place) else ' class="number"' for place in range(len(table.columns))]
    heads = [
        f'<th{kind} scope="col">{html.escape(column.head)}</th>'
        for kind, column in zip(kinds, table.columns, strict=True)
    ]
    above = [f"<tr>{''.join(groups)}</tr>"] if any(column.group for column in table.columns) else []
    body = []
    for row in table.rows:
        cells = [html.escape(str(cell)) for cell in row]
        cells = [
            f"<strong>{cell}</strong>" if table.is_best(row, place) else cell
            for place, cell in enumerate(cells)
        ]
        body.append(
            "<tr>" + "".join(f"<td{k}>{cell}</td>" for k, cell in zip(kinds, cells, strict=True)) + "</tr>"
        )
    caption = f"<caption><b>{html.escape(table.title)}.</b> {html.escape(table.caption)}</caption>"
    head = ["<thead>", *above, f"<tr>{''.join(heads)}</tr>", "</thead>"]
    return "\n".join(["<table>", caption, *head, "<tbody>", *body, "</tbody>", "</table>"]) + "\n"
