"""Charades' and the frame-wise protocols: the toy of knowledge and plain loops as oracles."""

import time

import numpy as np
import pytest

from pipeline.datasets.formats.common import AnnotatedVideo
from pipeline.datasets.frame_labels import FrameLabels, frame_labels
from pipeline.datasets.schema import Segment
from pipeline.evaluation.charades import at_instants, classify, localize, localize_times, localize_truth
from pipeline.evaluation.frames import score_frames
from pipeline.evaluation.multilabel import average_precision, multilabel


def literal_ap(scores: list[float], positive: list[bool]) -> float:
    """MATLAB's rule: stable sort of -score, precision at every positive, mean over the positives."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    seen, total = 0, 0.0
    for rank, i in enumerate(order, start=1):
        if positive[i]:
            seen += 1
            total += seen / rank
    return total / seen


@pytest.mark.parametrize("seed", range(4))
def test_ap_equals_the_literal_rule_bit_for_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, positive = rng.integers(0, 6, 200) / 5, rng.random(200) < 0.3
    assert average_precision(scores, positive) == literal_ap(scores.tolist(), positive.tolist())


def toy() -> list[AnnotatedVideo]:
    """Three videos: an action that ends after the length, a video without actions, a class without positives."""
    return [
        AnnotatedVideo("A", "testing", (Segment("c000", 0.0, 10.0), Segment("c001", 20.0, 40.0)), 25.0),
        AnnotatedVideo("B", "testing", (), 25.0),
        AnnotatedVideo("C", "testing", (Segment("c000", 5.0, 5.0),), 25.0),
    ]


def test_localize_truth_is_closed_at_both_ends() -> None:
    video = toy()[0]
    # In the order of the MATLAB script, whose seventh instant of 25 s is therefore a little after 7 s.
    assert localize_times(25.0).tolist() == [i / 25 * 25.0 for i in range(25)]
    assert localize_times(25.0)[7] > 7
    table = localize_truth(video).dense()
    assert np.flatnonzero(table[:, 0]).tolist() == list(range(11))
    assert np.flatnonzero(table[:, 1]).tolist() == list(range(20, 25))
    assert np.flatnonzero(localize_truth(toy()[2]).dense()[:, 0]).tolist() == [5]


def test_localize_counts_every_row_and_names_both_means() -> None:
    videos = toy()
    rng = np.random.default_rng(0)
    scores = {"A": rng.integers(0, 4, (25, 157)) / 3, "B": rng.random((25, 157)), "C": np.full((25, 157), -np.inf)}
    scores["A"][7] = -np.inf  # a missing row
    result = localize(videos, scores)
    every = np.concatenate([scores["A"], scores["B"], scores["C"]])
    for c, times in ((0, [*range(11), 55]), (1, list(range(20, 25)))):
        positive = [row in times for row in range(75)]
        assert result.ap[c] == literal_ap(every[:, c].tolist(), positive)
    assert result.positives.tolist()[:3] == [12, 5, 0]
    assert np.isnan(result.mAP)  # a class without positives, as in the MATLAB script
    assert result.mAP_present == pytest.approx((result.ap[0] + result.ap[1]) / 2)
    assert result.mAP_empty_zero == pytest.approx((result.ap[0] + result.ap[1]) / 157)
    assert result.wAP == pytest.approx((result.ap[0] * 12 + result.ap[1] * 5) / 17)
    without_b = localize(videos, {"A": scores["A"]})
    assert without_b.rows == 75  # videos without scores count
    assert without_b.ap[0] <= result.ap[0] or without_b.ap[0] > 0


def test_classify_never_lets_an_empty_video_hurt() -> None:
    videos = toy()
    scores = {"A": np.full(157, 0.5), "B": np.full(157, 0.9), "C": np.full(157, 0.1)}
    result = classify(videos, scores)
    assert result.ap[0] == 1.0  # B has no action, so it ranks last in spite of its score
    assert result.ap[1] == 1.0
    scores["A"][1], scores["C"][1] = 0.1, 0.3
    assert classify(videos, scores).ap[1] == 0.5


def test_scores_at_the_instants_are_linear_between_cells() -> None:
    cells = np.stack([np.arange(50.0) + 0.5, np.zeros(50)], axis=1)  # the time of each cell's centre, 1 s cells
    at = at_instants(cells, 50.0)
    assert at[1:, 0].tolist() == pytest.approx(localize_times(50.0)[1:].tolist())
    assert at[0, 0] == 0.5


def test_frame_map_equals_a_plain_loop() -> None:
    rng = np.random.default_rng(3)
    videos = [
        AnnotatedVideo(id_, "testing", tuple(Segment(f"{c}", s, s + d) for c, s, d in zip(
            rng.integers(1, 4, 6), rng.integers(0, 8, 6).astype(float), rng.integers(1, 4, 6).astype(float), strict=True
        )), 10.0)
        for id_ in "ab"
    ]  # fmt: skip
    classes = ("1", "2", "3", "4")
    scores = {"a": rng.random((20, 4)), "b": rng.random((33, 4)), "other": rng.random((5, 4))}
    scored = score_frames([*videos, AnnotatedVideo("gone", "testing", (), 3.0)], classes, scores)
    assert scored.missing == ("gone",)
    assert scored.step_s == pytest.approx((10 / 20 + 10 / 33) / 2)
    aps = []
    for c, name in enumerate(classes):
        column, positive = [], []
        for video in videos:
            fps = len(scores[video.id]) / 10.0
            for row in range(len(scores[video.id])):
                column.append(float(scores[video.id][row, c]))
                on = [s for s in video.segments if s.label == name and s.t_start < row / fps < s.t_end]
                positive.append(bool(on))
        aps.append(literal_ap(column, positive) if any(positive) else 0.0)
    assert scored.result.mAP_empty_zero == pytest.approx(sum(aps) / 4, abs=1e-12)


def test_bad_input_is_named() -> None:
    video = AnnotatedVideo("a", "testing", (Segment("1", 0, 1),), 10.0)
    with pytest.raises(ValueError, match=r"video 'a': scores \(5, 3\), expected \[T, 2\]"):
        score_frames([video], ("1", "2"), {"a": np.zeros((5, 3))})
    with pytest.raises(ValueError, match="none of the 1 videos has scores"):
        score_frames([video], ("1", "2"), {})
    with pytest.raises(ValueError, match="its length is not known"):
        localize_truth(AnnotatedVideo("a", "testing"))
    with pytest.raises(ValueError, match="NaN"):
        score_frames([video], ("1", "2"), {"a": np.full((5, 2), np.nan)})


def test_charades_localize_at_full_size_in_seconds() -> None:
    rng = np.random.default_rng(0)
    videos, scores = [], {}
    for number in range(1863):
        segments = tuple(
            Segment(f"c{c:03d}", s, s + 9) for c, s in zip(rng.integers(0, 157, 7), rng.uniform(0, 20, 7), strict=True)
        )
        videos.append(AnnotatedVideo(str(number), "testing", segments, 30.0))
        scores[str(number)] = rng.random((25, 157), dtype=np.float32)
    begin = time.process_time()
    result = localize(videos, scores)
    assert (result.rows, len(result.ap)) == (46_575, 157)
    assert time.process_time() - begin < 10


def test_index_lists_give_the_dense_table() -> None:
    labels = frame_labels(
        [Segment("x", 1, 3), Segment("y", 2, 9), Segment("x", 2, 4)], {"x": 0, "y": 1}, np.arange(6.0)
    )
    assert isinstance(labels, FrameLabels)
    assert labels.of(2).tolist() == [0, 1]
    assert labels.dense().astype(int).tolist() == [[0, 0], [1, 0], [1, 1], [1, 1], [0, 1], [0, 1]]
    assert multilabel([labels.dense().astype(float)], [labels]).mAP == 1.0
