"""Flashes and a camera that jerks are no cuts: around them the picture comes back, maybe at another place."""

from collections import deque
from collections.abc import Sequence
from functools import cache
from itertools import combinations

import cv2
import numpy as np

LEAST_OVERLAP = 0.5
"""Share of the picture that must still be there after it moved."""


class RecentPictures:
    """Grey pictures of the last frames, as long as :meth:`come_back` may ask for them."""

    def __init__(self, flash_s: float) -> None:
        self.flash_s = flash_s
        self._frames: deque[tuple[float, np.ndarray]] = deque()

    def add(self, pts_s: float, picture: np.ndarray, oldest_s: float) -> None:
        """The next frame, RGB; no later question will be for a cut before ``oldest_s``."""
        self._frames.append((pts_s, cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)))
        while self._frames[0][0] < oldest_s - self.flash_s:
            self._frames.popleft()

    def come_back(self, cut_s: float, least_change: float, least_ratio: float = 0.0) -> bool:
        """Whether any picture within ``flash_s`` after the cut is much like one within ``flash_s`` before it.

        Much like: where both are, after the motion of the camera, they differ by less than ``least_change`` (0..255), or by
        less than ``least_ratio`` times what pictures on one side of the cut differ among themselves, flashes aside: in front
        of a restless background no two are alike.
        """
        before = [picture for t, picture in self._frames if cut_s - self.flash_s <= t < cut_s]
        after = [picture for t, picture in self._frames if cut_s <= t <= cut_s + self.flash_s]
        pairs = [(a, b) for a in before for b in after]
        if any(_change(a, b) < least_change for a, b in pairs):
            return True
        across = min((_moved_change(a, b) for a, b in pairs), default=float("inf"))
        if across < least_change or not least_ratio:
            return across < least_change
        across = min(across, *(_change(a, b) for a, b in pairs))
        beside = [unrest for side in (before, after) if (unrest := _unrest(side)) is not None]
        return bool(beside) and across < least_ratio * sum(beside) / len(beside)


def _unrest(pictures: Sequence[np.ndarray]) -> float | None:
    """How little any two pictures differ: the second smallest change, for two that a flash made white are alike."""
    changes = sorted(min(_change(a, b), _moved_change(a, b)) for a, b in combinations(pictures, 2))
    return changes[min(1, len(changes) - 1)] if changes else None


def _change(a: np.ndarray, b: np.ndarray) -> float:
    return float(cv2.absdiff(a, b).mean())


def _moved_change(a: np.ndarray, b: np.ndarray) -> float:
    """The change that is left when ``b`` is moved to where it fits ``a`` best (phase correlation), where both are."""
    height, width = a.shape
    (x, y), _ = cv2.phaseCorrelate(a.astype(np.float32), b.astype(np.float32), _hanning(width, height))
    dx, dy = round(x), round(y)
    if abs(dx) > (1 - LEAST_OVERLAP) * width or abs(dy) > (1 - LEAST_OVERLAP) * height:
        return float("inf")
    part_a = a[max(-dy, 0) : height - max(dy, 0), max(-dx, 0) : width - max(dx, 0)]
    part_b = b[max(dy, 0) : height - max(-dy, 0), max(dx, 0) : width - max(-dx, 0)]
    return _change(part_a, part_b)


@cache
def _hanning(width: int, height: int) -> np.ndarray:
    return cv2.createHanningWindow((width, height), cv2.CV_32F)
