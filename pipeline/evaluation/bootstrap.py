"""Percentile bootstrap over test videos of the ActivityNet mAP, and paired differences on the same resamples.

A resample draws as many videos as the subset has, with replacement; a video drawn twice counts as two different videos,
with its ground truth and its predictions twice. Matching never crosses videos, so it is done once, and a resample only
gives each video a whole weight: the result equals literal duplication (a test holds that), at a fraction of the cost.

The classes of a resample are those that occur in it, as the official rule has it for a subset; predictions of other
classes, which that rule refuses, are left out. Predictions on videos outside the subset keep weight 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.activitynet import TIOUS, Matching, match
from pipeline.evaluation.segments import FloatArray, GroundTruth, Predictions

_BLOCK_ELEMENTS = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A value with the bounds of its confidence interval."""

    value: float
    low: float
    high: float

    def metrics(self, name: str) -> dict[str, float]:
        """``name``, ``<name>_low`` and ``<name>_high``, without what is not finite: a metric is a number."""
        values = {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}
        return {key: value for key, value in values.items() if np.isfinite(value)}


@dataclass(frozen=True)
class Bootstrap:
    """mAP of several prediction sets on the same resamples.

    ``point`` [T] on the subset itself and ``samples`` [R, T] on the resamples, by name of the prediction set. Rows of a
    resample without any instance are NaN in all sets and are left out of the intervals.
    """

    tious: FloatArray
    point: Mapping[str, FloatArray]
    samples: Mapping[str, FloatArray]

    def average(self, name: str, level: float = 0.95) -> Interval:
        """Average mAP over the thresholds."""
        return percentile_interval(self.point[name].mean(), self.samples[name].mean(axis=1), level)

    def per_tiou(self, name: str, level: float = 0.95) -> list[Interval]:
        """MAP at each threshold."""
        columns = zip(self.point[name], self.samples[name].T, strict=True)
        return [percentile_interval(value, samples, level) for value, samples in columns]

    def difference(self, name: str, minus: str, level: float = 0.95) -> Interval:
        """Average mAP of ``name`` less that of ``minus``, paired: both on the same drawn videos."""
        point = self.point[name].mean() - self.point[minus].mean()
        return percentile_interval(point, (self.samples[name] - self.samples[minus]).mean(axis=1), level)


def bootstrap(
    gt: GroundTruth,
    predictions: Mapping[str, Predictions],
    tious: FloatArray = TIOUS,
    resamples: int = 1000,
    seed: int = 0,
) -> Bootstrap:
    """Resample the subset's videos and score every prediction set on each resample.

    Args:
        gt: ground truth of the subset whose videos are drawn.
        predictions: prediction sets by name.
        tious: thresholds [T].
        resamples: number R of resamples.
        seed: of the draws; equal seeds give equal draws for equal numbers of videos.

    Raises:
        ValueError: a prediction's label is no class of the subset.
    """
    tious = np.asarray(tious, np.float64)
    n_videos = len(gt.videos)
    weights = draw_videos(n_videos, resamples, seed)
    once = np.ones((1, n_videos), np.int64)
    matchings = {name: match(gt, pred, tious) for name, pred in predictions.items()}
    return Bootstrap(
        tious,
        {name: weighted_map(gt, matching, once)[0] for name, matching in matchings.items()},
        {name: weighted_map(gt, matching, weights) for name, matching in matchings.items()},
    )


def draw_videos(n_videos: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each video is drawn in each resample, [R, V]; equal seeds give equal draws for equal numbers."""
    return np.random.default_rng(seed).multinomial(n_videos, np.full(n_videos, 1.0 / n_videos), size=resamples)


def weighted_map(gt: GroundTruth, matching: Matching, weights: NDArray[np.int64]) -> FloatArray:
    """MAP [R, T] when video v counts ``weights[r, v]`` times; NaN where no instance is drawn."""
    n_resamples, n_tious = len(weights), len(matching.tp)
    total = np.zeros((n_resamples, n_tious))
    classes = np.zeros(n_resamples)
    # A last column of ones for the videos outside the subset, which index -1 reaches.
    padded = np.concatenate((weights, np.ones((n_resamples, 1), np.int64)), axis=1).astype(np.float64)
    for c, (begin, end) in enumerate(pairwise(matching.bounds)):
        instances = weights[:, gt.video[gt.label == c]].sum(axis=1)
        classes += instances > 0
        tp, video = matching.tp[:, begin:end], matching.video[begin:end]
        step = max(1, _BLOCK_ELEMENTS // max(1, end - begin))
        for first in range(0, n_resamples, step):
            block = slice(first, first + step)
            total[block] += weighted_ap(tp, padded[block][:, video], instances[block])
    with np.errstate(invalid="ignore"):
        return total / np.where(classes > 0, classes, np.nan)[:, None]


def weighted_ap(tp: NDArray[np.bool_], weight: FloatArray, positives: NDArray[np.int64]) -> FloatArray:
    """AP [R, T] of one class; ``tp`` [T, N] in falling score, ``weight`` [R, N] copies of each, ``positives`` [R].

    Recall only rises, and precision only peaks, at true positives, so the curve is needed there alone: the precision
    after the last copy of each. One of weight 0 shows the precision before it, which is a point already there.
    """
    ap = np.zeros((len(weight), len(tp)))
    seen = np.cumsum(weight, axis=1)
    share = 1.0 / np.maximum(positives, 1)[:, None]
    for t, flags in enumerate(tp):
        hits = np.flatnonzero(flags)
        if not len(hits):
            continue
        copies = weight[:, hits]
        precision = np.cumsum(copies, axis=1) / np.maximum(seen[:, hits], 1.0)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        ap[:, t] = (copies * share * envelope).sum(axis=1)
    return ap


def percentile_interval(value: float, samples: FloatArray, level: float = 0.95) -> Interval:
    """``value`` with the percentile bounds of its resamples [R]; those that are not finite are left out."""
    kept = samples[np.isfinite(samples)]
    if not len(kept):
        return Interval(float(value), float("nan"), float("nan"))
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(kept, [tail, 1.0 - tail])
    return Interval(float(value), float(low), float(high))
