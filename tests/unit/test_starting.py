"""A folder for those without a clone, and what is said where an extra is missing."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from snakemake_runs import run

from rlsp.cli import main
from rlsp.config.study import Study
from rlsp.errors import ConfigError
from rlsp.reporting.report import note_missing, write_report
from rlsp.shipped import CHECKOUT, PACKAGE, ROOT
from rlsp.starting import TEMPLATE, start_folder


def test_a_clone_holds_what_a_wheel_ships():
    assert ROOT == CHECKOUT == PACKAGE.parent
    assert (PACKAGE / "py.typed").read_text() == ""


def test_a_folder_is_laid_out_and_told_what_to_type(tmp_path, capsys):
    main(["init", str(tmp_path / "my study")])
    printed = capsys.readouterr().out
    assert printed.endswith(f"next:\n  cd '{tmp_path}/my study'\n  snakemake -n\n  snakemake --cores all\n")
    written = {path.name for path in (tmp_path / "my study").iterdir()}
    assert written == {"Snakefile", "study.yaml", "profiles"}
    header, study = (tmp_path / "my study" / "study.yaml").read_text().split("\n", 1)
    assert study == TEMPLATE.read_text()
    assert json.loads(Path(header.removeprefix("# yaml-language-server: $schema=")).read_text())[
        "required"
    ] == ["study"]


@pytest.mark.workflow
def test_the_snakefile_runs_the_study_beside_it_or_another_one_alone(tmp_path):
    """Three lines; of a study that is named instead, nothing is mixed with the one beside it."""
    folder = tmp_path / "mine"
    start_folder(folder)
    assert len((folder / "Snakefile").read_text().splitlines()) == 3
    released, path = str(ROOT / "config" / "released.yaml"), f"{ROOT}:{ROOT / 'tests'}"
    own, other = (
        json.loads(run(folder, "list_jobs", "Snakefile", *studies, PYTHONPATH=path))["outputs"].keys()
        for studies in ([], [released])
    )
    assert any("/weights/frames-only.gaussian.s0/" in output for output in own)
    assert not any("/weights/frames-only" in output for output in other)
    assert "results/released/report.html" in other and "results/released/report.html" not in own


@pytest.mark.parametrize("name", ["Snakefile", "study.yaml", "profiles"])
def test_nothing_is_overwritten(tmp_path, name):
    (tmp_path / name).write_text("mine")
    (tmp_path / "other").write_text("")
    with pytest.raises(ConfigError, match=f"{name}: expected a folder without one"):
        start_folder(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {name, "other"}
    assert (tmp_path / name).read_text() == "mine"
    (tmp_path / name).unlink()
    start_folder(tmp_path)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="^error: .*file: File exists$"):
        main(["init", str(tmp_path / "file")])


def test_the_first_study_is_valid():
    runs = Study.from_file(TEMPLATE).runs
    assert list(runs) == ["frames-only.gaussian.s0", "rlsp-3-32.gaussian.s0", "bicubic.gaussian"]


def test_the_examples_of_the_first_study_are_valid(tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text(re.sub("^#(?! )", "", TEMPLATE.read_text(), flags=re.MULTILINE))
    assert {"device", "datasets"} <= yaml.safe_load(study.read_text()).keys()
    runs = Study.from_file(study).runs
    assert {"theirs.gaussian", "tuned.gaussian", "authors.gaussian"} < runs.keys()


def test_a_missing_extra_is_one_line_with_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "papermill", None)
    line = "the report needs papermill: pip install 'rlsp[notebook]'"
    note_missing()
    assert capsys.readouterr().err == f"note: {line}\n"
    with pytest.raises(ConfigError, match=f"^{re.escape(line)}$"):
        write_report(ROOT / "notebooks" / "report.ipynb", tmp_path / "a.html", study="a", results=tmp_path)
    monkeypatch.undo()
    note_missing()
    assert capsys.readouterr().err == ""
