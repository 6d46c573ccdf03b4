"""HOTA: by hand, by its own definition on random tracks, and as the authors' code scores two public sequences."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation.hota import hota
from pipeline.evaluation.tracking import TrackTable
from tests.evaluation.test_tracking import line, read_mot, table


def test_a_perfect_result_a_broken_track_and_nothing() -> None:
    true = table(line(1, range(10), 0))
    assert hota([(true, table(line(9, range(10), 0)))]) == pytest.approx((1, 1, 1))
    # Two halves: every box is found, and each match agrees in 5 of 10 boxes.
    broken = table(line(1, range(5), 0) + line(2, range(5, 10), 0))
    assert hota([(true, broken)]) == pytest.approx((0.5**0.5, 1, 0.5))
    assert hota([(true, table([]))]) == (0, 0, 0)
    assert np.isnan(hota([(table([]), table([]))])).all()


def test_overlap_counts_up_to_its_alpha() -> None:
    # Shifted by 2 of 10: IoU 8/12, which is at least 0.05 .. 0.65: 13 of 19 alphas.
    true, found = table(line(1, range(4), 0)), table(line(1, range(4), 2))
    assert hota([(true, found)]) == pytest.approx((13 / 19,) * 3)


def test_videos_add_up_and_numbers_do_not_matter() -> None:
    one = (table(line(1, range(6), 0)), table(line(4, range(6), 1)))
    two = (table(line(1, range(9), 30) + line(2, range(9), 60)), table(line(1, range(5), 30) + line(4, range(9), 60)))
    # As one video in which the second comes after the first, under numbers of its own.
    joined = tuple(
        TrackTable(
            np.concatenate([a.picture, b.picture + 100]),
            np.concatenate([a.track, b.track + 50]),
            np.concatenate([a.box, b.box]),
        )
        for a, b in zip(one, two, strict=True)
    )
    assert hota([one, two]) == pytest.approx(hota([(joined[0], joined[1])]))


# TrackEval 1.3.0 on the files (marked true boxes, IoU); its mean over alphas of HOTA, DetA and AssA.
@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        ("TUD-Campus", (0.3913974378451139, 0.418047030142763, 0.36912068120832836)),
        ("TUD-Stadtmitte", (0.3978490169927877, 0.3922675723693166, 0.4088407518112996)),
    ],
)
def test_public_sequences(shared: Path, sequence: str, expected: tuple[float, ...]) -> None:
    folder = shared / "annotations" / "mot"
    true, found = (read_mot(folder / f"{sequence}_{name}.txt") for name in ("gt", "sample_result"))
    assert hota([(true, found)]) == pytest.approx(expected, abs=1e-12)
