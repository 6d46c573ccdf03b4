"""Recognition of trimmed clips: scores averaged over the views of a video, top-k accuracy, mean over official splits.

The published protocols (Kinetics: 30 or 10 views, Something-Something v2, UCF101 and HMDB51: mean of three splits) differ
in the views, which :mod:`pipeline.datasets.views` plans, and in how views are combined.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.segments import FloatArray, IntArray

Combine = Literal["softmax_mean", "mean", "max"]
"""``softmax_mean``: PySlowFast and X3D; ``mean`` of raw scores: TSN; ``max``: multi-label sets such as Charades."""


@dataclass(frozen=True)
class Recognition:
    """Top-1 and top-5 in percent, and the mean over the classes that occur of their top-1."""

    top1: float
    top5: float
    mean_class: float
    videos: int


def combine_views(scores: NDArray[np.floating], combine: Combine = "softmax_mean") -> FloatArray:
    """One score per class [..., C] from the views' raw scores [..., V, C].

    Raises:
        ValueError: no view, or an unknown way.
    """
    table = np.asarray(scores, np.float64)
    if table.ndim < 2 or not table.shape[-2]:
        raise ValueError(f"scores {table.shape}: expected [..., views, classes] with at least one view")
    if combine == "max":
        best: FloatArray = table.max(axis=-2)
        return best
    if combine == "softmax_mean":
        table = np.exp(table - table.max(axis=-1, keepdims=True))
        table /= table.sum(axis=-1, keepdims=True)
    elif combine != "mean":
        raise ValueError(f"combine is {combine!r}, not one of softmax_mean, mean, max")
    mean: FloatArray = table.mean(axis=-2)
    return mean


def recognition(scores: NDArray[np.floating], labels: IntArray) -> Recognition:
    """Accuracies of scores [N, C] against ``labels`` [N]; of equal scores the lower class number comes first.

    Raises:
        ValueError: shapes do not agree, no video, a label that is no column, or a score that is not finite.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels, np.int64)
    if scores.ndim != 2 or labels.shape != scores.shape[:1] or not len(labels):
        raise ValueError(f"scores {scores.shape} and labels {labels.shape}: expected [N, C] and [N] with N > 0")
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise ValueError(f"a label is not one of the {scores.shape[1]} classes")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not finite")
    own = scores[np.arange(len(labels)), labels][:, None]
    before = (scores > own).sum(axis=1) + ((scores == own) & (np.arange(scores.shape[1]) < labels[:, None])).sum(axis=1)
    hit = before == 0
    present = np.unique(labels)
    by_class = np.bincount(labels, hit)[present] / np.bincount(labels)[present]
    return Recognition(
        float(hit.mean() * 100), float((before < 5).mean() * 100), float(by_class.mean() * 100), len(labels)
    )


def mean_over_splits(results: Sequence[Recognition]) -> Recognition:
    """The plain mean over the official splits, as published for UCF101 and HMDB51; videos are summed.

    Raises:
        ValueError: no split.
    """
    if not results:
        raise ValueError("no splits")
    return Recognition(
        float(np.mean([r.top1 for r in results])),
        float(np.mean([r.top5 for r in results])),
        float(np.mean([r.mean_class for r in results])),
        sum(r.videos for r in results),
    )
