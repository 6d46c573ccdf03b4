"""Dense multi-label sets: Charades (official CSVs, pytorch-i3d's JSON) and MultiTHUMOS (JSON), and AVA's segments.

``Charades_v1_train.csv``: header, comma, quotes; ``actions`` is ``c061 3.10 9.40;c149 8.00 14.20`` and may be empty,
``length`` the duration in seconds. JSON: ``{id: {"subset", "duration", "actions": [[class, t_start, t_end]]}}`` with classes
from 0 (Charades) or from 1 (MultiTHUMOS, super-events' AVA). A label here is the published class id, ``c061`` in
Charades and ``12`` in the others, so that both forms of a set agree; names are in the class list beside it.
"""

import re
from collections.abc import Callable
from pathlib import Path

from pipeline.datasets.formats import activitynet
from pipeline.datasets.formats.common import AnnotatedVideo, Annotations, Defect, FormatError, check_segment, only_file
from pipeline.datasets.formats.text import JsonLines, read_object, read_table
from pipeline.datasets.schema import Segment

CHARADES_CLASSES = tuple(f"c{index:03d}" for index in range(157))
MULTITHUMOS_CLASSES = tuple(str(index) for index in range(1, 66))
AVA_CLASSES = tuple(str(index) for index in range(1, 81))
_ACTION = re.compile(r"(c\d{3}) (\S+) (\S+)$")


def read_charades(path: Path, _split: int = 1) -> Annotations:
    """Read ``charades.json``, one CSV, or a folder with ``Charades_v1_train.csv`` and ``Charades_v1_test.csv``.

    Raises:
        FormatError: no such file or none of these forms.
    """
    path = Path(path)
    if path.name.removesuffix(".gz").endswith(".json"):
        return _read_json(path, CHARADES_CLASSES, 0)
    files = [path]
    if path.is_dir():
        named = [only_file(path, (f"Charades_v1_{part}.csv",)) for part in ("train", "test")]
        files = [file for file in named if file]
        if not files:
            table = only_file(path, ("charades.json",))
            if table is None:
                raise FormatError(f"{path}: no Charades_v1_train.csv, Charades_v1_test.csv or charades.json here")
            return _read_json(table, CHARADES_CLASSES, 0)
    videos, defects = list[AnnotatedVideo](), list[Defect]()
    seen: dict[str, str] = {}
    for file in files:
        subset = "test" if "test" in file.name else "train"
        for line, row in read_table(file, ("id", "actions", "length")):
            where = Defect(str(file), line, f"video {row['id']!r}")
            if row["id"] in seen:
                defects.append(Defect(str(file), line, f"{where.text} stands before, in {seen[row['id']]}"))
            seen.setdefault(row["id"], f"{file.name}:{line}")
            duration = activitynet.finite(row.get("length"))
            if duration is None or duration <= 0:
                text = f"{where.text}: length {row.get('length')!r} is no duration in seconds"
                defects.append(Defect(str(file), line, text))
                duration = None
            segments = _charades_actions(row["actions"], where, duration, defects)
            videos.append(
                AnnotatedVideo(
                    row["id"], subset, segments, duration, files=(row["id"],), source=str(file), line=line
                )
            )  # fmt: skip
    return Annotations(CHARADES_CLASSES, tuple(videos), tuple(defects))


def read_multithumos(path: Path, _split: int = 1) -> Annotations:
    """Read ``multithumos.json``; raises as :func:`read_charades`."""
    return _read_json(_json_in(path, "multithumos.json"), MULTITHUMOS_CLASSES, 1)


def read_ava_segments(path: Path, _split: int = 1) -> Annotations:
    """Read super-events' ``ava.json``; times are seconds from each video's ``start_time``; raises as above."""
    return _read_json(_json_in(path, "ava*.json"), AVA_CLASSES, 1)


def _json_in(path: Path, pattern: str) -> Path:
    found = only_file(path, (pattern,)) if path.is_dir() else path
    if found is None:
        raise FormatError(f"{path}: no file {pattern} in this folder")
    return found


def _charades_actions(text: str, where: Defect, duration: float | None, defects: list[Defect]) -> tuple[Segment, ...]:
    segments = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        match = _ACTION.match(part)
        times = [activitynet.finite(value) for value in match.groups()[1:]] if match else []
        if match is None or None in times or match[1] not in CHARADES_CLASSES:
            problem = f"{where.text}: action {part!r} is not 'c000 start end' with c000 to c156"
            defects.append(Defect(where.file, where.line, problem))
            continue
        segment = Segment(match[1], float(match[2]), float(match[3]))
        check_segment(where, segment, duration, defects, activitynet.SLACK_S)
        segments.append(segment)
    return tuple(segments)


def _read_json(path: Path, classes: tuple[str, ...], first: int) -> Annotations:
    lines, defects, videos = JsonLines(path), list[Defect](), list[AnnotatedVideo]()
    repeated: list[str] = []
    data = read_object(path, repeated.append)
    if not data or not all(isinstance(v, dict) and "actions" in v for v in data.values()):
        raise FormatError(f"{path}: expected {{id: {{'subset', 'duration', 'actions': [[class, start, end]]}}}}")
    for id_ in repeated:
        if id_ in data:
            defects.append(Defect(str(path), lines(id_), f"video {id_!r} stands twice; only the last one counts"))
    for id_, entry in data.items():
        duration = activitynet.finite(entry.get("duration"))
        segments = []
        for index, item in enumerate(entry["actions"]):
            problem, segment = _json_action(item, classes, first)
            note = _lazy(path, lines, id_, index)
            if segment is None:
                defects.append(note(f"video {id_!r}, action {index}: {problem}", False))
                continue
            checked = list[Defect]()
            check_segment(
                Defect(str(path), None, f"video {id_!r}, action {index}"), segment, duration, checked,
                activitynet.SLACK_S,
            )  # fmt: skip
            defects += [note(found.text, True) for found in checked]
            segments.append(segment)
        videos.append(
            AnnotatedVideo(
                id_, str(entry.get("subset", "")), tuple(segments), duration, files=(id_,), source=str(path)
            )
        )  # fmt: skip
    return Annotations(classes, tuple(videos), tuple(defects))


def _lazy(path: Path, lines: JsonLines, id_: str, index: int) -> Callable[[str, bool], Defect]:
    def note(text: str, harmless: bool) -> Defect:
        return Defect(str(path), lines(id_, "actions", index), text, "warning" if harmless else "error")

    return note


def _json_action(item: object, classes: tuple[str, ...], first: int) -> tuple[str, Segment | None]:
    if not isinstance(item, list) or len(item) != 3:
        return f"{item!r} is not [class, t_start, t_end]", None
    label, start, end = item[0], activitynet.finite(item[1]), activitynet.finite(item[2])
    if not isinstance(label, int) or not first <= label < first + len(classes):
        return f"class {label!r} is not one of {first} to {first + len(classes) - 1}", None
    if start is None or end is None:
        return f"{item!r}: times must be numbers", None
    return "", Segment(classes[label - first], start, end)
