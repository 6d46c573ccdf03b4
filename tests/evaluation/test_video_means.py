"""Means over videos: intervals against literal resampling, pairs on the same draws, refusals."""

import numpy as np
import pytest

from pipeline.evaluation.bootstrap import draw_videos
from pipeline.evaluation.video_means import video_means


def test_intervals_are_those_of_literally_drawn_videos() -> None:
    rng = np.random.default_rng(0)
    figures = {"a": rng.random((1, 9)), "b": rng.random((1, 9))}
    found = video_means(figures, resamples=200, seed=3)
    drawn = {
        name: [np.repeat(table[0], copies).mean() for copies in draw_videos(9, 200, 3)]
        for name, table in figures.items()
    }
    assert found["a"].gain is None and found["b"].value.value == pytest.approx(figures["b"].mean())
    np.testing.assert_allclose((found["b"].value.low, found["b"].value.high), np.quantile(drawn["b"], [0.025, 0.975]))
    gain = found["b"].gain
    assert gain is not None
    differences = np.array(drawn["b"]) - np.array(drawn["a"])
    np.testing.assert_allclose((gain.low, gain.high), np.quantile(differences, [0.025, 0.975]))
    assert gain.value == pytest.approx(figures["b"].mean() - figures["a"].mean())


def test_videos_are_paired_and_trainings_vary() -> None:
    table = np.random.default_rng(1).random((1, 20))
    same = video_means({"a": table, "b": table + 0.25})["b"].gain
    assert same is not None
    np.testing.assert_allclose((same.low, same.high), 0.25)  # the same videos are drawn for both
    flat = video_means({"a": np.array([[0.0] * 5, [1.0] * 5])})["a"].value
    assert (flat.value, flat.low, flat.high) == (0.5, 0.0, 1.0), "no two videos differ, but the trainings do"


def test_clips_are_drawn_by_whole_videos() -> None:
    rng = np.random.default_rng(2)
    video = np.repeat(np.arange(5), [1, 4, 2, 7, 3])
    table = rng.integers(2, size=(1, len(video))).astype(float)
    found = video_means({"a": table}, video=video, resamples=100, seed=6)["a"].value
    literal = [table[0, np.repeat(np.arange(17), copies[video])].mean() for copies in draw_videos(5, 100, 6)]
    np.testing.assert_allclose((found.low, found.high), np.quantile(literal, [0.025, 0.975]))
    assert found.value == pytest.approx(table.mean())


@pytest.mark.parametrize(
    "figures",
    [
        {"a": np.zeros((1, 3)), "b": np.zeros((1, 4))},
        {"a": np.zeros((0, 3))},
        {"a": np.zeros((2, 0))},
        {"a": np.zeros(3)},
        {"a": np.array([[np.nan]])},
    ],
)
def test_refusals(figures: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"needed: trainings x videos|is not finite"):
        video_means(figures)
