"""Scores of boxes that were found against the true ones: AP50 with intervals, and COCO's AP."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.evaluation.coco import coco_ap
from pipeline.evaluation.detection import BoxTable, mean_ap
from stages import _boxes


class Scored(NamedTuple):
    """Boxes of one video at the searched pictures whose truth is known, labels in :func:`shared_classes`."""

    true: BoxTable
    found: BoxTable


def shared_classes(detector: Sequence[str], truth: Sequence[str]) -> list[str]:
    """Classes that both know, by their names; a detector of COCO knows more than most sets, and the other way round."""
    return [name for name in detector if name in truth]


def scored(true: _boxes.TrueBoxes, found: Mapping[str, np.ndarray], classes: Sequence[str]) -> Scored:
    """One video's boxes of the classes that detector (``classes``) and truth share.

    What was found between key frames is neither right nor wrong, so it is not here.
    """
    shared = shared_classes(classes, true.classes)
    of_true, of_found = (
        np.array([shared.index(name) if name in shared else -1 for name in names], np.int64)
        for names in (true.classes, classes)
    )
    label = of_true[true.label]
    theirs = of_found[np.asarray(found["label"], np.int64)]
    mine, kept = label >= 0, (theirs >= 0) & true.known[np.asarray(found["picture"], np.int64)]
    picture, box, score = (np.asarray(found[name])[kept] for name in ("picture", "box", "score"))
    return Scored(
        BoxTable.of(true.picture[mine], label[mine], true.box[mine]), BoxTable.of(picture, theirs[kept], box, score)
    )


def box_metrics(videos: Sequence[Scored], classes: Sequence[str], resamples: int, seed: int) -> dict[str, float]:
    """AP50 of each class, of people and of objects with their intervals over the videos, and COCO's figures.

    Args:
        videos: of the test split.
        classes: of :func:`shared_classes`.
        resamples: of the bootstrap.
        seed: of it.
    """
    metrics: dict[str, float] = {}
    truth, found = [one.true for one in videos], [one.found for one in videos]
    for number, name in enumerate(classes):
        value = mean_ap(truth, found, [number], resamples=0).value
        metrics |= {f"AP50/{name}": value} if np.isfinite(value) else {}
    people = [number for number, name in enumerate(classes) if name == "person"]
    objects = [number for number, name in enumerate(classes) if name != "person"]
    for name, labels in (("person", people), ("objects", objects)):
        if labels:
            metrics |= mean_ap(truth, found, labels, resamples=resamples, seed=seed).metrics(f"AP50_{name}")
    figures = coco_ap(truth, found, classes)
    return metrics | {f"coco/{name}": value for name, value in figures.items() if value >= 0}  # -1: no such boxes
