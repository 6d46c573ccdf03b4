"""Motion vectors as the decoder exports them, as plain arrays: a list of blocks, or a grid of one direction.

FFmpeg gives a block's middle, its size (as uint8), the whole pixel that its source's middle lies on, the vector in
sub-pixels with their scale, and from which side (not from which frame) it is predicted. Its vector points to the source;
here motion is the opposite, from the source to the block, as the reference loader of CoViAR has it.
"""

from typing import Any, NamedTuple

import numpy as np
from av.video.frame import VideoFrame

from pipeline.video.decode import Orientation

PAST, FUTURE = -1, 1


class Vectors(NamedTuple):
    """Every vector of a frame: ``block`` int16 [n, 4] (x, y of the top left, width, height) and ``motion`` float32 [n, 2]
    (x, y), both in px of the coded picture; ``source`` int8 [n], -1 predicted from an earlier frame, 1 from a later one.
    """

    block: np.ndarray
    motion: np.ndarray
    source: np.ndarray

    def upright(self, orientation: Orientation, width: int, height: int) -> "Vectors":
        """The same in the picture as it is shown, which is ``width`` x ``height`` px."""
        block, motion = self.block.copy(), self.motion.copy()
        if orientation.transpose:
            block, motion = block[:, [1, 0, 3, 2]], motion[:, ::-1].copy()
        for axis, (flipped, size) in enumerate(((orientation.flip_x, width), (orientation.flip_y, height))):
            if flipped:
                block[:, axis] = size - block[:, axis] - block[:, 2 + axis]
                motion[:, axis] *= -1
        return Vectors(block, motion, self.source)


class Field(NamedTuple):
    """Motion of one direction on a grid of ``side`` x ``side`` px: int16 [rows, columns, 2] (x, y) in whole px, and
    whether there is a vector, uint8 [rows, columns]; motion is 0 without. The grid covers the padded width.
    """

    side: int
    motion: np.ndarray
    given: np.ndarray


def exported(frame: VideoFrame) -> np.ndarray | None:
    """The vectors of a frame as FFmpeg's records (dtype of PyAV); None for I-frames and where nothing is predicted."""
    data: Any = frame.side_data.get("MOTION_VECTORS")
    return None if data is None or not len(data) else data.to_ndarray()


def vectors(records: np.ndarray | None) -> Vectors:
    """Records as plain arrays, in sub-pixel precision and the stream's order."""
    if records is None:
        return Vectors(np.zeros((0, 4), np.int16), np.zeros((0, 2), np.float32), np.zeros(0, np.int8))
    wide, high = records["w"].astype(np.int16), records["h"].astype(np.int16)
    block = np.stack([records["dst_x"] - wide // 2, records["dst_y"] - high // 2, wide, high], 1)
    scale = np.maximum(records["motion_scale"], 1)[:, None]
    motion = -np.stack([records["motion_x"], records["motion_y"]], 1) / scale
    return Vectors(block, motion.astype(np.float32), np.sign(records["source"]).astype(np.int8))


def padded(width: int) -> int:
    """Width up to the next whole macroblock of 16 px; what is kept from frame to frame has rows of this length."""
    return -(-width // 16) * 16


def block_field(records: np.ndarray | None, source: int, width: int, height: int, side: int | None = None) -> Field:
    """The vectors of one direction on a grid: of 16 px where all blocks are that large, else 8 px, or as ``side`` says.

    Motion is destination less source in whole pixels, both as exported: the fraction is cut off toward zero.
    """
    if records is not None and (records["source"] != source).any():
        records = records[records["source"] == source]
    coarse = side in (None, 16) and (records is None or bool(((records["w"] == 16) & (records["h"] == 16)).all()))
    side = side or (16 if coarse else 8)
    rows, columns = -(-height // side), padded(width) // side
    motion, given = np.zeros((rows, columns, 2), np.int16), np.zeros((rows, columns), np.uint8)
    if records is None:
        return Field(side, motion, given)
    x, y = records["dst_x"], records["dst_y"]
    moved = np.empty((len(records), 2), np.int16)
    np.subtract(x, records["src_x"], out=moved[:, 0])
    np.subtract(y, records["src_y"], out=moved[:, 1])
    if coarse:
        _fill(motion, given, y >> 4, x >> 4, moved)
    else:
        wide, high = np.maximum(records["w"] // side, 1), np.maximum(records["h"] // side, 1)
        left, top = (x - records["w"] // 2) // side, (y - records["h"] // 2) // side
        for down in range(high.max(initial=0)):
            for right in range(wide.max(initial=0)):
                part = slice(None) if not down | right else np.flatnonzero((down < high) & (right < wide))
                _fill(motion, given, top[part] + down, left[part] + right, moved[part])
    return Field(side, motion, given)


def _fill(motion: np.ndarray, given: np.ndarray, row: np.ndarray, column: np.ndarray, moved: np.ndarray) -> None:
    """Set cells of a grid; cells outside are those of macroblocks beyond the edge."""
    rows, columns = given.shape
    at = row.astype(np.intp) * columns + column
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    if not inside.all():
        at, moved = at[inside], moved[inside]
    motion.view(np.int32).reshape(-1)[at] = moved.view(np.int32)[:, 0]  # both components at once
    given.reshape(-1)[at] = 1
