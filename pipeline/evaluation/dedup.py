"""The ``dedup`` variant of segment detection mAP: what OpenTAD and ActionFormer score instead of the official truth.

Their truth leaves out instances of no length, and of instances of one class in one video that start and end within a
millisecond of each other keeps the first. On ActivityNet's validation set this removes 24 of 7,654 instances, and a
submission that repeats the ground truth no longer reaches 100. A predicted label that the subset does not have is left
out (OpenTAD), where the official rule refuses the file.
"""

import numpy as np

from pipeline.evaluation.segments import GroundTruth, Predictions

TOLERANCE_S = 1e-3


def deduplicate(gt: GroundTruth, tolerance_s: float = TOLERANCE_S) -> tuple[GroundTruth, int]:
    """Remove instances without length, and repeated ones.

    Returns:
        The truth with the instances left, in order, and the number removed. Classes that lose all instances are gone.
    """
    kept: dict[tuple[int, int], list[tuple[float, float]]] = {}
    rows = []
    for video, label, start, end in zip(gt.video, gt.label, gt.t_start.tolist(), gt.t_end.tolist(), strict=True):
        earlier = kept.setdefault((int(video), int(label)), [])
        repeated = any(abs(start - s) <= tolerance_s and abs(end - e) <= tolerance_s for s, e in earlier)
        if end - start > 0 and not repeated:
            earlier.append((start, end))
            rows.append((gt.videos[video], gt.labels[label], start, end))
    return GroundTruth.from_rows(gt.videos, rows, gt.source), len(gt) - len(rows)


def drop_unknown_labels(gt: GroundTruth, pred: Predictions) -> tuple[Predictions, int]:
    """Leave out the predictions whose label is no class of ``gt``; returns them and the number left out."""
    known = set(gt.labels)
    return _keep(pred, np.array([label in known for label in pred.labels], bool)[pred.label])


def drop_videos(gt: GroundTruth, pred: Predictions, excluded: frozenset[str]) -> tuple[GroundTruth, Predictions]:
    """Leave out videos on both sides, as the official toolkit does with its (once downloaded) list of lost videos."""
    rows = [
        (gt.videos[video], gt.labels[label], start, end)
        for video, label, start, end in zip(gt.video, gt.label, gt.t_start.tolist(), gt.t_end.tolist(), strict=True)
        if gt.videos[video] not in excluded
    ]
    left = GroundTruth.from_rows([id_ for id_ in gt.videos if id_ not in excluded], rows, gt.source)
    return left, _keep(pred, np.array([id_ not in excluded for id_ in pred.videos], bool)[pred.video])[0]


def _keep(pred: Predictions, rows: np.ndarray) -> tuple[Predictions, int]:
    left = Predictions(
        pred.videos, pred.labels, pred.video[rows], pred.label[rows], pred.t_start[rows], pred.t_end[rows],
        pred.score[rows], pred.source,
    )  # fmt: skip
    return left, len(pred) - len(left)
