"""Video files and folders of pictures as streams of frames in and out, with colours, timing and other streams."""

import contextlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rlsp.data.clips import list_frames, read_pictures
from rlsp.data.decoding import VideoFrames, decodable, open_video, orientation
from rlsp.data.images import write_png
from rlsp.data.streams import OtherStream, copy_description, copy_stream_description, open_other, say
from rlsp.errors import DataError
from rlsp.files import remove_leftovers, replace_when_complete, temporary_path

if TYPE_CHECKING:
    import av

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}  # suffix -> FFmpeg's muxer

# matrix coefficients of ITU-T H.273 (table 4) -> weights of red and blue in luma: BT.709, FCC, BT.601 (two
# names), SMPTE 240M, BT.2020; those that decoded_rgb converts
LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
_BT709, _BT601 = 1, 6
_UNSPECIFIED = 2  # matrix, primaries or transfer
_LIMITED, _FULL = 1, 2  # ranges, as FFmpeg numbers them

PassOn = Callable[["av.Packet"], None]


# ---- sources -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class StreamFormat:
    """How the frames of a source are timed, coloured and shaped.

    Attributes
    ----------
    time_base : Fraction
        Unit of time stamps, seconds.
    rate : Fraction
        Average frames per second.
    matrix : int or None
        Matrix coefficients of H.273, None where the source names none that can be converted.
    color_range : int
        1 for limited (16..235), 2 for full (0..255).
    primaries, transfer : int
        Of H.273, 2 where the source names none; passed on, since no conversion changes them.
    has_full_chroma : bool
        Whether each pixel has its own chroma.
    pixel_aspect : Fraction
        Width of a pixel by its height, upright.
    """

    time_base: Fraction
    rate: Fraction
    matrix: int | None = None
    color_range: int = _LIMITED
    primaries: int = _UNSPECIFIED
    transfer: int = _UNSPECIFIED
    has_full_chroma: bool = False
    pixel_aspect: Fraction = Fraction(1)


class PictureSource:
    """PNG files as frames of equal duration.

    Attributes
    ----------
    total : int or None
        Number of frames, as far as known.
    others : list
        Streams besides the frames.
    damage : str or None
        What could not be read, in words; known at the end.
    format : StreamFormat
        Known when the first frame was given.
    stamps : deque of (int, int)
        Time stamp and duration of each frame given and not taken from here.
    """

    def __init__(self, files: list[Path], frame_rate: Fraction | int) -> None:
        self.files, self.total, self.others, self.damage = files, len(files), [], None
        self.format = StreamFormat(time_base=1 / Fraction(frame_rate), rate=Fraction(frame_rate))
        self.stamps: deque[tuple[int, int]] = deque()

    def frames(self, pass_on: PassOn) -> Iterator[np.ndarray]:
        """Read the frames, (H, W, 3) uint8 RGB each."""
        for index, frame in enumerate(read_pictures(self.files)):
            self.stamps.append((index, 1))
            yield frame


class VideoSource:
    """The first video stream of a file and all others; with the attributes of :class:`PictureSource`."""

    def __init__(
        self, path: Path, container: "av.container.InputContainer", stream: "av.VideoStream"
    ) -> None:
        self.path, self.container, self.stream = path, container, stream
        self.reading = VideoFrames(path, container, stream, is_strict=False)
        self.others = [other for other in container.streams if other is not stream]
        self.stamps: deque[tuple[int, int]] = deque()
        self.rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        self.total = self.reading.promised
        self.format: StreamFormat | None = None
        self.last_stamp = (-1, 1)
        self.warned: set[str] = set()

    def frames(self, pass_on: PassOn) -> Iterator[np.ndarray]:
        """Decode the frames, (H, W, 3) uint8 RGB each, upright; packets of audio in between are passed on."""

        def shift_and_pass(packet: "av.Packet") -> None:
            self._shift_packet(packet)
            pass_on(packet)

        with decodable(self.path):
            for frame, rgb in self.reading.pictures(shift_and_pass):
                self.format = self.format or self._format_of(frame)
                self._warn_about(frame)
                self._stamp(frame)
                yield rgb

    @property
    def damage(self) -> str | None:
        """What could not be read, in words."""
        return self.reading.damage

    def _warn_about(self, frame: "av.VideoFrame") -> None:
        """Say, once each, what the result lacks or suffers from."""
        bits = max(component.bits for component in frame.format.components)
        has_alpha = any(component.is_alpha for component in frame.format.components)
        warnings = {
            "interlaced video; de-interlace it first, or combs are enlarged": frame.interlaced_frame,
            f"{bits}-bit video; the result has 8 bits": bits > 8,
            "video with transparency, which is left out": has_alpha,
        }
        for message, applies in warnings.items():
            if applies and message not in self.warned:
                self.warned.add(message)
                say(f"{self.path}: warning: {message}")

    def _start(self, time_base: Fraction) -> int:
        """Time stamp that becomes 0: transport streams begin anywhere; a late stream stays late."""
        return max(0, round(Fraction(self.container.start_time or 0, 1_000_000) / time_base))

    def _shift_packet(self, packet: "av.Packet") -> None:
        if packet.dts is not None:
            start = self._start(packet.time_base)
            packet.dts -= start
            if packet.pts is not None:
                packet.pts -= start

    def _stamp(self, frame: "av.VideoFrame") -> None:
        """Note the time of a frame; what a stream leaves out or gets wrong is made to go on."""
        duration = frame.duration or max(1, round(1 / (self.rate * self.stream.time_base)))
        last, last_duration = self.last_stamp
        pts = last + last_duration if frame.pts is None else frame.pts - self._start(self.stream.time_base)
        self.last_stamp = (max(pts, last + 1), duration)
        self.stamps.append(self.last_stamp)

    def _format_of(self, frame: "av.VideoFrame") -> StreamFormat:
        matrix, context = int(frame.colorspace), self.stream.codec_context
        aspect = self.stream.sample_aspect_ratio or Fraction(1)
        is_rgb = frame.format.is_rgb
        return StreamFormat(
            time_base=self.stream.time_base,
            rate=self.rate,
            matrix=matrix if matrix in LUMA_WEIGHTS and not is_rgb else None,
            color_range=_FULL if int(frame.color_range) == _FULL and not is_rgb else _LIMITED,
            primaries=int(context.color_primaries),
            transfer=int(context.color_trc),
            has_full_chroma=is_rgb or "444" in frame.format.name,
            pixel_aspect=1 / aspect if orientation(frame)[0] else aspect,
        )


@contextlib.contextmanager
def picture_source(folder: Path, frame_rate: Fraction | int) -> Iterator[PictureSource]:
    """Open a folder of PNG files, to be shown at `frame_rate` frames per second."""
    yield PictureSource(list_frames(folder), frame_rate)


@contextlib.contextmanager
def video_source(path: Path, threads: int | None) -> Iterator[VideoSource]:
    """Open a video file; `threads` decode it, by default as many as FFmpeg likes."""
    with open_video(path) as (container, stream):
        stream.codec_context.thread_count = threads or 0
        yield VideoSource(path, container, stream)


# ---- targets -----------------------------------------------------------------------------------


class PictureTarget:
    """A folder of PNG files named by the number of the frame; errors name the one that it becomes."""

    def __init__(self, folder: Path, final: Path) -> None:
        self.folder, self.final, self.count = folder, final, 0

    def copy(self, packet: "av.Packet") -> None:
        """Drop a packet of another stream: pictures have none."""

    def write(self, picture: np.ndarray, pts: int, duration: int) -> None:
        """Write the next frame, (H, W, 3) uint8 RGB."""
        name = f"{self.count:08d}.png"
        try:
            write_png(self.folder / name, picture)
        except OSError as error:
            raise DataError(f"{self.final / name}: cannot be written: {error.strerror or error}") from None
        self.count += 1


@contextlib.contextmanager
def picture_target(folder: Path) -> Iterator[PictureTarget]:
    """Give a folder beside `folder`, moved onto it at the end or removed after an error."""
    folder = folder.resolve()
    remove_leftovers(folder)
    temporary = temporary_path(folder)
    temporary.mkdir()
    try:
        yield PictureTarget(temporary, folder)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class VideoTarget:
    """A video file with H.264 frames like those of the source in all but their size, and its sound."""

    def __init__(
        self,
        path: Path,
        container: "av.container.OutputContainer",
        source: PictureSource | VideoSource,
        crf: float,
        threads: int | None,
    ) -> None:
        self.path, self.container, self.source = path, container, source
        self.crf, self.threads = crf, threads
        self.stream: av.VideoStream | None = None
        self.others: dict[int, OtherStream] = {}
        self.waiting: list[av.Packet] = []

    def copy(self, packet: "av.Packet") -> None:
        """Take a packet of another stream; those before the first frame wait for it."""
        if self.stream is None:
            self.waiting.append(packet)
        elif packet.stream.index in self.others:
            with _writable(self.path):
                self.others[packet.stream.index].write(packet)

    def write(self, picture: np.ndarray, pts: int, duration: int) -> None:
        """Encode the next frame, (H, W, 3) uint8 RGB."""
        with _writable(self.path):
            if self.stream is None:
                self._open(*picture.shape[:2])
            frame = self._encodable(picture)
            frame.pts, frame.time_base, frame.duration = pts, self.source.format.time_base, duration
            self.container.mux(self.stream.encode(frame))

    def finish(self) -> None:
        """Write what the encoders still hold."""
        if self.stream is not None:
            self.container.mux(self.stream.encode(None))
            for other in self.others.values():
                other.finish()

    def _open(self, height: int, width: int) -> None:
        """Set all streams up, now that the size of the frames is known."""
        form = self.source.format
        has_full_chroma = form.has_full_chroma or height % 2 or width % 2
        self.stream = self.container.add_stream("libx264", rate=form.rate, options={"crf": str(self.crf)})
        context = self.stream.codec_context
        context.width, context.height = width, height
        context.pix_fmt = "yuv444p" if has_full_chroma else "yuv420p"
        context.time_base = form.time_base
        context.sample_aspect_ratio = form.pixel_aspect
        self.matrix = form.matrix or (_BT709 if height >= 720 else _BT601)
        context.colorspace, context.color_range = self.matrix, form.color_range
        context.color_primaries, context.color_trc = form.primaries, form.transfer
        context.thread_count = self.threads or 0
        context.flags |= 1 << 8  # AV_CODEC_FLAG_FRAME_DURATION: packets last as long as their frames
        self.others = self._open_others()
        waiting, self.waiting = self.waiting, []
        for packet in waiting:
            self.copy(packet)

    def _open_others(self) -> "dict[int, OtherStream]":
        """Set up what goes along with the frames: sound, subtitles, chapters, title."""
        source = self.source
        if isinstance(source, PictureSource):
            return {}
        copy_description(source.container, self.container)
        copy_stream_description(source.stream, self.stream)
        opened = {other.index: open_other(self.path, self.container, other) for other in source.others}
        return {index: target for index, target in opened.items() if target is not None}

    def _encodable(self, picture: np.ndarray) -> "av.VideoFrame":
        """Convert a picture to the matrix, range and pixel format of the stream."""
        import av
        from av.video.reformatter import Interpolation

        color_range = self.source.format.color_range
        planes = encode_colors(picture, self.matrix, color_range)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv444p")
        if self.stream.codec_context.pix_fmt == "yuv444p":
            return frame
        return frame.reformat(
            format="yuv420p",
            src_color_range=color_range,
            dst_color_range=color_range,
            interpolation=int(
                Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP
            ),
        )


def encode_colors(rgb: np.ndarray, matrix: int, color_range: int) -> np.ndarray:
    """Convert RGB to Y'CbCr, rounded to the nearest.

    swscale could do it, but its full-range chroma is half a grey level too low on average.

    Parameters
    ----------
    rgb : np.ndarray
        (H, W, 3) uint8 RGB.
    matrix : int
        Matrix coefficients, one of :data:`LUMA_WEIGHTS`.
    color_range : int
        1 for limited (Y 16..235, Cb and Cr 16..240), 2 for full.

    Returns
    -------
    np.ndarray
        (3, H, W) uint8: Y, Cb, Cr.
    """
    import cv2

    red, blue = LUMA_WEIGHTS[matrix]
    luma = np.array([red, 1 - red - blue, blue])
    blue_difference = (np.array([0, 0, 1]) - luma) / (2 - 2 * blue)
    red_difference = (np.array([1, 0, 0]) - luma) / (2 - 2 * red)
    steps, offset = ((219, 224, 224), 16) if color_range == _LIMITED else ((255, 255, 255), 0)
    rows = np.stack([luma, blue_difference, red_difference]) * np.array(steps)[:, None] / 255
    transform = np.column_stack([rows, [offset, 128, 128]])
    return np.ascontiguousarray(cv2.transform(np.ascontiguousarray(rgb), transform).transpose(2, 0, 1))


@contextlib.contextmanager
def _writable(path: Path) -> Iterator[None]:
    """Tell in one line why a video cannot be written."""
    import av

    try:
        yield
    except av.FFmpegError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def video_target(
    path: Path, source: PictureSource | VideoSource, crf: float, threads: int | None
) -> Iterator[VideoTarget]:
    """Give a file beside `path`, moved onto it at the end or removed after an error."""
    import av

    remove_leftovers(path)
    with replace_when_complete(path) as temporary, _writable(path):
        with av.open(str(temporary.absolute()), "w", format=FORMATS[path.suffix.lower()]) as container:
            target = VideoTarget(path, container, source, crf, threads)
            yield target
            target.finish()
