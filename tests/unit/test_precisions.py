import csv

import numpy as np
import pytest
import torch
from made_degradations import GAUSSIAN, smooth_clip

from rlsp.color import rgb_to_y
from rlsp.columns import PRECISIONS
from rlsp.data.clips import pack_clip
from rlsp.data.degradation import degrade
from rlsp.evaluation import precisions
from rlsp.evaluation.precisions import compare_frames, compare_precisions, there_and_back
from rlsp.files import write_json
from rlsp.models import build_model
from rlsp.models.weights import save_weights

pytestmark = pytest.mark.numerical

SPEC = {"arch": "rlsp", "layers": 3, "filters": 8}


def made_model():
    torch.manual_seed(0)
    return build_model(SPEC).eval()


def test_there_and_back_never_cuts():
    clip = np.arange(4).reshape(4, 1, 1, 1)
    assert [frame.item() for frame in there_and_back(clip, 9)] == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert [frame.item() for frame in there_and_back(clip, 4)] == [0, 1, 2, 3]
    assert [frame.item() for frame in there_and_back(clip[:1], 3)] == [0, 0, 0]


@pytest.fixture
def both_precisions(monkeypatch):
    monkeypatch.setattr(precisions, "available_precisions", lambda device: ["fp32", "bf16"])
    monkeypatch.setattr("rlsp.inference.execution.available_precisions", lambda device: ["fp32", "bf16"])


@pytest.mark.precision("bf16")
def test_errors_are_those_of_the_pictures(both_precisions):
    hr, model = smooth_clip(4), made_model()
    lr = degrade(hr, GAUSSIAN)
    errors = compare_frames(model, lr, hr, 6, precision="bf16", device="cpu")
    with torch.no_grad():
        clip = torch.from_numpy(np.stack(list(there_and_back(lr, 6)))).permute(0, 3, 1, 2).float()[None]
        exact = model(clip)[0, :, 0].numpy()
    truth = np.stack([rgb_to_y(frame) for frame in there_and_back(hr, 6)])
    pictures = np.rint(np.clip(exact, 0, 255))
    expected = ((pictures - truth)[:, 8:-8, 8:-8] ** 2).mean(axis=(1, 2))
    np.testing.assert_allclose(errors[:, 0], expected, rtol=1e-3)
    assert (errors[:, 2] > 0).all() and errors[:, 2].max() < 0.05


@pytest.mark.precision("bf16")
def test_table_has_every_clip_and_the_long_one(both_precisions, tmp_path):
    manifests = []
    for name, scale in (("lr", 4), ("hr", 1)):
        path = tmp_path / name / "manifest.json"
        clips = {clip: smooth_clip(frames) for clip, frames in (("a", 5), ("b", 3))}
        made = {clip: degrade(frames, GAUSSIAN) if scale > 1 else frames for clip, frames in clips.items()}
        entries = {clip: pack_clip(iter(f), path.parent / f"{clip}.npy", scale=1) for clip, f in made.items()}
        write_json(path, {"dataset": "made", "spec": {}, "licence": "CC0", "clips": entries})
        manifests.append(path)
    weights = tmp_path / "model.safetensors"
    save_weights(weights, made_model(), {"model": SPEC})
    runs = [{"run": "run", "model": "m", "trusted_arch": None, "test_sets": ["made"]}]
    lr, hr = ([manifest] for manifest in manifests)
    arguments = {
        "weights": [weights],
        "lr": lr,
        "hr": hr,
        "study": "test",
        "precisions": ["bf16", "fp16"],
        "threads": 1,
        "device": "cpu",
    }
    compare_precisions(runs, tmp_path / "t.csv", long_clip=250, **arguments)
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert tuple(rows[0]) == PRECISIONS.names
    assert [(row["clip"], row["part"], row["first_frame"], row["frames"]) for row in rows] == [
        ("a", "clip", "0", "5"), ("b", "clip", "0", "3"), ("a", "long", "0", "100"), ("a", "long", "100", "100"),
        ("a", "long", "200", "50"),
    ]  # fmt: skip
    assert {row["precision"] for row in rows} == {"bf16"}
    for row in rows:
        difference = float(row["psnr_y"]) - float(row["psnr_y_fp32"])
        assert float(row["difference_db"]) == pytest.approx(difference, abs=1e-9)
        assert float(row["psnr_between"]) > 55
    compare_precisions(runs, tmp_path / "t.csv", long_clip=0, **arguments)
    assert len(list(csv.DictReader((tmp_path / "t.csv").open()))) == 2
