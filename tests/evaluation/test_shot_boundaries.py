"""Cut scores on counts done by hand, and the bootstrap's edges."""

import itertools
import math

import numpy as np
import pytest

from pipeline.evaluation.shot_boundaries import CutCounts, count_cuts, cuts_of, f1_interval, total


def test_counts_by_hand() -> None:
    counts = count_cuts([1.0, 2.0, 5.0], [1.05, 3.0, 4.95, 9.0], tolerance_s=0.1)
    assert counts == CutCounts(matched=2, found=4, true=3)
    assert counts.precision == 0.5
    assert counts.recall == pytest.approx(2 / 3)
    assert counts.f1 == pytest.approx(2 * 0.5 * (2 / 3) / (0.5 + 2 / 3))


def test_a_true_cut_is_matched_once() -> None:
    assert count_cuts([1.0], [0.95, 1.0, 1.05], 0.1) == CutCounts(1, 3, 1)


def test_the_tolerance_includes_its_bound() -> None:
    assert count_cuts([0.3], [0.4], 0.1).matched == 1
    assert count_cuts([0.3], [0.41], 0.1).matched == 0
    assert count_cuts([0.3], [0.3], 0.0).matched == 1


def test_the_matching_has_the_most_pairs_possible() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        true, found = rng.uniform(0, 2, 4), rng.uniform(0, 2, 4)
        best = max(
            sum(abs(a - b) <= 0.2 for a, b in zip(true, order, strict=True)) for order in itertools.permutations(found)
        )
        assert count_cuts(true, found, 0.2).matched == best


def test_without_cuts_the_ratios_are_undefined() -> None:
    nothing = count_cuts([], [], 0.1)
    assert all(math.isnan(value) for value in (nothing.precision, nothing.recall, nothing.f1))
    assert count_cuts([1.0], [], 0.1).f1 == 0
    assert math.isnan(f1_interval([]).value)
    assert math.isnan(f1_interval([nothing]).low)


def test_the_start_of_a_video_is_no_cut() -> None:
    assert cuts_of([0.0, 4.0, 2.0]).tolist() == [2.0, 4.0]
    assert cuts_of([0.0]).tolist() == []


def test_the_interval_holds_the_value_and_follows_its_seed() -> None:
    counts = [CutCounts(m, 5, 5) for m in (5, 4, 3, 5, 2, 5)]
    interval = f1_interval(counts, resamples=500, seed=1)
    assert interval.value == total(counts).f1 == pytest.approx(24 / 30)
    assert interval.low < interval.value < interval.high
    assert interval == f1_interval(counts, resamples=500, seed=1)
    assert f1_interval([CutCounts(2, 2, 2)] * 3).low == 1


def test_a_negative_tolerance_is_refused() -> None:
    with pytest.raises(ValueError, match="tolerance_s is -1"):
        count_cuts([], [], -1)
