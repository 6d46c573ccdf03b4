"""Scores of tracks against true tracks: MOTA of CLEAR MOT (Bernardin and Stiefelhagen 2008), IDF1 (Ristani et al. 2016).

Boxes may be matched from an IoU of 0.5. MOTA matches picture by picture: a true track keeps the track it had, while both
are there and overlap enough; the rest is matched with as many pairs, and then as much overlap, as possible. IDF1 matches
whole tracks, one to one, so that as many boxes as possible agree. Counts of videos add up.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline.evaluation.bootstrap import Interval, draw_videos, percentile_interval
from pipeline.evaluation.detection import box_iou
from pipeline.evaluation.segments import FloatArray

_FORBIDDEN = 1e6


@dataclass(frozen=True)
class TrackTable:
    """Boxes of the tracks of one video: ``picture`` [N] number, ``track`` [N] id, ``box`` [N, 4] x1, y1, x2, y2."""

    picture: NDArray[np.int64]
    track: NDArray[np.int64]
    box: FloatArray


@dataclass(frozen=True)
class TrackCounts:
    """Counts of one video or several, all in boxes.

    ``true`` and ``found``: how many there are. ``misses``, ``false_positives``, ``switches``: of MOTA's matching (a
    switch: a true track is matched to another track than the time before). ``id_matches``: IDTP, boxes that agree when
    tracks are matched as wholes.
    """

    true: int
    found: int
    misses: int
    false_positives: int
    switches: int
    id_matches: int

    @property
    def mota(self) -> float:
        """1 - (misses + false positives + switches) / true boxes; NaN without a true box."""
        wrong = self.misses + self.false_positives + self.switches
        return 1 - wrong / self.true if self.true else float("nan")

    @property
    def idf1(self) -> float:
        """2 IDTP / (true + found boxes); NaN when there are neither."""
        both = self.true + self.found
        return 2 * self.id_matches / both if both else float("nan")


def count_tracks(true: TrackTable, found: TrackTable, iou: float = 0.5) -> TrackCounts:
    """Count one video; pictures are numbered alike on both sides, in the order of time."""
    true_ids, true_index = np.unique(true.track, return_inverse=True)
    found_ids, found_index = np.unique(found.track, return_inverse=True)
    agree = np.zeros((len(true_ids), len(found_ids)), np.int64)
    partner: dict[int, int] = {}
    matched = switches = 0
    for picture in np.union1d(true.picture, found.picture):
        rows, columns = np.flatnonzero(true.picture == picture), np.flatnonzero(found.picture == picture)
        overlap = box_iou(true.box[rows], found.box[columns])
        near = overlap >= iou
        ours, theirs = true_index[rows], found_index[columns]
        r, c = np.nonzero(near)
        np.add.at(agree, (ours[r], theirs[c]), 1)
        pairs = _keep_and_match(ours, theirs, overlap, near, partner)
        matched += len(pairs)
        for i, j in pairs:
            switches += int(partner.get(int(ours[i]), int(theirs[j])) != theirs[j])
            partner[int(ours[i])] = int(theirs[j])
    best = linear_sum_assignment(agree, maximize=True)
    return TrackCounts(
        true=len(true.track),
        found=len(found.track),
        misses=len(true.track) - matched,
        false_positives=len(found.track) - matched,
        switches=switches,
        id_matches=int(agree[best].sum()),
    )


def _keep_and_match(
    ours: NDArray[np.int64],
    theirs: NDArray[np.int64],
    overlap: FloatArray,
    near: NDArray[np.bool_],
    partner: dict[int, int],
) -> list[tuple[int, int]]:
    """Matched (row, column) of one picture: first those of ``partner`` that still hold, then the rest."""
    column_of = {int(track): j for j, track in enumerate(theirs)}
    pairs: list[tuple[int, int]] = []
    free_rows, free_columns = set(range(len(ours))), set(range(len(theirs)))
    for i, track in enumerate(ours):
        j = column_of.get(partner.get(int(track), -1))
        if j is not None and j in free_columns and near[i, j]:
            pairs.append((i, j))
            free_rows.discard(i)
            free_columns.discard(j)
    rows, columns = sorted(free_rows), sorted(free_columns)
    cost = np.where(near, 1 - overlap, _FORBIDDEN)[np.ix_(rows, columns)]
    for r, c in zip(*linear_sum_assignment(cost), strict=True):
        if cost[r, c] < _FORBIDDEN:
            pairs.append((rows[r], columns[c]))
    return pairs


def total(counts: Sequence[TrackCounts]) -> TrackCounts:
    """The sum over videos."""
    return TrackCounts(*(int(v) for v in _table(counts).sum(axis=0)))


def track_intervals(
    counts: Sequence[TrackCounts], resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[Interval, Interval]:
    """IDF1 and MOTA over the videos (one count each), with a percentile bootstrap over them."""
    point = total(counts)
    nan = float("nan")
    if not len(counts):
        return Interval(nan, nan, nan), Interval(nan, nan, nan)
    sums = draw_videos(len(counts), resamples, seed) @ _table(counts)
    true, found, misses, false_positives, switches, id_matches = sums.T.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        idf1 = 2 * id_matches / (true + found)
        mota = 1 - (misses + false_positives + switches) / true
    return percentile_interval(point.idf1, idf1, level), percentile_interval(point.mota, mota, level)


def _table(counts: Sequence[TrackCounts]) -> NDArray[np.int64]:
    return np.array([astuple(one) for one in counts], np.int64).reshape(-1, 6)
