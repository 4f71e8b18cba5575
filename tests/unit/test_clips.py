import hashlib
import json
import struct
import zlib

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from rlsp.data import clips, decoding, images
from rlsp.errors import DataError
from rlsp.files import write_json

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (5, 12, 16, 3), dtype=np.uint8)


# ---- pictures


@pytest.mark.parametrize("frame", [FRAMES[0], FRAMES[0, ..., 0], FRAMES[0, :, ::2]])
def test_png_gives_back_the_same_pixels(tmp_path, frame):
    images.write_png(tmp_path / "new/a.png", frame)
    np.testing.assert_array_equal(images.read_png(tmp_path / "new/a.png"), frame)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.png"]


def test_palette_and_opaque_alpha_become_rgb(tmp_path):
    red = np.zeros((4, 6, 3), np.uint8) + np.array([250, 10, 20], np.uint8)
    Image.fromarray(red).quantize(4).save(tmp_path / "palette.png")
    Image.fromarray(np.dstack([red, np.full((4, 6), 255, np.uint8)])).save(tmp_path / "opaque.png")
    for name in ("palette.png", "opaque.png"):
        np.testing.assert_array_equal(images.read_png(tmp_path / name), red)


def test_pictures_of_other_kinds_become_rgb(tmp_path):
    picture = FRAMES[0]
    for name in ("a.png", "a.tiff"):
        Image.fromarray(picture).save(tmp_path / name)
        np.testing.assert_array_equal(images.read_picture(tmp_path / name), picture)
    Image.fromarray(picture).save(tmp_path / "a.webp", lossless=True)
    np.testing.assert_array_equal(images.read_picture(tmp_path / "a.webp"), picture)
    smooth = np.kron(picture[:2, :2], np.ones((16, 16, 1), np.uint8))
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95, subsampling=0)
    assert np.abs(images.read_picture(tmp_path / "a.jpg") - smooth.astype(int)).max() < 10
    Image.fromarray(picture[..., 1]).save(tmp_path / "grey.jpg", quality=100)
    assert images.read_picture(tmp_path / "grey.jpg").shape == picture.shape


def test_picture_is_turned_the_right_way_up(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # EXIF orientation: the first row is the right-hand side
    Image.fromarray(FRAMES[0]).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(images.read_picture(tmp_path / "turned.png"), np.rot90(FRAMES[0], -1))


def test_pictures_that_cannot_be_taken(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="a.jpg: expected a picture file, but there is none"):
        images.read_picture(tmp_path / "a.jpg")
    Image.fromarray(FRAMES[0]).save(tmp_path / "a.gif")
    with pytest.raises(DataError, match="a.gif: expected a readable picture, got"):
        images.read_picture(tmp_path / "a.gif")
    Image.fromarray(np.full((4, 6), 60000, np.uint16)).save(tmp_path / "deep.tif")
    with pytest.raises(DataError, match="deep.tif: expected 8 bits per channel, got .*I;16"):
        images.read_picture(tmp_path / "deep.tif")
    Image.fromarray(np.full((4, 6, 4), 9, np.uint8)).save(tmp_path / "glass.webp", lossless=True)
    with pytest.raises(DataError, match="glass.webp: expected an opaque picture"):
        images.read_picture(tmp_path / "glass.webp")
    Image.fromarray(FRAMES[0]).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 90)
    with pytest.raises(DataError, match="large.png: expected a readable picture, got: .*192 pixels"):
        images.read_picture(tmp_path / "large.png")


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def sixteen_bit_rgb():
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    rows = zlib.compress(bytes(2 * (1 + 2 * 6)))
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


def bad_pictures(folder):
    images.write_png(folder / "good.png", FRAMES[0])
    good = (folder / "good.png").read_bytes()
    (folder / "truncated.png").write_bytes(good[: len(good) // 2])
    (folder / "flipped.png").write_bytes(good[:300] + bytes([good[300] ^ 255]) + good[301:])
    (folder / "text.png").write_bytes(b"this is no picture, whatever its name may say")
    (folder / "deep.png").write_bytes(sixteen_bit_rgb())
    Image.fromarray(np.full((4, 4), 999, np.uint16)).save(folder / "deep-grey.png")
    Image.fromarray(RNG.integers(0, 255, (4, 4, 4), dtype=np.uint8)).save(folder / "transparent.png")
    Image.fromarray(FRAMES[0]).save(folder / "photo.png", format="JPEG")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "there is none"),
        ("truncated", "readable PNG"),
        ("flipped", "readable PNG"),
        ("text", "PNG file, got something else"),
        ("photo", "PNG file, got something else"),
        ("deep", "8 bits per channel, got 16"),
        ("deep-grey", "8 bits per channel, got 16"),
        ("transparent", "transparent"),
    ],
)
def test_bad_picture_is_named_in_one_line(tmp_path, name, message):
    bad_pictures(tmp_path)
    with pytest.raises(DataError, match=rf"{name}\.png: expected .*{message}") as caught:
        images.read_png(tmp_path / f"{name}.png")
    assert "\n" not in str(caught.value)


def test_failed_writing_leaves_nothing(tmp_path):
    (tmp_path / "kept").write_text("before")
    with pytest.raises(RuntimeError), clips.replace_when_complete(tmp_path / "kept") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [file.read_text() for file in tmp_path.iterdir()] == ["before"]


# ---- folders of pictures


def write_folder(folder, numbers, name="Frame {}.png"):
    for index, number in enumerate(numbers):
        images.write_png(folder / name.format(number), FRAMES[index % 5])
    return folder


def test_frames_come_in_the_order_of_their_numbers(tmp_path):
    write_folder(tmp_path, [8, 9, 10, 11])
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("")
    np.testing.assert_array_equal(list(clips.read_frames(tmp_path)), FRAMES[:4])


def test_every_second_number_is_no_gap_but_a_missing_frame_is(tmp_path):
    assert len(clips.list_frames(write_folder(tmp_path / "even", [2, 4, 6]))) == 3
    write_folder(tmp_path / "gap", ["001", "002", "004", "005"])
    with pytest.raises(
        DataError, match=r"Frame 004.png: expected the frame numbered 3 after Frame 002.png, got 4"
    ):
        clips.list_frames(tmp_path / "gap")


def test_frame_of_another_size_is_named(tmp_path):
    write_folder(tmp_path, [1, 2])
    images.write_png(tmp_path / "Frame 3.png", FRAMES[0, :8])
    with pytest.raises(DataError, match=r"Frame 3.png: expected 16x12 like the other frames, got 16x8"):
        list(clips.read_frames(tmp_path))


def test_grey_pictures_become_rgb(tmp_path):
    images.write_png(tmp_path / "1.png", FRAMES[0, ..., 0])
    (frame,) = clips.read_frames(tmp_path)
    np.testing.assert_array_equal(frame, FRAMES[0][..., [0, 0, 0]])


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="expected PNG files or other pictures, got none"):
        list(clips.read_frames(tmp_path))
    with pytest.raises(DataError, match="there is none"):
        list(clips.read_frames(tmp_path / "gone"))


# ---- video files

# ITU-R BT.601 and BT.709, weights of red and blue
MATRICES = {5: (0.299, 0.114), 1: (0.2126, 0.0722)}


def coloured_blocks(height, width):
    return np.kron(RNG.integers(0, 256, (height // 20, width // 20, 3)), np.ones((20, 20, 1)))


def yuv_of(rgb, matrix, is_full):
    red, blue = MATRICES[matrix]
    luma = rgb @ [red, 1 - red - blue, blue]
    chroma = [(rgb[..., 2] - luma) / (2 - 2 * blue), (rgb[..., 0] - luma) / (2 - 2 * red)]
    planes = [luma, *(plane[::2, ::2] for plane in chroma)]
    scales, offsets = (
        ([1, 1, 1], [0, 128, 128]) if is_full else ([219 / 255, 224 / 255, 224 / 255], [16, 128, 128])
    )
    return [
        np.clip(np.rint(p * s + o), 0, 255).astype(np.uint8)
        for p, s, o in zip(planes, scales, offsets, strict=True)
    ]


def write_video(path, rgb, matrix, is_full, declared_matrix, frames=1):
    """Write a lossless video of still pictures that declares its matrix (2: none) and range."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *rgb.shape[:2], "yuv420p"
        stream.codec_context.colorspace = declared_matrix
        stream.codec_context.color_range = ColorRange.JPEG if is_full else ColorRange.MPEG
        planes = np.concatenate([plane.ravel() for plane in yuv_of(rgb, matrix, is_full)])
        for _ in range(frames):
            frame = av.VideoFrame.from_ndarray(planes.reshape(-1, rgb.shape[1]), format="yuv420p")
            frame.colorspace = declared_matrix
            frame.color_range = stream.codec_context.color_range
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize(
    ("matrix", "declared", "height"),
    [(5, 5, 720), (1, 1, 240), (5, 6, 720), (5, 2, 700), (1, 2, 720)],
)
def test_video_colours_follow_matrix_and_range(tmp_path, matrix, declared, height, is_full):
    rgb = coloured_blocks(height, 320)
    write_video(tmp_path / "a.mkv", rgb, matrix, is_full, declared)
    (frame,) = clips.read_frames(tmp_path / "a.mkv")
    difference = (frame - rgb)[10::20, 10::20]
    assert frame.dtype == np.uint8 and np.abs(difference).max() <= 3
    assert abs(difference.mean()) < 0.1  # the wrong matrix gives 0.3 and 35, wrong rounding -1.1


def test_matrices_are_those_that_pyav_names():
    assert set(decoding._MATRICES.values()) <= {int(matrix) for matrix in Colorspace}


def test_video_with_a_colon_in_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "a.mkv", coloured_blocks(40, 60), 5, False, 5)
    (tmp_path / "a.mkv").rename("pan: 1.mkv")
    assert len(list(clips.read_frames("pan: 1.mkv"))) == 1


def test_a_cover_picture_is_no_video(tmp_path):
    with av.open(str(tmp_path / "song.m4a"), "w", format="mp4") as container:
        cover = container.add_stream("mjpeg")
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        container.mux(
            cover.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24"))
        )
        container.mux(cover.encode())
    with pytest.raises(DataError, match="song.m4a: expected a video, got a file without a video stream"):
        list(clips.read_video(tmp_path / "song.m4a"))


def test_video_gives_all_frames(tmp_path):
    write_video(tmp_path / "a.mkv", coloured_blocks(40, 60), 5, False, 5, frames=7)
    assert len(list(clips.read_video(tmp_path / "a.mkv"))) == 7


@pytest.mark.parametrize(("angle", "turns"), [(0, 0), (90, 1), (-90, -1), (180, 2)])
def test_video_is_turned_upright(tmp_path, angle, turns):
    lying = np.zeros((64, 96, 3), np.uint8)
    lying[:32, :48] = 255  # the bright quarter lies at the upper left
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        stream.set_display_rotation(angle)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(lying, format="rgb24")))
        container.mux(stream.encode())
    (frame,) = clips.read_video(tmp_path / "a.mp4")
    expected = np.rot90(lying, turns)
    assert frame.shape == expected.shape
    assert np.abs(frame.astype(int) - expected).mean() < 8


def test_bad_video_is_named(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video at all" * 100)
    with pytest.raises(DataError, match=r"a.mp4: expected a video that can be decoded"):
        list(clips.read_frames(tmp_path / "a.mp4"))


# ---- clips on disk


def test_packed_clip_is_a_memory_map_of_the_same_frames(tmp_path):
    entry = clips.write_clip(tmp_path / "clips/a.npy", FRAMES)
    clip = clips.read_clip(tmp_path / "clips/a.npy")
    assert isinstance(clip, np.memmap) and not clip.flags.writeable
    np.testing.assert_array_equal(clip, FRAMES)
    np.testing.assert_array_equal(np.load(tmp_path / "clips/a.npy"), FRAMES)
    sha256 = hashlib.sha256((tmp_path / "clips/a.npy").read_bytes()).hexdigest()
    assert entry == {
        "file": "a.npy", "frames": 5, "height": 12, "width": 16,
        "dropped_rows": 0, "dropped_columns": 0, "flow": None, "sha256": sha256,
    }  # fmt: skip


def test_rows_and_columns_beyond_a_multiple_of_the_scale_are_dropped(tmp_path):
    entry = clips.pack_clip(iter(FRAMES[:3, :11, :15]), tmp_path / "a.npy", scale=4)
    np.testing.assert_array_equal(clips.read_clip(tmp_path / "a.npy"), FRAMES[:3, :8, :12])
    assert [entry[key] for key in ("frames", "height", "width", "dropped_rows", "dropped_columns")] == [
        3,
        8,
        12,
        3,
        3,
    ]


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "at least one frame"),
        ([FRAMES[0], FRAMES[1, :8]], r"frame 1: expected uint8 \(12, 16, 3\)"),
        ([FRAMES[0].astype(float)], "got float64"),
        ([FRAMES[0, ..., 0]], r"got uint8 \(12, 16\)"),
        ([FRAMES[0, :3]], "at least 4x4, got 16x3"),
    ],
)
def test_frames_that_make_no_clip(tmp_path, frames, message):
    with pytest.raises(DataError, match=message):
        clips.pack_clip(frames, tmp_path / "a.npy", scale=4)
    assert list(tmp_path.iterdir()) == []


def test_damaged_clips_are_named(tmp_path):
    clips.write_clip(tmp_path / "a.npy", FRAMES)
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "short.npy").write_bytes(content[:-1])
    (tmp_path / "empty.npy").write_bytes(b"")
    np.save(tmp_path / "float.npy", FRAMES.astype(np.float32))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    for name in ("short", "empty", "float", "objects", "none"):
        with pytest.raises(DataError, match=rf"{name}\.npy: expected"):
            clips.read_clip(tmp_path / f"{name}.npy")


def write_set(folder):
    manifest = {"dataset": "d", "spec": {}, "licence": "", "clips": {}}
    for name in ("a", "b"):
        manifest["clips"][name] = clips.write_clip(folder / f"{name}.npy", FRAMES)
    write_json(folder / "manifest.json", manifest)
    return manifest


def test_manifest_opens_its_clips(tmp_path):
    assert write_set(tmp_path) == clips.read_manifest(tmp_path / "manifest.json")
    opened = clips.open_clips(tmp_path / "manifest.json")
    assert list(opened) == ["a", "b"]
    np.testing.assert_array_equal(opened["b"], FRAMES)


def spoil(folder, manifest, how):
    if how == "missing":
        (folder / "b.npy").unlink()
    elif how == "short":
        (folder / "b.npy").write_bytes((folder / "b.npy").read_bytes()[:500])
    elif how == "flow":
        manifest["clips"]["b"]["flow"] = "b.flow.npz"
    elif how == "shape":
        manifest["clips"]["b"]["height"] = 6
    elif how == "elsewhere":
        manifest["clips"]["b"]["file"] = "../b.npy"
    elif how == "key":
        del manifest["clips"]["b"]["frames"]
    elif how == "empty":
        manifest["clips"] = {}
    write_json(folder / "manifest.json", manifest)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"b\.npy: .*missing"),
        ("short", r"b\.npy: expected 5 frames, got a shorter file"),
        ("flow", r"b\.flow\.npz: .*missing"),
        ("shape", r"b\.npy: expected \(5, 6, 16, 3\), got \(5, 12, 16, 3\)"),
        ("elsewhere", "without folders"),
        ("key", "KeyError"),
        ("empty", "at least one clip"),
    ],
)
def test_manifest_that_does_not_fit_its_files(tmp_path, how, message):
    spoil(tmp_path, write_set(tmp_path), how)
    with pytest.raises(DataError, match=message):
        clips.open_clips(tmp_path / "manifest.json")


@pytest.mark.parametrize("text", ["", "[1]", json.dumps({"clips": 3})])
def test_manifest_that_is_none(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match="manifest.json: expected"):
        clips.read_manifest(tmp_path / "manifest.json")
