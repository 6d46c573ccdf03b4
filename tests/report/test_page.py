"""The report page."""

import math

import numpy as np
import pytest

from pipeline.evaluation.bootstrap import Interval
from pipeline.report import blocks
from pipeline.report.page import FailureRow, Report, StageRow, report_page
from pipeline.report.plots import average_map_bars
from pipeline.report.sheets import Box, Picture, Row, Sheet
from pipeline.report.tables import Difference, Score
from pipeline.report.timeline import build_board

SCORES = (
    Score("lofi", {"0.50": 0.6592, "0.75": 0.3388, "0.95": 0.0824}, Interval(0.412, 0.362, 0.467)),
    Score("untrained", {"0.50": 0.2272}, Interval(0.142, math.nan, math.nan)),
)
FULL = Report(
    title="Run <1>",
    subtitle="a & b",
    notes=["few videos"],
    scores=SCORES,
    measures=[blocks.Measure("cut F1", Interval(0.987, 0.955, 1.0), "of <cuts>")],
    differences=[Difference("lofi", "untrained", Interval(0.27, 0.22, 0.33))],
    facts={"videos": "40"},
    sections=[blocks.Section("maps", "mAP & more", "what <it> is", [blocks.Plots([average_map_bars(SCORES)])])],
    stages=[
        StageRow("ingest", 1.2, 1.1, False, 122, 2, "run-of-ingest"),
        StageRow("pretrain", 203.0, 400.0, True),
        StageRow("head@lofi", 100.0, 190.0, False),
    ],
    failures=[FailureRow("ingest", "<i>zero.mp4", "the file is empty (0 bytes)")],
    warnings=["ingest: MLflow is <away>"],
    parameters={"lofi": {"L": 25, "schedule": "<t>"}},
    run_id="parent-run",
)


def words(page) -> str:
    return " ".join(" ".join(page.texts).split())


def test_full_report(read_page) -> None:
    page = read_page(report_page(FULL))
    text = words(page)
    for expected in (
        "Run <1>", "a & b", "few videos", "41.2", "36.2 … 46.7", "+27.0", "+22.0 … +33.0", "above zero",
        "cut F1 98.7 95.5 … 100.0", "mAP & more", "what <it> is", "run-of-ingest", "3 min 23 s", "cached",
        "2 of 3 executed 1 min 41 s 3 min 11 s", "<i>zero.mp4", "the file is empty (0 bytes)", "MLflow is <away>",
        "schedule <t>", "parent-run",
    ):  # fmt: skip
        assert expected in text, expected
    assert "HOTA 50.0 –" not in text
    assert page.tags.count("picture") == 1
    assert not {"t", "i>zero.mp4", "it", "cuts", "away"} & set(page.tags)
    assert {"#maps", "#stages", "#failures", "#parameters"} <= set(page.references)


def test_run_ids_lead_to_the_server_only_where_one_is_named(read_page) -> None:
    address = "http://127.0.0.1:5000"
    linked = report_page(Report("Run", stages=FULL.stages, run_id="parent-run", tracking=address))
    for run in ("run-of-ingest", "parent-run"):
        assert f'<a href="{address}/#/runs/{run}">{run}</a>' in linked
    # Nothing but those links and the sentence about them needs the server.
    read_page(linked.replace(address, ""))
    assert "http" not in report_page(FULL)


def test_every_kind_of_block(read_page, jpeg: bytes) -> None:
    picture = Picture(jpeg, 64, 48, "missed cut", (Box(-3, 1, 20, 30, "<ball>", "ball 0.9", 9),), "bad")
    board = build_board(
        "video <1>",
        10.0,
        [(5.0, jpeg)],
        [
            {"label": "run", "score": 0.9, "segment": [0, 4], "verdict": "true positive"},
            {"label": "run", "score": 0.5, "segment": [4, 9], "verdict": "confusion"},
        ],
        [{"label": "run", "segment": [0, 5]}],
    )
    every: list[blocks.Block] = [
        blocks.Text("no <boxes> here", warning=True),
        blocks.Measures(
            [
                blocks.Measure("IDF1", Interval(0.7, 0.6, 0.75)),
                blocks.Measure("HOTA", Interval(0.5, math.nan, math.nan)),
            ]
        ),
        blocks.Plots([average_map_bars(SCORES)], wide=True),
        blocks.Table(["kind", "number"], [["<wrong>", "3"]], "a caption"),
        blocks.Heat("AP of lofi", ["0.50"], {"jump": [0.5], "<run>": [math.nan]}),
        blocks.Heat("AP of acp", ["0.50"], {"jump": [0.25]}, folded=True),
        blocks.Sheets([Sheet("sheet & co", [Row("found", [picture]), Row("truth", [picture])], "2 shots")]),
        blocks.Boards([board], wrong="not right"),
    ]
    html = report_page(Report("Blocks", sections=[blocks.Section("all", "All", "", every)]))
    page = read_page(html)
    text = words(page)
    for expected in (
        "no <boxes> here", "IDF1 70.0 60.0 … 75.0 HOTA 50.0", "<wrong> 3", "a caption", "50.0", "<run> –", "AP of acp",
        "sheet & co 2 shots", "found", "truth", "missed cut", "<ball>", "video <1>", "not right",
    ):  # fmt: skip
        assert expected in text, expected
    assert "HOTA 50.0 –" not in text
    assert {type(block) for block in every} == set(blocks.Block.__args__)
    assert page.tags.count("rect") == 2
    assert 'class="c1"' in html  # colours begin anew
    assert html.count('class="bar found wrong"') == 1
    assert "score 0.500 · confusion" in html
    assert page.tags.count("details") == 1


@pytest.mark.parametrize("size", [(64, 48), (1920, 1080)])
def test_text_in_pictures_is_as_large_on_the_page_whatever_the_frame(jpeg: bytes, size: tuple[int, int]) -> None:
    picture = Picture(jpeg, *size, boxes=(Box(0, 0, 10, 10, "a"),))
    sheet = blocks.Sheets([Sheet("", [Row("", [picture])])])
    html = report_page(Report("Sheet", sections=[blocks.Section("s", "S", "", [sheet])]))
    font = float(html.split("font-size: ")[-1].split("px")[0])
    assert font / size[0] == pytest.approx(1 / 15, rel=0.01)
    assert np.isfinite(font)


def test_empty_report_says_that_there_were_no_failures(read_page) -> None:
    page = read_page(report_page(Report("Empty")))
    headings = [tag for tag in page.tags if tag in ("h1", "h2", "nav")]
    assert headings == ["h1", "h2"]
    assert "None." in "".join(page.texts)


def test_same_report_same_bytes() -> None:
    assert report_page(FULL) == report_page(FULL)
