"""Percentile bootstrap over test videos of multi-label mAP and wAP, with paired differences on the same resamples.

A resample draws as many videos as there are, with replacement; a video drawn twice counts as two, its rows and labels
twice. Rows are ranked once, and a resample only gives each video a whole weight: the result equals literal duplication
where no two rows have the same score (a test holds that).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.frame_labels import FrameLabels
from pipeline.evaluation.bootstrap import Interval, draw_videos, percentile_interval
from pipeline.evaluation.multilabel import MultiLabel, multilabel
from pipeline.evaluation.segments import FloatArray

_BLOCK_ELEMENTS = 4_000_000


class Resampled(NamedTuple):
    """Several score sets on the same resamples: the result on the videos themselves, mAP and wAP [R] on the resamples.

    The mAP of a resample is over the classes that occur in it.
    """

    point: Mapping[str, MultiLabel]
    maps: Mapping[str, FloatArray]
    waps: Mapping[str, FloatArray]

    def mAP(self, name: str, level: float = 0.95) -> Interval:
        """Mean over the classes that have positives."""
        return percentile_interval(self.point[name].mAP_present, self.maps[name], level)

    def wAP(self, name: str, level: float = 0.95) -> Interval:
        """Mean weighted by positives."""
        return percentile_interval(self.point[name].wAP, self.waps[name], level)

    def difference(self, name: str, minus: str, level: float = 0.95) -> Interval:
        """The mAP of ``name`` less that of ``minus``, paired: both on the same drawn videos."""
        value = self.point[name].mAP_present - self.point[minus].mAP_present
        return percentile_interval(value, self.maps[name] - self.maps[minus], level)


def resampled(
    scores: Mapping[str, Sequence[NDArray[np.floating]]],
    labels: Sequence[FrameLabels],
    resamples: int = 1000,
    seed: int = 0,
) -> Resampled:
    """Score every set on the videos and on resamples of them.

    Args:
        scores: by name, [T_v, C] of each video.
        labels: the truth of the same rows.
        resamples: R.
        seed: of the draws.

    Raises:
        ValueError: as :func:`pipeline.evaluation.multilabel.multilabel`.
    """
    weights = draw_videos(len(labels), resamples, seed).astype(np.float64)
    video = np.repeat(np.arange(len(labels)), [len(label) for label in labels])
    rows, classes_on = _rows(labels), np.concatenate([label.classes for label in labels])
    point, maps, waps = {}, {}, {}
    for name, one in scores.items():
        point[name] = multilabel(one, labels)
        total, weighted, classes, positives = (np.zeros(resamples) for _ in range(4))
        for c in np.flatnonzero(point[name].positives):
            truth = np.zeros(len(video), bool)
            truth[rows[classes_on == c]] = True
            order = np.argsort(-np.concatenate([score[:, c] for score in one]), kind="stable")
            precisions, count = _precisions(truth[order], video[order], weights)
            with np.errstate(invalid="ignore"):
                total += np.nan_to_num(precisions / count)
            weighted += precisions
            classes += count > 0
            positives += count
        with np.errstate(invalid="ignore"):
            maps[name], waps[name] = total / classes, weighted / positives
    return Resampled(point, maps, waps)


def _rows(labels: Sequence[FrameLabels]) -> NDArray[np.int64]:
    """The row, among those of all videos, of each label."""
    starts = np.cumsum([0, *(len(label) for label in labels)])
    return np.concatenate([start + label.rows() for start, label in zip(starts, labels, strict=False)])


def _precisions(
    positive: NDArray[np.bool_], video: NDArray[np.int64], weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Sum over positives of the precision at their rank, and their number, [R] each; rows in falling score.

    Of ``w`` copies of a positive, which follow each other, copy i has rank (rows before) + i.
    """
    at = np.flatnonzero(positive)
    sums, counts = np.zeros(len(weights)), np.zeros(len(weights))
    step = max(1, _BLOCK_ELEMENTS // len(positive))
    for first in range(0, len(weights), step):
        block = weights[first : first + step]
        rank = np.cumsum(block[:, video], axis=1)[:, at]
        copies = block[:, video[at]]
        hits = np.cumsum(copies, axis=1)
        rank, hits = rank - copies, hits - copies
        for i in range(1, int(copies.max(initial=0)) + 1):
            sums[first : first + step] += np.where(copies >= i, (hits + i) / (rank + i), 0.0).sum(axis=1)
        counts[first : first + step] = copies.sum(axis=1)
    return sums, counts
