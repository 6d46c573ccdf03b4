"""Plots of where a model with a long-term feature bank looked."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.datasets.schema import Segment
from pipeline.report.plots import Plot, draw_figure


class Looked(NamedTuple):
    """One clip: its heading, its instant in seconds, ``rows`` of (time, share), the video's length and segments.

    ``own``: further rows, of the clip's own person, that stand on the others in another colour.
    """

    title: str
    t: float
    rows: Sequence[tuple[float, float]]
    duration_s: float
    segments: Sequence[Segment]
    own: Sequence[tuple[float, float]] = ()


def attention_over_time(clips: Sequence[Looked], title: str, caption: str) -> Plot:
    """A panel per clip: the share of each second of the window as bars, the video's segments below, the clip as a line."""

    def draw(figure: Figure, colours: tuple[str, ...], ink: str) -> None:
        for axes, clip in zip(figure.subplots(len(clips), 1, squeeze=False).flat, clips, strict=True):
            _panel(axes, clip, colours, ink)
        figure.supxlabel("second of the video", fontsize=9)

    return draw_figure(title, caption, draw, height=0.4 + 1.75 * len(clips), width=9.6)


def _panel(axes: Axes, clip: Looked, colours: tuple[str, ...], ink: str) -> None:
    others, own = _by_second(clip.rows), _by_second(clip.own)
    most = max((others.get(s, 0.0) + own.get(s, 0.0) for s in others.keys() | own.keys()), default=1.0) or 1.0
    axes.bar([s + 0.5 for s in others], [100 * share for share in others.values()], width=0.9, color=colours[0])
    under = [100 * others.get(s, 0.0) for s in own]
    axes.bar([s + 0.5 for s in own], [100 * share for share in own.values()], 0.9, under, color=colours[2])
    axes.axvline(clip.t, color=ink, linewidth=1.2)
    lanes: list[float] = []  # where each row of segments ends
    for segment in sorted(clip.segments, key=lambda one: one.t_start):
        lane = next((i for i, end in enumerate(lanes) if end <= segment.t_start), len(lanes))
        lanes[lane : lane + 1] = [segment.t_end]
        at = -100 * most * (0.16 + 0.2 * lane)
        axes.plot([segment.t_start, segment.t_end], [at, at], color=colours[1], linewidth=2.5, solid_capstyle="butt")
        axes.annotate(segment.label, (segment.t_start, at), (0, 2), textcoords="offset points", fontsize=6.5)
    axes.set_title(clip.title, fontsize=8.5, loc="left")
    axes.set_xlim(0, clip.duration_s)
    axes.set_ylim(-100 * most * (0.24 + 0.2 * max(len(lanes) - 1, 0)), 108 * most)
    axes.set_yticks([0, round(100 * most)])
    axes.set_ylabel("share, %")
    axes.grid(axis="y")


def _by_second(rows: Sequence[tuple[float, float]]) -> dict[int, float]:
    seconds: dict[int, float] = {}
    for t, share in rows:
        seconds[int(t)] = seconds.get(int(t), 0.0) + share
    return seconds
