"""Sound and what else goes along with the frames: every codec into every container, cut films, many tracks."""

from fractions import Fraction

import av
import numpy as np
import pytest
from cases import Case, names, run
from made_videos import make_film, read_frames, read_sound
from test_corpus_videos import upscale, weights  # noqa: F401

TARGETS = (".mp4", ".mov", ".mkv", ".m4v")
CODECS = (
    "pcm_s16le",
    "pcm_s24le",
    "pcm_f32le",
    "flac",
    "alac",
    "libopus",
    "mp2",
    "libmp3lame",
    "ac3",
    "aac",
)
# what FFmpeg's muxers refuse: PCM without a layout, as Matroska keeps it, and two that QuickTime does not know
ENCODED = {(codec, suffix) for codec in CODECS for suffix in (".mp4", ".m4v") if codec.startswith("pcm")}
ENCODED |= {("flac", ".mov"), ("libopus", ".mov")}
SECONDS = 0.4
FRAMES = 10


@pytest.fixture(autouse=True)
def place(weights, monkeypatch):  # noqa: F811
    monkeypatch.setenv("WEIGHTS", str(weights))


def loudness(path):
    """Root mean square of the first track's middle, of 1."""
    samples, _ = read_sound(path)
    middle = samples[:, samples.shape[1] // 4 : -samples.shape[1] // 4]
    return float(np.sqrt(np.mean(middle**2)))


def sound_case(codec, suffix):
    is_encoded = (codec, suffix) in ENCODED

    def act(folder):
        return upscale(make_film(folder / "in.mkv", FRAMES, sound=codec), folder / f"out{suffix}")

    def check(folder, _):
        samples, start = read_sound(folder / f"out{suffix}")
        original, _ = read_sound(folder / "in.mkv")
        longer = (samples.shape[1] - original.shape[1]) / 48000
        assert -0.001 <= longer <= 0.09 and abs(start) <= 0.03, (longer, start)
        assert samples.shape[0] == 2
        assert abs(loudness(folder / f"out{suffix}") / loudness(folder / "in.mkv") - 1) < 0.05
        with av.open(str(folder / f"out{suffix}")) as container:
            kinds = [stream.codec_context.name for stream in container.streams.audio]
        assert (kinds == ["aac"]) == (is_encoded or codec == "aac")

    line = r"takes no \w+ audio; it is encoded as AAC" if is_encoded else "^((?!AAC).)*$"
    return Case(f"{codec} into {suffix}", act, f"(?s){line}", is_refused=False, check=check)


def shaped_case(layout, rate, suffix=".mov", codec="flac"):
    """Sound of a shape that AAC may not have, into a container that takes no FLAC."""

    def act(folder):
        film = make_film(folder / "in.mkv", FRAMES, sound=codec, layout=layout, sound_rate=rate)
        return upscale(film, folder / f"out{suffix}")

    def check(folder, _):
        samples, _ = read_sound(folder / f"out{suffix}")
        with av.open(str(folder / f"out{suffix}")) as container:
            got = container.streams.audio[0].codec_context
            assert abs(samples.shape[1] / got.sample_rate - SECONDS) < 0.3
            assert got.channels == av.AudioLayout(layout).nb_channels

    return Case(f"{layout} at {rate} Hz", act, "is encoded as AAC", is_refused=False, check=check)


# ---- cut films -----------------------------------------------------------------------------------


def cut_case(suffix):
    """The first second is hidden by an edit list: a beep in it is not heard, one after it comes in time."""

    def act(folder):
        film = make_film(folder / "in.mp4", 40, sound="aac", first=-25, gop=50, beep=1.2)
        return upscale(film, folder / f"out{suffix}")

    def check(folder, _):
        samples, start = read_sound(folder / f"out{suffix}")
        with av.open(str(folder / f"out{suffix}")) as container:
            first = next(container.decode(video=0)).time
        assert len(read_frames(folder / f"out{suffix}")) == 15
        assert abs(first) <= 0.03 and abs(start) <= 0.03, (first, start)
        loud = np.flatnonzero(np.abs(samples[0]) > 0.1) / 48000 + start
        assert abs(loud[0] - 0.2) < 0.03 and abs(loud[-1] - 0.3) < 0.03, (loud[0], loud[-1])
        assert samples.shape[1] / 48000 < 0.7

    return Case(f"cut film into {suffix}", act, is_refused=False, check=check)


def hidden_case(suffix):
    def act(folder):
        film = make_film(folder / "in.mp4", 40, sound="aac", first=-25, gop=50, beep=0.3)
        return upscale(film, folder / f"out{suffix}")

    def check(folder, _):
        samples, _ = read_sound(folder / f"out{suffix}")
        assert np.abs(samples[:, 2000:]).max() < 0.02  # what the encoder rings with, not the beep

    return Case(f"hidden sound stays hidden in {suffix}", act, is_refused=False, check=check)


# ---- tracks, subtitles, chapters -----------------------------------------------------------------


def rich_film(folder, suffix=".mkv"):
    """Two sound tracks, the second played by default, subtitles, chapters, a title, a font."""
    plain = make_film(folder / "plain.mkv", FRAMES, sound="ac3")
    other = make_film(folder / "other.mkv", FRAMES, sound="aac")
    path = folder / f"in{suffix}"
    with av.open(str(plain)) as first, av.open(str(other)) as second, av.open(str(path), "w") as output:
        sources = [first.streams.video[0], first.streams.audio[0], second.streams.audio[0]]
        streams = [output.add_stream_from_template(source) for source in sources]
        for stream, language in zip(streams[1:], ("eng", "fra"), strict=True):
            stream.metadata["language"] = language
        streams[1].disposition, streams[2].disposition = 0, 1
        streams[2].metadata["title"] = "Commentary"
        words = output.add_mux_stream("subrip") if suffix == ".mkv" else None
        if words is not None:
            words.metadata["language"] = "deu"
            output.add_attachment("font.ttf", "application/x-truetype-font", b"font" * 9)
        output.metadata["title"] = "Film"
        output.set_chapters(
            [{"id": 1, "start": 0, "end": 200, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}]
        )
        for container, known in ((first, streams[:2]), (second, [None, streams[2]])):
            for packet in container.demux():
                stream = known[packet.stream.index]
                if packet.dts is not None and stream is not None:
                    packet.stream = stream
                    output.mux(packet)
        if words is not None:
            packet = av.Packet(b"Hello")
            packet.stream, packet.time_base = words, Fraction(1, 1000)
            packet.pts = packet.dts = 100
            packet.duration = 200
            output.mux(packet)
    return path


def description(path):
    with av.open(str(path)) as container:
        return {
            "title": container.metadata.get("title"),
            "chapters": [chapter["metadata"].get("title") for chapter in container.chapters()],
            "audio": [
                (s.language, s.codec_context.name, bool(s.disposition & 1)) for s in container.streams.audio
            ],
            "subtitles": [(s.language, s.codec_context.name) for s in container.streams.subtitles],
            "attachments": [stream.name for stream in container.streams if stream.type == "attachment"],
        }


AUDIO = [("eng", "ac3", False), ("fra", "aac", True)]


def rich_case(suffix, line, **expected):
    def check(folder, _):
        found = description(folder / f"out{suffix}")
        assert found == {"title": "Film", "chapters": ["One"], "audio": AUDIO, "attachments": [], **expected}

    return Case(
        f"film with everything into {suffix}", lambda d: upscale(rich_film(d), d / f"out{suffix}"), line,
        is_refused=False, check=check,
    )  # fmt: skip


def with_second_video(folder):
    path = folder / "in.mkv"
    parts = [make_film(folder / f"{n}.mkv", FRAMES, size=(48, 64 + 16 * n)) for n in (0, 1)]
    with av.open(str(path), "w") as output:
        opened = [av.open(str(part)) for part in parts]
        streams = [output.add_stream_from_template(container.streams.video[0]) for container in opened]
        for container, stream in zip(opened, streams, strict=True):
            for packet in container.demux(container.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    output.mux(packet)
            container.close()
    return path


def has_one_video(folder, _):
    with av.open(str(folder / "out.mkv")) as container:
        assert [(s.type, s.width) for s in container.streams] == [("video", 256)]


def with_alpha(folder, codec="png", suffix=".mov", pix_fmt="rgba"):
    return make_film(folder / f"in{suffix}", FRAMES, codec=codec, pix_fmt=pix_fmt)


CASES = [
    *(sound_case(codec, suffix) for codec in CODECS for suffix in TARGETS),
    *(
        shaped_case(layout, rate)
        for layout, rate in (
            ("mono", 48000), ("stereo", 44100), ("5.1", 48000), ("7.1", 48000), ("quad", 48000), ("2.1", 48000),
            ("stereo", 96000), ("mono", 8000), ("stereo", 192000), ("mono", 37800),
        )
    ),
    *(cut_case(suffix) for suffix in TARGETS),
    *(hidden_case(suffix) for suffix in (".mp4", ".mkv")),
    rich_case(".mkv", "(?s)^((?!warning).)*$", subtitles=[("deu", "srt")], attachments=["font.ttf"]),
    rich_case(".mp4", r"subtitle stream 3 \(\w+\) does not fit into .mp4 and is left out", subtitles=[]),
    Case(
        "second video stream", lambda d: upscale(with_second_video(d), d / "out.mkv"),
        "warning: video stream 1 is left out: the first one is upscaled", is_refused=False, check=has_one_video,
    ),
    *(
        Case(
            f"transparency {pix_fmt}",
            lambda d, row=(codec, suffix, pix_fmt): upscale(with_alpha(d, *row), d / "out.mp4"),
            "warning: video with transparency, which is left out", is_refused=False,
        )
        for codec, suffix, pix_fmt in (("png", ".mov", "rgba"), ("ffv1", ".mkv", "yuva420p"), ("qtrle", ".mov", "argb"))
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_sound(case, tmp_path, capfd):
    run(case, tmp_path, capfd)
