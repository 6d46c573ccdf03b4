"""Which of the frames that a vector may point to it does point to, told by the pictures.

A stream of H.264 says from which side a block is predicted, not from which frame, and FFmpeg exports both sides' vectors
of a macroblock even for parts that use one (the other is stale); field-coded blocks do not lie where their vector says.
Each candidate frame is moved by the vectors and compared with the frame, block by block, in brightness. The best of the
candidates that motion can be traced through is taken, unless another frame, or standing still, explains the block clearly
better.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from av.video.frame import VideoFrame

from pipeline.video.compressed.trace import Trace, fetch
from pipeline.video.compressed.vectors import padded

BLOCK = 8
"""Side in px of the blocks that are judged one by one: as fine as any decoder exports vectors."""

RATIO, SLACK = 1.2, 1.0
"""A block is rejected when its mean error in grey levels is over RATIO times the best explanation's plus SLACK."""


class Candidate(NamedTuple):
    """A frame that blocks may be predicted from: its ``luma`` plane, where each pixel was in it, which blocks have a
    vector from its side (uint8 [rows, columns]), and whether motion can be traced through it.
    """

    luma: np.ndarray
    trace: Trace
    given: np.ndarray
    traceable: bool


def luma(frame: VideoFrame) -> np.ndarray:
    """Brightness as a plane uint8 [height, padded], without conversion where it is stored in 8 bits."""
    plain = frame.format.components[0].bits == 8 and frame.format.is_planar and not frame.format.is_rgb
    source: Any = (frame if plain else frame.reformat(format="gray", threads=1)).planes[0]
    rows = np.frombuffer(source, np.uint8, source.line_size * frame.height).reshape(frame.height, source.line_size)
    plane = np.zeros((frame.height, padded(frame.width)), np.uint8)
    plane[:, : frame.width] = rows[:, : frame.width]
    return plane


def block_errors(one: np.ndarray, other: np.ndarray, width: int) -> np.ndarray:
    """Mean absolute difference of two luma planes in every block: float32 [rows, columns]."""
    height, across = one.shape
    rows, columns = -(-height // BLOCK), across // BLOCK
    difference = np.zeros((rows * BLOCK, across), np.uint8)
    np.subtract(np.maximum(one, other), np.minimum(one, other), out=difference[:height])
    difference[:, width:] = 0
    sums = difference.reshape(rows, BLOCK, across).sum(1, dtype=np.uint16).reshape(rows, columns, BLOCK).sum(2)
    high = np.minimum(BLOCK, height - np.arange(rows) * BLOCK)
    wide = np.clip(width - np.arange(columns) * BLOCK, 1, BLOCK)
    return np.asarray(sums / (high[:, None] * wide), np.float32)


def choose(
    frame: np.ndarray, width: int, candidates: Sequence[Candidate], rest: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Index of the candidate that each block comes from, -1 for none, int8 [rows, columns]; and the error that is allowed.

    Args:
        frame: luma plane of the frame.
        width: of the picture, in px.
        candidates: in order of preference; the first wins a draw.
        rest: luma planes that blocks may also have come from without motion.
    """
    errors = np.stack([
        np.where(one.given == 1, block_errors(frame, fetch(one.luma, one.trace), width), np.float32(np.inf))
        for one in candidates
    ])  # fmt: skip
    traceable = np.array([one.traceable for one in candidates])
    best = errors.min(0)
    for plane in rest:
        np.minimum(best, block_errors(frame, plane, width), out=best)
    ours = np.where(traceable[:, None, None], errors, np.float32(np.inf))
    chosen = ours.argmin(0)
    allowed = RATIO * best + SLACK
    with np.errstate(invalid="ignore"):
        kept = np.isfinite(best) & (ours.min(0) <= allowed)
    return np.where(kept, chosen, -1).astype(np.int8), allowed
