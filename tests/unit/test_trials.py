"""Trials of single changes, `tools/trials.py`, on made clips."""

import csv
import math
import sys

import numpy as np
import pytest
import torch
import yaml
from made_trainings import made_clips, write_clips
from tool import load_tool

from rlsp.config.study import Study
from rlsp.errors import ConfigError
from rlsp.files import read_json
from rlsp.models import build_model

trials = load_tool("trials")
LITTLE = {"layers": 3, "filters": 6, "batch": 2, "crop": 8, "frames": 3, "steps": 4}


@pytest.fixture(autouse=True)
def little_work(monkeypatch):
    """Score few and small crops; on one thread, as trials are."""
    torch.set_num_threads(1)
    monkeypatch.setattr(trials, "FIXED", {"crop": 8, "frames": 3, "seed": 999})
    monkeypatch.setattr(trials, "FIXED_BATCHES", 1)


@pytest.fixture
def pairs():
    lr, hr = ({f"made/{name}": clip for name, clip in clips.items()} for clips in made_clips())
    return {"lr_clips": lr, "hr_clips": hr, "phase": 0.0, "scale": 4}


def options(**changes):
    return trials.Options(**{**LITTLE, **changes})


def trained(pairs, **changes):
    net = trials.TrialNet(options(**changes))
    return net, trials.train(net, options(**changes), pairs)


def package_model(net):
    """The package's model with the weights of a trial's net."""
    chosen, rank = net.options, trials.VARIANTS.index(net.options.variant)
    switches = {"adjacent": rank > 0, "feedback": rank > 1, "state": rank > 2}
    model = build_model(
        {"arch": "rlsp", "layers": chosen.layers, "filters": chosen.filters, "input_range": 1, **switches}
    )
    factors = torch.tensor([chosen.neighbours, 1, chosen.neighbours]).repeat_interleave(3)[net.seen]
    carried = [weight * chosen.carry for weight in (net.feedback, net.state) if weight is not None]
    with torch.no_grad():
        model.body[0].weight.copy_(torch.cat([net.frames * factors.view(1, -1, 1, 1), *carried], 1))
        for layer, weight in zip(model.body[1:], net.body, strict=True):
            layer.weight.copy_(weight)
        model.head.weight.copy_(torch.cat([net.output, *([] if rank < 3 else [net.next_state])]))
        for layer in (*model.body, model.head):
            layer.bias.zero_()
    return model


@pytest.mark.parametrize("variant", trials.VARIANTS)
def test_the_net_is_that_of_the_package(variant):
    net = trials.TrialNet(options(variant=variant, neighbours=0.5, carry=0.25))
    model, behind = package_model(net), 0 if variant == "frames" else 1
    lr, carry = torch.rand(2, 5, 3, 8, 8) * 255, None
    with torch.no_grad():
        outputs, _ = net(lr / 255)
        for t in range(1, 4):
            sr, carry = model.step(lr[:, t - behind : t + behind + 1], carry)
            torch.testing.assert_close(trials.shuffle_up(outputs[:, t - 1], 4) * 255, sr, rtol=0, atol=1e-3)


def test_variants_draw_the_same_numbers():
    nets = [trials.TrialNet(options(variant=variant, own_fan_in=False)) for variant in trials.VARIANTS]
    for net in nets:
        assert all(torch.equal(a, b) for a, b in zip(net.body, nets[0].body, strict=True))
        assert torch.equal(net.output, nets[0].output)
    drawn = [net.frames * math.sqrt(inputs) for net, inputs in zip(nets, (3, 9, 25, 31), strict=True)]
    for frames in drawn[1:]:
        torch.testing.assert_close(frames, drawn[1])
    torch.testing.assert_close(drawn[0], drawn[1][:, 3:6])


@pytest.mark.parametrize(
    ("changes", "gain"), [({}, 31 / 9), ({"neighbours": 0.5}, 31 / 3), ({"variant": "frames"}, 1)]
)
def test_frames_are_drawn_with_their_own_fan_in(changes, gain):
    net, plain = (trials.TrialNet(options(own_fan_in=own, **changes)) for own in (True, False))
    torch.testing.assert_close(net.frames, plain.frames * math.sqrt(gain))


def test_columns_may_start_at_zero_or_as_an_identity():
    net = trials.TrialNet(options(zero_neighbours=True, identity=True))
    assert not net.frames[:, :3].any() and not net.frames[:, 6:].any() and net.frames[:, 3:6].all()
    assert torch.equal(net.state[:, :, 1, 1], 0.5 * torch.eye(6)) and net.state.sum() == 3
    assert not trials.TrialNet(options(zero_state=True)).state.any()


@pytest.mark.parametrize(("horizon", "reached"), [(0, [True] * 5), (2, [False, False] + [True] * 3)])
def test_gradients_reach_back_to_the_horizon(horizon, reached):
    lr = torch.rand(1, 5, 3, 8, 8).requires_grad_()
    outputs, _ = trials.TrialNet(options(horizon=horizon))(lr)
    outputs[:, 2].sum().backward()
    assert lr.grad.flatten(2).any(-1)[0].tolist() == reached


def test_crops_grow_at_the_same_pixels(pairs):
    shapes = options(lengths="0:1:8 0.5:3:4", steps=4)
    assert [tuple(lr.shape) for lr, _, _ in trials.draw_batches(shapes, pairs)] == (
        [(6, 3, 3, 8, 8)] * 2 + [(8, 5, 3, 4, 4)] * 2
    )


def test_every_second_step_goes_on(pairs):
    batches = list(trials.draw_batches(options(continued=True), pairs))
    assert [is_continued for *_, is_continued in batches] == [False, True, False, True]
    assert torch.equal(batches[1][0][:, :2], batches[0][0][:, 3:])
    for lr, hr, _ in batches:
        assert torch.equal(lr[:, 1:-1], hr[..., ::4, ::4])  # as the clips were made


def test_rate_rises_and_falls():
    shares = [options(steps=8, warmup=0.25).rate_at(step) for step in range(8)]
    assert shares[:3] == [0.5, 1, 1] and shares[5] == pytest.approx(0.5)
    assert options(warmup=0).rate_at(0) == 1


def test_columns_of_the_state_have_a_rate_of_their_own():
    net = trials.TrialNet(options())
    (adam,) = trials.make_optimizers(net, options(optimizer="adam", state_rate=0.5))
    assert [(len(group["params"]), group["lr"]) for group in adam.param_groups] == [(9, 0.003), (1, 0.0015)]
    assert adam.param_groups[1]["params"][0] is net.state


def test_muon_steps_are_orthogonal():
    kernel = torch.nn.Parameter(torch.zeros(6, 6, 3, 3))
    kernel.grad = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(0))
    trials.Muon([kernel], 1.0).step()
    singular = torch.linalg.svdvals(kernel.detach().flatten(1)) / (0.2 * math.sqrt(54))
    assert ((singular > 0.6) & (singular < 1.3)).all()


def test_loss_leaves_out_the_first_frames(pairs):
    chosen = options(skip=2, steps=1)
    net, result = trained(pairs, skip=2, steps=1)
    (lr, hr, _), start = next(trials.draw_batches(chosen, pairs)), trials.TrialNet(chosen)
    outputs, _ = start(lr.float() / 255)
    error = ((outputs - trials.packed_luma(hr))[:, 2:] ** 2).mean().item()
    assert result["windows"] == [{"step": 1, "psnr": pytest.approx(trials.to_psnr(error)), "clipped": 1.0}]
    assert result["lr_pixels"] == 2 * 3 * 8 * 8


def test_averaged_weights_are_those_of_the_end(pairs):
    plain, averaged = trained(pairs), trained(pairs, ema=0.5)
    assert plain[1]["windows"] == averaged[1]["windows"]
    assert not torch.equal(plain[0].output, averaged[0].output)


@pytest.mark.parametrize("optimizer", trials.OPTIMIZERS)
def test_a_trial_learns_and_is_measured(pairs, optimizer):
    chosen = options(optimizer=optimizer, steps=20, clip=1.0, l1=0.2)
    result = trials.run_trial(chosen, pairs, pairs)
    start = trials.score_crops(trials.TrialNet(chosen), trials.draw_crops(pairs, **trials.FIXED))
    assert result["fixed"]["psnr"] > start["psnr"]
    assert len(result["fixed"]["psnr_frames"]) == len(result["fixed"]["pooled_psnr_frames"]) == 3
    assert {name: len(frames) for name, frames in result["validation"].items()} == {"made/a": 8, "made/b": 8}
    assert 0 < result["state"]["mean_share"] < 1 and result["state"]["dead_channels"] <= 6


def test_psnr_of_one_level():
    """One grey level of 255."""
    assert trials.to_psnr((1 / 255) ** 2) == pytest.approx(48.1308, abs=1e-4)


def test_changes_are_told_in_words():
    assert trials.Options(seed=2).describe_change() == "nothing"
    changed = trials.Options(variant="adjacent", betas=[0.9, 0.99], own_fan_in=False, l1=0.3, seed=1)
    assert changed.describe_change() == (
        "variant adjacent; decays 0.9 and 0.99; frames drawn with the fan-in of all inputs; "
        "L1 in the first 30% of the steps"
    )
    assert trials.Options(lengths="0:3:24").describe_change() == "crops by after:frames:side 0:3:24"


def test_listed_trials_are_different():
    listed = trials.read_trials(trials.TRIALS)
    assert listed["soap-full"] == {} and listed["short-first-adjacent"]["variant"] == "adjacent"
    chosen = [str(trials.Options(**changes)) for changes in listed.values()]
    assert len(set(chosen)) == len(chosen)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{steps: 10}", "one: expected a line why"),
        ("{step: 10, why: x}", "one: unknown name 'step'; did you mean steps?"),
        ("{learning_rate: 1e-3, why: x}", "one.learning_rate: expected float, got '1e-3'"),
        ("{variant: state, why: x}", "one.variant: unknown name 'state'"),
        ("{optimizer: sgd, why: x}", "one.optimizer: unknown name 'sgd'"),
    ],
)
def test_wrong_trials_are_refused(line, message, tmp_path):
    (tmp_path / "trials.yaml").write_text(f"one: {line}\n")
    with pytest.raises(ConfigError) as error:
        trials.read_trials(tmp_path / "trials.yaml")
    assert f"trials.yaml: {message}" in str(error.value)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Run the command line in a folder with a study whose clips are there."""
    sets = {name: {"source": "folder", "path": "nowhere"} for name in ("made", "held")}
    study = {"study": "some", "data_root": "data", "datasets": sets, "test_sets": ["held"]}
    study["runs"] = [{"interpolation": "bicubic", "degradations": ["gaussian"]}]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "set_flush_denormal", lambda _: None)  # other tests run in this process
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    places, (lr, hr) = Study.from_file(tmp_path / "study.yaml"), made_clips()
    for name in sets:
        write_clips(places.clips(name).parent, hr)
        write_clips(places.lr("gaussian", name).parent, lr)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["trials.py", *arguments])
        trials.main()

    return run


def write_trials(**changes):
    with open("trials.yaml", "w") as file:
        yaml.safe_dump({name: {**LITTLE, **change, "why": "x"} for name, change in changes.items()}, file)


def test_trials_are_run_once_and_collected(command, tmp_path, capsys):
    sets = ["--train", "made", "--validate", "held", "made"]
    run = ["run", "--study", "study.yaml", "--trials", "trials.yaml", *sets, "--output", "out"]
    write_trials(first={}, second={"variant": "frames", "seed": 1})
    command(*run, "first")
    command(*run)
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["first", "second"]
    result = read_json(tmp_path / "out" / "second.json")
    assert result["data"]["train"][0].startswith("gaussian-") and "commit" in result["environment"]
    write_trials(first={"optimizer": "adam", "learning_rate": 1e9}, second={"variant": "frames", "seed": 1})
    command(*run)
    assert capsys.readouterr().out.startswith("first: ")  # other options

    command("table", "out", "--output", "trials.csv")
    first, second = csv.DictReader(open("trials.csv", newline=""))
    assert tuple(first) == (*trials.COLUMNS, "psnr_held", "psnr_made")
    assert second["change"].startswith("variant frames; 3 layers") and second["seed"] == "1"
    assert float(second["psnr_held"]) == pytest.approx(
        np.mean([np.mean(result["validation"][f"held/{name}"]) for name in "ab"]), abs=6e-4
    )
    assert float(second["psnr_training"]) == pytest.approx(result["windows"][-1]["psnr"], abs=6e-4)
    assert first["psnr_training"] == ""  # diverged


def test_unknown_names_are_told_in_one_line(command):
    run = ["run", "--study", "study.yaml", "--train", "made", "--validate", "held", "--output", "out"]
    with pytest.raises(SystemExit, match=r"^error: trial: unknown name 'soap'; "):
        command(*run, "soap")
    with pytest.raises(SystemExit, match=r"^error: data set: unknown name 'make'; did you mean made\?"):
        command("run", "--study", "study.yaml", "--train", "make", "--validate", "held", "--output", "out")
    with pytest.raises(SystemExit, match=r"^error: degradation: unknown name 'box'; "):
        command(*run, "--degradation", "box")
