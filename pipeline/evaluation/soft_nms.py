"""Temporal (soft) non-maximum suppression of scored segments."""

from typing import Literal

import numpy as np

from pipeline.evaluation.segments import FloatArray, IntArray

Method = Literal["gaussian", "linear", "hard"]


def soft_nms(
    segments: FloatArray,
    scores: FloatArray,
    method: Method = "gaussian",
    sigma: float = 0.8,
    threshold: float = 0.5,
    top_k: int | None = None,
) -> tuple[IntArray, FloatArray]:
    """Pick the segments one after the other by their decayed score (Bodla et al. 2017, in time as in BSN and G-TAD).

    Each pick lowers the score of every segment left, by its IoU with the pick: ``gaussian`` multiplies with
    exp(-IoU^2 / sigma) at any overlap (G-TAD: sigma 0.8 on ActivityNet, 0.46 on THUMOS), ``linear`` with 1 - IoU where
    IoU > threshold, ``hard`` drops the segment where IoU > threshold. Of equal scores the first in the input is picked.

    G-TAD's released loop stops with one segment left and so never returns the last one; this one returns it.

    Args:
        segments: [N, 2] start and end, any unit.
        scores: [N], not negative.
        method: how a score is lowered.
        sigma: width of the Gaussian.
        threshold: IoU of ``linear`` and ``hard``.
        top_k: stop after that many picks; None for all.

    Returns:
        Indices [K] in the order picked and their scores [K] at the time they were picked.

    Raises:
        ValueError: wrong shapes, an unknown method, or a score that is NaN, infinite or negative.
    """
    segments = np.asarray(segments, np.float64)
    left = np.array(scores, np.float64)
    if segments.ndim != 2 or segments.shape[1] != 2 or left.shape != segments.shape[:1]:
        raise ValueError(f"segments {segments.shape} and scores {left.shape}: expected [N, 2] and [N]")
    if method not in ("gaussian", "linear", "hard"):
        raise ValueError(f"method {method!r} is not one of gaussian, linear, hard")
    if not (np.isfinite(left).all() and (left >= 0).all()):
        raise ValueError("scores must be finite and not negative")
    starts, ends = segments.T.copy()
    lengths = ends - starts
    most = len(left) if top_k is None else min(top_k, len(left))
    order = np.empty(most, np.int64)
    decayed = np.empty(most, np.float64)
    for k in range(most):
        best = int(left.argmax())
        if left[best] < 0:  # `hard` has dropped all the others
            return order[:k], decayed[:k]
        order[k], decayed[k] = best, left[best]
        left[best] = -np.inf
        near = np.flatnonzero((starts < ends[best]) & (ends > starts[best]) & (left >= 0))
        inside = np.minimum(ends[near], ends[best]) - np.maximum(starts[near], starts[best])
        iou = inside / (lengths[near] + lengths[best] - inside)
        if method == "gaussian":
            left[near] *= np.exp(-np.square(iou) / sigma)
        elif method == "linear":
            left[near] *= np.where(iou > threshold, 1.0 - iou, 1.0)
        else:
            left[near[iou > threshold]] = -np.inf
    return order, decayed
