"""LVU's nine tasks: accuracy and mse by hand, spans combined, missing videos listed."""

import numpy as np
import pytest

from pipeline.datasets.formats.lvu import TASKS, Row
from pipeline.evaluation.lvu import combine_spans, score_task


def row(video: str, target: float) -> Row:
    return Row(video, "test", target, None, "", None)


def test_accuracy_from_scores_and_from_indices() -> None:
    rows = [row("a", 0), row("b", 2), row("c", 1), row("gone", 3)]
    scores = {"a": np.array([0.9, 0, 0, 0]), "b": np.array([0, 0.9, 0.1, 0]), "c": 1}
    result = score_task("genre", rows, scores)
    assert (result.metric, result.value, result.videos, result.missing) == ("accuracy", 200 / 3, 3, ("gone",))


def test_mse() -> None:
    result = score_task("view_count", [row("a", 1.0), row("b", -2.0)], {"a": 1.5, "b": np.array([0.0])})
    assert (result.metric, result.value) == ("mse", (0.25 + 4.0) / 2)


def test_spans_are_summed_as_probabilities_and_averaged_as_targets() -> None:
    # The first span is sure of class 0, two are weakly for class 1: probabilities decide, not votes or logits.
    combined = combine_spans("genre", [np.array([9.0, 0, 0, 0]), np.array([0, 0.4, 0, 0]), np.array([0, 0.4, 0, 0])])
    assert combined.argmax() == 0
    assert combined.sum() == pytest.approx(3.0)
    assert combine_spans("like_ratio", [np.array([1.0]), np.array([2.0])]).tolist() == [1.5]
    with pytest.raises(ValueError, match="without spans"):
        combine_spans("genre", [])


def test_nine_tasks_and_bad_input() -> None:
    assert len(TASKS) == 9
    assert [task.name for task in TASKS.values() if task.kind == "regression"] == ["like_ratio", "view_count"]
    with pytest.raises(ValueError, match="task is 'gender'; it must be one of relationship"):
        score_task("gender", [], {})
    with pytest.raises(ValueError, match="none of its 1 videos"):
        score_task("genre", [row("a", 0)], {"b": 1})
    with pytest.raises(ValueError, match="video 'a'"):
        score_task("genre", [row("a", 0)], {"a": np.zeros(3)})
    with pytest.raises(ValueError, match="video 'a'"):
        score_task("view_count", [row("a", 0)], {"a": float("nan")})
