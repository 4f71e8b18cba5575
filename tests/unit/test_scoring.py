import csv
import json
import math

import numpy as np
import pandas as pd
import pytest
from made_metrics import OWN, flicker, mean_error

from rlsp.color import rgb_to_y
from rlsp.columns import SCORES
from rlsp.config.specs.metrics import INPUTS, MOTION, unknown_inputs
from rlsp.data.clips import write_clip
from rlsp.data.flow import open_flow, write_flow_dataset
from rlsp.data.images import write_png
from rlsp.errors import ConfigError, DataError
from rlsp.evaluation.scoring import score_dataset
from rlsp.files import write_json
from rlsp.metrics import METRICS
from rlsp.metrics.fidelity import PSNR_RGB, PSNR_Y, SSIM_Y, crop_border, psnr, ssim
from rlsp.metrics.flow import grey
from rlsp.metrics.metric import Metric
from rlsp.metrics.temporal import TOF, WARP_ERROR, tof, warp_error

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
NAMES = tuple(metric.name for metric in METRICS)


def metric(function, *inputs, kind="frame", **changes):
    """Make the record of a measure ``made``."""
    fields = {"label": "made", "unit": "", "better": "lower", "decimals": 3} | changes
    return Metric(name="made", kind=kind, inputs=inputs, function=function, **fields)


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
        return pd.read_csv(self.table, keep_default_na=False, na_values=[""])


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


def row(table, clip, frame, crop):
    chosen = table[(table["clip"] == clip) & (table.frame == frame) & (table.crop == crop)]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_one_sorted_row_per_frame_clip_and_crop(study):
    table = study.score(crops=[4, 0])
    assert tuple(table.columns) == (
        *SCORES.names,
        "psnr_y",
        "ssim_y",
        "psnr_rgb",
        "psnr_y_of_rgb",
        "tof",
        "warp_error",
    )
    keys = [(clip, frame, crop) for clip in ("both", "colour") for frame in range(FRAMES) for crop in (0, 4)]
    assert list(zip(table["clip"], table.frame, table.crop, strict=True)) == keys
    for name, value in LABELS.items():
        assert (table[name] == value).all() if value != "" else table[name].isna().all()


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
    everything = study.score()
    for chosen in ([PSNR_Y], [PSNR_RGB, SSIM_Y], [TOF, PSNR_Y]):
        table = study.score(metrics=chosen, flow=None)
        assert tuple(table.columns) == (*SCORES.names, *(metric.name for metric in chosen))
        assert table.mse_y.notna().all() if PSNR_Y in chosen else table.mse_y.isna().all()
        for name in table.columns.drop("mse_y"):
            pd.testing.assert_series_equal(table[name], everything[name])


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
        ({"metrics": [PSNR_Y, PSNR_Y]}, "metrics: expected different names, got psnr_y twice"),
        (
            {"metrics": [metric(abs, "truth")]},
            "metrics.made.inputs: expected inputs of a frame: .*; got truth",
        ),
        ({"own": {"psnr_y": OWN["mean_error"]}}, "metrics: expected different names, got psnr_y twice"),
        ({"own": {"crop": OWN["mean_error"]}}, "metrics: expected different names, got crop twice"),
        ({"flow": None}, "expected a flow manifest for warp_error, got none"),
        (
            {"flow": None, "metrics": [metric(abs, "visible", kind="pair"), WARP_ERROR]},
            "expected a flow manifest for made, warp_error, got none",
        ),
    ],
)
def test_arguments_are_checked(study, changes, message):
    with pytest.raises(ConfigError, match=message):
        study.score(**changes)


# ---- any measure -------------------------------------------------------------------------------------------


def test_measures_of_the_users_own_are_columns_after_those_that_ship(study):
    table = study.score(own=OWN, workers=2)
    assert tuple(table.columns) == (*SCORES.names, *NAMES, *OWN)
    pd.testing.assert_frame_equal(table[[*SCORES.names, *NAMES]], study.score())
    for crop in (0, 4):
        truth, restored = (
            [crop_border(luma, crop) for luma in rgb_to_y(clip["colour"])]
            for clip in (study.truth, study.rgb)
        )
        errors = [mean_error(*pair) for pair in zip(truth, restored, strict=True)]
        rows = table[(table["clip"] == "colour") & (table.crop == crop)]
        assert list(rows.mean_error) == errors
        assert rows.worst_error.iloc[0] == max(errors) and rows.worst_error[1:].isna().all()
    greys = [[grey(rgb_to_y(image)) for image in clip["colour"][7:9]] for clip in (study.truth, study.rgb)]
    assert row(table, "colour", 8, 0).flicker == row(table, "colour", 8, 4).flicker == flicker(*greys)
    assert table.flicker[table.frame == 0].isna().all() and table.flicker[table.frame > 0].notna().all()


SHAPES = {
    "reference": ((44, 56), np.float64),
    "restored": ((44, 56), np.float64),
    "reference_rgb": ((44, 56, 3), np.uint8),
    "restored_rgb": ((44, 56, 3), np.uint8),
    "restored_luma_of_rgb": ((44, 56), np.float64),
    "reference_grey": ((52, 64), np.uint8),
    "restored_grey": ((52, 64), np.uint8),
    "mse": ((), np.float64),
    "similarity": ((52, 64), np.float64),
    "previous": ((52, 64), np.float64),
    "current": ((52, 64), np.float64),
    "backward": ((52, 64, 2), np.float32),
    "visible": ((52, 64), np.bool_),
    "crop": ((), np.int64),
}


@pytest.mark.parametrize("kind", ["frame", "pair", "clip"])
def test_every_input_is_given_as_it_is_told(study, kind):
    """At crop 4, of the last frame, of it and the one before it, of all ten."""
    seen = []
    names = [name for name in INPUTS if not unknown_inputs(kind, [name])]
    study.score(crops=[4], metrics=[metric(lambda **given: seen.append(given) or 1, *names, kind=kind)])
    assert list(SHAPES) == list(INPUTS) and len(names) == {"frame": 10, "pair": 14, "clip": 12}[kind]
    given = seen[-1]
    for name in names:
        shape, dtype = SHAPES[name]
        value = given[name]
        if kind != "frame" and name not in ("previous", "current", "crop"):
            several = {"pair": 2, "clip": FRAMES}[kind]
            if name in MOTION:
                shape = (FRAMES - 1, *shape) if kind == "clip" else shape
            else:
                assert len(value) == len(list(value)) == several, name
                value = value[several - 1]
        assert (np.shape(value), np.asarray(value).dtype) == (shape, dtype), name
    last = crop_border(study.rgb["colour"][9], 4)
    found = given["restored_rgb"] if kind == "frame" else given["restored_rgb"][-1]
    np.testing.assert_array_equal(found, last)


def test_frames_of_a_clip_are_read_by_number_and_slice(study):
    def look(reference):
        frames = list(reference)
        for index in (0, 9, -1, -10):
            np.testing.assert_array_equal(reference[index], frames[index])
        np.testing.assert_array_equal(reference[2:8:3], [frames[2], frames[5]])
        with pytest.raises(IndexError):
            reference[10]
        return 0

    assert study.score(metrics=[metric(look, "reference", kind="clip")]).made.notna().sum() == 2 * 2


def test_what_does_not_depend_on_the_crop_is_computed_once(study):
    calls = []
    for inputs, times in ((("restored_grey",), 1), (("restored_grey", "crop"), 2), (("restored",), 2)):
        calls.clear()
        study.score(metrics=[metric(lambda **given: calls.append(given) or 1, *inputs)])
        assert len(calls) == 2 * FRAMES * times


@pytest.mark.parametrize("name", ["reference", "restored", "reference_rgb", "restored_rgb", "similarity"])
def test_a_measure_cannot_change_what_others_are_given(study, name):
    def spoil(**given):
        given[name][...] = 0
        return 0

    with pytest.raises(ValueError, match="read-only"):
        study.score(metrics=[metric(spoil, name), PSNR_Y])


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (None, "expected a number, got NoneType"),
        ("1", "expected a number, got str"),
        (True, "expected a number, got bool"),
        (1j, "expected a number, got complex"),
        (np.zeros(1), r"expected a number, got ndarray of shape \(1,\)"),
        (np.zeros((2, 3)), r"expected a number, got ndarray of shape \(2, 3\)"),
        (math.nan, "expected a finite number, got nan"),
        (np.float32("inf"), "expected a finite number, got inf"),
        (-math.inf, "expected a finite number, got -inf"),
    ],
)
@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("frame", "metric made: clip both, frame 0: "),
        ("pair", "metric made: clip both, frame 1: "),
        ("clip", "metric made: clip both: "),
    ],
)
def test_what_is_no_number_is_refused_by_metric_clip_and_frame(study, kind, where, value, got):
    with pytest.raises(DataError, match=f"^{where}{got}$"):
        study.score(metrics=[metric(lambda reference: value, "reference", kind=kind)])
    assert not study.table.exists()


def test_infinity_is_for_psnr_and_nan_for_measures_with_gaps(study):
    nowhere = metric(lambda reference: math.nan, "reference", has_gaps=True)
    assert study.score(metrics=[nowhere]).made.isna().all()
    with pytest.raises(DataError, match="expected a finite number, got inf"):
        study.score(metrics=[metric(lambda reference: math.inf, "reference", has_gaps=True)])
    same = metric(lambda reference: math.inf, "reference", average="psnr")
    assert (study.score(metrics=[same]).made == math.inf).all()


def test_a_failure_inside_a_measure_says_where(study):
    def divide(reference):
        return 1 / 0

    with pytest.raises(ZeroDivisionError) as caught:
        study.score(metrics=[metric(divide, "reference")])
    assert caught.value.__notes__ == ["metric made: clip both, frame 0"]


@pytest.mark.parametrize("value", [3, np.int64(3), np.float32(3), np.uint8(3)])
def test_any_real_number_is_a_measure(study, value):
    assert (study.score(metrics=[metric(lambda reference: value, "reference")]).made == 3).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"function": "no_such_module:f"},
            "metrics.own.function: cannot import no_such_module:f .*No module named",
        ),
        (
            {"function": "made_metrics:f"},
            "metrics.own.function: cannot import made_metrics:f .*no attribute 'f'",
        ),
        (
            {"function": "made_metrics:OWN"},
            "function: expected a function, got made_metrics:OWN of type dict",
        ),
        (
            {"inputs": ["reference"]},
            "function: made_metrics:mean_error: missing a required argument: 'restored'",
        ),
        (
            {"inputs": ["reference", "restored", "mse"]},
            "mean_error: got an unexpected keyword argument 'mse'",
        ),
        (
            {"inputs": ["reference", "truth"]},
            "metrics.own.inputs.1: expected one of reference, .*got 'truth'",
        ),
        ({"kind": "frames"}, "metrics.own.kind: expected one of frame, pair, clip, got 'frames'"),
    ],
)
def test_a_function_that_cannot_measure_is_told_in_one_line(study, changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        study.score(own={"own": OWN["mean_error"] | changes})
    assert "\n" not in str(caught.value) and not study.table.exists()
