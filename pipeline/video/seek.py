"""Reading single frames of a video file by seeking: the same frames, times and pictures as decoding it from the start.

The time stamps and key frames are read once from the packets, without decoding. A frame is then decoded from the last key
frame at or before it, and pictures on the way that nothing refers to are passed over. Every frame is known by its time
stamp, not by counting: one that does not come out whole is sought again from an earlier key frame, at last from the start.

Where packets do not tell the frames' times (MPEG-4 or H.264 with B-frames in AVI, joined recordings, missing stamps), the
index comes from decoding once, and reading decodes from the start.
"""

from bisect import bisect_right
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.video.container import Clock, Damage, VideoError, open_video
from pipeline.video.decode import Display, _walk, on_grid
from pipeline.video.unseen import CODECS


class FrameIndex(NamedTuple):
    """Frames of a video by row: ``pts_s`` float64 [N], their stamps int64 [N], and the stamps of all key frames, sorted.

    Without stamps (None) the frames are known by their times alone and found by decoding from the start.
    """

    pts_s: np.ndarray
    stamps: np.ndarray | None
    keys: list[int]


class Known(NamedTuple):
    """What opening a video finds out; given to a later opening of the same file it need not be found out again."""

    frames: FrameIndex
    display: Display


class SeekableVideo:
    """An opened video of which any rows can be read; use it as a context manager. Not for several threads at once.

    Args:
        path: of the file.
        fps: rows are the frames that ``decode_at`` yields at this rate; None: all frames.
        short_side: of the pictures in pixels; None: as stored.
        known: the attribute ``known`` of an earlier opening with the same arguments.

    Raises:
        VideoError: as ``decode``; damage is found where it is read.
    """

    def __init__(
        self, path: Path, fps: float | None = None, short_side: int | None = None, known: Known | None = None
    ) -> None:
        self.path = Path(path)
        self._held = ExitStack()
        try:
            self.known = known or self._find_out(fps, short_side)
            self._open()
        except BaseException:
            self.close()
            raise

    def _find_out(self, fps: float | None, short_side: int | None) -> Known:
        self._open()
        first = next(_walk(self.path, self._container, self._stream))
        self._open()
        index = self._from_packets(first.frame, fps) or self._from_frames(fps)
        return Known(index, first.display.scaled(short_side, None))

    @property
    def index(self) -> FrameIndex:
        """Times, stamps and key frames."""
        return self.known.frames

    def __enter__(self) -> "SeekableVideo":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._held.close()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        return self.known.display.height, self.known.display.width

    def pictures(self, rows: np.ndarray) -> np.ndarray:
        """Pictures of ascending, different ``rows`` [N]: uint8 [N, height, width, 3].

        Raises:
            VideoError: the file is damaged where it is read.
        """
        result = np.empty((len(rows), *self.size, 3), np.uint8)
        if self.index.stamps is None:
            self._read_from_start(result, self.index.pts_s[rows].tolist())
            return result
        stamps = self.index.stamps[rows].tolist()
        groups = [bisect_right(self.index.keys, stamp) - 1 for stamp in stamps]
        begin = 0
        for end in range(1, len(stamps) + 1):
            # One pass as long as the next frame lies in the same or the next group of pictures.
            if end == len(stamps) or groups[end] > groups[end - 1] + 1:
                self._read(result[begin:end], stamps[begin:end], groups[begin])
                begin = end
        return result

    def _read(self, target: np.ndarray, stamps: list[int], group: int) -> None:
        """Decode from the key frame of ``group`` on, else from the one before, else from the start of the file."""
        for attempt in (group, group - 1, None):
            if attempt is not None and attempt < 0:
                continue
            try:
                if attempt is None:
                    self._open()
                else:
                    self._container.seek(self.index.keys[attempt], stream=self._stream)
                missing = self._take(target, stamps)
            except (VideoError, av.FFmpegError):
                if attempt is None:
                    raise
            else:
                if not missing:
                    return
        raise VideoError(self.path, f"corrupted: the frame with time stamp {missing[0]} cannot be decoded")

    def _take(self, target: np.ndarray, stamps: list[int]) -> list[int]:
        """Decode from here until all ``stamps`` have been shown; returns those that were not."""
        rows = {stamp: row for row, stamp in enumerate(stamps)}
        context = self._stream.codec_context
        may_pass = context.name in CODECS
        damage = Damage(self.path, self._container, self._stream)
        for packet in damage.packets(self._container, self._stream):
            context.skip_frame = "NONREF" if may_pass and packet.size and self._stamp(packet) not in rows else "DEFAULT"
            for frame in damage.frames(packet):
                stamp = self._stamp(frame)
                if stamp in rows:
                    target[rows.pop(stamp)] = self.known.display.picture(frame)
                if not rows or (stamp is not None and stamp >= stamps[-1]):
                    return sorted(rows)
        return sorted(rows)

    def _stamp(self, of: "Packet[VideoStream] | VideoFrame") -> int | None:
        return of.dts if self._clock.only_dts else of.pts

    def _read_from_start(self, target: np.ndarray, times: list[float]) -> None:
        rows = {t: row for row, t in enumerate(times)}
        self._open()
        for shown in _walk(self.path, self._container, self._stream):
            if shown.t in rows:
                target[rows.pop(shown.t)] = self.known.display.picture(shown.frame)
            if not rows:
                return
        raise VideoError(self.path, "it is not the file any more that was opened first")

    def _open(self) -> None:
        """Open the file, anew where it is open: what a seek does to the first key frame differs from format to format."""
        self._held.close()
        self._container, self._stream = self._held.enter_context(open_video(self.path, threads=1))
        self._clock = Clock(self._container, self._stream)

    def _from_packets(self, first: VideoFrame, fps: float | None) -> FrameIndex | None:
        """The index from the packets' stamps; None where these do not tell what is shown when."""
        if self._clock.only_dts and self._stream.codec_context.has_b_frames:
            return None
        damage, tick = Damage(self.path, self._container, self._stream), self._stream.time_base
        shown: list[tuple[int, int]] = []
        keys: list[int] = []
        for packet in damage.packets(self._container, self._stream):
            stamp = self._stamp(packet)
            if not packet.size:
                continue
            if stamp is None:
                return None
            if packet.is_keyframe:
                keys.append(stamp)
            if not packet.is_discard:
                shown.append((stamp, packet.duration or 0))
        shown.sort()
        stamps = np.array([stamp for stamp, _ in shown], dtype=np.int64)
        plain = keys == sorted(set(keys)) and len(stamps) > 0 and (np.diff(stamps) > 0).all()
        if not plain or self._stamp(first) != stamps[0] or tick is None:
            return None
        self._clock.time(first)
        times = [self._clock.since_start(stamp) for stamp in stamps.tolist()]
        rows = _rows(times, times[-1] + (float(shown[-1][1] * tick) or 1 / self._clock.fps), fps)
        return FrameIndex(np.array(times)[rows], stamps[rows], keys)

    def _from_frames(self, fps: float | None) -> FrameIndex:
        times, end = list[float](), 0.0
        self._open()
        for shown in _walk(self.path, self._container, self._stream):
            times.append(shown.t)
            end = shown.end
        return FrameIndex(np.array(times)[_rows(times, end, fps)], None, [])


def _rows(times: list[float], end: float, fps: float | None) -> list[int]:
    """Frames that ``decode_at`` yields, of frames on show from each of ``times`` to the next, the last one to ``end``."""
    spans = pairwise([*times, end])
    return [row for row, (start, stop) in enumerate(spans) if fps is None or on_grid(start, stop, fps)]
