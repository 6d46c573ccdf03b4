"""The official ActivityNet rule once more, slow and row by row as its text describes it, for comparison only."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

GroundTruthRow = tuple[str, str, float, float]
PredictionRow = tuple[str, str, float, float, float]
LiteralRule = Callable[[Sequence[GroundTruthRow], Sequence[PredictionRow], np.ndarray], np.ndarray]


def _literal_tiou(target: tuple[float, float], candidates: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        overlap = np.minimum(target[1], candidates[:, 1]) - np.maximum(target[0], candidates[:, 0])
        overlap = overlap.clip(0)
        return overlap / ((candidates[:, 1] - candidates[:, 0]) + (target[1] - target[0]) - overlap)


def _literal_class_ap(truths: list[GroundTruthRow], predictions: list[PredictionRow], tious: np.ndarray) -> np.ndarray:
    aps = np.zeros(len(tious))
    if not predictions:
        return aps
    ranked = [predictions[i] for i in np.array([p[4] for p in predictions]).argsort()[::-1]]
    for t, threshold in enumerate(tious):
        taken: set[int] = set()
        hits: list[float] = []
        for video, _, start, end, _ in ranked:
            rows = [i for i, truth in enumerate(truths) if truth[0] == video]
            hit = 0.0
            if rows:
                tiou = _literal_tiou((start, end), np.array([truths[i][2:] for i in rows]))
                for j in tiou.argsort()[::-1]:
                    if tiou[j] < threshold:
                        break
                    if rows[j] not in taken:
                        taken.add(rows[j])
                        hit = 1.0
                        break
            hits.append(hit)
        true, false = np.cumsum(hits), np.cumsum([1.0 - hit for hit in hits])
        recall = np.hstack([[0], true / float(len(truths)), [1]])
        precision = np.hstack([[0], true / (true + false), [0]])
        for i in range(len(precision) - 1)[::-1]:
            precision[i] = max(precision[i], precision[i + 1])
        step = np.where(recall[1:] != recall[:-1])[0] + 1
        aps[t] = np.sum((recall[step] - recall[step - 1]) * precision[step])
    return aps


def _literal_rule(
    truths: Sequence[GroundTruthRow], predictions: Sequence[PredictionRow], tious: np.ndarray
) -> np.ndarray:
    labels = list(dict.fromkeys(truth[1] for truth in truths))
    ap = np.zeros((len(tious), len(labels)))
    for c, label in enumerate(labels):
        ap[:, c] = _literal_class_ap(
            [row for row in truths if row[1] == label], [row for row in predictions if row[1] == label], tious
        )
    return ap


@pytest.fixture(scope="session")
def literal_rule() -> LiteralRule:
    """AP [T, C] by the official rule, written as plainly as it is described."""
    return _literal_rule
