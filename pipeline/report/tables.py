"""The headline numbers as values, and as plain-text or Markdown tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipeline.evaluation.bootstrap import Interval
from pipeline.report.html import MINUS, percent

HEADLINE_TIOUS = ("0.50", "0.75", "0.95")
"""The thresholds that papers print beside the average."""

Style = Literal["plain", "markdown"]


@dataclass(frozen=True)
class Score:
    """One row of the headline table: mAP per threshold ("0.50" -> 0..1) and average mAP with its interval.

    ``intervals``: those of the thresholds, where they are known.
    """

    name: str
    mAP: Mapping[str, float]
    average: Interval
    intervals: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """Average mAP of ``name`` less that of ``minus``, paired on the same resampled videos."""

    name: str
    minus: str
    interval: Interval

    @property
    def verdict(self) -> str:
        """Whether the interval leaves out zero."""
        if self.interval.low > 0:
            return "above zero"
        if self.interval.high < 0:
            return "below zero"
        return "not told apart"


def score_table(scores: Sequence[Score], style: Style = "plain") -> str:
    """Encoders x (mAP at 0.50, 0.75, 0.95, average with interval), in percent."""
    header = ["encoder", *(f"mAP@{tiou}" for tiou in HEADLINE_TIOUS), "average mAP", "95 % interval"]
    rows = [
        [
            score.name,
            *(percent(score.mAP.get(tiou), 2) for tiou in HEADLINE_TIOUS),
            percent(score.average.value, 2),
            bounds(score.average, 2),
        ]
        for score in scores
    ]
    return table(header, rows, style)


def difference_table(differences: Sequence[Difference], style: Style = "plain") -> str:
    """Paired differences of average mAP in percentage points, with intervals."""
    rows = [
        [
            f"{d.name} {MINUS} {d.minus}",
            percent(d.interval.value, 2, signed=True),
            bounds(d.interval, 2, signed=True),
            d.verdict,
        ]
        for d in differences
    ]
    return table(["difference", "average mAP", "95 % interval", "verdict"], rows, style)


def bounds(interval: Interval, digits: int = 1, signed: bool = False) -> str:
    """The interval's bounds in percent: ``31.0 … 42.5``."""
    return f"{percent(interval.low, digits, signed)} … {percent(interval.high, digits, signed)}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], style: Style = "plain") -> str:
    """Align columns, the first to the left and the others to the right. Ends without a newline.

    Raises:
        ValueError: a row is not as wide as the header, or the style is unknown.
    """
    if style not in ("plain", "markdown"):
        raise ValueError(f"style {style!r} is not one of plain, markdown")
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"row {list(row)} has {len(row)} cells, the header has {len(header)}")
    lines = [list(header), *(list(row) for row in rows)]
    if style == "markdown":
        lines = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    padded = [
        [cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(pairs)]
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    ]
    if style == "plain":
        rule = "  ".join("-" * width for width in widths)
        return "\n".join(["  ".join(padded[0]), rule, *("  ".join(line) for line in padded[1:])])
    marks = ["-" * width if column == 0 else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (padded[0], marks, *padded[1:]))
