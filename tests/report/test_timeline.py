"""The timeline and index pages."""

import pytest

from pipeline.report.timeline import MOST_BARS, TABLE_ROWS, IndexEntry, build_lanes, index_page, timeline_page

FOUND = [
    {"label": "run", "score": 0.4, "segment": [4.0, 9.0]},
    {"label": "run", "score": 0.8, "segment": [5.0, 10.0]},
    {"label": "run", "score": 0.2, "segment": [12.0, 14.0]},
    {"label": "<script>alert(1)</script>", "score": 0.6, "segment": [0.0, 3.0]},
]
TRUE = [{"label": "jump", "segment": [15.0, 20.0]}, {"label": "run", "segment": [5.0, 10.0]}]


def test_lanes_place_and_stack_the_bars() -> None:
    ranked = sorted(FOUND, key=lambda p: -p["score"])
    lanes = build_lanes(20.0, ranked, TRUE)
    assert [lane.label for lane in lanes] == ["run", "jump", "<script>alert(1)</script>"]
    run = lanes[0]
    assert [(bar.left, bar.width, bar.row) for bar in run.found] == [(25, 25, 0), (20, 25, 1), (60, 10, 0)]
    assert [bar.strength for bar in run.found] == [1.0, 0.5, 0.25]
    assert (run.truth_rows, run.found_rows, lanes[1].found_rows) == (1, 2, 0)


def test_bars_never_leave_the_axis() -> None:
    segments = ([-5.0, 2.0], [9.0, 30.0], [11.0, 12.0])
    outside = [{"label": "run", "score": 1.0, "segment": segment} for segment in segments]
    for bar in build_lanes(10.0, outside, [])[0].found:
        assert 0 <= bar.left <= 100
        assert 0 <= bar.width <= 100 - bar.left


def test_page_holds_everything_and_escapes_it(read_page, jpeg: bytes) -> None:
    html = timeline_page("a & <b>", 20.0, [(15.0, jpeg), (5.0, jpeg)], FOUND, TRUE, ["frame <3> lost"])
    page = read_page(html)
    text = " ".join("".join(page.texts).split())
    assert "a & <b>" in text
    assert "frame <3> lost" in text
    assert "4 detections · 2 true segments" in text
    assert page.tags.count("script") == 1  # our own; the label's is text
    assert page.tags.count("b") == 0
    assert page.tags.count("img") == 2
    assert "left: 0.000%; width: 50.000%" in html  # two thumbnails share the axis
    assert html.count('class="bar found') == 4
    assert html.count('class="bar truth"') == 2
    assert "run · 5.00\N{EN DASH}10.00 s · score 0.800" in html


def test_page_without_ground_truth_or_detections(read_page, jpeg: bytes) -> None:
    page = read_page(timeline_page("v", 3.2, [(1.6, jpeg)], [], None))
    text = "".join(page.texts)
    assert "No detections" in text
    assert "true segment" not in text
    assert "script" not in page.tags


def test_many_detections_are_cut_and_said(read_page) -> None:
    found = [{"label": "run", "score": i / 500, "segment": [i / 10, i / 10 + 5]} for i in range(200)]
    html = timeline_page("v", 30.0, [], found)
    assert "200 detections, the best 60 drawn" in " ".join("".join(read_page(html).texts).split())
    assert html.count('class="bar found') == MOST_BARS
    assert html.count("<tr data-score") == TABLE_ROWS
    assert "0.398" in html  # the best is among them


@pytest.mark.parametrize("duration", [0.4, 3.2, 61.0, 3725.0, 500_000.0])
def test_axis_has_a_readable_number_of_ticks(read_page, duration: float) -> None:
    html = timeline_page("v", duration, [], FOUND)
    ticks = html.split('class="track axis"')[1].split("</div>")[0].count("<span")
    assert 1 <= ticks <= 11


def test_bad_input(jpeg: bytes) -> None:
    with pytest.raises(ValueError, match="'v': duration_s is 0"):
        timeline_page("v", 0, [], [])
    with pytest.raises(ValueError, match="JPEG or PNG"):
        timeline_page("v", 1.0, [(0.5, b"GIF89a")], [])


def test_index_links_pages_and_lists_failures(read_page, jpeg: bytes) -> None:
    entries = [
        IndexEntry("good #1", "good #1.html", 20.0, FOUND[:2], jpeg),
        IndexEntry("empty", "sub/empty.html", 2.0),
        IndexEntry("bad & <ugly>.mp4", error="the file is empty (0 bytes)"),
    ]
    page = read_page(index_page(entries, notes=["one note"]))
    text = " ".join(" ".join(page.texts).split())
    assert {"good%20%231.html", "sub/empty.html"} < set(page.references)
    assert "2 videos · 1 failed" in text
    assert "bad & <ugly>.mp4 the file is empty (0 bytes)" in text
    assert "no detections" in text
    assert "one note" in text


def test_index_with_nothing_readable(read_page) -> None:
    page = read_page(index_page([IndexEntry("a.mp4", error="not a video")]))
    assert "No video could be read." in "".join(page.texts)
