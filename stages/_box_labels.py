"""Labels of people's boxes by what the people in them do: each box is set beside the true box of its picture (LFB, AVA).

For data sets whose truth tells it (``box_action`` of the kind ``truth``). A tracked box is labelled by the true person that
it overlaps most, if by enough. A truth of key frames without any box tells that nobody was there: what is found is false.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.detection import box_iou
from pipeline.run import kinds
from stages._boxes import TrueBoxes, read_true_boxes

MATCH_IOU = 0.5
"""Least overlap with the true box whose actions a box gets, AVA's in testing. LFB and the thesis train at 0.9."""


class Matched(NamedTuple):
    """Of M boxes: ``known`` [M] bool, whether the truth of its picture is; ``row`` [M] int64 of the true boxes, or -1."""

    known: NDArray[np.bool_]
    row: NDArray[np.int64]


class BoxLabels(NamedTuple):
    """Of M boxes: ``actions`` [M, C] bool; ``matched`` [M] bool, a true box tells them; ``known`` [M] bool.

    In training the matched boxes count, in testing the known ones: one that matches nothing there is a false detection.
    ``missed`` [K] int64: the picture of each true person whom none of the boxes matches.
    """

    actions: NDArray[np.bool_]
    matched: NDArray[np.bool_]
    known: NDArray[np.bool_]
    missed: NDArray[np.int64]


def tells_actions(path: Path) -> bool:
    """Whether there is a ``truth`` artifact at ``path`` that says what people do in their boxes."""
    if not path.is_file():
        return False
    with kinds.TRUTH.open(path) as reader:
        return "box_action" in reader


def match_actions(
    true: TrueBoxes, picture: NDArray[np.integer], box: NDArray[np.floating], iou: float = MATCH_IOU
) -> Matched:
    """The true person of the highest IoU with each box; several boxes may match the same one.

    Args:
        true: of the pictures.
        picture: [M] of each box, numbered as in ``true``, in any order.
        box: [M, 4] x1, y1, x2, y2 in source pixels.
        iou: less than this does not match.
    """
    row, boxes = np.full(len(picture), -1, np.int64), np.asarray(box, np.float64)
    person = np.flatnonzero(_is_person(true))
    order = np.argsort(picture, kind="stable")
    pictures, first = np.unique(picture[order], return_index=True)
    for number, mine in zip(pictures, np.split(order, first[1:]), strict=False):  # without a box: no picture, one part
        low, high = (int(np.searchsorted(true.picture[person], number, side)) for side in ("left", "right"))
        if high > low:
            overlap = box_iou(boxes[mine], true.box[person[low:high]])
            best = overlap.argmax(axis=1)
            row[mine] = np.where(overlap.max(axis=1) >= iou, person[low + best], -1)
    return Matched(true.known[picture], row)


def own_labels(
    path: Path,
    pts: NDArray[np.float64],
    picture: NDArray[np.integer],
    box: NDArray[np.floating],
    classes: Sequence[str],
    iou: float = MATCH_IOU,
) -> BoxLabels | None:
    """Labels of people's boxes in one video; None where its truth does not tell what people do.

    Args:
        path: of the video's ``truth`` artifact, there or not.
        pts: [N] time in seconds of each picture that is looked at, ascending.
        picture: [M] of each box, its row of ``pts``.
        box: [M, 4] x1, y1, x2, y2 in source pixels.
        classes: the C names of the columns; one that the truth does not name is off everywhere.
        iou: see :func:`match_actions`.

    Raises:
        ValueError: somebody at these pictures does what is no class.
    """
    true = read_true_boxes(path, pts)
    if true is None or true.action is None:
        return None
    index = {name: number for number, name in enumerate(classes)}
    done = np.flatnonzero(true.action.any(axis=0))  # a small set's classes may lack what nobody in it does
    if wrong := sorted({true.actions[column] for column in done} - index.keys()):
        raise ValueError(f"{path}: label_classes names {wrong[0]!r}; allowed: {', '.join(classes)}")
    known, row = match_actions(true, picture, box, iou)
    matched = row >= 0
    actions = np.zeros((len(box), len(classes)), bool)
    columns = np.array([index[true.actions[column]] for column in done], np.int64)
    actions[np.ix_(matched, columns)] = true.action[np.ix_(row[matched], done)]
    missed = np.setdiff1d(np.flatnonzero(_is_person(true)), row)
    return BoxLabels(actions, matched, known, true.picture[missed])


def _is_person(true: TrueBoxes) -> NDArray[np.bool_]:
    people: NDArray[np.bool_] = true.label == true.classes.index("person")
    return people
