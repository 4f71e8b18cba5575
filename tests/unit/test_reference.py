"""Keeping the tables and figures of a run as a reference."""

import json
import shutil
import subprocess

import pandas as pd
import pytest
from made_tables import write_made
from matplotlib.figure import Figure

import rlsp
from rlsp import provenance
from rlsp.errors import DataError
from rlsp.reporting.reference import copy_reference
from rlsp.reporting.render import render_figures, render_tables
from rlsp.shipped import ROOT

pytestmark = pytest.mark.slow

REFERENCES = sorted((ROOT / "results" / "reference").glob("*/*/rows"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished study, with its tables, its figures and how long it took."""
    results = tmp_path_factory.mktemp("results") / "made"
    write_made(results, clips=[("photos", "coffee", 7)])
    render_tables(results)
    render_figures(results)
    (results / "figures" / "numbers" / ".snakemake_timestamp").write_text("")
    (results / "elapsed.csv").write_text("seconds\n60\n")
    return results


def test_every_table_and_number_figure_is_kept_and_nothing_of_before(finished, tmp_path):
    target = tmp_path / "made" / "laptop-cpu"
    (target / "tables").mkdir(parents=True)
    (target / "tables" / "gone.csv").write_text("")
    assert copy_reference(finished, tmp_path) == target
    for part in ("rows", "tables"):
        kept = {path.name: path.read_bytes() for path in (target / part).iterdir()}
        made = [path for path in (finished / part).iterdir() if path.suffix != ".html"]
        assert kept == {path.name: path.read_bytes() for path in made}
    figures = {path.name for path in (target / "figures").iterdir()}
    assert {"cost_curves.png", "speed.pdf"} <= figures and ".snakemake_timestamp" not in figures
    assert "commit" in json.loads((target / "provenance.json").read_text())


def test_a_reference_can_be_drawn_again(finished, tmp_path):
    folder = copy_reference(finished, tmp_path)
    drawn = render_figures(folder, tmp_path / "again")
    assert all(path.read_bytes() == (folder / "figures" / path.name).read_bytes() for path in drawn)


def test_an_unfinished_study_is_refused(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "made")
    (tmp_path / "made" / "elapsed.csv").unlink()
    with pytest.raises(DataError, match=r"elapsed\.csv: expected a finished study"):
        copy_reference(tmp_path / "made", tmp_path)


def test_the_commit_says_that_code_was_changed_and_not_that_kept_results_were(tmp_path, monkeypatch):
    package, kept = tmp_path / "rlsp" / "code.py", tmp_path / "results" / "reference" / "table.csv"
    for path in (package, kept):
        path.parent.mkdir(parents=True)
        path.write_text("1\n")
    monkeypatch.setattr(provenance, "CHECKOUT", tmp_path)
    assert provenance.commit.__wrapped__() == "unknown"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=me", "-c", "user.email=me@localhost"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    clean = provenance.commit.__wrapped__()
    assert len(clean) == 40
    kept.write_text("2\n")
    assert provenance.commit.__wrapped__() == clean
    package.write_text("2\n")
    assert provenance.commit.__wrapped__() == f"{clean}+"
    monkeypatch.setattr(provenance, "CHECKOUT", package.parent)  # a copy inside somebody's repository
    assert provenance.commit.__wrapped__() == "unknown"
    monkeypatch.setattr(provenance, "CHECKOUT", None)
    assert provenance.commit.__wrapped__() == f"wheel {rlsp.__version__}"


@pytest.mark.parametrize("rows", REFERENCES, ids=lambda path: "-".join(path.parts[-3:-1]))
def test_every_reference_that_is_kept_can_be_made_again(rows, tmp_path, monkeypatch):
    """Its figures by name, its tables to the last digit that is printed: make references makes them again."""
    monkeypatch.setattr(Figure, "savefig", lambda figure, target, **_: target.write(b"laid out, not drawn"))
    kept = rows.parent
    drawn = render_figures(kept, tmp_path / "figures")
    assert {path.name for path in drawn} == {path.name for path in (kept / "figures").iterdir()}
    shutil.copytree(rows, tmp_path / "rows")
    render_tables(tmp_path)
    again = tmp_path / "tables"
    made = {path.name for path in again.iterdir() if path.suffix != ".html"}
    assert made == {path.name for path in (kept / "tables").iterdir()}
    for path in sorted((kept / "tables").iterdir()):
        if path.suffix == ".csv":  # sums of another order differ in the last bit
            numbers = [pd.read_csv(folder / path.name) for folder in (again, kept / "tables")]
            pd.testing.assert_frame_equal(*numbers, rtol=1e-9)
        else:
            assert (again / path.name).read_text() == path.read_text(), path.name
