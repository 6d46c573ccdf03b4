"""LVU's nine tasks: accuracy of the seven classifications, mean squared error of the two regressions.

Per video, as the released code scores: the spans' class probabilities are summed and the largest is the prediction; the
spans' regression outputs are averaged and their squared error is taken against the released target, which is 10 likes /
(likes + dislikes) or log(views), less its training mean (``TARGET_MEANS``). Videos without a prediction (many are gone
from the web) cannot be scored; they are listed, and the figure says on how many videos it stands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.formats.lvu import TASKS, Row, Task
from pipeline.evaluation.segments import FloatArray


@dataclass(frozen=True)
class LvuResult:
    """One task: ``metric`` is accuracy (percent) or mse; ``videos`` scored; ``missing`` had no prediction."""

    task: str
    metric: str
    value: float
    videos: int
    missing: tuple[str, ...]


def combine_spans(task: str, outputs: Sequence[NDArray[np.floating]]) -> FloatArray:
    """The prediction of one video from the outputs of its spans: class probabilities [C], or the target [1].

    ``outputs``: logits [C] of each span of a classification, or the output [1] of a regression.

    Raises:
        ValueError: no spans, or no such task.
    """
    kind = _task(task).kind
    if not len(outputs):
        raise ValueError("a video without spans has no prediction")
    table = np.asarray(outputs, np.float64)
    if kind == "regression":
        mean: FloatArray = table.mean(axis=0)
        return mean
    return sum_of_probabilities(table)


def sum_of_probabilities(logits: NDArray[np.floating]) -> FloatArray:
    """The class probabilities of all spans [S, C] added up, [C]."""
    table = np.asarray(logits, np.float64)
    shares = np.exp(table - table.max(axis=1, keepdims=True))
    summed: FloatArray = (shares / shares.sum(axis=1, keepdims=True)).sum(axis=0)
    return summed


def score_task(task: str, rows: Sequence[Row], predictions: Mapping[str, FloatArray | float]) -> LvuResult:
    """Score one task.

    Args:
        task: its name.
        rows: the clips of one split.
        predictions: by video: class scores [C] in the order of the task's classes, a class index, or the target.

    Raises:
        ValueError: no such task, no video has a prediction, or one is not finite or of the wrong size.
    """
    classes = len(_task(task).classes)
    missing = tuple(row.video for row in rows if row.video not in predictions)
    scored = [row for row in rows if row.video in predictions]
    if not scored:
        raise ValueError(f"task {task}: none of its {len(rows)} videos has a prediction")
    values = []
    for row in scored:
        given = np.asarray(predictions[row.video], np.float64).reshape(-1)
        if not np.isfinite(given).all() or len(given) not in ({1, classes} if classes else {1}):
            raise ValueError(f"task {task}: video {row.video!r}: {given.tolist()} is no prediction")
        index = float(given[0]) if len(given) == 1 else float(given.argmax())
        values.append(index == row.target if classes else (index - row.target) ** 2)
    if classes:
        return LvuResult(task, "accuracy", 100.0 * float(sum(values)) / len(scored), len(scored), missing)
    return LvuResult(task, "mse", float(np.mean(values)), len(scored), missing)


def _task(name: str) -> Task:
    if name not in TASKS:
        raise ValueError(f"task is {name!r}; it must be one of {', '.join(TASKS)}")
    return TASKS[name]
