"""AR@AN equals the official rule, written out row by row, and MMAction2's published examples."""

import time

import numpy as np
import pytest

from pipeline.evaluation.activitynet import TIOUS
from pipeline.evaluation.proposals import average_recall
from pipeline.evaluation.segments import GroundTruth, Predictions


def literal(gt: GroundTruth, pred: Predictions, most: float) -> tuple[np.ndarray, np.ndarray]:
    """Recall [T, 100] and proposals per video [100], told as the toolkit tells it."""
    videos = list(dict.fromkeys(gt.videos[v] for v in gt.video))
    ratio = most * float(len(videos)) / len(pred)
    tables, total = [], 0
    for id_ in videos:
        truths = [(s, e) for v, s, e in zip(gt.video, gt.t_start, gt.t_end, strict=True) if gt.videos[v] == id_]
        mine = [i for i, v in enumerate(pred.video) if pred.videos[v] == id_]
        order = pred.score[mine].argsort()[::-1]
        mine = [mine[i] for i in order][: min(int(len(mine) * ratio), len(mine))]
        total += len(mine)
        table = np.zeros((len(truths), max(len(mine), 1)))
        for g, (start, end) in enumerate(truths):
            for p, i in enumerate(mine):
                inside = max(min(end, pred.t_end[i]) - max(start, pred.t_start[i]), 0)
                union = (end - start) + (pred.t_end[i] - pred.t_start[i]) - inside
                table[g, p] = inside / union if union else np.nan
        tables.append(table if mine else np.zeros((len(truths), 1)))
    shares = np.arange(1, 101) / 100.0 * (most * float(len(videos)) / total)
    recall = np.zeros((len(TIOUS), 100))
    for t, tiou in enumerate(TIOUS):
        for j, share in enumerate(shares):
            found = sum(
                int((table[:, : min(int(table.shape[1] * share), table.shape[1])] >= tiou).any(axis=1).sum())
                for table in tables
            )
            recall[t, j] = found / float(len(gt))
    return recall, shares * (float(total) / len(videos))


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_literal_rule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths = [
        (f"v{rng.integers(6)}", "x", float(s), float(s + rng.integers(1, 6) / 2)) for s in rng.integers(0, 12, 20) / 2
    ]
    rows = [
        (f"v{rng.integers(8)}", "", float(s), float(s + rng.integers(0, 6) / 2), float(rng.integers(0, 5)) / 4)
        for s in rng.integers(0, 12, 150) / 2
    ]
    gt = GroundTruth.from_rows([f"v{i}" for i in range(7)], truths)
    pred = Predictions.from_rows(rows)
    result = average_recall(gt, pred, 10)
    recall, per_video = literal(gt, pred, 10)
    assert 0 < recall.mean() < 1
    assert result.recall.tobytes() == recall.tobytes()
    assert result.per_video.tobytes() == per_video.tobytes()


def test_published_examples() -> None:
    """The examples of MMAction2's test of its port of the toolkit."""
    two = GroundTruth.from_rows(["1", "2"], [(v, "x", s, s + 1.0) for v in "12" for s in (0.0, 1.0)])
    right = Predictions.from_rows([(v, "", s, s + 1.0, 1.0) for v in "12" for s in (0.0, 1.0)])
    result = average_recall(two, right, None)
    assert result.average.tolist() == [0.0] * 49 + [0.5] * 50 + [1.0]
    assert result.per_video == pytest.approx(np.arange(0.02, 2.02, 0.02), abs=1e-10)
    assert result.auc == 25.5
    wrong = Predictions.from_rows([(v, "", s, s + 1.0, s / 20) for v in "12" for s in (10.0, 11.0)])
    assert average_recall(two, wrong, None).auc == 0
    one = GroundTruth.from_rows(["1"], [("1", "x", 0.0, 1.0)])
    many = Predictions.from_rows([("1", "", float(i), i + 1.0, 1 / (i + 1)) for i in range(100)])
    result = average_recall(one, many, 100)
    assert result.average.tolist() == [1.0] * 100
    assert result.auc == 99.0
    assert result.at(1) == result.at(100) == 1.0


def test_clear_errors() -> None:
    gt = GroundTruth.from_rows(["a"], [("a", "x", 0.0, 1.0)], "gt.json")
    with pytest.raises(ValueError, match="no proposals"):
        average_recall(gt, Predictions.from_rows([]))
    with pytest.raises(ValueError, match=r"no proposal is on a video that has an instance in gt\.json"):
        average_recall(gt, Predictions.from_rows([("b", "", 0.0, 1.0, 0.5)]))
    result = average_recall(gt, Predictions.from_rows([("a", "", 0.0, 1.0, 0.5)]))
    with pytest.raises(ValueError, match="AR@0"):
        result.at(0)


def test_full_size_in_seconds() -> None:
    rng = np.random.default_rng(0)
    start, end = rng.uniform(0, 100, 472_800), rng.uniform(1, 40, 472_800)
    ids = tuple(f"v{i}" for i in range(4728))
    video = np.repeat(np.arange(4728), 100)
    pred = Predictions(ids, ("",), video, np.zeros_like(video), start, start + end, rng.random(472_800))
    gt = GroundTruth.from_rows(ids, [(ids[i % 4728], "x", s, s + 20) for i, s in enumerate(rng.uniform(0, 90, 7293))])
    begin = time.process_time()
    assert 0.2 < average_recall(gt, pred).auc / 100 < 0.9
    assert time.process_time() - begin < 3
