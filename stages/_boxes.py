"""True boxes of a video at the pictures that a stage looked at, and what the people in them do."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.run import kinds

KEY_SLACK_S = 0.1
"""A picture as near as this to a frame whose truth is known has that truth; half of a frame at 5 fps."""


class TrueBoxes(NamedTuple):
    """Boxes at N pictures, in their order, in source pixels.

    ``picture`` [B]; ``box`` [B, 4]; ``label`` [B] index of ``classes``; ``track`` [B] one number for the same person or
    thing within a shot (a tube ends at a cut, so the truth does too); ``classes``: names, person first; ``known`` [N]
    bool, the pictures whose truth is known, with a box or without; ``action`` [B, C] bool, what is done in the boxes, None
    where the data set does not tell; ``actions``: its C names.
    """

    picture: np.ndarray
    box: np.ndarray
    label: np.ndarray
    track: np.ndarray
    classes: tuple[str, ...]
    known: np.ndarray
    action: np.ndarray | None
    actions: tuple[str, ...]


def read_true_boxes(path: Path, pts: np.ndarray) -> TrueBoxes | None:
    """The boxes of a ``truth`` artifact at the source frames nearest to ``pts`` [N]; None where nobody looked for boxes.

    Where only key frames were annotated, pictures farther than ``KEY_SLACK_S`` from one are not ``known``, and have none.
    """
    if not path.is_file():
        return None
    with kinds.TRUTH.open(path) as reader:
        frames, start, box = reader["pts"], reader["shot_start"], reader["box"]
        of_box, label, identity = reader["box_frame"], reader["box_class"], reader["box_track"]
        action = reader["box_action"].astype(bool) if "box_action" in reader else None
        classes = tuple(filter(None, reader.attributes["box_classes"].split(",")))
        actions = tuple(filter(None, reader.attributes["label_classes"].split("\n")))
    if not classes or not len(frames):
        return None
    nearest = np.searchsorted((frames[1:] + frames[:-1]) / 2, pts)
    known = np.abs(frames[nearest] - pts) <= KEY_SLACK_S
    first, last = np.searchsorted(of_box, nearest), np.searchsorted(of_box, nearest, side="right")
    last = np.where(known, last, first)
    rows = np.concatenate([np.zeros(0, np.int64), *map(np.arange, first, last)])
    picture = np.repeat(np.arange(len(pts)), last - first)
    shot = np.searchsorted(start, frames[of_box[rows]] + 1e-6, side="right")
    _, track = np.unique(np.stack([identity[rows], shot]), axis=1, return_inverse=True)
    return TrueBoxes(
        picture, box[rows].astype(np.float64), label[rows].astype(np.int64), track, classes, known,
        None if action is None else action[rows], actions,
    )  # fmt: skip
