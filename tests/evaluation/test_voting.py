"""Segment voting by hand and against a plain loop."""

import numpy as np
import pytest

from pipeline.evaluation.voting import Weight, vote_segments


def test_by_hand() -> None:
    segments = np.array([[0.0, 10.0], [0.0, 8.0], [20.0, 30.0]])
    scores = np.array([0.6, 0.3, 0.9])
    voted = vote_segments(segments[:1], segments, scores, 0.75, "score")
    assert voted == pytest.approx(np.array([[0.0, (0.6 * 10 + 0.3 * 8) / 0.9]]))
    voted = vote_segments(segments[:1], segments, scores, 0.75, "score_iou")
    assert voted == pytest.approx(np.array([[0.0, (0.6 * 10 + 0.24 * 8) / 0.84]]))
    assert vote_segments(segments[:1], segments, scores, 0.9).tolist() == [[0.0, 10.0]]


@pytest.mark.parametrize("weight", ["score", "score_iou"])
def test_equals_a_plain_loop(weight: Weight) -> None:
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 50, 80)
    segments, scores = np.stack([start, start + rng.uniform(1, 20, 80)], axis=1), rng.random(80)
    for row, voted in zip(segments[:10], vote_segments(segments[:10], segments, scores, 0.4, weight), strict=True):
        total, where = 0.0, np.zeros(2)
        for other, score in zip(segments, scores, strict=True):
            inside = max(min(row[1], other[1]) - max(row[0], other[0]), 0.0)
            iou = inside / (row[1] - row[0] + other[1] - other[0] - inside)
            if iou >= 0.4:
                part = score * (iou if weight == "score_iou" else 1)
                total, where = total + part, where + part * other
        assert voted == pytest.approx(where / total)


def test_no_neighbour_stays_and_bad_input_is_named() -> None:
    kept = np.array([[0.0, 1.0]])
    assert vote_segments(kept, np.array([[5.0, 6.0]]), np.array([0.5]), 0.5).tolist() == [[0.0, 1.0]]
    assert vote_segments(kept, np.empty((0, 2)), np.empty(0), 0.5).tolist() == [[0.0, 1.0]]
    assert vote_segments(kept, kept, np.zeros(1), 0.5).tolist() == [[0.0, 1.0]]
    with pytest.raises(ValueError, match="weight 'iou'"):
        vote_segments(kept, kept, np.ones(1), 0.5, "iou")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"scores \(2,\)"):
        vote_segments(kept, kept, np.ones(2), 0.5)
