"""Small videos made by code: any codec and container, with sound, cut, damaged, turned."""

import functools
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 25
SOUND_RATE = 48000


@functools.cache
def scene(count, height=48, width=64):
    """A square that moves over a smooth picture with some grain, (count, height, width, 3) uint8."""
    rows, columns = np.mgrid[:height, :width]
    base = np.stack([rows * 4, columns * 3, (rows + columns) * 2], axis=-1).astype(float)
    base += np.random.default_rng(0).integers(0, 12, (height, width, 1))
    frames = np.repeat(base[None], count, axis=0)
    for number, frame in enumerate(frames):
        frame[8:20, 2 * number % (width - 12) : 2 * number % (width - 12) + 12] = 250
    return np.clip(frames, 0, 255).astype(np.uint8)


def make_film(
    path, count=20, *, codec="libx264", pix_fmt="yuv420p", sound=None, gop=5, first=0, container=None, size=(48, 64),
    layout="stereo", sound_rate=SOUND_RATE, beep=None, stamps=None, options=None, format=None,
):  # fmt: skip
    """Write a video; `first` is the time stamp of its first frame, below 0 for a file with an edit list.

    With `beep` the sound is silent but for the tenth of a second that begins there, in seconds.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=format, container_options=container or {}) as output:
        stream = output.add_stream(codec, rate=RATE, options={"g": str(gop), **(options or {})})
        stream.height, stream.width = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.thread_count = 1
        track = output.add_stream(sound, rate=sound_rate, layout=layout) if sound else None
        packets = []
        for number, picture in enumerate(scene(count, *size)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = (stamps[number] if stamps else number) + first, Fraction(1, RATE)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        if track:
            packets += encode_sound(track, count / RATE, layout, sound_rate, first / RATE, beep)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            output.mux(packet)
    return path


def encode_sound(track, seconds, layout, rate, start, beep):
    """Packets of a tone, or of a beep in silence."""
    times = np.arange(round(seconds * rate)) / rate
    wave = np.sin(2 * np.pi * 440 * times)
    if beep is not None:
        wave *= (times >= beep) & (times < beep + 0.1)
    channels = av.AudioLayout(layout).nb_channels
    samples = np.repeat((12000 * wave).astype(np.int16)[:, None], channels, axis=1).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="s16", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, round(start * rate), Fraction(1, rate)
    resampler = av.AudioResampler(track.codec_context.format.name, layout, rate)
    packets = [packet for part in resampler.resample(frame) for packet in track.encode(part)]
    return packets + track.encode(None)


def cut_short(path, part=0.5):
    """Keep the first part of a file's bytes."""
    path.write_bytes(path.read_bytes()[: round(part * path.stat().st_size)])
    return path


def overwrite(path, part=0.5, count=60):
    """Overwrite some bytes of a file with noise."""
    content = bytearray(path.read_bytes())
    at = round(part * len(content))
    content[at : at + count] = np.random.default_rng(1).integers(0, 256, count, np.uint8).tobytes()
    path.write_bytes(content)
    return path


# what a player shows, by the display matrix (a, b, c, d): column p a + c q, row b p + d q of pixel (p, q)
ORIENTATIONS = {
    (1, 0, 0, 1): lambda frame: frame,
    (-1, 0, 0, 1): lambda frame: frame[:, ::-1],
    (1, 0, 0, -1): lambda frame: frame[::-1],
    (-1, 0, 0, -1): lambda frame: frame[::-1, ::-1],
    (0, 1, 1, 0): lambda frame: frame.transpose(1, 0, 2),
    (0, 1, -1, 0): lambda frame: np.rot90(frame, -1),
    (0, -1, 1, 0): lambda frame: np.rot90(frame, 1),
    (0, -1, -1, 0): lambda frame: np.rot90(frame.transpose(1, 0, 2), 2),
}


def turn(path, matrix):
    """Write a display matrix into the track header of an MP4 file (ISO/IEC 14496-12, section 8.3.2)."""
    content = bytearray(path.read_bytes())
    at = content.find(b"tkhd") + 4 + 40
    assert struct.unpack_from(">i", content, at)[0] == 1 << 16
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", content, at, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def read_frames(path):
    """Decoded frames as they are, RGB by PyAV."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def read_sound(path, number=0):
    """Samples of a track as float (channels, samples), and the time of the first in seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams.audio[number]))
        return np.concatenate([_samples(frame) for frame in frames], axis=1), frames[0].time


def _samples(frame):
    channels = frame.layout.nb_channels
    kind = {"u8": np.uint8, "s1": np.int16, "s3": np.int32, "fl": np.float32, "db": np.float64}[
        frame.format.name[:2]
    ]
    # not to_ndarray, which crashes on AAC of 8 channels in PyAV 18.1
    if frame.format.is_planar:
        samples = np.stack([np.frombuffer(frame.planes[n], kind, frame.samples) for n in range(channels)])
    else:
        samples = np.frombuffer(frame.planes[0], kind, frame.samples * channels).reshape(-1, channels).T
    return samples / (np.iinfo(kind).max if np.issubdtype(kind, np.integer) else 1)
