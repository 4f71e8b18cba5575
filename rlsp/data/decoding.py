"""Video files decoded to RGB, with the colours and the orientation that they declare."""

import contextlib
import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rlsp.errors import DataError
from rlsp.files import check_regular

if TYPE_CHECKING:
    import av

# MatrixCoefficients of ITU-T H.273 -> those that PyAV takes: BT.709, FCC, BT.601 (two names), SMPTE 240M, BT.2020
_BT709, _BT601 = 1, 5
_MATRICES = {1: _BT709, 4: 4, 5: _BT601, 6: _BT601, 7: 7, 9: 9}


def read_video(path: Path) -> Iterator[np.ndarray]:
    """Decode the first video stream of a file, in constant memory.

    Yields
    ------
    np.ndarray
        (H, W, 3) uint8 RGB, full range, upright.

    Raises
    ------
    DataError
        The file holds no video, is damaged, ends before its time, or cannot be decoded.
    """
    with open_video(path) as (container, stream):
        for _, rgb in VideoFrames(path, container, stream).pictures():
            yield rgb


@contextlib.contextmanager
def open_video(path: Path) -> Iterator[tuple["av.container.InputContainer", "av.VideoStream"]]:
    """Open a file and its first video stream, which is no cover picture of a song.

    Raises
    ------
    DataError
        The file holds no video, or cannot be opened or decoded, now or while it is open.
    """
    import av
    from av.stream import Disposition

    check_regular(path, "video file")  # FFmpeg would wait for the other end of a pipe
    # an absolute path, since FFmpeg takes what stands before a colon for a protocol
    with decodable(path), av.open(os.path.abspath(path)) as container:
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            raise DataError(f"{path}: expected a video, got a file without a video stream")
        if streams[0].codec_context is None:
            raise DataError(f"{path}: expected a video that can be decoded, got an unknown codec")
        # threads for whole frames would decode 1.5 times as fast on 2 cores, and mark damaged frames by chance only
        streams[0].thread_type = "SLICE"
        yield container, streams[0]


@contextlib.contextmanager
def decodable(path: Path) -> Iterator[None]:
    """Tell in one line why a video cannot be decoded, as a :class:`DataError`."""
    import av

    try:
        yield
    except av.FFmpegError as error:
        raise DataError(f"{path}: expected a video that can be decoded, got: {error.strerror}") from None


# containers whose header tells how long they are; of the others FFmpeg derives it from what is there
_TIMED_CONTAINERS = frozenset({"matroska,webm", "flv", "asf", "avi"})
_INDEXED_CONTAINER = "mov,mp4,m4a,3gp,3g2,mj2"  # lists its frames
# seconds, and frames, by which headers may differ from the last frame: rounded or made by other rules, in whole files
# they were seen to by 0.05 seconds and by 1 frame
_END_TOLERANCE, _FRAME_TOLERANCE = 0.25, 2


class VideoFrames:
    """The decoded frames of a video stream, and what was found damaged among them.

    FFmpeg passes over what it cannot read, and calls a file that breaks off an end. Found are packets that cannot be
    read or decoded, frames that a decoder had to patch (H.264, MPEG-2, MPEG-4 and others tell, HEVC and MJPEG do not),
    and fewer frames or less time than the header tells of (those of Y4M, Ogg, transport and bare streams do not). What
    a stream begins with is left out of it: one that was cut begins with frames whose references are gone.

    Parameters
    ----------
    path : Path
        What errors call it.
    container, stream
        See :func:`open_video`.
    is_strict : bool
        Whether the first damage is an error.

    Attributes
    ----------
    count : int
        Frames given so far.
    promised : int or None
        Frames that the header tells of, None where it does not.
    places : list of str
        What was damaged, and where.
    """

    def __init__(
        self,
        path: Path,
        container: "av.container.InputContainer",
        stream: "av.VideoStream",
        *,
        is_strict: bool = True,
    ) -> None:
        self.path, self.container, self.stream, self.is_strict = path, container, stream, is_strict
        self.count = 0
        self.promised = _promised_frames(container, stream)
        self.places: list[str] = []
        self._packets = 0
        self._ends = {"video": 0.0, "file": 0.0}  # seconds
        self._is_begun, self._is_interrupted = False, False
        self._frame_seconds = float(1 / (stream.average_rate or stream.guessed_rate or 25))
        self._first_error: Exception | None = None

    def frames(
        self, pass_on: Callable[["av.Packet"], None] = lambda packet: None
    ) -> Iterator["av.VideoFrame"]:
        """Decode frame by frame; packets of other streams in between are passed on.

        Raises
        ------
        DataError
            Nothing can be decoded or, if strict, something is damaged.
        """
        for packet in self._read():
            if packet.stream is not self.stream:
                pass_on(packet)
                continue
            for frame in self._decode(packet):
                self._is_begun = self._is_begun or not frame.is_corrupt
                if frame.is_corrupt and self._is_begun:
                    self._note("a frame with errors")
                yield frame
                self.count += 1
        if self._is_interrupted:
            for frame in self.stream.codec_context.decode(None):  # what the decoder holds still
                yield frame
                self.count += 1
        self._check_end()

    def pictures(
        self, pass_on: Callable[["av.Packet"], None] = lambda packet: None
    ) -> Iterator[tuple["av.VideoFrame", np.ndarray]]:
        """Decode as :meth:`frames` does, and convert to RGB; see :func:`decoded_rgb`.

        Raises
        ------
        DataError
            As there; or a frame has another size than the first.
        """
        first = None
        for frame in self.frames(pass_on):
            rgb = decoded_rgb(frame)
            first = first or rgb.shape
            if rgb.shape != first:
                raise DataError(
                    f"{self.path}: expected frames of {first[1]}x{first[0]} like the first, "
                    f"got {rgb.shape[1]}x{rgb.shape[0]}"
                )
            yield frame, rgb

    @property
    def damage(self) -> str | None:
        """What was damaged, in words: how many frames were read, and where the first and how many places are."""
        if not self.places:
            return None
        of = f" of {self.promised}" if self.promised and self.promised > self.count else ""
        more = f", the first of {len(self.places)} places" if len(self.places) > 1 else ""
        return f"{self.count}{of} frames read; {self.places[0]}{more}"

    def _read(self) -> Iterator["av.Packet"]:
        """Read packets of all streams: the end of the longest shows whether the file is whole."""
        import av

        packets = self.container.demux()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError as error:
                self._note(f"reading stops ({error.strerror})")
                self._is_interrupted = True
                return
            self._watch(packet)
            yield packet

    def _watch(self, packet: "av.Packet") -> None:
        if packet.pts is None and packet.dts is None and not packet.size:  # the end of a stream
            return
        is_ours = packet.stream is self.stream
        self._packets += is_ours
        if packet.is_corrupt and (self._is_begun or not is_ours):
            self._note(f"a damaged packet of {packet.stream.type}")
        if packet.pts is not None and packet.time_base:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            end += self._frame_seconds if is_ours and not packet.duration else 0
            for stream in ("video", "file")[not is_ours :]:
                self._ends[stream] = max(self._ends[stream], end)

    def _decode(self, packet: "av.Packet") -> list["av.VideoFrame"]:
        import av

        try:
            return packet.decode()
        except av.FFmpegError as error:
            if self._is_begun:
                self._note(f"a packet that cannot be decoded ({error.strerror})")
            else:
                self._first_error = self._first_error or error
            return []

    def _check_end(self) -> None:
        if not self._is_begun and self._first_error is not None:
            raise self._first_error
        name, expected = self.container.format.name, len(self.stream.index_entries)
        if name == _INDEXED_CONTAINER and self._packets < expected:
            self._note(f"it holds {self._packets} of {expected} packets of video")
        elif name in _TIMED_CONTAINERS:
            tolerance = max(_END_TOLERANCE, _FRAME_TOLERANCE * self._frame_seconds)
            for what, length in self._promised_lengths(name).items():
                if self._ends[what] < length - tolerance:
                    self._note(f"its {what} ends at {self._ends[what]:.2f} s of {length:.2f} s")
                    return

    def _promised_lengths(self, container: str) -> dict[str, float]:
        """Seconds that the header tells of, counted from 0 whenever a stream begins."""
        if container == "avi":  # it may leave out frames that did not change
            return {"video": self.stream.frames * self._frame_seconds}
        return {
            "file": (self.container.duration or 0) / 1_000_000,
            "video": tagged_duration(self.stream.metadata),
        }

    def _note(self, what: str) -> None:
        place = f"{what} after frame {self.count} ({self._ends['video']:.2f} s)"
        self.places.append(place)
        if self.is_strict:
            raise DataError(f"{self.path}: expected an undamaged video, got {self.damage}")


def _promised_frames(container: "av.container.InputContainer", stream: "av.VideoStream") -> int | None:
    rate = stream.average_rate or stream.guessed_rate
    if not stream.frames and container.duration and rate:
        return round(container.duration / 1_000_000 * rate)
    return stream.frames or None


def tagged_duration(metadata: Mapping[str, str]) -> float:
    """Seconds of the tag DURATION that writers of Matroska give a stream; 0 without one."""
    match = re.match(r"(\d+):(\d+):(\d+(?:[.]\d+)?)", metadata.get("DURATION", ""))
    hours, minutes, seconds = map(float, match.groups()) if match else (0.0, 0.0, 0.0)
    return 3600 * hours + 60 * minutes + seconds


def orientation(frame: "av.VideoFrame") -> tuple[bool, bool, bool]:
    """Tell how a frame has to be turned to be shown: rows and columns exchanged, then rows and columns mirrored.

    Its display matrix maps a pixel at column p and row q to column a p + c q and row b p + d q (ISO/IEC 14496-12,
    section 6.2.2); of one that turns by another angle than a right one the nearest is taken.
    """
    from av.sidedata.sidedata import Type

    matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    if matrix is None:
        return False, False, False
    a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, d < 0, a < 0
    return True, b < 0, c < 0


def decoded_rgb(frame) -> np.ndarray:
    """Convert a decoded PyAV frame to RGB by its own colour matrix, range and orientation.

    Where the stream names no matrix, BT.709 is taken from 720 rows on and BT.601 below, the convention
    of players; where it names no range, limited (16..235).

    Parameters
    ----------
    frame : av.VideoFrame
        The frame.

    Returns
    -------
    np.ndarray
        (H, W, 3) uint8 RGB, full range, upright.
    """
    from av.video.reformatter import ColorRange, Interpolation

    is_transposed, *is_mirrored = orientation(frame)
    if not frame.format.is_rgb:
        guess = _BT709 if frame.height >= 720 else _BT601
        matrix = _MATRICES.get(int(frame.colorspace), guess)
        frame = frame.reformat(
            format="rgb24",
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=ColorRange.JPEG if frame.color_range == ColorRange.JPEG else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            # without the last two flags swscale rounds down: 1.1 grey levels too dark on average
            interpolation=int(
                Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
            ),
        )
    rgb = frame.to_ndarray(format="rgb24")
    rgb = rgb.transpose(1, 0, 2) if is_transposed else rgb
    return np.ascontiguousarray(np.flip(rgb, [axis for axis in (0, 1) if is_mirrored[axis]]))
