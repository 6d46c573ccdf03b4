"""Motion of P- and B-frames since the last I- or P-frame before them, from the stream's vectors.

P: the blocks' own vectors. B: a vector from before leads to that frame, or to a B-frame between; one from behind leads to a
later frame, whose own motion leads on to where this one's begins. So all frames between two I- or P-frames tell their motion
since the same picture, whichever way their blocks were predicted.
"""

from collections import deque
from typing import NamedTuple

import numpy as np

from pipeline.video.compressed.photometric import BLOCK, Candidate, block_errors, choose, luma
from pipeline.video.compressed.stream import Coded
from pipeline.video.compressed.trace import Trace, fetch, trace_blocks, trace_pixels
from pipeline.video.compressed.vectors import FUTURE, PAST, Field, block_field, exported, padded

REMEMBERED = 4
"""Frames before the last I- or P-frame that a vector is suspected to point to."""


class Known(NamedTuple):
    """A frame that others are predicted from. ``number``: its place in the order of showing. ``luma``: None where vectors
    are certain. ``trace``: since the last I- or P-frame before it, None where there is none (I-frames).
    """

    number: int
    luma: np.ndarray | None
    trace: Trace | None


class Motion:
    """Finds the motion of frame after frame; frames come in the order of decoding, as far as one predicts another."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.still = trace_pixels(
            np.zeros((height, padded(width), 2), np.int16), np.zeros((height, padded(width)), np.uint8)
        )
        self._anchor: Known | None = None
        self._next: Known | None = None  # the I- or P-frame behind the B-frames at hand
        self._between: list[Known] = []  # B-frames at hand that others are predicted from
        self._older: deque[Known] = deque(maxlen=REMEMBERED)

    def intra(self, number: int, coded: Coded) -> None:
        """Take note of an I-frame."""
        self._next = Known(number, self._luma(coded), None)

    def predicted(self, number: int, coded: Coded) -> Trace:
        """Motion of a P-frame since the frame of the last :meth:`begin`."""
        field = block_field(exported(coded.frame), PAST, self.width, self.height, None if coded.certain else BLOCK)
        trace, own = trace_blocks(field, self.width, self.height), self._luma(coded)
        anchor = self._anchor
        if own is not None and anchor is not None and anchor.luma is not None:
            others = [known for known in self._older if known.luma is not None]
            candidates = [Candidate(anchor.luma, trace, field.given, True)]
            candidates += [Candidate(known.luma, trace, field.given, False) for known in others]  # type: ignore[arg-type]
            chosen, _ = choose(own, self.width, candidates, [anchor.luma])
            trace = trace_blocks(_only(field, chosen == 0), self.width, self.height)
        if coded.is_reference:
            self._next = Known(number, own, trace)
        return trace

    def bidirectional(self, number: int, coded: Coded) -> Trace:
        """Motion of a B-frame since the frame of the last :meth:`begin`."""
        if not coded.has_vectors or self._anchor is None:
            return self.still
        records, own = exported(coded.frame), self._luma(coded)
        fields = [block_field(records, side, self.width, self.height, BLOCK) for side in (PAST, FUTURE)]
        traces = [trace_blocks(field, self.width, self.height) for field in fields]
        sources = self._sources(number)
        if own is None:
            # One frame on each side, and its vectors are certain; the earlier one is nearer to where motion begins.
            chosen = np.full(fields[0].given.shape, -1, np.int8)
            for index, (known, side) in reversed(list(enumerate(sources))):
                if self._traceable(known):
                    chosen[fields[side].given == 1] = index
        else:
            sources = [(known, side) for known, side in sources if known.luma is not None]
            candidates = [
                Candidate(known.luma, traces[side], fields[side].given, self._traceable(known))  # type: ignore[arg-type]
                for known, side in sources
            ]
            rest = [known.luma for known in (self._anchor, self._next) if known is not None and known.luma is not None]
            if not candidates:
                return self.still
            chosen, allowed = choose(own, self.width, candidates, rest)
        trace = self._through(chosen, sources, fields)
        if own is not None and self._anchor.luma is not None and trace.side == 1:
            # On the way through another frame errors add up.
            bad = block_errors(own, fetch(self._anchor.luma, trace), self.width) > allowed
            pixels = bad.repeat(BLOCK, 0).repeat(BLOCK, 1)[: self.height]
            trace = trace_pixels(trace.motion * ~pixels[..., None], trace.valid * ~pixels)
        if coded.is_reference:
            self._between.append(Known(number, own, trace))
        return trace

    def begin(self) -> None:
        """From now on motion is since the last I-frame or P-frame that was given."""
        if self._next is not None:
            if self._anchor is not None:
                self._older.append(self._anchor)
            self._older.extend(self._between)
            self._anchor, self._next = self._next, None
            self._between.clear()

    def _luma(self, coded: Coded) -> np.ndarray | None:
        return None if coded.certain else luma(coded.frame)

    def _traceable(self, known: Known) -> bool:
        if known is self._anchor or any(known is one for one in self._between):
            return True
        return known is self._next and known.trace is not None

    def _sources(self, number: int) -> list[tuple[Known, int]]:
        """Frames that a B-frame may be predicted from and their side (0 past, 1 future), nearest first."""
        around = [*self._between, *(known for known in (self._anchor, self._next) if known is not None)]
        past = sorted((known for known in around if known.number < number), key=lambda known: -known.number)
        future = sorted((known for known in around if known.number > number), key=lambda known: known.number)
        return [*((known, 0) for known in past), *((known, 1) for known in future), *((one, 0) for one in self._older)]

    def _through(self, chosen: np.ndarray, sources: list[tuple[Known, int]], fields: list[Field]) -> Trace:
        """Motion since the anchor of blocks that come from the chosen sources."""
        used = [index for index in np.unique(chosen) if index >= 0]
        if all(sources[index][0] is self._anchor for index in used):
            return trace_blocks(_only(fields[0], chosen >= 0), self.width, self.height)
        motion, valid = np.zeros_like(self.still.motion), np.zeros_like(self.still.valid)
        for index in used:
            known, side = sources[index]
            first = trace_blocks(_only(fields[side], chosen == index), self.width, self.height)
            ours, whole = first.valid, first.motion
            if known is not self._anchor:
                assert known.trace is not None
                ours = ours & fetch(known.trace.valid, first)
                whole = whole + fetch(known.trace.motion, first)
            ours[:, self.width :] = 0  # nothing that is beyond the edge may be followed
            np.copyto(motion, whole, where=ours[..., None] == 1)
            valid |= ours
        return trace_pixels(motion, valid)


def _only(field: Field, kept: np.ndarray) -> Field:
    """The grid with nothing but the blocks that are kept."""
    return Field(field.side, field.motion * kept[..., None], field.given * kept)
