import itertools
import resource
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from made_degradations import BICUBIC, GAUSSIAN

from rlsp.data import sources
from rlsp.data.clips import list_frames, read_frames
from rlsp.data.images import read_png, write_png
from rlsp.errors import ConfigError, DataError, RlspError
from rlsp.inference.restorer import Restorer
from rlsp.inference.upscaling import expectation, find_weights, upscale
from rlsp.models import build_model
from rlsp.models.weights import load_weights, save_weights
from rlsp.released import conversion

# H.273: code of the matrix -> luma weights of red and blue
LUMA_WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114)}
LIMITED, FULL = 1, 2
PATCHES = np.array(
    [(200, 40, 40), (40, 180, 60), (50, 60, 200), (220, 200, 60), (60, 190, 200), (128, 128, 128)]
)
RATE = 8000


def tiny_model(**spec):
    torch.manual_seed(0)
    return build_model({"arch": "rlsp", "layers": 2, "filters": 4, **spec}).eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights that repeat pixels: the convolutions are all zero, the skip connection is left."""
    model = tiny_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    path = tmp_path_factory.mktemp("weights") / "repeat.safetensors"
    save_weights(path, model, {"model": {"arch": "rlsp", "layers": 2, "filters": 4}, "degradation": BICUBIC})
    return path


@pytest.fixture
def run(weights, tmp_path):
    def run(source, target, **changes):
        settings = {"weights": str(weights), "device": "cpu", "data_root": tmp_path / "data"}
        upscale(source, target, **{**settings, "threads": 1, "crf": 1, "show_progress": False, **changes})

    return run


def to_ycbcr(rgb, matrix, color_range):
    """Convert RGB to 8-bit Y'CbCr by the formulas of BT.601 and BT.709, without swscale."""
    red, blue = LUMA_WEIGHTS[matrix]
    r, g, b = np.moveaxis(np.asarray(rgb, float) / 255, -1, 0)
    y = red * r + (1 - red - blue) * g + blue * b
    cb, cr = (b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red)
    if color_range == FULL:
        planes = y * 255, cb * 255 + 128, cr * 255 + 128
    else:
        planes = y * 219 + 16, cb * 224 + 128, cr * 224 + 128
    return np.clip(np.rint(np.stack(planes)), 0, 255).astype(np.uint8)


def to_rgb(ycbcr, matrix, color_range):
    """Invert :func:`to_ycbcr` for planes (3, ...)."""
    red, blue = LUMA_WEIGHTS[matrix]
    y, cb, cr = np.asarray(ycbcr, float)
    y = y / 255 if color_range == FULL else (y - 16) / 219
    cb, cr = ((c - 128) / (255 if color_range == FULL else 224) for c in (cb, cr))
    r, b = y + (2 - 2 * red) * cr, y + (2 - 2 * blue) * cb
    return 255 * np.stack([r, (y - red * r - blue * b) / (1 - red - blue), b], axis=-1)


def patches(height=24, width=32):
    """Flat patches of six colours, three in a row."""
    rows, columns = np.arange(height) * 2 // height, np.arange(width) * 3 // width
    return PATCHES[rows[:, None] * 3 + columns].astype(np.uint8)


def moving_frames(count, height=24, width=32):
    """A bright square that moves to the right on patches."""
    for index in range(count):
        frame = patches(height, width)
        frame[4:10, 2 * index : 2 * index + 6] = 250
        yield frame


def make_video(
    path, frames, *, matrix=6, color_range=LIMITED, stamps=None, time_base=Fraction(1, 25), rate=25,
    pix_fmt="yuv444p", codec="libx264", rotation=0, audio=None, aspect=None, interlaced=False,
    start=0, last_duration=None,
):  # fmt: skip
    """Write a video without loss; matrix and range None leave them untold (and use BT.601, limited)."""
    frames = list(frames)
    options = {"qp": "0", "preset": "ultrafast"} if codec.startswith("libx264") else {}
    options |= {"x264-params": "tff=1"} if interlaced else {}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        context = stream.codec_context
        context.pix_fmt, context.time_base = pix_fmt, time_base
        context.colorspace, context.color_range = matrix or 2, color_range or 0
        context.flags |= 1 << 8 if last_duration else 0  # frames tell their duration
        if aspect:
            context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        if audio:
            sound = container.add_stream(audio, rate=RATE, layout="mono")
            sound.metadata["language"] = "deu"
        for index, rgb in enumerate(frames):
            if pix_fmt == "rgb24":
                frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            else:
                planes = to_ycbcr(rgb, matrix or 6, color_range or LIMITED)
                frame = av.VideoFrame.from_ndarray(planes, format="yuv444p")
                if pix_fmt != "yuv444p":
                    frame = frame.reformat(
                        format=pix_fmt, src_color_range=color_range or 1, dst_color_range=color_range or 1
                    )
            frame.pts, frame.time_base = (
                (stamps[index] if stamps else index) + round(start / time_base),
                time_base,
            )
            if last_duration and index == len(frames) - 1:
                frame.duration = last_duration
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio:
            for frame in tone(sound.codec_context.format.name, start):
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


def tone(sample_format, start=0):
    wave = (8000 * np.sin(np.arange(2048) / 3)).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE, start * RATE, Fraction(1, RATE)
    return av.AudioResampler(sample_format, "mono", RATE).resample(frame)


def read_packets(path, kind):
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [
            (packet.pts * packet.time_base, bytes(packet))
            for packet in container.demux(stream)
            if packet.size
        ]


def read_stamps(path):
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def first_frame(path):
    with av.open(str(path)) as container:
        return next(container.decode(video=0))


def patch_colors(rgb):
    """Means of the middles of the six patches."""
    height, width = rgb.shape[0] // 2, rgb.shape[1] // 3
    return np.array([
        rgb[r * height + height // 3 : (r + 1) * height - height // 3,
            c * width + width // 3 : (c + 1) * width - width // 3].mean(axis=(0, 1))
        for r, c in itertools.product(range(2), range(3))
    ])  # fmt: skip


def seen_colors(path, matrix=None, color_range=None):
    """Colours of the patches of a video, by the tags of its stream or others."""
    frame = first_frame(path)
    if frame.format.name in ("yuv420p", "yuvj420p"):
        planes = frame.to_ndarray(format=frame.format.name)
        height, width = frame.height, frame.width
        chroma = planes[height:].reshape(2, height // 2, width // 2).repeat(2, axis=1).repeat(2, axis=2)
        planes = np.concatenate([planes[None, :height], chroma])
    else:
        planes = frame.to_ndarray(format=frame.format.name)
    return patch_colors(
        to_rgb(planes, matrix or int(frame.colorspace), color_range or int(frame.color_range))
    )


# ---- colours -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p"])
@pytest.mark.parametrize("color_range", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", [1, 5, 6])
def test_colours_survive(run, tmp_path, matrix, color_range, pix_fmt):
    source, target = tmp_path / "in.mkv", tmp_path / "out.mp4"
    make_video(source, [patches()], matrix=matrix, color_range=color_range, pix_fmt=pix_fmt)
    run(source, target)
    frame = first_frame(target)
    assert (frame.height, frame.width) == (96, 128)
    assert (int(frame.colorspace), int(frame.color_range)) == (matrix, color_range)
    assert frame.format.name in (pix_fmt, pix_fmt.replace("yuv", "yuvj"))
    # 8-bit Y'CbCr, rounded twice, cannot hold RGB better
    np.testing.assert_allclose(seen_colors(target), PATCHES, atol=2)
    other = 6 if matrix == 1 else 1
    assert np.abs(seen_colors(target, matrix=other) - PATCHES).max() > 8
    assert np.abs(seen_colors(target, color_range=3 - color_range) - PATCHES).max() > 8


@pytest.mark.parametrize(("height", "matrix"), [(24, 6), (180, 1)])
def test_untold_matrix_is_chosen_by_the_height_and_told(run, tmp_path, height, matrix):
    source, target = tmp_path / "in.mkv", tmp_path / "out.mkv"
    make_video(source, [patches(height)], matrix=None, color_range=None, pix_fmt="yuv420p")
    assert int(first_frame(source).colorspace) == 2
    run(source, target)
    assert int(first_frame(target).colorspace) == matrix
    assert int(first_frame(target).color_range) == LIMITED
    np.testing.assert_allclose(seen_colors(target), PATCHES, atol=2)


def test_rgb_video_keeps_its_colours(run, tmp_path):
    source = make_video(tmp_path / "in.mkv", [patches()], codec="libx264rgb", pix_fmt="rgb24", matrix=None)
    run(source, tmp_path / "out.mp4")
    assert first_frame(tmp_path / "out.mp4").format.name == "yuv444p"
    np.testing.assert_allclose(seen_colors(tmp_path / "out.mp4"), PATCHES, atol=2)


def test_primaries_and_transfer_are_passed_on(run, tmp_path):
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25, width=32, height=24)
        stream.codec_context.color_primaries, stream.codec_context.color_trc = 5, 4
        container.mux(stream.encode(av.VideoFrame.from_ndarray(patches(), format="rgb24")))
        container.mux(stream.encode(None))
    run(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (int(context.color_primaries), int(context.color_trc)) == (5, 4)


# ---- shape and time ----------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["libx264", "ffv1"])
def test_odd_sizes(run, tmp_path, codec):
    source = make_video(tmp_path / "in.mkv", moving_frames(2, 25, 33), codec=codec)
    run(source, tmp_path / "out.mp4")
    assert [frame.shape for frame in read_frames(tmp_path / "out.mp4")] == [(100, 132, 3)] * 2


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotation_is_applied_once(run, tmp_path, rotation):
    upright = patches(24, 30)
    stored = np.rot90(upright, -rotation // 90)
    source = make_video(tmp_path / "in.mp4", [stored], rotation=rotation, aspect=Fraction(4, 3))
    assert first_frame(source).rotation in (rotation, rotation - 360)
    run(source, tmp_path / "out.mp4")
    frame = first_frame(tmp_path / "out.mp4")
    assert frame.rotation == 0
    assert (frame.height, frame.width) == (96, 120)
    np.testing.assert_allclose(seen_colors(tmp_path / "out.mp4"), PATCHES, atol=2)
    with av.open(str(tmp_path / "out.mp4")) as container:
        aspect = container.streams.video[0].sample_aspect_ratio
        assert aspect == (Fraction(4, 3) if rotation == 180 else Fraction(3, 4))


def test_frame_rate_and_length_are_kept(run, tmp_path):
    rate = Fraction(30000, 1001)
    source = make_video(tmp_path / "in.mp4", moving_frames(6), rate=rate, time_base=1 / rate)
    run(source, tmp_path / "out.mp4")
    with av.open(str(source)) as before, av.open(str(tmp_path / "out.mp4")) as after:
        assert after.streams.video[0].average_rate == before.streams.video[0].average_rate == rate
        assert after.duration == before.duration
    assert read_stamps(tmp_path / "out.mp4") == read_stamps(source)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_variable_frame_rate_is_kept(run, tmp_path, suffix):
    stamps = [0, 40, 50, 200, 1000, 1033]
    source = make_video(
        tmp_path / "in.mkv", moving_frames(6), stamps=stamps, time_base=Fraction(1, 1000), pix_fmt="yuv420p"
    )
    target = tmp_path / f"out{suffix}"
    run(source, target)
    assert read_stamps(target) == [Fraction(stamp, 1000) for stamp in stamps]
    for before, after in zip(read_frames(source), read_frames(target), strict=True):
        assert np.abs(after[2::4, 2::4].astype(int) - before).mean() < 4  # the frames, in their order


def test_late_start_is_taken_off_picture_and_sound(run, tmp_path):
    source = make_video(tmp_path / "in.ts", moving_frames(4), pix_fmt="yuv420p", audio="aac", start=2)
    run(source, tmp_path / "out.mp4")
    times = [
        np.array([*map(float, read_stamps(path)), *(float(time) for time, _ in read_packets(path, "audio"))])
        for path in (source, tmp_path / "out.mp4")
    ]
    assert times[0].min() > 1.5
    np.testing.assert_allclose(times[1], times[0] - times[0].min(), atol=1e-3)


def test_long_last_frame_is_kept(run, tmp_path):
    source = make_video(
        tmp_path / "in.mp4",
        moving_frames(3),
        time_base=Fraction(1, 1000),
        stamps=[0, 40, 80],
        last_duration=500,
    )
    run(source, tmp_path / "out.mp4")
    for path in (source, tmp_path / "out.mp4"):
        with av.open(str(path)) as container:
            assert container.duration == 580_000


# ---- sound -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("audio", "suffix"), [("aac", ".mp4"), ("aac", ".mkv"), ("pcm_s16le", ".mkv")])
def test_sound_is_copied(run, tmp_path, capsys, audio, suffix):
    source = make_video(tmp_path / "in.mkv", moving_frames(4), audio=audio)
    target = tmp_path / f"out{suffix}"
    run(source, target)
    before, after = read_packets(source, "audio"), read_packets(target, "audio")
    assert [content for _, content in after] == [content for _, content in before]
    for (time_before, _), (time_after, _) in zip(before, after, strict=True):
        assert time_after == pytest.approx(time_before, abs=1e-3)
    with av.open(str(target)) as container:
        assert container.streams.audio[0].language == "deu"
    assert "warning" not in capsys.readouterr().err


def test_sound_that_the_container_does_not_take_is_encoded_with_a_warning(run, tmp_path, capsys):
    source = make_video(tmp_path / "in.mkv", moving_frames(4), audio="pcm_u8")
    run(source, tmp_path / "out.mp4")
    assert "takes no pcm_u8 audio; it is encoded as AAC" in capsys.readouterr().err
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.codec_context.sample_rate) == ("aac", RATE)
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(stream)])
    assert 2048 <= samples.size <= 2048 + 2 * 1024
    assert np.abs(samples).max() == pytest.approx(8000 / 32768, rel=0.2)


# ---- folders -----------------------------------------------------------------------------------


def test_pictures_to_pictures(run, tmp_path, weights):
    frames = list(moving_frames(3, 25, 33))
    for index, frame in enumerate(frames):
        write_png(tmp_path / "in" / f"{index + 7}.png", frame)
    run(tmp_path / "in", tmp_path / "out")
    files = list_frames(tmp_path / "out")
    assert [file.name for file in files] == ["00000000.png", "00000001.png", "00000002.png"]
    expected = Restorer(load_weights(weights)[0]).pictures(frames, 1.5)
    for file, (picture, _) in zip(files, expected, strict=True):
        np.testing.assert_array_equal(read_png(file), picture)


@pytest.mark.parametrize("color_range", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", [1, 6])
def test_video_to_an_existing_empty_folder(run, tmp_path, matrix, color_range):
    colors = {"matrix": matrix, "color_range": color_range}
    source = make_video(tmp_path / "in.mp4", [patches()] * 2, audio="aac", **colors)
    (tmp_path / "out.d").mkdir()
    run(source, tmp_path / "out.d")
    pictures = [read_png(file) for file in list_frames(tmp_path / "out.d")]
    assert [picture.shape for picture in pictures] == [(96, 128, 3)] * 2
    np.testing.assert_allclose(patch_colors(pictures[1]), PATCHES, atol=2)
    assert not list(tmp_path.glob(".*"))


def test_pictures_to_video(run, tmp_path):
    for index, frame in enumerate([patches()] * 3):
        write_png(tmp_path / "in" / f"{index}.png", frame)
    run(tmp_path / "in", tmp_path / "out.mp4", frame_rate=Fraction(24000, 1001))
    assert read_stamps(tmp_path / "out.mp4") == [Fraction(1001 * t, 24000) for t in range(3)]
    frame = first_frame(tmp_path / "out.mp4")
    assert (frame.format.name, int(frame.colorspace), int(frame.color_range)) == ("yuv420p", 6, LIMITED)
    np.testing.assert_allclose(seen_colors(tmp_path / "out.mp4"), PATCHES, atol=2)


# ---- streaming ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_frame_of_delay_and_no_more_kept():
    import gc
    import weakref

    asked, alive = 0, []

    class Frame(np.ndarray):
        """An array that can be watched."""

    def source():
        nonlocal asked
        for frame in moving_frames(12):
            asked += 1
            frame = frame.view(Frame)
            alive.append(weakref.ref(frame))
            yield frame

    stream = Restorer(tiny_model()).pictures(source(), 0)
    for index in range(11):
        next(stream)
        assert asked == index + 2
        gc.collect()
        assert sum(frame() is not None for frame in alive) <= 3
    assert len(list(stream)) == 1


def test_rgb_model_is_used_as_it_is():
    model = tiny_model(output="rgb")
    pictures = [picture for picture, _ in Restorer(model).pictures(moving_frames(2), 0)]
    assert [(picture.shape, picture.dtype) for picture in pictures] == [((96, 128, 3), np.uint8)] * 2


# ---- messages and errors -----------------------------------------------------------------------


def test_what_weights_expect_is_said():
    assert expectation(GAUSSIAN) == (
        "expects frames blurred with sigma 1.5 and sampled at phase 0; ordinary video is sharper than that: "
        "the result is over-sharpened and shifted by 1.5 output pixels up and left"
    )
    assert expectation({**GAUSSIAN, "phase": 2}).endswith("shifted by 0.5 output pixels down and right")
    assert expectation(BICUBIC) == "expects bicubically reduced frames; ordinary video fits"
    # nothing that weights name is imported
    own = {"kind": "no.such.module:blur", "first_pixel": 0.5, "scale": 4}
    assert expectation(own) == (
        "expects frames made by no.such.module:blur and sampled at phase 0.5; ordinary video is made in another way: "
        "the result may be poor and shifted by 1 output pixels up and left"
    )


def test_expectation_licence_and_progress_are_shown(run, tmp_path, capsys):
    spec = {"arch": "rlsp", "layers": 2, "filters": 4}
    metadata = {"model": spec, "degradation": GAUSSIAN, "licence": "CC BY-NC-SA 4.0"}
    save_weights(tmp_path / "w.safetensors", tiny_model(), metadata)
    source = make_video(tmp_path / "in.mp4", moving_frames(3))
    run(source, tmp_path / "out", weights=str(tmp_path / "w.safetensors"), show_progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert "sigma 1.5 and sampled at phase 0" in lines[0]
    assert "CC BY-NC-SA 4.0" in lines[1]
    assert "3/3" in lines[-1] and "frame/s" in lines[-1].replace("s/frame", "frame/s")


def test_interlaced_video_is_warned_about_once(run, tmp_path, capsys):
    source = make_video(tmp_path / "in.mkv", moving_frames(3, 32), pix_fmt="yuv420p", interlaced=True)
    assert first_frame(source).interlaced_frame
    run(source, tmp_path / "out")
    assert capsys.readouterr().err.count("warning: interlaced video") == 1


def test_released_weights_are_fetched_and_converted_once(tmp_path, monkeypatch):
    calls = []

    def fetch(name, spec, manifest_path):
        calls.append((name, spec["manifest"], spec.get("first_frames"), manifest_path))

    def convert(prefix, weights_path, *, spec, degradation, source, licence):
        calls.append((prefix.name, spec["filters"], degradation["sigma"]))
        weights_path.parent.mkdir(parents=True)
        weights_path.touch()

    monkeypatch.setattr(sources, "fetch", fetch)
    monkeypatch.setattr(conversion, "convert_checkpoint", convert)
    for _ in range(2):
        assert find_weights("released:7-64", tmp_path) == tmp_path / "released" / "7-64.safetensors"
    manifest = tmp_path / "downloads" / "rlsp-checkpoints" / "manifest.json"
    assert calls == [("rlsp-checkpoints", "rlsp_released", None, manifest), ("ckpt_rlsp_64", 64, 1.5)]
    with pytest.raises(ConfigError, match="7-63"):
        find_weights("released:7-63", tmp_path)


@pytest.mark.parametrize(
    ("source", "target", "error", "message"),
    [
        ("none.mp4", "out.mp4", DataError, "there is none"),
        ("in.mp4", "in.mp4", ConfigError, "got the same"),
        ("in.mp4", "out.gif", ConfigError, "ending in .mp4"),
        ("in.mp4", "in.mp4/out.mp4", DataError, "cannot be written"),
        ("in.mp4", "/proc/out.mp4", DataError, "cannot be written"),
        ("in.mp4", "full", DataError, "new or an empty folder"),
        ("in.mp4", "file", DataError, "file without"),
        ("broken.mp4", "out.mp4", DataError, "can be decoded"),
        ("cut.mp4", "out.mp4", DataError, "can be decoded"),
        ("sound.mp4", "out.mp4", DataError, "without a video stream"),
        ("empty", "out.mp4", DataError, "expected PNG files"),
        ("sizes", "out.mp4", DataError, "expected 32x24"),
        ("sizes", "new", DataError, "expected 32x24"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(run, tmp_path, monkeypatch, source, target, error, message):
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "in.mp4", moving_frames(3))
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 100)
    content = (tmp_path / "in.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    write_png(tmp_path / "full" / "0.png", patches())
    for index, width in enumerate((32, 32, 34)):
        write_png(tmp_path / "sizes" / f"{index}.png", patches(24, width))
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        container.mux([packet for frame in tone("fltp") for packet in stream.encode(frame)])
        container.mux(stream.encode(None))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=message) as caught:
        run(source, target)
    assert isinstance(caught.value, RlspError) and "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_weights_without_their_degradation_are_refused(run, tmp_path):
    source = make_video(tmp_path / "in.mp4", [patches()])
    spec = {"arch": "rlsp", "layers": 2, "filters": 4}
    save_weights(tmp_path / "w.safetensors", tiny_model(), {"model": spec})
    with pytest.raises(DataError, match="say what input they expect"):
        run(source, tmp_path / "out.mp4", weights=str(tmp_path / "w.safetensors"))


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(run, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (6, 24, 32, 3)).astype(np.uint8)
    source = make_video(tmp_path / "in.mp4", noise)
    before = sorted(tmp_path.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)  # the nearest thing to a full disk
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(DataError, match="out.mp4: cannot be written: "):
            run(source, tmp_path / "out.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(tmp_path.iterdir()) == before


def test_more_than_8_bits_are_warned_about(run, tmp_path, capsys):
    source = make_video(tmp_path / "in.mkv", [patches()], pix_fmt="yuv420p10le", matrix=1)
    run(source, tmp_path / "out.mp4")
    assert "10-bit video; the result has 8 bits" in capsys.readouterr().err
    np.testing.assert_allclose(seen_colors(tmp_path / "out.mp4"), PATCHES, atol=3)


@pytest.mark.parametrize("target", ["out.mp4", "out"])
def test_interruption_leaves_nothing_and_an_older_result_stays(run, tmp_path, monkeypatch, target):
    source = make_video(tmp_path / "in.mp4", moving_frames(4))
    if target == "out.mp4":
        (tmp_path / target).write_bytes(b"older")
    before = sorted(tmp_path.iterdir())

    def interrupted(restorer, frames, phase, *, name):
        for frame in itertools.islice(frames, 2):
            yield frame.repeat(4, axis=0).repeat(4, axis=1), None
        raise KeyboardInterrupt

    monkeypatch.setattr(Restorer, "pictures", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path / target)
    assert sorted(tmp_path.iterdir()) == before
    if target == "out.mp4":
        assert (tmp_path / target).read_bytes() == b"older"
