"""Where every pixel of a frame was in another one, and fetching what was there.

Arrays that are kept from frame to frame are *planes*: rows x padded width (whole macroblocks), so that a block row is a run
of neighbouring bytes. Pixels move in such runs, 8 or 16 at a time, which costs a fraction of moving them one by one.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from pipeline.video.compressed.vectors import Field, padded

_SPARSE = 0.3
"""With fewer of the blocks moving, a copy of the plane and these blocks are cheaper than all runs."""

_NONE = np.zeros(0, np.intp)


@dataclass(frozen=True, eq=False)
class Trace:
    """The source of every pixel. Positions are flat ones in a plane, intp.

    ``starts``: of the source of each run of ``side`` px, [height, runs], or [n] for the runs numbered in ``places``, when
    all others stand still; None where nothing moves. ``target`` and ``source`` [k]: single pixels of blocks whose source
    lies partly outside the picture, and where they come from. ``blocks`` int32 [rows, columns]: both components of each
    block's motion; ``single`` int32 [k]: those of the single pixels; ``given`` uint8 [rows, columns]: has a vector.
    """

    height: int
    side: int
    starts: np.ndarray | None
    places: np.ndarray | None
    target: np.ndarray
    source: np.ndarray
    blocks: np.ndarray
    single: np.ndarray
    given: np.ndarray

    @cached_property
    def motion(self) -> np.ndarray:
        """Int16 [height, padded, 2] (x, y) px; 0 where the source is outside: that pixel stands still, as in the loader."""
        pixels = self._pixels(self.blocks, self.single)
        return pixels.view(np.int16).reshape(*pixels.shape, 2)

    @cached_property
    def valid(self) -> np.ndarray:
        """Uint8 [height, padded]: 1 where there is a vector and its source is inside."""
        return self._pixels(self.given, 1)

    def _pixels(self, blocks: np.ndarray, single: np.ndarray | int) -> np.ndarray:
        if self.side == 1:
            return blocks
        pixels = blocks.repeat(self.side, 1).repeat(self.side, 0)[: self.height]
        pixels.reshape(-1)[self.target] = single
        return pixels


def trace_blocks(field: Field, width: int, height: int, plane: np.ndarray | None = None) -> Trace:
    """The trace of a grid of blocks. ``plane``: which of several planes, one under the other, each block comes from."""
    side, motion, given = field
    blocks = motion.view(np.int32)[..., 0]  # the components of a block as one number: half the work
    moving = np.count_nonzero(blocks)
    if plane is None and not moving:
        return Trace(height, side, None, None, _NONE, _NONE, blocks, _NONE, given)
    across, (base, least, most) = padded(width), _bounds(width, height, side)
    crossing = ((motion < least) | (motion > most)).view(np.uint16)[..., 0] != 0
    offset = motion[..., 1].astype(np.intp)
    offset *= across
    offset += motion[..., 0]
    if plane is not None:
        offset -= plane * (height * across)
    target = source = _NONE
    single = np.zeros(0, np.int32)
    if crossing.any():
        rows, columns = np.nonzero(crossing)
        target, counts = _single_pixels(rows, columns, motion[rows, columns], side, width, height)
        source = target - offset[rows, columns].repeat(counts)
        single = blocks[rows, columns].repeat(counts)
        blocks, given = blocks.copy(), given.copy()
        blocks[rows, columns], given[rows, columns], offset[rows, columns] = 0, 0, 0
    if plane is not None or moving > _SPARSE * blocks.size:
        starts, places = base - offset.repeat(side, 0)[:height], None
    else:
        rows, columns = np.nonzero(offset)
        lines = rows[:, None] * side + np.arange(side)
        places = (lines * blocks.shape[1] + columns[:, None]).reshape(-1)
        starts = (lines * across + (columns * side - offset[rows, columns])[:, None]).reshape(-1)
        if height % side:  # the last row of blocks is cut
            kept = places < base.size
            places, starts = places[kept], starts[kept]
    return Trace(height, side, starts, places, target, source, blocks, single, given)


def trace_pixels(motion: np.ndarray, valid: np.ndarray) -> Trace:
    """The trace of motion int16 [height, padded, 2] that is known pixel by pixel, all of it from within the picture."""
    height, across = motion.shape[:2]
    blocks, starts = motion.view(np.int32)[..., 0], None
    if blocks.any():
        starts = np.arange(height * across).reshape(height, across)
        starts -= motion[..., 1].astype(np.intp) * across
        starts -= motion[..., 0]
    return Trace(height, 1, starts, None, _NONE, _NONE, blocks, _NONE, valid)


def fetch(plane: np.ndarray, trace: Trace) -> np.ndarray:
    """What a plane [height, padded, ...] holds at every pixel's source. The plane itself where nothing moves.

    Several planes, one under the other, where the trace was told which of them each block comes from.
    """
    if trace.starts is None:
        return plane
    pixel = plane.strides[1]
    run, single = f"V{pixel * trace.side}", f"V{pixel}"
    runs = np.ndarray((plane.shape[0] * plane.shape[1] - trace.side + 1,), run, plane, strides=(pixel,))
    if trace.places is None:
        moved: np.ndarray = runs[trace.starts].view(plane.dtype).reshape(trace.height, *plane.shape[1:])
    else:
        moved = plane.copy()
        moved.reshape(-1).view(run)[trace.places] = runs[trace.starts]
    if len(trace.target):
        moved.reshape(-1).view(single)[trace.target] = plane.reshape(-1).view(single)[trace.source]
    return moved


@lru_cache(4)
def _bounds(width: int, height: int, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flat position of every run, and the least and most motion of every block that keeps its source in the picture."""
    across = padded(width)
    left, top = np.arange(0, across, side), np.arange(0, height, side)
    base = np.arange(height)[:, None] * across + left
    # A narrow last block counts with its real pixels; its run must end within the padded row nevertheless.
    x_least = np.maximum(np.minimum(left + side, width) - width, left + side - across)
    y_least = np.minimum(top + side, height) - height
    least, most = (
        np.stack(np.broadcast_arrays(x, y[:, None]), -1).astype(np.int16) for x, y in ((x_least, y_least), (left, top))
    )
    return base, least, most


def _single_pixels(
    rows: np.ndarray, columns: np.ndarray, motion: np.ndarray, side: int, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of blocks [k]: flat positions of the pixels whose source is inside, block by block, and their number in each."""
    across, step = padded(width), np.arange(side)
    y, x = (rows * side)[:, None] + step, (columns * side)[:, None] + step
    from_y, from_x = y - motion[:, 1, None], x - motion[:, 0, None]
    inside_y = (y < height) & (from_y >= 0) & (from_y < height)
    inside_x = (x < width) & (from_x >= 0) & (from_x < width)
    here = (y * across)[:, :, None] + x[:, None]
    return here[inside_y[:, :, None] & inside_x[:, None]], inside_y.sum(1) * inside_x.sum(1)
