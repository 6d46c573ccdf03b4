"""Plots of a run as PNG bytes, in a light and a dark form. Drawn without pyplot, so nothing global is touched."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.report.tables import Score

Theme = Literal["light", "dark"]

SERIES: Mapping[Theme, tuple[str, ...]] = {
    "light": ("#2a5bd7", "#c4622d", "#6b7280", "#0f8a6d", "#8b4fb8", "#a67c00"),
    "dark": ("#7aa2ff", "#f0a070", "#9aa3b2", "#4fc9a6", "#c79bea", "#d9b84a"),
}
"""Line and bar colours, told apart also by the colour-blind; series beyond the sixth begin anew."""

_INK: Mapping[Theme, tuple[str, str, str]] = {
    "light": ("#ffffff", "#1b1f27", "#d9dde4"),
    "dark": ("#161a21", "#e6e9ef", "#333a46"),
}


Draw = Callable[[Axes, tuple[str, ...], str], None]
DrawFigure = Callable[[Figure, tuple[str, ...], str], None]


@dataclass(frozen=True)
class Plot:
    """One plot with its heading, what it shows in a sentence, and its two pictures."""

    title: str
    caption: str
    light: bytes
    dark: bytes


def average_map_bars(scores: Sequence[Score], title: str = "Average mAP") -> Plot:
    """Bars of average mAP per encoder with their intervals."""

    def draw(axes: Axes, colours: tuple[str, ...], ink: str) -> None:
        for i, score in enumerate(reversed(scores)):
            value, low, high = (100 * v for v in (score.average.value, score.average.low, score.average.high))
            axes.barh(i, value, height=0.56, color=colours[(len(scores) - 1 - i) % len(colours)])
            axes.plot([low, high], [i, i], color=ink, linewidth=1.4, solid_capstyle="butt")
            axes.plot([low, high], [i, i], "|", color=ink, markersize=8, markeredgewidth=1.4)
            axes.annotate(
                f"{value:.1f}",
                (max(value, high) if high == high else value, i),
                (6, 0),
                textcoords="offset points",
                va="center",
                fontweight="bold",
            )
        axes.set_yticks(range(len(scores)), [score.name for score in reversed(scores)])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("average mAP, %")
        axes.set_xlim(left=0)
        axes.margins(x=0.12)
        axes.grid(axis="x")

    caption = "mAP averaged over tIoU 0.50 to 0.95; the line is the 95 % interval over resampled videos."
    return draw_plot(title, caption, draw, height=0.75 + 0.5 * max(len(scores), 1))


def map_against_tiou(scores: Sequence[Score], title: str = "mAP against tIoU") -> Plot:
    """One line per encoder over the thresholds, with its intervals as a band where they are known."""

    def draw(axes: Axes, colours: tuple[str, ...], ink: str) -> None:
        for i, score in enumerate(scores):
            tious = sorted(score.mAP)
            values = [100 * score.mAP[tiou] for tiou in tious]
            axes.plot(
                [float(tiou) for tiou in tious], values, marker="o", color=colours[i % len(colours)], label=score.name
            )
            known = [tiou for tiou in tious if tiou in score.intervals]
            low, high = ([100 * getattr(score.intervals[tiou], end) for tiou in known] for end in ("low", "high"))
            axes.fill_between(
                [float(tiou) for tiou in known], low, high, color=colours[i % len(colours)], alpha=0.12, linewidth=0
            )
        axes.set_xlabel("tIoU threshold")
        axes.set_ylabel("mAP, %")
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        legend(axes)

    return draw_plot(title, "Line: mAP; band: its 95 % interval over resampled videos.", draw)


def training_curves(
    curves: Mapping[str, Mapping[int, float]], title: str, y_label: str, x_label: str = "step", caption: str = ""
) -> Plot:
    """One line per curve; each maps a step to a value."""

    def draw(axes: Axes, colours: tuple[str, ...], ink: str) -> None:
        for i, (name, values) in enumerate(curves.items()):
            steps = sorted(values)
            marker = "o" if len(steps) < 40 else None
            heights = [values[step] for step in steps]
            axes.plot(steps, heights, marker=marker, color=colours[i % len(colours)], label=name)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y")
        legend(axes)

    return draw_plot(title, caption, draw)


def legend(axes: Axes, **options: Any) -> None:
    """A plain legend, if there is anything to name."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(**{"loc": "best", "frameon": False, "handlelength": 1.4, **options})


def draw_plot(title: str, caption: str, draw: Draw, height: float = 3.0, width: float = 6.0) -> Plot:
    """Draw twice, in light and in dark. ``draw`` gets the axes, the series' colours and the ink; sizes in inches."""
    return draw_figure(
        title, caption, lambda figure, colours, ink: draw(figure.add_subplot(), colours, ink), height, width
    )


def draw_figure(title: str, caption: str, draw: DrawFigure, height: float, width: float = 6.0) -> Plot:
    """As :func:`draw_plot`, for more than one pair of axes: ``draw`` gets the figure."""
    return Plot(title, caption, _png(draw, "light", height, width), _png(draw, "dark", height, width))


def _png(draw: DrawFigure, theme: Theme, height: float, width: float) -> bytes:
    paper, ink, faint = _INK[theme]
    with matplotlib.rc_context(_style(paper, ink, faint)):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure, SERIES[theme], ink)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _style(paper: str, ink: str, faint: str) -> Any:
    # From matplotlib's own defaults, so that a user's matplotlibrc changes nothing.
    return {
        **{key: value for key, value in matplotlib.rcParamsDefault.items() if key.startswith(_STYLED)},
        "font.family": "DejaVu Sans",
        "font.size": 9.5,
        "figure.dpi": 160,
        "savefig.dpi": "figure",
        "figure.facecolor": paper,
        "axes.facecolor": paper,
        "axes.axisbelow": True,
        "savefig.facecolor": paper,
        "text.color": ink,
        "axes.labelcolor": ink,
        "axes.edgecolor": faint,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "xtick.color": ink,
        "ytick.color": ink,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "grid.color": faint,
        "grid.linewidth": 0.8,
        "lines.linewidth": 1.8,
        "lines.markersize": 4,
    }


_STYLED = ("font.", "axes.", "figure.", "savefig.", "lines.", "xtick.", "ytick.", "grid.", "legend.", "text.")
