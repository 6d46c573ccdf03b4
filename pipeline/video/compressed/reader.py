"""The one-pass iterator over a video's coded stream: vectors, motion, residuals, frame by frame, in constant memory."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.video.compressed.accumulate import accumulate, untraced
from pipeline.video.compressed.motion import Motion
from pipeline.video.compressed.residual import colour_plane, difference, pixels, warp
from pipeline.video.compressed.stream import Coded, decode_with_vectors
from pipeline.video.compressed.trace import Trace, fetch
from pipeline.video.compressed.vectors import Vectors, exported, padded, vectors

ARRAYS = ("vectors", "mv", "mv_accumulated", "residual", "residual_accumulated", "valid", "i_frame")
"""What can be asked for."""

_MOTION = {"mv", "mv_accumulated", "residual", "residual_accumulated", "valid"}
_RESIDUALS = {"residual", "residual_accumulated"}
_ACCUMULATED = {"mv_accumulated", "residual_accumulated"}


_KEPT_BYTES = 1 << 24


class StreamInfo(NamedTuple):
    """Of a whole stream, upright: the coded size (``width``, ``height``), the size of the arrays, the codec."""

    width: int
    height: int
    rows: int
    columns: int
    codec: str


class CompressedFrame(NamedTuple):
    """One shown frame of the coded stream, upright; arrays that were not asked for are None.

    ``pts``: seconds from the first frame. ``frame_type``: 1 = I, 2 = P, 3 = B. ``packet_bytes``: size of its packet.
    ``i_frame_index`` and ``reference_index``: numbers (from 0) of the last I-frame shown, and of the last I- or P-frame
    shown before it, which ``mv`` and ``residual`` are against; -1 where there is none.
    ``mv`` and ``mv_accumulated``: int16 [rows, columns, 2], motion in px of the coded picture (x to the right, y down)
    since the reference and since the I-frame; what is at p was at p - mv. ``residual`` and ``residual_accumulated``: int16
    RGB [rows, columns, 3], the picture less the moved reference or I-frame. ``valid``: uint8 0/1 [rows, columns].
    ``i_frame``: uint8 RGB [rows, columns, 3] of I-frames, None of others. All arrays of I-frames are 0.
    """

    pts: float
    frame_type: int
    packet_bytes: int
    i_frame_index: int
    reference_index: int
    stream: StreamInfo
    vectors: Vectors | None
    mv: np.ndarray | None
    mv_accumulated: np.ndarray | None
    residual: np.ndarray | None
    residual_accumulated: np.ndarray | None
    valid: np.ndarray | None
    i_frame: np.ndarray | None


def check_arrays(arrays: Collection[str]) -> frozenset[str]:
    """The names as a set.

    Raises:
        ValueError: a name that is not in ``ARRAYS``.
    """
    unknown = sorted(set(arrays) - set(ARRAYS))
    if unknown:
        raise ValueError(f"there is no compressed array {unknown[0]!r}; arrays: {', '.join(ARRAYS)}")
    return frozenset(arrays)


def read_compressed(
    path: Path, arrays: Collection[str] = ARRAYS, *, short_side: int | None = None, b_frames: bool = True
) -> Iterator[CompressedFrame]:
    """Yield every shown frame with what was asked for, in presentation order, in one pass and constant memory.

    Frames and times are those of :func:`pipeline.video.decode.decode`. Unless a residual is asked for, no P- or B-frame is
    converted to RGB. B-frames are yielded when the frame behind them is decoded.

    Args:
        path: a video file.
        arrays: names out of ``ARRAYS``.
        short_side: shorter side of the arrays in px, None for the stored size (with square pixels). Motion is then
            sampled and keeps its values in px of the coded picture; pictures are scaled first and moved then.
        b_frames: without them only I- and P-frames are yielded and numbered (as CoViAR has them), at a fraction of the
            cost where a stream is mostly B-frames.

    Raises:
        VideoError: as ``decode``; also a codec without vectors, or a picture size that changes. The message names the
            remedy.
        ValueError: an unknown array.
    """
    wanted = check_arrays(arrays)
    # Freed once, a large block tells glibc's malloc to keep memory instead of giving every array back to the system and
    # taking it anew, page by page: a tenth to a fifth of the time.
    np.empty(_KEPT_BYTES, np.uint8)
    builder: _Builder | None = None
    waiting: list[tuple[int, Coded]] = []
    number = 0
    for coded in decode_with_vectors(Path(path), b_frames):
        builder = builder or _Builder(coded, wanted, short_side)
        if coded.type == 3 and not b_frames:
            builder.pass_over(number, coded)
            continue
        if coded.type == 3:
            waiting.append((number, coded))
        else:
            yield from builder.group(waiting, (number, coded))
            waiting = []
        number += 1
    if builder and waiting:
        yield from builder.group(waiting, None)


class _Anchor(NamedTuple):
    """The last I- or P-frame: its number, where its pixels were in the I-frame, its picture, and the I-frame moved onto it
    (at another than the coded size: the I-frame itself). Pictures are None where no residual is asked for.
    """

    number: int
    traced: np.ndarray
    picture: np.ndarray | None
    i_moved: np.ndarray | None


class _Builder:
    """Turns decoded frames into :class:`CompressedFrame`; holds what is kept from frame to frame."""

    def __init__(self, first: Coded, wanted: frozenset[str], short_side: int | None) -> None:
        self.wanted = wanted
        self.residuals = bool(wanted & _RESIDUALS)
        self.orientation = first.display.orientation
        self.display = first.display.scaled(short_side, None)
        self.width, self.height = first.frame.width, first.frame.height
        width, height = (self.height, self.width) if self.orientation.transpose else (self.width, self.height)
        self.info = StreamInfo(width, height, self.display.height, self.display.width, first.codec)
        rows, columns = self.display.stored
        self.same_size = (rows, columns) == (self.height, self.width)
        at_rows = ((np.arange(rows) + 0.5) * self.height / rows).astype(np.intp)
        at_columns = ((np.arange(columns) + 0.5) * self.width / columns).astype(np.intp)
        self.samples = at_rows[:, None] * padded(self.width) + at_columns  # flat positions in a plane
        self.motion = Motion(self.width, self.height)
        self.here = untraced(self.width, self.height)
        self.anchor: _Anchor | None = None
        self.i_frame = -1

    def pass_over(self, number: int, coded: Coded) -> None:
        """A B-frame before frame ``number``, which is not yielded itself."""
        if self.wanted & _MOTION:
            self.motion.pass_over(number, coded)

    def group(self, between: list[tuple[int, Coded]], closing: tuple[int, Coded] | None) -> Iterator[CompressedFrame]:
        """The B-frames ``between`` the last and the next I- or P-frame, and that one."""
        trace = self.motion.still
        moving = bool(self.wanted & _MOTION)
        if closing is not None and moving:
            if closing[1].type == 1:
                self.motion.intra(*closing)
            elif self.anchor is not None:
                trace = self.motion.predicted(*closing)
        traces = {number: self.motion.still for number, _ in between}
        if moving and self.anchor is not None:
            for number, coded in sorted(between, key=lambda item: item[1].decoded):
                traces[number] = self.motion.bidirectional(number, coded)
        for number, coded in between:
            yield self._frame(number, coded, traces.pop(number))[0]
        if closing is not None:
            frame, anchor = self._frame(*closing, trace)
            if anchor is not None and closing[1].is_reference:
                self.anchor = anchor
                self.motion.begin()
            yield frame

    def _frame(self, number: int, coded: Coded, trace: Trace) -> tuple[CompressedFrame, _Anchor | None]:
        """The frame, and what is kept of it should it be an anchor (None before the first I-frame)."""
        intra = coded.type == 1
        if intra:
            self.i_frame = number
        before = None if intra else self.anchor
        picture = residual = residual_accumulated = None
        if self.residuals or (intra and "i_frame" in self.wanted):
            rgb = self.display.converted(coded.frame)
            # Of a P-frame only the residual against it, frame by frame, needs the picture later on.
            kept = self.same_size and (intra or "residual" in self.wanted)
            picture = colour_plane(rgb) if kept else pixels(rgb)
        traced, i_moved = self.here, picture
        if before is not None:
            if self.wanted & _ACCUMULATED:
                traced = accumulate(before.traced, trace)
            i_moved = before.i_moved
            if picture is not None and "residual" in self.wanted:
                residual = self._less(picture, self._moved(before.picture, trace, None))
            if picture is not None and "residual_accumulated" in self.wanted:
                moved = self._moved(before.i_moved, trace, traced)
                residual_accumulated = self._less(picture, moved)
                i_moved = moved if self.same_size else before.i_moved
        frame = CompressedFrame(
            coded.pts_s, coded.type, coded.packet_bytes, self.i_frame, before.number if before else -1, self.info,
            self._vectors(coded) if "vectors" in self.wanted else None,
            self._turned(self._sampled(trace.motion)) if "mv" in self.wanted else None,
            self._turned(self._since(traced)) if "mv_accumulated" in self.wanted else None,
            self._shown_residual("residual", residual),
            self._shown_residual("residual_accumulated", residual_accumulated),
            self.orientation.apply(self._sampled(trace.valid[..., None]))[..., 0] if "valid" in self.wanted else None,
            self._upright(picture) if intra and picture is not None and "i_frame" in self.wanted else None,
        )  # fmt: skip
        known = intra or before is not None
        return frame, _Anchor(number, traced, picture, i_moved) if known else None

    def _moved(self, picture: np.ndarray | None, trace: Trace, traced: np.ndarray | None) -> np.ndarray:
        """A picture that is kept with the anchor, moved onto this frame: by its trace, or scaled, by all the motion."""
        assert picture is not None
        if self.same_size:
            return fetch(picture, trace)
        motion = self._samples(trace.motion) if traced is None else self._since(traced)
        return warp(picture, motion, self.width, self.height)

    def _less(self, picture: np.ndarray, moved: np.ndarray) -> np.ndarray:
        columns = self.display.stored[1]
        return difference(picture[:, :columns], moved[:, :columns])

    def _vectors(self, coded: Coded) -> Vectors:
        own = vectors(exported(coded.frame) if coded.has_vectors else None)
        return own.upright(self.orientation, self.info.width, self.info.height)

    def _sampled(self, plane: np.ndarray) -> np.ndarray:
        """A plane at the size asked for, as stored: a new array [rows, columns, channels]."""
        return plane[:, : self.width].copy() if self.same_size else self._samples(plane)

    def _since(self, traced: np.ndarray) -> np.ndarray:
        """D = i - J at the size asked for."""
        if self.same_size:
            return np.asarray(self.here[:, : self.width] - traced[:, : self.width])
        return np.asarray(self._samples(self.here) - self._samples(traced))

    def _samples(self, plane: np.ndarray) -> np.ndarray:
        return plane.reshape(-1, plane.shape[2]).take(self.samples, 0)

    def _upright(self, picture: np.ndarray) -> np.ndarray:
        return self.orientation.apply(picture[:, : self.display.stored[1]])

    def _turned(self, motion: np.ndarray) -> np.ndarray:
        """Motion upright: its places and its components."""
        turned = self.orientation.apply(motion)
        if self.orientation.transpose:
            turned = np.ascontiguousarray(turned[..., ::-1])
        for axis, flipped in enumerate((self.orientation.flip_x, self.orientation.flip_y)):
            if flipped:
                turned[..., axis] *= -1
        return turned

    def _shown_residual(self, name: str, residual: np.ndarray | None) -> np.ndarray | None:
        if name not in self.wanted:
            return None
        if residual is None:
            return np.zeros((self.info.rows, self.info.columns, 3), np.int16)
        return self.orientation.apply(residual)
