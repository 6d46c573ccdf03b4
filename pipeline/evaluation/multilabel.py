"""Average precision of multi-label scores, not interpolated: the rule of Charades, MultiTHUMOS and frame-wise mAP.

AP of a class = the mean, over its positives, of the precision at the positive's rank. The published scripts differ in
two corners, which every result of this folder names: a class without positives (NaN in Charades' MATLAB scripts, 0 in
the APMeter that dense-detection code uses), and equal scores (kept in the order of the rows here, as MATLAB's sort does).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.frame_labels import FrameLabels
from pipeline.evaluation.segments import FloatArray, IntArray


@dataclass(frozen=True)
class MultiLabel:
    """Average precision of every class: ``ap`` [C], NaN for a class without positives, and ``positives`` [C]."""

    ap: FloatArray
    positives: IntArray
    rows: int

    @property
    def mAP(self) -> float:
        """Plain mean over the classes; NaN if any has no positive, as in the official Charades scripts."""
        return float(np.mean(self.ap))

    @property
    def mAP_empty_zero(self) -> float:
        """Mean over all classes, a class without positives counting 0 (APMeter)."""
        return float(np.mean(np.nan_to_num(self.ap, nan=0.0)))

    @property
    def mAP_present(self) -> float:
        """Mean over the classes that have positives (scikit-learn-based ports); NaN without any."""
        present = self.ap[self.positives > 0]
        return float(np.mean(present)) if len(present) else float("nan")

    @property
    def wAP(self) -> float:
        """Mean weighted by positives: Charades' second figure (there NaN if a class has none; here such are left out)."""
        present = self.positives > 0
        if not present.any():
            return float("nan")
        return float((self.ap[present] * self.positives[present]).sum() / self.positives.sum())


def average_precision(scores: FloatArray, positive: NDArray[np.bool_]) -> float:
    """AP of one class; ``scores`` [N], ``positive`` [N]; NaN without a positive.

    Raises:
        ValueError: a score is NaN.
    """
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    total = int(positive.sum())
    if not total:
        return float("nan")
    ranks = np.flatnonzero(positive[np.argsort(-scores, kind="stable")]) + 1
    # Summed one after the other, as the scripts do, for the last digit.
    return float(np.cumsum(np.arange(1, total + 1) / ranks)[-1] / total)


def multilabel(scores: Sequence[NDArray[np.floating]], labels: Sequence[FrameLabels]) -> MultiLabel:
    """Average precision over all rows of all videos together.

    Args:
        scores: [T_v, C] of each video; -inf ranks last.
        labels: the truth of the same rows.

    Raises:
        ValueError: shapes do not agree, or a score is NaN.
    """
    for number, (score, label) in enumerate(zip(scores, labels, strict=True)):
        if score.shape != (len(label), label.n_classes):
            raise ValueError(f"video {number}: scores {score.shape}, labels [{len(label)}, {label.n_classes}]")
        if np.isnan(score).any():
            raise ValueError(f"video {number}: a score is NaN")
    if not labels:
        raise ValueError("no videos")
    offsets = np.concatenate([[0], np.cumsum([len(label) for label in labels])])
    classes = np.concatenate([label.classes for label in labels])
    on = np.concatenate([start + label.rows() for start, label in zip(offsets, labels, strict=False)])
    positives = np.bincount(classes, minlength=labels[0].n_classes)
    on_by_class = np.split(on[np.argsort(classes, kind="stable")], np.cumsum(positives)[:-1])
    ap = np.full(labels[0].n_classes, np.nan)
    for c in np.flatnonzero(positives):
        # One class at a time: the whole table need not be joined.
        truth = np.zeros(offsets[-1], bool)
        truth[on_by_class[c]] = True
        ap[c] = average_precision(np.concatenate([score[:, c] for score in scores]), truth)
    return MultiLabel(ap, positives, int(offsets[-1]))
