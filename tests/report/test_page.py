"""The report page."""

import math

from pipeline.evaluation.bootstrap import Interval
from pipeline.report.page import FailureRow, Report, StageRow, report_page
from pipeline.report.plots import average_map_bars
from pipeline.report.tables import Difference, Score

SCORES = (
    Score("lofi", {"0.50": 0.6592, "0.75": 0.3388, "0.95": 0.0824}, Interval(0.412, 0.362, 0.467)),
    Score("untrained", {"0.50": 0.2272}, Interval(0.142, math.nan, math.nan)),
)
FULL = Report(
    title="Run <1>",
    subtitle="a & b",
    notes=["few videos"],
    scores=SCORES,
    differences=[Difference("lofi", "untrained", Interval(0.27, 0.22, 0.33))],
    facts={"videos": "40"},
    plots=[average_map_bars(SCORES)],
    class_ap={"lofi": {"run": 0.5, "jump": math.nan}, "untrained": {"run": 0.1}},
    stages=[
        StageRow("ingest", 1.2, 1.1, False, 122, 2, "run-of-ingest"),
        StageRow("pretrain", 203.0, 400.0, True),
        StageRow("head@lofi", 100.0, 190.0, False),
    ],
    failures=[FailureRow("ingest", "<i>zero.mp4", "the file is empty (0 bytes)")],
    parameters={"lofi": {"L": 25, "schedule": "<t>"}},
    run_id="parent-run",
)


def test_full_report(read_page) -> None:
    page = read_page(report_page(FULL))
    text = " ".join(" ".join(page.texts).split())
    for expected in (
        "Run <1>", "a & b", "few videos", "41.2", "36.2 … 46.7", "+27.0", "+22.0 … +33.0", "above zero",
        "jump", "50.0", "run-of-ingest", "3 min 23 s", "cached", "2 of 3 executed 1 min 41 s 3 min 11 s",
        "<i>zero.mp4", "the file is empty (0 bytes)", "schedule <t>", "parent-run",
    ):
        assert expected in text, expected
    assert page.tags.count("picture") == 1
    assert "t" not in page.tags


def test_empty_report_says_that_there_were_no_failures(read_page) -> None:
    page = read_page(report_page(Report("Empty")))
    headings = [tag for tag in page.tags if tag in ("h1", "h2")]
    assert headings == ["h1", "h2"]
    assert "None." in "".join(page.texts)


def test_same_report_same_bytes() -> None:
    assert report_page(FULL) == report_page(FULL)
