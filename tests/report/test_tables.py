"""Plain-text and Markdown tables."""

import math

import pytest

from pipeline.evaluation.bootstrap import Interval
from pipeline.report.html import DASH, MINUS, clock, percent, span
from pipeline.report.tables import Difference, Score, difference_table, score_table, table

SCORES = [
    Score("lofi", {"0.50": 0.6592, "0.75": 0.3388, "0.95": 0.0824}, Interval(0.412, 0.362, 0.467)),
    Score("untrained", {"0.50": 0.2272, "0.75": 0.1168}, Interval(0.142, math.nan, math.nan)),
]


def test_score_table_in_plain_text() -> None:
    lines = score_table(SCORES).split("\n")
    assert lines[0].split("  ")[0] == "encoder"
    assert set(lines[1]) == {"-", " "}
    assert lines[2].split() == ["lofi", "65.92", "33.88", "8.24", "41.20", "36.20", "…", "46.70"]
    assert lines[3].split() == ["untrained", "22.72", "11.68", DASH, "14.20", DASH, "…", DASH]
    assert len({len(line) for line in lines}) == 1


def test_score_table_in_markdown() -> None:
    lines = score_table(SCORES, "markdown").split("\n")
    assert all(line.startswith("| ") and line.endswith(" |") for line in lines)
    assert lines[1].count("-:") == 5  # all but the first column are aligned to the right
    assert "| 41.20 |" in lines[2].replace("  ", "")


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        (Interval(0.1, 0.02, 0.2), "above zero"),
        (Interval(-0.1, -0.2, -0.02), "below zero"),
        (Interval(0.1, -0.02, 0.2), "not told apart"),
        (Interval(0.1, math.nan, math.nan), "not told apart"),
    ],
)
def test_verdict_of_a_difference(interval: Interval, verdict: str) -> None:
    difference = Difference("lofi", "acp", interval)
    assert difference.verdict == verdict
    assert difference_table([difference]).split("\n")[2].endswith(verdict)


def test_markdown_cells_cannot_break_the_table() -> None:
    assert table(["a"], [["x|y\nz"]], "markdown").split("\n")[2] == "| x\\|y z |"


def test_bad_table() -> None:
    with pytest.raises(ValueError, match="2 cells, the header has 1"):
        table(["a"], [["1", "2"]])
    with pytest.raises(ValueError, match="plain, markdown"):
        table(["a"], [], "html")  # type: ignore[arg-type]


def test_numbers_as_text() -> None:
    assert [percent(v) for v in (0.4123, None, math.nan, -0.00001)] == ["41.2", DASH, DASH, "0.0"]
    assert [percent(v, 1, signed=True) for v in (0.027, -0.012)] == ["+2.7", MINUS + "1.2"]
    assert [clock(v) for v in (-3.0, 0.0, 59.6, 3725.0)] == ["0:00", "0:00", "1:00", "1:02:05"]
    assert [span(v) for v in (0.42, 38.0, 725.0, 12000.0, None)] == ["0.4 s", "38 s", "12 min 05 s", "3 h 20 min", DASH]
