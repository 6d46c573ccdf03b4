"""Recognition of trimmed clips: top-1 accuracy with bootstrap intervals over videos, and what chance would give."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.bootstrap import Interval, draw_videos, percentile_interval
from pipeline.evaluation.multilabel import average_precision


class Chance(NamedTuple):
    """Accuracy without looking: any class alike, and always the class that training has most of."""

    uniform: float
    majority: float

    @property
    def higher(self) -> float:
        """The one to beat."""
        return max(self.uniform, self.majority)


class Accuracies(NamedTuple):
    """Top-1 accuracy by name on the clips, and on the resamples [R] of their videos, the same for all names."""

    point: Mapping[str, float]
    samples: Mapping[str, NDArray[np.float64]]

    def interval(self, name: str, level: float = 0.95) -> Interval:
        """Accuracy with its interval."""
        return percentile_interval(self.point[name], self.samples[name], level)

    def difference(self, name: str, minus: str, level: float = 0.95) -> Interval:
        """Accuracy of ``name`` less that of ``minus``, paired: both on the same drawn videos."""
        samples = self.samples[name] - self.samples[minus]
        return percentile_interval(self.point[name] - self.point[minus], samples, level)


def top1(
    scores: Mapping[str, np.ndarray], labels: np.ndarray, video: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> Accuracies:
    """Accuracy of several score sets on the same clips.

    Whole videos are drawn, not clips: those of one video share people and place. A video drawn twice counts twice.

    Args:
        scores: [N, classes] by name; the highest counts, the first of equals.
        labels: class numbers [N].
        video: number of the video that each clip is of, 0..V-1, [N].
        resamples: R.
        seed: of the draws.

    Raises:
        ValueError: no clip, or scores of another length.
    """
    if not len(labels) or any(len(one) != len(labels) for one in scores.values()):
        raise ValueError(f"{len(labels)} labels for scores of {[len(one) for one in scores.values()]} clips")
    n_videos = int(video.max()) + 1
    weights = draw_videos(n_videos, resamples, seed)
    clips = np.bincount(video, minlength=n_videos)
    point, samples = {}, {}
    for name, one in scores.items():
        right = one.argmax(axis=1) == labels
        point[name] = float(right.mean())
        hits = np.bincount(video, weights=right, minlength=n_videos)
        samples[name] = (weights @ hits) / np.maximum(weights @ clips, 1)
    return Accuracies(point, samples)


def chance(training: np.ndarray, testing: np.ndarray, classes: int) -> Chance:
    """What guessing gives on clips of classes ``testing`` [N] when the clips of classes ``training`` [M] were seen."""
    most = int(np.bincount(training, minlength=classes).argmax())
    return Chance(1.0 / classes, float((testing == most).mean()))


def multi_label_map(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean and weighted average precision of videos with several labels, as Charades' classification script has it.

    The AP of a class is the mean precision at its videos, in the order of falling scores; mAP is the mean over the classes
    that occur, wAP weighs each by how often it does. Videos without any label are left out.

    Args:
        scores: [V, C].
        labels: 0/1 [V, C].

    Raises:
        ValueError: shapes differ, or there is no label.
    """
    if scores.shape != labels.shape or not labels.any():
        raise ValueError(f"scores {scores.shape} for labels {labels.shape} with {int(labels.sum())} ones")
    kept = labels.any(axis=1)
    positives = labels[kept].astype(bool)
    count = positives.sum(axis=0)
    ap = np.array([average_precision(scores[kept, c], positives[:, c]) for c in np.flatnonzero(count)])
    return float(ap.mean()), float((ap * count[count > 0]).sum() / count.sum())
