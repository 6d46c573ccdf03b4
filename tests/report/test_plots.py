"""Plots: real pictures, the same bytes each time, nothing global touched."""

import math

import cv2
import matplotlib
import numpy as np
import pytest

from pipeline.evaluation.bootstrap import Interval
from pipeline.evaluation.curves import precision_recall
from pipeline.evaluation.error_kinds import diagnose
from pipeline.evaluation.segments import GroundTruth, Predictions
from pipeline.report.coverage_plots import coverage_map
from pipeline.report.curve_plots import class_curves, mean_curves
from pipeline.report.error_plots import error_gains, error_profile
from pipeline.report.plots import average_map_bars, map_against_tiou, training_curves
from pipeline.report.tables import Score

SCORES = [
    Score("lofi", {"0.50": 0.66, "0.75": 0.34, "0.95": 0.08}, Interval(0.41, 0.36, 0.47)),
    Score("untrained", {"0.50": 0.23, "0.75": 0.12, "0.95": 0.03}, Interval(0.14, 0.11, 0.17)),
]
TRUTH = GroundTruth.from_rows(["a"], [("a", label, 10.0 * i, 10.0 * i + 5) for i, label in enumerate("xyzxyzxw")])
FOUND = Predictions.from_rows([("a", "xyzw"[i % 4], 4.0 * i, 4.0 * i + 5, 1 / (i + 1)) for i in range(20)])
NOTHING = Predictions.from_rows([])
CURVES = {"lofi": {0: 2.0, 10: 1.0, 20: 0.5}, "acp": {0: 2.2, 20: 0.9}}


SMALL = {
    "bars": lambda: average_map_bars(SCORES),
    "tiou": lambda: map_against_tiou(SCORES),
    "training": lambda: training_curves(CURVES, "Loss", "loss"),
    "mean curves": lambda: mean_curves({"lofi": precision_recall(TRUTH, FOUND)}, 0),
    "error profile": lambda: error_profile(diagnose(TRUTH, FOUND)),
    "error gains": lambda: error_gains({"lofi": diagnose(TRUTH, FOUND)}),
}
WIDE = {
    "class curves": lambda: class_curves({"lofi": precision_recall(TRUTH, FOUND)}, 0, columns=3),
    "coverage": lambda: coverage_map([np.arange(9), np.arange(4)], "Coverage", "", "rows"),
}


def pixels(png: bytes) -> np.ndarray:
    """Decode a PNG."""
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


@pytest.mark.parametrize("name", [*SMALL, *WIDE])
def test_light_and_dark_pictures_show_something(name: str) -> None:
    plot = (SMALL | WIDE)[name]()
    light, dark = pixels(plot.light), pixels(plot.dark)
    assert light.shape == dark.shape
    assert light.shape[1] == (960 if name in SMALL else 1536)
    assert light[0, 0].min() > 240
    assert dark[0, 0].max() < 50
    assert len(np.unique(light.reshape(-1, 3), axis=0)) > 50


def test_longer_bar_for_a_higher_value() -> None:
    picture = pixels(average_map_bars(SCORES).light).astype(int)
    coloured = picture.max(axis=2) - picture.min(axis=2) > 60  # the first series is blue, the second orange
    blue = coloured & (picture[..., 0] > picture[..., 2])
    orange = coloured & (picture[..., 2] > picture[..., 0])
    assert blue.any(axis=0).sum() == pytest.approx(orange.any(axis=0).sum() * 0.41 / 0.14, rel=0.05)


def test_same_input_same_bytes_and_no_global_state() -> None:
    before = dict(matplotlib.rcParams)
    assert average_map_bars(SCORES) == average_map_bars(SCORES)
    with matplotlib.rc_context({"font.size": 20, "axes.grid": True, "lines.linewidth": 9}):
        changed_by_user = map_against_tiou(SCORES)
    assert changed_by_user == map_against_tiou(SCORES)
    assert dict(matplotlib.rcParams) == before


def test_nothing_to_draw_is_not_an_error() -> None:
    average_map_bars([])
    map_against_tiou([])
    training_curves({}, "Loss", "loss")
    training_curves({"diverged": {0: 1.0, 1: math.nan, 2: math.inf}}, "Loss", "loss")
    error_profile(diagnose(TRUTH, NOTHING))
    error_gains({})
    mean_curves({"x": precision_recall(TRUTH, NOTHING)}, 0)
    coverage_map([], "Coverage", "", "rows")
    coverage_map([np.zeros(0, int)], "Coverage", "", "rows")
    average_map_bars([Score("x", {}, Interval(0.0, math.nan, math.nan))])
