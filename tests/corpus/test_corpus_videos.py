"""Videos as people have them: whole ones come back whole, damaged ones are never taken for whole."""

import os
import socket
import struct

import av
import numpy as np
import pytest
from cases import Case, names, run
from made_degradations import BICUBIC
from made_videos import ORIENTATIONS, cut_short, make_film, overwrite, read_frames, scene, turn
from PIL import Image

from rlsp.data.decoding import read_video
from rlsp.models import build_model
from rlsp.models.weights import save_weights

COUNT = 20


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights that repeat each pixel four times."""
    model = build_model({"arch": "rlsp", "layers": 2, "filters": 1})
    for parameter in model.parameters():
        parameter.data.zero_()
    path = tmp_path_factory.mktemp("weights") / "repeat.safetensors"
    save_weights(path, model, {"model": {"arch": "rlsp", "layers": 2, "filters": 1}, "degradation": BICUBIC})
    return path


@pytest.fixture(autouse=True)
def place(weights, monkeypatch):
    monkeypatch.setenv("WEIGHTS", str(weights))


def upscale(source, target, *more):
    """The words of a command that upscales."""
    common = ["--weights", os.environ["WEIGHTS"], "--device", "cpu", "--precision", "fp32", "--threads", "1"]
    return ["upscale", str(source), str(target), *common, *more]


def read(path):
    return list(read_video(path))


def has_frames(count):
    def check(folder, frames):
        assert len(frames) == count

    return check


# ---- whole files ---------------------------------------------------------------------------------

# codec, suffix, sound, pixel format, the largest mean error of what a lossy codec keeps
WHOLE = [
    ("libx264", ".mp4", "aac", "yuv420p", 20), ("libx264", ".mkv", "aac", "yuv444p", 20),
    ("libx264", ".mov", "aac", "yuv420p", 20), ("libx264", ".m4v", None, "yuv420p", 20),
    ("libx264", ".ts", "aac", "yuv420p", 20), ("libx264", ".flv", "aac", "yuv420p", 20),
    ("libx264", ".h264", None, "yuv420p", 20), ("libx264", ".3gp", None, "yuv420p", 20),
    ("mpeg4", ".avi", "mp2", "yuv420p", 20), ("mpeg2video", ".mpg", "mp2", "yuv420p", 20),
    ("mpeg1video", ".mpg", "mp2", "yuv420p", 20), ("mjpeg", ".avi", "pcm_s16le", "yuvj420p", 20),
    ("mjpeg", ".mov", None, "yuvj422p", 20), ("ffv1", ".mkv", "flac", "yuv444p", 2),
    ("ffv1", ".avi", None, "yuv422p", 10), ("ffv1", ".mkv", None, "gray", 60),
    ("libvpx-vp9", ".webm", "libopus", "yuv420p", 20), ("rawvideo", ".avi", "pcm_s16le", "yuv420p", 10),
    ("rawvideo", ".y4m", None, "yuv444p", 2), ("prores", ".mov", "pcm_s16le", "yuv422p10le", 10),
    ("huffyuv", ".avi", None, "rgb24", 1), ("png", ".mov", None, "rgb24", 0), ("qtrle", ".mov", None, "rgb24", 0),
    ("utvideo", ".avi", None, "gbrp", 0), ("flv", ".flv", "mp3", "yuv420p", 20), ("gif", ".gif", None, "rgb8", 30),
    ("wmv2", ".wmv", None, "yuv420p", 20), ("ffv1", ".mkv", None, "yuv420p10le", 10),
    ("ffv1", ".mkv", None, "gray16le", 60), ("libx265", ".mp4", None, "yuv420p", 20),
]  # fmt: skip


def whole_case(codec, suffix, sound, pix_fmt, most):
    def act(folder):
        options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        return read(
            make_film(
                folder / f"film{suffix}", COUNT, codec=codec, sound=sound, pix_fmt=pix_fmt, options=options
            )
        )

    def check(folder, frames):
        assert len(frames) == COUNT
        errors = np.abs(np.array(frames, float) - scene(COUNT)).mean(axis=(1, 2, 3))
        assert errors.max() <= most, errors

    return Case(f"whole {codec}{suffix} {pix_fmt}", act, is_refused=False, check=check)


def cut_without_encoding(folder, suffix):
    """A film cut between key frames, as players and editors do it."""
    whole = make_film(folder / "whole.mkv", 30, gop=10)
    path = folder / f"cut{suffix}"
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None and packet.pts * packet.time_base >= 0.5:
                packet.stream = stream
                target.mux(packet)
    return path


def with_edit_list(folder, suffix=".mp4"):
    return make_film(folder / f"film{suffix}", 30, gop=10, first=-13, sound="aac")


ODD = [
    Case("edit list hides 13 frames", lambda d: read(with_edit_list(d)), is_refused=False, check=has_frames(17)),
    Case("edit list of a .mov", lambda d: read(with_edit_list(d, ".mov")), is_refused=False, check=has_frames(17)),
    *(
        Case(
            f"cut without encoding {suffix}", lambda d, suffix=suffix: read(cut_without_encoding(d, suffix)),
            is_refused=False, check=lambda d, frames: len(frames) >= 10,
        )
        for suffix in (".mp4", ".mkv", ".ts")
    ),
    Case(
        "variable frame rate", lambda d: read(make_film(d / "a.mp4", 6, stamps=[0, 1, 5, 6, 30, 31])),
        is_refused=False, check=has_frames(6),
    ),
    Case("one frame", lambda d: read(make_film(d / "a.mp4", 1)), is_refused=False, check=has_frames(1)),
    Case("two frames", lambda d: read(make_film(d / "a.mkv", 2)), is_refused=False, check=has_frames(2)),
    *(
        Case(
            f"odd size {height}x{width}",
            lambda d, size=(height, width): read(make_film(d / "a.mkv", 3, codec="ffv1", pix_fmt="yuv444p", size=size)),
            is_refused=False,
            check=lambda d, frames, size=(height, width): frames[0].shape[:2] == size,
        )
        for height, width in ((47, 63), (48, 63), (17, 33))
    ),
    Case(
        "late time stamps", lambda d: read(make_film(d / "a.mkv", 5, first=10**6)),
        is_refused=False, check=has_frames(5),
    ),
    Case(
        "fragments", is_refused=False, check=has_frames(COUNT),
        act=lambda d: read(make_film(d / "a.mp4", COUNT, container={"movflags": "frag_keyframe+empty_moov"})),
    ),
    Case(
        "header in front", is_refused=False, check=has_frames(COUNT),
        act=lambda d: read(make_film(d / "a.mp4", COUNT, container={"movflags": "faststart"})),
    ),
]  # fmt: skip


def turned_case(matrix, shown):
    def act(folder):
        make_film(folder / "a.mp4", 2, codec="libx264", pix_fmt="yuv444p", options={"qp": "0"})
        return read(turn(folder / "a.mp4", matrix))

    def check(folder, frames):
        plain = make_film(folder / "b.mp4", 2, codec="libx264", pix_fmt="yuv444p", options={"qp": "0"})
        assert all(
            np.array_equal(frame, shown(flat)) for frame, flat in zip(frames, read(plain), strict=True)
        )

    return Case(f"display matrix {matrix}", act, is_refused=False, check=check)


def turned_upscaled_case(matrix, shown):
    def act(folder):
        make_film(folder / "a.mp4", 2, pix_fmt="yuv444p", options={"qp": "0"})
        return upscale(turn(folder / "a.mp4", matrix), folder / "out.mkv", "--crf", "0")

    def check(folder, _):
        plain = read(make_film(folder / "b.mp4", 2, pix_fmt="yuv444p", options={"qp": "0"}))[0]
        got = read(folder / "out.mkv")[0]
        expected = shown(plain).repeat(4, axis=0).repeat(4, axis=1)
        assert np.abs(got.astype(int) - expected).mean() <= 2

    return Case(f"upscaled with display matrix {matrix}", act, is_refused=False, check=check)


# ---- damaged files -------------------------------------------------------------------------------

HALVES = [
    ("libx264", ".mkv", "aac", {}, r"\d+ of 2\d frames read; its file ends at 0\.\d\d s of 0\.8\d s"),
    ("libx264", ".mp4", "aac", {"container": {"movflags": "faststart"}}, r"\d+ of 20 frames read"),
    (
        "libx264",
        ".mov",
        None,
        {"container": {"movflags": "faststart"}, "options": {"qp": "5"}},
        r"\d+ of 20 frames read",
    ),
    ("libx264", ".mp4", "aac", {}, "can be decoded, got: Invalid data"),
    ("libx264", ".flv", "aac", {}, r"\d+ of 2\d frames read"),
    ("mpeg4", ".avi", "mp2", {}, r"\d+ of 20 frames read"),
    ("mjpeg", ".avi", "pcm_s16le", {"pix_fmt": "yuvj420p"}, "frames read; a damaged packet"),
    ("huffyuv", ".avi", None, {"pix_fmt": "rgb24"}, r"\d+ of 20 frames read"),
    ("ffv1", ".mkv", "flac", {}, "its file ends at"),
    ("libvpx-vp9", ".webm", "libopus", {}, "its file ends at"),
    ("libx264", ".h264", None, {}, "a frame with errors"),
    ("qtrle", ".mov", None, {"pix_fmt": "rgb24"}, "can be decoded, got: Invalid data"),
]


def half(folder, codec, suffix, sound, changes, part=0.5):
    return cut_short(make_film(folder / f"film{suffix}", COUNT, codec=codec, sound=sound, **changes), part)


def noise_in(folder, codec, suffix, **changes):
    return overwrite(make_film(folder / f"film{suffix}", COUNT, codec=codec, **changes), count=200)


def is_written(count):
    def check(folder, _):
        assert 1 <= len(read_frames(folder / "out.mp4")) <= count

    return check


DAMAGED = [
    *(
        Case(
            f"half of {codec}{suffix} {sorted(changes)}",
            lambda d, row=(codec, suffix, sound, changes): read(half(d, *row)),
            line=line,
        )
        for codec, suffix, sound, changes, line in HALVES
    ),
    *(
        Case(
            f"{part:.0%} of an mkv", lambda d, part=part: read(half(d, "libx264", ".mkv", None, {}, part)),
            line="frames read|Invalid",
        )
        for part in (0.3, 0.4, 0.6)
    ),
    *(
        Case(
            f"noise in {codec}{suffix}", lambda d, row=(codec, suffix), more=more: read(noise_in(d, *row, **more)),
            line="frames read; ",
        )
        for codec, suffix, more in (
            ("libx264", ".mp4", {}), ("libx264", ".mkv", {}), ("libx264", ".ts", {"options": {"qp": "5"}}), 
            ("mpeg2video", ".mpg", {}), ("png", ".mov", {"pix_fmt": "rgb24"}),
            ("flv", ".flv", {}),
        )
    ),
    *(
        Case(
            f"half of {codec}{suffix} {sorted(changes)} upscaled",
            lambda d, row=(codec, suffix, sound, changes): upscale(half(d, *row), d / "out.mp4"),
            line=rf"film\{suffix}: damaged: .*frames read; .*out.mp4 holds what could be read \(--keep-going",
            check=is_written(COUNT - 1),
        )
        for codec, suffix, sound, changes, _ in HALVES[:3]
    ),
    *(
        Case(
            f"half of {codec}{suffix} {sorted(changes)} upscaled, going on",
            lambda d, row=(codec, suffix, sound, changes): upscale(half(d, *row), d / "out.mp4", "--keep-going"),
            line="warning: damaged: .*frames read; ", is_refused=False, check=is_written(COUNT - 1),
        )
        for codec, suffix, sound, changes, _ in HALVES[:3]
    ),
]  # fmt: skip


# ---- what is no video ----------------------------------------------------------------------------


def fifo(folder, name="film.mp4"):
    os.mkfifo(folder / name)
    return folder / name


def bound_socket(folder):
    here = os.getcwd()
    os.chdir(folder)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("film.mp4")
    finally:
        os.chdir(here)
    return folder / "film.mp4"


def linked(folder, target):
    (folder / "film.mp4").symlink_to(target)
    return folder / "film.mp4"


def written(folder, content, name="film.mp4"):
    (folder / name).write_bytes(content)
    return folder / name


def made_folder(folder):
    (folder / "film.mp4").mkdir()
    return folder / "film.mp4"


def sound_alone(folder):
    path = folder / "film.mp4"
    with av.open(str(path), "w") as output:
        track = output.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        output.mux(track.encode(frame))
        output.mux(track.encode(None))
    return path


def resized_in_the_middle(folder):
    parts = [make_film(folder / f"{n}.h264", 3, size=(48, 64 + 16 * n)) for n in (0, 1)]
    return written(folder, b"".join(part.read_bytes() for part in parts), "film.h264")


NO_VIDEOS = {
    "missing": (lambda d: d / "film.mp4", "there is none|No such file"),
    "named pipe": (fifo, "got a pipe"),
    "link to a pipe": (lambda d: linked(d, fifo(d, "pipe")), "got a pipe"),
    "socket": (bound_socket, "got a socket"),
    "device": (lambda d: linked(d, "/dev/zero"), "got a device"),
    "folder": (made_folder, "got a folder|expected PNG|expected pictures"),
    "dangling link": (lambda d: linked(d, "nowhere"), "there is none|No such file"),
    "link to itself": (lambda d: linked(d, "film.mp4"), "symbolic links|there is none"),
    "empty": (lambda d: written(d, b""), "can be decoded, got"),
    "text": (lambda d: written(d, b"a film\n" * 100), "can be decoded, got|without a video stream"),
    "noise": (lambda d: written(d, bytes(np.random.default_rng(0).integers(0, 256, 9999, np.uint8))), "expected"),
    "zeros": (lambda d: written(d, bytes(5000)), "expected"),
    "header alone": (lambda d: written(d, struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0)), "can be decoded, got"),
    "sound alone": (sound_alone, "got a file without a video stream"),
    "another size in the middle": (resized_in_the_middle, "expected frames of 64x48|expected 64x48|frames of one size"),
    "playlist of another file": (
        lambda d: written(d, b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n", "film.m3u8"), "expected",
    ),
    "list of files": (lambda d: written(d, b"ffconcat version 1.0\nfile /etc/passwd\n", "film.ffconcat"), "expected"),
}  # fmt: skip


# ---- names and targets ---------------------------------------------------------------------------


def named_case(name):
    def act(folder):
        source = make_film(folder / "in.mkv", 2)
        return upscale(source.rename(folder / name), folder / "out.mp4")

    return Case(f"source named {name[:20]!r}", act, is_refused=False, check=is_written(2))


def target_case(name):
    def check(folder, _):
        assert len(read_frames(folder / name)) == 2
        assert sorted(path.name for path in folder.iterdir()) == sorted(["in.mkv", name])

    return Case(
        f"target named {name[:20]!r}", lambda d: upscale(make_film(d / "in.mkv", 2), d / name),
        is_refused=False, check=check,
    )  # fmt: skip


def to(folder, name, *more, before=lambda folder: None):
    source = make_film(folder / "in.mkv", 2)
    before(folder)
    return upscale(source, folder / name, *more)


def full_folder(folder):
    (folder / "out").mkdir()
    Image.new("RGB", (4, 4)).save(folder / "out/0.png")


TARGETS = [
    Case("target of unknown kind", lambda d: to(d, "out.xyz"), "out.xyz: expected a video ending in .mp4, .m4v"),
    Case("target .avi", lambda d: to(d, "out.avi"), "out.avi: expected a video ending in"),
    Case("target is the source", lambda d: to(d, "in.mkv"), "expected another target than the source"),
    Case(
        "target links to the source", lambda d: to(d, "out.mkv", before=lambda d: (d / "out.mkv").symlink_to("in.mkv")),
        "expected another target than the source",
    ),
    Case("target folder is full", lambda d: to(d, "out", before=full_folder), "a new or an empty folder"),
    Case("target is a file without suffix", lambda d: to(d, "out", before=lambda d: written(d, b"", "out")), "got a file without one"),
    Case("target below a file", lambda d: to(d, "in.mkv/out.mp4"), "in.mkv: File exists"),
    Case("target below nothing", lambda d: to(d, "new/deep/out.mp4"), is_refused=False, check=lambda d, _: len(read_frames(d / "new/deep/out.mp4")) == 2),
    Case("target name too long", lambda d: to(d, "o" * 260 + ".mp4"), "File name too long"),
    Case("pictures", lambda d: to(d, "out"), is_refused=False, check=lambda d, _: len(list((d / "out").glob("*.png"))) == 2),
    Case("crf is no number", lambda d: to(d, "out.mp4", "--crf", "good"), "argument --crf: invalid quality value"),
    *(
        Case(f"--{option} {value}", lambda d, words=(f"--{option}", value): to(d, "out.mp4", *words), f"--{option}")
        for option, value in (
            ("threads", "0"), ("threads", "-1"), ("threads", "many"), ("frame-rate", "0"), ("precision", "fp8"),
            ("device", "tpu"), ("crf", "nan"), ("crf", "-1"), ("crf", "99"), ("frame-rate", "1e400"), ("threads", "1" * 30),
        )
    ),
]  # fmt: skip

CASES = [
    *(whole_case(*row) for row in WHOLE),
    *ODD,
    *(turned_case(*pair) for pair in ORIENTATIONS.items()),
    *(turned_upscaled_case(*pair) for pair in list(ORIENTATIONS.items())[1::3]),
    *DAMAGED,
    *(Case(f"{name} read", lambda d, make=make: read(make(d)), line) for name, (make, line) in NO_VIDEOS.items()),
    *(
        Case(f"{name} upscaled", lambda d, make=make: upscale(make(d), d / "out.mp4"), line)
        for name, (make, line) in NO_VIDEOS.items()
    ),
    *(
        named_case(name)
        for name in ("a b.mkv", "a:b.mkv", "file:x.mkv", "%03d.mkv", "ünï.mkv", "a\nb.mkv", "-x.mkv", "x" * 251 + ".mkv", "noext", "a.MKV", "pipe:0")
    ),
    *(target_case(name) for name in ("a b.mp4", "a:b.mp4", "%d.mkv", "ünï.mov", "x" * 250 + ".mp4", "é" * 125 + ".mp4", "A.MP4")),
    *TARGETS,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_video(case, tmp_path, capfd):
    run(case, tmp_path, capfd)
