"""Cells, tables, and the one printer of tables."""

import html.parser
import re
import shutil
import subprocess

import pytest

from rlsp.reporting.cells import Number, listed, number_text, plural, time_text
from rlsp.reporting.printing import escape_tex, html_text, latex_text, markdown_text, write_tables
from rlsp.reporting.table import Column, Table

NAN = float("nan")


def small(rows=(("a_b", 1.0, 26.894), ("c|d", 3.25, 26.892), ("<b>e", NAN, 25.0))):
    columns = [
        Column("method", lambda row: row[0]),
        Column("time", lambda row: Number(row[1], None), "cost [ms & more]", "lower"),
        Column("mean", lambda row: Number(row[2], 2, 0.031), "PSNR [dB]", "higher"),
        Column("remark", lambda row: "–", is_optional=True),
    ]
    return Table.of(rows, columns, "Some_title", "Caption with 10 %.")


# ---- cells -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.154, "0.15"), (1.5, "1.50"), (15.04, "15.0"), (150.4, "150"), (1500.4, "1,500"), (NAN, "–")],
)
def test_times_have_about_three_digits(value, text):
    assert time_text(value) == text


def test_numbers_have_their_decimals_their_spread_and_never_minus_nothing():
    assert number_text(26.894, 2, NAN) == "26.89"
    assert number_text(26.894, 2, 0.031) == "26.89 ± 0.03"
    assert number_text(NAN, 2) == "–"
    assert number_text(-0.004, 2, 0.01, is_signed=True) == "+0.00 ± 0.01"
    assert number_text(-0.006, 2, is_signed=True) == "-0.01"
    assert number_text(27.455, 2) == f"{27.455:.2f}"


def test_words():
    assert [plural(1, "clip"), plural(1500, "frame")] == ["1 clip", "1,500 frames"]
    assert [listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


# ---- tables ------------------------------------------------------------------------------------


def test_columns_without_anything_in_them_are_left_out_where_they_are_optional():
    assert [column.head for column in small().columns] == ["method", "time", "mean"]
    assert small().groups() == [("", 1), ("cost [ms & more]", 1), ("PSNR [dB]", 1)]


def test_the_best_of_a_column_is_the_best_as_it_is_printed():
    """26.894 and 26.892 both print as 26.89: neither is better for a reader."""
    table = small()
    assert [table.is_best(row, 2) for row in table.rows] == [True, True, False]
    assert [table.is_best(row, 1) for row in table.rows] == [True, False, False]
    assert not any(table.is_best(row, 0) for row in table.rows)
    alone = small([("a", 1.0, 20.0)])
    assert not alone.is_best(alone.rows[0], 1)  # of one number there is no best


def test_text_stands_to_the_left_and_numbers_to_the_right():
    assert [small().is_text(place) for place in range(3)] == [True, False, False]
    assert "| --- | ---: | ---: |" in markdown_text([small()])


# ---- printing ----------------------------------------------------------------------------------


def test_markdown():
    assert markdown_text([small()]) == (
        "**Some_title.** Caption with 10 %.\n\n"
        "| method | cost [ms & more]<br>time | PSNR [dB]<br>mean |\n"
        "| --- | ---: | ---: |\n"
        "| a_b | **1.00** | **26.89 ± 0.03** |\n"
        "| c\\|d | 3.25 | **26.89 ± 0.03** |\n"
        "| \\<b>e | – | 25.00 ± 0.03 |\n"
    )
    assert markdown_text([]) == "Not measured in this study.\n"


def test_latex_is_escaped_and_marks_the_best():
    text = latex_text([small()], "some_name")
    assert r"a\_b & \textbf{1.00} & \textbf{26.89 $\pm$ 0.03} \\" in text
    assert r"\caption{Some\_title. Caption with 10 \%.}" in text and r"\label{tab:some-name-1}" in text
    assert (
        r"\multicolumn{1}{c}{cost [ms \& more]}" in text and r"\cmidrule(lr){2-2} \cmidrule(lr){3-3}" in text
    )
    assert r"\begin{tabular}{lrr}" in text
    assert escape_tex("a_b 10% & {x} ± \\") == r"a\_b 10\% \& \{x\} $\pm$ \textbackslash{}"
    assert latex_text([], "none") == "% Not measured in this study.\n"


def test_long_texts_are_broken_into_lines_in_latex():
    table = Table.of_cells(["claim", "value"], [["word " * 30, Number(1.0)]])
    assert re.search(
        r"\\begin\{tabular\}\{>\{\\raggedright\\arraybackslash\}p\{15em\}r\}", latex_text([table], "x")
    )


class Cells(html.parser.HTMLParser):
    """Texts of a page by their tag."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.found.append((self.open[-1], data))


def test_html_is_whole_and_every_text_is_text():
    page = Cells(html_text([small()]))
    assert not page.open
    assert ("td", "<b>e") in page.found and ("th", "cost [ms & more]") in page.found
    assert [text for tag, text in page.found if tag == "strong"] == ["1.00", "26.89 ± 0.03", "26.89 ± 0.03"]
    assert '<td class="number">' in html_text([small()])
    assert html_text([]) == "<p>Not measured in this study.</p>\n"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_and_fits_a_page(tmp_path):
    wide = Table.of_cells(
        [f"column {n}" for n in range(14)],
        [["<a> text | of ~ ^ ± × … ² 5° " * 3, *[Number(1234.5 + n, 2, 0.5) for n in range(13)]]] * 3,
        "Wide",
        "Special: # $ % & _ { } \\.",
    )
    body = latex_text([small(), wide], "made")
    document = (
        "\\documentclass{article}\\usepackage{booktabs,array,adjustbox}\\usepackage[utf8]{inputenc}\n"
        f"\\begin{{document}}\n{body}\\end{{document}}\n"
    )
    (tmp_path / "page.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull \\hbox" not in done.stdout


def test_an_analysis_has_its_numbers_and_its_tables(tmp_path):
    import pandas as pd

    frame = pd.DataFrame({"value": [1 / 3]})
    write_tables(tmp_path, "some", frame, [small()])
    assert {path.name for path in tmp_path.iterdir()} == {"some.csv", "some.md", "some.tex", "some.html"}
    assert pd.read_csv(tmp_path / "some.csv", float_precision="round_trip")["value"].iloc[0] == 1 / 3
