"""Precision-recall curves."""

import numpy as np
import pytest

from pipeline.evaluation.activitynet import evaluate
from pipeline.evaluation.curves import precision_recall
from pipeline.evaluation.segments import GroundTruth, Predictions

TRUTH = GroundTruth.from_rows(
    ["a"], [("a", "run", 0, 10), ("a", "run", 20, 30), ("a", "jump", 40, 50), ("a", "wave", 60, 70)]
)
FOUND = Predictions.from_rows(
    [("a", "run", 0, 10, 0.9), ("a", "run", 50, 60, 0.8), ("a", "run", 20, 30, 0.7), ("a", "jump", 40, 44, 0.6)]
)


def test_curve_by_hand() -> None:
    curves = precision_recall(TRUTH, FOUND, np.array([0.5]), np.array([0.0, 0.5, 0.6, 1.0]))
    assert curves.labels == ("run", "jump", "wave")
    assert curves.precision[0, 0] == pytest.approx([1, 1, 2 / 3, 2 / 3])
    assert curves.precision[0, 1].tolist() == [0, 0, 0, 0]  # overlaps too little
    assert curves.precision[0, 2].tolist() == [0, 0, 0, 0]  # never predicted
    assert curves.mean(0) == pytest.approx(np.array([1, 1, 2 / 3, 2 / 3]) / 3)


def test_area_is_the_ap() -> None:
    rng = np.random.default_rng(1)
    truths = [("a", str(rng.choice(["x", "y"])), t, t + 8.0) for t in np.arange(0, 400, 10.0)]
    rows = [("a", str(rng.choice(["x", "y"])), t, t + rng.uniform(5, 10), float(rng.random()))
            for t in rng.uniform(0, 400, 500)]  # fmt: skip
    truth, found = GroundTruth.from_rows(["a"], truths), Predictions.from_rows(rows)
    middles = (np.arange(100_000) + 0.5) / 100_000
    curves = precision_recall(truth, found, recalls=middles)
    assert curves.precision.mean(axis=2) == pytest.approx(evaluate(truth, found).ap, abs=1e-4)
    assert (np.diff(curves.precision, axis=2) <= 0).all()


def test_full_recall_is_reached_in_spite_of_rounding() -> None:
    truths = [("a", "x", 10.0 * i, 10.0 * i + 5) for i in range(49)]
    truth = GroundTruth.from_rows(["a"], truths)
    found = Predictions.from_rows([(*row, 1.0 - i / 100) for i, row in enumerate(truths)])
    assert (precision_recall(truth, found).precision == 1).all()
