"""Video files decoded to RGB, with the colours and the orientation that they declare."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rlsp.errors import DataError

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
        The file holds no video or cannot be decoded.
    """
    with open_video(path) as (container, stream):
        for frame in container.decode(stream):
            yield decoded_rgb(frame)


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

    # an absolute path, since FFmpeg takes what stands before a colon for a protocol
    with decodable(path), av.open(os.path.abspath(path)) as container:
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            raise DataError(f"{path}: expected a video, got a file without a video stream")
        if streams[0].codec_context is None:
            raise DataError(f"{path}: expected a video that can be decoded, got an unknown codec")
        streams[0].thread_type = "AUTO"
        yield container, streams[0]


@contextlib.contextmanager
def decodable(path: Path) -> Iterator[None]:
    """Tell in one line why a video cannot be decoded, as a :class:`DataError`."""
    import av

    try:
        yield
    except av.FFmpegError as error:
        raise DataError(f"{path}: expected a video that can be decoded, got: {error.strerror}") from None


def decoded_rgb(frame) -> np.ndarray:
    """Convert a decoded PyAV frame to RGB by its own colour matrix, range and rotation.

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
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
