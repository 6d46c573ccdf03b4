"""Motion in HSV and residuals as pictures."""

import colorsys

import numpy as np

from pipeline.video.compressed.draw import draw_motion, draw_residual


def test_hue_is_the_direction_and_saturation_the_amplitude() -> None:
    mv = np.array([[[8, 0], [0, 8], [-8, 0], [0, -8]], [[4, 0], [0, 0], [-2, -2], [16, 0]]], np.int16)
    picture = draw_motion(mv, 8.0)
    assert picture.shape == (2, 4, 3)
    for colour, hue in zip(picture[0], (0, 0.25, 0.5, 0.75), strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(colour / 255))
        assert (abs(h - hue) < 0.01, s, v) == (True, 1, 1)
    assert abs(colorsys.rgb_to_hsv(*(picture[1, 0] / 255))[1] - 0.5) < 0.01
    assert picture[1, 1].tolist() == [255, 255, 255]
    assert picture[1, 3].tolist() == [255, 0, 0]
    assert (draw_motion(mv) == draw_motion(mv, 16.0)).all()
    assert draw_motion(np.zeros((0, 4, 2), np.int16)).shape == (0, 4, 3)


def test_a_residual_is_drawn_by_its_size() -> None:
    residual = np.array([[[-3, 5, 0], [-255, 255, 17]]], np.int16)
    assert draw_residual(residual).tolist() == [[[3, 5, 0], [255, 255, 17]]]
