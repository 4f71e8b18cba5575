"""How figures look, and those that show frames."""

import hashlib
import json

import numpy as np
import pytest
from drawn import hashes, texts_inside

from rlsp.data.images import write_png
from rlsp.errors import ConfigError, DataError
from rlsp.reporting.pictures import choose_region, draw_gallery, draw_pictures, plot_crops, plot_profiles
from rlsp.reporting.style import label_styles, save_figure, wrapped

pytestmark = pytest.mark.slow


def test_twelve_styles_differ_without_colour():
    styles = label_styles(f"variant-{number}" for number in range(12)).values()
    assert len({style["marker"] for style in styles}) == 12


def test_labels_break_at_hyphens_and_dots_and_lose_nothing():
    label = "rlsp-7-128-with-a-very-long-name.and-more (released weights)"
    lines = wrapped(label).split("\n")
    assert max(len(line) for line in lines) <= 28
    assert "".join(lines).replace(" ", "") == label.replace(" ", "")


# ---- pictures ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A made clip of 5 frames of 64x96, its LR, and two methods: one off by 10 in a block, one off by 2."""
    folder = tmp_path_factory.mktemp("clips")
    random = np.random.default_rng(0)
    hr = random.integers(60, 200, (5, 64, 96, 3), dtype=np.uint8)
    write_manifest_of(folder / "hr", hr)
    write_manifest_of(folder / "lr", hr[:, ::4, ::4])
    near, far = hr + np.uint8(2), hr.copy()
    far[:, 24:48, 40:72] += np.uint8(10)
    restored = {}
    for label, frames in (("bicubic", far), ("rlsp", near)):
        restored[label] = write_restored(folder / label, frames)
    return folder / "hr" / "manifest.json", folder / "lr" / "manifest.json", restored, hr


def write_manifest_of(folder, frames):
    folder.mkdir(parents=True)
    np.save(folder / "walk.npy", frames)
    height, width = frames.shape[1:3]
    entry = {"file": "walk.npy", "frames": len(frames), "height": height, "width": width, "flow": None}
    entry |= {"dropped_rows": 0, "dropped_columns": 0}
    entry["sha256"] = hashlib.sha256((folder / "walk.npy").read_bytes()).hexdigest()
    manifest = {"dataset": "made", "spec": {}, "licence": "none", "clips": {"walk": entry}}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def write_restored(folder, frames):
    names = [f"walk/rgb/{number:08d}.png" for number in range(len(frames))]
    for name, frame in zip(names, frames, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_png(folder / name, frame)
    clips = {"walk": {"rgb": names, "y": None}}
    path = folder / "manifest.json"
    path.write_text(json.dumps({"run": folder.name, "dataset": "made", "clips": clips}))
    return path


def test_crops_show_lr_methods_and_hr_with_the_psnr_of_the_region(clips):
    hr_manifest, lr_manifest, restored, hr = clips
    figure = plot_crops(hr_manifest, lr_manifest, restored, region=(24, 40, 16, 32))
    texts = texts_inside(figure)
    # 10 and 2 levels in R, G and B are 10 and 2 times (65.481 + 128.553 + 24.966) / 255 in Y
    for levels in (10, 2):
        psnr = 20 * np.log10(255 / (levels * 219 / 255))
        assert f"{psnr:.2f} dB" in texts
    shown = [axis.images[0].get_array() for axis in figure.axes]
    assert (shown[0] == hr[2]).all()
    assert (shown[1] == hr[2, 24:40:4, 40:72:4]).all()
    assert (shown[-1] == hr[2, 24:40, 40:72]).all()
    assert all(axis.images[0].get_interpolation() == "nearest" for axis in figure.axes)


def test_the_automatic_region_is_where_the_error_is():
    error = np.zeros((128, 192))
    error[40:56, 100:120] = 1
    row, column, height, width = choose_region(error, 4)
    assert (height, width) == (64, 64)
    assert row <= 40 and row + height >= 56
    assert column <= 100 and column + width >= 120
    assert row % 4 == column % 4 == 0


def test_profiles_stack_one_row_over_time(clips):
    hr_manifest, _, restored, hr = clips
    figure = plot_profiles(hr_manifest, restored, row=30, columns=(8, 88))
    texts = texts_inside(figure)
    assert {"ground truth", "bicubic", "rlsp"} <= set(texts)
    assert (figure.axes[1].images[0].get_array() == hr[:, 30, 8:88]).all()
    assert (figure.axes[3].images[0].get_array() == hr[:, 30, 8:88] + 2).all()


def test_methods_with_fewer_frames_cut_the_profile_and_choose_the_frame(clips, tmp_path):
    hr_manifest, lr_manifest, restored, hr = clips
    methods = restored | {"short": write_restored(tmp_path / "short", hr[:2])}
    figure = plot_profiles(hr_manifest, methods)
    assert [len(axis.images[0].get_array()) for axis in figure.axes[1:]] == [2] * 4
    figure = plot_crops(hr_manifest, lr_manifest, methods)
    assert (figure.axes[0].images[0].get_array() == hr[1]).all()


def test_pictures_are_written_with_the_same_bytes(clips, tmp_path):
    hr_manifest, lr_manifest, restored, _ = clips
    entry = {"name": "made.gaussian", "runs": dict.fromkeys(restored, "a run")}
    paths = {"clips": [hr_manifest], "lr": [lr_manifest], "restored": restored.values()}
    first = draw_gallery([entry], tmp_path / "a", **paths)
    second = draw_pictures(hr_manifest, lr_manifest, restored, tmp_path / "b", "made.gaussian")
    assert hashes(first) == hashes(second)
    assert first[-1].name == "crops_made.gaussian.png"


def test_what_does_not_exist_is_named(clips, tmp_path):
    hr_manifest, lr_manifest, restored, hr = clips
    with pytest.raises(ConfigError, match="clip: expected one of walk, got 'city'"):
        plot_profiles(hr_manifest, restored, clip="city")
    with pytest.raises(ConfigError, match=r"row: expected 0\.\.63, got 64"):
        plot_profiles(hr_manifest, restored, row=64)
    with pytest.raises(ConfigError, match=r"frame: expected 0\.\.4, got 5"):
        plot_crops(hr_manifest, lr_manifest, restored, frame=5)
    with pytest.raises(ConfigError, match="region: expected row, column, height, width inside 64 rows"):
        plot_crops(hr_manifest, lr_manifest, restored, region=(60, 0, 8, 8))
    small = {"small": write_restored(tmp_path / "small", hr[:, :32])}
    with pytest.raises(DataError, match=r"png: expected 96x64, got 96x32"):
        plot_profiles(hr_manifest, small)
    short = {"short": write_restored(tmp_path / "short", hr[:2])}
    with pytest.raises(DataError, match="expected frame 2, got 2 frames"):
        plot_crops(hr_manifest, lr_manifest, short, frame=2)
    with pytest.raises(DataError, match="there is none"):
        plot_profiles(hr_manifest, {"absent": tmp_path / "absent.json"})


def test_a_figure_name_may_hold_dots(clips, tmp_path):
    figure = plot_profiles(clips[0], {})
    paths = save_figure(figure, tmp_path / "profiles_rlsp-7.48")
    assert [path.name for path in paths] == ["profiles_rlsp-7.48.pdf", "profiles_rlsp-7.48.png"]
