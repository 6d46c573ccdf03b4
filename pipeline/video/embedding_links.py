"""Tubes by appearance, as for AVA and LVU: people of adjacent key frames linked by the similarity of an embedding.

Gu et al., "AVA", section 3.3 (thesis, section 8.2.3): pairwise similarities of persons in adjacent key frames, a second
apart, and the optimal matching by the Hungarian method. Neither paper gives the embedding, a threshold, or what happens to
a person who is not seen for a second; here these are arguments.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline.video.tracks import NO_TRACK

_ROUNDING_S = 1e-6  # times that went through a file agree to a microsecond


def link_by_embedding(
    t: NDArray[np.float64],
    embedding: NDArray[np.floating],
    label: NDArray[np.int64],
    shot_start: Sequence[float] | NDArray[np.float64],
    *,
    min_similarity: float = 0.5,
    max_gap_s: float = 1.0,
    min_length: int = 1,
    across_shots: bool = False,
) -> NDArray[np.int32]:
    """The tube of each detection, int32 [N]: numbers from 0 in the order in which tubes begin, or ``NO_TRACK``.

    Args:
        t: time of each detection in seconds [N], never falling; about one key frame a second.
        embedding: appearance [N, D]; only its direction counts. The bank's region features serve, or a network's for
            re-identification.
        label: class index [N]; a tube has one class.
        shot_start: start of each shot in seconds.
        min_similarity: least cosine of a pair, -1 to 1.
        max_gap_s: a tube that was not seen for longer has ended; at 1 Hz, 1 links adjacent key frames only.
        min_length: tubes of fewer detections are dropped.
        across_shots: follow a person through a cut, for an embedding that knows identities; otherwise a tube ends there.

    Raises:
        ValueError: times fall, columns differ in length, an embedding is not finite, or a limit is out of its range.
    """
    t, embedding = np.asarray(t, np.float64), np.asarray(embedding, np.float64)
    if not len(t) == len(embedding) == len(label):
        raise ValueError(f"{len(t)} times, {len(embedding)} embeddings, {len(label)} labels: not one per row")
    if (np.diff(t) < 0).any():
        raise ValueError(f"the time falls after row {int(np.argmax(np.diff(t) < 0))}; detections come in order of time")
    if len(t) and not (finite := np.isfinite(embedding).all(axis=1)).all():
        raise ValueError(f"the embedding of row {int(finite.argmin())} is not finite")
    if not -1 <= min_similarity <= 1 or max_gap_s <= 0 or min_length < 1:
        raise ValueError(
            f"min_similarity is {min_similarity}, max_gap_s {max_gap_s}, min_length {min_length}; "
            "needed: -1 to 1, above 0, at least 1"
        )
    start = np.sort(np.asarray(shot_start, np.float64))
    shot = np.searchsorted([] if across_shots else start, t + _ROUNDING_S, side="right")
    length = np.linalg.norm(embedding, axis=-1, keepdims=True)
    unit = embedding / np.maximum(length, np.finfo(np.float64).tiny)
    tubes: list[list[int]] = []
    for now in np.unique(t):
        rows = np.flatnonzero(t == now)
        last = np.array([tube[-1] for tube in tubes], np.int64)
        open_ = np.flatnonzero((now - t[last] <= max_gap_s + _ROUNDING_S) & (shot[last] == shot[rows[0]]))
        mine = last[open_]
        similarity = np.where(label[mine][:, None] == label[rows], unit[mine] @ unit[rows].T, -np.inf)
        above = np.maximum(similarity - min_similarity, 0.0)
        taken = set()
        for i, j in zip(*linear_sum_assignment(above, maximize=True), strict=True):
            if similarity[i, j] >= min_similarity:
                tubes[open_[i]].append(int(rows[j]))
                taken.add(int(rows[j]))
        tubes += [[row] for row in rows.tolist() if row not in taken]
    track = np.full(len(t), NO_TRACK, np.int32)
    for number, tube in enumerate(tube for tube in tubes if len(tube) >= min_length):
        track[tube] = number
    return track
