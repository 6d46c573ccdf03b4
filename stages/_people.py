"""Sections of the report on people and objects: detections, tracks, the long-term feature bank.

Whatever artifact or truth is missing leaves its part out, and a sentence says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.datasets.schema import Dataset, Video
from pipeline.evaluation.detection import box_iou
from pipeline.report.blocks import Block, Measure, Plots, Section, Table, Text
from pipeline.report.coverage_plots import coverage_map
from pipeline.report.html import percent
from pipeline.report.scene import colour
from pipeline.report.sheets import BOX_COLOURS, Box, Picture, Row, Sheet
from pipeline.run import kinds
from pipeline.run.artifacts import Kind
from stages import _boxes, _outputs
from stages._sheets import COLUMNS, decoded_pictures, picture_section

_NO_BOXES = Text("The data set has no boxes of its own, so nothing here is scored or set beside a truth.", warning=True)


def detections(
    root: Path,
    shown: Sequence[Video],
    measures: Sequence[Measure],
    class_ap50: Mapping[str, float],
    least_score: float,
) -> Section:
    """Boxes that were found, over the true ones; ``class_ap50``: AP50 by class, empty where nothing was scored."""
    sheets, missing = [], list[Block]()
    for video, found, classes in _read_shown(root, shown, kinds.DETECTIONS, _outputs.DETECTIONS, "searched", missing):
        true, told = _told(root, video, found["pts"])
        rows = told[np.linspace(0, len(told) - 1, COLUMNS + 2).round().astype(int)[1:-1]]
        sheets += _pair(root, video, found, classes, true, np.unique(rows), missing, least_score)
    text = f"Boxes with a score of at least {least_score:g}, and the true ones; point at a box for its score."
    section = picture_section("detections", "People and objects", text, measures, sheets, missing, _NO_BOXES)
    if not class_ap50:
        return section
    table = Table(["", *class_ap50], [["AP50, %", *map(percent, class_ap50.values())]])
    return replace(section, blocks=[*section.blocks[:1], table, *section.blocks[1:]])


def tracks(root: Path, shown: Sequence[Video], measures: Sequence[Measure]) -> Section:
    """A second's pace through a stretch of each video, a colour per tube."""
    sheets, missing = [], list[Block]()
    for video, found, classes in _read_shown(root, shown, kinds.TRACKS, _outputs.TRACKS, "tracked", missing):
        true, told = _told(root, video, found["pts"])
        pts = found["pts"][told]
        times = pts[len(pts) // 2] + np.arange(COLUMNS) - COLUMNS / 2
        pictures = told[np.unique(np.abs(pts - times[:, None]).argmin(axis=1))]
        sheets += _pair(root, video, found, classes, true, pictures, missing, tubes=True)
    text = (
        "One picture a second from the middle of the video. A colour is a tube; a true track has the colour of the tube "
        "that first follows it (white: none), so that a switch shows as a change above."
    )
    return picture_section("tracks", "Tracks", text, measures, sheets, missing, _NO_BOXES)


def bank(root: Path, dataset: Dataset) -> Section:
    """How much of the videos' time the feature bank covers, and with what."""
    banks = {subset: _read_banks(root, dataset.subset(subset)) for subset in ("training", "validation", "testing")}
    rows = []
    for subset, found in banks.items():
        seconds = sum(len(one.per_second) for one in found)
        covered = sum(int((one.per_second > 0).sum()) for one in found)
        sums = (sum(len(one.label) for one in found), sum(one.tubes for one in found))
        if found:
            rows.append(
                [subset, *map(str, (len(found), seconds, covered)), percent(covered / seconds), *map(str, sums)]
            )
    header = ["subset", "videos", "seconds", "with a row", "share, %", "rows", "tubes"]
    blocks: list[Block] = [Table(header, rows)] if rows else [Text("There is no feature bank.", warning=True)]
    if testing := banks["testing"]:
        numbers = np.bincount(np.concatenate([one.label for one in testing]), minlength=len(testing[0].classes))
        listed = ", ".join(f"{name} {number}" for name, number in zip(testing[0].classes, numbers, strict=True))
        lines = [one.per_second for one in testing]
        plot = coverage_map(lines, "Rows of the bank per second", f"Test videos. Rows by class: {listed}.", "rows")
        blocks.append(Plots([plot], wide=True))
    text = "A row of the bank is the feature of one tracked person or object in one second; other rows are not counted."
    return Section("bank", "Long-term feature bank", text, blocks)


class _Bank(NamedTuple):
    """One video's: rows per whole second, number of tubes, label of each row, class names."""

    per_second: np.ndarray
    tubes: int
    label: np.ndarray
    classes: list[str]


def _read_banks(root: Path, videos: Sequence[Video]) -> list[_Bank]:
    found = []
    for path in (_outputs.artifact(root, _outputs.BANK, video) for video in videos):
        if path.is_file():
            with kinds.BANK.open(path) as reader:
                seconds = max(round(reader.attributes["duration_s"]), 1)
                tracked = reader["track"] >= 0  # whole pictures and cells of a grid cover every second
                per_second = np.bincount(reader["t"][tracked].astype(int), minlength=seconds)
                tubes, classes = len(np.unique(reader["track"][tracked])), reader.attributes["classes"].split(",")
                found.append(_Bank(per_second, tubes, reader["label"][tracked], classes))
    return found


def _told(root: Path, video: Video, pts: np.ndarray) -> tuple[_boxes.TrueBoxes | None, np.ndarray]:
    """The true boxes of a video, and the numbers of its pictures at which they are known; None and all, where at none."""
    true = _boxes.read_true_boxes(_outputs.truth(root, video), pts)
    if true is None or not true.known.any():
        return None, np.arange(len(pts))
    return true, np.flatnonzero(true.known)


def _pair(
    root: Path, video: Video, found: Mapping[str, np.ndarray], classes: Sequence[str], true: _boxes.TrueBoxes | None,
    rows: np.ndarray, missing: list[Block], least_score: float = 0.0, tubes: bool = False,
) -> list[Sheet]:  # fmt: skip
    """The pictures number ``rows`` with found boxes, and below with the true ones.

    ``tubes``: a box is told by its tube instead of its class.
    """
    pictures = decoded_pictures(root, video, found["pts"][rows], missing)
    if not pictures:
        return []
    above, below, followed = [], [], dict[int, int]()
    for image, row in zip(pictures, rows, strict=True):
        mine = np.flatnonzero((found["picture"] == row) & (found["score"] >= least_score))
        boxes = []
        for i in mine:
            name, tube = classes[found["label"][i]], int(found["track"][i]) if tubes else -1
            title = f"{name}{f' {tube}' if tubes else ''}, score {found['score'][i]:.2f}"
            colour = _colour(tube) if tubes else _class_colour(name, classes)
            boxes.append(_box(found["box"][i], str(tube) if tubes else name, title, colour))
        above.append(Picture(image, video.width, video.height, "", tuple(boxes)))
        if true is None:
            continue
        at = np.flatnonzero(true.picture == row)
        if tubes:
            _follow(followed, true, at, found, mine)
        boxes = []
        for i in at:
            name = true.classes[true.label[i]]
            colour = _colour(followed[int(true.track[i])]) if tubes else _class_colour(name, classes)
            boxes.append(_box(true.box[i], "" if tubes else name, name, colour))
        below.append(Picture(image, video.width, video.height, f"{found['pts'][row]:.2f} s", tuple(boxes)))
    return [Sheet(video.id, [Row("found", above), *([Row("truth", below)] if below else [])])]


def _follow(
    followed: dict[int, int], true: _boxes.TrueBoxes, at: np.ndarray, found: Mapping[str, np.ndarray], mine: np.ndarray
) -> None:
    """Note for each true track the tube that first overlaps it by half, -1 as long as none does."""
    overlap = box_iou(true.box[at], found["box"][mine].astype(np.float64))
    for row, i in enumerate(at):
        track = int(true.track[i])
        if followed.setdefault(track, -1) < 0 and len(mine) and overlap[row].max() >= 0.5:
            followed[track] = int(found["track"][mine[overlap[row].argmax()]])


def _box(corners: np.ndarray, tag: str, title: str, colour: int) -> Box:
    x1, y1, x2, y2 = corners.tolist()
    return Box(x1, y1, x2, y2, tag, title, colour)


def _colour(number: int) -> int:
    """The last colour is kept for what has no number."""
    return colour(number) if number >= 0 else BOX_COLOURS - 1


def _class_colour(name: str, classes: Sequence[str]) -> int:
    return _colour(list(classes).index(name) if name in classes else -1)


def _read_shown(
    root: Path, shown: Sequence[Video], kind: Kind, out: str, done: str, missing: list[Block]
) -> Iterator[tuple[Video, dict[str, Any], list[str]]]:
    """Each video that has an artifact of boxes, its arrays and class names; the others are named in ``missing``."""
    for video in shown:
        path = _outputs.artifact(root, out, video)
        if path.is_file():
            with kind.open(path) as reader:
                yield video, {name: reader[name] for name in kind.required()}, reader.attributes["classes"].split(",")
        else:
            missing.append(Text(f"{video.id} was not {done}.", warning=True))
