"""From a localiser's output to detections, and segments as training takes them; which localiser does not matter here."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from pipeline.datasets.schema import Video
from pipeline.evaluation.activitynet import evaluate
from pipeline.evaluation.segments import GroundTruth, Predictions
from pipeline.evaluation.soft_nms import Method, soft_nms
from pipeline.evaluation.voting import Weight, vote_segments
from pipeline.run import kinds
from pipeline.run.params import Section

if TYPE_CHECKING:
    from torch import Tensor, nn

    from models.heads.standardise import StandardisedLocaliser


class Postprocess(Section):
    """From proposals to detections (G-TAD's ActivityNet values by default)."""

    soft_nms: Method = Field("gaussian", description="how a pick lowers the scores of what it overlaps")
    soft_nms_sigma: float = Field(0.8, gt=0, description="width of the Gaussian")
    soft_nms_iou: float = Field(0.5, ge=0, le=1, description="IoU above which linear and hard lower a score")
    vote: Weight | None = Field(None, description="segment voting: weight of the neighbours; null: off")
    vote_iou: float = Field(0.75, gt=0, le=1, description="least IoU of a neighbour that votes")
    top_k: int = Field(100, ge=1, description="proposals kept per video")
    classes_per_proposal: int = Field(2, ge=1, description="most probable classes that a proposal is reported with")


def relative_segments(video: Video) -> "Tensor":
    """A video's segments as fractions of its duration, ``[n, 2]``."""
    import torch

    rows = [(s.t_start / video.duration_s, s.t_end / video.duration_s) for s in video.segments]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 2)


def read_features(path: Path) -> "Tensor":
    """Stored features of one video as heads take them, ``[F, L]``."""
    import torch

    return torch.from_numpy(kinds.FEATURES.read(path)["feature"]).T.contiguous()


def suppressed(
    localiser: "StandardisedLocaliser", output: Any, post: Postprocess
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Proposals of each video of a batch after soft-NMS and voting: segments ``[n, 2]`` as fractions, and scores ``[n]``."""
    from torch import Tensor

    kept = []
    for segments, scores in (map(Tensor.numpy, proposals) for proposals in localiser.proposals(output)):
        order, decayed = soft_nms(
            segments, scores, post.soft_nms, sigma=post.soft_nms_sigma, threshold=post.soft_nms_iou, top_k=post.top_k
        )
        picked = segments[order].astype(np.float64)
        if post.vote is not None:
            picked = vote_segments(picked, segments, scores, post.vote_iou, post.vote)
        kept.append((picked, decayed))
    return kept


def localise(
    localiser: "StandardisedLocaliser",
    classifier: "nn.Module",
    classes: Sequence[str],
    post: Postprocess,
    features: "Tensor",
    duration_s: float,
) -> list[dict[str, Any]]:
    """Detections of one video in the submission format, best first.

    Score = proposal score x class probability; the class comes from the linear classifier on the features pooled over the
    proposal.

    Args:
        localiser: of :func:`load`.
        classifier: of :func:`load`.
        classes: class names by index.
        post: post-processing parameters.
        features: ``[F, L]``.
        duration_s: of the video.
    """
    import torch

    with torch.inference_mode():
        ((segments, scores),) = suppressed(localiser, localiser(features.unsqueeze(0)), post)
        if not len(segments):
            return []
        (logits,) = classifier(features.unsqueeze(0), [torch.from_numpy(segments).float()])
        probability, label = logits.softmax(dim=1).topk(min(post.classes_per_proposal, len(classes)), dim=1)
    rows = [
        {
            "label": classes[int(label[i, k])],
            "score": float(scores[i] * probability[i, k]),
            "segment": [float(segments[i, 0]) * duration_s, float(segments[i, 1]) * duration_s],
        }
        for i in range(len(segments))
        for k in range(label.shape[1])
    ]
    return sorted(rows, key=lambda row: -row["score"])


def proposal_map(videos: Sequence[Video], kept: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """Average mAP of class-agnostic proposals against the videos' segments, all taken as one class: for model choice."""
    truth = GroundTruth.from_rows(
        [v.id for v in videos], [(v.id, "action", s.t_start, s.t_end) for v in videos for s in v.segments]
    )
    rows = [
        (video.id, "action", float(a) * video.duration_s, float(b) * video.duration_s, float(score))
        for video, (segments, scores) in zip(videos, kept, strict=True)
        for (a, b), score in zip(segments, scores, strict=True)
    ]
    return evaluate(truth, Predictions.from_rows(rows)).average_mAP if rows else 0.0
