"""What a video file holds besides its frames: sound, subtitles, attachments, chapters, title; copied where they fit."""

import io
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    import av

# channels -> layout, for streams that tell no more than their number
LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
# samples per second that AAC takes (ISO/IEC 14496-3, table 1.16)
AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
# of a file: what its muxer writes about itself
TECHNICAL_TAGS = frozenset({"encoder", "major_brand", "minor_version", "compatible_brands"})
# of a stream: what holds for the copy too, which writers' statistics and names do not
STREAM_TAGS = ("language", "title")


def say(message: str) -> None:
    """Print a line to stderr without tearing the progress bar."""
    tqdm.write(message, file=sys.stderr)


class OtherStream:
    """A stream copied packet by packet or, of sound, encoded anew."""

    def __init__(
        self, container: "av.container.OutputContainer", stream: "av.stream.Stream", is_copy: bool
    ) -> None:
        self.container, self.stream, self.is_copy = container, stream, is_copy
        self.primer: av.Packet | None = None
        self.is_begun, self.last = False, -math.inf  # whether a packet was copied, and its decoding time

    def write(self, packet: "av.Packet") -> None:
        """Write a packet of the source.

        Packets that the source marks as not to be played are left out: an edit list hides what a film was cut by. The
        last of them goes along where playing begins right after it, since decoders of sound are primed by it.
        """
        if not self.is_copy:
            self._encode(packet)
        elif packet.is_discard:
            self.primer = packet
        # the empty packet at the end of a stream has no time; damaged files go back in time, which no container takes
        elif packet.dts is not None and packet.dts >= self.last:
            if not self.is_begun and self.primer is not None and packet.pts == 0:
                self._copy(self.primer)
            if not packet.duration and self.is_begun:  # MP4 would not play a last packet of unknown length
                packet.duration = packet.dts - self.last
            self.is_begun, self.last = True, packet.dts
            self._copy(packet)

    def _encode(self, packet: "av.Packet") -> None:
        import av

        try:
            frames = packet.decode()
        except av.FFmpegError:  # a gap in the sound; the end of the file says that it was damaged
            return
        for frame in frames:
            self.container.mux(self.stream.encode(frame))

    def _copy(self, packet: "av.Packet") -> None:
        packet.stream = self.stream
        self.container.mux(packet)

    def finish(self) -> None:
        """Write what the encoder still holds."""
        if not self.is_copy:
            self.container.mux(self.stream.encode(None))


def open_other(
    path: Path, container: "av.container.OutputContainer", source: "av.stream.Stream"
) -> OtherStream | None:
    """Add a stream like one of the source; sound that the container does not take is encoded as AAC.

    Returns
    -------
    OtherStream or None
        None, after a warning, where the stream cannot be taken along.
    """
    from av.stream import Disposition

    name = f"{source.type} stream {source.index}"
    if source.type == "video" and not source.disposition & Disposition.attached_pic:
        say(f"{path}: warning: {name} is left out: the first one is upscaled")
        return None
    if source.type != "attachment" and source.codec_context is None:
        say(f"{path}: warning: {name} is of an unknown kind and is left out")
        return None
    if is_taken(container.format.name, source):
        target = OtherStream(container, container.add_stream_from_template(source), is_copy=True)
    elif source.type == "audio":
        codec = source.codec_context.name
        say(f"{path}: warning: {path.suffix} takes no {codec} audio; it is encoded as AAC")
        target = OtherStream(container, _add_aac(container, source), is_copy=False)
    else:
        kind = "" if source.codec_context is None else f" ({source.codec_context.name})"
        say(f"{path}: warning: {name}{kind} does not fit into {path.suffix} and is left out")
        return None
    copy_stream_description(source, target.stream)
    return target


def is_taken(container: str, source: "av.stream.Stream") -> bool:
    """Whether a container takes a stream as it is: tried, since some are refused only when the header is written."""
    import av

    try:
        with av.open(io.BytesIO(), "w", format=container) as trial:
            stream = trial.add_stream_from_template(source)
            trial.start_encoding()
            if source.type == "audio" and source.codec_context.name.startswith("pcm_"):
                silence = av.Packet(
                    bytes(64 * source.codec_context.channels)
                )  # MP4 refuses some only in the end
                silence.stream, silence.pts, silence.dts = stream, 0, 0
                trial.mux(silence)
    except (av.FFmpegError, ValueError, NotImplementedError):
        return False
    return True


def _add_aac(container: "av.container.OutputContainer", source: "av.AudioStream") -> "av.AudioStream":
    """Add an AAC stream of as many channels and, where AAC has them, samples per second."""
    rate = source.codec_context.sample_rate
    stream = container.add_stream("aac", rate=min(AAC_RATES, key=lambda possible: abs(possible - rate)))
    stream.codec_context.layout = LAYOUTS.get(source.codec_context.channels, "stereo")
    return stream


def copy_description(source: "av.container.InputContainer", target: "av.container.OutputContainer") -> None:
    """Copy title, other tags and chapters of a file."""
    target.metadata.update(
        {key: value for key, value in source.metadata.items() if key.lower() not in TECHNICAL_TAGS}
    )
    target.set_chapters(source.chapters())


def copy_stream_description(source: "av.stream.Stream", target: "av.stream.Stream") -> None:
    """Copy language, title and disposition, such as which sound is played by default."""
    target.metadata.update({key: source.metadata[key] for key in STREAM_TAGS if key in source.metadata})
    target.disposition = source.disposition
