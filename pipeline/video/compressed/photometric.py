"""Which of the frames that a vector may point to it does point to, told by the pictures.

A stream of H.264 says from which side a block is predicted, not from which frame, and FFmpeg exports both sides' vectors
of a macroblock even for parts that use one (the other is stale); field-coded blocks do not lie where their vector says.
Each candidate frame is moved by the vectors and compared with the frame, block by block, in brightness. The best of the
candidates that motion can be traced through is taken, unless another frame, or standing still, explains the block clearly
better.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from av.video.frame import VideoFrame

from pipeline.video.compressed.vectors import padded

BLOCK = 8
"""Side in px of the blocks that are judged one by one: as fine as any decoder exports vectors."""

RATIO, SLACK = 1.2, 0.5
"""A block is rejected when its mean error in grey levels is over RATIO times the best explanation's plus SLACK."""


def luma(frame: VideoFrame) -> np.ndarray:
    """Brightness as a plane uint8 [height, padded], without conversion where it is stored in 8 bits."""
    plain = frame.format.components[0].bits == 8 and frame.format.is_planar and not frame.format.is_rgb
    source: Any = (frame if plain else frame.reformat(format="gray", threads=1)).planes[0]
    rows = np.frombuffer(source, np.uint8, source.line_size * frame.height).reshape(frame.height, source.line_size)
    plane = np.zeros((frame.height, padded(frame.width)), np.uint8)
    plane[:, : frame.width] = rows[:, : frame.width]
    return plane


def block_errors(frame: np.ndarray, others: np.ndarray, width: int) -> np.ndarray:
    """Mean absolute difference of a luma plane to each of others [k, height, padded], by block: [k, rows, columns]."""
    count, height, across = others.shape
    rows = -(-height // BLOCK)
    difference = np.zeros((count, rows * BLOCK, across), np.uint8)
    np.subtract(np.maximum(frame, others), np.minimum(frame, others), out=difference[:, :height])
    difference[:, :, width:] = 0
    sums = difference.reshape(count, rows, BLOCK, across).sum(2, dtype=np.uint16)
    for _ in range(3):  # neighbours in pairs: much faster than a sum over a short last axis
        sums = sums[..., ::2] + sums[..., 1::2]
    return np.asarray(sums * _one_over_pixels(width, height, across))


@lru_cache(4)
def _one_over_pixels(width: int, height: int, across: int) -> np.ndarray:
    high = np.clip(height - np.arange(0, height, BLOCK), 1, BLOCK)
    wide = np.clip(width - np.arange(0, across, BLOCK), 1, BLOCK)
    return (1 / (high[:, None] * wide)).astype(np.float32)


def choose(errors: np.ndarray, traceable: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the candidate that each block comes from, -1 for none, int8 [rows, columns]; and the error that is allowed.

    Args:
        errors: of each candidate, [candidates, rows, columns], infinite where it has no vector; the first wins a draw.
        traceable: bool [candidates]; only such ones are chosen.
        rest: [k, rows, columns], errors of other explanations.
    """
    allowed = RATIO * np.minimum(errors.min(0), rest.min(0)) + SLACK
    ours = np.where(traceable[:, None, None], errors, np.float32(np.inf))
    return np.where(ours.min(0) <= allowed, ours.argmin(0), -1).astype(np.int8), allowed
