"""Frame labels as index lists against the definition, instant by instant."""

import numpy as np
import pytest

from pipeline.datasets.frame_labels import Ends, frame_labels
from pipeline.datasets.schema import Segment

INSIDE = {
    "open": lambda s, t: s.t_start < t < s.t_end,
    "closed": lambda s, t: s.t_start <= t <= s.t_end,
    "half": lambda s, t: s.t_start <= t < s.t_end,
}


@pytest.mark.parametrize("ends", ["open", "closed", "half"])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_definition(ends: Ends, seed: int) -> None:
    rng = np.random.default_rng(seed)
    index = {name: i for i, name in enumerate("abcde")}
    # Ends on the instants, repeated and overlapping segments, no length, ends before its start, outside the video.
    segments = [
        Segment("abcde"[c], float(s), float(s + d)) for c, s, d in rng.integers((0, -3, -1), (5, 12, 6), (15, 3))
    ]
    times = np.sort(rng.integers(0, 20, 30) / 2)
    labels = frame_labels(segments, index, times, ends)
    expected = [sorted({index[s.label] for s in segments if INSIDE[ends](s, t)}) for t in times]
    assert [labels.of(row).tolist() for row in range(len(labels))] == expected
    assert labels.dense().sum(axis=0).tolist() == labels.positives().tolist()
    assert [row for row, classes in enumerate(expected) for _ in classes] == labels.rows().tolist()
    assert labels.dense(slice(4, 9)).tolist() == labels.dense()[4:9].tolist()


def test_nothing_and_errors() -> None:
    empty = frame_labels([], {"a": 0}, [])
    assert (len(empty), empty.dense().shape, empty.positives().tolist()) == (0, (0, 1), [0])
    assert frame_labels([], {"a": 0}, [0.0, 1.0]).dense().tolist() == [[False], [False]]
    with pytest.raises(ValueError, match="label 'z' is none of the 1 classes"):
        frame_labels([Segment("z", 0, 1)], {"a": 0}, [0.0])
    with pytest.raises(ValueError, match="must not fall"):
        frame_labels([], {"a": 0}, [1.0, 0.0])


def test_charades_size_is_small() -> None:
    index = {str(i): i for i in range(157)}
    labels = frame_labels([Segment("3", 0, 30), Segment("5", 2, 8)], index, np.arange(720) / 24)
    assert labels.offsets.nbytes + labels.classes.nbytes < 157 * 720 / 8  # smaller than even a bit per class
