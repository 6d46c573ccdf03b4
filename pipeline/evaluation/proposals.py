"""Average recall against the average number of proposals (AR@AN) by ActivityNet's official rule, vectorised.

The rule (``Evaluation/eval_proposal.py`` of the ActivityNet toolkit): every video gives the same *share* of its proposals,
best score first, such that 1, 2, ... 100 % of ``most`` proposals a video are given on average; recall counts the
instances that any given proposal overlaps by at least the threshold, over all instances. Labels are not looked at.

Kept, because published numbers contain it: numbers of proposals are truncated to whole ones; equal scores are ordered by
numpy's unstable argsort, reversed; proposals on videos without an instance count in the share but in nothing else.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.activitynet import TIOUS, segment_iou
from pipeline.evaluation.segments import FloatArray, GroundTruth, Predictions

POINTS = 100
"""Points of the curve: percent of the proposals."""


@dataclass(frozen=True)
class AverageRecall:
    """The AR-AN curve: ``recall`` [T, 100] per threshold, ``per_video`` [100] average number of proposals a video."""

    tious: FloatArray
    recall: FloatArray
    per_video: FloatArray
    videos: int
    instances: int
    proposals: int

    @property
    def average(self) -> FloatArray:
        """Recall averaged over the thresholds, [100]."""
        mean: FloatArray = self.recall.mean(axis=0)
        return mean

    def at(self, number: int) -> float:
        """AR at the point of the curve that papers call AR@number: ``number`` percent of the way (of 100 proposals).

        Raises:
            ValueError: not 1 to 100.
        """
        if not 1 <= number <= POINTS:
            raise ValueError(f"AR@{number} is not on the curve, which has points 1 to {POINTS}")
        return float(self.average[number - 1])

    @property
    def auc(self) -> float:
        """Area under the curve over the number of proposals, in percent as the toolkit prints it.

        The curve begins at its first point, not at zero, so that even perfect recall is below 100.
        """
        return float(100.0 * float(np.trapezoid(self.average, self.per_video)) / self.per_video[-1])


def average_recall(
    gt: GroundTruth, proposals: Predictions, most: float | None = 100, tious: FloatArray = TIOUS
) -> AverageRecall:
    """Recall of class-agnostic proposals.

    Args:
        gt: ground truth; videos without an instance are not looked at.
        proposals: scored segments; the label is ignored.
        most: average number of proposals a video at the end of the curve; None: as many as there are.
        tious: thresholds [T].

    Raises:
        ValueError: there is no proposal on a video with an instance.
    """
    tious = np.asarray(tious, np.float64)
    ids = list(dict.fromkeys(gt.videos[v] for v in gt.video))
    if not len(proposals):
        raise ValueError(f"{proposals.source}: no proposals")
    limit = float(most) if most else float(len(proposals)) / len(ids)
    ratio = limit * float(len(ids)) / len(proposals)
    by_video = _rows_of(proposals.videos, proposals.video)
    truths = _rows_of(gt.videos, gt.video)
    first, widths, total = [], [], 0
    for id_ in ids:
        rows = by_video.get(id_, np.empty(0, np.int64))
        rows = rows[proposals.score[rows].argsort()[::-1]]
        rows = rows[: min(int(len(rows) * ratio), len(rows))]
        total += len(rows)
        truth = truths[id_]
        tiou = segment_iou(
            proposals.t_start[rows], proposals.t_end[rows], gt.t_start[truth, None], gt.t_end[truth, None]
        )
        hit = tiou >= tious[:, None, None]
        # The number of proposals [T, G] that must be given until the instance is found.
        first.append(np.where(hit.any(axis=2), hit.argmax(axis=2) + 1, np.iinfo(np.int64).max) if len(rows) else None)
        widths.append(len(rows))
    if not total:
        raise ValueError(f"{proposals.source}: no proposal is on a video that has an instance in {gt.source}")
    shares = np.arange(1, POINTS + 1) / 100.0 * (limit * float(len(ids)) / total)
    found = np.zeros((len(tious), POINTS), np.int64)
    for needed, width in zip(first, widths, strict=True):
        if needed is not None:
            given = np.minimum((width * shares).astype(np.int64), width)
            found += (needed[:, :, None] <= given).sum(axis=1)
    return AverageRecall(
        tious, found / float(len(gt)), shares * (float(total) / len(ids)), len(ids), len(gt), len(proposals)
    )


def _rows_of(names: tuple[str, ...], of: np.ndarray) -> dict[str, np.ndarray]:
    """Rows by video id, in file order."""
    order = np.argsort(of, kind="stable")
    ids, begins = np.unique(of[order], return_index=True)
    return {names[i]: rows for i, rows in zip(ids, np.split(order, begins[1:]), strict=True)}
