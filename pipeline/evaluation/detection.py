"""Average precision of boxes at one IoU (AP50), per class, with a bootstrap over videos.

Matching is COCO's: within a picture and a class, detections in falling score each take the free true box of the highest
IoU, if that is at least the threshold (VOC takes the best true box even when it is taken, and then counts an error; the
two differ only where boxes of a class overlap). The average precision is VOC's since 2010: the area below the monotone
envelope of precision at every recall (COCO's 101 points approximate it). Detections of equal score keep their order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.evaluation.bootstrap import Interval, draw_videos, percentile_interval, weighted_ap
from pipeline.evaluation.segments import FloatArray

IntArray = NDArray[np.int64]

_BLOCK_ELEMENTS = 4_000_000


@dataclass(frozen=True)
class BoxTable:
    """Boxes of the pictures of one video, or of several: one row each.

    ``picture`` [N] number of the picture; ``label`` [N] class index; ``box`` [N, 4] x1, y1, x2, y2; ``score`` [N] (of
    true boxes not read).
    """

    picture: IntArray
    label: IntArray
    box: FloatArray
    score: FloatArray

    @staticmethod
    def of(picture: ArrayLike, label: ArrayLike, box: ArrayLike, score: ArrayLike | None = None) -> "BoxTable":
        """From anything that numpy takes; without ``score`` all are 1.

        Raises:
            ValueError: the columns differ in length, or a box has not four numbers.
        """
        table = BoxTable(
            np.asarray(picture, np.int64),
            np.asarray(label, np.int64),
            np.asarray(box, np.float64).reshape(-1, 4),
            np.ones(np.shape(picture)) if score is None else np.asarray(score, np.float64),
        )
        if len({len(table.picture), len(table.label), len(table.box), len(table.score)}) != 1:
            raise ValueError(
                f"columns of {len(table.picture)} pictures, {len(table.label)} labels, {len(table.box)} boxes and "
                f"{len(table.score)} scores; they must have equal length"
            )
        return table


@dataclass(frozen=True)
class Matches:
    """What became of the detections of one class, in falling score, and where its true boxes are.

    ``tp`` [N] took a true box; ``video`` [N] of the detection; ``truth`` [V] true boxes of each video.
    """

    tp: NDArray[np.bool_]
    video: IntArray
    truth: IntArray


def box_iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """Intersection over union of boxes ``a`` [N, 4] and ``b`` [M, 4]: [N, M]; of two empty boxes 0."""
    a, b = np.asarray(a, np.float64)[:, None], np.asarray(b, np.float64)[None]
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    shared = sides.prod(axis=-1)
    areas = [np.clip(x[..., 2:] - x[..., :2], 0, None).prod(axis=-1) for x in (a, b)]
    union = areas[0] + areas[1] - shared
    iou: FloatArray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou


def match(truth: Sequence[BoxTable], found: Sequence[BoxTable], label: int, iou: float = 0.5) -> Matches:
    """Match the boxes of class ``label``; one table per video on both sides, pictures numbered within the video."""
    tps, scores, videos = [], [], []
    for number, (true, given) in enumerate(zip(truth, found, strict=True)):
        tp, score = _match_video(true, given, label, iou)
        tps.append(tp)
        scores.append(score)
        videos.append(np.full(len(tp), number))
    order = np.argsort(-np.concatenate([*scores, np.zeros(0)]), kind="stable")
    return Matches(
        np.concatenate([*tps, np.zeros(0, bool)])[order],
        np.concatenate([*videos, np.zeros(0, np.int64)])[order],
        np.array([int((true.label == label).sum()) for true in truth], np.int64),
    )


def _match_video(true: BoxTable, given: BoxTable, label: int, iou: float) -> tuple[NDArray[np.bool_], FloatArray]:
    """Flags and scores [N] of the detections of a class in one video, in the order of the table."""
    rows = np.flatnonzero(given.label == label)
    tp = np.zeros(len(rows), bool)
    true_rows = np.flatnonzero(true.label == label)
    for picture in np.intersect1d(given.picture[rows], true.picture[true_rows]):
        mine = np.flatnonzero(given.picture[rows] == picture)
        overlap = box_iou(given.box[rows[mine]], true.box[true_rows[true.picture[true_rows] == picture]])
        free = np.ones(overlap.shape[1], bool)
        for i in np.argsort(-given.score[rows[mine]], kind="stable"):
            best = int(np.argmax(np.where(free, overlap[i], -1.0)))
            if free[best] and overlap[i, best] >= iou:
                tp[mine[i]], free[best] = True, False
    return tp, given.score[rows]


def average_precision(matches: Matches, weights: IntArray | None = None) -> FloatArray:
    """AP [R] when video v counts ``weights[r, v]`` times (once by default); NaN where no true box is drawn."""
    if weights is None:
        weights = np.ones((1, len(matches.truth)), np.int64)
    positives = weights @ matches.truth
    ap = np.zeros(len(weights))
    step = max(1, _BLOCK_ELEMENTS // max(1, len(matches.tp)))
    for first in range(0, len(weights), step):
        block = slice(first, first + step)
        copies = weights[block].astype(np.float64)[:, matches.video]
        ap[block] = weighted_ap(matches.tp[None], copies, positives[block])[:, 0]
    return np.where(positives > 0, ap, np.nan)


def mean_ap(
    truth: Sequence[BoxTable],
    found: Sequence[BoxTable],
    labels: Sequence[int],
    iou: float = 0.5,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Mean AP over the classes ``labels`` that have a true box, with a percentile bootstrap over the videos.

    Args:
        truth: true boxes, one table per video.
        found: detections of the same videos.
        labels: class indices; one gives that class's AP.
        iou: threshold.
        resamples: number R of resamples; 0 gives no bounds (NaN).
        seed: of the draws.

    Returns:
        NaN in all three when no class has a true box.
    """
    matchings = [match(truth, found, label, iou) for label in labels]
    point = _mean([average_precision(one) for one in matchings])
    if not len(truth) or not resamples:
        return Interval(float(point[0]) if len(truth) else float("nan"), float("nan"), float("nan"))
    weights = draw_videos(len(truth), resamples, seed)
    return percentile_interval(float(point[0]), _mean([average_precision(one, weights) for one in matchings]))


def _mean(values: Sequence[FloatArray]) -> FloatArray:
    """Mean [R] over classes [R] each, those without a true box in a resample left out."""
    table = np.stack(values)
    count = np.isfinite(table).sum(axis=0)
    return np.where(count > 0, np.nansum(table, axis=0) / np.maximum(count, 1), np.nan)
