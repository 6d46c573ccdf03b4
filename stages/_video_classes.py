"""Which classes the proposals of a video get: one parameter chooses among four sources, three of them of whole videos.

``proposals`` asks the classifier of segments about every proposal. The others give all proposals of a video that video's
best classes, as BMN, G-TAD and LoFi do: ``own`` from a classifier of whole videos on the same encoder, trained with the
head; ``external`` from a score file made elsewhere (CUHK's, UntrimmedNets'); ``oracle`` from the truth: no
labels can be more right, though scores that also rank the videos of a class may still score higher.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from pipeline.evaluation.segments import GroundTruth, Predictions
from pipeline.evaluation.video_scores import (
    VideoScores,
    align_videos,
    classify_proposals,
    coverage,
    load_video_scores,
    oracle_video_scores,
    own_video_scores,
)
from pipeline.run.params import Section
from pipeline.run.stage import StageError
from stages import _video_classifier

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Classes(Section):
    """Where classes come from."""

    source: Literal["proposals", "own", "external", "oracle"] = "proposals"
    file: str | None = Field(None, description="of source external, relative to the project: JSON, CSV, NPZ or NPY")
    per_video: int = Field(2, ge=1, description="best classes of a video that its proposals get; oracle: all it has")

    @model_validator(mode="after")
    def _fits(self) -> "Classes":
        if (self.source == "external") != (self.file is not None):
            raise ValueError(f"file belongs to source external; source is {self.source!r}, file {self.file!r}")
        return self


def own_scores(folder: Path, features: Mapping[str, "Tensor"]) -> VideoScores:
    """Scores of videos by the classifier that lies with a head, from their features ``[F, L]``.

    Raises:
        StageError: the head has none.
    """
    import torch

    classifier, classes = _video_classifier.load(folder)
    with torch.inference_mode():
        scores = {id_: classifier(found[None])[0].sigmoid().double().numpy() for id_, found in features.items()}
    return own_video_scores(scores, classes, str(folder / _video_classifier.FILE))


def chosen_scores(
    options: Classes, root: Path, head: Path, features: Mapping[str, "Tensor"], truth: GroundTruth
) -> VideoScores:
    """Class scores of the videos from the source that the parameters name.

    Raises:
        StageError: the score file lacks videos; how many and which is said.
        ValueError: it is no score file.
    """
    if options.source == "own":
        return own_scores(head, features)
    if options.source == "oracle":
        return oracle_video_scores(truth)
    scores = align_videos(load_video_scores(root / str(options.file)), truth)
    covered = coverage(scores, list(features), truth.labels)
    if covered.missing_videos:
        raise StageError(f"evaluate.classes.file = {options.file}: {covered}")
    return scores


def detections(
    options: Classes,
    scores: VideoScores,
    proposals: Mapping[str, tuple["np.ndarray", "np.ndarray"]],
    durations_s: Mapping[str, float],
) -> dict[str, list[dict[str, Any]]]:
    """Detections by video in the submission format, best first.

    Args:
        options: how many classes a video has.
        scores: of the videos.
        proposals: segments ``[n, 2]`` as fractions of the video, and scores ``[n]``.
        durations_s: of the videos.
    """
    rows = [
        (id_, "", float(a) * durations_s[id_], float(b) * durations_s[id_], float(score))
        for id_, (segments, kept) in proposals.items()
        for (a, b), score in zip(segments, kept, strict=True)
    ]
    best = len(scores.classes) if options.source == "oracle" else options.per_video
    found = classify_proposals(Predictions.from_rows(rows, videos=proposals), scores, best)
    results: dict[str, list[dict[str, Any]]] = {id_: [] for id_ in proposals}
    columns = (found.video, found.label, found.score, found.t_start, found.t_end)
    for video, label, score, begin, end in zip(*(column.tolist() for column in columns), strict=True):
        row = {"label": found.labels[label], "score": score, "segment": [begin, end]}
        results[found.videos[video]].append(row)
    return results
