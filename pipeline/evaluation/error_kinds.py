"""Why predictions are wrong, and what fixing each kind of error would give.

After DETAD (Alwassel, Caba Heilbron, Escorcia, Ghanem, "Diagnosing Error in Temporal Action Detectors", ECCV 2018,
section 4). At a threshold a, a prediction that the official rule counts as false is put down to the true instance *of any
class* in its video that it overlaps most:

================  ==================  ===============================
kind              largest tIoU        class of that instance
================  ==================  ===============================
double detection  at least a          the prediction's (it is taken)
wrong label       at least a          another
localisation      from 0.1 to a       the prediction's
confusion         from 0.1 to a       another
background        below 0.1           any, or the video has none
================  ==================  ===============================

A *false negative* is an instance that no prediction takes at a.

The gain of a kind is the average mAP after it is fixed at every threshold, less the average mAP as it is. A kind of false
positive is fixed by removing its predictions (DETAD, "Removing Error Impact"); matching is untouched, as they had taken
nothing. False negatives, for which DETAD has no such figure, are fixed by taking the missed instances out of the truth
(TIDE, Bolya et al., ECCV 2020, section 2.3); a class that loses all its instances leaves the mean. Gains are not additive.
mAP here is the plain one, not DETAD's with precision normalised over class sizes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.activitynet import TIOUS, Matching, match, segment_iou
from pipeline.evaluation.bootstrap import weighted_ap
from pipeline.evaluation.segments import FloatArray, GroundTruth, IntArray, Predictions

TRUE_POSITIVE = "true positive"
FALSE_NEGATIVE = "false negative"
KINDS = (TRUE_POSITIVE, "double detection", "wrong label", "localisation", "confusion", "background")
"""What a prediction can be, in the order of the codes."""

LEAST_TIOU = 0.1
"""Below, a prediction has nothing to do with an instance."""


@dataclass(frozen=True)
class Diagnosis:
    """Every prediction's kind, and what each kind costs.

    ``order`` [N] rows of the predictions, class by class in falling score; ``kind`` [T, N] index into ``KINDS`` per
    threshold and prediction in that order; ``group`` [N] the k (from 1) of the prediction: it is among the best kG of its
    class, which has G instances, but not among the best (k-1)G;
    ``missed`` [T] instances that nothing found; ``instances`` their number in all; ``average_mAP`` as it is; ``gain`` by
    kind of error, in average mAP (0..1).
    """

    tious: FloatArray
    order: IntArray
    kind: NDArray[np.uint8]
    group: IntArray
    missed: IntArray
    instances: int
    average_mAP: float
    gain: Mapping[str, float]

    def counts(self, t: int, groups: int | None = None) -> dict[str, int]:
        """Predictions by kind at threshold number ``t``; ``groups``: only the best of each class, this many times G."""
        chosen = self.kind[t] if groups is None else self.kind[t, self.group <= groups]
        return dict(zip(KINDS, np.bincount(chosen, minlength=len(KINDS)).tolist(), strict=True))

    def profile(self, groups: int = 10) -> FloatArray:
        """DETAD's false-positive profile [groups, K]: the share of each kind among the predictions of group k.

        The mean over the thresholds; a row is NaN where no class has as many predictions.
        """
        shares = np.full((groups, len(KINDS)), np.nan)
        for k in range(groups):
            inside = self.kind[:, self.group == k + 1]
            if inside.size:
                shares[k] = np.bincount(inside.ravel(), minlength=len(KINDS)) / inside.size
        return shares


def diagnose(
    gt: GroundTruth, pred: Predictions, tious: FloatArray = TIOUS, least_tiou: float = LEAST_TIOU
) -> Diagnosis:
    """Put every prediction down to a kind and measure the kinds' gains.

    Args:
        gt: ground truth of the subset.
        pred: predictions; those on videos outside the subset are background.
        tious: thresholds [T], each at least ``least_tiou``.
        least_tiou: overlap from which a prediction is about an instance.

    Raises:
        ValueError: a threshold below ``least_tiou``, or a prediction's label is no class of the subset.
    """
    tious = np.asarray(tious, np.float64)
    if (tious < least_tiou).any():
        raise ValueError(f"tious holds {tious.min():g}, below least_tiou = {least_tiou:g}")
    matching = match(gt, pred, tious)
    kind = _kinds(gt, pred, matching, tious, least_tiou)
    positives = np.bincount(gt.label, minlength=len(gt.labels))
    label = np.repeat(np.arange(len(gt.labels)), np.diff(matching.bounds))
    rank = np.arange(len(pred)) - matching.bounds[label]
    found = np.array([np.bincount(label[row], minlength=len(gt.labels)) for row in matching.tp])
    everything = np.ones_like(matching.tp)
    average = _average_map(matching, everything, np.tile(positives, (len(tious), 1)))
    gain = {
        name: _average_map(matching, kind != code, np.tile(positives, (len(tious), 1))) - average
        for code, name in enumerate(KINDS)
        if name != TRUE_POSITIVE
    }
    gain[FALSE_NEGATIVE] = _average_map(matching, everything, found) - average
    missed = (positives - found).sum(axis=1)
    return Diagnosis(tious, matching.order, kind, rank // positives[label] + 1, missed, len(gt), average, gain)


def _kinds(
    gt: GroundTruth, pred: Predictions, matching: Matching, tious: FloatArray, least_tiou: float
) -> NDArray[np.uint8]:
    """Kinds [T, N] in the order of the matching."""
    overlap, same = _closest(gt, pred, matching)
    near = overlap >= tious[:, None]
    wrong = np.where(same, KINDS.index("localisation"), KINDS.index("confusion"))
    wrong = np.where(overlap >= least_tiou, wrong, KINDS.index("background"))
    kind = np.where(near, np.where(same, KINDS.index("double detection"), KINDS.index("wrong label")), wrong)
    kind[matching.tp] = KINDS.index(TRUE_POSITIVE)
    return kind.astype(np.uint8)


def _closest(gt: GroundTruth, pred: Predictions, matching: Matching) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Largest tIoU [N] of each prediction with an instance of its video, and whether that has the same class [N]."""
    overlap, same = np.zeros(len(pred)), np.zeros(len(pred), np.bool_)
    label = np.repeat(np.arange(len(gt.labels)), np.diff(matching.bounds))
    start, end = pred.t_start[matching.order], pred.t_end[matching.order]
    for video in np.unique(matching.video[matching.video >= 0]):
        rows, truths = np.flatnonzero(matching.video == video), np.flatnonzero(gt.video == video)
        if not len(truths):
            continue
        tiou = segment_iou(start[rows, None], end[rows, None], gt.t_start[truths], gt.t_end[truths])
        tiou = np.nan_to_num(tiou)  # two zero lengths: a true positive by the official rule, else no overlap
        best = tiou.argmax(axis=1)
        overlap[rows] = tiou[np.arange(len(rows)), best]
        same[rows] = gt.label[truths[best]] == label[rows]
    return overlap, same


def _average_map(matching: Matching, kept: NDArray[np.bool_], positives: IntArray) -> float:
    """Average mAP over the predictions ``kept`` [T, N] with ``positives`` [T, C] instances; classes without are left out."""
    means = []
    for t in range(len(kept)):
        values = []
        for c, (begin, end) in enumerate(pairwise(matching.bounds)):
            if positives[t, c]:
                tp = matching.tp[t : t + 1, begin:end][:, kept[t, begin:end]]
                values.append(weighted_ap(tp, np.ones((1, tp.shape[1])), positives[t : t + 1, c])[0, 0])
        means.append(np.mean(values) if values else 0.0)
    return float(np.mean(means))
