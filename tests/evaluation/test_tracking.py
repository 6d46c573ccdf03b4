"""IDF1 and MOTA: hand cases, every assignment tried out, and two public sequences with their known scores."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation.detection import box_iou
from pipeline.evaluation.tracking import TrackTable, count_tracks, total, track_intervals


def table(rows: list[tuple[int, int, float]]) -> TrackTable:
    """(picture, track, x) of squares of side 10."""
    picture, track, x = (np.array(column) for column in zip(*rows, strict=True)) if rows else [np.zeros(0, int)] * 3
    return TrackTable(picture, track, np.stack([x, x * 0, x + 10, x * 0 + 10], 1).astype(float))


def line(track: int, pictures: range, x: float) -> list[tuple[int, int, float]]:
    return [(picture, track, x) for picture in pictures]


def test_a_perfect_result_under_other_numbers() -> None:
    true = table(line(1, range(5), 0) + line(2, range(2, 8), 50))
    found = table(line(7, range(5), 1) + line(3, range(2, 8), 51))
    counts = count_tracks(true, found)
    assert (counts.idf1, counts.mota, counts.switches) == (1, 1, 0)


def test_a_track_that_breaks() -> None:
    counts = count_tracks(table(line(1, range(10), 0)), table(line(1, range(6), 0) + line(2, range(6, 10), 0)))
    assert (counts.misses, counts.false_positives, counts.switches) == (0, 0, 1)
    assert counts.mota == pytest.approx(0.9)
    assert counts.idf1 == pytest.approx(2 * 6 / 20)


def test_a_match_that_holds_is_kept_though_another_is_closer() -> None:
    true = table(line(1, range(4), 0))
    found = table(line(5, range(1), 0) + line(5, range(1, 4), 3) + line(6, range(1, 4), 0))
    counts = count_tracks(true, found)
    assert (counts.switches, counts.false_positives) == (0, 3)


def test_a_switch_counts_across_a_gap() -> None:
    counts = count_tracks(table(line(1, range(9), 0)), table(line(1, range(3), 0) + line(2, range(6, 9), 0)))
    assert (counts.misses, counts.switches) == (3, 1)


def test_as_many_pairs_as_possible() -> None:
    # The closest pair alone would leave the other two without a partner.
    counts = count_tracks(table([(0, 1, 0.0), (0, 2, 3.0)]), table([(0, 1, 2.5), (0, 2, 6.0)]))
    assert counts.misses == 0


def test_nothing_on_one_side_or_both() -> None:
    some, nothing = table(line(1, range(4), 0)), table([])
    missed, invented, neither = (count_tracks(a, b) for a, b in ((some, nothing), (nothing, some), (nothing, nothing)))
    assert (missed.mota, missed.idf1) == (0, 0)
    assert np.isnan(invented.mota)
    assert invented.idf1 == 0
    assert np.isnan(neither.idf1)


def literal_id_matches(true: TrackTable, found: TrackTable) -> int:
    """Every one-to-one assignment of whole tracks, tried out."""
    ours, theirs = sorted(set(true.track)), sorted(set(found.track))
    agree = {
        (a, b): sum(
            p == q and box_iou(x[None], y[None])[0, 0] >= 0.5
            for p, t, x in zip(true.picture, true.track, true.box, strict=True)
            for q, u, y in zip(found.picture, found.track, found.box, strict=True)
            if (t, u) == (a, b)
        )
        for a in ours
        for b in theirs
    }
    padded = theirs + [None] * len(ours)
    return max(
        sum(agree.get((a, b), 0) for a, b in zip(ours, chosen, strict=True))
        for chosen in permutations(padded, len(ours))
    )


def test_identity_matching_equals_trying_out_everything() -> None:
    rng = np.random.default_rng(0)
    for _ in range(15):
        tables = []
        for _ in range(2):
            cells = rng.permutation(24)[: rng.integers(1, 16)]  # at most one box of a track in a picture
            tables.append(table([(int(c) // 4, int(c) % 4, float(rng.integers(0, 12))) for c in cells]))
        assert count_tracks(*tables).id_matches == literal_id_matches(*tables)


def test_counts_add_up_and_intervals_hold_the_value() -> None:
    rng = np.random.default_rng(1)
    counts = []
    for _ in range(12):
        end = int(rng.integers(1, 10))
        counts.append(count_tracks(table(line(1, range(10), 0)), table(line(1, range(end), 0))))
    both = total(counts)
    assert both.true == 120
    idf1, mota = track_intervals(counts)
    assert idf1.value == both.idf1 == pytest.approx(2 * both.found / (120 + both.found))
    assert idf1.low < idf1.value < idf1.high
    assert mota.low < mota.value < mota.high
    assert track_intervals(counts) == (idf1, mota)
    assert np.isnan(track_intervals([])[0].value)


# What py-motmetrics prints for these files (its data folder holds both sequences and this sample result).
@pytest.mark.parametrize(
    ("sequence", "idf1", "mota", "switches"), [("TUD-Campus", 0.558, 0.526, 7), ("TUD-Stadtmitte", 0.645, 0.564, 7)]
)
def test_public_sequences(shared: Path, sequence: str, idf1: float, mota: float, switches: int) -> None:
    folder = shared / "annotations" / "mot"
    true, found = (read_mot(folder / f"{sequence}_{name}.txt") for name in ("gt", "sample_result"))
    counts = count_tracks(true, found)
    assert (round(counts.idf1, 3), round(counts.mota, 3), counts.switches) == (idf1, mota, switches)


def read_mot(path: Path) -> TrackTable:
    """MOTChallenge text: frame, id, left, top, width, height, ..."""
    rows = np.loadtxt(path, delimiter=",")
    corners = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], 1)
    return TrackTable(rows[:, 0].astype(int), rows[:, 1].astype(int), corners)
