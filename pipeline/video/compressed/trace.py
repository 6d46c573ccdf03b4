"""Where every pixel of a frame was in another one, and fetching what was there.

Arrays that are kept from frame to frame are *planes*: rows x padded width (whole macroblocks), so that a block row is a run
of neighbouring bytes. Pixels move in such runs, 8 or 16 at a time, which costs a fraction of moving them one by one.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from pipeline.video.compressed.vectors import Field, padded


class Trace(NamedTuple):
    """The source of every pixel: ``starts`` intp [height, runs] are flat positions in a plane, each of the source of a run
    of ``side`` px; None where nothing moves. ``target`` and ``source`` intp [k] are positions of single pixels in blocks
    whose source lies partly outside the picture. ``motion`` is int16 [height, padded, 2] (x, y) px and ``valid`` uint8
    [height, padded]; both 0 where the source is outside: such a pixel stands still, as in the reference loader.
    """

    side: int
    starts: np.ndarray | None
    target: np.ndarray
    source: np.ndarray
    motion: np.ndarray
    valid: np.ndarray


_NONE = np.zeros(0, np.intp)


def trace_blocks(field: Field, width: int, height: int) -> Trace:
    """The trace of a grid of blocks."""
    side, motion, given = field
    if not motion.any():
        still = np.zeros((height, padded(width), 2), np.int16)
        return Trace(side, None, _NONE, _NONE, still, _pixels(given, side, height))
    base, least, most = _bounds(width, height, side)
    crossing = ((motion < least) | (motion > most)).view(np.uint16)[..., 0] != 0
    target = source = _NONE
    both = motion.view(np.int32)[..., 0]  # the components of a block as one number: half the work
    if crossing.any():
        rows, columns = np.nonzero(crossing)
        target, source, counts = _single_pixels(rows, columns, motion[rows, columns], side, width, height)
        single = both[rows, columns].repeat(counts)
        motion, given = motion.copy(), given.copy()
        motion[rows, columns], given[rows, columns] = 0, 0
        both = motion.view(np.int32)[..., 0]
    moved, valid = _pixels(both, side, height), _pixels(given, side, height)
    if len(target):
        moved.reshape(-1)[target] = single
        valid.reshape(-1)[target] = 1
    offset = motion[..., 1].astype(np.intp)
    offset *= padded(width)
    offset += motion[..., 0]
    starts = base - offset.repeat(side, 0)[:height]
    return Trace(side, starts, target, source, moved.view(np.int16).reshape(*moved.shape, 2), valid)


def _pixels(blocks: np.ndarray, side: int, height: int) -> np.ndarray:
    return blocks.repeat(side, 1).repeat(side, 0)[:height]


def trace_pixels(motion: np.ndarray, valid: np.ndarray) -> Trace:
    """The trace of motion int16 [height, padded, 2] that is known pixel by pixel, all of it from within the picture."""
    starts = None
    if motion.any():
        height, across = motion.shape[:2]
        starts = np.arange(height * across).reshape(height, across)
        starts -= motion[..., 1].astype(np.intp) * across
        starts -= motion[..., 0]
    return Trace(1, starts, _NONE, _NONE, motion, valid)


def fetch(plane: np.ndarray, trace: Trace) -> np.ndarray:
    """What a plane [height, padded, ...] holds at every pixel's source. The plane itself where nothing moves."""
    if trace.starts is None:
        return plane
    height, across = plane.shape[:2]
    pixel = plane.strides[1]
    runs = np.ndarray((height * across - trace.side + 1,), f"V{pixel * trace.side}", plane, strides=(pixel,))
    moved: np.ndarray = runs[trace.starts].view(plane.dtype).reshape(plane.shape)
    if len(trace.target):
        single = f"V{pixel}"
        moved.view(single).reshape(-1)[trace.target] = plane.view(single).reshape(-1)[trace.source]
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
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of blocks [k]: flat positions of the pixels whose source is inside, of these sources, and their number by block."""
    across, step = padded(width), np.arange(side)
    y, x = (rows * side)[:, None] + step, (columns * side)[:, None] + step
    from_y, from_x = y - motion[:, 1, None], x - motion[:, 0, None]
    inside_y = (y < height) & (from_y >= 0) & (from_y < height)
    inside_x = (x < width) & (from_x >= 0) & (from_x < width)
    here = (y * across)[:, :, None] + x[:, None]
    target = here[inside_y[:, :, None] & inside_x[:, None]]
    counts = inside_y.sum(1) * inside_x.sum(1)
    back = motion[:, 1].astype(np.intp) * across + motion[:, 0]
    return target, target - back.repeat(counts), counts
