"""Reading videos with PyAV: upright RGB pictures in presentation order, each with its own time, one pass, one thread.

Time 0 is the first shown frame of the chosen stream; a container that starts later (MPEG-TS, delayed tracks) is shifted.
Pictures have square pixels and are upright: the display matrix and the sample aspect ratio are applied. All of them have
the size of the first, also when the stream changes its size. A file that is empty, no video, cut off or damaged raises
:class:`VideoError` with its cause; it never yields invented pictures and then ends as if all were well.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from pipeline.video import planes
from pipeline.video.container import Clock, Damage, VideoError, open_video, promised_end
from pipeline.video.unseen import pass_over_unseen

__all__ = [
    "Display", "Frame", "Orientation", "Shown", "VideoError", "VideoInfo", "decode", "decode_at", "decode_shown_at",
    "probe", "scan", "shown_at",
]  # fmt: skip

GRID_TOLERANCE_S = 0.0015
"""Two times this close are equal: Matroska rounds to 1 ms, so the difference of two of its times is off by up to 1 ms."""

SCALING = Interpolation.AREA | Interpolation.FULL_CHR_H_INT
"""Area average where pictures shrink, bilinear where they grow. Without full chroma swscale is two grey levels too dark
when the width is even, and right when it is odd."""

SQUARE_PIXELS_WITHIN = 0.01
"""Sample aspect ratios this close to 1 are encoders' rounding (704:705), not intent; the pixels are taken as they are."""


class Frame(NamedTuple):
    """One picture: its time in seconds from the first frame, and uint8 RGB [height, width, 3], contiguous."""

    pts_s: float
    picture: np.ndarray


@dataclass(frozen=True)
class VideoInfo:
    """What a file shows. ``width`` and ``height`` are in square pixels after rotation; ``rotation`` is clockwise degrees.

    From :func:`probe`, ``duration_s`` and ``n_frames`` are what the container says (``n_frames`` estimated where it says
    nothing); from :func:`scan` they are counted.
    """

    width: int
    height: int
    fps: float
    duration_s: float
    n_frames: int
    codec: str
    rotation: int


class Orientation(NamedTuple):
    """How stored pictures become upright ones: transpose first, then flip. One of the eight right-angled ones."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @staticmethod
    def of(frame: VideoFrame) -> "Orientation":
        """From the display matrix [[a, b, .], [c, d, .], ...]: a stored point (x, y) is shown at (ax + cy, bx + dy)."""
        data: Any = frame.side_data.get("DISPLAYMATRIX")
        if data is None:
            return Orientation()
        (a, b), (c, d) = np.frombuffer(data, dtype=np.int32).reshape(3, 3)[:2, :2].astype(float)
        if abs(b) + abs(c) > abs(a) + abs(d):
            return Orientation(True, c < 0, b < 0)
        return Orientation(False, a < 0, d < 0)

    def clockwise_degrees(self) -> int:
        """The rotation, a mirroring aside."""
        return (90 if self.flip_x else 270) if self.transpose else (180 if self.flip_y else 0)

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Turn an array [height, width, channels]."""
        if self.transpose:
            picture = picture.transpose(1, 0, 2)
        return np.ascontiguousarray(picture[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1])


class Display(NamedTuple):
    """Size and orientation of the shown pictures, fixed by the first frame of a stream, and the scaler of the stream."""

    width: int
    height: int
    orientation: Orientation
    scaler: VideoReformatter  # keeps its filters from frame to frame: half the time of VideoFrame.reformat

    @staticmethod
    def of(frame: VideoFrame, stream: VideoStream) -> "Display":
        """Of a stream with this first frame: square pixels, upright."""
        aspect = float(stream.sample_aspect_ratio or 1)
        width, height = frame.width, frame.height
        if aspect > 0 and abs(aspect - 1) > SQUARE_PIXELS_WITHIN:
            width = max(1, round(width * aspect))
        orientation = Orientation.of(frame)
        if orientation.transpose:
            width, height = height, width
        return Display(width, height, orientation, VideoReformatter())

    def scaled(self, short_side: int | None, height: int | None) -> "Display":
        """The same with the shorter side, or the height, as given and the other in proportion, rounded."""
        if height is not None:
            scale = height / self.height
        elif short_side is not None:
            scale = short_side / min(self.width, self.height)
        else:
            return self
        return self._replace(width=max(1, round(self.width * scale)), height=max(1, round(self.height * scale)))

    def info(self, stream: VideoStream, fps: float, duration_s: float, n_frames: int) -> VideoInfo:
        """With what else is known of the stream."""
        return VideoInfo(
            self.width,
            self.height,
            fps,
            duration_s,
            n_frames,
            stream.codec_context.name,
            self.orientation.clockwise_degrees(),
        )

    @property
    def stored(self) -> tuple[int, int]:
        """Height and width before turning."""
        return (self.width, self.height) if self.orientation.transpose else (self.height, self.width)

    def converted(self, frame: VideoFrame, form: str = "rgb24") -> VideoFrame:
        """Scaled and converted in one swscale pass, not turned."""
        height, width = self.stored
        # One swscale thread: the default would take every core for a picture of 64 rows.
        return self.scaler.reformat(frame, width, height, form, interpolation=SCALING, threads=1)

    def picture(self, frame: VideoFrame) -> np.ndarray:
        """The upright picture; scaled before the copy."""
        return self.orientation.apply(self.converted(frame).to_ndarray())

    def planes(self, frame: VideoFrame) -> planes.Planes | np.ndarray:
        """The picture as JPEG's planes where it is shown as it is stored, else the upright picture in RGB.

        Not of scaled ones: swscale's planes of these are half a dB farther from the source than by way of its RGB.
        """
        as_stored = self.orientation == Orientation() and self.stored == (frame.height, frame.width)
        found = planes.jfif(frame) if as_stored else None
        return self.picture(frame) if found is None else found


class Shown(NamedTuple):
    """A decoded frame that is not converted yet: when it is shown, for how long, and how."""

    t: float
    duration: float
    frame: VideoFrame
    display: Display

    @property
    def end(self) -> float:
        """When it is off, s."""
        return self.t + self.duration

    def convert(self, short_side: int | None = None, height: int | None = None) -> Frame:
        """The picture in RGB, of the size that is asked for."""
        return Frame(self.t, self.display.scaled(short_side, height).picture(self.frame))

    def planes(self, short_side: int | None = None) -> tuple[float, planes.Planes | np.ndarray]:
        """Its time, and what a JPEG file is best made from: see :meth:`Display.planes`."""
        return self.t, self.display.scaled(short_side, None).planes(self.frame)


def _walk(
    path: Path, container: InputContainer, stream: VideoStream, wanted: Callable[[float, float], bool] | None = None
) -> Iterator[Shown]:
    """Yield every shown frame of an opened file, in order, unconverted; the only place that decodes.

    With ``wanted``, frames may be missing for whose time on show (start, end) it says no.

    Raises:
        VideoError: see :func:`decode`.
    """
    clock, damage = Clock(container, stream), Damage(path, container, stream)
    display: Display | None = None
    packets = damage.packets(container, stream)
    for packet in pass_over_unseen(packets, stream, clock, wanted) if wanted else packets:
        for frame in damage.frames(packet):
            t, duration = clock.time(frame)
            display = display or Display.of(frame, stream)
            damage.end_s = t + duration
            yield Shown(t, duration, frame, display)
    damage.check_end()


def probe(path: Path) -> VideoInfo:
    """Size, rate and length as the container states them; opens the file and decodes its first frame.

    Raises:
        VideoError: the file cannot be opened, has no video stream, or not even its first frame can be decoded.
    """
    path = Path(path)
    with open_video(path, threads=1) as (container, stream):
        first = next(_walk(path, container, stream))
        promised, fps = promised_end(container, stream), Clock(container, stream).fps
        duration = promised.seconds if promised else (stream.frames / fps if stream.frames else first.end)
        return first.display.info(stream, fps, duration, stream.frames or max(1, round(duration * fps)))


def scan(path: Path, *, threads: int = 1) -> VideoInfo:
    """As :func:`probe`, but exact: the whole file is decoded (not converted), frames are counted and damage is found.

    ``duration_s`` ends with the last frame's own duration; ``fps`` is the average over it.

    Raises:
        VideoError: as :func:`decode`.
    """
    path = Path(path)
    with open_video(path, threads) as (container, stream):
        count = 0
        for count, shown in enumerate(_walk(path, container, stream), 1):  # noqa: B007
            last = shown
        return last.display.info(stream, count / last.end, last.end, count)


def decode(path: Path, *, short_side: int | None = None, threads: int = 1) -> Iterator[Frame]:
    """Yield every shown frame in presentation order, in one pass and constant memory.

    Times are seconds from the first frame and strictly increase; the frames are exactly those a player shows (edit lists
    are followed). ``short_side``: shorter side of the pictures in pixels, None for the stored size. Errors come while
    iterating, after the frames before them.

    Raises:
        VideoError: no such file, empty, not a video, no video stream, damaged or truncated.
    """
    return (shown.convert(short_side) for shown in shown_at(path, None, threads=threads))


def decode_shown_at(path: Path, times: Sequence[float], *, height: int) -> list[Frame]:
    """The frame on show at each of ``times`` (ascending seconds), ``height`` pixels high; one pass.

    A time behind the end gets the last frame. A frame that is on show at several times is converted once.

    Raises:
        VideoError: as :func:`decode`.
    """
    path, frames = Path(path), list[Frame]()
    with open_video(path, threads=1) as (container, stream):
        pending: Shown | None = None

        def take_until(t: float) -> None:
            wanted = bisect_left(times, t - GRID_TOLERANCE_S) - len(frames)
            if pending is not None and wanted > 0:
                frames.extend([pending.convert(height=height)] * wanted)

        for shown in _walk(path, container, stream):
            take_until(shown.t)
            pending = shown
        take_until(math.inf)
    return frames


def decode_at(path: Path, fps: float, short_side: int | None = None, *, threads: int = 1) -> Iterator[Frame]:
    """Yield the frames on show at the times k / fps, k = 0, 1, ..., up to the end of the last frame.

    On show at t is the last frame with a time of at most t (1.5 ms tolerance for rounded times). ``pts_s`` is the frame's
    own time. A frame that is on show at several of these times (a gap of a variable-rate file, or fps above the file's
    own rate) is yielded once: no row is invented and times strictly increase; a reader that needs the picture at t takes
    the last row at or before t. Only yielded frames are scaled and converted.

    Raises:
        VideoError: as :func:`decode`.
        ValueError: ``fps`` is not positive.
    """
    return (shown.convert(short_side) for shown in shown_at(path, fps, threads=threads))


def shown_at(path: Path, fps: float | None, *, threads: int = 1) -> Iterator[Shown]:
    """The frames of :func:`decode_at`, or with ``fps`` None those of :func:`decode`, for the caller to convert.

    Raises:
        VideoError, ValueError: as these.
    """
    path = Path(path)
    if fps is None:
        with open_video(path, threads) as (container, stream):
            yield from _walk(path, container, stream)
        return
    if not fps > 0:
        raise ValueError(f"fps is {fps}, it must be positive")

    def wanted(start: float, end: float) -> bool:
        return on_grid(start, end, fps)

    with open_video(path, threads) as (container, stream):
        pending: Shown | None = None
        # A frame that is left out has no k / fps in its time; joined to its predecessor's it changes no choice.
        for shown in _walk(path, container, stream, wanted):
            if pending is not None and wanted(pending.t, shown.t):
                yield pending
            pending = shown
        if pending is not None and wanted(pending.t, pending.end):
            yield pending


def on_grid(start: float, end: float, fps: float) -> bool:
    """Whether some k / fps lies in [start, end), both moved earlier by the tolerance."""
    next_grid = math.ceil((start - GRID_TOLERANCE_S) * fps) / fps
    return next_grid < end - GRID_TOLERANCE_S
