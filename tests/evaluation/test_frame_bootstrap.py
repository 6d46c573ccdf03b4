"""Intervals of frame mAP over videos and trainings, against lists that are really repeated."""

import numpy as np
import pytest

from pipeline.evaluation.bootstrap import draw_videos
from pipeline.evaluation.frame_bootstrap import copied_average_precision, frame_maps
from pipeline.evaluation.multilabel import average_precision


def test_copies_count_as_repeated_rows() -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 12, 60) / 12, rng.random(60) < 0.3  # with many equal scores
    copies = rng.integers(0, 4, (30, 60))
    copies[-1, positive] = 0
    found = copied_average_precision(scores, positive, copies)
    for row, value in zip(copies, found, strict=True):
        expected = average_precision(np.repeat(scores, row), np.repeat(positive, row))
        np.testing.assert_allclose(value, expected, rtol=1e-12)  # NaN for the last one, on both sides
    assert np.isnan(found[-1])


def test_resamples_draw_whole_videos() -> None:
    rng = np.random.default_rng(1)
    video = np.repeat(np.arange(6), 10)
    labels, scores = rng.random((60, 3)) < 0.2, rng.random((1, 60, 3))
    labels[:, 2] = False
    maps = frame_maps({"a": scores}, labels, video, (0, 1, 2), resamples=50, seed=3)
    assert maps.point["a"] == pytest.approx(np.mean([average_precision(scores[0, :, c], labels[:, c]) for c in (0, 1)]))
    for copies, value in zip(draw_videos(6, 50, 3), maps.samples["a"], strict=True):
        rows = np.concatenate([np.tile(np.flatnonzero(video == v), n) for v, n in enumerate(copies)])
        ap = [average_precision(scores[0, rows, c], labels[rows, c]) for c in (0, 1) if labels[rows, c].any()]
        assert value == pytest.approx(np.mean(ap))


def test_intervals_hold_the_spread_of_trainings_and_differences_are_paired() -> None:
    rng = np.random.default_rng(2)
    video, labels = np.repeat(np.arange(40), 5), rng.random((200, 1)) < 0.3
    good = labels[None] + 0.2 * rng.random((1, 200, 1))
    bad = rng.random((1, 200, 1))
    alike, apart = np.repeat(good, 3, axis=0), np.concatenate([good, good, bad])
    maps = frame_maps({"one": good, "alike": alike, "apart": apart}, labels, video, (0,))
    assert maps.point["apart"] < maps.point["alike"] == maps.point["one"] == 1
    assert maps.interval("alike").low == 1
    width = maps.interval("apart").high - maps.interval("apart").low
    assert width > 0.3, "a resample may draw the bad training thrice or never"
    both = frame_maps({"x": bad, "y": bad + 1}, labels, video, (0,))
    assert vars(both.difference("x", "y")) == {
        "value": 0.0, "low": 0.0, "high": 0.0,
    }  # fmt: skip


def test_wrong_tables_are_refused() -> None:
    labels, video = np.ones((4, 2), bool), np.zeros(4, int)
    with pytest.raises(ValueError, match=r"a: scores \(4, 2\) for labels \(4, 2\)"):
        frame_maps({"a": np.zeros((4, 2))}, labels, video, (0,))
    with pytest.raises(ValueError, match="a: a score is NaN"):
        frame_maps({"a": np.full((1, 4, 2), np.nan)}, labels, video, (0,))
