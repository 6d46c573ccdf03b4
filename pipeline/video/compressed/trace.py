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


def trace_blocks(field: Field, width: int, height: int, plane: np.ndarray | None = None) -> Trace:
    """The trace of a grid of blocks. ``plane``: which of several planes, one under the other, each block comes from."""
    side, motion, given = field
    if plane is None and not motion.any():
        still = np.zeros((height, padded(width), 2), np.int16)
        return Trace(side, None, _NONE, _NONE, still, _pixels(given, side, height))
    base, least, most = _bounds(width, height, side)
    crossing = ((motion < least) | (motion > most)).view(np.uint16)[..., 0] != 0
    offset = motion[..., 1].astype(np.intp)
    offset *= padded(width)
    offset += motion[..., 0]
    if plane is not None:
        offset -= plane * (height * padded(width))
    both = motion.view(np.int32)[..., 0]  # the components of a block as one number: half the work
    target = source = _NONE
    if crossing.any():
        rows, columns = np.nonzero(crossing)
        target, counts = _single_pixels(rows, columns, motion[rows, columns], side, width, height)
        source = target - offset[rows, columns].repeat(counts)
        single = both[rows, columns].repeat(counts)
        both, given = both.copy(), given.copy()
        both[rows, columns], given[rows, columns], offset[rows, columns] = 0, 0, 0
    moved, valid = _pixels(both, side, height), _pixels(given, side, height)
    if len(target):
        moved.reshape(-1)[target] = single
        valid.reshape(-1)[target] = 1
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
    return plane if trace.starts is None else _fetch(plane, trace.side, trace.starts, trace.target, trace.source)


def fetch_each(planes: np.ndarray, trace: Trace) -> np.ndarray:
    """:func:`fetch` from each of several planes [k, height, padded, ...]."""
    if trace.starts is None:
        return planes
    step = np.arange(len(planes)) * (planes.shape[1] * planes.shape[2])
    target, source = ((step[:, None] + one).reshape(-1) for one in (trace.target, trace.source))
    starts = step[:, None, None] + trace.starts
    flat = planes.reshape(-1, *planes.shape[2:])
    return _fetch(flat, trace.side, starts.reshape(len(flat), -1), target, source).reshape(planes.shape)


def _fetch(plane: np.ndarray, side: int, starts: np.ndarray, target: np.ndarray, source: np.ndarray) -> np.ndarray:
    pixel = plane.strides[1]
    runs = np.ndarray((plane.shape[0] * plane.shape[1] - side + 1,), f"V{pixel * side}", plane, strides=(pixel,))
    moved: np.ndarray = runs[starts].view(plane.dtype).reshape(len(starts), *plane.shape[1:])
    if len(target):
        single = f"V{pixel}"
        moved.view(single).reshape(-1)[target] = plane.view(single).reshape(-1)[source]
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
