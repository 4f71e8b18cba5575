import numpy as np
import pytest
import torch
from made_degradations import GAUSSIAN, smooth_clip

from rlsp.color import to_8_bits
from rlsp.data.clips import open_clips, pack_clip, read_manifest
from rlsp.data.degradation import degrade
from rlsp.data.images import read_png
from rlsp.errors import DataError
from rlsp.files import write_json
from rlsp.inference.restoration import restore_dataset, restore_run
from rlsp.inference.restorer import Restorer
from rlsp.models import build_model
from rlsp.models.weights import save_weights

pytestmark = pytest.mark.numerical


def tiny_model(**spec):
    torch.manual_seed(0)
    return build_model({"arch": "rlsp", "layers": 3, "filters": 8, **spec}).eval()


@pytest.fixture
def lr_manifest(tmp_path):
    path = tmp_path / "lr" / "manifest.json"
    clips = {name: degrade(smooth_clip(frames), GAUSSIAN) for name, frames in (("a", 5), ("b", 1))}
    entries = {n: pack_clip(iter(f), path.parent / f"{n}.npy", scale=1) for n, f in clips.items()}
    write_json(path, {"dataset": "made", "spec": {}, "licence": "CC0", "clips": entries})
    return path


@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("spec", [{}, {"output": "rgb"}, {"adjacent": False}])
def test_streaming_equals_forward(frames, spec):
    model = tiny_model(**spec)
    lr = degrade(smooth_clip(frames), GAUSSIAN)
    streamed = np.stack(list(Restorer(model).frames(iter(lr))))
    whole = model(torch.from_numpy(lr).permute(0, 3, 1, 2)[None].float())[0].detach()
    whole = whole.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(streamed.reshape(whole.shape), whole, atol=1e-3)


def test_streaming_asks_for_one_frame_ahead_and_keeps_no_more():
    asked = []

    def source():
        for index, frame in enumerate(degrade(smooth_clip(5), GAUSSIAN)):
            asked.append(index)
            yield frame

    stream = Restorer(tiny_model()).frames(source())
    next(stream)
    assert asked == [0, 1]
    next(stream)
    assert asked == [0, 1, 2]


def test_no_frames_give_no_frames():
    assert list(Restorer(tiny_model()).frames(iter([]))) == []


def test_luma_model_writes_luma_and_colour(lr_manifest, tmp_path):
    target = tmp_path / "restored" / "made" / "manifest.json"
    restore_dataset(tiny_model(), lr_manifest, target, run="run", phase=0)
    manifest = read_manifest_of_frames(target)
    assert manifest["run"] == "run"
    assert manifest["dataset"] == "made"
    assert [len(manifest["clips"][name]["y"]) for name in ("a", "b")] == [5, 1]
    luma = read_png(target.parent / manifest["clips"]["a"]["y"][3])
    color = read_png(target.parent / manifest["clips"]["a"]["rgb"][3])
    assert luma.shape == (64, 80)
    assert color.shape == (64, 80, 3)
    streamed = list(Restorer(tiny_model()).frames(open_clips(lr_manifest)["a"]))[3]
    assert np.array_equal(luma, np.rint(np.clip(streamed, 0, 255)).astype(np.uint8))


def read_manifest_of_frames(path):
    import json

    return json.loads(path.read_text())


def test_interpolation_is_a_run_like_any_other(lr_manifest, tmp_path):
    target = tmp_path / "restored" / "made" / "manifest.json"
    restore_run(
        [], lr_manifest, target, run="bicubic.gaussian", degradation=GAUSSIAN, threads=1, device="cpu"
    )
    files = read_manifest_of_frames(target)["clips"]["a"]
    assert files["y"] is None
    picture = read_png(target.parent / files["rgb"][2])
    assert np.abs(picture.astype(float) - smooth_clip(5)[2])[8:-8, 8:-8].mean() < 3


def test_weights_restore_what_the_model_restores(lr_manifest, tmp_path):
    weights = tmp_path / "model.safetensors"
    spec = {"arch": "rlsp", "layers": 3, "filters": 8}
    save_weights(weights, tiny_model(), {"model": spec, "degradation": GAUSSIAN})
    for name, threads in (("one", 1), ("two", 1)):
        target = tmp_path / name / "made" / "manifest.json"
        restore_run(
            [weights], lr_manifest, target, run="r", degradation=GAUSSIAN, threads=threads, device="cpu"
        )
    pictures = [
        (tmp_path / name / "made" / "a" / "y" / "00000002.png").read_bytes() for name in ("one", "two")
    ]
    assert pictures[0] == pictures[1]
    streamed = list(Restorer(tiny_model()).frames(open_clips(lr_manifest)["a"]))[2]
    saved = read_png(tmp_path / "one" / "made" / "a" / "y" / "00000002.png")
    assert np.abs(saved - np.clip(streamed, 0, 255)).max() <= 0.501


def test_one_restorer_gives_frames_and_pictures_of_any_phase_in_any_order():
    """Each call begins a clip anew, also after one that was left in the middle."""
    lr, model = degrade(smooth_clip(4), GAUSSIAN), tiny_model()
    restorer = Restorer(model)
    next(restorer.pictures(iter(lr), 1.5))
    for phase in (0, 1.5):
        expected = list(Restorer(model).pictures(iter(lr), phase))
        for found, right in zip(restorer.pictures(iter(lr), phase), expected, strict=True):
            assert all(np.array_equal(one, other) for one, other in zip(found, right, strict=True))
        for found, right in zip(restorer.frames(iter(lr)), Restorer(model).frames(iter(lr)), strict=True):
            assert np.array_equal(found, right)
    first, last = (list(Restorer(model).pictures(iter(lr), phase))[0][0] for phase in (0, 1.5))
    assert not np.array_equal(first, last)


def test_pictures_are_the_rounded_stream():
    lr = degrade(smooth_clip(3), GAUSSIAN)
    streamed = list(Restorer(tiny_model()).frames(iter(lr)))
    pictures = list(Restorer(tiny_model()).pictures(iter(lr), 0))
    for sr, (rgb, y) in zip(streamed, pictures, strict=True):
        assert np.array_equal(y, to_8_bits(sr))
        assert rgb.shape == (64, 80, 3)
    colors = list(Restorer(tiny_model(output="rgb")).pictures(iter(lr), 0))
    for sr, (rgb, y) in zip(Restorer(tiny_model(output="rgb")).frames(iter(lr)), colors, strict=True):
        assert y is None
        assert np.array_equal(rgb, to_8_bits(sr))


def test_missing_lr_is_named(tmp_path):
    with pytest.raises(DataError, match="manifest.json"):
        restore_run(
            [],
            tmp_path / "manifest.json",
            tmp_path / "out" / "manifest.json",
            run="r",
            degradation=GAUSSIAN,
            threads=1,
            device="cpu",
        )


def test_manifest_is_written_last(lr_manifest, tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rlsp.inference.restoration.write_png", full_disk)
    target = tmp_path / "restored" / "made" / "manifest.json"
    with pytest.raises(OSError, match="No space left"):
        restore_dataset(tiny_model(), lr_manifest, target, run="run", phase=0)
    assert not target.exists()
    assert read_manifest(lr_manifest)["dataset"] == "made"
