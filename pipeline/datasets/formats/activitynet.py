"""ActivityNet 1.3 and HACS (segments), whose layout is also ours, and the form of it that BMN and G-TAD carry.

``{"database": {id: {"subset", "duration", "annotations": [{"label", "segment": [t_start, t_end]}]}}}``; HACS'
``HACS_segments_v1.1.1.json`` is the same. BMN's pair: ``anet_anno_action.json`` ``{id: {"duration_second",
"annotations"}}`` beside ``video_info_new.csv`` with the subsets. Times are numbers or, in THUMOS' file, numeric strings.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.datasets.formats.common import (
    AnnotatedVideo,
    Annotations,
    Defect,
    FormatError,
    Severity,
    check_segment,
    only_file,
)
from pipeline.datasets.formats.text import JsonLines, read_object, read_table
from pipeline.datasets.schema import Segment

_UNLABELLED = ("testing", "test")
SLACK_S = 0.05
"""Segments that end this much after the stated duration are no defect: published durations are rounded."""


def read(path: Path, _split: int = 1) -> Annotations:
    """Read a JSON file, or a folder that holds one (and BMN's CSV with the subsets).

    A folder's or file's companion ``action_name.csv`` or ``classes.txt`` gives the order of the classes; else a field
    ``classes`` of the file does, else they are sorted by name.

    Raises:
        FormatError: no such file, not JSON, or not in this layout.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    file = path
    if path.is_dir():
        patterns = ("activity_net*.json", "HACS_segments*.json", "anet_anno_action.json", "*.json")
        found = only_file(path, patterns)
        if found is None:
            raise FormatError(f"{path}: no file {', '.join(patterns)} in this folder")
        file = found
    subsets = _bmn_subsets(folder)
    return read_database(file, subsets, _class_names(folder))


def read_database(file: Path, subsets: Mapping[str, str] | None = None, names: tuple[str, ...] = ()) -> Annotations:
    """Read one JSON file; ``subsets`` gives each video's where the file does not; raises as :func:`read`."""
    lines, defects, videos = JsonLines(file), list[Defect](), list[AnnotatedVideo]()

    def defect(text: str, *place: str | int, severity: Severity = "error") -> None:
        defects.append(Defect(str(file), lines(*place), text, severity))

    repeated: list[str] = []
    data = read_object(file, repeated.append)
    database = data.get("database", data)
    root: tuple[str, ...] = ("database",) if "database" in data else ()
    bare = not root and not all(isinstance(v, dict) and "annotations" in v for v in data.values())
    if bare or not isinstance(database, dict):
        raise FormatError(f"{file}: no 'database' of videos with 'annotations': not ActivityNet's layout")
    for id_ in repeated:
        if id_ in database:
            defect(f"video {id_!r} stands twice; only the last one counts", *root, id_)
    for id_, entry in database.items():
        where = f"video {id_!r}"
        if not isinstance(entry, dict) or not isinstance(entry.get("annotations", []), list):
            defect(f"{where}: not an object with a list 'annotations'", *root, id_)
            continue
        subset = entry.get("subset", (subsets or {}).get(id_))
        if subset is None:
            defect(f"{where}: no field 'subset'", *root, id_)
            continue
        if "annotations" not in entry and subset not in _UNLABELLED:
            defect(f"{where}: no field 'annotations'", *root, id_)
        duration = finite(entry.get("duration", entry.get("duration_second")))
        if duration is not None and duration <= 0:
            defect(f"{where}: duration is {duration:g} s", *root, id_, severity="warning")
        segments, labels = [], set()
        for index, item in enumerate(entry.get("annotations", [])):
            place = (*root, id_, "annotations", index)
            segment, problem = _segment(item)
            if segment is None:
                defect(f"{where}, annotation {index}: {problem}", *place)
                continue
            checked = list[Defect]()
            check_segment(Defect(str(file), None, f"{where}, annotation {index}"), segment, duration, checked, SLACK_S)
            for found in checked:
                defect(found.text, *place, severity="warning")
            if segment in segments:
                defect(f"{where}, annotation {index}: the same as an earlier one", *place, severity="warning")
            segments.append(segment)
            labels.add(segment.label)
        if not segments and "annotations" in entry and subset not in _UNLABELLED:
            defect(f"{where} ({subset}): no annotation", *root, id_, severity="warning")
        videos.append(
            AnnotatedVideo(
                id_, str(subset), tuple(segments), duration, finite(entry.get("fps")), source=str(file),
                files=tuple(dict.fromkeys((id_, f"v_{id_.removeprefix('v_')}", id_.removeprefix("v_")))),
            )
        )  # fmt: skip
    listed = data.get("classes") if isinstance(data.get("classes"), list) else None
    used = sorted({segment.label for video in videos for segment in video.segments})
    classes = names or tuple(map(str, listed or used))
    for label in used:
        if label not in classes:
            defect(f"label {label!r} is not in the list of {len(classes)} classes")
    return Annotations(classes, tuple(videos), tuple(defects))


def _segment(item: Any) -> tuple[Segment | None, str]:
    """A segment, or None and what is wrong."""
    if not isinstance(item, dict):
        return None, f"{item!r} is no object"
    label, span = item.get("label"), item.get("segment")
    if not isinstance(label, str) or not label:
        return None, f"label is {label!r}, expected a class name"
    if not isinstance(span, list) or len(span) != 2:
        return None, f"segment is {span!r}, expected [t_start, t_end] in seconds"
    start, end = finite(span[0]), finite(span[1])
    if start is None or end is None:
        return None, f"segment is {span!r}, expected two finite numbers"
    return Segment(label, start, end), ""


def finite(value: object) -> float | None:
    """The value as a finite number, also from text; None where it is none."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _bmn_subsets(folder: Path) -> dict[str, str]:
    table = only_file(folder, ("video_info_new.csv",))
    return {row["video"]: row["subset"] for _, row in read_table(table, ("video", "subset"))} if table else {}


def _class_names(folder: Path) -> tuple[str, ...]:
    table = only_file(folder, ("action_name.csv",))
    return tuple(row["action"] for _, row in read_table(table, ("action",))) if table else ()
