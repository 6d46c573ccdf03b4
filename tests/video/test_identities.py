"""IDF1 at one picture a second: people of the world, boxes a little off, linked as AVA's are, by what they look like."""

import itertools

import numpy as np
import pytest

from pipeline.datasets.world import render_arrays, world_plan
from pipeline.datasets.world.plan import BOX_CLASSES
from pipeline.evaluation.tracking import TrackCounts, TrackTable, count_tracks, total
from pipeline.video.embedding_links import link_by_embedding

SIDE, CELLS = 72, (6, 2)
ASKED = 0.80
SEED = 12  # settings were looked for on seed 11
VIDEOS = 12


def looks(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Mean colours of a grid over the box's middle column of a picture [H, W, 3], where the clothes are."""
    x1, y1, x2, y2 = box
    x1, x2 = x1 + 0.25 * (x2 - x1), x2 - 0.25 * (x2 - x1)
    edges_y, edges_x = (np.linspace(a, b, n + 1) for a, b, n in ((y1, y2, CELLS[0]), (x1, x2, CELLS[1])))
    found = []
    for top, bottom in itertools.pairwise(edges_y):
        for left, right in itertools.pairwise(edges_x):
            rows = slice(max(int(top), 0), max(int(np.ceil(bottom)), 1))
            columns = slice(max(int(left), 0), max(int(np.ceil(right)), 1))
            cell = picture[rows, columns].reshape(-1, 3)
            found.append(cell.mean(axis=0) if len(cell) else np.full(3, 127.5))
    return np.concatenate(found) / 127.5 - 1


Scene = tuple[TrackTable, TrackTable, np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """Of each video: true tracks within shots, boxes as a detector would give them, their times and looks, the shots."""
    made = []
    for plan in [p for p in world_plan("small", SEED) if p.subset == "testing"][:VIDEOS]:
        pictures, truth = render_arrays(plan, 1.0, SIDE)
        rng = np.random.default_rng(plan.index)
        rows = np.flatnonzero(truth.box_class == BOX_CLASSES.index("person"))
        picture, box = truth.box_frame[rows].astype(np.int64), truth.box[rows].astype(np.float64)
        shot = np.searchsorted(truth.shot_start, truth.pts[picture] + 1e-6, side="right")
        _, track = np.unique(np.stack([truth.box_track[rows], shot]), axis=1, return_inverse=True)
        # A detector's: one in ten missed, ends off by up to a fifteenth of the size, one in twenty invented.
        kept = rng.random(len(rows)) > 0.1
        size = np.tile(box[:, 2:] - box[:, :2], 2)
        off = box + rng.uniform(-1, 1, box.shape) / 15 * size
        stray = rng.random(len(rows)) < 0.05
        strays = off[stray] + rng.uniform(-1, 1, (int(stray.sum()), 1)) * [40, 0, 40, 0]
        at = np.concatenate([picture[kept], picture[stray]])
        order = np.argsort(at, kind="stable")
        found = np.concatenate([off[kept], strays])[order]
        looked = np.stack([looks(pictures[p], b) for p, b in zip(at[order], found, strict=True)])
        true = TrackTable(picture, track.astype(np.int64), box)
        none = np.zeros(len(found), np.int64)
        made.append((true, TrackTable(at[order], none, found), truth.pts[at[order]], looked, truth.shot_start))
    return made


def idf1(scenes: list[Scene], seen: bool) -> TrackCounts:
    """Linked by looks, or where they are not ``seen`` by noise of the same size."""
    counts = []
    for true, boxes, t, looked, shots in scenes:
        embedding = looked if seen else np.random.default_rng(0).standard_normal(looked.shape)
        # A person whom the detector missed at one key frame is still known at the next.
        tubes = link_by_embedding(t, embedding, boxes.track, shots, min_similarity=0.0 if seen else -1.0, max_gap_s=2.0)
        counts.append(count_tracks(true, TrackTable(boxes.picture, tubes.astype(np.int64), boxes.box)))
    return total(counts)


def test_idf1_at_one_hertz_is_what_is_asked(scenes: list[Scene]) -> None:
    found = idf1(scenes, True)
    assert found.true > 500 and found.misses > 0.05 * found.true, "what a detector misses is missed here"
    assert found.idf1 >= ASKED
    assert idf1(scenes, False).idf1 < found.idf1 - 0.1, "it is the looks that tell people apart"
