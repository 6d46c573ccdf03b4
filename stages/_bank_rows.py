"""Rows of a long-term feature bank besides their features: when, what, where (thesis, sections 7.1.2 and 7.3, table 7.1d).

Four kinds of rows are read: a tracked ``person`` or ``object``, a cell of a regular ``grid``, and the whole picture
(``global``). A ``true_person`` is where the truth of a training video has one; heads learn from it (section 7.2.1), and no
window of the bank shows it.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

RowKind = Literal["person", "object", "grid", "global"]
StoredKind = Literal["person", "object", "true_person", "grid", "global"]

TRUE_PERSON = "true_person"
UNTRACKED = (TRUE_PERSON, "grid", "global")
"""Kinds of rows that follow nothing; each is a class of its own, in this order."""

STEP_S = 1.0
"""Seconds between the rows of a track, a cell or a picture."""

NO_TRACK = -1
"""Track of rows that follow nothing."""


FIRST_S = STEP_S / 2
"""Instant of a bank's first row unless it says otherwise: the middles of whole seconds."""


def instants(duration_s: float, first_s: float = FIRST_S) -> np.ndarray:
    """The instants of a bank's rows, from ``first_s`` on; a video shorter than a second has one."""
    return np.arange(first_s, max(duration_s, STEP_S), STEP_S)


def row_classes(classes: Sequence[str], wanted: Sequence[StoredKind]) -> list[str]:
    """Names of the rows' labels: the tracked classes, then the kinds that are no track."""
    return [*classes, *(kind for kind in UNTRACKED if kind in wanted)]


def rows_of(
    tracks: Mapping[str, np.ndarray],
    classes: Sequence[str],
    size: tuple[int, int],
    duration_s: float,
    wanted: Sequence[StoredKind] = ("person", "object"),
    grid: int = 4,
    first_s: float = FIRST_S,
    true_people: Sequence[np.ndarray] = (),
) -> dict[str, np.ndarray]:
    """Arrays ``t``, ``track``, ``label``, ``box``, ``score`` by row, in the order of time, then track, true person, cell.

    A track has a row for each instant from its first box to its last, so that no region lies beyond a cut. Boxes end at the
    picture's edge; one that lies outside, or has no area, was not seen and has no row.

    Args:
        tracks: arrays of the kind ``tracks``.
        classes: names of their labels.
        size: height and width of the picture, px of the boxes.
        duration_s: of the video.
        wanted: which kinds of rows.
        grid: cells each way.
        first_s: the first instant; the others follow every second.
        true_people: boxes [P, 4] at each instant, for rows of the kind ``true_person``.
    """
    from pipeline.video.tracks import box_at

    height, width = size
    when = instants(duration_s, first_s)
    names = row_classes(classes, wanted)
    kept = [("person" if name == "person" else "object") in wanted for name in classes]
    rows: list[tuple[float, int, int, np.ndarray, float]] = []

    def add(at: float, track: int, label: int, box: np.ndarray, score: float) -> None:
        seen = np.clip(box, 0, [width, height, width, height])
        if (seen[2:] > seen[:2]).all():
            rows.append((at, track, label, seen, score))

    for number in np.unique(tracks["track"]):
        mine = tracks["track"] == number
        label = int(tracks["label"][mine][0])
        if not kept[label]:
            continue
        t, box = tracks["t"][mine], tracks["box"][mine].astype(np.float64)
        for at in when[(when >= t[0]) & (when <= t[-1])]:
            score = float(tracks["score"][mine][np.abs(t - at).argmin()])
            add(at, int(number), label, box_at(t, box, at), score)
    for at, people in zip(when, true_people, strict=False):
        for box in people:
            add(at, NO_TRACK, names.index(TRUE_PERSON), box, 1.0)
    for kind, cells in (("grid", grid), ("global", 1)):
        if kind in wanted:
            edges = np.arange(cells + 1) / cells
            boxes = [
                np.array([edges[x] * width, edges[y] * height, edges[x + 1] * width, edges[y + 1] * height])
                for y in range(cells)
                for x in range(cells)
            ]
            rows += [(at, NO_TRACK, names.index(kind), box, 1.0) for at in when for box in boxes]
    rows.sort(key=lambda row: (row[0], row[1] == NO_TRACK, row[1], row[2]))  # stable: cells stay in reading order
    return {
        "t": np.array([row[0] for row in rows], np.float64),
        "track": np.array([row[1] for row in rows], np.int32),
        "label": np.array([row[2] for row in rows], np.int16),
        "box": np.array([row[3] for row in rows], np.float32).reshape(-1, 4),
        "score": np.array([row[4] for row in rows], np.float32),
    }
