"""Pictures, folders of clips, restored frames and results to diagnose as people have them."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from cases import Case, names, run
from made_videos import make_film
from PIL import Image

from rlsp.data.clips import open_clips, read_frames, write_clip
from rlsp.data.images import read_picture, read_png, write_png
from rlsp.data.packing import pack_dataset
from rlsp.evaluation.diagnosis import TURNS
from rlsp.files import read_json, write_json
from rlsp.inference.external import adopt_frames


def picture(seed=0, height=16, width=24):
    rows, columns = np.mgrid[:height, :width]
    levels = np.stack([rows * 9, columns * 7, (rows + columns) * 4 + 3 * seed], axis=-1)
    return levels.astype(np.uint8)


def saved(folder, name="a.png", image=None, **options):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    image = picture() if image is None else image
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def equals(expected, most=0):
    def check(folder, found):
        assert found.shape == expected.shape and found.dtype == np.uint8
        assert np.abs(found.astype(int) - expected).max() <= most

    return check


# ---- single pictures -----------------------------------------------------------------------------

LOSSLESS = {
    "bmp": {},
    "png": {},
    "tif": {},
    "tiff": {"compression": "tiff_lzw"},
    "ppm": {},
    "tga": {},
    "webp": {"lossless": True},
}
LOSSY = {"jpg": 12, "jpeg": 12, "jpe": 12, "webp": 14, "avif": 30, "jp2": 3, "jfif": 12}
RED = Image.new("P", (24, 16))
RED.putpalette([200, 10, 20] * 256)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bytes(width=4, height=4, depth=8, color=2, rows=None):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    rows = zlib.compress(bytes(height * (1 + width * 3 * depth // 8))) if rows is None else rows
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def raw(folder, content, name="a.png"):
    (folder / name).write_bytes(content)
    return folder / name


def fifo(folder, name="a.png"):
    os.mkfifo(folder / name)
    return folder / name


def link(folder, target, name="a.png"):
    (folder / name).symlink_to(target)
    return folder / name


def folder_named(folder, name="a.png"):
    (folder / name).mkdir()
    return folder / name


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


RIGHT_PICTURES = [
    *(
        Case(f"lossless {suffix} {options}", lambda d, s=suffix, o=options: read_picture(saved(d, f"a.{s}", **o)), is_refused=False, check=equals(picture()))
        for suffix, options in LOSSLESS.items()
    ),
    *(
        Case(f"lossy {suffix}", lambda d, s=suffix: read_picture(saved(d, f"a.{s}", quality=95) if s != "jp2" else saved(d, "a.jp2")), is_refused=False, check=equals(picture(), most))
        for suffix, most in LOSSY.items()
    ),
    *(
        Case(f"exif orientation {tag}", lambda d, tag=tag: read_picture(turned(d, tag)), is_refused=False, check=equals(shown))
        for tag, shown in (
            (1, picture()), (2, picture()[:, ::-1]), (3, picture()[::-1, ::-1]), (4, picture()[::-1]), (5, picture().transpose(1, 0, 2)),
            (6, np.rot90(picture(), -1)), (7, np.rot90(picture().transpose(1, 0, 2), 2)), (8, np.rot90(picture(), 1)),
        )
    ),
    Case("palette", lambda d: read_png(saved(d, image=RED)), is_refused=False, check=equals(np.full((16, 24, 3), (200, 10, 20), np.uint8))),
    Case("grey", lambda d: read_png(saved(d, image=picture()[..., 0])), is_refused=False, check=equals(picture()[..., 0])),
    Case("black and white", lambda d: read_png(saved(d, image=Image.new("1", (3, 2), 1))), is_refused=False, check=equals(np.full((2, 3), 255, np.uint8))),
    Case("opaque alpha", lambda d: read_png(saved(d, image=np.dstack([picture(), np.full((16, 24), 255, np.uint8)]))), is_refused=False, check=equals(picture())),
    Case("interlaced", lambda d: read_png(saved(d, interlace=1)), is_refused=False, check=equals(picture())),
    Case("one pixel", lambda d: read_png(saved(d, image=picture()[:1, :1])), is_refused=False, check=equals(picture()[:1, :1])),
    Case("wrong suffix", lambda d: read_picture(raw(d, encoded(Image.fromarray(picture()), "BMP"), "a.jpg")), is_refused=False, check=equals(picture())),
    Case("CMYK", lambda d: read_picture(saved(d, "a.jpg", Image.new("CMYK", (8, 8), (0, 0, 0, 0)))), is_refused=False, check=equals(np.full((8, 8, 3), 255, np.uint8))),
]  # fmt: skip


def turned(folder, tag):
    exif = Image.Exif()
    exif[0x0112] = tag
    return saved(folder, "a.tif", exif=exif)


TRANSPARENT = np.dstack([picture(), np.full((16, 24), 9, np.uint8)])
PAGES = [Image.fromarray(picture(seed)) for seed in range(3)]
WRONG_PICTURES = {
    "missing": (lambda d: d / "a.png", "expected a PNG file, but there is none"),
    "empty": (lambda d: raw(d, b""), "expected a PNG file, got something else"),
    "text": (lambda d: raw(d, b"picture" * 9), "expected a PNG file, got something else"),
    "JPEG named .png": (lambda d: raw(d, encoded(Image.fromarray(picture()), "JPEG")), "got something else"),
    "cut in half": (lambda d: raw(d, encoded(Image.fromarray(picture()))[:60]), "expected a readable PNG"),
    "a wrong checksum": (lambda d: raw(d, encoded(Image.fromarray(picture())).replace(b"IDAT", b"IDAX")), "expected a readable PNG"),
    "16 bits": (lambda d: raw(d, png_bytes(depth=16)), "expected 8 bits per channel, got 16"),
    "16 bits grey": (lambda d: raw(d, png_bytes(depth=16, color=0)), "expected 8 bits per channel, got 16"),
    "transparent": (lambda d: saved(d, image=TRANSPARENT), "expected an opaque picture"),
    "transparent grey": (lambda d: saved(d, image=Image.new("LA", (4, 4), (9, 0))), "expected an opaque picture"),
    "transparent colour": (lambda d: saved(d, image=RED, transparency=0), "expected an opaque picture"),
    "a bomb": (lambda d: raw(d, png_bytes(100_000, 100_000, rows=b"")), "expected a readable PNG"),
    "no pixels": (lambda d: raw(d, png_bytes(0, 4)), "expected a readable PNG"),
    "noise after the header": (lambda d: raw(d, png_bytes(rows=b"noise" * 20)), "expected a readable PNG"),
    "a pipe": (fifo, "got a pipe"),
    "a folder": (folder_named, "got a folder"),
    "a device": (lambda d: link(d, "/dev/zero"), "got a device"),
    "a dangling link": (lambda d: link(d, "nowhere"), "there is none"),
    "a link to itself": (lambda d: link(d, "a.png"), "cannot be reached|readable PNG"),
}  # fmt: skip
WRONG_OTHERS = {
    "GIF": (lambda d: saved(d, "a.gif"), "expected a readable picture"),
    "several pages": (lambda d: saved(d, "a.tif", PAGES[0], save_all=True, append_images=PAGES[1:]), "expected one picture, got 3 in one file"),
    "a moving WebP": (lambda d: saved(d, "a.webp", PAGES[0], save_all=True, append_images=PAGES[1:], lossless=True), "got 3 in one file"),
    "a moving PNG": (lambda d: saved(d, "b.png", PAGES[0], save_all=True, append_images=PAGES[1:]).rename(d / "a.jpg"), "got 3 in one file"),
    "16-bit TIFF": (lambda d: saved(d, "a.tif", np.full((4, 6), 60000, np.uint16)), "expected 8 bits per channel"),
    "float TIFF": (lambda d: saved(d, "a.tif", np.full((4, 6), 0.5, np.float32)), "expected 8 bits per channel"),
    "transparent WebP": (lambda d: saved(d, "a.webp", TRANSPARENT, lossless=True), "expected an opaque picture"),
    "half a JPEG": (lambda d: raw(d, encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)), "JPEG")[:900], "a.jpg"), "expected a readable picture"),
    "a pipe": (lambda d: fifo(d, "a.jpg"), "got a pipe"),
    "a missing one": (lambda d: d / "a.jpg", "there is none"),
}  # fmt: skip

# ---- folders of clips ----------------------------------------------------------------------------


def frames_in(folder, count=3, suffix=".png", **options):
    for number in range(count):
        saved(folder, f"{number}{suffix}", picture(number), **options)
    return folder


def packed(folder, own=None, **spec):
    own = folder / "own" if own is None else own
    manifest = folder / "clips/set/manifest.json"
    pack_dataset("set", {"source": "folder", "path": str(own), **spec}, manifest, source=own, workers=1)
    return {name: clip.shape[0] for name, clip in open_clips(manifest).items()}


def holds(expected):
    def check(folder, found):
        assert found == expected

    return check


def everything(folder):
    own = folder / "own"
    for suffix in (".png", ".jpg", ".bmp", ".tif", ".webp", ".ppm", ".JPG", ".tga"):
        frames_in(own / f"of-{suffix[1:]}{'-capital' if suffix.isupper() else ''}", suffix=suffix)
    for suffix, codec in (
        (".mp4", "libx264"),
        (".ts", "libx264"),
        (".flv", "flv"),
        (".wmv", "wmv2"),
        (".m2ts", "libx264"),
        (".y4m", "rawvideo"),
        (".MOV", "libx264"),
    ):
        make_film(own / f"film-{suffix[1:].lower()}{suffix}", 20, codec=codec)
    (own / "notes.txt").write_text("seen in May")
    (own / "Thumbs.db").write_bytes(b"")
    (own / ".hidden").mkdir()
    return folder


def without(own, line, change, **spec):
    """A right folder, one thing of it changed."""

    def act(folder):
        frames_in(folder / "own/a")
        change(folder / "own")
        return packed(folder, **spec)

    return Case(own, act, line)


def no_empty_folder(folder, _):
    assert not (folder / "clips/set").exists()


ALL_KINDS = {
    **{f"of-{kind}": 3 for kind in ("png", "jpg", "bmp", "tif", "webp", "ppm", "jpg-capital", "tga")},
    **{f"film-{kind}": 3 for kind in ("mp4", "ts", "flv", "wmv", "m2ts", "y4m", "mov")},
}  # fmt: skip
FOLDERS = [
    Case("every kind", lambda d: packed(everything(d), frames=3), r"own: left out: notes.txt\n", is_refused=False, check=holds(ALL_KINDS)),
    Case(
        "lossy pictures are named", lambda d: packed(everything(d), frames=3), is_refused=False,
        check=lambda d, _: {n: e.get("lossy") for n, e in read_json(d / "clips/set/manifest.json")["clips"].items() if "lossy" in e}
        == {"of-jpg": "JPEG", "of-jpg-capital": "JPEG", "of-webp": "WEBP"},
    ),
    Case("the folder is a clip", lambda d: packed(d, frames_in(d / "own/A_1")), is_refused=False, check=holds({"a-1": 3})),
    Case("the folder is a clip of JPEG", lambda d: packed(d, frames_in(d / "own/A_1", suffix=".jpg")), is_refused=False, check=holds({"a-1": 3})),
    Case("a linked clip", lambda d: packed(d, linked_clip(d)), is_refused=False, check=holds({"a": 3, "b": 3})),
    Case("frames from 7 on", lambda d: packed(d, numbered(d, 7, 8, 9)), is_refused=False, check=holds({"a": 3})),
    Case("frames of every second number", lambda d: packed(d, numbered(d, 2, 4, 6)), is_refused=False, check=holds({"a": 3})),
    Case("frame 9 before frame 10", lambda d: packed(d, numbered(d, 9, 10, 11)), is_refused=False, check=holds({"a": 3})),
    without("a forgotten .jpg", r"a: expected frames of one kind, got 3.jpg and 0.png", lambda own: saved(own, "a/3.jpg")),
    without("a missing frame", r"3.png: expected the frame numbered 2 after 1.png|expected the frame", lambda own: [saved(own, "a/3.png"), saved(own, "a/4.png"), (own / "a/2.png").unlink()]),
    without("a frame of another size", "2.png: expected 24x16 like the other frames, got 8x8", lambda own: saved(own, "a/2.png", picture(0, 8, 8))),
    without("a damaged frame", "1.png: expected a", lambda own: (own / "a/1.png").write_bytes(b"no")),
    without("a pipe among frames", "1.png: expected a PNG file, got a pipe", lambda own: [(own / "a/1.png").unlink(), os.mkfifo(own / "a/1.png")]),
    without("a pipe for a video", "b.mp4: expected a video file, got a pipe", lambda own: os.mkfifo(own / "b.mp4")),
    without("a transparent frame", "1.png: expected an opaque picture", lambda own: saved(own, "a/1.png", TRANSPARENT)),
    without("a 16-bit frame", "1.png: expected 8 bits", lambda own: (own / "a/1.png").write_bytes(png_bytes(depth=16))),
    without("a damaged video", "b.mp4: expected a video that can be decoded", lambda own: (own / "b.mp4").write_bytes(b"no")),
    without("two clips of one name", "two 'a'", lambda own: frames_in(own / "A")),
    without("a clip without a name", "expected a name with letters", lambda own: frames_in(own / "___")),
    without("pictures beside clips", "either pictures of one clip or several clips", lambda own: saved(own, "b.png")),
    without("a folder that is a video by its name", "left out|b.mp4", lambda own: (frames_in(own / "b.mp4"), (own / "b.mp4/1.png").write_bytes(b""))),
    Case("no folder", lambda d: packed(d), "own: expected a folder of clips, but there is none", check=no_empty_folder),
    Case("an empty folder", lambda d: [(d / "own").mkdir(), packed(d)], "expected sub-folders of pictures, video files or pictures, got none", check=no_empty_folder),
    Case("a file", lambda d: packed(d, saved(d)), "expected a folder of clips", check=no_empty_folder),
    Case("text alone", lambda d: [(d / "own").mkdir(), (d / "own/a.txt").write_text("x"), packed(d)], "got none", check=no_empty_folder),
    Case("a folder of empty folders", lambda d: [(d / "own/a").mkdir(parents=True), packed(d)], "got none", check=no_empty_folder),
]  # fmt: skip


def linked_clip(folder):
    frames_in(folder / "elsewhere")
    frames_in(folder / "own/a")
    (folder / "own/b").symlink_to(folder / "elsewhere")
    return folder / "own"


def numbered(folder, *numbers):
    for number in numbers:
        saved(folder, f"own/a/{number}.png", picture(number))
    return folder / "own"


# ---- restored frames -----------------------------------------------------------------------------


def adopted(folder, arrange, clips=("clip-a",), count=3):
    """Adopt frames for clips, after `arrange` has put them below a folder."""
    entries = {
        name: write_clip(folder / f"clips/{name}.npy", np.stack([picture(n) for n in range(count)]))
        for name in clips
    }
    write_json(folder / "clips/manifest.json", {"dataset": "set", "clips": entries})
    (folder / "mine").mkdir()
    arrange(folder / "mine")
    adopt_frames(folder / "clips/manifest.json", folder / "out.json", frames=folder / "mine", run="mine")
    found = read_json(folder / "out.json")["clips"]
    return {
        name: {kind: files and len(files) for kind, files in entry.items()} for name, entry in found.items()
    }


def circle(mine):
    frames_in(mine / "clip-a")
    (mine / "clip-a/again").symlink_to(mine)


def elsewhere(mine):
    frames_in(mine.parent / "far/Clip_A")
    (mine / "Clip_A").symlink_to(mine.parent / "far/Clip_A")


A = {"clip-a": {"rgb": 3, "y": None}}
ADOPTED = [
    *(
        Case(f"frames in {name}", lambda d, name=name: adopted(d, lambda mine: frames_in(mine / name)), is_refused=False, check=holds(A))
        for name in ("clip-a", "Clip_A", "CLIP A", "clip-a_rgb", "Clip_A_rgb", "clip-a/rgb", "Clip_A/rgb", "deep/er/Clip_A", "clip_a")
    ),
    Case("names as AMVTG_004", lambda d: adopted(d, lambda mine: frames_in(mine / "AMVTG_004"), ["amvtg-004"]), is_refused=False, check=holds({"amvtg-004": {"rgb": 3, "y": None}})),
    Case("luma", lambda d: adopted(d, lambda mine: frames_in(mine / "Clip_A_y")), is_refused=False, check=holds({"clip-a": {"rgb": None, "y": 3}})),
    Case("both", lambda d: adopted(d, lambda mine: [frames_in(mine / "clip-a/y"), frames_in(mine / "clip-a/rgb")]), is_refused=False, check=holds({"clip-a": {"rgb": 3, "y": 3}})),
    Case("a linked folder", lambda d: adopted(d, elsewhere), is_refused=False, check=holds(A)),
    Case("links in a circle", lambda d: adopted(d, circle), is_refused=False, check=holds(A)),
    Case("capital suffix", lambda d: adopted(d, lambda mine: frames_in(mine / "clip-a", suffix=".PNG")), is_refused=False, check=holds(A)),
    Case("no frames", lambda d: adopted(d, lambda mine: None), "run mine has no pictures of clip clip-a"),
    Case("JPEG frames", lambda d: adopted(d, lambda mine: frames_in(mine / "clip-a", suffix=".jpg")), "run mine has no pictures of clip clip-a"),
    Case("one too few", lambda d: adopted(d, lambda mine: frames_in(mine / "clip-a", 2)), "expected 3 pictures like the clip, got 2"),
    Case("one too many", lambda d: adopted(d, lambda mine: frames_in(mine / "clip-a", 4)), "expected 3 pictures like the clip, got 4"),
    Case("a gap", lambda d: adopted(d, lambda mine: [frames_in(mine / "clip-a", 4), (mine / "clip-a/1.png").unlink()]), "expected picture 1 after picture 0, got 2.png"),
    Case("a number twice", lambda d: adopted(d, lambda mine: [frames_in(mine / "clip-a", 2), saved(mine, "clip-a/01.png")]), "expected picture 2 after picture 1, got"),
    Case("a name without a number", lambda d: adopted(d, lambda mine: [frames_in(mine / "clip-a", 2), saved(mine, "clip-a/last.png")]), "last.png: expected a number"),
    Case("two folders of one clip", lambda d: adopted(d, lambda mine: [frames_in(mine / "clip-a"), frames_in(mine / "Clip_A")]), "expected one folder of rgb pictures of clip clip-a, got"),
    Case("a missing clip", lambda d: adopted(d, lambda mine: frames_in(mine / "clip-a"), ["clip-a", "clip-b"]), "no pictures of clip clip-b"),
]  # fmt: skip

# ---- diagnosis -----------------------------------------------------------------------------------


def smooth(seed, height=96, width=96):
    noise = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def clip_of(folder, frames):
    for number, frame in enumerate(frames):
        write_png(folder / f"{number}.png", np.ascontiguousarray(frame))
    return str(folder)


def moving(count, height=96, width=96):
    large = smooth(3, height + 40, width + 40)
    return np.stack([large[2 * n : 2 * n + height, 3 * n : 3 * n + width] for n in range(count)])


def degraded(clip):
    return np.clip(clip + np.random.default_rng(0).normal(0, 3, clip.shape), 0, 255).astype(np.uint8)


def diagnosed(folder, sr, hr):
    return ["diagnose", clip_of(folder / "sr", sr), clip_of(folder / "hr", hr)]


UNDONE = {
    "mirrored left to right": lambda clip: clip[:, :, ::-1],
    "upside down and mirrored": lambda clip: clip[:, ::-1],
    "rotated by 180 degrees": lambda clip: clip[:, ::-1, ::-1],
    "transposed (rows for columns)": lambda clip: clip.swapaxes(1, 2),
    "rotated by 90 degrees to the right": lambda clip: np.rot90(clip, -1, axes=(1, 2)),
    "rotated by 90 degrees to the left": lambda clip: np.rot90(clip, 1, axes=(1, 2)),
    "transposed and rotated by 180 degrees": lambda clip: clip.swapaxes(1, 2)[:, ::-1, ::-1],
}


CASES = [
    *RIGHT_PICTURES,
    *(Case(f"PNG: {name}", lambda d, make=make: read_png(make(d)), line) for name, (make, line) in WRONG_PICTURES.items()),
    *(Case(f"picture: {name}", lambda d, make=make: read_picture(make(d)), line) for name, (make, line) in WRONG_OTHERS.items()),
    *FOLDERS,
    *ADOPTED,
    Case("frames of a folder that is none", lambda d: list(read_frames(d / "gone")), "expected a folder of pictures or a video file"),
    Case("other sizes", lambda d: diagnosed(d, moving(3)[:, :90], moving(3)), "SR: expected 96x96 like HR, got 96x90"),
    Case(
        "rotated frames of another shape", lambda d: diagnosed(d, np.rot90(moving(3, 96, 128), -1, axes=(1, 2)), moving(3, 96, 128)),
        "SR: expected 128x96 like HR, got 96x128: SR is rotated by 90 degrees to the right",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_picture(case, tmp_path, capfd):
    run(case, tmp_path, capfd)


@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_result_is_named(turn, tmp_path, capsys):
    from rlsp.cli import main

    hr = moving(5)
    main(diagnosed(tmp_path, UNDONE[turn](degraded(hr)), hr))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"orientation: SR is {turn} against HR (PSNR ") and len(lines) == 1
    assert lines[0].count("dB") == 2


def test_numbers_of_frames_are_compared_and_a_missing_first_frame_is_named(tmp_path, capsys):
    from rlsp.cli import main

    hr = moving(8)
    main(diagnosed(tmp_path, degraded(hr)[1:], hr))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"number of frames: {tmp_path}/sr has 7, {tmp_path}/hr has 8"
    assert "frame t of SR shows frame t+1 of HR: SR runs 1 ahead of HR" in lines[1]
