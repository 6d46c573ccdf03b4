"""The vectorised ActivityNet rule equals the official one, in the plain cases and in the odd ones."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.activitynet import TIOUS, Result, evaluate
from pipeline.evaluation.segments import GroundTruth, Predictions

Truths = list[tuple[str, str, float, float]]
Found = list[tuple[str, str, float, float, float]]


def score(truths: Truths, found: Found, videos: tuple[str, ...] | None = None) -> Result:
    """Score rows; the subset's videos are those of the truths unless told."""
    ids = videos if videos is not None else tuple(dict.fromkeys(row[0] for row in truths))
    return evaluate(GroundTruth.from_rows(ids, truths), Predictions.from_rows(found))


# Few values each, so that equal scores, duplicates, shared tIoUs, zero and negative lengths come up all the time.
VIDEO = st.sampled_from(["a", "b", "c"])
LABEL = st.sampled_from(["run", "jump"])
TIME = st.integers(0, 8).map(float) | st.floats(0, 8, allow_nan=False, width=32)
SCORE = st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1, allow_nan=False)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(
    truths=st.lists(st.tuples(VIDEO, LABEL, TIME, TIME), min_size=1, max_size=14),
    found=st.lists(st.tuples(st.sampled_from(["a", "b", "c", "elsewhere"]), LABEL, TIME, TIME, SCORE), max_size=40),
)
def test_equals_the_literal_rule_bit_for_bit(literal_rule, truths: Truths, found: Found) -> None:
    known = {row[1] for row in truths}
    found = [row for row in found if row[1] in known]
    result = score(truths, found, ("a", "b", "c"))
    expected = literal_rule(truths, found, TIOUS)
    assert result.ap.tobytes() == expected.tobytes()
    assert result.average_mAP == expected.mean(axis=1).mean()


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_literal_rule_on_many_overlapping_rows(literal_rule, seed: int) -> None:
    # More than 16 rows a class and many equal scores: here the unstable sort really reorders.
    rng = np.random.default_rng(seed)
    truths: Truths = [
        (f"v{rng.integers(4)}", f"c{rng.integers(2)}", t, t + rng.integers(0, 6) / 2)
        for t in rng.integers(0, 12, 60) / 2
    ]
    found: Found = [
        (f"v{rng.integers(5)}", f"c{rng.integers(2)}", t, t + rng.integers(0, 6) / 2, float(rng.integers(0, 5)) / 4)
        for t in rng.integers(0, 12, 500) / 2
    ]
    expected = literal_rule(truths, found, TIOUS)
    assert 0 < expected.mean() < 1
    assert score(truths, found, ("v0", "v1", "v2", "v3")).ap.tobytes() == expected.tobytes()


ONE: Truths = [("a", "run", 0.0, 10.0)]
HIT = ("a", "run", 0.0, 10.0)
MISS = ("a", "run", 20.0, 30.0)


@pytest.mark.parametrize(
    ("truths", "found", "expected"),
    [
        pytest.param(ONE, [], 0.0, id="no predictions at all"),
        pytest.param(ONE, [(*HIT, 0.5)], 1.0, id="one hit"),
        pytest.param(ONE, [(*HIT, 0.5), (*MISS, 0.5)], 0.5, id="equal scores: hit first in the file"),
        pytest.param(ONE, [(*MISS, 0.5), (*HIT, 0.5)], 1.0, id="equal scores: miss first in the file"),
        pytest.param(ONE, [(*HIT, 0.9), ("elsewhere", "run", 0.0, 10.0, 0.95)], 0.5, id="video outside the subset"),
        pytest.param(
            [*ONE, ("a", "run", 20.0, 30.0)],
            [(*HIT, 0.9), (*HIT, 0.8), (*MISS, 0.7)],
            5 / 6,
            id="duplicate in the middle",
        ),
        pytest.param([*ONE, *ONE], [(*HIT, 0.9), (*HIT, 0.8)], 1.0, id="two overlapping truths, two equal predictions"),
        pytest.param([("a", "run", 5.0, 5.0)], [("a", "run", 90.0, 90.0, 0.5)], 1.0, id="zero length twice: 0/0"),
        pytest.param([("a", "run", 5.0, 5.0)], [(*HIT, 0.5)], 0.0, id="zero-length truth, normal prediction"),
        pytest.param(ONE, [("a", "run", 5.0, 5.0, 0.5)], 0.0, id="normal truth, zero-length prediction"),
        pytest.param([*ONE, ("b", "jump", 0.0, 1.0)], [(*HIT, 0.5)], 0.5, id="a class without prediction counts 0"),
        pytest.param([*ONE, ("b", "run", 0.0, 1.0)], [(*HIT, 0.5)], 0.5, id="a video without prediction"),
    ],
)
def test_corner_cases_as_measured_with_the_official_code(truths: Truths, found: Found, expected: float) -> None:
    result = score(truths, found)
    assert result.mAP == pytest.approx([expected] * 10, abs=1e-15)


def test_taken_best_match_falls_to_the_second_best() -> None:
    truths: Truths = [("a", "run", 0.0, 10.0), ("a", "run", 1.0, 11.0)]
    result = score(truths, [("a", "run", 0.0, 10.0, 0.9), ("a", "run", 0.2, 10.2, 0.8)])
    overlap = 9.2 / 10.8  # of the second prediction with the second truth; its best match is taken
    assert result.mAP == pytest.approx([1.0 if overlap >= tiou else 0.5 for tiou in TIOUS])


def test_a_tiou_on_the_threshold_is_a_hit() -> None:
    result = score(ONE, [("a", "run", 0.0, 6.0, 0.5)])
    assert result.mAP.tolist() == [1.0, 1.0, 1.0] + [0.0] * 7  # 0.50, 0.55, 0.60
    assert TIOUS[8] == 0.8999999999999999


def test_unknown_label_names_file_label_and_video() -> None:
    gt = GroundTruth.from_rows(["a"], ONE, "gt.json")
    pred = Predictions.from_rows([(*HIT, 0.5), ("zz", "swim", 0.0, 1.0, 0.5)], "mine.json")
    with pytest.raises(ValueError, match=r"mine\.json: video 'zz' .*label 'swim'.*gt\.json"):
        evaluate(gt, pred)


def test_counts_and_warnings() -> None:
    truths: Truths = [*ONE, ("b", "run", 3.0, 3.0)]
    found: Found = [(*HIT, 0.5), ("elsewhere", "run", 0.0, 1.0, 0.1), ("a", "run", 5.0, 4.0, 0.2)]
    result = score(truths, found, ("a", "b", "without instance"))
    assert (result.videos, result.instances, result.predictions) == (3, 2, 3)
    assert [warning.split()[0] for warning in result.warnings] == ["1", "2", "1", "1"]
    assert "outside the subset" in result.warnings[0]


def test_other_thresholds() -> None:
    gt, pred = GroundTruth.from_rows(["a"], ONE), Predictions.from_rows([("a", "run", 0.0, 4.0, 0.5)])
    assert evaluate(gt, pred, np.array([0.3, 0.5])).mAP.tolist() == [1.0, 0.0]


def test_45000_predictions_in_under_a_second_of_cpu() -> None:
    rng = np.random.default_rng(0)
    gt, pred = random_case(rng, videos=4728, instances=7293, predictions=45_000, classes=200)
    begin = time.process_time()
    result = evaluate(gt, pred)
    assert time.process_time() - begin < 1.0
    assert 0.1 < result.average_mAP < 0.9


def random_case(
    rng: np.random.Generator, videos: int, instances: int, predictions: int, classes: int
) -> tuple[GroundTruth, Predictions]:
    """Jittered copies of random truths, mostly in the right video and class."""
    ids = [f"v{i}" for i in range(videos)]
    video, label = rng.integers(videos, size=instances), np.arange(instances) % classes
    start, length = rng.uniform(0, 60, instances), rng.uniform(1, 40, instances)
    gt = GroundTruth.from_rows(
        ids, [(ids[v], f"c{c}", s, s + d) for v, c, s, d in zip(video, label, start, length, strict=True)]
    )
    of = rng.integers(instances, size=predictions)
    shift = rng.normal(0, 0.25, (predictions, 2)) * length[of, None]
    wrong = rng.random(predictions) < 0.3
    pred_label = np.where(wrong, rng.integers(classes, size=predictions), label[of])
    near = np.exp(-np.abs(shift).sum(axis=1) / length[of]) + rng.normal(0, 0.2, predictions)
    rows = zip(video[of], pred_label, start[of] + shift[:, 0], start[of] + length[of] + shift[:, 1], near, strict=True)
    return gt, Predictions.from_rows([(ids[v], f"c{c}", s, e, p) for v, c, s, e, p in rows])
