"""Keeping the tables and figures of a run as a reference."""

import json
import shutil

import pytest
from made_tables import write_made

from rlsp.errors import DataError
from rlsp.reporting.figures import redraw_figures
from rlsp.reporting.reference import copy_reference


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished study, with its tables, its figures and how long it took."""
    results = tmp_path_factory.mktemp("results") / "made"
    write_made(results, clips=[("photos", "coffee", 7)])
    redraw_figures(results / "tables", results / "figures" / "numbers")
    (results / "elapsed.csv").write_text("seconds\n60\n")
    return results


def test_every_table_and_number_figure_is_kept_and_nothing_of_before(finished, tmp_path):
    target = tmp_path / "made" / "laptop-cpu"
    (target / "tables").mkdir(parents=True)
    (target / "tables" / "gone.csv").write_text("")
    assert copy_reference(finished, tmp_path) == target
    kept = {path.name for path in (target / "tables").iterdir()}
    assert kept == {path.name for path in (finished / "tables").iterdir()}
    assert {"runtime_cases.csv", "sweep.csv", "speed.csv", "speed.md", "cost_curves.tex"} <= kept
    assert {"cost_curves.png", "psnr_vs_runtime.pdf"} <= {
        path.name for path in (target / "figures").iterdir()
    }
    assert "commit" in json.loads((target / "provenance.json").read_text())


def test_a_reference_can_be_drawn_again(finished, tmp_path):
    folder = copy_reference(finished, tmp_path)
    drawn = redraw_figures(folder / "tables", tmp_path / "again")
    assert all(path.read_bytes() == (folder / "figures" / path.name).read_bytes() for path in drawn)


def test_an_unfinished_study_is_refused(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "made")
    (tmp_path / "made" / "elapsed.csv").unlink()
    with pytest.raises(DataError, match=r"elapsed\.csv: expected a finished study"):
        copy_reference(tmp_path / "made", tmp_path)
