import av
import numpy as np
import pytest
from PIL import Image

from rlsp.config import datasets
from rlsp.data import clips, images, packing
from rlsp.errors import ConfigError, DataError
from rlsp.files import write_json

RNG = np.random.default_rng(0)
MOVES = {
    "source": "camera-moves",
    "photographs": ["coffee", "motorcycle_left"],
    "clips_per_photograph": 2,
    "varied_clips": 0,
    "varied_speed": 1.5,
    "resize": None,
    "skip_small": False,
    "frames": 3,
    "size": [32, 48],
    "supersample": 2,
    "pan": [1.0, 0.25],
    "jitter": 0.12,
    "random_direction": True,
    "zoom": 0.0,
    "rotation": 0.0,
    "seed": 0,
}
VIDEO = {
    "source": "video", "download": "film", "shots": {"b": [6, 9], "a": [1, 4]}, "frames": None,
    "resize": None, "region": None,
}  # fmt: skip
LISTED = {
    "source": "frames", "download": "pictures", "first_frames": None,
    "clips": {"walk": {"prefix": "in/walk/", "frames": 3}},
}  # fmt: skip


def pack(folder, spec, source=None, name="set"):
    manifest = folder / "out/manifest.json"
    packing.pack_dataset(name, spec, manifest, source=source or spec.get("path"), workers=2)
    return clips.read_manifest(manifest), clips.open_clips(manifest)


def write_download(folder, files):
    listed = {file: {"bytes": (folder / file).stat().st_size, "sha256": ""} for file in files}
    write_json(folder / "manifest.json", {"licence": "free", "files": listed})
    return folder / "manifest.json"


# ---- camera moves


def test_camera_moves_are_packed_with_their_flow(tmp_path):
    manifest, opened = pack(tmp_path, MOVES)
    assert list(opened) == ["coffee-0", "coffee-1", "motorcycle-left-0", "motorcycle-left-1"]
    assert all(clip.shape == (3, 32, 48, 3) for clip in opened.values())
    assert "coffee: CC0 (Rachel Michetti" in manifest["licence"] and manifest["spec"] == {**MOVES, "scale": 4}
    with np.load(tmp_path / "out" / manifest["clips"]["coffee-1"]["flow"], allow_pickle=False) as flow:
        assert flow["backward"].shape == (2, 32, 48, 2) and flow["backward"].dtype == np.float32
        assert flow["visible"].shape == (2, 32, 48) and flow["visible"].dtype == bool
    assert not np.array_equal(opened["coffee-0"], opened["coffee-1"])


def test_varied_clips_move_in_their_own_way(tmp_path):
    pack(tmp_path, {**MOVES, "random_direction": False, "jitter": 0.0, "varied_clips": 1})
    moves = {}
    for path in (tmp_path / "out").glob("*.flow.npz"):
        with np.load(path, allow_pickle=False) as flow:
            moves[path.name.split(".")[0]] = flow["backward"][0, 0, 0]
    for photograph in ("coffee", "motorcycle-left"):
        np.testing.assert_array_equal(moves[f"{photograph}-0"], [1.0, 0.25])
        assert np.abs(moves[f"{photograph}-1"]).max() <= 1.5 + 1 / 32
    assert not np.allclose(moves["coffee-1"], moves["motorcycle-left-1"], atol=0.1)


def test_a_clip_does_not_depend_on_the_others(tmp_path):
    first, _ = pack(tmp_path / "1", MOVES)
    second, _ = pack(tmp_path / "2", {**MOVES, "photographs": ["motorcycle_left"], "clips_per_photograph": 1})
    other, _ = pack(tmp_path / "3", {**MOVES, "seed": 1})
    key = "motorcycle-left-0"
    assert first["clips"][key] == second["clips"][key]
    assert first["clips"][key]["sha256"] != other["clips"][key]["sha256"]
    flows = [(tmp_path / run / "out" / f"{key}.flow.npz").read_bytes() for run in "12"]
    assert flows[0] == flows[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"photographs": ["cofee"]}, "photographs: expected names among .*coffee.*, got cofee"),
        ({"photographs": ["coffee", "coffee"]}, "two 'coffee-0'"),
        ({"photographs": ["page"], "size": [160, 380]}, "photographs: page: .* at least .* got 384x191"),
        ({"size": [30, 48]}, "multiples of the scale 4"),
    ],
)
def test_moves_that_cannot_be_made(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        pack(tmp_path, {**MOVES, **change})
    assert not (tmp_path / "out/manifest.json").exists()


def own_moves(folder, **changes):
    spec = {**MOVES, "path": str(folder), "clips_per_photograph": 1, **changes}
    del spec["photographs"]
    return spec


@pytest.fixture
def album(tmp_path):
    """Four photographs of different kinds, a note and a hidden file."""
    folder = tmp_path / "Album"
    (folder / "others").mkdir(parents=True)
    for number, name in enumerate(["10 Sea.JPG", "9 Sea.webp", "flower_1.tif", "grey.png"]):
        picture = np.random.default_rng(number).integers(0, 256, (60, 70, 3), np.uint8)
        Image.fromarray(picture[..., 0] if name == "grey.png" else picture).save(folder / name)
    (folder / "notes.txt").write_text("seen in May")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def motions(folder):
    """First flow vector of each clip of a packed set."""
    found = {}
    for path in sorted((folder / "out").glob("*.flow.npz")):
        with np.load(path, allow_pickle=False) as flow:
            found[path.name.removesuffix(".flow.npz")] = flow["backward"][0, 0, 0]
    return found


def test_cameras_move_over_photographs_of_ones_own(tmp_path, album):
    manifest, opened = pack(tmp_path, own_moves(album))
    assert list(opened) == ["9-sea-0", "10-sea-0", "flower-1-0", "grey-0"]
    assert all(clip.shape == (3, 32, 48, 3) for clip in opened.values())
    assert manifest["licence"] == "not stated" and len(motions(tmp_path)) == 4
    assert np.ptp(opened["grey-0"], axis=3).max() == 0


def test_each_clip_shows_its_own_photograph(tmp_path):
    colours = {"b": (10, 60, 200), "a": (250, 0, 30)}
    for name, colour in colours.items():
        images.write_png(tmp_path / f"own/{name}.png", np.full((60, 70, 3), colour, np.uint8))
    _, opened = pack(tmp_path, own_moves(tmp_path / "own", clips_per_photograph=2))
    assert list(opened) == ["a-0", "a-1", "b-0", "b-1"]
    for clip, frames in opened.items():
        assert np.all(frames == colours[clip[0]])


@pytest.mark.parametrize(("varied", "own"), [("all", 3), (3, 3), (5, 3), (2, 2), (0, 0)])
def test_number_of_clips_that_have_a_motion_of_their_own(tmp_path, album, varied, own):
    still = {"jitter": 0.0, "random_direction": False, "clips_per_photograph": 3, "varied_clips": varied}
    pack(tmp_path, own_moves(album, **still))
    found = motions(tmp_path)
    assert len(found) == 12
    ordinary = [clip for clip, motion in found.items() if motion.tolist() == [1.0, 0.25]]
    assert len(ordinary) == 4 * (3 - own)
    assert len({tuple(motion) for motion in found.values()}) == 4 * own + (own < 3)


def test_largest_speed_of_varied_clips(tmp_path, album):
    still = {"jitter": 0.0, "clips_per_photograph": 8, "varied_clips": "all", "varied_speed": 4.0}
    pack(tmp_path, own_moves(album, **still))
    speeds = np.abs(list(motions(tmp_path).values()))
    assert 3 < speeds.max() <= 4 + 1 / 32 and speeds.min() < 1


def test_photographs_can_be_reduced_first(tmp_path):
    blocks = np.kron(RNG.integers(0, 2, (99, 99, 1)), np.ones((2, 2, 3)))
    images.write_png(tmp_path / "own/a.png", (200 * blocks).astype(np.uint8))
    still = {"pan": [0.0, 0.0], "jitter": 0.0}
    _, opened = pack(tmp_path / "1", own_moves(tmp_path / "own", **still))
    _, reduced = pack(tmp_path / "2", own_moves(tmp_path / "own", resize=2, **still))
    edges = [np.abs(np.diff(clip["a-0"][0].astype(int), axis=1)).mean() for clip in (opened, reduced)]
    assert edges[1] > 1.3 * edges[0]
    with pytest.raises(ConfigError, match="a.png: .* got 66x66"):
        pack(tmp_path / "3", own_moves(tmp_path / "own", resize=3, size=[64, 64]))
    with pytest.raises(ConfigError, match="resize: expected a divisor of at most 198 .* got 200"):
        pack(tmp_path / "3", own_moves(tmp_path / "own", resize=200))


def test_too_small_photograph_is_named_or_left_out(tmp_path, album, capsys):
    images.write_png(album / "tiny.png", np.zeros((30, 200, 3), np.uint8))
    message = "tiny.png: camera move: .* at least .* got 200x30; .* skip_small: true leaves"
    with pytest.raises(ConfigError, match=message):
        pack(tmp_path, own_moves(album))
    _, opened = pack(tmp_path, own_moves(album, skip_small=True))
    assert "grey-0" in opened and "tiny-0" not in opened
    assert "tiny.png: clip 0 left out: camera move" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="datasets.set: expected at least one clip, but all were left out"):
        pack(tmp_path, own_moves(album, skip_small=True, size=[160, 160]))


def test_folders_that_no_camera_can_move_over(tmp_path, album):
    with pytest.raises(ConfigError, match="gone: expected a folder of photographs, but there is none"):
        pack(tmp_path, own_moves(tmp_path / "gone"))
    with pytest.raises(ConfigError, match="others: expected PNG, JPEG or other pictures, got none"):
        pack(tmp_path, own_moves(album / "others"))
    (album / "broken.jpeg").write_bytes((album / "10 Sea.JPG").read_bytes()[:400])
    with pytest.raises(DataError, match="broken.jpeg: expected a readable picture, got"):
        pack(tmp_path, own_moves(album))
    (album / "broken.jpeg").rename(album / "Grey.jpeg")
    with pytest.raises(
        ConfigError, match="different names, got (Grey.jpeg and grey.png), both of clips grey"
    ):
        pack(tmp_path, own_moves(album))
    (album / "Grey.jpeg").rename(album / "歩.jpeg")
    with pytest.raises(ConfigError, match="歩.jpeg: expected a name with letters a to z or digits"):
        pack(tmp_path, own_moves(album))
    assert not (tmp_path / "out/manifest.json").exists()


def test_every_photograph_of_the_table_is_shipped_and_has_a_licence():
    from rlsp.data.images import read_photograph

    for row in datasets.photographs().values():
        assert min(read_photograph(row["file"]).shape[:2]) >= 160 + 16
        assert row["licence"] and row["scene"]


# ---- videos


@pytest.fixture
def film(tmp_path):
    """Twelve grey frames, the n-th of level 16 n + 20, brighter by 10 on the right half."""
    path = tmp_path / "film/film.mkv"
    path.parent.mkdir()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 50, 64, "bgr0"
        for number in range(12):
            picture = np.full((50, 64, 3), 16 * number + 20, np.uint8)
            picture[:, 32:] += 10
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="bgr0")))
        container.mux(stream.encode())
    return write_download(path.parent, ["film.mkv"])


def levels(clip):
    return [(int(level) - 20) / 16 for level in clip[:, 0, 0, 0]]


def test_shots_hold_exactly_their_frames(tmp_path, film):
    manifest, opened = pack(tmp_path, VIDEO, film)
    assert levels(opened["a"]) == [1, 2, 3, 4] and levels(opened["b"]) == [6, 7, 8, 9]
    assert opened["a"].shape == (4, 48, 64, 3) and manifest["clips"]["a"]["dropped_rows"] == 2
    assert manifest["licence"] == "free"


def test_overlapping_and_shortened_shots(tmp_path, film):
    _, opened = pack(
        tmp_path, {**VIDEO, "shots": {"a": [0, 5], "b": [1, 3], "c": [9, 11]}, "frames": 2}, film
    )
    assert [levels(opened[name]) for name in "abc"] == [[0, 1], [1, 2], [9, 10]]


def test_region_and_resize(tmp_path, film):
    spec = {**VIDEO, "region": [2, 26, 48, 24], "resize": 3}
    _, opened = pack(tmp_path, spec, film)
    assert opened["a"].shape == (4, 16, 8, 3)
    np.testing.assert_array_equal(opened["a"][0, 5, :, 0], [36] * 2 + [46] * 6)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"region": [10, 0, 48, 64]},
            ConfigError,
            r"region: .*50 rows and 64 columns of film.mkv, got \[10, 0, 48",
        ),
        ({"shots": {"a": [8, 15]}}, DataError, "film.mkv: expected frames 8 to 15 for clip a, got 4"),
        ({"shots": {"a": [50, 60]}}, DataError, "film.mkv: expected frames 50 to 60 for clip a, got 0"),
        ({"shots": {"a": [5, 2]}}, ConfigError, r"shots.a: .*got \[5, 2\]"),
    ],
)
def test_shots_that_are_not_there(tmp_path, film, change, error, message):
    with pytest.raises(error, match=message):
        pack(tmp_path, {**VIDEO, **change}, film)


# ---- listed frames


@pytest.fixture
def pictures(tmp_path):
    names = [f"in/walk/Frame {number}.png" for number in (9, 10, 11)] + ["in/walker/Frame 1.png"]
    for level, name in enumerate(names):
        images.write_png(tmp_path / "pictures" / name, np.full((8, 8, 3), level, np.uint8))
    # the list is in plain alphabetical order, as in a CSV
    return write_download(tmp_path / "pictures", sorted(names))


def test_listed_frames_are_packed_in_order(tmp_path, pictures):
    manifest, opened = pack(tmp_path, LISTED, pictures)
    assert opened["walk"][:, 0, 0, 0].tolist() == [0, 1, 2] and manifest["licence"] == "free"
    _, opened = pack(tmp_path, {**LISTED, "first_frames": 2}, pictures)
    assert opened["walk"][:, 0, 0, 0].tolist() == [0, 1]


def test_listed_frames_that_are_missing(tmp_path, pictures):
    with pytest.raises(DataError, match="expected 4 files in/walk/... for clip walk, got 3"):
        pack(tmp_path, {**LISTED, "clips": {"walk": {"prefix": "in/walk/", "frames": 4}}}, pictures)
    (tmp_path / "pictures/in/walk/Frame 10.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"Frame 10.png: expected \d+ bytes"):
        pack(tmp_path, LISTED, pictures)


# ---- one's own folders


def folder_spec(folder, frames=None):
    return {"source": "folder", "path": str(folder), "frames": frames}


def write_pictures(folder, count=3):
    for number in range(count):
        images.write_png(folder / f"{number}.png", np.full((9, 8, 3), number, np.uint8))


def test_folders_and_videos_become_clips(tmp_path, film):
    own = tmp_path / "own"
    write_pictures(own / "My Clip_1")
    (own / ".cache").mkdir()
    (own / "empty").mkdir()
    (own / "notes.txt").write_text("")
    (tmp_path / "film/film.mkv").rename(own / "Film.mkv")
    _, opened = pack(tmp_path, folder_spec(own, frames=2))
    assert {name: clip.shape for name, clip in opened.items()} == {
        "film": (2, 48, 64, 3),
        "my-clip-1": (2, 8, 8, 3),
    }


def test_folder_of_pictures_is_one_clip(tmp_path):
    write_pictures(tmp_path / "walk")
    _, opened = pack(tmp_path, folder_spec(tmp_path / "walk"))
    assert list(opened) == ["walk"] and len(opened["walk"]) == 3


def test_folders_that_hold_no_clips(tmp_path):
    with pytest.raises(ConfigError, match="there is none"):
        pack(tmp_path, folder_spec(tmp_path / "gone"))
    (tmp_path / "own").mkdir()
    with pytest.raises(ConfigError, match="own: expected .*got none"):
        pack(tmp_path, folder_spec(tmp_path / "own"))
    write_pictures(tmp_path / "own/A b")
    write_pictures(tmp_path / "own/a_b")
    with pytest.raises(ConfigError, match="two 'a-b'"):
        pack(tmp_path, folder_spec(tmp_path / "own"))
    write_pictures(tmp_path / "own")
    with pytest.raises(ConfigError, match="either pictures of one clip or several"):
        pack(tmp_path, folder_spec(tmp_path / "own"))


def test_a_clip_without_a_name_for_paths_is_refused(tmp_path):
    for name in ("walk", "歩"):
        images.write_png(tmp_path / "own" / name / "1.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ConfigError, match="歩: expected a name with letters a to z or digits"):
        pack(tmp_path, folder_spec(str(tmp_path / "own")))


@pytest.mark.parametrize(
    ("text", "name"),
    [("My Clip_1", "my-clip-1"), ("../x", "x"), ("a..b", "a.b"), ("Ä", ""), ("v1.0", "v1.0")],
)
def test_clip_names_are_fit_for_paths(text, name):
    assert packing.clip_name(text) == name
