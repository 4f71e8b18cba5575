"""Which models are timed again."""

import pytest

from rlsp.config.study import Study
from rlsp.config.study_files import read_config
from rlsp.files import write_json
from rlsp.planning.timed import timing_params
from rlsp.shipped import ROOT


def study_of(folder, monkeypatch, **changes):
    monkeypatch.chdir(folder)
    return Study(read_config(ROOT / "config" / "demo.yaml") | changes)


SKIPPED = {"runtime": {"skip": ["rlsp-3-64"]}}


@pytest.fixture
def timed(tmp_path, monkeypatch):
    """The demo, timed."""
    study = study_of(tmp_path, monkeypatch)
    params = timing_params(study)
    write_json(study.runtime_record(), params)
    return params


def without(study, model):
    """Take a model out of the runs of a study."""
    monkeypatched = dict(study.runs)
    study.runs = {name: run for name, run in monkeypatched.items() if run.model != model}
    return study


def test_a_model_that_went_keeps_the_params(timed, tmp_path, monkeypatch):
    study = without(study_of(tmp_path, monkeypatch), "rlsp-3-64")
    assert "rlsp-3-64" not in study.timed_models()
    assert timing_params(study) == timed


def test_code_and_spec_of_a_model_that_went_do_not_count(timed, tmp_path, monkeypatch):
    study = without(study_of(tmp_path, monkeypatch), "rlsp-3-64")
    gone = {"specs": timed["specs"] | {"rlsp-3-64": {"arch": "gone:Net"}}}
    gone["code"] = timed["code"] | {"rlsp-3-64": "of a file that was deleted"}
    write_json(study.runtime_record(), timed | gone)
    assert timing_params(study) == timed | gone


@pytest.mark.parametrize(
    "change",
    [
        {"specs": {}},
        {"code": {"rlsp-3-32": "another"}},
        {"code": "a hash of all, as of an earlier version"},
        {"timing": {}},
        {"device": "cuda"},
    ],
)
def test_what_is_new_or_changed_times_all_of_them(timed, tmp_path, monkeypatch, change):
    study = without(study_of(tmp_path, monkeypatch), "rlsp-3-64")
    write_json(study.runtime_record(), timed | change)
    params = timing_params(study)
    assert "rlsp-3-64" not in params["specs"] and params["specs"].keys() == params["code"].keys()
    study.runtime_record().write_text("{")
    assert timing_params(study) == params
