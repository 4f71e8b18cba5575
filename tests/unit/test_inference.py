import functools
import math

import made_graphs
import numpy as np
import pytest
import torch
from torch import nn

from rlsp import devices
from rlsp.devices import claim_device
from rlsp.errors import ConfigError
from rlsp.inference import execution
from rlsp.inference.execution import Execution, fastest_execution
from rlsp.inference.fused import FusedRLSP, fused_form
from rlsp.inference.restorer import Restorer, carry_over, to_host
from rlsp.models import build_model
from rlsp.models.base import VideoModel
from rlsp.timing.timed import sliding_frames

pytestmark = pytest.mark.numerical

SPECS = {
    "paper": {},
    "rgb": {"output": "rgb"},
    "frames-only": {"adjacent": False, "feedback": False, "state": False},
    "plus-adjacent": {"feedback": False, "state": False},
    "plus-feedback": {"state": False},
    "no-residual": {"residual": False},
    "unit-range": {"input_range": 1},
    "odd": {"filters": 13, "layers": 2, "scale": 3},
}


def lively_model(seed=0, **spec):
    """A model whose output depends on everything it reads, with biases, after a few frames too."""
    torch.manual_seed(seed)
    model = build_model({"arch": "rlsp", "layers": 4, "filters": 16, **spec}).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.orthogonal_(module.weight, gain=1.2)
            nn.init.normal_(module.bias, std=0.05 * model.input_range)
    return model


def restore(model, frames, *, execution=None, device="cpu", phase=None):
    restorer = Restorer(model, device=device, execution=execution)
    restorer.start(phase)
    clip = model.pad_clip(frames[None]).to(device)
    steps = to_host((restorer.step(window) for window in model.windows(clip)), device)
    return [torch.stack(outputs) for outputs in zip(*steps, strict=True)]


def psnr(a, b):
    return 10 * math.log10(255**2 / float(((a - b) ** 2).mean()))


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_fused_form_restores_the_same_pictures(spec, is_signed):
    """Float32: nothing but rounding differs, also where the size is odd and a second clip follows."""
    model = lively_model(**spec)
    fused = FusedRLSP(model, torch.float32, is_signed=is_signed)
    frames = sliding_frames((23, 18), 6)
    whole = model(frames[None])[0]
    for _ in range(2):
        carry, clip = None, model.pad_clip(frames[None].to(torch.uint8))
        for t, window in enumerate(model.windows(clip)):
            sr, carry = fused.step(window, carry)
            assert sr.dtype == torch.float32
            torch.testing.assert_close(sr[0], whole[t], rtol=1e-5, atol=2e-3)
    assert whole.std() > 10


def test_fused_form_reads_every_neighbour_and_keeps_its_memory():
    model = lively_model()
    fused = fused_form(model, torch.float32)
    windows = model.windows(model.pad_clip(sliding_frames((16, 16), 3)[None]))
    first, carry = fused.step(windows[0], None)
    kept = first.clone()
    second, after = fused.step(windows[1], carry)
    assert second.data_ptr() == first.data_ptr() and after[0].data_ptr() == carry[0].data_ptr()
    assert [tensor.shape[1] for tensor in fused.carried(after)] == [16 + 16]
    assert not torch.equal(second, kept)
    for neighbour in range(3):
        changed = windows[0].clone()
        changed[:, neighbour] += 20
        assert not torch.equal(fused.step(changed, None)[0], kept)


@pytest.mark.precision("bf16")
@pytest.mark.parametrize("layers", [3, 7])
def test_bfloat16_keeps_the_pictures(layers):
    """Fed back through the same 20 frames again and again, the error is far below that of restoring and stays."""
    model = lively_model(layers=layers, filters=32)
    frames = sliding_frames((24, 32), 20).repeat(4, 1, 1, 1)
    (exact,) = restore(model, frames)
    (rounded,) = restore(model, frames, execution=Execution("bf16", "fused"))
    assert not torch.equal(exact, rounded)
    assert psnr(exact, rounded) > 50
    assert psnr(exact[60:], rounded[60:]) > psnr(exact[20:40], rounded[20:40]) - 0.5


@pytest.mark.parametrize("mode", ["eager-nchw", "eager", "fused"])
@pytest.mark.parametrize(
    "spec",
    [
        {"arch": "rlsp", "layers": 3, "filters": 8},
        {"arch": "frvsr", "blocks": 2, "filters": 8},
        {"arch": "duf", "layers": 10, "filters": 4, "growth": 2},
    ],
    ids=["rlsp", "frvsr", "duf"],
)
def test_every_mode_restores_what_the_module_does(mode, spec):
    torch.manual_seed(0)
    model = build_model(spec).eval()
    frames = sliding_frames((16, 24), 4)
    with torch.no_grad():
        whole = model(frames[None])[0]
    (modes,) = restore(model, frames, execution=Execution("fp32", mode))
    torch.testing.assert_close(modes[:, 0], whole, rtol=1e-4, atol=5e-3)


@pytest.mark.slow
def test_many_models_are_compiled_in_one_process(monkeypatch):
    """Dynamo gives up after eight versions of one code object; each restorer has its own."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    torch._dynamo.reset()
    frames = sliding_frames((8, 8), 3)
    for filters in range(4, 16):
        model = lively_model(layers=2, filters=filters)
        (sr,) = restore(model, frames, execution=Execution("fp32", "compile"))
        torch.testing.assert_close(sr[:, 0], model(frames[None])[0], rtol=1e-4, atol=5e-3)
    torch._dynamo.reset()


def test_layout_is_that_of_the_mode():
    model = lively_model()
    Restorer(model, device="cpu", execution=Execution("fp32", "eager"))
    assert model.body[1].weight.is_contiguous(memory_format=torch.channels_last)
    Restorer(model, device="cpu", execution=Execution("fp32", "eager-nchw"))
    assert model.body[1].weight.is_contiguous()
    seen = []
    model.body[1].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].is_contiguous()))
    restore(model, sliding_frames((8, 8), 1), execution=Execution("fp32", "eager-nchw"))
    restore(model, sliding_frames((8, 8), 1), execution=Execution("fp32", "eager"))
    assert seen == [True, False]


def test_low_precision_leaves_the_model_as_it_is():
    model = lively_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    restore(model, sliding_frames((8, 8), 2), execution=Execution("bf16", "eager"))
    for name, value in model.state_dict().items():
        assert value.dtype == torch.float32 and torch.equal(value, before[name])


def test_a_clip_starts_afresh():
    model = lively_model()
    frames = sliding_frames((16, 16), 4)
    restorer = Restorer(model, device="cpu")
    runs = []
    for _ in range(2):
        restorer.start()
        windows = model.windows(model.pad_clip(frames[None]))
        runs.append(torch.stack([restorer.step(window)[0].clone() for window in windows]))
    assert torch.equal(*runs)


def test_pictures_instead_of_output():
    model = lively_model()
    frames = sliding_frames((16, 16), 3)
    (sr,) = restore(model, frames)
    rgb, y = restore(model, frames, phase=0)
    assert rgb.shape == (3, 1, 64, 64, 3) and rgb.dtype == torch.uint8
    assert torch.equal(y, sr[:, :, 0].clamp(0, 255).round().to(torch.uint8))


def test_carry_is_copied_whatever_shares_memory():
    held = (torch.zeros(3), {"a": torch.ones(3)}, None)
    carry_over((held[1]["a"], {"a": held[0]}, None), held)  # swapped
    assert held[0].tolist() == [1, 1, 1] and held[1]["a"].tolist() == [0, 0, 0]
    both = torch.arange(4.0)
    carry_over((both[1:3],), (both[:2],))
    assert both.tolist() == [1, 2, 2, 3]


def test_names_are_checked():
    with pytest.raises(ConfigError, match="precision: expected one of fp32, tf32, bf16, fp16, got 'int8'"):
        Execution("int8")
    with pytest.raises(ConfigError, match="mode: expected one of eager-nchw, eager, .*, got 'fast'"):
        Execution("fp32", "fast")


def test_restoring_takes_the_fastest_mode_in_a_precision_that_there_is(monkeypatch):
    found = {"cpu": ["fp32"], "cuda:0": ["fp32", "tf32", "bf16", "fp16"]}
    for module in (execution, devices):
        monkeypatch.setattr(module, "available_precisions", found.get)
    assert fastest_execution("cpu") == fastest_execution("cpu", "auto") == Execution("fp32", "fused")
    assert fastest_execution("cuda:0", "auto") == Execution("bf16", "graph")
    assert fastest_execution("cuda:0", "fp16") == Execution("fp16", "graph")
    with pytest.raises(ConfigError, match="precision: expected one of fp32 on cpu, got 'bf16'"):
        fastest_execution("cpu", "bf16")


class Unrecordable(VideoModel):
    """A model that looks at its numbers, which no graph can."""

    def __init__(self):
        super().__init__(scale=4, output="y", look_behind=0, look_ahead=0)
        self.weight = nn.Parameter(torch.ones(()))

    def step(self, frames, carry):
        level = float(frames.mean())
        n, _, _, h, w = frames.shape
        return self.weight * torch.full((n, 1, 4 * h, 4 * w), level, device=frames.device), level


@pytest.mark.slow
@pytest.mark.parametrize("boundary", ["network", "rgb8"])
@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.precision("bf16"))])
@pytest.mark.parametrize(
    "spec",
    [
        {"arch": "rlsp", "layers": 4, "filters": 16},
        {"arch": "rlsp", "layers": 3, "filters": 8, "output": "rgb", "input_range": 1},
        {"arch": "frvsr", "blocks": 2, "filters": 8},
        {"arch": "duf", "layers": 10, "filters": 4, "growth": 2},
        {"arch": "bicubic"},
    ],
    ids=lambda spec: spec["arch"],
)
def test_recorded_steps_restore_what_single_ones_do(monkeypatch, spec, precision, boundary):
    """Every operation recorded once and replayed on the same memory; clips of two sizes, each started afresh."""
    torch.manual_seed(0)
    model = build_model(spec).eval()
    first = 0 if boundary == "rgb8" else None
    mode = "fused" if spec["arch"] == "rlsp" else "eager"
    single = Restorer(model, device="cpu", execution=Execution(precision, mode))
    recorded = Restorer(model, device="cpu", execution=Execution(precision, "graph"))
    made_graphs.install(monkeypatch)
    others = {None: 0, 0: None}  # other outputs of the same model are no longer those that were recorded
    turns = zip(((16, 24), (16, 24), (24, 16), (16, 24)), (first, others[first], 1.5, first), strict=True)
    for size, phase in turns:
        frames = sliding_frames(size, 5)
        clip = model.pad_clip(frames[None].to(torch.uint8))
        single.start(phase)
        recorded.start(phase)
        for t, window in enumerate(model.windows(clip)):
            expected = [output.clone() for output in single.step(window)]
            for output, right in zip(recorded.step(window), expected, strict=True):
                torch.testing.assert_close(output, right, msg=f"{size}, frame {t}")
        assert recorded.is_recorded


def test_a_step_that_looks_at_its_numbers_is_not_recorded(monkeypatch, capsys):
    made_graphs.install(monkeypatch)
    restorer = Restorer(Unrecordable(), device="cpu", execution=Execution("fp32", "graph"))
    frames = sliding_frames((8, 8), 4)
    means = [float(restorer.step(frame[None, None])[0].mean()) for frame in frames]
    np.testing.assert_allclose(means, frames.mean(dim=(1, 2, 3)), rtol=1e-5)
    assert not restorer.is_recorded
    assert capsys.readouterr().err.count("Unrecordable: no CUDA graph of it") == 1


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
@pytest.mark.parametrize("arch", ["rlsp", "frvsr", "duf"])
@pytest.mark.gpu
def test_graph_restores_what_a_cpu_does(arch, precision):
    """Two clips of two sizes through one restorer, so that the graph is recorded anew and its carry set again."""
    torch.manual_seed(0)
    spec = {
        "rlsp": {"layers": 5, "filters": 32},
        "frvsr": {"blocks": 2, "filters": 16},
        "duf": {"layers": 16, "filters": 16},
    }[arch]
    model = lively_model(**spec) if arch == "rlsp" else build_model({"arch": arch, **spec}).eval()
    clips = [sliding_frames(size, 6) for size in ((24, 32), (24, 32), (16, 40))]
    expected = [restore(model, frames)[0] for frames in clips]
    with claim_device("auto") as device:
        restorer = Restorer(model, device=device, execution=Execution(precision, "graph"))
        for frames, exact in zip(clips, expected, strict=True):
            restorer.start()
            windows = model.windows(model.pad_clip(frames[None]).to(device, torch.uint8))
            outputs = to_host((restorer.step(window) for window in windows), device)
            restored = torch.stack([sr for (sr,) in outputs])
            assert restorer.is_recorded
            assert psnr(exact, restored) > {"fp32": 90, "tf32": 50, "bf16": 35, "fp16": 50}[precision]


@pytest.mark.gpu
def test_what_cannot_be_recorded_runs_without(capsys):
    with claim_device("auto") as device:
        (sr,) = restore(Unrecordable(), sliding_frames((8, 8), 4), device=device)
    assert np.allclose(sr.mean(dim=(1, 2, 3, 4)), sliding_frames((8, 8), 4).mean(dim=(1, 2, 3)), atol=0.1)
    assert capsys.readouterr().err.count("no CUDA graph of it") == 1
