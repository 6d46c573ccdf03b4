"""AVA frame mAP with intervals over videos and over trainings, and paired differences on the same videos.

Matching never leaves a picture, so it is done once and a resample gives each video a whole weight, as in
:mod:`pipeline.evaluation.bootstrap`. The figure itself is the official one; in a resample detections of equal score keep one
order, and an AP is the area under the same envelope.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pipeline.datasets.formats.ava import AvaFile
from pipeline.evaluation.ava import AvaMatches, match_ava, result_of
from pipeline.evaluation.bootstrap import draw_videos
from pipeline.evaluation.detection import Matches, average_precision
from pipeline.evaluation.frame_bootstrap import FrameMaps
from pipeline.evaluation.segments import FloatArray, IntArray


def ava_maps(
    truth: AvaFile,
    detections: Mapping[str, Iterable[AvaFile]],
    classes: Mapping[int, str],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> FrameMaps:
    """Score several models on the same key frames.

    Args:
        truth: true boxes; its videos are drawn, those without a box too.
        detections: by model, a table for each of its trainings; one is held at a time.
        classes: by id; one without a true box is left out of the mean.
        resamples: R of videos and trainings; a resample without a true box is NaN.
        seed: of the draws.

    Raises:
        ValueError: as :func:`~pipeline.evaluation.ava.ava_map`, or a model without a training.
    """
    weights = draw_videos(len(truth.videos), resamples, seed)
    point, samples = {}, {}
    for number, (name, tables) in enumerate(detections.items()):
        values, drawn = list[float](), list[FloatArray]()
        for table in tables:
            matched = match_ava(truth, table, classes)
            values.append(result_of(matched, classes).mAP)
            drawn.append(_mean_ap(matched, truth.videos, classes, weights))
        if not values:
            raise ValueError(f"{name}: no training to score")
        chosen = np.random.default_rng([seed, 1 + number]).integers(len(values), size=(len(values), resamples))
        point[name] = float(np.mean(values))
        samples[name] = np.take_along_axis(np.stack(drawn), chosen, axis=0).mean(axis=0)
    return FrameMaps(point, samples)


def _mean_ap(matched: AvaMatches, videos: Sequence[str], classes: Mapping[int, str], weights: IntArray) -> FloatArray:
    """Mean AP [R] over the classes that have a true box in the resample."""
    index = {id_: number for number, id_ in enumerate(videos)}
    video = np.array([index[id_] for id_ in matched.video], np.int64)
    true_video = np.array([index[id_] for id_ in matched.true_video], np.int64)
    aps = []
    for id_ in sorted(classes):
        rows = np.flatnonzero(matched.label == id_)
        rows = rows[np.argsort(-matched.score[rows], kind="stable")]
        truth = np.bincount(true_video[matched.true_label == id_], minlength=len(videos))
        aps.append(average_precision(Matches(matched.hit[rows], video[rows], truth), weights))
    table = np.stack(aps)
    count = np.isfinite(table).sum(axis=0)
    return np.where(count > 0, np.nansum(table, axis=0) / np.maximum(count, 1), np.nan)
