import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from rlsp.clips import pack_clip, write_manifest
from rlsp.datasets import TrainingCrops
from rlsp.errors import DataError, TrainingError
from rlsp.lease import hold_lease
from rlsp.training import Trainer, learning_rate_at, train
from rlsp.weights import load_weights, save_weights

RECIPE = {
    "steps": 12, "batch": 2, "crop": 8, "frames": 3, "learning_rate": 0.003, "schedule": "cosine", "warmup": 0.25,
    "init": "he-normal", "head_scale": 0.1, "input_range": 1, "clip_norm": 0.1, "context": "real", "threads": 1,
    "log_every": 2, "checkpoint_every": 4,
}  # fmt: skip


def make_spec(**recipe):
    return {
        "model": {"arch": "rlsp", "layers": 3, "filters": 8, "scale": 4},
        "recipe": {**RECIPE, **recipe},
        "train_set": {"source": "made"},
        "degradation": {"kind": "gaussian", "scale": 4},
        "seed": 0,
    }


def made_clips():
    rng = np.random.default_rng(0)
    hr = {name: rng.integers(0, 256, (8, 64, 64, 3)).astype(np.uint8) for name in ("a", "b")}
    return {name: frames[:, ::4, ::4].copy() for name, frames in hr.items()}, hr


@pytest.fixture
def manifests(tmp_path):
    paths = []
    for kind, clips, scale in zip(("lr", "hr"), made_clips(), (1, 4), strict=True):
        path = tmp_path / kind / "manifest.json"
        entries = {n: pack_clip(iter(f), path.parent / f"{n}.npy", scale=scale) for n, f in clips.items()}
        write_manifest(path, {"dataset": "made", "spec": {}, "licence": "CC0", "clips": entries})
        paths.append(path)
    return {"lr_manifest": paths[0], "hr_manifest": paths[1]}


def run_training(manifests, tmp_path, name, spec=None):
    target = tmp_path / name / "model.safetensors"
    train(
        spec or make_spec(),
        weights_path=target,
        folder=tmp_path / f"{name}-state",
        **manifests,
    )
    return target


def test_crops_are_a_function_of_seed_step_and_index():
    lr, hr = made_clips()
    make = lambda seed: TrainingCrops(lr, hr, scale=4, crop=8, frames=3, behind=1, ahead=1, seed=seed)  # noqa: E731
    one, two = make(0), make(0)
    two.crop_at(3, 1)
    for a, b in zip(one.crop_at(7, 2), two.crop_at(7, 2), strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(one.crop_at(7, 2)[1], make(1).crop_at(7, 2)[1])
    assert not np.array_equal(one.crop_at(7, 2)[1], one.crop_at(7, 3)[1])
    assert not np.array_equal(one.crop_at(7, 2)[1], one.crop_at(8, 2)[1])


def test_crops_of_lr_and_hr_show_the_same_place():
    lr, hr = made_clips()
    crops = TrainingCrops(lr, hr, scale=4, crop=8, frames=3, behind=1, ahead=2, seed=0)
    for step in range(20):
        small, large = crops.crop_at(step, 0)
        assert small.shape == (6, 8, 8, 3)
        assert np.array_equal(small[1:-2], large[:, ::4, ::4])
    batch_lr, batch_hr = crops.batch(0, 3)
    assert batch_lr.shape == (3, 6, 3, 8, 8)
    assert batch_hr.shape == (3, 3, 3, 32, 32)
    assert torch.equal(batch_lr[1, 1, 0], batch_hr[1, 0, 0, ::4, ::4])


def test_crops_reach_every_position():
    lr = {"a": np.zeros((4, 6, 6, 3), np.uint8)}
    hr = {"a": np.arange(4 * 24 * 24 * 3, dtype=np.uint32).astype(np.uint8).reshape(4, 24, 24, 3)}
    crops = TrainingCrops(lr, hr, scale=4, crop=5, frames=3, seed=0)
    seen = {crops.crop_at(step, 0)[1].tobytes() for step in range(200)}
    assert len(seen) == 2 * 2 * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": 17}, "17x17 LR pixels"),
        ({"frames": 9}, "at least 9 frames"),
        ({"scale": 2}, "expected HR of shape"),
    ],
)
def test_clips_that_do_not_fit_the_crop(change, message):
    lr, hr = made_clips()
    with pytest.raises(DataError, match=message):
        TrainingCrops(lr, hr, **{"scale": 4, "crop": 8, "frames": 3, "seed": 0, **change})


def test_learning_rate_warms_up_and_decays():
    rates = [learning_rate_at(step, RECIPE) for step in range(12)]
    assert rates[:3] == pytest.approx([0.001, 0.002, 0.003])
    assert rates[3] == pytest.approx(0.003)
    assert all(a > b for a, b in zip(rates[3:], rates[4:], strict=False))
    assert learning_rate_at(12, RECIPE) == pytest.approx(0)
    assert learning_rate_at(9, {**RECIPE, "schedule": "constant", "warmup": 0}) == 0.003


def test_same_seed_same_bytes_other_seed_other_bytes(manifests, tmp_path):
    first = run_training(manifests, tmp_path, "first").read_bytes()
    assert run_training(manifests, tmp_path, "second").read_bytes() == first
    other = run_training(manifests, tmp_path, "third", {**make_spec(), "seed": 1})
    assert other.read_bytes() != first


def test_log_has_a_row_every_log_every_steps(manifests, tmp_path):
    weights = run_training(manifests, tmp_path, "run")
    rows = list(csv.DictReader(weights.with_name("training.csv").open()))
    assert [int(row["step"]) for row in rows] == [2, 4, 6, 8, 10, 12]
    mse, psnr = float(rows[0]["loss"]), float(rows[0]["psnr"])
    assert psnr == pytest.approx(10 * np.log10(255**2 / mse))
    assert list((tmp_path / "run-state" / "tensorboard").glob("events*"))


KILLED = """
import os, signal, sys
sys.path[:0] = [{tests!r}]
from pathlib import Path
from test_training import make_spec
import rlsp.training as training
save = training.Trainer.save
def save_and_die(self):
    save(self)
    if self.progress.step == {die_after}:
        os.kill(os.getpid(), {signal})
training.Trainer.save = save_and_die
step = training.Trainer.train_step
def step_and_die(self, number):
    result = step(self, number)
    if number == {die_in}:
        os.kill(os.getpid(), {signal})
    return result
training.Trainer.train_step = step_and_die
training.train(make_spec(), lr_manifest=Path({lr!r}), hr_manifest=Path({hr!r}), weights_path=Path({out!r}),
    folder=Path({folder!r}))
"""


@pytest.mark.parametrize(("die_after", "die_in"), [(8, -1), (-1, 6), (-1, 1)])
def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(
    manifests, tmp_path, die_after, die_in
):
    straight = run_training(manifests, tmp_path, "straight").read_bytes()
    target = tmp_path / "killed" / "model.safetensors"
    code = KILLED.format(
        tests=str(Path(__file__).parent), lr=str(manifests["lr_manifest"]), hr=str(manifests["hr_manifest"]),
        out=str(target), folder=str(tmp_path / "killed-state"), die_after=die_after, die_in=die_in,
        signal=int(signal.SIGKILL),
    )  # fmt: skip
    died = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    assert not target.exists()
    assert run_training(manifests, tmp_path, "killed").read_bytes() == straight
    log = (target.parent / "training.csv").read_text().splitlines()
    assert len(log) == 7


def test_sigterm_saves_and_says_how_to_go_on(manifests, tmp_path, monkeypatch):
    step = Trainer.train_step

    def interrupted(self, number):
        if number == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, number)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Trainer, "train_step", interrupted)
    try:
        with pytest.raises(TrainingError, match="SIGTERM at step 6.*goes on from there"):
            run_training(manifests, tmp_path, "run")
    finally:
        signal.signal(signal.SIGTERM, before)
    monkeypatch.undo()
    resumed = run_training(manifests, tmp_path, "run").read_bytes()
    assert resumed == run_training(manifests, tmp_path, "straight").read_bytes()


def test_two_trainers_on_one_folder_are_refused(manifests, tmp_path):
    with hold_lease(tmp_path / "run-state"), pytest.raises(TrainingError, match="expected no other trainer"):
        run_training(manifests, tmp_path, "run")


@pytest.mark.parametrize("rate", [0.3, 1, 1e4, 1e30])
def test_divergence_stops_with_a_clear_error(manifests, tmp_path, rate):
    spec = make_spec(learning_rate=rate, clip_norm=None, warmup=0, schedule="constant", steps=60)
    with pytest.raises(TrainingError, match="training diverged; lower the recipe's learning_rate"):
        run_training(manifests, tmp_path, "run", spec)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def leave_checkpoint(manifests, tmp_path, monkeypatch):
    """Stop a training after its last checkpoint, before its weights are written."""

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("rlsp.training.save_weights", stop)
        with pytest.raises(KeyboardInterrupt):
            run_training(manifests, tmp_path, "run")


def test_a_training_that_is_asked_for_again_is_a_new_one(manifests, tmp_path):
    weights = run_training(manifests, tmp_path, "run")
    assert not (tmp_path / "run-state" / "state.pt").exists()
    first = weights.read_bytes()
    weights.unlink()
    assert run_training(manifests, tmp_path, "run").read_bytes() == first


def test_checkpoint_of_other_clips_is_refused(manifests, tmp_path, monkeypatch):
    leave_checkpoint(manifests, tmp_path, monkeypatch)
    text = manifests["lr_manifest"].read_text()
    sha256 = re.search(r'"sha256": "(\w+)"', text)[1]
    manifests["lr_manifest"].write_text(text.replace(sha256, "0" * 64))
    with pytest.raises(TrainingError, match="belongs to configuration and data"):
        run_training(manifests, tmp_path, "run")


def test_checkpoint_of_another_configuration_is_refused(manifests, tmp_path, monkeypatch):
    leave_checkpoint(manifests, tmp_path, monkeypatch)
    with pytest.raises(TrainingError, match="belongs to configuration and data .* delete it"):
        run_training(manifests, tmp_path, "run", make_spec(learning_rate=0.001))


def test_damaged_checkpoint_is_named(manifests, tmp_path, monkeypatch):
    leave_checkpoint(manifests, tmp_path, monkeypatch)
    checkpoint = tmp_path / "run-state" / "state.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(TrainingError, match="state.pt: cannot be read"):
        run_training(manifests, tmp_path, "run")


def test_one_clip_overfits(manifests, tmp_path):
    """A smooth clip that moves is learnt far better than the nearest-neighbour picture it starts from."""
    rows, columns = np.mgrid[:64, :64]
    waves = [128 + 100 * np.sin((columns + t) / 5.0) * np.cos(rows / 7.0) for t in range(8)]
    hr = {"a": np.repeat(np.stack(waves)[..., None], 3, 3).astype(np.uint8)}
    lr = {"a": hr["a"][:, ::4, ::4].copy()}
    spec = make_spec(steps=150)
    trainer = Trainer(
        spec, TrainingCrops(lr, hr, scale=4, crop=8, frames=3, behind=1, ahead=1, seed=0), tmp_path, "cpu"
    )
    started = time.monotonic()
    losses = [trainer.train_step(step).item() for step in range(150)]
    assert np.mean(losses[-10:]) < 0.15 * np.mean(losses[:5]), f"after {time.monotonic() - started:.0f} s"


def test_weights_survive_the_file_and_say_what_they_are(tmp_path):
    trainer = Trainer(make_spec(), None, tmp_path, "cpu")
    path = tmp_path / "model.safetensors"
    metadata = {
        "model": {"arch": "rlsp", "layers": 3, "filters": 8, "input_range": 1},
        "degradation": {"kind": "x"},
    }
    save_weights(path, trainer.model, metadata)
    model, found = load_weights(path)
    assert found == metadata
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
    save_weights(tmp_path / "again", trainer.model, metadata)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_weights_cannot_name_code_to_run(tmp_path):
    """A file from elsewhere builds the package's own classes only, unless the study names another."""
    trainer = Trainer(make_spec(), None, tmp_path, "cpu")
    path = tmp_path / "model.safetensors"
    victim = tmp_path / "victim"
    save_weights(path, trainer.model, {"model": {"arch": "subprocess:Popen", "args": ["touch", str(victim)]}})
    with pytest.raises(DataError, match="names the class 'subprocess:Popen', which the study does not"):
        load_weights(path)
    with pytest.raises(DataError, match="expected a sub-class of rlsp.models.base.VideoModel"):
        load_weights(path, trusted_arch="subprocess:Popen")
    assert not victim.exists()
    own = {"arch": "rlsp.models.rlsp:RLSP", "layers": 3, "filters": 8, "input_range": 1}
    save_weights(path, trainer.model, {"model": own})
    assert load_weights(path, trusted_arch=own["arch"])[0].scale == 4


@pytest.mark.parametrize("damage", ["missing", "truncated", "other", "misfit"])
def test_damaged_weights_are_named(tmp_path, damage):
    trainer = Trainer(make_spec(), None, tmp_path, "cpu")
    path = tmp_path / "model.safetensors"
    layers = 4 if damage == "misfit" else 3
    save_weights(
        path, trainer.model, {"model": {"arch": "rlsp", "layers": layers, "filters": 8, "input_range": 1}}
    )
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-50])
    elif damage == "other":
        path.write_bytes(b"not weights at all")
    with pytest.raises(DataError, match="model.safetensors: "):
        load_weights(path)
