import csv
import json
import math

import numpy as np
import pandas as pd
import pytest

from rlsp.color import rgb_to_y
from rlsp.columns import SCORES
from rlsp.data.clips import write_clip
from rlsp.data.flow import open_flow, write_flow_dataset
from rlsp.data.images import write_png
from rlsp.errors import ConfigError, DataError
from rlsp.evaluation.scoring import score_dataset
from rlsp.files import write_json
from rlsp.metrics.fidelity import crop_border, psnr, ssim
from rlsp.metrics.flow import grey
from rlsp.metrics.temporal import tof, warp_error

pytestmark = pytest.mark.numerical

FRAMES, HEIGHT, WIDTH = 10, 52, 64
LABELS = {
    "study": "tiny",
    "run": "noisy",
    "origin": "external",
    "model": "",
    "recipe": "",
    "seed": 7,
    "degradation": "gaussian",
    "dataset": "made",
}


class Study:
    """Two clips, their flow and their restored pictures: `both` with rgb and y, `colour` with rgb only."""

    def __init__(self, folder):
        rng = np.random.default_rng(5)
        shape = (FRAMES, HEIGHT, WIDTH, 3)
        self.folder = folder
        self.truth = {name: rng.integers(0, 256, shape, np.uint8) for name in ("both", "colour")}
        noise = {name: rng.integers(-9, 10, shape) for name in self.truth}
        self.rgb = {
            name: np.clip(clip + noise[name], 0, 255).astype(np.uint8) for name, clip in self.truth.items()
        }
        self.rgb["colour"][4] = self.truth["colour"][4]
        self.y = {"both": np.rint(rgb_to_y(self.truth["both"]) + 2).astype(np.uint8)}
        self.clips, self.flow = folder / "clips" / "manifest.json", folder / "flow" / "manifest.json"
        self.restored = folder / "restored" / "manifest.json"
        self.table = folder / "scores" / "made.csv"
        self.write_truth()
        self.write_restored()

    def write_truth(self):
        entries = {
            name: write_clip(self.clips.parent / f"{name}.npy", clip) for name, clip in self.truth.items()
        }
        write_json(self.clips, {"dataset": "made", "spec": {}, "licence": "CC0-1.0", "clips": entries})
        write_flow_dataset(self.clips, self.flow)

    def write_restored(self):
        entries = {name: {"rgb": None, "y": None} for name in self.truth}
        for kind in ("rgb", "y"):
            for name, frames in getattr(self, kind).items():
                entries[name][kind] = [f"{name}/{kind}/{index:08d}.png" for index in range(FRAMES)]
                for file, frame in zip(entries[name][kind], frames, strict=True):
                    write_png(self.restored.parent / file, frame)
        write_json(self.restored, {"run": "noisy", "dataset": "made", "clips": entries})

    def edit_restored(self, edit):
        manifest = json.loads(self.restored.read_text())
        edit(manifest)
        write_json(self.restored, manifest)

    def score(self, **changes):
        options = {"labels": LABELS, "crops": [0, 4], **changes}
        score_dataset(self.restored, self.clips, options.pop("flow", self.flow), self.table, **options)
        return pd.read_csv(
            self.table, keep_default_na=False, na_values={"tof": "", "warp_error": "", "psnr_rgb": ""}
        )


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


def row(table, clip, frame, crop):
    chosen = table[(table["clip"] == clip) & (table.frame == frame) & (table.crop == crop)]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_one_sorted_row_per_frame_clip_and_crop(study):
    table = study.score(crops=[4, 0])
    assert tuple(table.columns) == SCORES.names
    keys = [(clip, frame, crop) for clip in ("both", "colour") for frame in range(FRAMES) for crop in (0, 4)]
    assert list(zip(table["clip"], table.frame, table.crop, strict=True)) == keys
    for name, value in LABELS.items():
        assert (table[name] == value).all()


def test_luma_measures_take_the_y_pictures(study):
    table = study.score()
    for frame, crop in ((0, 0), (9, 4)):
        truth, restored = rgb_to_y(study.truth["both"][frame]), study.y["both"][frame]
        truth, restored = crop_border(truth, crop), crop_border(restored, crop)
        found = row(table, "both", frame, crop)
        assert found.psnr_y == psnr(truth, restored)
        assert found.ssim_y == pytest.approx(ssim(truth, restored), abs=1e-12)
        assert found.psnr_y == pytest.approx(10 * math.log10(255**2 / found.mse_y))
        rgb = [crop_border(clip["both"][frame], crop) for clip in (study.truth, study.rgb)]
        assert found.psnr_rgb == psnr(*rgb)


def test_luma_is_computed_where_there_are_no_y_pictures(study):
    found = row(study.score(), "colour", 3, 0)
    assert found.psnr_y == psnr(rgb_to_y(study.truth["colour"][3]), rgb_to_y(study.rgb["colour"][3]))


def test_identical_frames_stay_infinite_in_the_table(study):
    found = row(study.score(), "colour", 4, 4)
    assert (found.mse_y, found.psnr_y, found.psnr_rgb) == (0, math.inf, math.inf)
    assert found.ssim_y == pytest.approx(1)


def test_temporal_measures_belong_to_the_pair_before(study):
    table = study.score()
    flow = open_flow(study.flow, "both")
    # frame 8 is the first one of a task: the frame before it must be read all the same
    for frame in (1, 8):
        truth = [grey(rgb_to_y(image)) for image in study.truth["both"][frame - 1 : frame + 1]]
        restored = list(study.y["both"][frame - 1 : frame + 1])
        pair = {"backward": flow.backward[frame - 1], "visible": flow.visible[frame - 1]}
        for crop in (0, 4):
            found = row(table, "both", frame, crop)
            assert found.tof == tof(truth, [grey(luma) for luma in restored])
            error = warp_error(*restored, **pair, crop=crop)
            assert found.warp_error == error or math.isnan(found.warp_error) and math.isnan(error)
    assert table.tof[table.frame > 0].notna().all()
    first = table[table.frame == 0]
    assert first.tof.isna().all() and first.warp_error.isna().all()


def test_without_rgb_pictures_psnr_rgb_is_empty(study):
    study.edit_restored(lambda manifest: manifest["clips"]["both"].update(rgb=None))
    table = study.score()
    assert table.psnr_rgb[table["clip"] == "both"].isna().all()
    assert table.psnr_rgb[table["clip"] == "colour"].notna().all()


def test_numbers_are_written_in_full(study):
    study.score()
    with open(study.table, newline="", encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    assert float(first["psnr_y"]) == psnr(rgb_to_y(study.truth["both"][0]), study.y["both"][0])
    assert first["tof"] == first["warp_error"] == ""
    assert b"\r" not in study.table.read_bytes()


def test_the_number_of_workers_changes_nothing(study):
    study.score(workers=1)
    alone = study.table.read_bytes()
    study.score(workers=3)
    assert study.table.read_bytes() == alone


def test_metrics_can_be_left_out(study):
    table = study.score(metrics=("psnr_y",), flow=None)
    assert table.psnr_y.notna().all()
    assert (table.ssim_y == "").all() and table[["psnr_rgb", "tof", "warp_error"]].isna().all(axis=None)


def test_absolute_paths_point_elsewhere(study, tmp_path):
    expected = study.score()

    def make_absolute(manifest):
        entry = manifest["clips"]["colour"]
        entry["rgb"] = [str(study.restored.parent / file) for file in entry["rgb"]]

    study.edit_restored(make_absolute)
    pd.testing.assert_frame_equal(study.score(), expected)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m["clips"].pop("both"), "manifest.json: missing clip both; expected both, colour"),
        (lambda m: m["clips"].update(car={}), "manifest.json: unexpected clip car; expected both, colour"),
        (lambda m: m["clips"]["both"]["y"].pop(), "clip both: expected 10 y pictures, got 9"),
        (lambda m: m["clips"]["both"].update(rgb=None, y=None), "clip both: expected rgb or y pictures"),
        (lambda m: m["clips"].update(both=None), "expected a manifest of restored frames, got"),
        (lambda m: m.update(dataset="other"), "expected dataset made, got other"),
        (lambda m: m.update(run="other"), "expected run noisy, got other"),
        (lambda m: m.pop("run"), "expected a manifest of restored frames, got"),
        (lambda m: m.pop("clips"), "expected a manifest of restored frames, got"),
    ],
)
def test_restored_manifest_is_checked(study, edit, message):
    study.edit_restored(edit)
    with pytest.raises(DataError, match=message):
        study.score()
    assert not study.table.exists()


def test_missing_restored_manifest_is_named(study):
    study.restored.unlink()
    with pytest.raises(
        DataError, match="manifest.json: expected a manifest of restored frames, but there is none"
    ):
        study.score()


@pytest.mark.parametrize(
    ("file", "frame", "message"),
    [
        (
            "both/y/00000009.png",
            np.zeros((48, 64), np.uint8),
            "expected 64x52 grey like the truth, got 64x48 grey",
        ),
        (
            "both/y/00000009.png",
            np.zeros((52, 64, 3), np.uint8),
            "expected 64x52 grey like the truth, got 64x52 RGB",
        ),
        (
            "colour/rgb/00000001.png",
            np.zeros((52, 64), np.uint8),
            "expected 64x52 RGB like the truth, got 64x52 grey",
        ),
    ],
)
def test_pictures_of_another_size_or_kind_are_named(study, file, frame, message):
    write_png(study.restored.parent / file, frame)
    with pytest.raises(DataError, match=f"{file}: {message}"):
        study.score(workers=2)
    assert not study.table.exists()


def test_missing_and_damaged_pictures_are_named(study):
    picture = study.restored.parent / "colour/rgb/00000005.png"
    picture.write_bytes(picture.read_bytes()[:200])
    with pytest.raises(DataError, match="00000005.png"):
        study.score()
    picture.unlink()
    with pytest.raises(DataError, match="00000005.png"):
        study.score()


def test_flow_of_another_clip_is_refused(study):
    for kind, shape, dtype in (("backward", (9, 8, 8, 2), np.float32), ("visible", (9, 8, 8), bool)):
        np.save(study.flow.parent / f"both.{kind}.npy", np.zeros(shape, dtype))
    with pytest.raises(DataError, match=r"clip both: expected flow of shape \(9, 52, 64\), got \(9, 8, 8\)"):
        study.score()


def test_a_crop_that_leaves_no_window_is_refused(study):
    with pytest.raises(
        DataError, match="clip both: expected at least 11 pixels each way inside crop 21, got"
    ):
        study.score(crops=[0, 21])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"run": "noisy"}}, "labels: expected study, run"),
        ({"crops": []}, "crops: expected different whole numbers from 0 on, got"),
        ({"crops": [8, 8]}, "crops: expected different"),
        ({"crops": [-1]}, "crops: expected different"),
        ({"crops": [1.5]}, "crops: expected different"),
        ({"workers": 0}, "workers: expected at least 1, got 0"),
        ({"metrics": ("psnr",)}, "metrics: expected some of psnr_y, .*, got psnr"),
        ({"flow": None}, "expected a flow manifest for warp_error"),
    ],
)
def test_arguments_are_checked(study, changes, message):
    with pytest.raises(ConfigError, match=message):
        study.score(**changes)
