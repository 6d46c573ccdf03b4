"""Motion of P- and B-frames since the last I- or P-frame before them, from the stream's vectors.

P: the blocks' own vectors. B: a vector from before leads to that frame, or to a B-frame between; one from behind leads to a
later frame, whose own motion leads on to where this one's begins. So all frames between two I- or P-frames tell their motion
since the same picture, whichever way their blocks were predicted.
"""

from collections import deque
from typing import NamedTuple

import numpy as np

from pipeline.video.compressed.photometric import BLOCK, block_errors, choose
from pipeline.video.compressed.photometric import luma as luma_of
from pipeline.video.compressed.stream import Coded
from pipeline.video.compressed.trace import Trace, fetch, trace_blocks, trace_pixels
from pipeline.video.compressed.vectors import Field, block_fields, exported, macroblock_field, padded

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
        records, own, anchor = exported(coded.frame), self._luma(coded), self._anchor
        field = macroblock_field(records, self.width, self.height) if coded.certain else None
        field = field or block_fields(records, self.width, self.height)[0]
        trace = trace_blocks(field, self.width, self.height)
        if own is not None and anchor is not None and anchor.luma is not None:
            suspects = [known.luma for known in (anchor, *self._older) if known.luma is not None]
            moved = [fetch(suspect, trace) for suspect in suspects]
            errors = block_errors(own, np.stack([*moved, anchor.luma]), self.width)
            explained = np.where(field.given == 1, errors[:-1], np.float32(np.inf))
            chosen, _ = choose(explained, np.arange(len(suspects)) == 0, errors[-1:])
            trace = trace_blocks(_only(field, chosen == 0), self.width, self.height)
        if coded.is_reference:
            self._next = Known(number, own, trace)
        return trace

    def bidirectional(self, number: int, coded: Coded) -> Trace:
        """Motion of a B-frame since the frame of the last :meth:`begin`."""
        anchor = self._anchor
        if not coded.has_vectors or anchor is None:
            return self.still
        own = self._luma(coded)
        fields = block_fields(exported(coded.frame), self.width, self.height)
        sources = self._sources(number, compared=own is not None)
        if own is None:
            # One frame on each side, and its vectors are certain; the earlier one is nearer to where motion begins.
            chosen = np.full(fields[0].given.shape, -1, np.int8)
            for index, (known, side) in reversed(list(enumerate(sources))):
                if self._traceable(known):
                    chosen[fields[side].given == 1] = index
        elif sources:
            chosen, allowed = self._compare(own, sources, fields)
        else:
            return self.still
        trace = self._through(chosen, sources, fields)
        if own is not None and anchor.luma is not None and trace.side == 1:
            # On the way through another frame errors add up.
            good = (block_errors(own, fetch(anchor.luma, trace)[None], self.width)[0] <= allowed).view(np.uint8)
            pixels = good.repeat(BLOCK, 0).repeat(BLOCK, 1)[: self.height]
            trace = trace_pixels(trace.motion * pixels[..., None], trace.valid * pixels)
        if coded.is_reference:
            self._between.append(Known(number, own, trace))
        return trace

    def pass_over(self, number: int, coded: Coded) -> None:
        """Take note of a B-frame whose motion nobody wants, but which others may be predicted from."""
        self._between.append(Known(number, self._luma(coded), None))

    def begin(self) -> None:
        """From now on motion is since the last I-frame or P-frame that was given."""
        if self._next is not None:
            if self._anchor is not None:
                self._older.append(self._anchor)
            self._older.extend(self._between)
            self._anchor, self._next = self._next, None
            self._between.clear()

    def _luma(self, coded: Coded) -> np.ndarray | None:
        return None if coded.certain else luma_of(coded.frame)

    def _traceable(self, known: Known) -> bool:
        if known is self._anchor or any(known is one for one in self._between):
            return True
        return known is self._next and known.trace is not None

    def _sources(self, number: int, compared: bool) -> list[tuple[Known, int]]:
        """Frames that a B-frame may be predicted from and their side (0 past, 1 future), nearest first."""
        around = [*self._between, *(known for known in (self._anchor, self._next) if known is not None)]
        past = sorted((known for known in around if known.number < number), key=lambda known: -known.number)
        future = sorted((known for known in around if known.number > number), key=lambda known: known.number)
        found = [*((known, 0) for known in past), *((known, 1) for known in future), *((one, 0) for one in self._older)]
        return [(known, side) for known, side in found if known.luma is not None or not compared]

    def _compare(
        self, own: np.ndarray, sources: list[tuple[Known, int]], fields: tuple[Field, Field]
    ) -> tuple[np.ndarray, np.ndarray]:
        """:func:`choose` among the sources; to have stood still since the frames around is another explanation."""
        moved, places = list[np.ndarray](), list[int]()
        for side, field in enumerate(fields):
            mine = [index for index, source in enumerate(sources) if source[1] == side]
            if mine:
                trace = trace_blocks(field, self.width, self.height)
                moved += [fetch(one, trace) for index in mine if (one := sources[index][0].luma) is not None]
                places += mine
        rest = [one.luma for one in (self._anchor, self._next) if one is not None and one.luma is not None]
        errors = block_errors(own, np.stack([*moved, *rest]), self.width)
        explained = errors[np.argsort(places)]
        given = np.stack([fields[side].given for _, side in sources])
        traceable = np.array([self._traceable(known) for known, _ in sources])
        return choose(np.where(given == 1, explained, np.float32(np.inf)), traceable, errors[len(places) :])

    def _through(self, chosen: np.ndarray, sources: list[tuple[Known, int]], fields: tuple[Field, Field]) -> Trace:
        """Motion since the anchor of blocks that come from the chosen sources."""
        used = [index for index in range(len(sources)) if (chosen == index).any()]
        if all(sources[index][0] is self._anchor for index in used):
            return trace_blocks(_only(fields[0], chosen >= 0), self.width, self.height)
        motion, plane = np.zeros_like(fields[0].motion), np.zeros(chosen.shape, np.intp)
        onward, ours = list[np.ndarray](), list[np.ndarray]()
        for place, index in enumerate(used):
            known, side = sources[index]
            mine = chosen == index
            motion[mine] = fields[side].motion[mine]
            plane[mine] = place
            trace = known.trace if known is not self._anchor and known.trace is not None else None
            onward.append(trace.motion if trace else self.still.motion)
            ours.append(trace.valid if trace else np.ones_like(self.still.valid))
        first = trace_blocks(Field(BLOCK, motion, (chosen >= 0).view(np.uint8)), self.width, self.height, plane)
        valid = first.valid & fetch(np.concatenate(ours), first)
        valid[:, self.width :] = 0  # nothing that is beyond the edge may be followed
        return trace_pixels((first.motion + fetch(np.concatenate(onward), first)) * valid[..., None], valid)


def _only(field: Field, kept: np.ndarray) -> Field:
    """The grid with nothing but the blocks that are kept."""
    return Field(field.side, field.motion * kept[..., None], field.given * kept)
