"""Cuts against true cuts: precision, recall and F1 within a tolerance in time, with a bootstrap over videos.

A found cut is right when it is matched one to one to a true cut at most ``tolerance_s`` away; the matching has the most
pairs possible. Counts are summed over videos before the ratios are taken. The start of a video is no cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.bootstrap import Interval

_ROUNDING_S = 1e-6  # times that went through a file agree to a microsecond


@dataclass(frozen=True)
class CutCounts:
    """Cuts of one video or several: ``matched`` pairs, ``found`` and ``true`` cuts."""

    matched: int
    found: int
    true: int

    @property
    def precision(self) -> float:
        """Share of found cuts that are right; NaN when none was found."""
        return self.matched / self.found if self.found else float("nan")

    @property
    def recall(self) -> float:
        """Share of true cuts that were found; NaN when there is none."""
        return self.matched / self.true if self.true else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; NaN when there is neither a found nor a true cut."""
        both = self.found + self.true
        return 2 * self.matched / both if both else float("nan")


def cuts_of(shot_starts: Sequence[float] | np.ndarray) -> np.ndarray:
    """Times of the cuts, given the start of every shot: all but the first."""
    return np.sort(np.asarray(shot_starts, np.float64))[1:]


def count_cuts(
    true: Sequence[float] | np.ndarray, found: Sequence[float] | np.ndarray, tolerance_s: float
) -> CutCounts:
    """Match the cuts of one video; times in seconds, in any order.

    Raises:
        ValueError: ``tolerance_s`` is negative.
    """
    if tolerance_s < 0:
        raise ValueError(f"tolerance_s is {tolerance_s}, it must not be negative")
    wanted, given = np.sort(np.asarray(true, np.float64)), np.sort(np.asarray(found, np.float64))
    matched = i = j = 0
    # Both in order and all intervals equally wide: pairing each with the earliest possible partner pairs the most.
    while i < len(wanted) and j < len(given):
        if abs(wanted[i] - given[j]) <= tolerance_s + _ROUNDING_S:
            matched, i, j = matched + 1, i + 1, j + 1
        elif wanted[i] < given[j]:
            i += 1
        else:
            j += 1
    return CutCounts(matched, len(given), len(wanted))


def total(counts: Sequence[CutCounts]) -> CutCounts:
    """The sum over videos."""
    return CutCounts(sum(c.matched for c in counts), sum(c.found for c in counts), sum(c.true for c in counts))


def f1_interval(counts: Sequence[CutCounts], resamples: int = 1000, seed: int = 0, level: float = 0.95) -> Interval:
    """F1 over the videos with a percentile bootstrap interval; bounds NaN where no resample has a cut.

    Args:
        counts: one per video.
        resamples: number of resamples, each of as many videos as there are, with replacement.
        seed: of the draws.
        level: of the interval.
    """
    point = total(counts).f1
    table = np.array([(c.matched, c.found + c.true) for c in counts], np.float64).reshape(-1, 2)
    if not len(table):
        return Interval(point, float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(table), np.full(len(table), 1 / len(table)), size=resamples)
    matched, both = (weights @ table).T
    samples = 2 * matched[both > 0] / both[both > 0]
    if not len(samples):
        return Interval(point, float("nan"), float("nan"))
    tail = (1 - level) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return Interval(point, float(low), float(high))
