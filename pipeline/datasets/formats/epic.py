"""EPIC-Kitchens 100 and 55: segments with a verb and a noun.

EK-100: 15 columns from ``narration_id,participant_id,video_id,...``; EK-55: 14 from ``uid,participant_id,video_id,...``.
Times are ``hh:mm:ss.ff``. ``EPIC_100_verb_classes.csv`` and ``..._noun_classes*.csv`` name the classes (``id,key``; EK-55
``verb_id,class_key``), ``EPIC_100_video_info.csv`` states durations. A segment's label is ``verb noun`` by those keys.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.formats.activitynet import finite
from pipeline.datasets.formats.common import AnnotatedVideo, Annotations, Defect, FormatError, check_segment, only_file
from pipeline.datasets.formats.text import read_table
from pipeline.datasets.schema import Segment

VERBS = {"epic55": 125, "epic100": 97}
NOUNS = {"epic55": 352, "epic100": 300}
EPIC55_VALIDATION = tuple(f"P{number:02d}" for number in range(26, 32))
"""Participants of the validation segments that LFB made of EK-55's training set; training are P01 to P25."""


@dataclass(frozen=True)
class Actions:
    """Segments of one file, in its order: ids and arrays [N]; times in seconds; ``verb`` and ``noun`` are class numbers."""

    ids: tuple[str, ...]
    participants: tuple[str, ...]
    videos: tuple[str, ...]
    t_start: NDArray[np.float64]
    t_end: NDArray[np.float64]
    verb: NDArray[np.int64]
    noun: NDArray[np.int64]
    lines: NDArray[np.int64]
    defects: tuple[Defect, ...] = ()

    def __len__(self) -> int:
        """Number of segments."""
        return len(self.ids)

    def of_participants(self, names: frozenset[str]) -> "Actions":
        """The segments of some participants."""
        return self.take([row for row, name in enumerate(self.participants) if name in names])

    def take(self, rows: list[int]) -> "Actions":
        """The segments of some rows, in that order."""
        return Actions(
            tuple(self.ids[i] for i in rows), tuple(self.participants[i] for i in rows),
            tuple(self.videos[i] for i in rows), self.t_start[rows], self.t_end[rows], self.verb[rows],
            self.noun[rows], self.lines[rows], self.defects,
        )  # fmt: skip


def read_actions(path: Path, edition: str) -> Actions:
    """Read one annotation CSV of ``edition`` (epic55 or epic100).

    Raises:
        FormatError: no such file, or not these columns.
    """
    key = _edition(edition)
    columns = (key, "participant_id", "video_id", "start_timestamp", "stop_timestamp", "verb_class", "noun_class")
    rows, defects, seen = list[tuple[str, str, str, float, float, int, int, int]](), list[Defect](), set[str]()
    for line, row in read_table(path, columns):
        where = f"segment {row.get(key)!r}"
        try:
            start, end = seconds(row["start_timestamp"]), seconds(row["stop_timestamp"])
            verb, noun = int(row["verb_class"]), int(row["noun_class"])
        except (KeyError, ValueError) as error:
            defects.append(Defect(str(path), line, f"{where}: {error}"))
            continue
        if not (0 <= verb < VERBS[edition] and 0 <= noun < NOUNS[edition]):
            allowed = f"verbs are 0 to {VERBS[edition] - 1}, nouns 0 to {NOUNS[edition] - 1}"
            defects.append(Defect(str(path), line, f"{where}: verb {verb}, noun {noun}; {allowed} in {edition}"))
            continue
        if row[key] in seen:
            defects.append(Defect(str(path), line, f"{where} stands before"))
            continue
        seen.add(row[key])
        rows.append((row[key], row["participant_id"], row["video_id"], start, end, verb, noun, line))
    ids, people, videos, starts, ends, verbs, nouns, lines = list(zip(*rows, strict=True)) or [()] * 8
    return Actions(
        tuple(ids), tuple(people), tuple(videos), np.array(starts, np.float64), np.array(ends, np.float64),
        np.array(verbs, np.int64), np.array(nouns, np.int64), np.array(lines, np.int64), tuple(defects),
    )  # fmt: skip


def seconds(text: str) -> float:
    """``00:05:27.840`` in seconds.

    Raises:
        ValueError: another form.
    """
    parts = text.split(":")
    if len(parts) != 3 or not all(finite(part) is not None for part in parts):
        raise ValueError(f"{text!r} is not hh:mm:ss.ff")
    return int(parts[0]) * 3600 + int(parts[1]) * 60 + float(parts[2])


def read_class_keys(path: Path) -> dict[int, str]:
    """Class names by number, from ``id,key,...`` or EK-55's ``verb_id,class_key,...``; raises FormatError."""
    rows = list(read_table(path, ()))
    if not rows:
        raise FormatError(f"{path}: no classes")
    header = list(rows[0][1])
    number = next((name for name in header if name in ("id", "verb_id", "noun_id")), None)
    key = next((name for name in header if name in ("key", "class_key")), None)
    if number is None or key is None:
        raise FormatError(f"{path}: line 1: columns are {', '.join(header)}; expected id,key or verb_id,class_key")
    return {int(row[number]): row[key] for _, row in rows}


def read_100(path: Path, _split: int = 1) -> Annotations:
    """Read EK-100: a folder with ``EPIC_100_train.csv`` and ``EPIC_100_validation.csv``, or one of them."""
    return _read(Path(path), "epic100", {"train": ("EPIC_100_train.csv",), "validation": ("EPIC_100_validation.csv",)})


def read_55(path: Path, _split: int = 1) -> Annotations:
    """Read EK-55: a folder with ``EPIC_train_action_labels.csv``, or that file; P26 to P31 are ``validation`` (LFB)."""
    return _read(Path(path), "epic55", {"train": ("EPIC_train_action_labels.csv", "EPIC_train_action_labels*.csv")})


def _read(path: Path, edition: str, names: dict[str, tuple[str, ...]]) -> Annotations:
    folder = path if path.is_dir() else path.parent
    files = {"validation" if "val" in path.name else "train": path}
    if path.is_dir():
        files = {part: file for part, patterns in names.items() if (file := only_file(folder, patterns))}
        if not files:
            raise FormatError(f"{path}: no {' or '.join(p[0] for p in names.values())} in this folder")
    tables = [only_file(folder, (f"*{kind}_classes*.csv",)) for kind in ("verb", "noun")]
    verbs, nouns = (read_class_keys(table) if table else {} for table in tables)
    info = only_file(folder, ("*video_info.csv",))
    known = {row["video_id" if "video_id" in row else "video"]: row for _, row in read_table(info, ())} if info else {}
    segments: dict[str, list[Segment]] = {}
    subset_of, lines, defects = dict[str, str](), dict[str, tuple[str, int]](), list[Defect]()
    for part, file in files.items():
        actions = read_actions(file, edition)
        defects += actions.defects
        for i, id_ in enumerate(actions.videos):
            held_out = edition == "epic55" and actions.participants[i] in EPIC55_VALIDATION
            subset_of.setdefault(id_, "validation" if held_out else part)
            lines.setdefault(id_, (str(file), int(actions.lines[i])))
            verb, noun = int(actions.verb[i]), int(actions.noun[i])
            label = f"{verbs.get(verb, verb)} {nouns.get(noun, noun)}"
            segment = Segment(label, float(actions.t_start[i]), float(actions.t_end[i]))
            where = Defect(str(file), int(actions.lines[i]), f"segment {actions.ids[i]!r} of video {id_!r}")
            check_segment(where, segment, finite(known.get(id_, {}).get("duration")), defects, 0.5)
            segments.setdefault(id_, []).append(segment)
    videos = tuple(
        AnnotatedVideo(
            id_, subset_of[id_], tuple(mine), finite(known.get(id_, {}).get("duration")),
            finite(known.get(id_, {}).get("fps")), files=(id_,), source=lines[id_][0], line=lines[id_][1],
        )
        for id_, mine in segments.items()
    )  # fmt: skip
    return Annotations(tuple(sorted({s.label for v in videos for s in v.segments})), videos, tuple(defects))


def _edition(edition: str) -> str:
    if edition not in VERBS:
        raise ValueError(f"edition is {edition!r}, not one of {', '.join(VERBS)}")
    return "narration_id" if edition == "epic100" else "uid"
