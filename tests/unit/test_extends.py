"""Studies that build on others: what they merge, and which trainings they take."""

import json
import os

import pytest
from made_trainings import make_spec, run_training

from rlsp.config.study import Study
from rlsp.config.study_files import over_catalogue
from rlsp.errors import ConfigError
from rlsp.training.taking import equal_folders, find_equal

FRAMES = {"name": "mine", "frames": "restored", "degradations": ["gaussian"]}


def study(**keys):
    return Study(over_catalogue({"study": "mine", "extends": "demo", **keys}))


def test_ones_own_frames_stand_beside_the_runs_of_another_study():
    demo, mine = Study(over_catalogue({"study": "a", "extends": "demo"})), study(runs={"add": [FRAMES]})
    assert set(mine.runs) - set(demo.runs) == {"mine.gaussian"} and len(demo.runs) == 8
    assert mine.name == "mine" and mine.spec.extends == ("demo",)
    run = "rlsp-3-32.gaussian.s0"
    assert mine.training(run) == demo.training(run)
    assert mine.weights(run) != demo.weights(run)  # results stay apart
    assert equal_folders(mine.weights(run), mine.spec.extends) == [
        demo.weights(run).parents[3] / "demo/weights" / run
    ]


def test_runs_are_taken_out_and_changed():
    less = study(runs={"remove": ["rlsp-3-64", "bicubic"]})
    assert "rlsp-3-64.gaussian.s0" not in less.runs and "bicubic.gaussian" not in less.runs
    assert len(less.runs) == 6
    other = study(recipes={"demo": {"steps": 7}})
    run = "rlsp-3-16.gaussian.s0"
    assert other.training(run).recipe.steps == 7 and other.training(run) != less.training(run)
    replaced = study(runs=[FRAMES], ablation=[], reference_model=None)
    assert set(replaced.runs) == {"mine.gaussian"}


def test_a_study_builds_on_one_that_builds_on_another(tmp_path):
    (tmp_path / "one.yaml").write_text("{study: one, extends: demo, runs: {remove: [rlsp-3-64]}}")
    two = study(study="two", extends=str(tmp_path / "one.yaml"), runs={"add": [FRAMES]})
    assert two.spec.extends == ("one", "demo") and len(two.runs) == 8
    (tmp_path / "circle.yaml").write_text(f"{{study: c, extends: {tmp_path / 'circle.yaml'}}}")
    with pytest.raises(ConfigError, match="extends: expected at most 5 studies|study: expected a name"):
        study(extends=str(tmp_path / "circle.yaml"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"extends": "dmeo"}, "extends: no study 'dmeo'; did you mean demo"),
        ({"extends": 5}, "extends: expected the name of a study or a file, got 5"),
        ({"study": "demo"}, "study: expected a name of its own, as it extends demo, got 'demo'"),
        ({"runs": {"remove": ["rlsp-3-65"]}}, "runs.remove: unknown name 'rlsp-3-65'; did you mean rlsp-3-6"),
        ({"runs": {"remove": "rlsp-3-64"}}, "runs.remove: expected array, got 'rlsp-3-64'"),
        ({"runs": {"add": {"models": []}}}, "runs.add: expected array, got {'models': "),
        ({"runs": {"remove": [["rlsp-3-64"]]}}, r"runs.remove: unknown name \['rlsp-3-64'\]"),
        ({"runs": {"add": ["bicubic"]}}, "runs.2: expected object, got 'bicubic'"),
        ({"runs": {"adds": []}}, "runs.adds: unknown key; expected one of add, remove"),
        (
            {"extends": None, "runs": {"add": [FRAMES]}},
            "runs: expected array, got a map; add and remove belong",
        ),
    ],
)
def test_mistakes_are_one_line(keys, message):
    with pytest.raises(ConfigError, match=message) as caught:
        study(**keys)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{runs: []}", "{study: 5}", "{study: one, runs: 7, test_sets: [vid4]}"])
def test_a_base_that_is_no_study_is_one_line(tmp_path, text):
    (tmp_path / "base.yaml").write_text(text)
    with pytest.raises(
        ConfigError, match="^(extends: expected a study with a name|runs: expected at least 1|runs.)"
    ):
        study(extends=str(tmp_path / "base.yaml"), runs={"add": []})


@pytest.mark.slow
def test_an_equal_training_is_taken_and_another_is_not(manifests, tmp_path):
    first = run_training(manifests, tmp_path, "first")
    taken = run_training(manifests, tmp_path, "taken", equal=[tmp_path / "gone", first.parent])
    assert taken.read_bytes() == first.read_bytes() and not (tmp_path / "taken-state").exists()
    record = json.loads(taken.with_name("provenance.json").read_text())
    assert record.pop("taken_from") == str(first.parent)
    assert record == json.loads(first.with_name("provenance.json").read_text())
    other = run_training(manifests, tmp_path, "other", make_spec(steps=10), equal=[first.parent])
    assert other.read_bytes() != first.read_bytes() and (tmp_path / "other-state").exists()


@pytest.mark.slow
def test_weights_older_than_the_clips_are_not_taken(manifests, tmp_path):
    first, clips = run_training(manifests, tmp_path, "first"), manifests["hr_manifests"]
    assert find_equal(make_spec(), [first.parent], clips) == first.parent
    later = first.stat().st_mtime + 60
    os.utime(clips[0], (later, later))
    assert find_equal(make_spec(), [first.parent], clips) is None
