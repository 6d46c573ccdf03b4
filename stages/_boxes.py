"""True boxes of a video at the pictures that a stage looked at."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.run import kinds


class TrueBoxes(NamedTuple):
    """Boxes at N pictures, in their order, in source pixels.

    ``picture`` [B]; ``box`` [B, 4]; ``label`` [B] index of ``classes``; ``track`` [B] one number for the same person or
    thing within a shot (a tube ends at a cut, so the truth does too); ``classes``: names, person first.
    """

    picture: np.ndarray
    box: np.ndarray
    label: np.ndarray
    track: np.ndarray
    classes: tuple[str, ...]


def read_true_boxes(path: Path, pts: np.ndarray) -> TrueBoxes | None:
    """The boxes of a ``truth`` artifact at the source frames nearest to ``pts`` [N]; None where it holds no boxes."""
    if not path.is_file():
        return None
    with kinds.TRUTH.open(path) as reader:
        frames, start, box = reader["pts"], reader["shot_start"], reader["box"]
        of_box, label, identity = reader["box_frame"], reader["box_class"], reader["box_track"]
        classes = tuple(filter(None, reader.attributes["box_classes"].split(",")))
    if not len(box):
        return None
    nearest = np.searchsorted((frames[1:] + frames[:-1]) / 2, pts)
    first, last = np.searchsorted(of_box, nearest), np.searchsorted(of_box, nearest, side="right")
    rows = np.concatenate([np.zeros(0, np.int64), *map(np.arange, first, last)])
    picture = np.repeat(np.arange(len(pts)), last - first)
    shot = np.searchsorted(start, frames[of_box[rows]] + 1e-6, side="right")
    _, track = np.unique(np.stack([identity[rows], shot]), axis=1, return_inverse=True)
    return TrueBoxes(picture, box[rows].astype(np.float64), label[rows].astype(np.int64), track, classes)
