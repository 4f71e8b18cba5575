import json

import numpy as np
import pytest

from rlsp.data.clips import pack_clip
from rlsp.data.images import write_png
from rlsp.errors import DataError
from rlsp.files import write_json
from rlsp.inference.external import adopt_frames


@pytest.fixture
def clips_manifest(tmp_path):
    path = tmp_path / "clips" / "manifest.json"
    frames = np.zeros((3, 16, 16, 3), np.uint8)
    entries = {
        name: pack_clip(iter(frames), path.parent / f"{name}.npy", scale=4) for name in ("city", "walk")
    }
    write_json(path, {"dataset": "made", "spec": {}, "licence": "CC0", "clips": entries})
    return path


def write_frames(folder, numbers, pattern="frame_{:04d}.png", channels=3):
    folder.mkdir(parents=True)
    shape = (16, 16, 3) if channels == 3 else (16, 16)
    for number in numbers:
        write_png(folder / pattern.format(number), np.full(shape, number, np.uint8))


def adopted(clips_manifest, tmp_path, frames):
    target = tmp_path / "restored" / "manifest.json"
    adopt_frames(clips_manifest, target, frames=frames, run="mine")
    return json.loads(target.read_text())["clips"]


def test_folders_of_pictures_in_every_layout(clips_manifest, tmp_path):
    root = tmp_path / "mine"
    write_frames(root / "city", range(3), "{}.png")
    write_frames(root / "walk" / "rgb", range(8, 11), "Frame {:03d}.png")
    write_frames(root / "walk_y", range(1, 4), channels=1)
    clips = adopted(clips_manifest, tmp_path, root)
    assert [name.rsplit("/", 1)[1] for name in clips["city"]["rgb"]] == ["0.png", "1.png", "2.png"]
    assert clips["city"]["y"] is None
    assert len(clips["walk"]["rgb"]) == len(clips["walk"]["y"]) == 3


def test_numbers_are_sorted_as_numbers(clips_manifest, tmp_path):
    for name in ("city", "walk"):
        write_frames(tmp_path / "mine" / name, (9, 10, 11), "{}.png")
    clips = adopted(clips_manifest, tmp_path, tmp_path / "mine")
    assert [name.rsplit("/", 1)[1] for name in clips["city"]["rgb"]] == ["9.png", "10.png", "11.png"]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 1, 3), "clip walk .rgb.: expected picture 2 after picture 1, got frame_0003.png"),
        ((0, 1), "clip walk .rgb.: expected 3 pictures like the clip, got 2"),
        ((0, 1, 2, 3), "expected 3 pictures like the clip, got 4"),
        ((), "run mine has no pictures of clip walk"),
    ],
)
def test_missing_and_superfluous_pictures(clips_manifest, tmp_path, numbers, message):
    write_frames(tmp_path / "mine" / "city", range(3))
    write_frames(tmp_path / "mine" / "walk", numbers)
    with pytest.raises(DataError, match=message):
        adopted(clips_manifest, tmp_path, tmp_path / "mine")


def test_folder_that_is_not_there(clips_manifest, tmp_path):
    with pytest.raises(DataError, match="expected a folder of restored frames"):
        adopted(clips_manifest, tmp_path, tmp_path / "none")
