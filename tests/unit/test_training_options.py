"""What recipes and schedulers may ask of a training besides the plain loop."""

import csv
import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import torch
from made_trainings import make_recipe, make_spec, run_training, stop_training, write_clips
from safetensors.torch import load_file

from rlsp import devices
from rlsp.devices import matrix_precision
from rlsp.errors import ConfigError, DataError, DeviceError, TrainingError
from rlsp.models import build_model
from rlsp.shipped import ROOT
from rlsp.timing import hardware
from rlsp.training import Trainer, TrainingJob, job, loop
from rlsp.training.crops import TrainingCrops
from rlsp.training.distributed import Group
from rlsp.training.job import STOP_MARGIN, held_out_names, is_resident, open_sets, prepare, stop_time
from rlsp.training.step import TrainingStep
from rlsp.training.validation import validate

pytestmark = pytest.mark.numerical

SMALL = {"arch": "rlsp", "layers": 3, "filters": 8, "input_range": 1}


def batch(seed=0, frames=3):
    rng = np.random.default_rng(seed)
    lr = torch.from_numpy(rng.integers(0, 256, (2, frames + 2, 3, 8, 8)).astype(np.uint8))
    return lr, torch.from_numpy(rng.integers(0, 256, (2, frames, 3, 32, 32)).astype(np.uint8))


def make_step(**recipe):
    torch.manual_seed(0)
    return TrainingStep(build_model(SMALL), make_recipe(**recipe))


# ---- moving average ---------------------------------------------------------------------------------


def test_moving_average_is_the_closed_form():
    step, decay = make_step(ema=0.75), 0.75
    expected = None
    for number in range(5):
        step(*batch(number), 0.01)
        now = {name: tensor.clone() for name, tensor in step.model.state_dict().items()}
        if expected is None:
            expected = now
        else:
            expected = {name: decay * expected[name] + (1 - decay) * now[name] for name in now}
    for name, tensor in step.result.state_dict().items():
        torch.testing.assert_close(tensor, expected[name])
        assert not torch.equal(tensor, now[name])


@pytest.mark.slow
def test_a_training_with_everything_on_resumes_exactly(manifests, tmp_path):
    """Average, long clips, turned crops: stopped in the middle of a log window, it ends with the same bytes."""
    spec = make_spec(
        ema=0.9, long_clips={"after": 0.5, "frames": 5, "batch": 1}, augment=["flip", "transpose", "reverse"],
        precision="bf16", log_every=4,
    )  # fmt: skip
    straight = run_training(manifests, tmp_path, "straight", spec)
    stop_training(manifests, tmp_path, "run", spec, after=7)
    resumed = run_training(manifests, tmp_path, "run", spec, workers=2)
    assert resumed.read_bytes() == straight.read_bytes()
    logs = [list(csv.DictReader(path.with_name("training.csv").open())) for path in (straight, resumed)]
    assert [[row["loss"] for row in log] for log in logs][0] == [row["loss"] for row in logs[1]]


# ---- precision and execution --------------------------------------------------------------------------


@pytest.fixture
def native(monkeypatch):
    """Precisions that the processor is said to have."""
    found = ["fp32", "bf16"]
    for module in (devices, hardware):
        monkeypatch.setattr(module, "available_precisions", lambda device: found)
    monkeypatch.setattr(hardware, "median_seconds", lambda work, device: 1.0)
    return found


def precisions(weights):
    """What the log and the provenance of a training say."""
    rows = list(csv.DictReader(weights.with_name("training.csv").open()))
    return {row["precision"] for row in rows}, json.loads(weights.with_name("provenance.json").read_text())[
        "precision"
    ]


def test_auto_trains_in_bf16_where_it_is_native(manifests, tmp_path, native, capsys):
    named, auto = (
        run_training(manifests, tmp_path, precision, make_spec(precision=precision))
        for precision in ("bf16", "auto")
    )
    assert precisions(auto) == ({"bf16"}, "bf16")
    assert load_file(auto).keys() == load_file(named).keys()
    assert all(torch.equal(tensor, load_file(named)[name]) for name, tensor in load_file(auto).items())
    native.remove("bf16")
    plain = run_training(manifests, tmp_path, "plain", make_spec(precision="auto"))
    assert precisions(plain) == ({"fp32"}, "fp32")
    full = run_training(manifests, tmp_path, "full", make_spec(precision="fp32"))
    assert plain.read_bytes() == full.read_bytes() != auto.read_bytes()
    assert "warning: precision" not in capsys.readouterr().err


def test_bf16_by_name_is_trained_in_with_a_warning_where_it_is_emulated(manifests, tmp_path, native, capsys):
    native.remove("bf16")
    weights = run_training(manifests, tmp_path, "run", make_spec(precision="bf16"))
    assert precisions(weights) == ({"bf16"}, "bf16")
    assert capsys.readouterr().err.count("warning: precision bf16:") == 1


def test_a_training_that_goes_on_elsewhere_keeps_its_precision(manifests, tmp_path, native):
    """Stopped on a processor with bf16, it ends on one without as it would have at home."""
    spec = make_spec(precision="auto")
    straight = run_training(manifests, tmp_path, "straight", spec)
    stop_training(manifests, tmp_path, "run", spec, after=7)
    native.remove("bf16")
    resumed = run_training(manifests, tmp_path, "run", spec)
    assert precisions(resumed) == ({"bf16"}, "bf16")
    assert resumed.read_bytes() == straight.read_bytes()


def test_bf16_keeps_weights_and_loss_in_fp32():
    full, half = make_step(), make_step(precision="bf16")
    losses = [step(*batch(), 0.001) for step in (full, half)]
    assert losses[1].dtype == torch.float32
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in half.model.parameters())
    assert losses[1].item() != losses[0].item()  # autocast was on
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=0.01)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.skipif(
    os.environ.get("ATEN_CPU_CAPABILITY") == "default",
    reason="what torch.compile makes at this level does not build",
)
def test_compiled_step_is_the_eager_one(monkeypatch):
    monkeypatch.setitem(SMALL, "layers", 2)  # compiling takes some seconds for each layer and frame
    check_steps(*compared_steps("cpu", "compile", 1))


def test_graph_on_a_cpu_is_eager():
    eager, graph = make_step(), make_step(execution="graph")
    assert eager(*batch(), 0.001).item() == graph(*batch(), 0.001).item()


def compared_steps(device, execution, count):
    """Losses of `count` eager steps and of as many in another execution, and how far the weights went in both."""
    losses, moves = [], []
    for mode in ("eager", execution):
        torch.manual_seed(0)
        model = build_model(SMALL).to(device, memory_format=torch.channels_last)
        step = TrainingStep(model, make_recipe(execution=mode, ema=0.9))
        before = [parameter.detach().clone() for parameter in model.parameters()]
        # of two shapes; rates that change, so small that rounding stays rounding: Adam makes steps of the rate's size
        # out of the smallest gradient
        losses.append(
            [step(*batch(n, frames=2 + 2 * n // count), 1e-6 * (n + 1)).item() for n in range(count)]
        )
        after = step.result.parameters()
        moves.append(
            torch.cat([(b - a).flatten() for a, b in zip(before, after, strict=True)]).double().cpu()
        )
    return losses, moves


def check_steps(losses, moves):
    np.testing.assert_allclose(*losses, rtol=1e-4)
    eager, other = moves
    # a gradient lost in rounding may change its sign, and its weight goes the other way; few do
    assert (other - eager).norm() < 0.1 * eager.norm()


@pytest.mark.gpu
@pytest.mark.parametrize("execution", ["graph", "compile"])
def test_recorded_and_compiled_steps_on_a_gpu_are_the_eager_ones(execution):
    """12 steps: batches of both shapes are warmed up, recorded and replayed."""
    with matrix_precision("fp32"):  # TF32 rounds differently in kernels of another layout
        check_steps(*compared_steps("cuda", execution, 12))


def test_resident_clips_are_for_gpus():
    crops = TrainingCrops(
        {"a": np.zeros((3, 8, 8, 3), np.uint8)}, {"a": np.zeros((3, 32, 32, 3), np.uint8)},
        scale=4, crop=8, frames=3, seed=0,
    )  # fmt: skip
    assert not is_resident(crops, "auto", "cpu")
    assert is_resident(crops, "always", "cpu")
    assert not is_resident(crops, "never", "cuda:0")


# ---- validation -----------------------------------------------------------------------------------------


def constant_model(value):
    """A model whose luma is `value` everywhere."""
    model = build_model({**SMALL, "residual": False, "input_range": 255})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.head.bias[: model.packed] = value
    return model


def test_validation_psnr_is_the_closed_form():
    """Black has luma 16: a picture of 17 everywhere is one level off, one of 26 ten."""
    hr = {name: np.zeros((4, 64, 64, 3), np.uint8) for name in "abc"}
    lr = {name: np.zeros((4, 16, 16, 3), np.uint8) for name in "abc"}
    for value, expected in ((17, 48.1308), (26, 28.1308)):
        psnr = validate(constant_model(value), lr, hr, frames=2, group=Group())
        assert psnr == pytest.approx(expected, abs=1e-3)
    assert validate(constant_model(16), lr, hr, frames=None, group=Group()) == math.inf


@pytest.fixture
def validated(manifests, tmp_path):
    """Manifests with a validation set behind the training set."""
    rng = np.random.default_rng(1)
    hr = {"v": rng.integers(100, 140, (3, 64, 64, 3)).astype(np.uint8)}
    lr = {"v": hr["v"][:, ::4, ::4].copy()}
    extra = {f"{kind}_manifests": write_clips(tmp_path / f"val-{kind}", clips) for kind, clips in
             (("lr", lr), ("hr", hr))}  # fmt: skip
    return {key: [*manifests[key], extra[key]] for key in manifests}


@pytest.mark.parametrize("keep", ["last", "best"])
def test_best_and_last_weights_are_kept(validated, tmp_path, monkeypatch, keep):
    values = iter([20.0, 25.0, 21.0])
    monkeypatch.setattr("rlsp.training.loop.validate", lambda *_, **__: next(values))
    spec = make_spec(validate_every=4, keep=keep).changed(validation_set=make_spec().train_sets[0])
    weights = run_training(validated, tmp_path, "run", spec)
    best, last = (weights.with_name(f"{kind}.safetensors") for kind in ("best", "last"))
    assert best.read_bytes() != last.read_bytes()
    assert weights.read_bytes() == (best if keep == "best" else last).read_bytes()
    rows = list(csv.DictReader(weights.with_name("training.csv").open()))
    assert [row["validation_psnr"] for row in rows] == ["", "20.0", "", "25.0", "", "21.0"]
    assert '"step": 8' in weights.with_name("provenance.json").read_text()
    assert [path.name for path in (tmp_path / "run-state").glob("best-*")] == ["best-8.safetensors"]


def test_validation_changes_no_weights(validated, tmp_path):
    spec = make_spec(validate_every=2).changed(validation_set=make_spec().train_sets[0])
    looked = run_training(validated, tmp_path, "looked", spec)
    plain = {key: paths[:1] for key, paths in validated.items()}
    assert load_file(looked).keys()
    for name, tensor in load_file(run_training(plain, tmp_path, "plain")).items():
        assert torch.equal(load_file(looked)[name], tensor)


# ---- the end of a job's time, full disks, training that diverged -------------------------------------------


def test_time_to_stop(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    assert stop_time(None) == math.inf
    started = psutil.Process().create_time()
    assert stop_time(60) == pytest.approx(started + 3600 - STOP_MARGIN)
    assert stop_time(1) == pytest.approx(started + 30)
    monkeypatch.setenv("SLURM_JOB_END_TIME", "4000000000")
    assert stop_time(60) == stop_time(None) == 4_000_000_000 - STOP_MARGIN


def test_a_training_stops_before_its_time_is_over_and_goes_on(manifests, tmp_path, monkeypatch):
    straight = run_training(manifests, tmp_path, "straight").read_bytes()
    tries = 0
    while True:
        with monkeypatch.context() as patched:
            patched.setattr("rlsp.training.job.stop_time", lambda _: 0)  # over at once: one step a try
            try:
                weights = run_training(manifests, tmp_path, "run", walltime=1)
                break
            except TrainingError as error:
                tries += 1
                assert f"stopped by its walltime at step {tries} of 12; the same command goes on" in str(
                    error
                )
    assert tries == 11
    assert weights.read_bytes() == straight


def test_a_full_disk_keeps_the_last_checkpoint(manifests, tmp_path, monkeypatch):
    straight = run_training(manifests, tmp_path, "straight").read_bytes()
    save, saved = torch.save, []

    def full_later(state, file):
        saved.append(state["progress"]["step"])
        if len(saved) > 1:
            file.write(b"half of it")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(state, file)

    with monkeypatch.context() as patched:
        patched.setattr("rlsp.training.checkpoint.torch.save", full_later)
        with pytest.raises(TrainingError, match="state.pt: cannot be written .No space left.*goes on from"):
            run_training(manifests, tmp_path, "run")
    assert saved == [4, 8]
    assert torch.load(tmp_path / "run-state" / "state.pt", weights_only=True)["progress"]["step"] == 4
    assert not list((tmp_path / "run-state").glob("*.tmp"))
    assert run_training(manifests, tmp_path, "run").read_bytes() == straight


def test_what_diverged_is_not_tried_again(manifests, tmp_path, monkeypatch):
    spec = make_spec(learning_rate=1e4, clip_norm=None, warmup=0, schedule="constant", steps=60)
    with pytest.raises(TrainingError, match="training diverged"):
        run_training(manifests, tmp_path, "run", spec)
    monkeypatch.setattr(Trainer, "train_step", None)  # a second try must not get that far
    with pytest.raises(
        TrainingError, match="training diverged.*diverged.json says so; delete it to try again"
    ):
        run_training(manifests, tmp_path, "run", spec)
    monkeypatch.undo()
    assert run_training(manifests, tmp_path, "run").exists()  # another recipe is another training


def test_a_gpu_out_of_memory_is_not_taken_for_a_dead_reader(manifests, tmp_path, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(Trainer, "train_step", fail)
    with pytest.raises(
        DeviceError, match="out of memory .*training.resident: never, lower the recipe's batch"
    ):
        run_training(manifests, tmp_path, "run")


def test_how_adam_runs_is_not_taken_from_a_checkpoint():
    """One that was saved by a recorded training holds a rate on the GPU, and settings no CPU has."""
    saved = make_step().state_dict()
    saved["optimizer"]["param_groups"][0] |= {"lr": torch.tensor(0.5), "capturable": True, "fused": None}
    step = make_step()
    step.load_state_dict(saved)
    group = step.optimizer.param_groups[0]
    assert (group["lr"], group["capturable"], group["fused"]) == (0.003, False, True)


def test_a_model_that_normalises_over_the_batch_is_not_shared():
    duf = build_model({"arch": "duf", "layers": 16})
    with pytest.raises(ConfigError, match="processes: expected 1, as DUF normalises over the batch, got 2"):
        TrainingStep(duf, make_recipe(), processes=2)


SIGNALLED = """
import sys; sys.path.insert(0, {tests!r})
from pathlib import Path
from made_trainings import make_spec, run_training
root = Path({root!r})
lr, hr = ([root / kind / "manifest.json"] for kind in ("lr", "hr"))
run_training({{"lr_manifests": lr, "hr_manifests": hr}}, root, "run",
    make_spec(steps=100_000, checkpoint_every=100_000), workers=2)
"""


@pytest.mark.slow
def test_sigterm_to_the_whole_job_saves_although_its_readers_get_it_too(manifests, tmp_path):
    script = SIGNALLED.format(tests=str(ROOT / "tests"), root=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list((tmp_path / "run-state").glob("tensorboard/events*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGTERM)
    printed, _ = process.communicate(timeout=60)
    assert "stopped by SIGTERM at step" in printed
    saved = torch.load(tmp_path / "run-state" / "state.pt", weights_only=True)
    assert 0 < saved["progress"]["step"] < 100_000


# ---- clips held out for validation --------------------------------------------------------------------


def test_held_out_clips_are_spread_over_the_names():
    assert held_out_names(list("abcdefghij"), 2) == ["c", "h"]
    assert held_out_names(list("abc"), 1) == ["b"]
    with pytest.raises(DataError, match="expected fewer than the 3 clips that there are, got 3"):
        held_out_names(list("abc"), 3)


@pytest.mark.slow
def test_held_out_clips_validate_and_are_not_trained_on(manifests, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        loop, "validate", lambda model, lr, hr, **_: seen.append((sorted(lr), sorted(hr))) or 30.0
    )
    spec = make_spec(validate_every=6).changed(validation_clips=1)
    weights = run_training(manifests, tmp_path, "held", spec)
    assert seen == [(["b"], ["b"])] * 2
    rows = list(csv.DictReader(weights.with_name("training.csv").open()))
    assert [row["validation_psnr"] for row in rows if row["validation_psnr"]] == ["30.0", "30.0"]
    assert weights.with_name("best.safetensors").exists() and weights.with_name("last.safetensors").exists()
    crops = {}
    monkeypatch.setattr(job, "TrainingCrops", lambda lr, hr, **_: crops.update(lr=sorted(lr), hr=sorted(hr)))
    lr, hr = (open_sets([manifests[kind][0]], None) for kind in ("lr_manifests", "hr_manifests"))
    assert sorted(lr) == ["a", "b"]
    prepare(
        TrainingJob(spec, weights_path=tmp_path / "w", folder=tmp_path / "f", **manifests), "cpu", Group(),
        stop_at=math.inf, check_lease=lambda: None,
    )  # fmt: skip
    assert crops == {"lr": ["a"], "hr": ["a"]}
