"""Labels of boxes by their true boxes: against a search written out, and what is known, matched, or missed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.run import kinds
from stages._box_labels import match_actions, own_labels, tells_actions
from stages._boxes import TrueBoxes

ACTIONS = ("sit", "wave")


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))


@pytest.mark.parametrize("iou", [0.3, 0.5, 0.8])
def test_the_best_true_person_of_the_picture(iou: float) -> None:
    rng = np.random.default_rng(3)
    picture = np.sort(rng.integers(0, 12, 60))
    corner = rng.uniform(0, 40, (60, 2))
    box = np.concatenate([corner, corner + rng.uniform(10, 40, (60, 2))], axis=1)
    label = rng.integers(0, 2, 60)
    known = np.arange(14) % 4 != 3
    true = TrueBoxes(
        picture, box, label, np.zeros(60, int), ("person", "ball"), known, np.zeros((60, 2), bool), ACTIONS
    )
    chosen = rng.integers(0, 60, 80)
    at = np.where(
        rng.random(80) < 0.9, picture[chosen], rng.integers(0, 14, 80)
    )  # no order, and pictures without a box
    asked = box[chosen] + rng.uniform(-4, 4, (80, 4))
    found = match_actions(true, at, asked, iou)
    expected = []
    for where, mine in zip(at, asked, strict=True):
        mates = [(overlap(mine, box[n]), -n) for n in range(60) if picture[n] == where and label[n] == 0]
        best, row = max(mates, default=(0.0, 0))
        expected.append(-row if best >= iou else -1)
    assert found.row.tolist() == expected and {-1} < set(expected)
    assert found.known.tolist() == known[at].tolist()
    nothing = match_actions(true, np.zeros(0, np.int64), np.zeros((0, 4)), iou)
    assert len(nothing.known) == len(nothing.row) == 0


def write_truth(path: Path, actions: str = "\n".join(ACTIONS), **changed: Any) -> Path:
    """At 0, 1 and 2 s three people side by side and a ball where the first is; who is first sits, the second waves."""
    left = np.tile([0.0, 20, 40, 0], 3)
    box = np.stack([left, np.zeros(12), left + 10, np.full(12, 10.0)], axis=1)
    arrays = {
        "pts": np.arange(3.0), "labels": np.zeros((3, len(actions.split("\n"))), np.uint8),
        "box_frame": np.repeat(np.arange(3, dtype=np.int32), 4), "box": box.astype(np.float32),
        "box_class": np.tile(np.array([0, 0, 0, 1], np.int16), 3), "box_track": np.tile(np.arange(4, dtype=np.int32), 3),
        "box_action": np.tile(np.eye(4, 2, dtype=np.uint8), (3, 1)), "shot_start": np.zeros(0),
    }  # fmt: skip
    arrays = {name: value for name, value in (arrays | changed).items() if value is not None}
    write: Callable[..., None] = kinds.TRUTH.write
    write(path, arrays, {"box_classes": "person,ball", "label_classes": actions})
    return path


def test_own_actions_of_boxes(tmp_path: Path) -> None:
    path = write_truth(tmp_path / "v.truth.h5")
    pts = np.array([0.0, 0.5, 1.04, 2.0])
    at = np.array([0, 0, 0, 0, 1, 2, 3])
    left = np.array([[20, 3, 60, 1, 20, 20, 40]], float).T
    box = np.concatenate([left, np.zeros((7, 1)), left + 10, np.full((7, 1), 10.0)], axis=1)
    found = own_labels(path, pts, at, box, ("run", "wave", "sit"))
    assert found is not None
    assert found.known.tolist() == [True] * 4 + [False, True, True], "half a second from a key frame nothing is known"
    assert found.matched.tolist() == [True, True, False, True, False, True, True]
    assert found.actions[:, 0].tolist() == [False] * 7, "a class that the truth does not name"
    assert found.actions[:, 1].tolist() == [True] + [False] * 4 + [True, False]
    assert found.actions[:, 2].tolist() == [False, True, False, True] + [False] * 3, "two boxes of one person"
    assert found.missed.tolist() == [0, 2, 2, 3, 3], "the third at 0 s, two at 1 s, two at 2 s; no ball"
    strict = own_labels(path, pts, at, box, ACTIONS, iou=0.9)
    assert strict is not None and strict.matched.tolist() == [True, False, False, False, False, True, True]


def test_where_nothing_is_told(tmp_path: Path) -> None:
    rows, nobody = ("box_frame", "box", "box_class", "box_track", "box_action"), np.zeros(0, np.int64)
    none = {name: np.zeros((0, *shape), kind) for name, shape, kind in zip(
        rows, [(), (4,), (), (), (2,)], [np.int32, np.float32, np.int16, np.int32, np.uint8], strict=True)}  # fmt: skip
    silent = write_truth(tmp_path / "silent.h5", box_action=None)
    for path in (silent, tmp_path / "not-there.h5"):
        assert not tells_actions(path)
        assert own_labels(path, np.zeros(1), nobody, np.zeros((0, 4)), ACTIONS) is None
    empty = write_truth(tmp_path / "empty.h5", **none)
    assert tells_actions(empty), "that nobody was there"
    false = own_labels(empty, np.zeros(1), np.zeros(1, np.int64), np.array([[1.0, 1, 9, 9]]), ACTIONS)
    assert false is not None and false.known.all() and not false.matched.any() and not len(false.missed)
    path = write_truth(tmp_path / "v.h5")
    assert tells_actions(path)
    found = own_labels(path, np.zeros(1), nobody, np.zeros((0, 4)), ACTIONS)
    assert found is not None and found.actions.shape == (0, 2) and found.missed.tolist() == [0, 0, 0]


def test_an_action_that_is_no_class_is_named(tmp_path: Path) -> None:
    path = write_truth(tmp_path / "v.h5", "sit\njump")
    with pytest.raises(ValueError, match=r"v.h5: label_classes names 'jump'; allowed: sit, wave"):
        own_labels(path, np.zeros(1), np.zeros(1, np.int64), np.zeros((1, 4)), ACTIONS)
    found = own_labels(path, np.array([0.5]), np.zeros(0, np.int64), np.zeros((0, 4)), ACTIONS)
    assert found is not None and not len(found.missed), "nobody is there to do it"
    idle = write_truth(
        tmp_path / "idle.h5", "sit\njump\nwave", box_action=np.tile(np.eye(4, 3, dtype=np.uint8)[[0, 3, 2, 3]], (3, 1))
    )
    box = np.array([[0.0, 0, 10, 10], [40, 0, 50, 10]])
    found = own_labels(idle, np.zeros(1), np.zeros(2, np.int64), box, ("wave", "sit"))
    assert found is not None and found.actions.tolist() == [[False, True], [True, False]], "nobody jumps"
