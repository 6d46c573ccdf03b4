"""Temporal action localisation by ActivityNet's official rule, vectorised, equal to the toolkit to the last digit.

The rule (``Evaluation/eval_detection.py`` of the ActivityNet toolkit; HACS uses it unchanged):

* Per class, predictions in the order of falling score take, one after the other, the ground truth of their video with
  the highest tIoU that is not yet taken, as long as that tIoU reaches the threshold; else they are false positives. A
  taken best match falls to the second best.
* AP is VOC-2011's all-point interpolation over all ground truths of the class; mAP the mean over the classes of the
  subset (a class without a prediction counts 0); average mAP the mean over the thresholds 0.5:0.05:0.95.
* Predictions on videos outside the subset are false positives. Nothing is capped, deduplicated, rounded or blocked.

What looks like an accident in the toolkit is kept, because published numbers contain it:

* Equal scores are ordered by numpy's *unstable* argsort, reversed; with many equal scores the result may therefore
  differ between kinds of CPU, as the toolkit's does.
* Where prediction and ground truth both have zero length, tIoU is 0/0 = NaN, and NaN is not below any threshold: such a
  prediction anywhere in the video is a true positive. A zero-length ground truth is missed by every other prediction.
* A segment that ends before it starts has a negative length in the union. Such rows are counted in ``warnings``.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.segments import FloatArray, GroundTruth, IntArray, Predictions

# linspace, not arange: the ninth threshold is 0.8999999999999999, and a tIoU of exactly 0.6 must not flip.
TIOUS: FloatArray = np.linspace(0.5, 0.95, 10)
TIOUS.flags.writeable = False


@dataclass(frozen=True)
class Result:
    """What one evaluation gave: ``ap`` [T, C] per threshold and class, ``mAP`` [T], ``average_mAP``, all in 0..1."""

    tious: FloatArray
    labels: tuple[str, ...]
    ap: FloatArray
    videos: int
    instances: int
    predictions: int
    warnings: tuple[str, ...] = ()

    @property
    def mAP(self) -> FloatArray:
        """Mean over classes, shape [T]."""
        mean: FloatArray = self.ap.mean(axis=1)
        return mean

    @property
    def average_mAP(self) -> float:
        """Mean of mAP over the thresholds."""
        return float(self.mAP.mean())


@dataclass(frozen=True)
class Matching:
    """The predictions in evaluation order (class by class, falling score) and which of them are true positives.

    ``order`` [N] rows of the predictions, ``bounds`` [C + 1] where each class begins in it, ``tp`` [T, N], ``video``
    [N] index into the ground truth's videos, -1 for a video outside the subset.
    """

    order: IntArray
    bounds: IntArray
    tp: NDArray[np.bool_]
    video: IntArray


def evaluate(gt: GroundTruth, pred: Predictions, tious: FloatArray = TIOUS) -> Result:
    """Score ``pred`` against ``gt`` by the official rule.

    Raises:
        ValueError: a prediction's label is no class of the subset (the toolkit dies with a KeyError); file, video and
            label are named.
    """
    tious = np.asarray(tious, np.float64)
    matching = match(gt, pred, tious)
    positives = np.bincount(gt.label, minlength=len(gt.labels))
    ap = np.zeros((len(tious), len(gt.labels)))
    for c, (begin, end) in enumerate(pairwise(matching.bounds)):
        ap[:, c] = _average_precision(matching.tp[:, begin:end], int(positives[c]))
    return Result(tious, gt.labels, ap, len(gt.videos), len(gt), len(pred), tuple(_warnings(gt, pred, matching.video)))


def match(gt: GroundTruth, pred: Predictions, tious: FloatArray = TIOUS) -> Matching:
    """Order the predictions and decide for each and each threshold whether it is a true positive.

    Raises:
        ValueError: as :func:`evaluate`.
    """
    video, label = _index_in(gt, pred)
    by_class = np.argsort(label, kind="stable")
    bounds = np.searchsorted(label[by_class], np.arange(len(gt.labels) + 1))
    order = np.empty(len(pred), np.int64)
    for begin, end in pairwise(bounds):
        rows = by_class[begin:end]
        # The toolkit's own call on the same array (float64 scores of the class in file order), because equal scores are
        # ordered by how this unstable sort happens to leave them.
        order[begin:end] = rows[pred.score[rows].argsort()[::-1]]
    tp = np.zeros((len(tious), len(pred)), np.bool_)

    # A cell is one (class, video) pair; only predictions in a cell with ground truth can be true positives.
    n_videos = max(len(gt.videos), 1)
    gt_cell = gt.label * n_videos + gt.video
    gt_by_cell = np.argsort(gt_cell, kind="stable")
    cells, gt_begin, gt_count = np.unique(gt_cell[gt_by_cell], return_index=True, return_counts=True)
    pred_cell = np.where(video[order] >= 0, label[order] * n_videos + video[order], -1)
    place = np.searchsorted(cells, pred_cell)
    inside = np.flatnonzero(cells[np.minimum(place, len(cells) - 1)] == pred_cell) if len(cells) else np.empty(0, int)
    for width in np.unique(gt_count[place[inside]]):
        # All cells with the same number of ground truths at once: the sort by tIoU is unstable too, so the rows that
        # are sorted must be exactly as long as the toolkit's.
        at = inside[gt_count[place[inside]] == width]
        at = at[np.argsort(place[at], kind="stable")]
        truth = gt_by_cell[gt_begin[place[at], None] + np.arange(width)]
        tiou = segment_iou(
            pred.t_start[order[at], None], pred.t_end[order[at], None], gt.t_start[truth], gt.t_end[truth]
        )
        tp[:, at] = _assign(tiou, place[at], tious)
    return Matching(order, bounds, tp, video[order])


def segment_iou(a_start: FloatArray, a_end: FloatArray, b_start: FloatArray, b_end: FloatArray) -> FloatArray:
    """Intersection over union of segments in the toolkit's own arithmetic (NaN where both have zero length)."""
    with np.errstate(all="ignore"):
        intersection = (np.minimum(a_end, b_end) - np.maximum(a_start, b_start)).clip(0)
        union = (b_end - b_start) + (a_end - a_start) - intersection
        ratio: FloatArray = intersection / union
    return ratio


def _assign(tiou: FloatArray, cell: IntArray, tious: FloatArray) -> NDArray[np.bool_]:
    """Greedy one-to-one assignment in many cells at once.

    ``tiou`` [N, G] of N predictions, sorted by cell and within it by falling score, with the G ground truths of their
    own cell; ``cell`` [N]. Returns the true positives [T, N].
    """
    n, width = tiou.shape
    tp = np.zeros((len(tious), n), np.bool_)
    by_tiou = np.argsort(tiou, axis=1)[:, ::-1]
    falling = np.take_along_axis(tiou, by_tiou, axis=1)
    # "not below" instead of "at least": NaN, which this order puts first, is not below any threshold.
    hopeful = np.flatnonzero(~(falling[:, 0] < tious.min(initial=np.inf)))
    _, dense = np.unique(cell[hopeful], return_inverse=True)
    rank = np.arange(len(hopeful)) - np.searchsorted(dense, dense)
    by_rank = np.argsort(rank, kind="stable")
    rounds = np.searchsorted(rank[by_rank], np.arange(int(rank.max(initial=-1)) + 2))
    taken = np.zeros((len(tious), int(dense.max(initial=-1)) + 1, width), np.bool_)
    t = np.arange(len(tious))[:, None, None]
    for begin, end in pairwise(rounds):
        # Round r: the r-th prediction of every cell, one per cell, so no two compete for the same ground truth.
        members = by_rank[begin:end]
        rows, cells = hopeful[members], dense[members]
        free = ~(falling[rows] < tious[:, None, None]) & ~taken[t, cells[:, None], by_tiou[rows]]
        found = free.any(axis=2)
        choice = by_tiou[rows, free.argmax(axis=2)]
        taken[t[:, :, 0], cells, choice] |= found
        tp[:, rows] = found
    return tp


def _average_precision(tp: NDArray[np.bool_], positives: int) -> FloatArray:
    """AP by the VOC-2011 devkit's interpolation; ``tp`` [T, N] in the order of falling score. Returns [T]."""
    n_tious, n = tp.shape
    ap = np.zeros(n_tious)
    if n == 0:
        return ap
    true = np.cumsum(tp, axis=1).astype(np.float64)
    recall = true / float(positives)
    precision = true / np.arange(1.0, n + 1.0)
    for t in range(n_tious):
        rec = np.concatenate(([0.0], recall[t], [1.0]))
        prec = np.concatenate(([0.0], precision[t], [0.0]))
        prec = np.maximum.accumulate(prec[::-1])[::-1]
        step = np.flatnonzero(rec[1:] != rec[:-1]) + 1
        # Summed over the same terms in the same order as the toolkit, the closing zero included: numpy sums pairwise.
        ap[t] = np.sum((rec[step] - rec[step - 1]) * prec[step])
    return ap


def _index_in(gt: GroundTruth, pred: Predictions) -> tuple[IntArray, IntArray]:
    """Each prediction's index into the ground truth's videos (-1: outside the subset) and labels."""
    label_index = {label: i for i, label in enumerate(gt.labels)}
    for i in np.unique(pred.label):
        label = pred.labels[i]
        if label not in label_index:
            row = int(np.flatnonzero(pred.label == i)[0])
            raise ValueError(
                f"{pred.source}: video {pred.videos[pred.video[row]]!r} has a prediction with label {label!r}, which "
                f"is no class of the ground truth {gt.source} ({len(gt.labels)} classes: {_some(gt.labels)}); the "
                "official rule refuses unknown labels"
            )
    video_index = {id_: i for i, id_ in enumerate(gt.videos)}
    to_video = np.array([video_index.get(id_, -1) for id_ in pred.videos], np.int64)
    to_label = np.array([label_index.get(label, -1) for label in pred.labels], np.int64)
    return to_video[pred.video], to_label[pred.label]


def _warnings(gt: GroundTruth, pred: Predictions, video: IntArray) -> list[str]:
    """What a reader of the number should know, in words."""
    counts = (
        (int((video < 0).sum()), "predictions on videos outside the subset, counted as false positives"),
        (len(set(gt.videos) - set(pred.videos)), "videos of the subset are not in the predictions"),
        (int((gt.t_end == gt.t_start).sum()), "ground truth instances of zero length, which no other length can match"),
        (int((pred.t_end == pred.t_start).sum()), "predictions of zero length"),
        (int((gt.t_end < gt.t_start).sum()), "ground truth instances end before they start"),
        (int((pred.t_end < pred.t_start).sum()), "predictions end before they start"),
    )
    return [f"{count} {words}" for count, words in counts if count]


def _some(names: tuple[str, ...], most: int = 8) -> str:
    return ", ".join(map(repr, names[:most])) + (", ..." if len(names) > most else "")
