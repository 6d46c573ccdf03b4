"""Charades' two official protocols, ``Charades_v1_localize`` and ``Charades_v1_classify``, as functions of arrays.

Localise: 25 instants a video, t_j = (j - 1) / 25 of its length; a class is on from the start to the end of its segment,
both included. Classify: a video's labels are the union of its segments. Both: AP without interpolation, ``mAP`` the
plain mean over 157 classes and ``wAP`` weighted by positives (the script computes both and returns the first; "the
script scales AP with class weights", as the Coarse-Fine paper has it, is true of wAP only, so both are always named).

A row without scores ranks last (-inf) and is counted. In ``classify`` the official script skips a video without actions
while it reads the submission, so that its scores never hurt: its rows are -inf here too.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.formats.common import AnnotatedVideo, class_index
from pipeline.datasets.formats.dense import CHARADES_CLASSES
from pipeline.datasets.frame_labels import FrameLabels, frame_labels
from pipeline.evaluation.multilabel import MultiLabel, multilabel
from pipeline.evaluation.segments import FloatArray

INSTANTS = 25
Scores = NDArray[np.floating]
_INDEX = class_index(CHARADES_CLASSES)


def localize_times(length_s: float) -> FloatArray:
    """The 25 instants of one video in seconds."""
    times: FloatArray = np.arange(INSTANTS) / INSTANTS * length_s  # in this order: an action may end on the last bit
    return times


def localize_truth(video: AnnotatedVideo, index: Mapping[str, int] = _INDEX) -> FrameLabels:
    """Labels at the 25 instants, of Charades' classes or those of another set.

    Raises:
        ValueError: the video's length is not known, or a label is no class.
    """
    if video.duration_s is None:
        raise ValueError(f"video {video.id!r}: its length is not known")
    return frame_labels(video.segments, index, localize_times(video.duration_s), ends="closed")


def localize(
    videos: Sequence[AnnotatedVideo], scores: Mapping[str, Scores], index: Mapping[str, int] = _INDEX
) -> MultiLabel:
    """Score [25, 157] per video, -inf in rows that are missing; a video without any scores has all rows missing."""
    missing = np.full((INSTANTS, len(index)), -np.inf)
    return multilabel([scores.get(v.id, missing) for v in videos], [localize_truth(v, index) for v in videos])


def classify(videos: Sequence[AnnotatedVideo], scores: Mapping[str, Scores]) -> MultiLabel:
    """Score [157] per video."""
    missing = np.full(len(_INDEX), -np.inf)
    rows = [scores.get(v.id, missing) if v.segments else missing for v in videos]
    always = np.zeros(1)
    truth = [
        frame_labels([type(s)(s.label, 0.0, 1.0) for s in v.segments], _INDEX, always, ends="closed") for v in videos
    ]
    return multilabel([row[None] for row in rows], truth)


def at_instants(scores: Scores, duration_s: float) -> FloatArray:
    """Scores [25, C] at the instants from scores [T, C] of T equal cells of the video, linear between cell centres."""
    return at_times(scores, duration_s, localize_times(duration_s))


def at_times(scores: Scores, duration_s: float, times: FloatArray) -> FloatArray:
    """The same at any ``times`` [R] in seconds: scores [R, C]; before the first and behind the last centre they stand."""
    scores = np.asarray(scores, np.float64)
    place = np.clip(times / duration_s * len(scores) - 0.5, 0, len(scores) - 1)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, len(scores) - 1)
    share = (place - low)[:, None]
    mixed: FloatArray = scores[low] * (1 - share) + scores[high] * share
    return mixed
