"""Precision-recall curves by the official ActivityNet rule: what lies behind an AP."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.evaluation.activitynet import TIOUS, match
from pipeline.evaluation.segments import FloatArray, GroundTruth, Predictions

RECALLS: FloatArray = np.linspace(0.0, 1.0, 101)
RECALLS.flags.writeable = False


@dataclass(frozen=True)
class PrecisionRecall:
    """Interpolated precision [T, C, R] at ``recalls`` [R]: the best precision at that recall or a higher one, else 0.

    VOC-2011's interpolation, whose area is the AP (up to the spacing of ``recalls``).
    """

    tious: FloatArray
    labels: tuple[str, ...]
    recalls: FloatArray
    precision: FloatArray

    def mean(self, t: int) -> FloatArray:
        """Mean over the classes at threshold number ``t``, shape [R]."""
        mean: FloatArray = self.precision[t].mean(axis=0)
        return mean


def precision_recall(
    gt: GroundTruth, pred: Predictions, tious: FloatArray = TIOUS, recalls: FloatArray = RECALLS
) -> PrecisionRecall:
    """The curves of every class at every threshold.

    Raises:
        ValueError: a prediction's label is no class of the subset.
    """
    tious, recalls = np.asarray(tious, np.float64), np.asarray(recalls, np.float64)
    matching = match(gt, pred, tious)
    positives = np.bincount(gt.label, minlength=len(gt.labels))
    precision = np.zeros((len(tious), len(gt.labels), len(recalls)))
    for c, (begin, end) in enumerate(pairwise(matching.bounds)):
        hits = np.cumsum(matching.tp[:, begin:end], axis=1)
        share = hits / np.arange(1.0, end - begin + 1)
        envelope = np.maximum.accumulate(share[:, ::-1], axis=1)[:, ::-1]
        for t in range(len(tious)):
            # The first prediction at which the recall is reached; a rounding error must not ask for one hit more.
            at = np.searchsorted(hits[t], recalls * positives[c] - 1e-9)
            reached = at < end - begin
            precision[t, c, reached] = envelope[t, at[reached]]
    return PrecisionRecall(tious, gt.labels, recalls, precision)
