"""What is in a video beside its actions, as values that pages and annotated videos draw: shots, and tubes of boxes."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.report.sheets import BOX_COLOURS, Box, Picture, Row, Sheet
from pipeline.report.timeline import SceneView, Span, SpanLane, pack

MOST_TUBES = 60
"""Tubes drawn as bars, the longest first; the rest only enters the count."""


class Tube(NamedTuple):
    """One person or thing: number, class, and its boxes [N, 4] in source pixels at times [N] in seconds."""

    number: int
    label: str
    t: np.ndarray
    box: np.ndarray
    score: np.ndarray


_NOTHING, _NO_BOX = np.zeros(0), np.zeros((0, 4))


class Scene(NamedTuple):
    """Shots [S, 2] in seconds, size (width, height) in px, and rows of boxes with their class and tube.

    ``classes`` is empty where people were not looked for. ``pts`` [P]: times of the pictures that were searched; of row n,
    ``t`` [N] is the time, ``box`` [N, 4] in source pixels, ``label`` [N] the index of its class, ``track`` [N] its tube.
    """

    shots: np.ndarray
    size: tuple[int, int]
    classes: tuple[str, ...] = ()
    pts: np.ndarray = _NOTHING
    t: np.ndarray = _NOTHING
    box: np.ndarray = _NO_BOX
    label: np.ndarray = _NOTHING
    score: np.ndarray = _NOTHING
    track: np.ndarray = _NOTHING

    def tubes(self) -> Iterator[Tube]:
        """By number, which is the order in which they begin."""
        order = np.argsort(self.track, kind="stable")
        numbers, starts = np.unique(self.track[order], return_index=True)
        for number, rows in zip(numbers.tolist(), np.split(order, starts[1:]), strict=False):
            label = self.classes[int(self.label[rows[0]])]
            yield Tube(int(number), label, self.t[rows], self.box[rows].astype(np.float64), self.score[rows])

    @property
    def step_s(self) -> float:
        """Seconds between pictures that were searched."""
        return float(np.median(np.diff(self.pts))) if len(self.pts) > 1 else 0.0

    def shown_times(self, count: int) -> list[float]:
        """Times of searched pictures with a box, evenly spread over them; none where there is no box."""
        times = np.unique(self.t)
        if not len(times):
            return []
        places = np.linspace(0, len(times) - 1, count + 2).round().astype(int)[1:-1]
        chosen: list[float] = times[np.unique(places)].tolist()
        return chosen

    def as_json(self) -> dict[str, Any]:
        """Plain values: shots, and per tube its class, times and boxes (px, to a tenth)."""
        return {
            "shots": np.round(self.shots, 3).tolist(),
            "tracks": [
                {
                    "id": tube.number,
                    "label": tube.label,
                    "t": np.round(tube.t, 3).tolist(),
                    "box": np.round(tube.box, 1).tolist(),
                    "score": np.round(tube.score.astype(np.float64), 3).tolist(),
                }
                for tube in self.tubes()
            ],
        }


def colour(number: int) -> int:
    """Of a tube; the last colour is kept for what has no number."""
    return number % (BOX_COLOURS - 1)


def view(scene: Scene, duration_s: float, pictures: Sequence[tuple[float, bytes]]) -> SceneView:
    """How a timeline's page shows it; ``pictures`` (time in seconds, JPEG) are those that boxes are drawn over."""
    found = list(scene.tubes())
    lanes = [_shot_lane(scene, duration_s)]
    drawn = sorted(found, key=lambda tube: (-len(tube.t), tube.number))[:MOST_TUBES]
    for name in dict.fromkeys(tube.label for tube in sorted(drawn, key=lambda t: scene.classes.index(t.label))):
        tubes = sorted((tube for tube in drawn if tube.label == name), key=lambda tube: tube.number)
        lanes.append(_tube_lane(name, tubes, scene.step_s / 2, duration_s))
    count = f"{len(scene.shots)} shot{'' if len(scene.shots) == 1 else 's'}"
    if not scene.classes:
        return SceneView(tuple(lanes), count)
    people = sum(tube.label == "person" for tube in found)
    text = f"{count} · {people} track{'' if people == 1 else 's'} of people, {len(found) - people} of objects"
    if len(drawn) < len(found):
        text += f", the longest {len(drawn)} drawn"
    return SceneView(tuple(lanes), text, box_pictures(scene, pictures) if pictures else None)


def _shot_lane(scene: Scene, duration_s: float) -> SpanLane:
    spans = [
        Span(
            str(number),
            f"shot {number} · {start:.2f}–{end:.2f} s",
            100 * start / duration_s,
            100 * (min(end, duration_s) - start) / duration_s,
            0,
            number % 2,
        )
        for number, (start, end) in enumerate(scene.shots.tolist(), start=1)
    ]
    return SpanLane("shots", tuple(spans), 1)


def _tube_lane(name: str, tubes: Sequence[Tube], half_s: float, duration_s: float) -> SpanLane:
    # A box stands for the time until the next picture, so that a tube of one box has a length too.
    items = [
        {"label": name, "segment": [max(float(tube.t[0]) - half_s, 0.0), min(float(tube.t[-1]) + half_s, duration_s)]}
        for tube in tubes
    ]
    bars = pack(duration_s, items, 0.0)
    spans = [
        Span(
            str(tube.number),
            f"{name} {tube.number} · {tube.t[0]:.2f}–{tube.t[-1]:.2f} s · {len(tube.t)} boxes",
            bar.left,
            bar.width,
            bar.row,
            colour(tube.number),
        )
        for tube, bar in zip(tubes, bars, strict=True)
    ]
    return SpanLane(name, tuple(spans), max(span.row for span in spans) + 1)


def box_pictures(scene: Scene, pictures: Sequence[tuple[float, bytes]]) -> Sheet:
    """Pictures (time, JPEG) with the boxes of the searched picture nearest in time over them, each with its number."""
    row = []
    for time, image in pictures:
        nearest = scene.pts[int(np.abs(scene.pts - time).argmin())]
        boxes = []
        for i in np.flatnonzero(scene.t == nearest):
            number, name = int(scene.track[i]), scene.classes[int(scene.label[i])]
            title = f"{name} {number}, score {scene.score[i]:.2f}"
            x1, y1, x2, y2 = scene.box[i].tolist()
            boxes.append(Box(x1, y1, x2, y2, str(number), title, colour(number)))
        row.append(Picture(image, *scene.size, f"{time:.1f} s", tuple(boxes)))
    return Sheet("", [Row("", row)], wrap=True)
