"""Temporal soft-NMS against a plain loop, by hand, and against its time budget."""

import math
import time

import numpy as np
import pytest

from pipeline.evaluation.soft_nms import Method, soft_nms


def plain_soft_nms(segments, scores, method: Method, sigma: float, threshold: float, top_k: int):
    """The rule as it is told: pick the best, decay the rest, repeat."""
    left = [(float(p), i) for i, p in enumerate(scores)]
    picked: list[tuple[float, int]] = []
    while left and len(picked) < top_k:
        best = max(left, key=lambda item: (item[0], -item[1]))
        left.remove(best)
        picked.append(best)
        start, end = segments[best[1]]
        decayed = []
        for score, i in left:
            s, e = segments[i]
            overlap = min(e, end) - max(s, start)
            iou = overlap / ((e - s) + (end - start) - overlap) if overlap > 0 else 0.0
            if method == "gaussian" and iou > 0:
                score *= math.exp(-(iou**2) / sigma)
            elif method == "linear" and iou > threshold:
                score *= 1 - iou
            elif method == "hard" and iou > threshold:
                continue
            decayed.append((score, i))
        left = decayed
    return [i for _, i in picked], [p for p, _ in picked]


@pytest.mark.parametrize("method", ["gaussian", "linear", "hard"])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_plain_loop(method: Method, seed: int) -> None:
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 100, 120)
    segments = np.stack([start, start + rng.uniform(0, 30, 120)], axis=1)
    segments[::9, 1] = segments[::9, 0]  # zero length
    scores = rng.choice([0.1, 0.2, 0.5, 0.9], 120) if seed % 2 else rng.random(120)
    order, decayed = soft_nms(segments, scores, method, sigma=0.5, threshold=0.4, top_k=60)
    expected_order, expected = plain_soft_nms(segments, scores, method, 0.5, 0.4, 60)
    assert order.tolist() == expected_order
    assert decayed == pytest.approx(expected, abs=1e-15)


def test_gaussian_by_hand() -> None:
    segments = np.array([[0.0, 10.0], [0.0, 5.0], [20.0, 30.0]])
    order, decayed = soft_nms(segments, np.array([0.9, 0.8, 0.3]), sigma=0.8)
    assert order.tolist() == [0, 1, 2]
    assert decayed == pytest.approx([0.9, 0.8 * math.exp(-0.25 / 0.8), 0.3])


def test_the_last_one_is_kept() -> None:
    order, decayed = soft_nms(np.array([[0.0, 1.0]]), np.array([0.4]))
    assert (order.tolist(), decayed.tolist()) == ([0], [0.4])


def test_hard_drops_and_stops() -> None:
    segments = np.array([[0.0, 10.0], [0.0, 9.0], [50.0, 60.0]])
    order, _ = soft_nms(segments, np.array([0.9, 0.8, 0.0]), "hard")
    assert order.tolist() == [0, 2]


def test_no_segments() -> None:
    order, decayed = soft_nms(np.empty((0, 2)), np.empty(0), top_k=100)
    assert order.shape == decayed.shape == (0,)


@pytest.mark.parametrize(
    ("segments", "scores", "message"),
    [
        (np.zeros((2, 3)), np.zeros(2), r"\(2, 3\)"),
        (np.zeros((2, 2)), np.zeros(3), r"\(3,\)"),
        (np.zeros((1, 2)), np.array([np.nan]), "finite"),
        (np.zeros((1, 2)), np.array([-1.0]), "negative"),
    ],
)
def test_bad_input(segments: np.ndarray, scores: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        soft_nms(segments, scores)
    with pytest.raises(ValueError, match="gaussian, linear, hard"):
        soft_nms(np.zeros((1, 2)), np.zeros(1), "gauss")  # type: ignore[arg-type]


def test_5050_proposals_top_100_in_10_ms() -> None:
    rng = np.random.default_rng(0)
    starts, ends = np.triu_indices(101, 1)
    segments, scores = np.stack([starts, ends], axis=1)[:5050] / 100.0, rng.random(5050)
    soft_nms(segments, scores, top_k=100)
    times = []
    for _ in range(5):
        begin = time.process_time()
        soft_nms(segments, scores, top_k=100)
        times.append(time.process_time() - begin)
    assert min(times) < 0.010
