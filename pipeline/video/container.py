"""Opening a video file, its clock, and how damage to it is recognised. The ground under :mod:`pipeline.video.decode`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.video import structure

TOLERATED_DAMAGE = 1e-4
"""Share of damaged frames that passes: one glitch in a recording of several minutes, none in a clip."""

JOIN_WITHIN = 4
"""Packets after an incomplete one within which a key frame says that recordings were joined there."""

STRICT_CODECS = ("hevc", "mjpeg")
"""Decoders that mark no concealed frame as corrupt; they are told to fail instead. The others mark theirs."""

NOT_MOVING = ("tty", "image2", "subviewer", "srt", "webvtt", "ass")
"""FFmpeg formats that present text or a still picture as if it were a stream."""


class VideoError(ValueError):
    """A file cannot be read as a video. ``path``: the file; ``cause``: why, in words for its user."""

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(path, cause)
        self.path = Path(path)
        self.cause = cause

    def __str__(self) -> str:
        return f"{self.path}: {self.cause}"


class Promise(NamedTuple):
    """Length a container promises, and how much of it may be missing before the file counts as cut off, in seconds."""

    seconds: float
    slack: float


@contextmanager
def open_video(path: Path, threads: int) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and choose its video stream: the first marked default, else the one FFmpeg holds best.

    Raises:
        VideoError: no such file, empty, not a video, cut off or broken in its structure, no video stream.
    """
    if not path.is_file():
        raise VideoError(path, "there is no such file" if not path.exists() else "not a regular file")
    if path.stat().st_size == 0:
        raise VideoError(path, "the file is empty (0 bytes)")
    broken = structure.fault(path)
    if broken:
        raise VideoError(path, broken)
    try:
        # Tags in another encoding than UTF-8 must not stop a film; a playlist must not reach for other machines.
        container = av.open(str(path), metadata_errors="replace", container_options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError, UnicodeError) as error:
        raise VideoError(path, _why_not_opened(path, error)) from error
    with container:
        formats = container.format.name.split(",")
        if any(name in NOT_MOVING or name.endswith("_pipe") for name in formats):
            raise VideoError(path, f"not a video (read as {container.format.name}: text or a still picture)")
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            kinds = sorted({s.type for s in container.streams})
            raise VideoError(path, f"no video stream in it (only {', '.join(kinds) or 'nothing'})")
        best = container.streams.best("video")
        default = next((s for s in streams if s.disposition & Disposition.default), None)
        stream = default or (best if best in streams else streams[0])
        context: Any = stream.codec_context
        if context is None:  # no decoder for what the header names, or nothing there that names one
            raise VideoError(path, "its codec is unknown: not a video that can be decoded, or its header is damaged")
        context.thread_type = "NONE" if threads == 1 else "AUTO"
        context.thread_count = threads
        if context.name in STRICT_CODECS:
            context.options = {"err_detect": "explode"}
        yield container, stream


def _why_not_opened(path: Path, error: Exception) -> str:
    with open(path, "rb") as handle:
        head = handle.read(4096)
    if not any(byte < 9 for byte in head):
        return "not a video: it holds text"
    return f"not a video, or its header is damaged ({_words(error)})"


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def promised_end(container: InputContainer, stream: VideoStream) -> Promise | None:
    """How long the stream should be: from the stream itself, else from the container, which is less exact."""
    if stream.duration and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
    elif (tagged := _tagged_duration(stream.metadata)) is not None:
        seconds = tagged - max(0.0, float((stream.start_time or 0) * (stream.time_base or 0)))
    elif container.duration:
        seconds = container.duration / av.time_base
        if len(container.streams) > 1:  # a sound track may be longer than the picture
            return Promise(seconds, max(2.0, 0.2 * seconds))
    else:
        return None
    return Promise(seconds, max(0.25, 0.02 * seconds))


def _tagged_duration(metadata: dict[str, str]) -> float | None:
    """Matroska's DURATION tag of one track, "00:01:02.345000000"."""
    try:
        hours, minutes, seconds = metadata["DURATION"].split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except (KeyError, ValueError):
        return None


def _indexed_as_key(container: InputContainer, stream: VideoStream, packet: "Packet[VideoStream]") -> bool:
    """Whether an AVI's index calls a packet a key frame; whether it looks like one is found out from its content."""
    if "avi" not in container.format.name.split(",") or packet.dts is None:
        return False
    place = stream.index_entries.search_timestamp(packet.dts, any_frame=True)
    entry = stream.index_entries[place] if place >= 0 else None
    return entry is not None and entry.timestamp == packet.dts and entry.is_keyframe


class Clock:
    """Gives every decoded frame its time in seconds from the first one, strictly increasing.

    AVI stores decode times only. Frames leave the decoder in presentation order, so there the decode times in that order
    are the presentation clock, a constant delay aside. A frame without a time follows its predecessor at the nominal rate.
    """

    BACKWARD_JUMP_S = 1.0
    """A step back by more is a new timeline (joined recordings) and continues the old one; a smaller one is an error."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        rate = stream.average_rate or stream.guessed_rate or stream.codec_context.framerate
        self.fps = float(rate) if rate else 25.0
        self._tick = float(stream.time_base) if stream.time_base else 1 / self.fps
        self.only_dts = "avi" in container.format.name.split(",")
        self._origin: float | None = None
        self._last = 0.0
        self._last_duration = 1 / self.fps

    def time(self, frame: VideoFrame) -> tuple[float, float]:
        """Time and duration of the next frame, in seconds."""
        stamp = frame.dts if self.only_dts else frame.pts
        duration = frame.duration * self._tick if frame.duration else 1 / self.fps
        t = self._place(stamp * self._tick if stamp is not None else None)
        self._last, self._last_duration = t, duration
        return t, duration

    @property
    def started(self) -> bool:
        """Whether the first frame has come, whose time is 0."""
        return self._origin is not None

    def since_start(self, stamp: int) -> float:
        """The time in seconds that a frame with this time stamp will get, unless the stamps jump."""
        return stamp * self._tick - (self._origin or 0.0)

    def _place(self, stamp: float | None) -> float:
        follows = self._last + self._last_duration
        if self._origin is None:
            self._origin = stamp or 0.0
            return 0.0
        if stamp is None:
            return follows
        t = stamp - self._origin
        if t <= self._last - self.BACKWARD_JUMP_S:
            self._origin = stamp - follows
            return follows
        return t if t > self._last else self._last + self._tick


class Damage:
    """Watches one pass over a file and raises when what FFmpeg reports shows that the file is damaged or cut off.

    Counted are incomplete and refused packets and frames marked corrupt. A stream that begins in the middle of a picture
    group is a normal recording: what comes before its first key frame cannot be decoded and is left out.

    FFmpeg takes almost any bits for a VP8 or VP9 picture, many for an HEVC one and some for an H.264 one: damage inside
    their pictures that leaves the container whole is not, or not always, found.
    """

    def __init__(self, path: Path, container: InputContainer, stream: VideoStream) -> None:
        self.end_s = 0.0  # of the last good frame; kept up by whoever tells the time
        self._path = path
        self._promise = promised_end(container, stream)
        rate = float(stream.average_rate or 25)
        self._frame_s = 1 / rate
        expected = stream.frames or (self._promise.seconds * rate if self._promise else 0)
        self._tolerated = int(expected * TOLERATED_DAMAGE)
        self._counted = 0
        self._good = 0

    def packets(self, container: InputContainer, stream: VideoStream) -> "Iterator[Packet[VideoStream]]":
        """The stream's packets from its first key frame on."""
        started, lost, doubt = False, False, 0
        try:
            for packet in container.demux(stream):
                # Where MPEG-TS recordings were joined, a packet just before a key frame looks incomplete and is not.
                doubt = 0 if packet.is_keyframe else max(0, doubt - 1)
                if packet.is_corrupt:
                    doubt = JOIN_WITHIN
                elif doubt == 1:
                    self._count("a packet is incomplete")
                started = started or packet.is_keyframe
                lost = not started and (lost or _indexed_as_key(container, stream, packet))
                if started:
                    yield packet
                elif lost:
                    self._count("its first key frame is damaged")
                else:
                    self._promise = None  # the promised length counts what is left out
        except (av.FFmpegError, OSError) as error:
            raise VideoError(self._path, f"{self._where()} (the container: {_words(error)})") from error
        if doubt:
            self._count("its last packet is incomplete")

    def frames(self, packet: "Packet[VideoStream]") -> Iterator[VideoFrame]:
        """The frames that a packet completes."""
        try:
            frames = packet.decode()
        except (av.FFmpegError, OSError) as error:
            self._count(_words(error))
            return
        for frame in frames:
            if frame.is_corrupt:
                self._count("a picture is incomplete")
            self._good += 1
            yield frame

    def _count(self, what: str) -> None:
        self._counted += 1
        if self._counted > self._tolerated:
            raise VideoError(self._path, f"{self._where()} ({what})")

    def _where(self) -> str:
        of = f" of {self._promise.seconds:.2f} s" if self._promise else ""
        return f"truncated or corrupted: decoding failed after {self._good} frames, at {self.end_s:.2f}{of}"

    def check_end(self) -> None:
        """Raise when there was no frame, or the last one ends well before what the container promised."""
        if not self._good:
            raise VideoError(self._path, "truncated or corrupted: it holds no frame that can be decoded")
        if self._promise and self._promise.seconds - self.end_s > self._promise.slack + 2 * self._frame_s:
            raise VideoError(
                self._path,
                f"truncated: it ends after {self._good} frames at {self.end_s:.2f} s, its header promises "
                f"{self._promise.seconds:.2f} s",
            )
