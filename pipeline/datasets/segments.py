"""Which frames of a clip CoViAR looks at: one of each of K equal parts, by temporal segments (TSN; thesis, section 4.2).

``fixed`` (default) serves any stream: every frame can be drawn, group lengths vary, and I-frames are where the stream has
them. ``released`` is what the published loader does: it takes every 12th frame for an I-frame, never looks at the last
frame, and so addresses wrong frames behind a scene cut, where an encoder begins a new group.
"""

from typing import Literal

import numpy as np

Compat = Literal["fixed", "released"]

RELEASED_GROUP = 12
"""Frames of a group of pictures, a constant of the published loader."""


def segment_frames(
    count: int, segments: int, rng: np.random.Generator | None, *, predicted: bool, compat: Compat = "fixed"
) -> np.ndarray:
    """Frames 0..count-1 of a clip to look at, int64 [segments], rising.

    Args:
        count: frames of the clip.
        segments: K, parts of the clip; 3 in training, 25 in testing.
        rng: draws a frame of each part (training); None takes the middle of each (testing).
        predicted: for motion and residuals; ``released`` then leaves out frame 0, which has neither.
        compat: see the module.

    Raises:
        ValueError: no frame (``released``, predicted: fewer than two), or no segment.
    """
    least = 2 if compat == "released" and predicted else 1
    if count < least or segments < 1:
        raise ValueError(f"{count} frames in {segments} segments; needed: at least {least} frames and 1 segment")
    if compat == "fixed":
        parts = np.arange(segments) + (0.5 if rng is None else rng.random(segments))
        return np.minimum((parts * count / segments).astype(np.int64), count - 1)
    shift = int(predicted)
    size = (count - shift - 1) / segments
    if rng is None:
        return np.round(size * (np.arange(segments) + 0.5)).astype(np.int64) + shift
    edges = np.round(size * np.arange(segments + 1)).astype(np.int64) + shift
    return np.asarray(rng.integers(edges[:-1], np.maximum(edges[1:], edges[:-1] + 1)), np.int64)


def i_frames(frames: np.ndarray, i_frame_index: np.ndarray, compat: Compat = "fixed") -> np.ndarray:
    """The I-frame that each frame is decoded from, int64 like ``frames``.

    ``i_frame_index`` [N]: row of the last I-frame at or before each frame, -1 where the stream has none yet; such a frame
    takes the stream's first I-frame.

    Raises:
        ValueError: the stream has no I-frame.
    """
    frames = np.asarray(frames)
    if compat == "released":
        return np.asarray(frames - frames % RELEASED_GROUP)
    found = np.asarray(i_frame_index, np.int64)
    if not (found >= 0).any():
        raise ValueError("a stream without any I-frame has no picture to begin with")
    return np.asarray(np.where(found[frames] >= 0, found[frames], found[found >= 0][0]))


def predicted_frames(frames: np.ndarray, is_predicted: np.ndarray, compat: Compat = "fixed") -> np.ndarray:
    """``frames`` with each one that has no motion (an I-frame) replaced by the frame before it, as is published.

    At the stream's beginning it is the next one that has motion. A stream of I-frames alone keeps them, at rest.
    ``is_predicted`` [N]: whether a row has a reference.
    """
    frames = np.asarray(frames)
    if compat == "released":
        return np.asarray(frames - (frames % RELEASED_GROUP == 0))
    have = np.flatnonzero(is_predicted)
    if not len(have):
        return frames
    return np.asarray(have[np.maximum(np.searchsorted(have, frames, side="right") - 1, 0)])


def clip_rows(pts: np.ndarray, t_start: float, t_end: float) -> tuple[int, int]:
    """First row and number of rows (at least one) on show in ``[t_start, t_end)`` seconds; ``pts`` [N] rises."""
    first = int(np.searchsorted(pts, t_start - 1e-9, side="left"))
    last = int(np.searchsorted(pts, t_end - 1e-9, side="left"))
    first = min(first, len(pts) - 1)
    return first, max(last - first, 1)
