"""AP50 of boxes: hand cases, a literal slow rule, and the bootstrap against literal duplication."""

import numpy as np
import pytest

from pipeline.evaluation.detection import BoxTable, average_precision, box_iou, match, mean_ap


def squares(*corners: tuple[float, float], side: float = 10) -> list[list[float]]:
    return [[x, y, x + side, y + side] for x, y in corners]


def random_tables(rng: np.random.Generator, videos: int) -> tuple[list[BoxTable], list[BoxTable]]:
    """Crowded pictures: true boxes overlap each other, scores tie, some pictures lack one side or the other."""
    truth, found = [], []
    for _ in range(videos):
        n, m = rng.integers(2, 14, 2)
        picture, label = np.sort(rng.integers(0, 3, n)), rng.integers(0, 2, n)
        box = np.array(squares(*rng.integers(0, 16, (n, 2)).tolist()))
        truth.append(BoxTable.of(picture, label, box))
        near = np.sort(rng.integers(0, n, m))  # each detection is near a true box, several may be near one
        jittered = box[near] + rng.integers(-3, 4, (m, 4))
        found.append(BoxTable.of(picture[near], label[near], jittered, rng.integers(0, 6, m) / 5))
    return truth, found


def literal_ap(truth: list[BoxTable], found: list[BoxTable], label: int, iou: float) -> float:
    """COCO's matching and VOC's area, one detection after the other."""
    true = [
        (v, p, b) for v, t in enumerate(truth) for p, k, b in zip(t.picture, t.label, t.box, strict=True) if k == label
    ]
    rows = [
        (s, v, p, b)
        for v, t in enumerate(found)
        for p, k, b, s in zip(t.picture, t.label, t.box, t.score, strict=True)
        if k == label
    ]
    if not true:
        return float("nan")
    rows.sort(key=lambda row: -row[0])
    taken, hits = set(), []
    for _, video, picture, box in rows:
        best, best_iou = None, iou
        for i, (v, p, other) in enumerate(true):
            if (v, p) == (video, picture) and i not in taken:
                w = min(box[2], other[2]) - max(box[0], other[0])
                h = min(box[3], other[3]) - max(box[1], other[1])
                inter = max(w, 0) * max(h, 0)
                both = (box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1]) - inter
                if inter / both > best_iou or (best is None and inter / both >= best_iou):
                    best, best_iou = i, inter / both
        hits.append(best is not None)
        taken |= {best} - {None}
    precision = [sum(hits[: k + 1]) / (k + 1) for k in range(len(hits))]
    return sum(max(precision[k:]) for k in range(len(hits)) if hits[k]) / len(true)


def test_iou_by_hand() -> None:
    a = np.array([[0, 0, 10, 10], [5, 5, 5, 5]])
    b = np.array([[5, 0, 15, 10], [20, 20, 30, 30], [5, 5, 5, 5]])
    assert box_iou(a, b) == pytest.approx(np.array([[1 / 3, 0, 0], [0, 0, 0]]))


def test_average_precision_by_hand() -> None:
    truth = [BoxTable.of([0, 0, 1], [0, 0, 0], squares((0, 0), (50, 0), (0, 0)))]
    # Right, wrong place, right, twice the same box.
    found = [
        BoxTable.of([0, 0, 1, 1], [0] * 4, squares((1, 0), (80, 80), (0, 1), (0, 0)), [0.9, 0.8, 0.7, 0.6]),
    ]
    assert average_precision(match(truth, found, 0)) == pytest.approx([(1 + 2 / 3) / 3])
    assert average_precision(match(truth, found, 0, iou=0.95)) == pytest.approx([(1 / 4) / 3])


def test_the_best_free_box_is_taken() -> None:
    truth = [BoxTable.of([0, 0], [0, 0], squares((0, 0), (3, 0)))]
    found = [BoxTable.of([0, 0], [0, 0], squares((0, 0), (0.5, 0)), [0.9, 0.8])]
    assert match(truth, found, 0).tp.tolist() == [True, True], "VOC would call the second one wrong"


def test_equals_the_literal_rule() -> None:
    rng = np.random.default_rng(0)
    for iou in (0.3, 0.5, 0.75):
        for _ in range(20):
            truth, found = random_tables(rng, 5)
            for label in (0, 1):
                expected = literal_ap(truth, found, label, iou)
                assert average_precision(match(truth, found, label, iou))[0] == pytest.approx(expected, nan_ok=True)


def test_a_resample_equals_literal_duplication() -> None:
    rng = np.random.default_rng(1)
    truth, found = random_tables(rng, 6)
    for _ in range(20):
        drawn = rng.integers(0, 6, 6)
        weights = np.bincount(drawn, minlength=6)[None]
        drawn.sort()  # ties between videos keep their order
        expected = literal_ap([truth[v] for v in drawn], [found[v] for v in drawn], 0, 0.5)
        assert average_precision(match(truth, found, 0), weights)[0] == pytest.approx(expected, nan_ok=True)


def test_mean_ap_leaves_out_classes_without_truth() -> None:
    rng = np.random.default_rng(2)
    truth, found = random_tables(rng, 8)
    both = mean_ap(truth, found, [0, 1])
    assert both.value == pytest.approx(np.mean([literal_ap(truth, found, k, 0.5) for k in (0, 1)]))
    assert both.low < both.value < both.high
    assert mean_ap(truth, found, [0, 1]) == both
    assert mean_ap(truth, found, [0, 1, 7]).value == both.value
    assert np.isnan(mean_ap(truth, found, [7]).value)
    assert np.isnan(mean_ap([], [], [0]).value)
    assert np.isnan(mean_ap(truth, found, [0], resamples=0).low)


def test_nothing_found_is_zero_and_columns_must_agree() -> None:
    truth = [BoxTable.of([0], [0], squares((0, 0)))]
    assert mean_ap(truth, [BoxTable.of([], [], [], [])], [0]).value == 0
    with pytest.raises(ValueError, match="2 pictures, 1 labels, 1 boxes"):
        BoxTable.of([0, 1], [0], squares((0, 0)))
