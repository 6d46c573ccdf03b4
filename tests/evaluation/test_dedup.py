"""The dedup variant: what it removes, and the numbers that OpenTAD's evaluator gives on the real files."""

from pipeline.evaluation.activitynet import evaluate
from pipeline.evaluation.dedup import deduplicate, drop_unknown_labels, drop_videos
from pipeline.evaluation.segments import GroundTruth, Predictions


def test_what_is_removed() -> None:
    rows = [
        ("a", "run", 0.0, 5.0),
        ("a", "run", 0.0009, 5.0009),  # within a millisecond of the first
        ("a", "run", 0.0018, 5.0018),  # of the second, which is gone, but not of the first
        ("a", "jump", 0.0, 5.0),
        ("b", "run", 0.0, 5.0),
        ("b", "run", 3.0, 3.0),
        ("b", "hop", 4.0, 3.0),
    ]
    gt, removed = deduplicate(GroundTruth.from_rows(["a", "b", "c"], rows))
    assert removed == 3
    assert gt.t_start.tolist() == [0.0, 0.0018, 0.0, 0.0]
    assert gt.labels == ("run", "jump")  # a class that lost all its instances leaves the mean
    assert gt.videos == ("a", "b", "c")


def test_unknown_labels_and_excluded_videos() -> None:
    gt = GroundTruth.from_rows(["a", "b"], [("a", "run", 0.0, 1.0), ("b", "hop", 0.0, 1.0)])
    pred = Predictions.from_rows(
        [("a", "run", 0.0, 1.0, 0.5), ("a", "swim", 0.0, 1.0, 0.9), ("b", "hop", 5.0, 6.0, 0.9)]
    )
    left, unknown = drop_unknown_labels(gt, pred)
    assert (unknown, left.score.tolist()) == (1, [0.5, 0.9])
    gt, left = drop_videos(gt, left, frozenset({"b", "elsewhere"}))
    assert (gt.videos, gt.labels, len(left)) == (("a",), ("run",), 1)
    assert evaluate(gt, left).average_mAP == 1.0
