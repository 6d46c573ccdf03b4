"""Plots of what covers the time of videos."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.report.plots import Plot, draw_plot


def coverage_map(counts: Sequence[np.ndarray], title: str, caption: str, unit: str) -> Plot:
    """A line per video and a cell per second, darker for a higher count; ``counts``: one array [seconds] per video."""
    longest = max((len(row) for row in counts), default=0)
    cells = np.full((max(len(counts), 1), max(longest, 1)), math.nan)
    for row, values in zip(cells, counts, strict=False):
        row[: len(values)] = values
    most = int(np.nanmax(cells, initial=1.0))

    def draw(axes: Axes, colours: tuple[str, ...], ink: str) -> None:
        image = axes.imshow(cells, aspect="auto", interpolation="nearest", cmap="viridis", vmin=0, vmax=most,
                            extent=(0, cells.shape[1], len(cells) + 0.5, 0.5))  # fmt: skip
        axes.set_xlabel("second of the video")
        axes.set_ylabel("video")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        assert axes.figure is not None
        bar = axes.figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, label=unit)
        bar.outline.set_visible(False)

    return draw_plot(title, caption, draw, height=min(1.2 + 0.09 * len(counts), 4.5), width=9.6)
