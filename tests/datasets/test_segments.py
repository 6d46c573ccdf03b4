"""CoViAR's sampling, against the published rule written out as a loop, and on streams with uneven groups."""

import numpy as np
import pytest

from pipeline.datasets.segments import clip_rows, i_frames, predicted_frames, segment_frames


def published_range(n: int, segments: int, segment: int, predicted: bool) -> tuple[int, int]:
    """Begin and end of a training segment as the published loader computes them, step by step."""
    if predicted:
        n -= 1
    size = float(n - 1) / segments
    begin, end = int(np.round(size * segment)), int(np.round(size * (segment + 1)))
    if end == begin:
        end = begin + 1
    return (begin + 1, end + 1) if predicted else (begin, end)


@pytest.mark.parametrize("predicted", [False, True])
@pytest.mark.parametrize("count", [2, 5, 59, 300])
def test_released_training_draws_lie_in_and_fill_the_published_ranges(count: int, predicted: bool) -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([segment_frames(count, 3, rng, predicted=predicted, compat="released") for _ in range(2000)])
    for segment in range(3):
        begin, end = published_range(count, 3, segment, predicted)
        assert set(drawn[:, segment]) == set(range(begin, end))


@pytest.mark.parametrize("count", [12, 59, 301])
def test_released_test_frames(count: int) -> None:
    for predicted in (False, True):
        n = count - 1 if predicted else count
        expected = [int(np.round((n - 1) / 25 * (s + 0.5))) + predicted for s in range(25)]
        assert segment_frames(count, 25, None, predicted=predicted, compat="released").tolist() == expected


def test_fixed_reaches_every_frame_equally_often_and_in_order() -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([segment_frames(10, 4, rng, predicted=True) for _ in range(4000)])
    assert (np.diff(drawn, axis=1) >= 0).all()
    counts = np.bincount(drawn.reshape(-1), minlength=10)
    assert len(counts) == 10
    np.testing.assert_allclose(counts / counts.sum(), 0.1, atol=0.01)
    assert segment_frames(100, 4, None, predicted=False).tolist() == [12, 37, 62, 87]
    assert segment_frames(1, 3, None, predicted=True).tolist() == [0, 0, 0]


def test_i_frames_and_predicted_frames_of_uneven_groups() -> None:
    # Groups of 5, 3 and 4; the first two frames come before any I-frame, frame 9 is a group of its own.
    index = np.array([-1, -1, 2, 2, 2, 2, 2, 7, 7, 9, 10, 10, 10])
    reference = np.array([-1, -1, -1, 2, 3, 4, 5, -1, 7, -1, -1, 10, 11])
    frames = np.arange(13)
    assert i_frames(frames, index).tolist() == [2, 2, *index[2:].tolist()]
    assert predicted_frames(frames, reference >= 0).tolist() == [3, 3, 3, 3, 4, 5, 6, 6, 8, 8, 8, 11, 12]
    assert predicted_frames(np.array([[2], [9]]), np.zeros(13, bool)).tolist() == [[2], [9]]
    with pytest.raises(ValueError, match="without any I-frame"):
        i_frames(frames, np.full(13, -1))


def test_released_addresses_groups_of_twelve() -> None:
    frames = np.array([1, 11, 12, 13, 24, 35])
    anything = np.zeros(36)
    assert i_frames(frames, anything, "released").tolist() == [0, 0, 12, 12, 24, 24]
    # Frame 0 of a group stands for the last frame of the group before.
    assert predicted_frames(frames, anything, "released").tolist() == [1, 11, 11, 13, 23, 35]


def test_too_short_clips_are_named() -> None:
    with pytest.raises(ValueError, match="1 frames in 3 segments; needed: at least 2"):
        segment_frames(1, 3, None, predicted=True, compat="released")
    with pytest.raises(ValueError, match="0 frames"):
        segment_frames(0, 3, None, predicted=False)


def test_rows_of_a_clip() -> None:
    pts = np.arange(20) / 20
    assert clip_rows(pts, 0.25, 0.5) == (5, 5)
    assert clip_rows(pts, 0.26, 0.28) == (6, 1)
    assert clip_rows(pts, 5.0, 6.0) == (19, 1)
