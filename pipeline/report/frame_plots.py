"""A picture of frame-wise detection: what is on in a video, what a network says of every frame, and where it looked."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray

from pipeline.datasets.schema import Segment
from pipeline.report.plots import Plot, draw_plot

_ROW_INCHES, _MARGIN_INCHES = 0.3, 0.9


def frame_scores(
    title: str,
    duration_s: float,
    classes: Sequence[str],
    segments: Sequence[Segment],
    scores: NDArray[np.floating],
    looked_s: Sequence[float] = (),
    caption: str = "",
) -> Plot:
    """One row per class: scores as shade, the truth as a bar below, marks above where frames were taken.

    Args:
        title: of the plot.
        duration_s: of the video.
        classes: the rows, from above.
        segments: the truth; those of other classes are left out.
        scores: ``[T, K]`` of the K classes at T equally spaced instants; the fullest shade is the largest of a class.
        looked_s: times of the frames that Grid Pool took.
        caption: below the plot.
    """

    def draw(axes: Axes, colours: tuple[str, ...], ink: str) -> None:
        paper = axes.get_facecolor()
        shades = LinearSegmentedColormap.from_list("scores", [paper, colours[0]])
        largest = np.maximum(scores.max(axis=0), 1e-9)
        for row, label in enumerate(classes):
            shade = (scores[:, row] / largest[row])[None]
            axes.imshow(
                shade, cmap=shades, vmin=0, vmax=1, aspect="auto", extent=(0, duration_s, row + 0.72, row + 0.05)
            )
            spans = [(s.t_start, s.t_end - s.t_start) for s in segments if s.label == label]
            axes.broken_barh(spans, (row + 0.76, 0.14), color=colours[1])
        if len(looked_s):
            axes.plot(looked_s, np.full(len(looked_s), -0.2), "|", color=ink, markersize=7)
        axes.set_xlim(0, duration_s)
        axes.set_ylim(len(classes), -0.45 if len(looked_s) else 0)
        axes.set_yticks(np.arange(len(classes)) + 0.45, list(classes))
        axes.xaxis.set_major_locator(MultipleLocator(max(1, round(duration_s / 8))))
        axes.set_xlabel("seconds")

    return draw_plot(title, caption, draw, height=_MARGIN_INCHES + _ROW_INCHES * len(classes), width=9.0)
