"""HOTA, higher order tracking accuracy (Luiten et al., IJCV 2021): detection and association weighed alike.

For a localisation threshold alpha, pictures are matched one to one; DetA is the share of boxes with a match, AssA how
well, seen from each match, the two whole tracks agree; HOTA_alpha is their geometric mean, and HOTA its mean over 19 alphas.
Pictures are matched as the authors' code does: by the overlap, weighed by how well the two tracks go together overall.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.evaluation.detection import box_iou
from pipeline.evaluation.segments import FloatArray
from pipeline.evaluation.tracking import TrackTable

ALPHAS: FloatArray = np.linspace(0.05, 0.95, 19)
_EPSILON = np.finfo(np.float64).eps


class Hota(NamedTuple):
    """Means over :data:`ALPHAS`, 0 to 1; NaN when there is neither a true nor a found box."""

    hota: float
    det_a: float
    ass_a: float


def hota(videos: Sequence[tuple[TrackTable, TrackTable]]) -> Hota:
    """Score (true, found) tracks of one or several videos; pictures of a pair are numbered alike."""
    matched, agreement = np.zeros(len(ALPHAS)), np.zeros(len(ALPHAS))
    boxes = 0
    for true, found in videos:
        pairs, ours, theirs = _matches(true, found)
        boxes += len(true.track) + len(found.track)
        for a, together in enumerate(pairs):
            matched[a] += together.sum()
            # Seen from each of their matches, two tracks agree in TPA / (TPA + FNA + FPA) of their boxes.
            agreement[a] += (together * together / np.maximum(ours[:, None] + theirs - together, 1)).sum()
    if not boxes:
        return Hota(*[float("nan")] * 3)
    det_a = matched / (boxes - matched)
    ass_a = agreement / np.maximum(matched, 1)
    return Hota(float(np.sqrt(det_a * ass_a).mean()), float(det_a.mean()), float(ass_a.mean()))


def _matches(true: TrackTable, found: TrackTable) -> tuple[FloatArray, FloatArray, FloatArray]:
    """How often a true track is matched with a found one, [alphas, T, F], and the boxes of each, [T] and [F]."""
    ours, of_true = np.unique(true.track, return_inverse=True)
    theirs, of_found = np.unique(found.track, return_inverse=True)
    together = np.zeros((len(ALPHAS), len(ours), len(theirs)))
    mine, others = (np.bincount(of).astype(np.float64) for of in (of_true, of_found))
    potential = np.zeros((len(ours), len(theirs)))
    pictures = []
    for picture in np.intersect1d(true.picture, found.picture):
        rows, columns = np.flatnonzero(true.picture == picture), np.flatnonzero(found.picture == picture)
        overlap = box_iou(true.box[rows], found.box[columns])
        share = overlap.sum(axis=1, keepdims=True) + overlap.sum(axis=0) - overlap
        i, j = np.ix_(of_true[rows], of_found[columns])
        np.add.at(potential, (i, j), overlap / np.maximum(share, _EPSILON))
        pictures.append((i, j, overlap))
    alignment = potential / np.maximum(mine[:, None] + others - potential, _EPSILON)
    for i, j, overlap in pictures:
        r, c = linear_sum_assignment(alignment[i, j] * overlap, maximize=True)
        near = overlap[r, c] >= ALPHAS[:, None] - _EPSILON
        together[:, i[r, 0], j[0, c]] += near  # one box of a track in a picture: no pair of tracks comes twice
    return together, mine, others
