import hashlib
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from made_tables import (
    ABLATION,
    made_runs,
    made_runtime,
    made_scores,
    made_study,
    made_training,
    write_made,
)
from matplotlib.text import Text
from PIL import Image

from rlsp.columns import read_table
from rlsp.data.images import write_png
from rlsp.errors import ConfigError, DataError
from rlsp.reporting.figures import (
    FIGURES,
    fade_many,
    plot_ablation,
    plot_psnr_per_frame,
    plot_temporal,
    plot_training_curves,
    redraw_figures,
    thinned,
)
from rlsp.reporting.pictures import choose_region, draw_gallery, draw_pictures, plot_crops, plot_profiles
from rlsp.reporting.speed import summarise_speed
from rlsp.reporting.speed_figure import plot_psnr_vs_runtime
from rlsp.reporting.style import FADED, label_styles, save_figure, wrapped
from rlsp.reporting.tables import read_timing

pytestmark = pytest.mark.slow

ONE_CLIP = [("photos", "coffee", 7)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    write_made(folder, clips=ONE_CLIP)
    return folder


def hashes(paths):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def texts_inside(figure):
    """Assert that nothing of a figure is cut at its edge and no text too small; return the texts."""
    figure.draw_without_rendering()
    drawn = figure.get_tightbbox()  # inches
    width, height = figure.get_size_inches()
    assert min(drawn.x0, drawn.y0) >= -0.02
    assert drawn.x1 <= width + 0.02
    assert drawn.y1 <= height + 0.02
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    assert all(text.get_fontsize() >= 8 for text in texts)
    return [text.get_text() for text in texts]


def test_all_figures_come_from_the_tables_alone_with_the_same_bytes(made, tmp_path):
    tables = tmp_path / "elsewhere"
    shutil.copytree(made / "tables", tables)
    first = redraw_figures(tables, tmp_path / "a")
    assert [path.name for path in first] == [f"{name}.{kind}" for name in FIGURES for kind in ("pdf", "png")]
    second = redraw_figures(tables, tmp_path / "b", made_study())
    assert hashes(first) == hashes(second)
    for path in first:
        assert not re.search(rb"CreationDate|20\d\d-\d\d-\d\d", path.read_bytes()[-2000:])
    with Image.open(tmp_path / "a" / "ablation.png") as picture:
        assert round(picture.info["dpi"][0]) == 200
        assert "Software" not in picture.info


def test_a_study_with_scores_only_draws_what_it_can(made, tmp_path):
    from rlsp.reporting.tables import collect_tables, write_tables

    runs = [run for run in made_runs() if run[2] != "trained"]
    made_scores(runs, clips=ONE_CLIP).to_csv(tmp_path / "scores.csv", index=False)
    collect_tables([tmp_path / "scores.csv"], [], [], tmp_path / "tables")
    write_tables(tmp_path / "tables", made_study())
    written = redraw_figures(tmp_path / "tables", tmp_path / "figures")
    assert {path.stem for path in written} == {"psnr_per_frame", "temporal"}


def test_tables_without_the_spread_of_gains_can_be_drawn(made, tmp_path):
    tables = tmp_path / "tables"
    shutil.copytree(made / "tables", tables)
    ablation = pd.read_csv(tables / "ablation.csv").drop(columns="gain_std")
    ablation.to_csv(tables / "ablation.csv", index=False)
    assert tmp_path / "ablation.png" in redraw_figures(tables, tmp_path)


def test_a_folder_of_an_earlier_version_can_be_drawn(made, tmp_path):
    tables = tmp_path / "tables"
    shutil.copytree(made / "tables", tables)
    for name in ("runtime_cases", "sweep", "speed", "cost_curves"):
        (tables / f"{name}.csv").unlink()
    drawn = {path.stem for path in redraw_figures(tables, tmp_path)}
    assert drawn == set(FIGURES) - {"cost_curves"}


def test_missing_tables_are_named(made, tmp_path):
    with pytest.raises(DataError, match=r"study\.json: expected the facts of the study"):
        redraw_figures(tmp_path, tmp_path)
    with pytest.raises(DataError, match=r"scores\.csv: expected a table"):
        redraw_figures(tmp_path, tmp_path, made_study())


def test_twelve_long_names_fit_and_differ_without_colour(made):
    labels = [f"rlsp-7-128-variant-{'x' * 30}-{number}" for number in range(12)]
    runs = [(label, label, "external", None, None, "gaussian", 25 + n / 5) for n, label in enumerate(labels)]
    figure = plot_psnr_per_frame(made_scores(runs, clips=ONE_CLIP), made_study())
    found = "".join(texts_inside(figure)).replace("\n", "")
    assert all(label in found for label in labels)
    styles = label_styles(labels).values()
    assert len({style["marker"] for style in styles}) == 12


def test_a_single_run_and_a_single_frame_can_be_drawn():
    scores = made_scores(made_runs()[:1], clips=[("photos", "coffee", 1)])
    figure = plot_psnr_per_frame(scores, made_study())
    assert "coffee" in texts_inside(figure)
    line = figure.axes[0].lines[0]
    assert line.get_ydata()[0] == pytest.approx(scores[scores["crop"] == 8]["psnr_y"].item())


def test_lines_are_the_mean_over_seeds_and_trimmed_frames_are_shaded():
    runs = [run for run in made_runs(seeds=(0, 1)) if run[1] == "rlsp-5-32"]
    scores = made_scores(runs, clips=ONE_CLIP)
    figure = plot_psnr_per_frame(scores, made_study())
    expected = scores[scores["crop"] == 8].groupby("frame")["psnr_y"].mean()
    assert figure.axes[0].lines[0].get_ydata() == pytest.approx(expected.to_numpy())
    spans = [
        patch.get_extents().transformed(figure.axes[0].transData.inverted())
        for patch in figure.axes[0].patches
    ]
    assert [span.x0 for span in spans] == pytest.approx([-0.5, 4.5])
    assert [span.x1 for span in spans] == pytest.approx([1.5, 6.5])


def test_ablation_shows_values_and_gains(made):
    ablation = read_table(made / "tables" / "ablation.csv", [])
    texts = texts_inside(plot_ablation(ablation, made_study()))
    rows = ablation[ablation["protocol"] == "paper"]
    assert f"{rows['psnr'].iloc[0]:.2f}" in texts
    assert f"{rows['psnr'].iloc[3]:.2f} ({rows['gain'].iloc[3]:+.2f})" in texts
    assert any("frames only" in text for text in texts)
    assert any("adjacent + feedback + state" in text for text in texts)


def test_curves_are_thinned_by_averaging():
    curve = pd.DataFrame({"step": range(1, 1001), "loss": np.arange(1000.0)})
    thin = thinned(curve, 100)
    assert len(thin) == 100
    assert thin["loss"].iloc[0] == pytest.approx(4.5)
    assert thinned(curve[:7], 100)["loss"].tolist() == list(range(7))
    assert plot_training_curves(pd.DataFrame(columns=["loss", "psnr", "run"])) is None


def test_long_curves_are_thinned_by_factors_of_the_step():
    curve = pd.DataFrame({"step": range(100, 1_000_001, 100), "loss": 1.0})
    thin = thinned(curve, 200, by_ratio=True)
    assert len(thin) <= 200
    assert thin["step"].iloc[:2].tolist() == [100, 200]
    assert (thin["step"] > 500_000).sum() < 20


def test_a_training_curve_is_the_mean_over_seeds_in_a_band_of_their_spread():
    training = made_training(made_runs(seeds=(0, 1, 2)), steps=300).query("model == 'rlsp-3-16'")
    figure = plot_training_curves(training.assign(variant="rlsp-3-16"))
    assert any("mean and standard deviation of 3 seeds" in text for text in texts_inside(figure))
    loss = figure.axes[0]
    by_step = training.groupby("step")["loss"]
    assert loss.lines[0].get_ydata() == pytest.approx(by_step.mean().to_numpy())
    band = loss.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx((by_step.mean() + by_step.std()).max())


def many_runs():
    """Runs of 3 seeds of 15 models and of a bicubic baseline, for 2 degradations."""
    models = [*ABLATION, *(f"rlsp-7-{8 * number}" for number in range(1, 10)), "peer-a", "peer-b"]
    runs = []
    for degradation in ("gaussian", "bicubic"):
        runs.append((f"bicubic.{degradation}", "bicubic", "interpolation", None, None, degradation, 23.6))
        for number, model in enumerate(models):
            for seed in range(3):
                run = f"{model}.{degradation}.s{seed}"
                runs.append((run, model, "trained", "paper", seed, degradation, 25 + number / 9 + seed / 30))
    return runs


def test_figures_of_the_whole_study_are_complete_and_not_cut(tmp_path):
    from rlsp.reporting.tables import collect_tables, write_tables

    runs = many_runs()
    models = {model: {"arch": "peer" if "peer" in model else "rlsp"} for _, model, origin, *_ in runs}
    study = made_study(models=made_study()["models"] | models)
    clips = [(dataset, clip, 6) for dataset in ("vid4", "reds4") for clip in ("a", "b")]
    made_scores(runs, clips=clips).to_csv(tmp_path / "scores.csv", index=False)
    made_runtime(models).to_csv(tmp_path / "runtime.csv", index=False)
    made_training(runs, steps=100).to_csv(tmp_path / "training.csv", index=False)
    files = ([tmp_path / f"{name}.csv"] for name in ("scores", "runtime", "training"))
    collect_tables(*files, tmp_path)
    write_tables(tmp_path, study)
    scores = read_table(tmp_path / "scores.csv", [])
    styles = fade_many(label_styles(scores["model"]), scores.assign(variant=scores["model"]), study)
    grey = {label for label, style in styles.items() if style is FADED}
    assert grey == {f"rlsp-7-{8 * number}" for number in range(1, 10)}
    texts = texts_inside(plot_psnr_per_frame(scores, study, styles=styles))
    assert {"other variants (numbers in the tables)", "mean over 3 seeds"} <= set(texts)
    assert {"bicubic", "peer-a", *ABLATION} <= set(texts)
    accuracy, ablation = (read_table(tmp_path / f"{name}.csv", []) for name in ("accuracy", "ablation"))
    speed = summarise_speed(accuracy, read_timing(tmp_path, "rlsp-5-32"), study)
    figure = plot_psnr_vs_runtime(speed, accuracy, study)
    save_figure(figure, tmp_path / "psnr_vs_runtime")
    texts = texts_inside(figure)
    assert any("standard deviation over 3 seeds" in text.replace("\n", " ") for text in texts)
    gain = ablation[ablation["protocol"] == "paper"].iloc[1]
    texts = texts_inside(plot_ablation(ablation, study))
    assert f"{gain['psnr']:.2f} ({gain['gain']:+.2f} ± {gain['gain_std']:.2f})" in texts
    texts = texts_inside(plot_temporal(read_table(tmp_path / "temporal.csv", [])))
    assert set(models) <= set(texts)


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
