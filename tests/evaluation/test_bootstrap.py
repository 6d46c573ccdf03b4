"""The bootstrap: weighting equals duplicating, differences are paired, and it is quick."""

import time

import numpy as np
import pytest

from pipeline.evaluation.activitynet import TIOUS, evaluate, match
from pipeline.evaluation.bootstrap import Bootstrap, bootstrap, weighted_map
from pipeline.evaluation.segments import GroundTruth, Predictions

Case = tuple[GroundTruth, Predictions, list[tuple[str, str, float, float]], list[tuple[str, str, float, float, float]]]


def random_case(seed: int, videos: int, per_video: int, found_per_video: int, classes: int, noise: float) -> Case:
    """Truths and noisy detections of them, with distinct scores."""
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for v in range(videos):
        for _ in range(int(rng.integers(0, per_video + 1))):
            start, length = rng.uniform(0, 50), rng.uniform(2, 10)
            truths.append((f"v{v}", f"c{rng.integers(classes)}", start, start + length))
    for _ in range(videos * found_per_video):
        video, label, start, end = truths[rng.integers(len(truths))]
        if rng.random() < 0.3:
            video, label = f"v{rng.integers(videos + 1)}", truths[rng.integers(len(truths))][1]
        shift = rng.normal(0, noise, 2)
        found.append((video, label, start + shift[0], end + shift[1], float(rng.random() - np.abs(shift).sum() / 9)))
    gt = GroundTruth.from_rows([f"v{v}" for v in range(videos)], truths)
    return gt, Predictions.from_rows(found), truths, found


@pytest.mark.parametrize("seed", range(8))
def test_weights_equal_literal_duplication(seed: int) -> None:
    gt, pred, truths, found = random_case(seed, videos=7, per_video=3, found_per_video=12, classes=3, noise=1.0)
    drawn = np.random.default_rng(seed).integers(len(gt.videos), size=len(gt.videos))
    copies = [(gt.videos[v], f"copy {i} of {gt.videos[v]}") for i, v in enumerate(drawn)]
    truths_2 = [(copy, *row[1:]) for id_, copy in copies for row in truths if row[0] == id_]
    classes = {row[1] for row in truths_2}
    found_2 = [(copy, *row[1:]) for id_, copy in copies for row in found if row[0] == id_ and row[1] in classes]
    found_2 += [row for row in found if row[0] not in gt.videos and row[1] in classes]
    literal = evaluate(GroundTruth.from_rows([copy for _, copy in copies], truths_2), Predictions.from_rows(found_2))
    weights = np.bincount(drawn, minlength=len(gt.videos))[None]
    assert 0 < literal.average_mAP < 1
    assert weighted_map(gt, match(gt, pred), weights)[0] == pytest.approx(literal.mAP, abs=1e-12)


def test_point_estimate_is_the_protocol_itself() -> None:
    gt, pred, _, _ = random_case(1, videos=20, per_video=4, found_per_video=20, classes=4, noise=1.0)
    result = bootstrap(gt, {"it": pred}, resamples=10)
    assert result.point["it"] == pytest.approx(evaluate(gt, pred).mAP, abs=1e-12)
    assert result.average("it").value == pytest.approx(evaluate(gt, pred).average_mAP, abs=1e-12)
    assert [interval.value for interval in result.per_tiou("it")] == result.point["it"].tolist()


def two_encoders() -> tuple[GroundTruth, Bootstrap]:
    """One set, a good and a bad detector of the same truths, and the good one again."""
    gt, good, _, found = random_case(2, videos=40, per_video=4, found_per_video=25, classes=5, noise=0.8)
    rng = np.random.default_rng(0)
    bad = Predictions.from_rows([(v, c, s + rng.normal(0, 1.0), e, p) for v, c, s, e, p in found])
    return gt, bootstrap(gt, {"good": good, "bad": bad, "again": good}, resamples=400, seed=3)


def test_intervals_and_paired_differences() -> None:
    _, result = two_encoders()
    good, bad = result.average("good"), result.average("bad")
    assert good.low < good.value < good.high
    assert result.difference("good", "again") == result.average("good").__class__(0.0, 0.0, 0.0)
    gap = result.difference("good", "bad")
    assert gap.value == pytest.approx(good.value - bad.value)
    # Pairing takes out what both share: the difference is known better than two separate intervals would say.
    assert 0 < gap.high - gap.low < np.hypot(good.high - good.low, bad.high - bad.low)
    wide, narrow = result.average("good", 0.99), result.average("good", 0.5)
    assert narrow.high - narrow.low < wide.high - wide.low


def test_same_seed_same_samples() -> None:
    gt, pred, _, _ = random_case(1, videos=9, per_video=3, found_per_video=5, classes=2, noise=1.0)
    a, b, c = (bootstrap(gt, {"it": pred}, resamples=20, seed=seed).samples["it"] for seed in (5, 5, 6))
    assert np.array_equal(a, b, equal_nan=True)
    assert not np.array_equal(a, c, equal_nan=True)


def test_resamples_without_any_instance_are_left_out() -> None:
    gt = GroundTruth.from_rows(["a", "b", "c"], [("a", "run", 0.0, 1.0)])
    result = bootstrap(gt, {"it": Predictions.from_rows([("a", "run", 0.0, 1.0, 0.5)])}, resamples=200)
    missing = np.isnan(result.samples["it"][:, 0]).mean()
    assert missing == pytest.approx((2 / 3) ** 3, abs=0.1)
    assert result.average("it") == result.average("it").__class__(1.0, 1.0, 1.0)


def test_1000_resamples_of_a_demo_sized_split_take_under_two_seconds_of_cpu() -> None:
    gt, pred, _, _ = random_case(0, videos=40, per_video=8, found_per_video=100, classes=14, noise=1.0)
    assert len(TIOUS) == 10
    begin = time.process_time()
    bootstrap(gt, {"a": pred, "b": pred, "c": pred}, resamples=1000)
    assert time.process_time() - begin < 2.0
