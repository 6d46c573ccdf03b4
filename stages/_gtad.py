"""G-TAD as a file, its loss, and detections from it: shared by ``lofi``, ``head``, ``evaluate`` and ``predict``."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from pipeline.datasets.schema import Video
from pipeline.evaluation.activitynet import evaluate
from pipeline.evaluation.segments import GroundTruth, Predictions
from pipeline.evaluation.soft_nms import soft_nms
from pipeline.run import kinds
from pipeline.run.files import read_json, write_bytes, write_json
from pipeline.run.params import Section

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from models.heads.gtad import GTADOutput
    from models.heads.standardise import StandardisedHead

GTAD_FILE, CLASSIFIER_FILE, HEAD_FILE = "gtad.safetensors", "classifier.safetensors", "head.json"
ENTRIES = (
    "models.heads.gtad:GTAD",
    "models.heads.segment_classifier:SegmentClassifier",
)


class GTADSpec(Section):
    """Sizes of G-TAD; the defaults are the published network."""

    hidden: int = Field(256, ge=4, multiple_of=4, description="channels of the GCNeXt blocks")
    groups: int = Field(32, ge=1)
    width_per_group: int = Field(4, ge=1)
    inner_points: int = Field(32, ge=1, description="SGAlign samples in an anchor")
    context_points: int = Field(4, ge=0, description="SGAlign samples of its semantic context")
    aligned: int = Field(512, ge=1, description="channels after SGAlign")
    localisation: int = Field(128, ge=1, description="channels of the localisation layers")
    compat: Literal["fixed", "released"] = "fixed"


class Postprocess(Section):
    """From proposals to detections (G-TAD's ActivityNet values by default)."""

    soft_nms_sigma: float = Field(0.8, gt=0)
    top_k: int = Field(100, ge=1, description="proposals kept per video")
    classes_per_proposal: int = Field(2, ge=1, description="most probable classes that a proposal is reported with")


def build(spec: GTADSpec, feature_dim: int) -> "StandardisedHead":
    """A fresh G-TAD behind a standardisation of its features; weights from torch's global generator."""
    from models.heads import build_head
    from models.heads.standardise import StandardisedHead

    return StandardisedHead(feature_dim, build_head("gtad", feature_dim=feature_dim, **spec.model_dump()))


def save(
    folder: Path,
    gtad: "StandardisedHead",
    classifier: "nn.Module",
    spec: GTADSpec,
    classes: Sequence[str],
    snippets: int,
    frames: Section,
) -> None:
    """Write a head: G-TAD, the segment classifier, and what a reader needs to build both and to feed them.

    Args:
        folder: to write into.
        gtad: the network.
        classifier: of segments.
        spec: of the network.
        classes: class names by index.
        snippets: L at full fidelity.
        frames: the section that the frames were decoded by.
    """
    from models.weights import save_weights

    write_bytes(folder / GTAD_FILE, save_weights(gtad, {}))
    write_bytes(folder / CLASSIFIER_FILE, save_weights(classifier, {}))
    write_json(
        folder / HEAD_FILE,
        {
            "gtad": spec.model_dump(mode="json"),
            "feature_dim": gtad.feature_dim,
            "classes": list(classes),
            "snippets": snippets,
            "frames": frames.model_dump(mode="json"),
        },
    )


def load(folder: Path) -> tuple["nn.Module", "nn.Module", GTADSpec, tuple[str, ...]]:
    """Read a head: G-TAD and classifier in evaluation mode, spec and class names."""
    from models.heads import build_head
    from models.weights import load_weights

    raw = read_json(folder / HEAD_FILE)
    spec, classes = GTADSpec.model_validate(raw["gtad"]), tuple(raw["classes"])
    gtad = build(spec, raw["feature_dim"])
    classifier = build_head("segment_classifier", feature_dim=raw["feature_dim"], classes=len(classes))
    load_weights(gtad, folder / GTAD_FILE)
    load_weights(classifier, folder / CLASSIFIER_FILE)
    return gtad.eval(), classifier.eval(), spec, classes


def relative_segments(video: Video) -> "Tensor":
    """A video's segments as fractions of its duration, ``[n, 2]``."""
    import torch

    rows = [(s.t_start / video.duration_s, s.t_end / video.duration_s) for s in video.segments]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 2)


def read_features(path: Path) -> "Tensor":
    """Stored features of one video as heads take them, ``[F, L]``."""
    import torch

    return torch.from_numpy(kinds.FEATURES.read(path)["feature"]).T.contiguous()


def loss(output: "GTADOutput", segments: Sequence["Tensor"], generator: "torch.Generator") -> Mapping[str, "Tensor"]:
    """G-TAD's loss terms by name for a batch's output and segment lists."""
    from models.heads.targets import gtad_targets
    from models.losses import gtad_loss

    targets = gtad_targets(segments, output.start.shape[1], output.maps.shape[2])
    return gtad_loss(output, targets.to(output.start.device), generator)._asdict()


def suppressed(output: "GTADOutput", spec: GTADSpec, post: Postprocess) -> list[tuple[np.ndarray, np.ndarray]]:
    """Proposals of each video of a batch after soft-NMS: segments ``[n, 2]`` as fractions, and scores ``[n]``."""
    from models.heads.proposals import proposals

    kept = []
    for segments, scores in proposals(output, spec.compat):
        order, decayed = soft_nms(segments.numpy(), scores.numpy(), sigma=post.soft_nms_sigma, top_k=post.top_k)
        kept.append((segments.numpy()[order].astype(np.float64), decayed))
    return kept


def localise(
    gtad: "nn.Module",
    classifier: "nn.Module",
    spec: GTADSpec,
    classes: Sequence[str],
    post: Postprocess,
    features: "Tensor",
    duration_s: float,
) -> list[dict[str, Any]]:
    """Detections of one video in the submission format, best first.

    Score = proposal score x class probability; the class comes from the linear classifier on the features pooled over the
    proposal.

    Args:
        gtad: of :func:`load`.
        classifier: of :func:`load`.
        spec: of :func:`load`.
        classes: class names by index.
        post: post-processing parameters.
        features: ``[F, L]``.
        duration_s: of the video.
    """
    import torch

    with torch.inference_mode():
        ((segments, scores),) = suppressed(gtad(features.unsqueeze(0)), spec, post)
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
