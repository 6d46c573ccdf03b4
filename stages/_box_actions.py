"""Actions of people's boxes: labels, the short-term model, and how much the long-term context adds (thesis, section 8.4.3).

A data set here has segments, not labels of boxes: a person's box is labelled by the segments that hold its second. Where
several people are in the picture, some of these are another one's.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.frame_labels import frame_labels
from pipeline.datasets.schema import Video
from pipeline.datasets.spans import PERSON, Instances, Sampling, one_source
from stages._box_context import BoxContext, box_contexts, box_scores, fit_late_fusion
from stages._long_form_runs import Teacher
from stages._long_form_schedule import NOT_KEPT, Kept, Schedule, train_model

if TYPE_CHECKING:
    import torch

    from models.long_form import PretrainingModel


class Labelled(NamedTuple):
    """N boxes: number of the ``video`` [N], ``feature`` [N, D], ``labels`` [N, classes]."""

    video: NDArray[np.int64]
    feature: NDArray[np.float32]
    labels: NDArray[np.bool_]


def labels_of(video: Video, boxes: Instances, classes: Sequence[str]) -> NDArray[np.bool_]:
    """The classes [N, C] that are on in the middle of each box's second; raises as ``frame_labels``."""
    index = {name: number for number, name in enumerate(classes)}
    return frame_labels(video.segments, index, boxes.second + 0.5).dense()


def people(videos: Sequence[Video], boxes: Mapping[str, Instances], classes: Sequence[str]) -> Labelled:
    """All boxes of people in the videos that have boxes."""
    alone = [(video, one_source(boxes[video.id], PERSON)) for video in videos if video.id in boxes]
    dim = next((one.feature.shape[1] for _, one in alone), 1)
    return Labelled(
        np.concatenate([np.zeros(0, np.int64), *(np.full(len(one), n) for n, (_, one) in enumerate(alone))]),
        np.concatenate([np.zeros((0, dim), np.float32), *(one.feature.astype(np.float32) for _, one in alone)]),
        np.concatenate([np.zeros((0, len(classes)), bool), *(labels_of(v, one, classes) for v, one in alone)]),
    )


def fit_short_term(
    boxes: Labelled, schedule: Schedule, kept: Kept = NOT_KEPT, begin: Teacher | None = None
) -> tuple[Teacher, list[Any]]:
    """The short-term model's classifier (binary cross-entropy; ``schedule.batch`` counts boxes), and its history.

    ``begin``: the weights to begin with, None for fresh ones.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from pipeline.training.sampler import take

    torch.manual_seed(schedule.seed)
    model = torch.nn.Linear(boxes.feature.shape[1], boxes.labels.shape[1])
    if begin is not None:
        model.load_state_dict(begin._asdict())
    feature, labels = torch.from_numpy(boxes.feature), torch.from_numpy(boxes.labels.astype(np.float32))

    def batches(step: int) -> Any:
        chosen = torch.from_numpy(take(schedule.seed, step * schedule.batch, schedule.batch, len(feature)))
        return feature[chosen], labels[chosen]

    def loss(model: Any, batch: Any, _generator: "torch.Generator") -> dict[str, "torch.Tensor"]:
        return {"total": binary_cross_entropy_with_logits(model(batch[0]), batch[1])}

    history = train_model(model, loss, batches, schedule, kept=kept).history
    return Teacher(model.weight.detach().cpu(), model.bias.detach().cpu()), list(history)


def contexts(
    model: "PretrainingModel",
    videos: Sequence[Video],
    boxes: Mapping[str, Instances],
    classes: Sequence[str],
    sampling: Sampling,
    every_s: int,
    rounds: int,
) -> tuple[BoxContext, Labelled]:
    """Contexts of people's boxes at every ``every_s``-th second, and their labels; a box beyond the budget has none."""
    nothing = BoxContext(np.zeros(0, np.int64), *(np.zeros((0, 0), np.float32),) * 2)
    found, video, labels = list[BoxContext](), [np.zeros(0, np.int64)], [np.zeros((0, len(classes)), bool)]
    for number, one in enumerate(one for one in videos if one.id in boxes):
        mine = boxes[one.id]
        seconds = [s for s in np.unique(mine.second[mine.source == PERSON]).tolist() if s % every_s == 0]
        found.append(box_contexts(model.backbone, mine, seconds, sampling, rounds, (PERSON,)))
        video.append(np.full(len(found[-1].row), number))
        labels.append(labels_of(one, mine, classes)[found[-1].row])
    joined = BoxContext(*(np.concatenate(parts) for parts in zip(*found, strict=True))) if found else nothing
    return joined, Labelled(np.concatenate(video), joined.feature, np.concatenate(labels))


def adapt(
    model: "PretrainingModel",
    teacher: Teacher,
    training: tuple[BoxContext, Labelled],
    testing: BoxContext,
    schedule: Schedule,
    kept: Kept = NOT_KEPT,
) -> tuple[dict[str, NDArray[np.float32]], list[dict[str, float]]]:
    """Scores [N, classes] of the test boxes: of both together, and of the context alone; and the training's history."""
    import copy

    from models.heads.long_form import LateFusionHead

    # Fusion trains the head's last layer, and the pre-trained one serves other trainings too.
    head = LateFusionHead(copy.deepcopy(model.instance_head), teacher.weight.shape[1], (teacher.weight, teacher.bias))
    boxes, labelled = training
    history = fit_late_fusion(head, boxes, labelled.labels.astype(np.float32), schedule, kept)
    return {"fused": box_scores(head, testing), "context": box_scores(head, testing, fused=False)}, history


def probabilities(teacher: Teacher, feature: NDArray[np.float32]) -> NDArray[np.float32]:
    """The short-term model's scores [N, classes] of boxes."""
    import torch

    scores: NDArray[np.float32] = teacher.logits(torch.from_numpy(feature)).sigmoid().numpy()
    return scores
