"""What is true of the repository as a whole."""

import json
import re
import tomllib

import pytest
import yaml
from tool import load_tool

from rlsp import PYTHON, __version__
from rlsp.provenance import OLDEST_TORCH
from rlsp.shipped import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pinned():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split(" ;")[0].split("==") for line in lines if line and not line.startswith("#"))


def name(requirement):
    return re.split(r"[><=,\[]", requirement)[0].lower()


def test_every_dependency_is_pinned_without_a_local_version():
    pins = {key.lower(): version for key, version in pinned().items()}
    extras = [requirement for group in PYPROJECT["optional-dependencies"].values() for requirement in group]
    for requirement in [*PYPROJECT["dependencies"], *extras, "setuptools"]:
        assert name(requirement) in pins
    assert not [version for version in pins.values() if "+" in version]


def test_supported_versions_are_told_once():
    """What the package refuses at its start is what an installer refuses, and the Makefile."""
    oldest, newest = PYTHON
    assert PYPROJECT["requires-python"] == f">={oldest[0]}.{oldest[1]},<{newest[0]}.{newest[1] + 1}"
    assert f"{oldest} <= v <= {newest}" in (ROOT / "Makefile").read_text()
    assert f"torch>={'.'.join(map(str, OLDEST_TORCH))}" in PYPROJECT["dependencies"]


def test_conda_environment_has_the_same_versions():
    pip = yaml.safe_load((ROOT / "envs" / "rlsp.yaml").read_text())["dependencies"][-1]["pip"]
    needed = [*PYPROJECT["dependencies"], *PYPROJECT["optional-dependencies"]["notebook"]]
    assert {line.split("==")[0].lower() for line in pip} == {name(requirement) for requirement in needed}
    pins = {key.lower(): version for key, version in pinned().items()}
    assert all(pins[line.split("==")[0].lower()] == line.split("==")[1] for line in pip)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_stored_without_outputs(path):
    notebook = json.loads(path.read_text())
    assert "language_info" in notebook["metadata"]
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in notebook["cells"])


def test_licence_and_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert citation["preferred-citation"]["doi"] == "10.1109/ICCVW.2019.00431"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")


@pytest.mark.parametrize("page", ["README.md", "docs/training.md"])
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / page).read_text())
    assert targets and all(((ROOT / page).parent / target).exists() for target in targets), targets


@pytest.mark.slow
def test_readme_numbers_are_those_of_the_reference_tables():
    fill_readme = load_tool("fill_readme").fill_readme

    text = (ROOT / "README.md").read_text()
    assert fill_readme(text) == text


def test_numbers_of_trials_are_those_of_the_reference_tables():
    fill_training = load_tool("fill_readme").fill_training

    text = (ROOT / "docs" / "training.md").read_text()
    assert fill_training(text) == text
