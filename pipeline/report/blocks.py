"""What a section of the report is made of: values that the template ``blocks.html.j2`` draws by their ``kind``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pipeline.evaluation.bootstrap import Interval
from pipeline.report.plots import Plot
from pipeline.report.sheets import Sheet
from pipeline.report.timeline import Board


@dataclass(frozen=True)
class Text:
    """A paragraph; ``warning`` marks one that says what is missing and why."""

    kind: ClassVar[str] = "text"
    text: str
    warning: bool = False


@dataclass(frozen=True)
class Measure:
    """One figure with its interval, in 0..1."""

    name: str
    interval: Interval
    doc: str = ""


@dataclass(frozen=True)
class Measures:
    """Figures with their intervals, side by side."""

    kind: ClassVar[str] = "measures"
    measures: Sequence[Measure]


@dataclass(frozen=True)
class Plots:
    """Plots beside each other where there is room; ``wide`` ones take a row each."""

    kind: ClassVar[str] = "plots"
    plots: Sequence[Plot]
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of a name and ready text; ``header`` begins with the heading of the names."""

    kind: ClassVar[str] = "table"
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Heat:
    """A table of values 0..1, printed in percent and coloured; NaN is a dash. ``folded``: closed under its title."""

    kind: ClassVar[str] = "heat"
    title: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[float]]
    folded: bool = False


@dataclass(frozen=True)
class Sheets:
    """Contact sheets, one below the other."""

    kind: ClassVar[str] = "sheets"
    sheets: Sequence[Sheet]


@dataclass(frozen=True)
class Boards:
    """Timelines of videos; ``wrong`` says what the grey bars are, "" where no bar was judged."""

    kind: ClassVar[str] = "boards"
    boards: Sequence[Board]
    wrong: str = ""


Block = Text | Measures | Plots | Table | Heat | Sheets | Boards


@dataclass(frozen=True)
class Section:
    """A heading, a few words, and the blocks below; ``name`` is its address within the page."""

    name: str
    title: str
    text: str = ""
    blocks: Sequence[Block] = field(default=())
