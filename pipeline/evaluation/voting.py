"""Segment voting: every segment that non-maximum suppression kept is moved to a weighted mean of its neighbours.

The rule of box voting (Gidaris and Komodakis 2015) in time, as ActionFormer and OpenTAD have it. They differ in the
weight, score x IoU in ActionFormer and the score alone in OpenTAD; scores of the kept segments do not change.
"""

from typing import Literal

import numpy as np

from pipeline.evaluation.segments import FloatArray

Weight = Literal["score_iou", "score"]


def vote_segments(
    kept: FloatArray, segments: FloatArray, scores: FloatArray, threshold: float, weight: Weight = "score_iou"
) -> FloatArray:
    """Refined segments [K, 2].

    Args:
        kept: [K, 2] start and end of the segments that survived.
        segments: [N, 2] all segments before suppression.
        scores: [N] their scores before suppression, not negative.
        threshold: neighbours overlap by at least this IoU.
        weight: ``score_iou`` (ActionFormer) or ``score`` (OpenTAD).

    A segment without a neighbour of positive weight stays where it is (the reference gives NaN).

    Raises:
        ValueError: wrong shapes or an unknown weight.
    """
    kept, segments = np.asarray(kept, np.float64), np.asarray(segments, np.float64)
    scores = np.asarray(scores, np.float64)
    if kept.ndim != 2 or kept.shape[1] != 2 or segments.shape != (len(scores), 2):
        raise ValueError(f"kept {kept.shape}, segments {segments.shape}, scores {scores.shape}: [K, 2], [N, 2], [N]")
    if weight not in ("score_iou", "score"):
        raise ValueError(f"weight {weight!r} is not one of score_iou, score")
    inside = np.minimum(kept[:, None, 1], segments[:, 1]) - np.maximum(kept[:, None, 0], segments[:, 0])
    inside = inside.clip(0)
    union = (kept[:, 1] - kept[:, 0])[:, None] + (segments[:, 1] - segments[:, 0]) - inside
    iou = np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)
    weights = np.where(iou >= threshold, scores * (iou if weight == "score_iou" else 1.0), 0.0)
    total = weights.sum(axis=1, keepdims=True)
    voted: FloatArray = np.where(total > 0, weights @ segments / np.where(total > 0, total, 1.0), kept)
    return voted
