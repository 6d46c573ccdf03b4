"""THUMOS14 temporal annotations: the official text files, G-TAD's CSVs, and its JSON in ActivityNet's layout.

Official: ``<Class>_val.txt`` and ``<Class>_test.txt``, lines ``video_validation_0000051 67.5 75.9``; and
``Ambiguous_*.txt``, whose spans are no instances. CSV: ``video,type,type_idx,start,end,startFrame,endFrame``, or the
class-agnostic ``video-name,t-init,t-end,...,video-duration,frame-rate`` (label index -1, read as class ``action``).
The validation videos are what everybody trains on: subset words are ``validation`` and ``test``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.datasets.formats import activitynet
from pipeline.datasets.formats.common import AnnotatedVideo, Annotations, Defect, FormatError, check_segment
from pipeline.datasets.formats.text import read_lines, read_table
from pipeline.datasets.schema import Segment

AMBIGUOUS = "Ambiguous"


class _Row(NamedTuple):
    file: Path
    line: int
    video: str
    label: str
    start: str
    end: str
    duration: str | None = None
    fps: str | None = None


def read(path: Path, _split: int = 1) -> Annotations:
    """Read one file, or every annotation file of a folder.

    Raises:
        FormatError: no such file, or none of these forms.
    """
    path = Path(path)
    if path.is_file() and path.name.removesuffix(".gz").endswith(".json"):
        return activitynet.read_database(path)
    files = sorted(p for p in path.rglob("*_*") if _form(p)) if path.is_dir() else [path]
    if not files:
        raise FormatError(f"{path}: no <Class>_val.txt, <Class>_test.txt or *_Annotation.csv in this folder")
    return _collect([row for file in files for row in _rows(file)])


def read_ambiguous(path: Path) -> dict[str, tuple[tuple[float, float], ...]]:
    """The ambiguous spans (start, end) in seconds by video, from ``Ambiguous_*.txt`` or the CSV rows of that type.

    Rows that cannot be read are left out; :func:`read` is where they show. Raises as that does.
    """
    files = sorted(p for p in path.rglob("*_*") if _form(p)) if path.is_dir() else [path]
    spans: dict[str, list[tuple[float, float]]] = {}
    for row in (row for file in files if not file.name.removesuffix(".gz").endswith(".json") for row in _rows(file)):
        start, end = activitynet.finite(row.start), activitynet.finite(row.end)
        if row.label == AMBIGUOUS and start is not None and end is not None:
            spans.setdefault(row.video, []).append((start, end))
    return {video: tuple(mine) for video, mine in spans.items()}


def _form(path: Path) -> bool:
    name = path.name.removesuffix(".gz")
    return name.endswith(("_val.txt", "_test.txt", "_Annotation.csv"))


def _rows(file: Path) -> Iterator[_Row]:
    if not file.is_file():
        raise FormatError(f"{file}: there is no such file")
    name = file.name.removesuffix(".gz")
    if not name.endswith(".csv"):
        label = name.rpartition("_")[0]
        for line, text in read_lines(file):
            video, start, end, *_ = [*text.split(), "", "", ""]
            yield _Row(file, line, video, label, start, end)
        return
    try:
        for line, row in read_table(file, ("video", "type", "start", "end")):
            yield _Row(file, line, row["video"], row["type"], row.get("start", ""), row.get("end", ""))
    except FormatError:
        for line, row in read_table(file, ("video-name", "t-init", "t-end", "label-idx")):
            label = row.get("label-idx", "-1")
            yield _Row(
                file, line, row["video-name"], "action" if label == "-1" else label, row["t-init"], row["t-end"],
                row.get("video-duration"), row.get("frame-rate"),
            )  # fmt: skip


def _collect(rows: list[_Row]) -> Annotations:
    defects, segments, first = list[Defect](), dict[str, list[Segment]](), dict[str, _Row]()
    for row in rows:
        where = Defect(str(row.file), row.line, f"video {row.video!r}")
        first.setdefault(row.video, row)
        mine = segments.setdefault(row.video, [])
        start, end = activitynet.finite(row.start), activitynet.finite(row.end)
        if start is None or end is None:
            text = f"{where.text}: start {row.start!r} and end {row.end!r} must be seconds"
            defects.append(Defect(where.file, where.line, text))
            continue
        if row.label == AMBIGUOUS:
            continue
        segment = Segment(row.label, start, end)
        check_segment(where, segment, activitynet.finite(row.duration), defects, activitynet.SLACK_S)
        if segment in mine:
            defects.append(Defect(where.file, where.line, f"{where.text}: the same row stands before", "warning"))
        mine.append(segment)
    videos = tuple(
        AnnotatedVideo(
            id_, "test" if "_test_" in id_ else "validation", tuple(mine), activitynet.finite(first[id_].duration),
            activitynet.finite(first[id_].fps), files=(id_,), source=str(first[id_].file), line=first[id_].line,
        )
        for id_, mine in segments.items()
    )  # fmt: skip
    return Annotations(tuple(sorted({s.label for v in videos for s in v.segments})), videos, tuple(defects))
