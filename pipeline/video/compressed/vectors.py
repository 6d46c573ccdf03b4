"""Motion vectors as the decoder exports them, as plain arrays: a list of blocks, or a grid of one direction.

FFmpeg gives a block's middle, its size (as uint8), the whole pixel that its source's middle lies on, the vector in
sub-pixels with their scale, and from which side (not from which frame) it is predicted. Its vector points to the source;
here motion is the opposite, from the source to the block, as the reference loader of CoViAR has it.
"""

from typing import Any, NamedTuple

import numpy as np
from av.video.frame import VideoFrame

from pipeline.video.decode import Orientation


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


def macroblock_field(records: np.ndarray | None, width: int, height: int) -> Field | None:
    """Vectors from before on a grid of macroblocks, 16 px; None where there are others, or smaller blocks.

    Motion, here and below, is destination less source in whole pixels, both as exported: fractions are cut off toward zero.
    """
    rows, columns = -(-height // 16), padded(width) // 16
    motion, given = np.zeros((rows, columns), np.int32), np.zeros((rows, columns), np.uint8)
    if records is not None:
        row, column = records["dst_y"] >> 4, records["dst_x"] >> 4
        fits = (records["source"] < 0) & (records["w"] == 16) & (records["h"] == 16)
        if not (fits & (row >= 0) & (row < rows) & (column >= 0) & (column < columns)).all():
            return None
        at = row.astype(np.intp) * columns + column
        motion.reshape(-1)[at] = _motion(records)
        given.reshape(-1)[at] = 1
    return Field(16, motion.view(np.int16).reshape(rows, columns, 2), given)


def block_fields(records: np.ndarray | None, width: int, height: int) -> tuple[Field, Field]:
    """Vectors from before, and from behind, on grids of 8 px, which is as fine as any decoder exports them."""
    rows, columns = -(-height // 16) * 2 + 2, padded(width) // 8  # field-coded pictures have up to a macroblock more
    motion, given = np.zeros((2, rows, columns), np.int32), np.zeros((2, rows, columns), np.uint8)
    if records is not None:
        wide, high = records["w"] > 8, records["h"] > 8
        left = (records["dst_x"] - (records["w"] >> 1)) >> 3
        top = (records["dst_y"] - (records["h"] >> 1)) >> 3
        inside = (left >= 0) & (top >= 0) & (left + wide < columns) & (top + high < rows)
        at = ((records["source"] > 0) * rows + top).astype(np.intp) * columns + left
        moved = _motion(records)
        if not inside.all():
            at, moved, wide, high = at[inside], moved[inside], wide[inside], high[inside]
        for part, beside in ((None, 0), (wide, 1), (high, columns), (wide & high, columns + 1)):
            cells, values = (at, moved) if part is None else (at[part] + beside, moved[part])
            motion.reshape(-1)[cells] = values
            given.reshape(-1)[cells] = 1
    shown = -(-height // 8)
    past, future = (
        Field(8, motion[i, :shown].view(np.int16).reshape(shown, columns, 2), given[i, :shown]) for i in (0, 1)
    )
    return past, future


def _motion(records: np.ndarray) -> np.ndarray:
    """Both components of every vector in one int32 [n]: they are moved about together."""
    moved = np.empty((len(records), 2), np.int16)
    np.subtract(records["dst_x"], records["src_x"], out=moved[:, 0])
    np.subtract(records["dst_y"], records["src_y"], out=moved[:, 1])
    return moved.view(np.int32)[:, 0]
