"""Actions of people's boxes: labels, the short-term model, and how much the long-term context adds (thesis, section 8.4.3).

Where the truth tells what people do in their boxes, a person's box is labelled by its own actions, as on AVA
(``_box_labels``). Where it does not, by the segments that hold its instant: of several people in the picture, some of
these are then another one's.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.frame_labels import frame_labels
from pipeline.datasets.schema import Video
from pipeline.datasets.spans import PERSON, Instances, Sampling
from stages._box_context import CHUNK, BoxContext, box_contexts, box_scores, fit_late_fusion
from stages._box_labels import BoxLabels, own_labels
from stages._long_form_runs import Teacher
from stages._long_form_schedule import NOT_KEPT, Kept, Schedule, train_model

if TYPE_CHECKING:
    import torch

    from models.long_form import PretrainingModel


class Labelling(NamedTuple):
    """``by`` what boxes are labelled; ``of`` each video the labels of all its boxes, those of things never counting."""

    by: Literal["boxes", "segments"]
    of: Mapping[str, BoxLabels]


class Labelled(NamedTuple):
    """N boxes: number of the ``video`` [N], ``feature`` [N, D] as stored, ``labels`` [N, classes]."""

    video: NDArray[np.int64]
    feature: NDArray[np.floating]
    labels: NDArray[np.bool_]


def label_boxes(
    videos: Sequence[Video],
    boxes: Mapping[str, Instances],
    classes: Sequence[str],
    truths: Mapping[str, Path],
    iou: float,
) -> Labelling:
    """Labels of the boxes of videos.

    Args:
        videos: those without boxes get no labels.
        boxes: by video.
        classes: names of the columns.
        truths: artifacts that tell what people do in their boxes, by video; with none, segments label.
        iou: least overlap of a box with the true one that labels it.

    Raises:
        ValueError: a segment's label or a true action is no class.
    """
    ours = [video for video in videos if video.id in boxes]
    if not truths:
        return Labelling("segments", {one.id: _by_segments(one, boxes[one.id], classes) for one in ours})
    # Where nobody was found, the bank does not say when it looked; the others do.
    phase = next((float(one.t[0]) % 1 for one in boxes.values() if len(one)), 0.5)
    return Labelling("boxes", {v.id: _by_truth(v, boxes[v.id], classes, truths.get(v.id), phase, iou) for v in ours})


def _by_segments(video: Video, boxes: Instances, classes: Sequence[str]) -> BoxLabels:
    index = {name: number for number, name in enumerate(classes)}
    person = boxes.source == PERSON
    return BoxLabels(frame_labels(video.segments, index, boxes.t).dense(), person, person, np.zeros(0, np.int64))


def _by_truth(
    video: Video, boxes: Instances, classes: Sequence[str], truth: Path | None, phase: float, iou: float
) -> BoxLabels:
    """A video of whose boxes nothing is told has no box that counts."""
    n, person = len(boxes), np.flatnonzero(boxes.source == PERSON)
    found = BoxLabels(np.zeros((n, len(classes)), bool), np.zeros(n, bool), np.zeros(n, bool), np.zeros(0, np.int64))
    seconds = max(int(np.ceil(video.duration_s - phase)), int(boxes.second.max(initial=-1)) + 1)
    pts = np.arange(seconds, dtype=np.float64) + phase
    pts[boxes.second] = boxes.t
    pixels = boxes.box[person] * np.array([video.width, video.height] * 2)
    own = own_labels(truth, pts, boxes.second[person], pixels, classes, iou) if truth is not None else None
    if own is None:
        return found
    found.actions[person], found.matched[person], found.known[person] = own.actions, own.matched, own.known
    return found._replace(missed=own.missed)


def people(videos: Sequence[Video], boxes: Mapping[str, Instances], labelling: Labelling, classes: int) -> Labelled:
    """All boxes of people in the videos that have boxes, as far as it is told what they do."""
    ours = [video.id for video in videos if video.id in boxes]
    told = [labelling.of[id_].matched for id_ in ours]
    if not ours:
        return contexts_of_none(classes)[1]
    return Labelled(
        np.repeat(np.arange(len(ours)), [one.sum() for one in told]),
        np.concatenate([boxes[id_].feature[one] for id_, one in zip(ours, told, strict=True)]),
        np.concatenate([labelling.of[id_].actions[one] for id_, one in zip(ours, told, strict=True)]),
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
        return feature[chosen].float(), labels[chosen]

    def loss(model: Any, batch: Any, _generator: "torch.Generator") -> dict[str, "torch.Tensor"]:
        return {"total": binary_cross_entropy_with_logits(model(batch[0]), batch[1])}

    history = train_model(model, loss, batches, schedule, kept=kept).history
    return Teacher(model.weight.detach().cpu(), model.bias.detach().cpu()), list(history)


def contexts(
    model: "PretrainingModel",
    videos: Sequence[Video],
    boxes: Mapping[str, Instances],
    labelling: Labelling,
    classes: int,
    sampling: Sampling,
    every_s: int,
    rounds: int,
    training: bool,
) -> tuple[BoxContext, Labelled]:
    """Contexts of people's boxes at every ``every_s``-th second, and their labels; a box beyond the budget has none.

    In ``training`` of the boxes that are told, else of all in pictures that are known.
    """
    found, video, labels = list[BoxContext](), [np.zeros(0, np.int64)], [np.zeros((0, classes), bool)]
    for number, id_ in enumerate(one.id for one in videos if one.id in boxes):
        mine, told = boxes[id_], labelling.of[id_]
        kept = told.matched if training else told.known
        seconds = [s for s in np.unique(mine.second[kept]).tolist() if s % every_s == 0]
        context = box_contexts(model.backbone, mine, seconds, sampling, rounds, (PERSON,))
        found.append(context.only(kept[context.row]))
        video.append(np.full(len(found[-1].row), number))
        labels.append(told.actions[found[-1].row])
    if not found:
        return contexts_of_none(classes)
    joined = BoxContext(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
    return joined, Labelled(np.concatenate(video), joined.feature, np.concatenate(labels))


def contexts_of_none(classes: int) -> tuple[BoxContext, Labelled]:
    """No box at all."""
    row, empty = np.zeros(0, np.int64), np.zeros((0, 0), np.float32)
    return BoxContext(row, empty, empty), Labelled(row, empty, np.zeros((0, classes), bool))


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


def probabilities(teacher: Teacher, feature: NDArray[np.floating]) -> NDArray[np.float32]:
    """The short-term model's scores [N, classes] of boxes."""
    import torch

    scores = [np.zeros((0, teacher.classes), np.float32)]
    for start in range(0, len(feature), CHUNK):
        some = torch.from_numpy(feature[start : start + CHUNK]).float()
        scores.append(teacher.logits(some).sigmoid().numpy())
    return np.concatenate(scores)
