"""Linking detections to tubes: hand-made scenes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.evaluation.hota import hota
from pipeline.evaluation.tracking import TrackTable, count_tracks
from pipeline.video.tracks import NO_TRACK, box_at, generalised_iou, link, of_length
from tests.evaluation.test_tracking import read_mot

OPTIONS: dict[str, Any] = {"begin_score": 0.5, "continue_score": 0.3, "min_similarity": 0.0, "max_gap_s": 1.0}


def scene(*rows: tuple[float, float, float]) -> dict[str, np.ndarray]:
    """(t, x, score) of 10 x 20 boxes of class 0, in the order of time."""
    rows = tuple(sorted(rows, key=lambda row: row[0]))
    t, x, score = (np.array(column, float) for column in zip(*rows, strict=True))
    box = np.stack([x, 0 * x, x + 10, 0 * x + 20], 1)
    return {"t": t, "box": box, "label": np.zeros(len(t), int), "score": score}


def test_two_walkers_who_pass_each_other_keep_their_tubes() -> None:
    times = np.arange(0, 6, 0.25)
    left = [(t, 8.0 * t, 0.9) for t in times]
    right = [(t, 48 - 8.0 * t, 0.9) for t in times]
    both = scene(*left, *right)
    truth = np.concatenate([[0, 1]] * len(times))
    track = link(**both, shot_start=[0.0], **OPTIONS)
    assert set(track) == {0, 1}
    assert (track == truth).all() or (track == 1 - truth).all()


def test_never_across_a_cut() -> None:
    still = scene(*((t, 0.0, 0.9) for t in np.arange(0, 4, 0.5)))
    assert link(**still, shot_start=[0.0, 2.0], **OPTIONS).tolist() == [0] * 4 + [1] * 4
    assert set(link(**still, shot_start=[0.0], **OPTIONS)) == {0}


def test_a_gap_is_bridged_up_to_its_limit() -> None:
    rows = [(0.0, 0.0, 0.9), (0.5, 0.0, 0.9), (1.5, 0.0, 0.9), (2.0, 0.0, 0.9), (3.5, 0.0, 0.9), (4.0, 0.0, 0.9)]
    assert link(**scene(*rows), shot_start=[0.0], **OPTIONS).tolist() == [0, 0, 0, 0, 1, 1]


def test_weak_detections_continue_and_do_not_begin() -> None:
    rows = [(0.0, 0.0, 0.4), (0.5, 0.0, 0.9), (1.0, 0.0, 0.4), (1.5, 0.0, 0.2), (2.0, 0.0, 0.35)]
    assert link(**scene(*rows), shot_start=[0.0], **OPTIONS).tolist() == [NO_TRACK, 0, 0, NO_TRACK, 0]


def test_short_tubes_are_dropped_and_numbers_stay_dense() -> None:
    rows = [(0.0, 0.0, 0.9), (0.5, 100.0, 0.9), (1.0, 100.0, 0.9)]
    assert link(**scene(*rows), shot_start=[0.0], **OPTIONS).tolist() == [NO_TRACK, 0, 0]
    assert link(**scene(*rows), shot_start=[0.0], min_length=1, **OPTIONS).tolist() == [0, 1, 1]


def test_classes_do_not_mix() -> None:
    mixed = scene(*((t, 0.0, 0.9) for t in (0.0, 0.0, 0.5, 0.5)))
    mixed["label"] = np.array([0, 1, 1, 0])
    assert link(**mixed, shot_start=[0.0], **OPTIONS).tolist() == [0, 1, 1, 0]


def test_a_small_fast_thing_is_followed_below_overlap() -> None:
    fast = scene(*((t, 24.0 * t, 0.9) for t in np.arange(0, 3, 0.5)))  # 12 px each time, its own width is 10
    assert set(link(**fast, shot_start=[0.0], **OPTIONS)) == {NO_TRACK}
    assert set(link(**fast, shot_start=[0.0], **OPTIONS | {"min_similarity": -0.2})) == {0}


def test_the_closer_partner_is_not_given_up_for_one_more_pair() -> None:
    # One stays and is joined by a newcomer; the other has left. Two poor pairs would be possible.
    rows = [(0.0, 0.0, 0.9), (0.0, 14.0, 0.9), (0.5, 0.0, 0.9), (0.5, -14.0, 0.9)]
    track = link(**scene(*rows), shot_start=[0.0], min_length=1, **OPTIONS | {"min_similarity": -0.5})
    assert track[2] == track[0]


def test_many_walkers_with_misses_and_noise() -> None:
    rng = np.random.default_rng(0)
    rows, truth = [], []
    for walker in range(6):
        for t in np.arange(0, 10, 0.5):
            if rng.random() > 0.1:
                x = 25.0 * walker + 3 * np.sin(t + walker) + rng.normal(0, 0.4)
                rows.append((t, x, float(rng.uniform(0.5, 1.0))))
                truth.append(walker)
    order = np.argsort([row[0] for row in rows], kind="stable")
    made = scene(*rows)
    track = link(**made, shot_start=[0.0], **OPTIONS | {"max_gap_s": 2.0})
    picture = np.rint(made["t"] * 2).astype(int)
    kept = track >= 0
    counts = count_tracks(
        TrackTable(picture, np.array(truth)[order], made["box"]),
        TrackTable(picture[kept], track[kept], made["box"][kept]),
    )
    assert counts.idf1 > 0.97


@pytest.mark.parametrize("sequence", ["TUD-Campus", "TUD-Stadtmitte"])
def test_better_than_the_sample_results_of_two_public_sequences(shared: Path, sequence: str) -> None:
    folder = shared / "annotations" / "mot"
    true, sample = (read_mot(folder / f"{sequence}_{name}.txt") for name in ("gt", "sample_result"))
    rows = np.loadtxt(folder / f"{sequence}_det.txt", delimiter=",")
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    at, box = rows[:, 0].astype(int), np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1)
    # 25 pictures a second: five in a row are little, and a step tells little of the speed.
    options = {"begin_score": 0.6, "continue_score": 0.45, "min_length": 5, "smoothing": 0.8}
    track = link(at / 25, box, np.zeros(len(at), int), rows[:, 6], [0.0], **options)
    found = TrackTable(at[track >= 0], track[track >= 0].astype(np.int64), box[track >= 0])
    ours, theirs = count_tracks(true, found), count_tracks(true, sample)
    assert ours.mota > theirs.mota + 0.03 and ours.idf1 > theirs.idf1 + 0.03
    assert hota([(true, found)]).hota > hota([(true, sample)]).hota + 0.03


def test_three_hundred_people_in_every_picture() -> None:
    grid = np.stack(np.meshgrid(np.arange(20) * 30.0, np.arange(15) * 50.0), axis=-1).reshape(-1, 2)
    start = np.concatenate([grid, grid + np.array([20, 40])], axis=1)
    pictures = 12
    t = np.repeat(np.arange(pictures) / 4, 300)
    box = np.concatenate([start + 3 * picture for picture in range(pictures)])
    track = link(t, box, np.zeros(len(t), int), np.full(len(t), 0.9), [0.0], **OPTIONS).reshape(pictures, 300)
    assert (track == track[0]).all() and len(set(track[0])) == 300


def test_boxes_beyond_the_picture_and_tubes_of_one_box() -> None:
    leaving = scene(*((t, -15.0 * t, 0.9) for t in np.arange(0, 3, 0.5)), (1.0, 500.0, 0.9))
    track = link(**leaving, shot_start=[0.0], **OPTIONS | {"min_similarity": -0.3, "min_length": 1})
    assert track.tolist() == [0, 0, 0, 1, 0, 0, 0], "followed out of the picture; the one that is seen once is a tube"
    assert of_length(track, 2).tolist() == [0, 0, 0, NO_TRACK, 0, 0, 0]


def test_tubes_of_a_least_length_are_numbered_anew() -> None:
    track = np.array([0, 1, NO_TRACK, 2, 0, 2, 2], np.int32)
    assert of_length(track, 1).tolist() == track.tolist()
    assert of_length(track, 2).tolist() == [0, NO_TRACK, NO_TRACK, 1, 0, 1, 1]
    assert of_length(track, 3).tolist() == [NO_TRACK, NO_TRACK, NO_TRACK, 0, NO_TRACK, 0, 0]
    assert of_length(np.zeros(0, np.int32), 1).tolist() == []


def test_generalised_iou_by_hand() -> None:
    a, b = np.array([[0.0, 0, 10, 10]]), np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [30, 0, 40, 10]])
    assert generalised_iou(a, b) == pytest.approx(np.array([[1, 1 / 3, -0.5]]))


def test_a_box_between_two_times() -> None:
    t, box = np.array([1.0, 2.0]), np.array([[0.0, 0, 10, 10], [10, 20, 30, 40]])
    assert box_at(t, box, 1.5).tolist() == [5, 10, 20, 25]
    assert box_at(t, box, 9).tolist() == box[1].tolist()


def test_nothing_found_and_wrong_input() -> None:
    empty = {"t": np.zeros(0), "box": np.zeros((0, 4)), "label": np.zeros(0, int), "score": np.zeros(0)}
    assert link(**empty, shot_start=[0.0], **OPTIONS).shape == (0,)
    falling = scene((0.0, 0, 1), (1.0, 0, 1)) | {"t": np.array([1.0, 0.0])}
    with pytest.raises(ValueError, match="time falls after row 0"):
        link(**falling, shot_start=[0.0], **OPTIONS)
    with pytest.raises(ValueError, match=r"continue_score is 0.9, above begin_score = 0.5"):
        link(**scene((0.0, 0, 1)), shot_start=[0.0], **OPTIONS | {"continue_score": 0.9})
