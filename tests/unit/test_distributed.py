"""Two processes on the CPU train like one with the same batch."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from made_trainings import make_recipe, make_spec, run_training
from safetensors.torch import load_file

from rlsp.errors import ConfigError, TrainingError
from rlsp.shipped import ROOT
from rlsp.training.distributed import check_shares, launch
from rlsp.training.loop import STOP_EVERY

pytestmark = [pytest.mark.numerical, pytest.mark.slow]


def losses(weights):
    rows = weights.with_name("training.csv").read_text().splitlines()[1:]
    return [float(row.split(",")[1]) for row in rows]


def test_two_processes_train_like_one(manifests, tmp_path):
    """Same losses and weights as one process with the same global batch, up to the order of sums."""
    spec = make_spec(batch=4, clip_norm=0.01, ema=0.5)  # a norm that clips: gradients are averaged before
    alone = run_training(manifests, tmp_path, "alone", spec)
    shared = run_training(manifests, tmp_path, "shared", spec, processes=2)
    assert losses(shared) == pytest.approx(losses(alone), rel=1e-5)
    one, other = load_file(alone), load_file(shared)
    for name in one:
        torch.testing.assert_close(other[name], one[name], rtol=1e-3, atol=1e-5)
    first = run_training(manifests, tmp_path, "first", make_spec(batch=4, steps=2))
    assert not all(torch.allclose(load_file(first)[name], one[name], atol=1e-5) for name in one)


def test_torchrun_starts_the_same_training(manifests, tmp_path):
    """`torchrun` brings the processes itself."""
    script = tmp_path / "run.py"
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from made_trainings import make_spec, run_training\n"
        "root = Path(sys.argv[2])\n"
        "lr, hr = ([root / kind / 'manifest.json'] for kind in ('lr', 'hr'))\n"
        "run_training({'lr_manifests': lr, 'hr_manifests': hr}, root, 'torchrun', make_spec(batch=4))\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(script), str(ROOT / "tests"), str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    alone = run_training(manifests, tmp_path, "alone", make_spec(batch=4))
    assert losses(tmp_path / "torchrun" / "model.safetensors") == pytest.approx(losses(alone), rel=1e-5)


def test_an_error_in_a_process_is_one_line(manifests, tmp_path):
    spec = make_spec(batch=4, learning_rate=1e4, clip_norm=None, warmup=0, schedule="constant", steps=60)
    with pytest.raises(TrainingError, match="^loss is .*: training diverged; lower the recipe's") as caught:
        run_training(manifests, tmp_path, "run", spec, processes=2)
    assert "\n" not in str(caught.value)


def stop_one(rank_to_kill):
    if int(os.environ["RANK"]) == rank_to_kill:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def test_a_killed_process_ends_the_others():
    started = time.monotonic()
    with pytest.raises(TrainingError, match="process 1 of the training was ended by signal 9"):
        launch(2, stop_one, 1)
    assert time.monotonic() - started < 40


def test_batch_that_cannot_be_shared():
    with pytest.raises(ConfigError, match="batch: expected a multiple of the 2 processes, got 3"):
        check_shares(make_recipe(batch=3), 2)
    late = make_recipe(batch=4, long_clips={"after": 0.5, "frames": 5, "batch": 1})
    with pytest.raises(ConfigError, match="got 1"):
        check_shares(late, 2)


STOPPED = """
import sys; sys.path.insert(0, {tests!r})
from pathlib import Path
from made_trainings import make_spec, run_training
root = Path({root!r})
lr, hr = ([root / kind / "manifest.json"] for kind in ("lr", "hr"))
if __name__ == "__main__":
    run_training({{"lr_manifests": lr, "hr_manifests": hr}}, root, "run",
        make_spec(batch=4, steps=100_000, checkpoint_every=100_000), processes=2)
"""


def test_sigterm_stops_both_processes_at_one_step_and_saves(manifests, tmp_path):
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED.format(tests=str(ROOT / "tests"), root=str(tmp_path)))
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "run-state").glob("tensorboard/events*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "stopped by SIGTERM; the same command goes on from the last checkpoint" in printed
    saved = torch.load(tmp_path / "run-state" / "state.pt", weights_only=True)
    assert 0 < saved["progress"]["step"] < 100_000
    assert saved["progress"]["step"] % STOP_EVERY == 0
