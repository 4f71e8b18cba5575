"""Trainings of a second on made clips, for the tests."""

import numpy as np
import pytest
from made_degradations import GAUSSIAN

from rlsp.config.specs.recipes import Recipe
from rlsp.config.specs.runs import Training
from rlsp.data.clips import pack_clip
from rlsp.errors import TrainingError
from rlsp.files import write_json
from rlsp.training import Trainer, TrainingJob, train

RECIPE = {
    "steps": 12, "batch": 2, "crop": 8, "frames": 3, "learning_rate": 0.003, "schedule": "cosine", "warmup": 0.25,
    "init": "he-normal", "head_scale": 0.1, "input_range": 1, "clip_norm": 0.1, "log_every": 2, "checkpoint_every": 4,
}  # fmt: skip
MADE = {"source": "folder", "path": "made"}


def make_recipe(**changes):
    """Recipe of a training, with some keys changed."""
    return Recipe.parse({**RECIPE, **changes})


def make_spec(**recipe):
    """Specification of a training, with some keys of its recipe changed."""
    return Training.parse(
        {
            "model": {"arch": "rlsp", "layers": 3, "filters": 8},
            "recipe": make_recipe(**recipe),
            "train_sets": [MADE],
            "validation_set": None,
            "degradation": GAUSSIAN,
            "seed": 0,
        }
    )


def made_clips():
    """LR and HR noise: LR is HR at every fourth pixel, without blur."""
    rng = np.random.default_rng(0)
    hr = {name: rng.integers(0, 256, (8, 64, 64, 3)).astype(np.uint8) for name in ("a", "b")}
    return {name: frames[:, ::4, ::4].copy() for name, frames in hr.items()}, hr


def write_clips(folder, clips):
    """Pack clips; returns their manifest."""
    path = folder / "manifest.json"
    entries = {n: pack_clip(iter(f), path.parent / f"{n}.npy", scale=1) for n, f in clips.items()}
    write_json(path, {"dataset": "made", "spec": {}, "licence": "CC0", "clips": entries})
    return path


def run_training(manifests, tmp_path, name, spec=None, **settings):
    """Train; returns the path of the weights."""
    target = tmp_path / name / "model.safetensors"
    folder = tmp_path / f"{name}-state"
    train(TrainingJob(spec or make_spec(), weights_path=target, folder=folder, **manifests, **settings))
    return target


def stop_training(manifests, tmp_path, name, spec, after):
    """Train until so many steps are done, as if asked to stop then; run_training with this name goes on."""
    train_step = Trainer.train_step

    def asked_to_stop(self, number, batch):
        if number + 1 == after:
            self.stopped_by = "a test"
        return train_step(self, number, batch)

    stopped = f"stopped by a test at step {after} of {spec.recipe.steps}"
    with pytest.MonkeyPatch.context() as patched, pytest.raises(TrainingError, match=stopped):
        patched.setattr(Trainer, "train_step", asked_to_stop)
        run_training(manifests, tmp_path, name, spec)
