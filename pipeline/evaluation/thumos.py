"""THUMOS14 by the rule of its challenge (``TH14evaldet.m`` and ``TH14eventdetpr.m``), which few papers since 2018 use.

Unlike ActivityNet's rule, the *instances* choose: in file order, each takes the free detection of its class and video that
overlaps it most, if by more than the threshold. A detection that no instance took and that touches an ambiguous span of
the video counts nowhere; the other ones are false. AP is the mean of the best precision at 11 recalls, 0:0.1:1, and of
equal scores the right ones come first. Published at tIoU 0.1:0.1:0.5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.activitynet import segment_iou
from pipeline.evaluation.segments import FloatArray, GroundTruth, Predictions

BoolArray = NDArray[np.bool_]
Spans = Sequence[tuple[float, float]]


def matlab_range(first: float, step: float, last: float) -> FloatArray:
    """``first:step:last`` as MATLAB computes it, from both ends: recalls and thresholds are compared with its last bit."""
    count = round((last - first) / step)
    place = np.arange(count + 1)
    values: FloatArray = np.where(place <= count // 2, first + place * step, last - (count - place) * step)
    return values


RECALLS = matlab_range(0.0, 0.1, 1.0)
CHALLENGE_TIOUS = matlab_range(0.1, 0.1, 0.5)


@dataclass(frozen=True)
class ChallengeResult:
    """``ap`` [T, C] per threshold and class of the truth; detections of other classes were ignored, those counted."""

    tious: FloatArray
    labels: tuple[str, ...]
    ap: FloatArray
    ignored: int

    @property
    def mAP(self) -> FloatArray:
        """Mean over the classes, [T]."""
        mean: FloatArray = self.ap.mean(axis=1)
        return mean


def challenge(
    gt: GroundTruth, pred: Predictions, ambiguous: Mapping[str, Spans], tious: FloatArray = CHALLENGE_TIOUS
) -> ChallengeResult:
    """Score detections.

    Args:
        gt: the instances; every class has one.
        pred: detections, on any video.
        ambiguous: spans (start, end) in seconds by video, in which a wrong detection is not held against anyone.
        tious: thresholds [T]; a detection must overlap by more.
    """
    tious = np.asarray(tious, np.float64)
    ap = np.zeros((len(tious), len(gt.labels)))
    for c, label in enumerate(gt.labels):
        mine = np.flatnonzero(pred.label == (pred.labels.index(label) if label in pred.labels else -1))
        truth = np.flatnonzero(gt.label == c)
        tp = np.zeros((len(tious), len(mine)), bool)
        excused = np.zeros(len(mine), bool)
        mine = mine[np.argsort(-pred.score[mine], kind="stable")]
        for video in np.unique(pred.video[mine]):
            at = np.flatnonzero(pred.video[mine] == video)
            id_ = pred.videos[video]
            rows = truth[gt.video[truth] == gt.videos.index(id_)] if id_ in gt.videos else truth[:0]
            spans = pred.t_start[mine[at]], pred.t_end[mine[at]]
            overlap = _overlap(*spans, gt.t_start[rows], gt.t_end[rows])
            for t, tiou in enumerate(tious):
                tp[t, at] = _taken(overlap, float(tiou))
            if ambiguous.get(id_):
                start, end = np.array(ambiguous[id_], np.float64).T
                excused[at] = _overlap(*spans, start, end).sum(axis=0) > 0
        for t in range(len(tious)):
            kept = tp[t] | ~excused
            ap[t, c] = _average_precision(pred.score[mine][kept], tp[t][kept], len(truth))
    known = set(gt.labels)
    return ChallengeResult(tious, gt.labels, ap, sum(pred.labels[i] not in known for i in pred.label))


def _overlap(a_start: FloatArray, a_end: FloatArray, b_start: FloatArray, b_end: FloatArray) -> FloatArray:
    """IoU [B, A]; 0 where the two do not overlap."""
    return np.nan_to_num(segment_iou(a_start, a_end, b_start[:, None], b_end[:, None]))


def _taken(overlap: FloatArray, tiou: float) -> BoolArray:
    """Which detections [A] an instance takes; ``overlap`` [B, A], detections in falling score."""
    taken = np.zeros(overlap.shape[1], bool)
    for row in overlap:
        best = int(np.argmax(np.where(taken, -1.0, row)))
        if not taken[best] and row[best] > tiou:
            taken[best] = True
    return taken


def _average_precision(score: FloatArray, tp: BoolArray, positives: int) -> float:
    if not tp.any():
        return 0.0
    right = tp[np.lexsort((~tp, -score))]
    true = np.cumsum(right)
    recall, precision = true / positives, true / np.arange(1, len(right) + 1)
    ap = 0.0
    for level in RECALLS:
        reached = precision[recall >= level]
        ap += (float(reached.max()) if len(reached) else 0.0) / len(RECALLS)
    return ap
