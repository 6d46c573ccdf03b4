"""Per-frame mAP of multi-label detection, as on MultiTHUMOS and in Coarse-Fine's ablations on Charades.

Scores [T, C] of a video are T equally spaced rows, row i at the time i * duration / T; a class is on strictly inside its
segments. AP over all rows of all videos, mean over the classes, one without positives counting 0 (the APMeter of the
published code). The number moves with the step between rows, so a result states it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.formats.common import AnnotatedVideo, class_index
from pipeline.datasets.frame_labels import FrameLabels, frame_labels
from pipeline.evaluation.multilabel import MultiLabel, multilabel


@dataclass(frozen=True)
class FrameScores:
    """The result, the median step between rows in seconds, and the videos that had no scores (they count nowhere)."""

    result: MultiLabel
    step_s: float
    missing: tuple[str, ...]


def frame_truth(video: AnnotatedVideo, classes: Sequence[str], rows: int) -> FrameLabels:
    """Labels of ``rows`` equally spaced rows.

    Raises:
        ValueError: the duration is not known, or a label is no class.
    """
    if not video.duration_s:
        raise ValueError(f"video {video.id!r}: its duration is not known")
    times = np.arange(rows) * (video.duration_s / max(rows, 1))
    return frame_labels(video.segments, class_index(classes), times, ends="open")


def score_frames(
    videos: Sequence[AnnotatedVideo], classes: Sequence[str], scores: Mapping[str, NDArray[np.floating]]
) -> FrameScores:
    """Score arrays [T_v, C] by video id against the truth at their own rows.

    Raises:
        ValueError: no video has scores, or an array has not one column per class.
    """
    given = [video for video in videos if video.id in scores]
    if not given:
        raise ValueError(f"none of the {len(videos)} videos has scores")
    for video in given:
        if scores[video.id].ndim != 2 or scores[video.id].shape[1] != len(classes):
            raise ValueError(f"video {video.id!r}: scores {scores[video.id].shape}, expected [T, {len(classes)}]")
    truth = [frame_truth(video, classes, len(scores[video.id])) for video in given]
    steps = [float(video.duration_s or 0.0) / max(len(scores[video.id]), 1) for video in given]
    missing = tuple(video.id for video in videos if video.id not in scores)
    return FrameScores(multilabel([scores[v.id] for v in given], truth), float(np.median(steps)), missing)
