"""Plots of error kinds: how predictions fall apart by rank, and what fixing each kind would give."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from pipeline.evaluation.error_kinds import FALSE_NEGATIVE, KINDS, Diagnosis
from pipeline.report.plots import Plot, draw_plot, legend

_KIND_COLOURS = ("#2a5bd7", "#7fb2d9", "#8b4fb8", "#e0a03a", "#c4622d", "#9aa3b2")


def error_profile(diagnosis: Diagnosis, title: str = "What the predictions are", groups: int = 10) -> Plot:
    """Shares of the kinds among the best G, the next G, ... predictions (DETAD, figure 4), stacked."""
    shares = 100 * diagnosis.profile(groups)
    shares = shares[np.isfinite(shares).all(axis=1)]

    def draw(axes: Axes, colours: tuple[str, ...], ink: str) -> None:
        places, bottom = np.arange(1, len(shares) + 1), np.zeros(len(shares))
        for k, kind in enumerate(KINDS):
            axes.bar(places, shares[:, k], bottom=bottom, width=0.8, color=_KIND_COLOURS[k], label=kind)
            bottom += shares[:, k]
        axes.set_xlabel("predictions by score, in groups as large as the number of instances of the class")
        axes.set_ylabel("share, %")
        axes.set_xticks(places, [f"{place}G" for place in places])
        axes.set_ylim(0, 100)
        legend(axes, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)

    return draw_plot(
        title, "Mean over tIoU 0.50 to 0.95. G is the number of true instances of a class.", draw, height=3.6
    )


def error_gains(diagnoses: Mapping[str, Diagnosis], title: str = "What fixing a kind of error would give") -> Plot:
    """Bars of the gain in average mAP for each kind and encoder."""
    kinds: Sequence[str] = (*KINDS[1:], FALSE_NEGATIVE)

    def draw(axes: Axes, colours: tuple[str, ...], ink: str) -> None:
        height = 0.8 / max(len(diagnoses), 1)
        for i, (name, diagnosis) in enumerate(diagnoses.items()):
            places = np.arange(len(kinds)) + (i - (len(diagnoses) - 1) / 2) * height
            values = [100 * diagnosis.gain[kind] for kind in kinds]
            axes.barh(places, values, height=0.9 * height, color=colours[i % len(colours)], label=name)
            for place, value in zip(places, values, strict=True):
                axes.annotate(
                    f"{value:.1f}", (value, place), (4, 0), textcoords="offset points", va="center", fontsize=8
                )
        axes.set_yticks(range(len(kinds)), kinds)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("gain in average mAP, percentage points")
        axes.set_xlim(left=0)
        axes.margins(x=0.1)
        axes.grid(axis="x")
        legend(axes)

    caption = "False positives of the kind are removed; missed instances leave the truth. Gains do not add up."
    return draw_plot(title, caption, draw, height=3.6)
