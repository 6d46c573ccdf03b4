"""AVA v2.1 and v2.2: boxes with actions at key frames, predicted boxes, excluded key frames, label maps.

``ava_train_v2.2.csv`` without header: ``video,0904,x1,y1,x2,y2,action,person`` with corners as shares of the picture and
the time in seconds of the movie; a row of ``video,time`` alone is a key frame without boxes. Predicted boxes and results
have a score in the eighth column; a predicted box's action may be empty. LVU's AVA files go on with the person's and the
shot's number (11 columns, of which the last is not used). Key frames are 902..1798, one a second; the
15-minute cut that everybody uses starts at 900 s. Every time here is the movie's;
:meth:`~pipeline.datasets.formats.common.Annotations.from_second` makes them the cut's.
"""

import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.formats.common import AnnotatedVideo, Annotations, Boxes, Defect, FormatError, only_file
from pipeline.datasets.formats.text import read_rows, read_text
from pipeline.datasets.schema import Segment

WIDTHS = (2, 7, 8, 11)
CUT_START_S = 900
FIRST_KEY_S, LAST_KEY_S = 902, 1798
KEY_STEP_S = 1.0


@dataclass(frozen=True)
class AvaFile:
    """One AVA CSV: videos in order of appearance, boxes, and the key frames without any box as (video, time)."""

    videos: tuple[str, ...]
    boxes: Boxes
    empty: tuple[tuple[int, float], ...]
    lines: NDArray[np.int64]
    defects: tuple[Defect, ...]


def read_boxes(path: Path, last: str = "score") -> AvaFile:
    """Read one CSV of truth, results or predicted boxes.

    Args:
        path: the file, plain or gzipped.
        last: what the eighth column holds, ``score`` or ``person``. Where it is missing: score 1, person -1.

    Raises:
        FormatError: no such file, or no row of it is such a row.
    """
    if last not in ("score", "person"):
        raise ValueError(f"last is {last!r}, not one of score, person")
    index: dict[str, int] = {}
    video, label, person, lines = array("q"), array("q"), array("q"), array("q")
    numbers, scores = array("d"), array("d")
    empty, defects = list[tuple[int, float]](), list[Defect]()
    scored = last == "score"
    for line, row in read_rows(path):
        try:
            width = len(row)
            if width not in WIDTHS:
                raise ValueError(f"{width} fields, expected {', '.join(map(str, WIDTHS))}")
            id_ = row[0]
            of = index.setdefault(id_, len(index))
            if width == 2:
                empty.append((of, float(row[1])))
                continue
            values = (float(row[1]), float(row[2]), float(row[3]), float(row[4]), float(row[5]))
            action = int(row[6]) if row[6] else -1
            extra = row[7] if width > 7 else ""
            score = float(extra) if scored and extra else 1.0
            who = int(row[8]) if width == 11 else int(extra) if not scored and extra else -1
        except ValueError as error:
            defects.append(Defect(str(path), line, f"{','.join(row)!r}: {error}"))
            continue
        numbers.extend(values)
        scores.append(score)
        for column, value in ((video, of), (label, action), (person, who), (lines, line)):
            column.append(value)
    if not index and defects:
        raise FormatError(f"{defects[0]}; this is no AVA file")
    table = np.frombuffer(numbers, np.float64).reshape(-1, 5) if len(numbers) else np.empty((0, 5))
    boxes = Boxes(
        np.array(video, np.int64), table[:, 0].copy(), table[:, 1:].copy(), np.array(label, np.int64),
        np.array(person, np.int64), np.array(scores, np.float64),
    )  # fmt: skip
    at = np.array(lines, np.int64)
    return AvaFile(tuple(index), boxes, tuple(empty), at, (*defects, *_odd_boxes(path, boxes, at, tuple(index))))


def _odd_boxes(path: Path, boxes: Boxes, lines: NDArray[np.int64], videos: Sequence[str]) -> list[Defect]:
    x1, y1, x2, y2 = boxes.box.T
    outside = (boxes.box < 0).any(axis=1) | (boxes.box > 1).any(axis=1)
    kinds = (
        (_inverted(boxes), "x2 < x1 or y2 < y1", "error"),
        (((x2 == x1) | (y2 == y1)), "no area", "warning"),
        (outside, "reaches outside the picture (corners are shares, 0 to 1)", "warning"),
        (_infinite(boxes), "a number that is not finite", "error"),
    )
    found = []
    for rows, words, severity in kinds:
        for row in np.flatnonzero(rows):
            what = (
                f"video {videos[boxes.video[row]]!r}, {boxes.time_s[row]:g} s: box {boxes.box[row].tolist()}: {words}"
            )
            found.append(Defect(str(path), int(lines[row]), what, "error" if severity == "error" else "warning"))
    return found


def _inverted(boxes: Boxes) -> NDArray[np.bool_]:
    return np.asarray((boxes.box[:, 2:] < boxes.box[:, :2]).any(axis=1))


def _infinite(boxes: Boxes) -> NDArray[np.bool_]:
    return ~np.asarray(np.isfinite(np.column_stack([boxes.box, boxes.score, boxes.time_s])).all(axis=1))


def read_label_map(path: Path) -> dict[int, str]:
    """Class names by id.

    Forms: ``item { name: "stand" id: 12 }`` (the 60 of the ActivityNet task), ``label { name: ... label_id: 12 }`` (all 80),
    or lines ``12: stand``.

    Raises:
        FormatError: no class in the file.
    """
    text = read_text(path)
    pairs = re.findall(r'name:\s*"([^"]*)"\s*(?:label_)?id:\s*(\d+)', text)
    names = {int(number): name for name, number in pairs}
    names = names or {int(number): name for number, name in re.findall(r"^\s*(\d+):\s*(.+?)\s*$", text, re.MULTILINE)}
    if not names:
        raise FormatError(f"{path}: no class in this file; expected 'name: \"stand\" id: 12' or '12: stand'")
    return names


def read_excluded(path: Path) -> frozenset[tuple[str, float]]:
    """Key frames (video, seconds) that are left out on both sides, lines ``video,0915``; raises FormatError."""
    excluded = set()
    for line, row in read_rows(path):
        try:
            excluded.add((row[0], float(row[1])))
        except (IndexError, ValueError) as error:
            raise FormatError(f"{path}:{line}: {','.join(row)!r} is not 'video,seconds'") from error
    return frozenset(excluded)


def read(path: Path, _split: int = 1) -> Annotations:
    """Read a folder with ``ava_train_v2.x.csv`` and ``ava_val_v2.x.csv`` (v2.2 before v2.1), or one CSV.

    A label map in the folder (``*action_list*.pbtxt*`` or ``ava_label_map.txt``) names the classes, in the order of their
    ids; key frames that ``ava_<subset>_excluded_timestamps_*.csv`` lists are left out, and boxes that are none. The
    segments are those of :func:`segments_of`.

    Raises:
        FormatError: no such file.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    files = {_subset_of(path): path}
    if path.is_dir():
        found = {part: only_file(path, (f"ava_{part}_v2.2.csv", f"ava_{part}_v2.1.csv")) for part in ("train", "val")}
        files = {part: file for part, file in found.items() if file}
        if not files:
            raise FormatError(f"{path}: no ava_train_v2.x.csv or ava_val_v2.x.csv in this folder")
    table = only_file(folder, ("ava_action_list_v2.2.pbtxt*", "*action_list*.pbtxt*", "ava_label_map.txt"))
    names = read_label_map(table) if table else {}
    videos, defects, parts = list[AnnotatedVideo](), list[Defect](), list[Boxes]()
    empty = list[tuple[int, float]]()
    for part, file in files.items():
        one = read_boxes(file, last="person")
        listed = only_file(folder, (f"ava_{part}_excluded_timestamps_*.csv",))
        excluded = read_excluded(listed) if listed else frozenset()
        boxes = without(one, excluded)
        boxes = boxes.take(~_inverted(boxes) & ~_infinite(boxes))
        defects += one.defects
        defects += _key_frame_defects(file, one)
        shift, first = len(videos), _first_lines(one)
        videos += [
            AnnotatedVideo(id_, part, duration_s=None, files=(id_,), source=str(file), line=first.get(i))
            for i, id_ in enumerate(one.videos)
        ]
        parts.append(replace(boxes, video=boxes.video + shift))
        empty += [(shift + i, time) for i, time in one.empty if (one.videos[i], time) not in excluded]
    joined = Boxes(*(np.concatenate([getattr(p, name) for p in parts]) for name in Boxes.__dataclass_fields__))
    used = sorted({int(label) for label in np.unique(joined.label) if label >= 0} | set(names))
    named = {i: names.get(i, str(i)) for i in used}
    told = zip(videos, segments_of(joined, named, len(videos)), strict=True)
    videos = [replace(video, segments=segments) for video, segments in told]
    return Annotations(tuple(named.values()), tuple(videos), tuple(defects), joined, named, tuple(empty))


def segments_of(boxes: Boxes, names: Mapping[int, str], videos: int) -> list[tuple[Segment, ...]]:
    """What happens in each of so many videos, in the order of time, told by its boxes.

    Key frames one after the other at which anybody does an action are one segment of it, from half a second before the
    first to half a second after the last: a key frame stands for the second around it. ``names``: of the labels.
    """
    order = np.lexsort((boxes.time_s, boxes.label, boxes.video))
    order = order[boxes.label[order] >= 0]
    video, label, time = boxes.video[order], boxes.label[order], boxes.time_s[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (np.diff(video) > 0) | (np.diff(label) != 0) | (np.diff(time) > KEY_STEP_S + 1e-6)
    first, last = np.flatnonzero(begins), np.flatnonzero(np.append(begins, True)[1:])
    found: list[list[Segment]] = [[] for _ in range(videos)]
    starts, ends = time[first] - KEY_STEP_S / 2, time[last] + KEY_STEP_S / 2
    columns = (video[first], label[first], starts, ends)
    for i, number, start, end in zip(*(column.tolist() for column in columns), strict=True):
        found[i].append(Segment(names[number], start, end))
    return [tuple(sorted(one, key=lambda s: (s.t_start, s.t_end, s.label))) for one in found]


def without(file: AvaFile, excluded: frozenset[tuple[str, float]]) -> Boxes:
    """The boxes that are not on an excluded key frame."""
    index = {id_: i for i, id_ in enumerate(file.videos)}
    banned = {(index[id_], time) for id_, time in excluded if id_ in index}
    if not banned:
        return file.boxes
    kept = np.array([
        (v, t) not in banned for v, t in zip(file.boxes.video.tolist(), file.boxes.time_s.tolist(), strict=True)
    ], bool)  # fmt: skip
    return file.boxes.take(kept)


def _key_frame_defects(path: Path, file: AvaFile) -> list[Defect]:
    odd = (file.boxes.time_s < FIRST_KEY_S) | (file.boxes.time_s > LAST_KEY_S) | (file.boxes.time_s % 1 != 0)
    return [
        Defect(
            str(path), int(file.lines[row]),
            f"video {file.videos[file.boxes.video[row]]!r}: {file.boxes.time_s[row]:g} s is no key frame "
            f"({FIRST_KEY_S} to {LAST_KEY_S}, whole seconds)", "warning",
        )
        for row in np.flatnonzero(odd)
    ]  # fmt: skip


def _first_lines(file: AvaFile) -> dict[int, int]:
    """Line of the first box of each video that has one."""
    videos, rows = np.unique(file.boxes.video, return_index=True)
    return dict(zip(videos.tolist(), file.lines[rows].tolist(), strict=True))


def _subset_of(path: Path) -> str:
    return next((part for part in ("train", "val", "test") if part in path.name), "val")
