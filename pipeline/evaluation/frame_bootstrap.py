"""MAP of frame scores with intervals over videos and over trainings, and paired differences on the same videos.

Rows of a video hang together, and two trainings of one network differ: a resample draws whole videos with replacement, and
for every network as many of its trainings as there are. A video drawn twice has its rows in the list twice.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.bootstrap import Interval, draw_videos, percentile_interval
from pipeline.evaluation.segments import FloatArray, IntArray


class FrameMaps(NamedTuple):
    """By network: the mean over its trainings of the mAP, and the same on R resamples; NaN where nothing is positive."""

    point: Mapping[str, float]
    samples: Mapping[str, FloatArray]

    def interval(self, name: str, level: float = 0.95) -> Interval:
        """MAP with its interval."""
        return percentile_interval(self.point[name], self.samples[name], level)

    def difference(self, name: str, minus: str, level: float = 0.95) -> Interval:
        """MAP of ``name`` less that of ``minus``, paired: both on the same drawn videos."""
        samples = self.samples[name] - self.samples[minus]
        return percentile_interval(self.point[name] - self.point[minus], samples, level)


def frame_maps(
    scores: Mapping[str, NDArray[np.floating]],
    labels: NDArray[np.bool_],
    video: IntArray,
    classes: Sequence[int],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> FrameMaps:
    """Score several networks on the same rows.

    Args:
        scores: [S, N, C] by name, one table for each of S trainings.
        labels: [N, C].
        video: number of the video that each row is of, 0..V-1, [N].
        classes: columns whose AP is averaged; one without a positive is left out.
        resamples: R.
        seed: of the draws.

    Raises:
        ValueError: no rows, a table of another shape, or a NaN score.
    """
    for name, tables in scores.items():
        if not len(labels) or tables.ndim != 3 or tables.shape[1:] != labels.shape or not len(tables):
            raise ValueError(f"{name}: scores {tables.shape} for labels {labels.shape}; needed: trainings x labels")
        if np.isnan(tables).any():
            raise ValueError(f"{name}: a score is NaN")
    copies = draw_videos(int(video.max()) + 1, resamples, seed)
    point, samples = {}, {}
    for number, (name, tables) in enumerate(scores.items()):
        point[name] = float(
            np.mean([_mean_ap(one, labels, np.ones((1, len(video)), np.int64), classes) for one in tables])
        )
        drawn = np.stack([_mean_ap(one, labels, copies[:, video], classes) for one in tables])
        chosen = np.random.default_rng([seed, 1 + number]).integers(len(tables), size=(len(tables), resamples))
        samples[name] = np.take_along_axis(drawn, chosen, axis=0).mean(axis=0)
    return FrameMaps(point, samples)


def copied_average_precision(
    scores: NDArray[np.floating], positive: NDArray[np.bool_], copies: NDArray[np.int64]
) -> FloatArray:
    """AP [R] of one class when row n stands in the list ``copies[r, n]`` times, [R, N]; NaN without a positive.

    Equal to :func:`pipeline.evaluation.multilabel.average_precision` of the repeated rows.
    """
    order = np.argsort(-scores, kind="stable")
    at = np.flatnonzero(positive[order])
    copies = copies[:, order]
    before = (np.cumsum(copies, axis=1) - copies)[:, at]
    mine = copies[:, at]
    hits = np.cumsum(mine, axis=1) - mine
    total = mine.sum(axis=1)
    precision = np.zeros(len(copies))
    for k in range(1, int(mine.max(initial=0)) + 1):
        precision += np.where(mine >= k, (hits + k) / (before + k), 0.0).sum(axis=1)
    return np.where(total > 0, precision / np.maximum(total, 1), np.nan)


def _mean_ap(
    scores: NDArray[np.floating], labels: NDArray[np.bool_], copies: NDArray[np.int64], classes: Sequence[int]
) -> FloatArray:
    ap = np.stack([copied_average_precision(scores[:, c], labels[:, c], copies) for c in classes])
    known = np.isfinite(ap)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, ap, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
