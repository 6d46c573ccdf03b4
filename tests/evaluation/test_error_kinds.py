"""Error kinds after DETAD, on cases small enough to do by hand."""

import numpy as np
import pytest

from pipeline.evaluation.activitynet import TIOUS, evaluate
from pipeline.evaluation.error_kinds import FALSE_NEGATIVE, KINDS, TRUE_POSITIVE, diagnose
from pipeline.evaluation.segments import GroundTruth, Predictions

TRUTH = GroundTruth.from_rows(
    ["a", "b", "empty"], [("a", "run", 0, 10), ("a", "jump", 20, 30), ("b", "run", 0, 10), ("b", "run", 50, 60)]
)
CASES = {
    ("a", "run", 0, 10, 0.99): TRUE_POSITIVE,
    ("a", "run", 0, 9, 0.98): "double detection",
    ("a", "run", 20, 29, 0.97): "wrong label",
    ("b", "run", 0, 4, 0.96): "localisation",
    ("a", "run", 20, 23, 0.95): "confusion",
    ("b", "run", 30, 40, 0.94): "background",
    ("empty", "run", 0, 10, 0.93): "background",
    ("elsewhere", "run", 0, 10, 0.92): "background",
    ("b", "run", 50, 60, 0.91): TRUE_POSITIVE,
    ("b", "run", 9.05, 19.05, 0.90): "background",  # tIoU just below 0.1
    ("a", "jump", 20, 30, 0.89): TRUE_POSITIVE,
}


def kinds_at(truth: GroundTruth, rows: list[tuple], t: float) -> dict[tuple, str]:
    """The kind of each row; every row has its own score."""
    predictions = Predictions.from_rows(rows)
    diagnosis = diagnose(truth, predictions, np.array([t]))
    label = {name: i for i, name in enumerate(truth.labels)}
    order = sorted(rows, key=lambda row: (label[row[1]], -row[4]))
    return {row: KINDS[code] for row, code in zip(order, diagnosis.kind[0], strict=True)}


def test_each_kind_by_hand() -> None:
    assert kinds_at(TRUTH, list(CASES), 0.5) == CASES


def test_kind_depends_on_the_threshold() -> None:
    row = ("a", "run", 0, 7, 0.9)
    assert kinds_at(TRUTH, [row], 0.5) == {row: TRUE_POSITIVE}
    assert kinds_at(TRUTH, [row], 0.75) == {row: "localisation"}


def test_counts_groups_and_missed() -> None:
    diagnosis = diagnose(TRUTH, Predictions.from_rows(list(CASES)), np.array([0.5]))
    assert diagnosis.missed.tolist() == [1]  # of b, run 0 to 10
    assert diagnosis.instances == 4
    assert diagnosis.counts(0)[TRUE_POSITIVE] == 3
    assert sum(diagnosis.counts(0).values()) == len(CASES)
    # "run" has three instances, so its ten predictions fall into groups 1, 1, 1, 2, ..., 4; "jump" has one.
    assert diagnosis.group.tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 1]
    assert diagnosis.counts(0, groups=1) == {**dict.fromkeys(KINDS, 0), TRUE_POSITIVE: 2, "double detection": 1,
                                            "wrong label": 1}  # fmt: skip
    profile = diagnosis.profile(5)
    assert profile[0].tolist() == [0.5, 0.25, 0.25, 0, 0, 0]
    assert profile[1].tolist() == [0, 0, 0, 1 / 3, 1 / 3, 1 / 3]
    assert np.isnan(profile[4]).all()


def test_gain_is_the_map_without_the_kinds_predictions() -> None:
    """Against the official evaluation of the predictions that are left."""
    rng = np.random.default_rng(0)
    videos, labels = [f"v{i}" for i in range(6)], ["run", "jump", "wave"]
    truths = [(v, str(rng.choice(labels)), t, t + rng.uniform(3, 8)) for v in videos for t in (0.0, 10.0, 20.0)]
    truths += [("v0", label, 40.0, 45.0) for label in labels]
    rows = [
        (str(rng.choice(videos)), str(rng.choice(labels)), t, t + rng.uniform(2, 9), float(rng.random()))
        for t in rng.uniform(0, 30, 300)
    ]
    truth, predictions = GroundTruth.from_rows(videos, truths), Predictions.from_rows(rows)
    diagnosis = diagnose(truth, predictions)
    assert diagnosis.average_mAP == pytest.approx(evaluate(truth, predictions).average_mAP)
    assert set(diagnosis.gain) == {*KINDS[1:], FALSE_NEGATIVE}
    for name in KINDS[1:]:
        total = 0.0
        for t in TIOUS:
            kept = [row for row, kind in kinds_at(truth, rows, t).items() if kind != name]
            total += evaluate(truth, Predictions.from_rows(kept), np.array([t])).average_mAP
        assert diagnosis.gain[name] == pytest.approx(total / len(TIOUS) - diagnosis.average_mAP)
        assert diagnosis.gain[name] >= 0


def test_fixed_false_negatives_leave_the_truth() -> None:
    truth = GroundTruth.from_rows(["a"], [("a", "run", 0, 10), ("a", "run", 20, 30), ("a", "jump", 40, 50)])
    diagnosis = diagnose(truth, Predictions.from_rows([("a", "run", 0, 10, 0.9)]))
    assert diagnosis.average_mAP == pytest.approx(0.25)  # AP 0.5 and 0
    assert diagnosis.gain[FALSE_NEGATIVE] == pytest.approx(
        0.75
    )  # run is perfect, jump has nothing left to be judged on


def test_nothing_predicted_is_all_missed() -> None:
    diagnosis = diagnose(TRUTH, Predictions.from_rows([]))
    assert diagnosis.missed.tolist() == [4] * 10
    assert diagnosis.average_mAP == 0
    assert set(diagnosis.gain.values()) == {0.0}
    assert np.isnan(diagnosis.profile()).all()


def test_threshold_below_the_least_overlap() -> None:
    with pytest.raises(ValueError, match=r"tious holds 0\.05, below least_tiou = 0\.1"):
        diagnose(TRUTH, Predictions.from_rows([]), np.array([0.05, 0.5]))
