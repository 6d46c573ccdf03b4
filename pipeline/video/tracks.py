"""Tubes: detections of one video linked over time into tracks, within shots.

At each time the open tubes of a class are matched to its detections by the Hungarian method. The similarity is the
generalised IoU (Rezatofighi et al., CVPR 2019) of the detection and the tube's box where it should be by now (constant
velocity of the centre): it is the IoU for boxes that overlap, and falls below 0 with the gap between boxes that do not,
so that small and fast things can be followed at few pictures per second. Weak detections may continue a tube and
not begin one. A tube ends when it was not seen for ``max_gap_s``, and at every cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

NO_TRACK = -1
_ROUNDING_S = 1e-6  # times that went through a file agree to a microsecond


@dataclass
class _Tube:
    """An open tube of class ``label``: rows of its detections so far, when and where it was seen last, and its speed."""

    label: int
    t: float
    box: NDArray[np.float64]
    velocity: NDArray[np.float64]
    rows: list[int] = field(default_factory=list)

    def expected(self, t: float) -> NDArray[np.float64]:
        """Box [4] where the tube should be at ``t``."""
        return self.box + np.tile(self.velocity, 2) * (t - self.t)

    def extend(self, row: int, t: float, box: NDArray[np.float64], smoothing: float) -> None:
        """Append a detection."""
        if self.rows:
            moved = (box[:2] + box[2:] - self.box[:2] - self.box[2:]) / 2 / (t - self.t)
            self.velocity = smoothing * self.velocity + (1 - smoothing) * moved
        self.rows.append(row)
        self.t, self.box = t, box


def link(
    t: NDArray[np.float64],
    box: NDArray[np.float64],
    label: NDArray[np.int64],
    score: NDArray[np.float64],
    shot_start: Sequence[float] | NDArray[np.float64],
    *,
    begin_score: float,
    continue_score: float,
    min_similarity: float = 0.0,
    max_gap_s: float = 1.0,
    min_length: int = 2,
    smoothing: float = 0.5,
) -> NDArray[np.int32]:
    """The tube of each detection, int32 [N]: numbers from 0 in the order in which tubes begin, or ``NO_TRACK``.

    Args:
        t: time of each detection in seconds [N], never falling.
        box: x1, y1, x2, y2 in pixels [N, 4].
        label: class index [N]; a tube has one class.
        score: [N].
        shot_start: start of each shot in seconds; no tube is in two of them.
        begin_score: least score of a detection that begins a tube.
        continue_score: least score of one that continues a tube.
        min_similarity: least generalised IoU (-1 to 1) with the expected box.
        max_gap_s: a tube that was not seen for longer has ended.
        min_length: tubes of fewer detections are dropped.
        smoothing: share of the old velocity in the new one, 0 to 1.

    Raises:
        ValueError: times fall, columns differ in length, or a limit is out of its range.
    """
    t, box = np.asarray(t, np.float64), np.asarray(box, np.float64).reshape(-1, 4)
    _check(t, box, label, score, begin_score, continue_score, min_similarity, max_gap_s, min_length)
    shot = np.searchsorted(np.sort(np.asarray(shot_start, np.float64)), t + _ROUNDING_S, side="right")
    done: list[_Tube] = []
    active: list[_Tube] = []
    current_shot = -1
    for now in np.unique(t):
        rows = np.flatnonzero((t == now) & (score >= continue_score))
        here = int(shot[np.searchsorted(t, now)])
        still = [] if here != current_shot else [u for u in active if now - u.t <= max_gap_s + _ROUNDING_S]
        active, current_shot = still, here
        taken: set[int] = set()
        for kind in np.unique(label[rows]):
            tubes, mine = [u for u in active if u.label == kind], rows[label[rows] == kind]
            if not tubes:
                continue
            expected = np.stack([u.expected(now) for u in tubes])
            for i, j in _pairs(generalised_iou(expected, box[mine]), min_similarity):
                tubes[i].extend(int(mine[j]), now, box[mine[j]], smoothing)
                taken.add(int(mine[j]))
        for row in rows:
            if int(row) not in taken and score[row] >= begin_score:
                tube = _Tube(int(label[row]), now, box[row], np.zeros(2))
                tube.extend(int(row), now, box[row], smoothing)
                active.append(tube)
                done.append(tube)
    track = np.full(len(t), NO_TRACK, np.int32)
    for number, tube in enumerate(tube for tube in done if len(tube.rows) >= min_length):
        track[tube.rows] = number
    return track


def of_length(track: NDArray[np.int32], least: int) -> NDArray[np.int32]:
    """The same tubes without those of fewer than ``least`` detections, numbered anew in their order."""
    numbers, count = np.unique(track[track >= 0], return_counts=True)
    new = np.full(int(track.max(initial=NO_TRACK)) + 2, NO_TRACK, np.int32)  # the last place is that of NO_TRACK
    kept = numbers[count >= least]
    new[kept] = np.arange(len(kept))
    return new[track]


def _pairs(similarity: NDArray[np.float64], least: float) -> list[tuple[int, int]]:
    """One-to-one pairs of at least that similarity, with the highest sum of what they have above it."""
    above = np.maximum(similarity - least, 0.0)
    pairs = zip(*linear_sum_assignment(above, maximize=True), strict=True)
    return [(int(i), int(j)) for i, j in pairs if similarity[i, j] >= least]


def generalised_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Generalised IoU of boxes ``a`` [N, 4] and ``b`` [M, 4]: [N, M], from -1 (far apart) to 1 (equal)."""
    a, b = a[:, None], b[None]
    shared = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None).prod(axis=-1)
    hull = (np.maximum(a[..., 2:], b[..., 2:]) - np.minimum(a[..., :2], b[..., :2])).prod(axis=-1)
    union = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1) - shared
    tiny = np.finfo(np.float64).tiny
    similarity: NDArray[np.float64] = shared / np.maximum(union, tiny) - (hull - union) / np.maximum(hull, tiny)
    return similarity


def box_at(t: NDArray[np.float64], box: NDArray[np.float64], when: float) -> NDArray[np.float64]:
    """A tube's box [4] at ``when``, between the boxes [N, 4] at rising times ``t`` [N]; beyond the ends, the end's."""
    return np.array([np.interp(when, t, side) for side in box.T])


def _check(
    t: NDArray[np.float64],
    box: NDArray[np.float64],
    label: NDArray[np.int64],
    score: NDArray[np.float64],
    begin_score: float,
    continue_score: float,
    min_similarity: float,
    max_gap_s: float,
    min_length: int,
) -> None:
    if not len(t) == len(box) == len(label) == len(score):
        raise ValueError(f"{len(t)} times, {len(box)} boxes, {len(label)} labels, {len(score)} scores: not one per row")
    if (np.diff(t) < 0).any():
        raise ValueError(f"the time falls after row {int(np.argmax(np.diff(t) < 0))}; detections come in order of time")
    if continue_score > begin_score:
        raise ValueError(f"continue_score is {continue_score}, above begin_score = {begin_score}")
    if not -1 <= min_similarity <= 1:
        raise ValueError(f"min_similarity is {min_similarity}; it must be -1 to 1")
    if max_gap_s <= 0 or min_length < 1:
        raise ValueError(f"max_gap_s is {max_gap_s} and min_length {min_length}; needed: above 0, and at least 1")
