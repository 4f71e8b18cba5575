"""Scene cuts: where they are found, and that nothing of one scene reaches the next."""

import itertools

import numpy as np
import pytest
import torch
from made_degradations import BICUBIC

from rlsp.config.specs.datasets import parse_dataset
from rlsp.data.clips import open_clips
from rlsp.data.cuts import WINDOW, find_cuts, split_at, split_scenes
from rlsp.data.images import read_png, write_png
from rlsp.data.packing import pack_dataset
from rlsp.errors import ConfigError
from rlsp.files import read_json
from rlsp.inference.upscaling import upscale
from rlsp.models import build_model
from rlsp.models.weights import save_weights
from rlsp.training.crops import TrainingCrops


def smooth(seed, side=60, cells=5):
    """A smooth random picture, (side, side, 3) uint8."""
    import cv2

    noise = np.random.default_rng(seed).integers(0, 256, (cells, cells, 3), np.uint8)
    return cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)


def pan(seed, frames, size=(24, 32)):
    """A camera that moves over a picture, (frames, *size, 3) uint8."""
    picture = smooth(seed)
    return np.stack([picture[t : t + size[0], t : t + size[1]] for t in range(frames)])


def cuts_of(frames):
    return [number for number, (_, is_cut) in enumerate(find_cuts(frames)) if is_cut]


@pytest.mark.parametrize("first", [2, 3, 5, 12])
@pytest.mark.parametrize("second", [2, 3, 5, 12])
def test_a_cut_is_found_wherever_it_is(first, second):
    assert cuts_of([*pan(1, first), *pan(2, second)]) == [first]


def test_every_cut_of_a_film_is_found():
    scenes = [pan(seed, frames) for seed, frames in ((1, 6), (2, 4), (3, 9), (1, 5))]
    assert cuts_of(itertools.chain(*scenes)) == [6, 10, 19]


def test_photographs_are_scenes_of_one_frame():
    """Unrelated pictures of one size: each is one, and a cut at every frame stands out from no other change."""
    found = cuts_of([smooth(seed, cells=20) for seed in range(40)])
    assert len(found) >= 37


def test_grain_is_no_scene():
    """Grain of a grey wall correlates with nothing, and its hue jumps about."""
    grain = np.random.default_rng(0).normal(90, 12, (20, 48, 64, 3))
    assert cuts_of(np.clip(grain, 0, 255).astype(np.uint8)) == []


def test_a_scene_is_not_cut():
    still, faster = np.repeat(pan(1, 1), 9, axis=0), pan(1, 27)[::3]
    brighter = np.clip(pan(1, 12) * np.linspace(1, 2, 12)[:, None, None, None], 0, 255).astype(np.uint8)
    assert [cuts_of(frames) for frames in (still, faster, brighter)] == [[], [], []]


@pytest.mark.parametrize("frames", [0, 1, 2, 3])
def test_videos_of_few_frames_come_back_whole(frames):
    given = list(pan(1, 3)[:frames])
    assert [(frame.tolist(), False) for frame in given] == [(f.tolist(), cut) for f, cut in find_cuts(given)]


def test_frames_are_not_held():
    taken = []
    frames = (taken.append(number) or frame for number, frame in enumerate(pan(1, 20)))
    for number, scene in enumerate(next(split_scenes(frames))):
        assert scene.shape == (24, 32, 3) and len(taken) <= number + WINDOW + 2


def test_frames_are_split_at_named_cuts():
    scenes = [list(scene) for scene in split_at(iter("abcdefg"), [2, 5])]
    assert scenes == [["a", "b"], ["c", "d", "e"], ["f", "g"]]


# ---- upscaling -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights, by which every frame depends on all before it."""
    torch.manual_seed(0)
    spec = {"arch": "rlsp", "layers": 2, "filters": 8}
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_weights(path, build_model(spec), {"model": spec, "degradation": BICUBIC})
    return path


def upscaled(folder, name, frames, weights, **changes):
    for number, frame in enumerate(frames):
        write_png(folder / name / f"{number}.png", frame)
    target = folder / f"{name}-x4"
    settings = {"weights": str(weights), "device": "cpu", "precision": "fp32", "threads": 1, **changes}
    upscale(folder / name, target, data_root=folder, show_progress=False, **settings)
    return np.stack([read_png(file) for file in sorted(target.iterdir())])


def test_scenes_are_restored_as_separate_clips(tmp_path, weights):
    a, b = pan(1, 8), pan(2, 12)
    joined = np.concatenate([a, b])
    apart = [upscaled(tmp_path, name, clip, weights) for name, clip in (("a", a), ("b", b))]
    assert np.array_equal(upscaled(tmp_path, "ab", joined, weights), np.concatenate(apart))
    through = upscaled(tmp_path, "through", joined, weights, find_cuts=False)
    differs = np.flatnonzero((through != np.concatenate(apart)).any(axis=(1, 2, 3)))
    assert differs[0] == 7 and 8 in differs  # the last before the cut sees a frame of the other scene


def test_cuts_are_told(tmp_path, weights, capfd):
    upscaled(tmp_path, "ab", np.concatenate([pan(1, 8), pan(2, 5)]), weights)
    assert "1 scene cut, before frame 8" in capfd.readouterr().err


# ---- data sets -----------------------------------------------------------------------------------


@pytest.fixture
def films(tmp_path):
    """A folder of two clips, one of them of three scenes."""
    own = tmp_path / "own"
    for name, frames in (
        ("Film_A", [*pan(1, 6), *pan(2, 3), *pan(3, 8)]),
        ("walk", pan(4, 5)),
    ):
        for number, frame in enumerate(frames):
            write_png(own / name / f"{number}.png", frame)
    return own


def pack(tmp_path, films, **spec):
    manifest = tmp_path / "clips/set/manifest.json"
    plain = {"source": "folder", "path": str(films), "scale": 4, **spec}
    pack_dataset("set", plain, manifest, source=films, workers=1)
    return manifest, open_clips(manifest)


def lengths(clips):
    return {name: len(clip) for name, clip in clips.items()}


def test_a_data_set_is_split_where_it_says_so(tmp_path, films):
    assert lengths(pack(tmp_path, films)[1]) == {"film-a": 17, "walk": 5}
    manifest, clips = pack(tmp_path, films, find_cuts=True)
    assert lengths(clips) == {"film-a-1": 6, "film-a-2": 3, "film-a-3": 8, "walk-1": 5}
    assert np.array_equal(clips["film-a-2"], pan(2, 3))
    assert [entry["first_frame"] for entry in read_json(manifest)["clips"].values()] == [0, 6, 9, 0]


def test_cuts_can_be_named(tmp_path, films):
    _, clips = pack(tmp_path, films, cuts={"Film_A": [6, 9]})
    assert lengths(clips) == {"film-a-1": 6, "film-a-2": 3, "film-a-3": 8, "walk": 5}
    _, clips = pack(tmp_path, films, cuts={"film-a": [6, 9]}, frames=8)
    assert lengths(clips) == {"film-a-1": 6, "film-a-2": 2, "walk": 5}


def test_short_scenes_are_left_out_and_named(tmp_path, films, capfd):
    _, clips = pack(tmp_path, films, find_cuts=True, shortest_scene=5)
    assert lengths(clips) == {"film-a-1": 6, "film-a-3": 8, "walk-1": 5}
    assert "Film_A: 3 frames from 6 on: left out, shorter than 5" in capfd.readouterr().err
    assert not (tmp_path / "clips/set/film-a-2.npy").exists()


@pytest.mark.parametrize(
    "spec, line",
    [
        ({"find_cuts": True, "cuts": {"walk": [2]}}, "cuts: expected cuts that are named or found, got both"),
        ({"cuts": {"walk": [3, 2]}}, r"cuts.walk: expected frames in rising order, got \[3, 2\]"),
        ({"cuts": {"walk": [0]}}, "cuts.walk.0: expected a minimum of 1, got 0"),
        ({"cuts": {"walk": []}}, "cuts.walk: expected at least 1 entries"),
        ({"cuts": {"Run": [2]}}, "cuts: expected clips of .*own, got run"),
        ({"cuts": {"walk": [5]}}, r"cuts: expected cuts inside the 5 frames of .*walk, got \[5\]"),
        ({"find_cuts": True, "shortest_scene": 99}, "expected at least one clip, but all were left out"),
    ],
)
def test_cuts_that_cannot_be(tmp_path, films, spec, line):
    with pytest.raises(ConfigError, match=line):
        pack(tmp_path, films, **spec)


def test_plain_form_of_a_folder_without_cuts_is_what_it_was():
    assert "cuts" not in " ".join(parse_dataset({"source": "folder", "path": "x"}).dump())


def test_no_training_crop_straddles_a_cut(tmp_path):
    """Of a film whose scenes are of one colour each, every crop is of one colour."""
    for number in range(30):
        write_png(
            tmp_path / f"own/film/{number:02d}.png", np.full((32, 32, 3), 200 * (number >= 13), np.uint8)
        )
    _, hr = pack(tmp_path, tmp_path / "own", find_cuts=True)
    lr = {name: clip[:, ::4, ::4] for name, clip in hr.items()}
    crops = TrainingCrops(lr, hr, scale=4, crop=4, frames=3, behind=1, ahead=1, seed=0, augment=("reverse",))
    drawn = [crops.crop_at(step, index) for step in range(8) for index in range(4)]
    assert all(part.min() == part.max() for pair in drawn for part in pair)
    assert {part.max().item() for pair in drawn for part in pair} == {0, 200}
