"""A plain CSV or JSON of one's own.

CSV with a header: ``video,label,t_start,t_end`` and, if you like, ``subset`` (training) and ``duration``; times in seconds.
A row with an empty label names a video without action. JSON: a list of objects with the same fields, or ActivityNet's
layout (:mod:`pipeline.datasets.formats.activitynet`), which is also ours.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.datasets.formats import activitynet
from pipeline.datasets.formats.common import AnnotatedVideo, Annotations, Defect, FormatError, check_segment
from pipeline.datasets.formats.text import JsonLines, read_json, read_table
from pipeline.datasets.schema import Segment

COLUMNS = ("video", "label", "t_start", "t_end")


def read(path: Path, _split: int = 1) -> Annotations:
    """Read the file.

    Raises:
        FormatError: no such file, a CSV without these columns, or JSON of another layout.
    """
    path = Path(path)
    if path.name.removesuffix(".gz").endswith(".json"):
        data = read_json(path)
        if isinstance(data, dict):
            return activitynet.read(path)
        if not isinstance(data, list):
            raise FormatError(f"{path}: expected a list of objects, or an object in ActivityNet's layout")
        lines = JsonLines(path)
        return _collect(path, ((lines(index), row) for index, row in enumerate(data)))
    return _collect(path, read_table(path, COLUMNS))


def _collect(path: Path, rows: Iterator[tuple[int | None, Any]]) -> Annotations:
    defects, first_line = list[Defect](), dict[str, int | None]()
    subsets, durations = dict[str, str](), dict[str, float | None]()
    segments: dict[str, list[Segment]] = {}
    for line, row in rows:
        if not isinstance(row, Mapping) or not str(row.get("video", "")):
            defects.append(Defect(str(path), line, "no video named"))
            continue
        id_, where = str(row["video"]), Defect(str(path), line, f"video {row['video']!r}")
        subset = str(row.get("subset") or "training")
        if subsets.setdefault(id_, subset) != subset:
            text = f"{where.text} is in subset {subset!r} here and in {subsets[id_]!r} before (line {first_line[id_]})"
            defects.append(Defect(str(path), line, text))
        duration = activitynet.finite(row.get("duration"))
        if duration is not None and durations.setdefault(id_, duration) != duration:
            text = f"{where.text} lasts {duration:g} s here and {durations[id_]:g} s before"
            defects.append(Defect(str(path), line, text))
        first_line.setdefault(id_, line)
        mine = segments.setdefault(id_, [])
        label = str(row.get("label") or "")
        if not label:
            continue
        start, end = activitynet.finite(row.get("t_start")), activitynet.finite(row.get("t_end"))
        if start is None or end is None:
            text = f"{where.text}: t_start {row.get('t_start')!r} and t_end {row.get('t_end')!r} must be numbers"
            defects.append(Defect(str(path), line, text))
            continue
        segment = Segment(label, start, end)
        check_segment(where, segment, durations.get(id_), defects, activitynet.SLACK_S)
        if segment in mine:
            defects.append(Defect(str(path), line, f"{where.text}: the same row stands before", "warning"))
        mine.append(segment)
    videos = tuple(
        AnnotatedVideo(
            id_, subsets[id_], tuple(mine), durations.get(id_), files=(id_, f"v_{id_}"), source=str(path),
            line=first_line[id_],
        )
        for id_, mine in segments.items()
    )  # fmt: skip
    for video in videos:
        if not video.segments and video.subset == "training":
            defects.append(Defect(str(path), video.line, f"video {video.id!r} (training): no annotation", "warning"))
    return Annotations(tuple(sorted({s.label for v in videos for s in v.segments})), videos, tuple(defects))
