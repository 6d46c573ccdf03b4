"""Attention over time: bars are sums over seconds, and a person's own stand on those of the others."""

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pipeline.report.memory_plots import Looked, _panel


def test_bars_are_sums_over_seconds() -> None:
    axes = Figure().add_subplot()
    others, own = [(0.5, 0.1), (0.9, 0.2), (2.5, 0.1)], [(2.5, 0.3), (4.5, 0.05)]
    _panel(axes, Looked("a clip", 2.5, others, 10.0, (), own), ("#111111", "#222222", "#333333"), "#000000")
    bars = {}
    for bar in axes.patches:
        assert isinstance(bar, Rectangle)
        bars[bar.get_x() + bar.get_width() / 2, bar.get_y()] = bar.get_height()
    assert bars == {
        (0.5, 0): pytest.approx(30), (2.5, 0): pytest.approx(10), (2.5, 10): pytest.approx(30), (4.5, 0): pytest.approx(5)
    }  # fmt: skip
    assert axes.get_yticks().tolist() == [0, 40], "the highest second, both together"
