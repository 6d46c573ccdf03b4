"""Recognition of clips: views combined, top-k against a sort, mean over splits; COCO only where it is installed."""

import numpy as np
import pytest

from pipeline.evaluation.coco import coco_ap
from pipeline.evaluation.detection import BoxTable
from pipeline.evaluation.recognition import Recognition, combine_views, mean_over_splits, recognition


def test_top_k_equals_a_stable_sort() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 4, (60, 12)) / 3, rng.integers(0, 12, 60)
    order = [sorted(range(12), key=lambda c, row=row: -row[c]) for row in scores]  # type: ignore[misc]
    result = recognition(scores, labels)
    assert result.top1 == pytest.approx(100 * np.mean([o[0] == y for o, y in zip(order, labels, strict=True)]))
    assert result.top5 == pytest.approx(100 * np.mean([y in o[:5] for o, y in zip(order, labels, strict=True)]))
    by_class = [
        np.mean([o[0] == c for o, y in zip(order, labels, strict=True) if y == c]) for c in set(labels.tolist())
    ]
    assert result.mean_class == pytest.approx(100 * np.mean(by_class))


def test_views_are_combined_by_name() -> None:
    views = np.array([[5.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    soft = np.exp(views) / np.exp(views).sum(axis=1, keepdims=True)
    assert combine_views(views) == pytest.approx(soft.mean(axis=0))
    assert combine_views(views, "mean") == pytest.approx([5 / 3, 2 / 3])
    assert combine_views(views, "max").tolist() == [5.0, 1.0]
    assert combine_views(np.zeros((4, 30, 7))).shape == (4, 7)
    with pytest.raises(ValueError, match="at least one view"):
        combine_views(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="combine is 'sum'"):
        combine_views(views, "sum")  # type: ignore[arg-type]


def test_three_splits() -> None:
    splits = [Recognition(60, 90, 50, 10), Recognition(70, 90, 60, 11), Recognition(80, 96, 70, 12)]
    assert mean_over_splits(splits) == Recognition(70, 92, 60, 33)
    with pytest.raises(ValueError, match="no splits"):
        mean_over_splits([])


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="not one of the 2 classes"):
        recognition(np.zeros((1, 2)), np.array([2]))
    with pytest.raises(ValueError, match="not finite"):
        recognition(np.full((1, 2), np.nan), np.array([0]))
    with pytest.raises(ValueError, match="N > 0"):
        recognition(np.zeros((0, 2)), np.zeros(0, int))


def test_coco() -> None:
    truth = [BoxTable.of([0, 1], [0, 1], [[0, 0, 100, 100], [10, 10, 60, 60]])]
    found = [BoxTable.of([0, 1], [0, 1], [[0, 0, 100, 100], [10, 10, 60, 58]], [0.9, 0.8])]
    figures = coco_ap(truth, found, ["person", "ball"])
    assert figures["AP50"] == pytest.approx(1.0)
    assert figures["AP"] == pytest.approx(1.0)  # IoU 0.96 passes every threshold
