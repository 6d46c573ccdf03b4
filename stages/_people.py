"""Sections of the report on people and objects: detections, tracks, the long-term feature bank.

Whatever artifact or truth is missing leaves its part out, and a sentence says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.schema import Dataset, Video
from pipeline.evaluation.detection import box_iou
from pipeline.report.blocks import Block, Measure, Plots, Section, Table, Text
from pipeline.report.coverage_plots import coverage_map
from pipeline.report.html import percent
from pipeline.report.sheets import Box, Picture, Row, Sheet
from pipeline.run import kinds
from pipeline.run.artifacts import Kind
from stages import _boxes, _outputs
from stages._sheets import COLUMNS, artifact, picture_section, source_pictures

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
    for video in shown:
        path = artifact(root, _outputs.DETECTIONS, video)
        if not path.is_file():
            missing.append(Text(f"{video.id} was not searched.", warning=True))
            continue
        found, classes = _read_boxes(kinds.DETECTIONS, path)
        rows = np.linspace(0, len(found["pts"]) - 1, COLUMNS + 2).round().astype(int)[1:-1]
        sheets += _pair(root, video, found, classes, np.unique(rows), missing, least_score)
    text = f"Boxes with a score of at least {least_score:g}, and the true ones; point at a box for its score."
    section = picture_section("detections", "People and objects", text, measures, sheets, missing, _NO_BOXES)
    if not class_ap50:
        return section
    table = Table(["class", "AP50, %"], [[name, percent(value)] for name, value in class_ap50.items()])
    return replace(section, blocks=[*section.blocks[:1], table, *section.blocks[1:]])


def tracks(root: Path, shown: Sequence[Video], measures: Sequence[Measure]) -> Section:
    """A second's pace through a stretch of each video, a colour per tube."""
    sheets, missing = [], list[Block]()
    for video in shown:
        path = artifact(root, _outputs.TRACKS, video)
        if not path.is_file():
            missing.append(Text(f"{video.id} was not tracked.", warning=True))
            continue
        found, classes = _read_boxes(kinds.TRACKS, path)
        middle = found["pts"][len(found["pts"]) // 2]
        times = middle + np.arange(COLUMNS) - COLUMNS / 2
        rows = np.unique(np.abs(found["pts"][None] - times[:, None]).argmin(axis=1)) if len(found["pts"]) else []
        sheets += _pair(root, video, found, classes, np.asarray(rows, int), missing, 0.0, tubes=True)
    text = (
        "One picture a second from the middle of the video. A colour is a tube; a true track has the colour of the tube "
        "that follows it first, so that a switch shows as a change above."
    )
    return picture_section("tracks", "Tracks", text, measures, sheets, missing, _NO_BOXES)


def bank(root: Path, dataset: Dataset) -> Section:
    """How much of the videos' time the feature bank covers, and with what."""
    rows, lines, per_class = list[list[str]](), [], dict[str, int]()
    for subset in ("training", "validation", "testing"):
        sums = dict.fromkeys(("videos", "seconds", "covered", "rows", "tubes"), 0)
        for video in dataset.subset(subset):
            path = artifact(root, _outputs.BANK, video)
            if not path.is_file():
                continue
            with kinds.BANK.open(path) as reader:
                t, tube, label, names = reader["t"], reader["track"], reader["label"], reader.attributes["classes"]
                counts = np.bincount(t.astype(int), minlength=max(round(reader.attributes["duration_s"]), 1))
            found = (1, len(counts), int((counts > 0).sum()), len(t), len(np.unique(tube)))
            sums = {key: old + new for (key, old), new in zip(sums.items(), found, strict=True)}
            if subset == "testing":
                lines.append(counts)
                for number, name in enumerate(names.split(",")):
                    per_class[name] = per_class.get(name, 0) + int((label == number).sum())
        if sums["videos"]:
            share = percent(sums["covered"] / sums["seconds"])
            rows.append([subset, *(str(sums[k]) for k in ("videos", "seconds", "covered")), share,
                         str(sums["rows"]), str(sums["tubes"])])  # fmt: skip
    header = ["subset", "videos", "seconds", "with a row", "share, %", "rows", "tubes"]
    blocks: list[Block] = [Text("There is no feature bank.", warning=True)]
    if lines:
        listed = ", ".join(f"{name} {count}" for name, count in per_class.items())
        caption = f"Test videos. Rows by class: {listed}."
        blocks = [
            Table(header, rows),
            Plots([coverage_map(lines, "Rows of the bank per second", caption, "rows")], wide=True),
        ]
    text = "A row of the bank is the feature of one tracked person or object in one second."
    return Section("bank", "Long-term feature bank", text, blocks)


def _pair(
    root: Path, video: Video, found: Mapping[str, np.ndarray], classes: Sequence[str], rows: np.ndarray,
    missing: list[Block], least_score: float, tubes: bool = False,
) -> list[Sheet]:  # fmt: skip
    """The pictures number ``rows`` with found boxes, and below with the true ones where they are known."""
    if not len(rows):
        return []
    pictures = source_pictures(root, video, found["pts"][rows], missing)
    true = _boxes.read_true_boxes(artifact(root, _outputs.VIDEOS, video, ".truth.h5"), found["pts"])
    above, below, colour_of = [], [], dict[int, int]()
    for image, row in zip(pictures, rows, strict=False):
        mine = np.flatnonzero((found["picture"] == row) & (found["score"] >= least_score))
        boxes = []
        for i in mine:
            name = classes[found["label"][i]]
            number = int(found["track"][i]) if tubes else int(found["label"][i])
            title = f"{name} {number if tubes else ''} score {found['score'][i]:.2f}".replace("  ", " ")
            boxes.append(Box(*found["box"][i].tolist(), str(number) if tubes else name, title, number))
        above.append(Picture(image, video.width, video.height, "", tuple(boxes)))
        if true is not None:
            at = np.flatnonzero(true.picture == row)
            if tubes:
                _follow(colour_of, true, at, found, mine)
            drawn = [
                Box(*true.box[i].tolist(), "" if tubes else true.classes[true.label[i]], true.classes[true.label[i]],
                    colour_of[int(true.track[i])] if tubes else _number_of(true.classes[true.label[i]], classes))
                for i in at
            ]  # fmt: skip
            below.append(Picture(image, video.width, video.height, f"{found['pts'][row]:.2f} s", tuple(drawn)))
    return [Sheet(video.id, [Row("found", above), Row("truth", below)] if below else [Row("found", above)])]


def _follow(
    colour_of: dict[int, int], true: _boxes.TrueBoxes, at: np.ndarray, found: Mapping[str, np.ndarray], mine: np.ndarray
) -> None:
    """Give each true track the number of the tube that first overlaps it; one that none follows keeps white."""
    overlap = box_iou(true.box[at], found["box"][mine].astype(np.float64)).reshape(len(at), len(mine))
    for row, i in enumerate(at):
        track = int(true.track[i])
        if overlap.shape[1] and overlap[row].max() >= 0.5 and colour_of.get(track, -1) < 0:
            colour_of[track] = int(found["track"][mine[overlap[row].argmax()]])
        colour_of.setdefault(track, -1)


def _number_of(name: str, classes: Sequence[str]) -> int:
    return list(classes).index(name) if name in classes else len(classes)


def _read_boxes(kind: Kind, path: Path) -> tuple[dict[str, Any], list[str]]:
    with kind.open(path) as reader:
        return {name: reader[name] for name in kind.arrays}, reader.attributes["classes"].split(",")
