import csv
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from made_degradations import GAUSSIAN
from made_trainings import make_recipe, make_spec, run_training

from rlsp.errors import DataError, TrainingError
from rlsp.models.weights import load_weights, save_weights
from rlsp.shipped import ROOT
from rlsp.training import Trainer
from rlsp.training.crops import TrainingCrops
from rlsp.training.lease import hold_lease
from rlsp.training.step import learning_rate_at

pytestmark = pytest.mark.numerical


def test_learning_rate_warms_up_and_decays():
    rates = [learning_rate_at(step, make_recipe()) for step in range(12)]
    assert rates[:3] == pytest.approx([0.001, 0.002, 0.003])
    assert rates[3] == pytest.approx(0.003)
    assert all(a > b for a, b in zip(rates[3:], rates[4:], strict=False))
    assert learning_rate_at(12, make_recipe()) == pytest.approx(0)
    assert learning_rate_at(9, make_recipe(schedule="constant", warmup=0)) == 0.003


def test_same_seed_same_bytes_other_seed_other_bytes(manifests, tmp_path):
    first = run_training(manifests, tmp_path, "first").read_bytes()
    assert run_training(manifests, tmp_path, "second").read_bytes() == first
    other = run_training(manifests, tmp_path, "third", make_spec().changed(seed=1))
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
from made_trainings import make_spec
import rlsp.training as training
save = training.Trainer.save
def save_and_die(self):
    save(self)
    if self.progress.step == {die_after}:
        os.kill(os.getpid(), {signal})
training.Trainer.save = save_and_die
step = training.Trainer.train_step
def step_and_die(self, number, batch):
    result = step(self, number, batch)
    if number == {die_in}:
        os.kill(os.getpid(), {signal})
    return result
training.Trainer.train_step = step_and_die
training.train(training.TrainingJob(make_spec(), lr_manifests=[Path({lr!r})], hr_manifests=[Path({hr!r})],
    weights_path=Path({out!r}), folder=Path({folder!r})))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("die_after", "die_in"), [(8, -1), (-1, 6), (-1, 1)])
def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(
    manifests, tmp_path, die_after, die_in
):
    straight = run_training(manifests, tmp_path, "straight").read_bytes()
    target = tmp_path / "killed" / "model.safetensors"
    code = KILLED.format(
        tests=str(ROOT / "tests"), lr=str(manifests["lr_manifests"][0]), hr=str(manifests["hr_manifests"][0]),
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

    def interrupted(self, number, batch):
        if number == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, number, batch)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Trainer, "train_step", interrupted)
    try:
        with pytest.raises(TrainingError, match="SIGTERM at step 7 of 12; .*goes on from there"):
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
        patched.setattr("rlsp.training.job.save_weights", stop)
        with pytest.raises(KeyboardInterrupt):
            run_training(manifests, tmp_path, "run")


def test_lost_weights_of_a_training_that_had_ended_are_written_again(manifests, tmp_path, monkeypatch):
    """As on a cluster, when a job ends after Snakemake was killed; with changed code it is trained anew."""
    weights, steps = run_training(manifests, tmp_path, "run"), []
    first, step = weights.read_bytes(), Trainer.train_step
    monkeypatch.setattr(Trainer, "train_step", lambda *args: steps.append(args[1]) or step(*args))
    weights.unlink()
    assert run_training(manifests, tmp_path, "run").read_bytes() == first
    assert steps == []
    monkeypatch.setattr("rlsp.training.loop.code_hash", lambda *_: "changed")
    assert run_training(manifests, tmp_path, "run").read_bytes() == first
    assert steps == list(range(12))


def test_checkpoint_of_other_clips_is_refused(manifests, tmp_path, monkeypatch):
    leave_checkpoint(manifests, tmp_path, monkeypatch)
    text = manifests["lr_manifests"][0].read_text()
    sha256 = re.search(r'"sha256": "(\w+)"', text)[1]
    manifests["lr_manifests"][0].write_text(text.replace(sha256, "0" * 64))
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


@pytest.mark.slow
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
    losses = [trainer.train_step(step, trainer.crops.batch(step, 2)).item() for step in range(150)]
    assert np.mean(losses[-10:]) < 0.15 * np.mean(losses[:5]), f"after {time.monotonic() - started:.0f} s"


def test_weights_survive_the_file_and_say_what_they_are(tmp_path):
    trainer = Trainer(make_spec(), None, tmp_path, "cpu")
    path = tmp_path / "model.safetensors"
    metadata = {
        "model": {"arch": "rlsp", "layers": 3, "filters": 8, "input_range": 1},
        "degradation": GAUSSIAN,
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
    own = {**make_spec().model.arguments(), "arch": "rlsp.models.rlsp:RLSP"}
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
