"""Test views of a trimmed clip as plain data: which frames and which crop each view reads.

The published protocols: 30 views (10 clips in time x 3 crops, Kinetics), 10 views (10 clips, centre crop), Something-
Something (1 clip x 3 or 1 crop), TSN-style segments. A loader decodes each video once, all rows of
:attr:`ViewPlan.rows`, and cuts every view out of them: thirty views cost one decode.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Starts = Literal["inner", "full"]
"""``inner``: clip i of n starts at (span left) * i / n, so that the last one ends before the video does (PySlowFast's
default); ``full``: at i * (span left) / (n - 1), so that it ends with it (its ``USE_OFFSET_SAMPLING``, rounded down)."""


@dataclass(frozen=True)
class View:
    """One view: the frame rows it reads, [T] (a row may repeat), and the square it cuts, in the scaled picture."""

    clip: int
    crop: int
    frames: tuple[int, ...]
    left: int
    top: int
    side: int


@dataclass(frozen=True)
class ViewPlan:
    """All views of one video: pictures are scaled to ``width`` x ``height`` before the crops are cut."""

    width: int
    height: int
    views: tuple[View, ...]

    @property
    def rows(self) -> NDArray[np.int64]:
        """Every frame row that any view reads, rising, each once: what is decoded."""
        return np.unique([row for view in self.views for row in view.frames])


def clip_rows(
    n_frames: int, fps: float, frames: int, rate: int, clips: int, starts: Starts = "inner", target_fps: float = 30.0
) -> list[tuple[int, ...]]:
    """Frame rows of ``clips`` clips of ``frames`` frames each.

    A clip spans ``rate * frames`` frames at ``target_fps``, in the video's own frames; its rows are the truncated equal
    steps from its start to its end, held inside the file, the same rows as PySlowFast's. A video shorter than a clip
    repeats its last frame.

    Raises:
        ValueError: a count or rate that is not positive.
    """
    if min(n_frames, frames, rate, clips) < 1 or min(fps, target_fps) <= 0:
        raise ValueError(f"n_frames {n_frames}, fps {fps}, frames {frames}, rate {rate}, clips {clips}: all positive")
    span = rate * frames / target_fps * fps
    left = max(n_frames - span, 0.0)
    found = []
    for i in range(clips):
        offset = i * int(left / (clips - 1)) if clips > 1 else int(left / 2)
        start = left * i / clips if starts == "inner" else offset
        rows = _linspace(start, start + span - 1, frames)
        found.append(tuple(np.clip(rows, 0, n_frames - 1).astype(np.int64).tolist()))
    return found


def _linspace(start: float, end: float, steps: int) -> NDArray[np.float32]:
    """torch.linspace in float32, which the published code reads its frames by: from both ends towards the middle.

    The last bit decides which row a step that falls on a whole number is truncated to.
    """
    first, last = np.float32(start), np.float32(end)
    step = (last - first) / np.float32(max(steps - 1, 1))
    at = np.arange(steps, dtype=np.float32)
    from_end = last - step * (np.float32(steps - 1) - at)
    return np.where(at < max(steps // 2, 1), first + step * at, from_end).astype(np.float32)


def crop_places(width: int, height: int, side: int, crops: int) -> list[tuple[int, int]]:
    """Left and top of 1 (centre) or 3 squares along the longer side: start, centre (rounded up), end.

    Raises:
        ValueError: another number of crops, or the square does not fit.
    """
    if crops not in (1, 3):
        raise ValueError(f"crops is {crops}; it must be 1 or 3")
    if side > min(width, height):
        raise ValueError(f"a crop of {side} px does not fit into {width} x {height}")
    centre = (-((side - width) // 2), -((side - height) // 2))  # ceil((size - side) / 2)
    if crops == 1:
        return [centre]
    if height > width:
        return [(centre[0], 0), centre, (centre[0], height - side)]
    return [(0, centre[1]), centre, (width - side, centre[1])]


def scaled_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Width and height with the shorter one ``short_side``, the other rounded down as PySlowFast does."""
    if width <= height:
        return short_side, int(height / width * short_side)
    return int(width / height * short_side), short_side


def plan_views(
    n_frames: int,
    fps: float,
    size: Sequence[int],
    frames: int,
    rate: int,
    clips: int = 10,
    crops: int = 3,
    side: int = 256,
    short_side: int | None = None,
    starts: Starts = "inner",
    target_fps: float = 30.0,
) -> ViewPlan:
    """Plan the views of one video.

    Args:
        n_frames: of the video.
        fps: of the video.
        size: its width and height in pixels.
        frames: frames of a clip, T.
        rate: frames between them, at ``target_fps``.
        clips: clips in time.
        crops: crops of each clip, 1 or 3.
        side: of the square crop in pixels.
        short_side: the picture is scaled to; None: ``side``.
        starts: where clips begin.
        target_fps: that ``rate`` counts in.

    Raises:
        ValueError: as :func:`clip_rows` and :func:`crop_places`.
    """
    width, height = scaled_size(size[0], size[1], short_side or side)
    places = crop_places(width, height, side, crops)
    views = tuple(
        View(clip, crop, rows, left, top, side)
        for clip, rows in enumerate(clip_rows(n_frames, fps, frames, rate, clips, starts, target_fps))
        for crop, (left, top) in enumerate(places)
    )
    return ViewPlan(width, height, views)
