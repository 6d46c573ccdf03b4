"""Shots, people and objects on the timeline's page: also none, three hundred, one box, boxes beyond the picture."""

import numpy as np

from pipeline.report.scene import MOST_TUBES, Scene, view
from pipeline.report.timeline import timeline_page

SHOTS = np.array([[0.0, 4.0], [4.0, 10.0]])


def scene(*tubes: tuple[int, list[float]], box: tuple[float, ...] = (10, 10, 30, 40)) -> Scene:
    """Tubes of (class, times) in pictures of 64 x 48, searched twice a second; numbers in their order."""
    rows = [(t, label, number) for number, (label, times) in enumerate(tubes) for t in times]
    rows.sort()
    t, label, track = (np.array(column) for column in zip(*rows, strict=True))
    boxes = np.tile(np.array(box, np.float32), (len(rows), 1)) + track[:, None]
    return Scene(
        SHOTS, (64, 48), ("person", "ball"), np.arange(0, 10, 0.5), t, boxes, label, np.full(len(t), 0.5), track
    )


def test_lanes_of_shots_people_and_things() -> None:
    found = view(scene((0, [1.0, 1.5, 2.0]), (1, [2.0]), (0, [1.5, 2.0]), (0, [5.0, 5.5])), 10.0, [])
    shots, people, balls = found.lanes
    assert [(span.left, span.width) for span in shots.spans] == [(0, 40), (40, 60)]
    assert (people.name, people.rows) == ("person", 2)
    # A box stands for the half second around it.
    assert [(span.text, span.left, span.width, span.row) for span in people.spans] == [
        ("0", 7.5, 15, 0), ("2", 12.5, 10, 1), ("3", 47.5, 10, 0),
    ]  # fmt: skip
    assert [(span.text, span.width) for span in balls.spans] == [("1", 5)], "a tube of one box has a length"
    assert found.text == "2 shots · 3 tracks of people, 1 of objects"


def test_the_page_shows_boxes_with_their_numbers(read_page, jpeg: bytes) -> None:
    made = scene((0, [1.0, 1.5]), (1, [1.0]))
    html = timeline_page("v", 10.0, [], [], scene=view(made, 10.0, [(1.0, jpeg), (1.5, jpeg)]))
    page = read_page(html)
    text = " ".join("".join(page.texts).split())
    assert "2 shots · 1 track of people, 1 of objects" in text
    assert page.tags.count("rect") == 3 and page.tags.count("img") == 2
    assert "person 0, score 0.50" in html and "ball 1, score 0.50" in html
    assert 'viewBox="0 0 64 48"' in html and 'x="11.0" y="11.0" width="20.0" height="30.0"' in html
    assert "person 0 · 1.00\N{EN DASH}1.50 s · 2 boxes" in html


def test_nobody_and_not_looked_for(read_page) -> None:
    nobody = Scene(SHOTS, (64, 48), ("person",), np.arange(0, 10, 0.5))
    assert nobody.shown_times(12) == [] and nobody.as_json()["tracks"] == []
    found = view(nobody, 10.0, [])
    assert found.text == "2 shots · 0 tracks of people, 0 of objects" and found.sheet is None
    read_page(timeline_page("v", 10.0, [], [], scene=found))
    assert view(Scene(SHOTS[:1], (64, 48)), 10.0, []).text == "1 shot"


def test_three_hundred_people_are_counted_and_the_longest_drawn(read_page, jpeg: bytes) -> None:
    crowd = scene(*((0, [1.0, 1.5] if number == 299 else [1.0]) for number in range(300)))
    found = view(crowd, 10.0, [(1.0, jpeg)])
    assert found.text == f"2 shots · 300 tracks of people, 0 of objects, the longest {MOST_TUBES} drawn"
    assert len(found.lanes[1].spans) == MOST_TUBES and found.lanes[1].spans[-1].text == "299"
    page = read_page(timeline_page("v", 10.0, [], [], scene=found))
    assert page.tags.count("rect") == 300, "of boxes none is left out"
    assert len(crowd.as_json()["tracks"]) == 300


def test_boxes_beyond_the_picture_stay_inside_the_frame_that_clips_them(read_page, jpeg: bytes) -> None:
    beyond = scene((0, [1.0]), box=(-20, -10, 90, 60))
    html = timeline_page("v", 10.0, [], [], scene=view(beyond, 10.0, [(1.0, jpeg)]))
    read_page(html)
    assert 'x="-20.0" y="-10.0" width="110.0" height="70.0"' in html
    assert '<text x="0.0"' in html, "its number is written inside"
    assert beyond.as_json()["tracks"][0]["box"] == [[-20, -10, 90, 60]], "what was found is told as it is"
