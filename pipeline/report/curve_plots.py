"""Plots of precision against recall."""

import math
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.evaluation.curves import PrecisionRecall
from pipeline.report.plots import Plot, draw_figure, draw_plot, legend


def mean_curves(curves: Mapping[str, PrecisionRecall], t: int) -> Plot:
    """Precision against recall, the mean over the classes, a line per encoder; threshold number ``t``."""
    tiou = f"{next(iter(curves.values())).tious[t]:.2f}"

    def draw(axes: Axes, colours: tuple[str, ...], ink: str) -> None:
        for i, (name, curve) in enumerate(curves.items()):
            axes.plot(100 * curve.recalls, 100 * curve.mean(t), color=colours[i % len(colours)], label=name)
        axes.set_xlabel("recall, %")
        axes.set_ylabel("precision, %")
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 103)
        axes.grid()
        legend(axes)

    return draw_plot(
        f"Precision against recall at tIoU {tiou}", "The mean over the classes; the area is the mAP.", draw
    )


def class_curves(curves: Mapping[str, PrecisionRecall], t: int, columns: int = 6) -> Plot:
    """Small curves, one for each class, with a line per encoder; threshold number ``t``."""
    first = next(iter(curves.values()))
    rows = math.ceil(len(first.labels) / columns)

    def draw(figure: Figure, colours: tuple[str, ...], ink: str) -> None:
        cells = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for label, axes in zip(sorted(first.labels), cells.flat, strict=False):
            for i, (name, curve) in enumerate(curves.items()):
                precision = curve.precision[t, curve.labels.index(label)]
                axes.plot(
                    100 * curve.recalls, 100 * precision, color=colours[i % len(colours)], label=name, linewidth=1.4
                )
            axes.set_title(label, fontsize=8.5)
            axes.set_xlim(0, 100)
            axes.set_ylim(0, 105)
            axes.set_xticks([0, 50, 100])
            axes.set_yticks([0, 50, 100])
            axes.tick_params(labelsize=7.5)
            axes.grid()
        for axes in list(cells.flat)[len(first.labels) :]:
            axes.set_visible(False)
        handles, names = cells[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper right", ncols=len(names), frameon=False, handlelength=1.4)
        figure.supxlabel("recall, %", fontsize=9)
        figure.supylabel("precision, %", fontsize=9)

    title = f"Precision against recall of each class at tIoU {first.tious[t]:.2f}"
    return draw_figure(title, "The area under a line is the class's AP.", draw, height=0.7 + 1.35 * rows, width=9.6)
