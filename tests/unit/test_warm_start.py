"""Trainings that begin with other weights."""

import json

import pytest
import torch
from made_degradations import GAUSSIAN
from made_trainings import make_spec, run_training

from rlsp.config.specs.runs import Start
from rlsp.config.study import Study
from rlsp.errors import ConfigError
from rlsp.models import build_model
from rlsp.models.base import VideoModel
from rlsp.models.weights import load_weights, save_weights
from rlsp.training import warm_start
from rlsp.training.warm_start import start_from

pytestmark = pytest.mark.numerical

RLSP = {"arch": "rlsp", "layers": 3, "filters": 6}
FEWER = {"adjacent": False, "feedback": False, "state": False}
FRVSR = {"arch": "frvsr", "blocks": 1, "filters": 4}


def saved(tmp_path, spec):
    torch.manual_seed(1)
    model = build_model(spec)
    path = tmp_path / "start.safetensors"
    save_weights(path, model, {"model": spec, "degradation": GAUSSIAN})
    return model, path


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {}),
        (FEWER, {}),
        ({"feedback": False, "state": False}, {"state": False}),
        ({"state": False}, {"filters": 9}),
        (FEWER, {"filters": 11}),
        ({}, {"filters": 7}),
        ({"output": "rgb"}, {"output": "rgb", "filters": 8}),
    ],
)
def test_a_larger_model_computes_the_same_at_first(tmp_path, old, new):
    source, path = saved(tmp_path, {**RLSP, **old})
    torch.manual_seed(2)
    model = build_model({**RLSP, **new})
    start_from(model, path)
    clip = 255 * torch.rand(1, 4, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(clip), source(clip), rtol=1e-5, atol=1e-3)


def test_what_is_new_is_learnt_from_the_first_step(tmp_path):
    """The columns that read the state are zero, but they have a gradient: what they would read is there."""
    _, path = saved(tmp_path, {**RLSP, "state": False})
    model = build_model(RLSP)
    start_from(model, path)
    lr, hr = 255 * torch.rand(1, 6, 3, 8, 8), 255 * torch.rand(1, 4, 3, 32, 32)
    model.loss(lr, hr).backward()
    columns = slice(9 + 16, None)
    assert not model.body[0].weight[:, columns].any() and model.body[0].weight.grad[:, columns].any()


def test_other_models_take_equal_shapes(tmp_path):
    source, path = saved(tmp_path, FRVSR)
    model = build_model(FRVSR)
    start_from(model, path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), source.parameters(), strict=True))
    with pytest.raises(ConfigError, match=r"expected srnet\S+ of shape .*, got "):
        start_from(build_model({**FRVSR, "filters": 5}), path)


def test_weights_of_more_layers_are_not_taken_in_part(tmp_path, monkeypatch):
    """A user's model that has all layers of another one by the same names, and one more."""

    class Own(VideoModel):
        def __init__(self, layers):
            super().__init__(scale=4, output="y", look_behind=0, look_ahead=0)
            self.layers = torch.nn.ModuleList(torch.nn.Conv2d(3, 3, 1) for _ in range(layers))

    monkeypatch.setattr(warm_start, "load_weights", lambda *_, **__: (Own(2), {}))
    with pytest.raises(ConfigError, match=r"expected layers\.1\.weight of shape None, got \(3, 3, 1, 1\)"):
        start_from(Own(1), tmp_path)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({**RLSP, "filters": 5}, "expected weights of at most 5 features channels, got 6"),
        ({**RLSP, **FEWER}, "expected weights of at most 0 previous channels, got 3"),
        ({**RLSP, "layers": 4}, "expected weights of 4 layers, got 3"),
        ({**RLSP, "input_range": 1}, "expected weights of input_range 1, got 255"),
        ({**RLSP, "output": "rgb"}, "expected weights of output rgb, got y"),
        ({**RLSP, "residual": False}, "expected weights of residual False, got True"),
        (FRVSR, "expected weights of FRVSR, got RLSP"),
    ],
)
def test_weights_that_do_not_fit_are_one_line(tmp_path, spec, message):
    _, path = saved(tmp_path, RLSP)
    with pytest.raises(ConfigError, match=f"^start_from: {path}: {message}$"):
        start_from(build_model(spec), path)


@pytest.mark.slow
def test_a_training_begins_where_another_ended(manifests, tmp_path):
    first = run_training(manifests, tmp_path, "first", make_spec())
    start = Start(run="first", training="1")
    spec = make_spec(steps=2, learning_rate=1e-30, warmup=0).changed(start_from=start)
    second = run_training(manifests, tmp_path, "second", spec, start=[first])
    (one, _), (two, metadata) = (load_weights(path) for path in (first, second))
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    assert metadata["source"] == "trained by rlsp, from run first"
    provenance = json.loads(second.with_name("provenance.json").read_text())
    assert provenance["spec"]["start_from"] == {"run": "first", "training": "1"}


# ---- in a study -------------------------------------------------------------------------------------


def study(**start):
    run = {"recipe": "r", "train_set": "moves-train", "degradations": ["gaussian"], "seeds": [0, 1]}
    return {
        "study": "warm",
        "recipes": {"r": {"steps": 10, "crop": 16, "frames": 4}},
        "models": {"small": {**RLSP, "state": False}, "large": RLSP},
        "runs": [{**run, "models": ["small"]}, {**run, "models": ["large"], "tag": "grown", **start}],
        "test_sets": ["moves-test"],
    }


def read(tmp_path, config):
    path = tmp_path / "study.yaml"
    path.write_text(json.dumps(config))
    return Study.from_file(path)


def test_a_run_begins_with_the_same_seed_of_a_model(tmp_path):
    warm, cold = read(tmp_path, study(start_from="small")), read(tmp_path, study())
    grown = "large.grown.gaussian.s1"
    assert warm.train_start(grown) == [warm.weights("small.gaussian.s1")]
    assert warm.labels(grown, "moves-test")["recipe"] == "r from small"
    assert warm.training_folder(grown) != cold.training_folder(grown)
    assert warm.training_folder("small.gaussian.s1") == cold.training_folder("small.gaussian.s1")
    assert "start_from" not in cold.training(grown).dump() and cold.train_start(grown) == []


def test_a_run_begins_with_a_file(tmp_path):
    _, path = saved(tmp_path, {**RLSP, "state": False})
    warm = read(tmp_path, study(start_from=str(path)))
    assert warm.train_start("large.grown.gaussian.s0") == [path]
    assert set(warm.training("large.grown.gaussian.s0").start_from.dump()) == {"sha256"}
    assert warm.labels("large.grown.gaussian.s0", "moves-test")["recipe"] == "r from start"


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (
            "smaller",
            r"runs \(large.grown.gaussian.s0\).start_from: expected .*, got 'smaller', which is none",
        ),
        ("large", "begins with itself in the end"),
        (
            "nowhere.safetensors",
            "start_from: expected a .safetensors file, there is none at nowhere.safetensors",
        ),
    ],
)
def test_a_start_that_is_not_there_is_one_line(tmp_path, start, message):
    with pytest.raises(ConfigError, match=message) as raised:
        read(tmp_path, study(start_from=start))
    assert "\n" not in str(raised.value)
