"""Contact sheets and the pictures in them."""

import numpy as np
import pytest

from pipeline.report.sheets import Picture, Row, Sheet, motion_colours


def test_columns_are_those_of_the_longest_row(jpeg: bytes) -> None:
    picture = Picture(jpeg, 4, 3)
    assert Sheet("a", [Row("found", [picture]), Row("truth", [picture] * 3)]).columns == 3
    assert Sheet("a", []).columns == 0


def test_direction_is_hue_and_speed_is_brightness() -> None:
    vectors = np.array([[[4, 0], [-4, 0], [1, 0], [0, 0]]], np.float32)
    right, left, slow, rest = motion_colours(vectors)[0].astype(int)
    assert right.argmax() == 0  # red
    assert left.argmin() == 0  # cyan
    assert right.max() == left.max() == 255
    assert slow.max() == pytest.approx(255 * 0.5, abs=1)
    assert slow.argmax() == right.argmax()
    assert rest.tolist() == [0, 0, 0]


def test_fullest_speed_is_not_exceeded() -> None:
    fast = np.full((2, 3, 2), 100.0)
    assert motion_colours(fast, 8.0).tolist() == motion_colours(fast, 100.0).tolist()
    assert motion_colours(np.zeros((2, 3, 2))).max() == 0
    assert motion_colours(np.zeros((0, 0, 2))).shape == (0, 0, 3)
