"""Top-1 accuracy: the bootstrap against drawing clips literally, and chance by counting."""

import numpy as np
import pytest

from pipeline.evaluation.accuracy import chance, multi_label_map, top1
from pipeline.evaluation.bootstrap import draw_videos


@pytest.fixture
def clips() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    video = np.sort(rng.integers(0, 9, 60))
    labels = rng.integers(0, 4, 60)
    scores = rng.normal(size=(60, 4))
    scores[np.arange(60), labels] += 1.0
    return scores, labels, np.unique(video, return_inverse=True)[1]


def test_resamples_are_those_of_drawn_videos(clips: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    scores, labels, video = clips
    found = top1({"it": scores}, labels, video, resamples=50, seed=3)
    right = [max(range(4), key=lambda c, row=row: row[c]) == label for row, label in zip(scores, labels, strict=True)]
    assert found.point["it"] == pytest.approx(sum(right) / 60)
    for sample, counts in zip(found.samples["it"], draw_videos(int(video.max()) + 1, 50, 3), strict=True):
        drawn = [right[i] for v, times in enumerate(counts) for _ in range(times) for i in np.flatnonzero(video == v)]
        assert sample == pytest.approx(sum(drawn) / len(drawn))
    interval = found.interval("it")
    assert interval.low < found.point["it"] < interval.high


def test_differences_are_paired(clips: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    scores, labels, video = clips
    found = top1({"a": scores, "same": scores * 2, "worse": -scores}, labels, video, resamples=200)
    same = found.difference("a", "same")
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert found.difference("a", "worse").low > 0


def test_chance() -> None:
    training, testing = np.array([0, 1, 1, 2]), np.array([1, 1, 2, 0, 0])
    assert chance(training, testing, 3) == (1 / 3, 2 / 5)
    assert chance(training, testing, 3).higher == 2 / 5
    assert chance(training, np.array([0, 2]), 3).higher == 1 / 3


def test_lengths_are_checked() -> None:
    with pytest.raises(ValueError, match=r"2 labels for scores of \[3\] clips"):
        top1({"a": np.zeros((3, 2))}, np.zeros(2, int), np.zeros(2, int))


def test_multi_label_map_by_hand() -> None:
    labels = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]])
    scores = np.array([[0.9, 0.8, 0.1], [0.5, 0.7, 0.9], [0.2, 0.1, 0.2], [1.0, 1.0, 1.0]])
    # Class 0 is ranked 0, 1, 2: hits at 1 and 3. Class 1 is ranked 0, 1, 2: hits at 2 and 3. Class 2 never occurs.
    first, second = (1 / 1 + 2 / 3) / 2, (1 / 2 + 2 / 3) / 2
    assert multi_label_map(scores, labels) == pytest.approx(((first + second) / 2, (2 * first + 2 * second) / 4))
    with pytest.raises(ValueError, match="with 0 ones"):
        multi_label_map(scores, labels * 0)
