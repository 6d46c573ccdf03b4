"""Pictures of adaptive time: grouped frames and feature maps, grid locations, active bins by class, accuracy by cost."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.evaluation.bootstrap import Interval
from pipeline.report.plots import Plot, draw_figure, draw_plot

BINS = ("#2a5bd7", "#c4622d", "#0f8a6d", "#8b4fb8", "#a67c00", "#b0324f", "#3f7f9b", "#6b7280")
"""Border colours of bins, in their order; further ones begin anew."""

_MAP = "magma"


class Clip(NamedTuple):
    """A clip and what a temporal module made of it.

    Attributes:
        name: heading.
        pictures: its frames, uint8 ``[T, h, w, 3]``.
        before: feature maps ``[T, h', w']``.
        after: those behind the module, real ones only, ``[T', h', w']``.
        weights: what each of T' takes of each frame, ``[T', T]``, or None.
        positions: where each of T' lies, in frames ``[T']``, or None.
    """

    name: str
    pictures: NDArray[np.uint8]
    before: NDArray[np.float32]
    after: NDArray[np.float32]
    weights: NDArray[np.float32] | None
    positions: NDArray[np.float32] | None


class Cost(NamedTuple):
    """An encoder's cost per snippet in GMACs and how good it is, 0..1."""

    name: str
    gmacs: float
    score: Interval


def grouped_frames(clip: Clip) -> Plot:
    """A clip's frames, their feature maps before sampling, and the active bins behind it; colours tell the bins."""
    weights = clip.weights
    assert weights is not None
    of_frame = weights.argmax(axis=0)
    columns = max(len(clip.pictures), len(clip.after))

    def draw(figure: Figure, _colours: tuple[str, ...], ink: str) -> None:
        cells = figure.subplots(3, columns, squeeze=False)
        for axes in cells.flat:
            _bare(axes)
        highest = float(clip.before.max())
        for t, picture in enumerate(clip.pictures):
            cells[0, t].imshow(picture, aspect="equal")
            cells[1, t].imshow(clip.before[t], cmap=_MAP, vmin=0, vmax=highest)
            for row in (0, 1):
                _border(cells[row, t], BINS[int(of_frame[t]) % len(BINS)])
            cells[0, t].set_title(str(t + 1), fontsize=8, pad=2)
        for b, values in enumerate(clip.after):
            cells[2, b].imshow(values, cmap=_MAP, vmin=0, vmax=float(clip.after.max()))
            _border(cells[2, b], BINS[b % len(BINS)])
            members = ", ".join(str(t + 1) for t in np.flatnonzero(of_frame == b))
            cells[2, b].set_title(members, fontsize=7.5, pad=2)
        for row, name in enumerate(("frames", "before", "active bins")):
            cells[row, 0].set_ylabel(name, fontsize=8.5, color=ink, visible=True)

    caption = (
        f"{len(clip.after)} active bins of {len(clip.pictures)} frames. A frame's border has the colour of its bin; over "
        "each bin stand its frames. Feature maps: mean magnitude over the channels."
    )
    return draw_figure(clip.name, caption, draw, height=3.1, width=9.6)


def grid_locations(clips: Sequence[Clip]) -> Plot:
    """Where frames are sampled along each clip, beside the even spacing of as many."""

    def draw(figure: Figure, colours: tuple[str, ...], ink: str) -> None:
        grid = figure.add_gridspec(2 * len(clips), 1, height_ratios=[3, 1] * len(clips), hspace=0.02)
        for number, clip in enumerate(clips):
            assert clip.positions is not None
            frames, height, width = clip.pictures.shape[:3]
            strip = figure.add_subplot(grid[2 * number])
            # Pictures side by side with a gap between them, frame t in the middle of its cell at x = t + 1.
            strip.set_xlim(0.5, frames + 0.5)
            for t, picture in enumerate(clip.pictures):
                strip.imshow(picture, extent=(t + 0.52, t + 1.48, 0, height / width), aspect="auto")
            strip.set_ylim(0, height / width)
            _bare(strip)
            strip.set_title(clip.name, fontsize=8.5, loc="left", pad=3)
            line = figure.add_subplot(grid[2 * number + 1])
            line.set_xlim(0.5, frames + 0.5)
            even = np.linspace(1, frames, len(clip.positions))
            line.plot(even, np.full(len(even), -0.5), "|", color=colours[2], markersize=7, label="evenly spaced")
            line.plot(clip.positions + 1, np.full(len(even), 0.4), "v", color=colours[1], markersize=6, label="sampled")
            for x in clip.positions + 1:
                strip.axvline(float(x), color=colours[1], linewidth=1.6)
            line.set_ylim(-1.3, 1)
            line.set_yticks([])
            last = number == len(clips) - 1
            line.set_xticks(range(1, frames + 1) if last else [])
            line.tick_params(labelsize=7.5, length=0)
            line.set_xlabel("frame" if last else "", fontsize=8.5)
        handles, names = line.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper right", ncols=2, frameon=False, fontsize=8.5)

    caption = "Lines: where features are taken, interpolated between frames; both ends are always among them."
    return draw_figure("Grid locations over clips", caption, draw, height=0.5 + 1.35 * len(clips), width=9.6)


def frames_by_class(frames: Mapping[str, NDArray[np.int64]], most: int, what: str) -> Plot:
    """How many frames clips of each class keep: the mean, and the range of the middle 80 %."""
    order = sorted(frames, key=lambda name: float(frames[name].mean()))

    def draw(axes: Axes, colours: tuple[str, ...], ink: str) -> None:
        for row, name in enumerate(order):
            low, high = np.percentile(frames[name], [10, 90])
            axes.plot([low, high], [row, row], color=colours[0], linewidth=5, alpha=0.3, solid_capstyle="round")
            axes.plot(frames[name].mean(), row, "o", color=colours[0], markersize=5.5)
        axes.set_yticks(range(len(order)), [f"{name} ({len(frames[name])})" for name in order])
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, most + 0.3)
        axes.set_xticks(range(0, most + 1))
        axes.set_xlabel(f"{what} of {most}")
        axes.grid(axis="x")

    caption = "Dot: mean over the class's clips (their number in brackets); band: the middle 80 % of them."
    title = f"{what[0].upper()}{what[1:]} by class"
    return draw_plot(title, caption, draw, height=0.9 + 0.24 * len(order), width=6.4)


def score_by_cost(costs: Sequence[Cost], score: str, caption: str) -> Plot:
    """A point with its interval for each encoder."""

    def draw(axes: Axes, colours: tuple[str, ...], ink: str) -> None:
        for i, cost in enumerate(sorted(costs, key=lambda one: one.gmacs)):
            value, low, high = (100 * v for v in (cost.score.value, cost.score.low, cost.score.high))
            axes.plot([cost.gmacs] * 2, [low, high], color=colours[i % len(colours)], linewidth=1.4)
            axes.plot(cost.gmacs, value, "o", color=colours[i % len(colours)], markersize=7)
            axes.annotate(cost.name, (cost.gmacs, value), (8, 0), textcoords="offset points", va="center")
        axes.set_xlim(0, 1.45 * max(cost.gmacs for cost in costs))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("GMACs per snippet")
        axes.set_ylabel(f"{score}, %")
        axes.grid()

    return draw_plot(f"{score} against cost", caption, draw)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _border(axes: Axes, colour: str) -> None:
    for spine in axes.spines.values():
        spine.set(visible=True, color=colour, linewidth=2.4)
