"""Class maps: which classes a set has, in which order, and what the numbers in an annotation file are called.

A text file with one class a line: plain names in index order (``abseiling``), or an id and a name (``c000 Holding some
clothes`` of Charades, ``17 Diving`` of UCF101's classInd.txt, ``12: stand``). Ids in the annotations become names; where
the annotations have plain numbers and the map plain names, a number is a line, counted from 0.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pipeline.datasets.formats.common import AnnotatedVideo, Annotations, Defect, FormatError
from pipeline.datasets.formats.text import read_lines

_WITH_ID = re.compile(r"(c\d{3}|\d+)(?::\s*|\s+)(\S.*)$")


def read_class_map(path: Path) -> dict[str, str]:
    """Name by id, in the order of the file; without ids the id is the line's number from 0, as text.

    Raises:
        FormatError: no such file, no class in it, or a name or id twice.
    """
    lines = [(number, text.strip()) for number, text in read_lines(path)]
    matches = [_WITH_ID.match(text) for _, text in lines]
    names: dict[str, str] = {}
    first: dict[str, int] = {}
    for place, ((number, text), match) in enumerate(zip(lines, matches, strict=True)):
        key, name = (match[1], match[2].strip()) if match and all(matches) else (str(place), text)
        if key in names or name in first:
            before = f" (line {first[name]})" if name in first else ""
            raise FormatError(f"{path}:{number}: class {text!r} stands before{before}")
        names[key], first[name] = name, number
    if not names:
        raise FormatError(f"{path}: no class in this file")
    return names


def apply_class_map(annotations: Annotations, path: Path) -> Annotations:
    """Give the labels their names and the classes the map's order.

    A label that the map does not have is a defect, and its segment or video label is left out; raises as
    :func:`read_class_map`.
    """
    names = read_class_map(path)
    known = {**{name: name for name in names.values()}, **names}
    defects = list(annotations.defects)
    videos = tuple(_renamed(video, known, path, defects) for video in annotations.videos)
    boxes = {number: known[name] for number, name in annotations.box_classes.items() if name in known}
    return replace(annotations, classes=tuple(names.values()), videos=videos, defects=tuple(defects), box_classes=boxes)


def _renamed(video: AnnotatedVideo, known: Mapping[str, str], path: Path, defects: list[Defect]) -> AnnotatedVideo:
    segments = tuple(replace(s, label=known[s.label]) for s in video.segments if s.label in known)
    labels = {task: known[name] for task, name in video.labels.items() if name in known}
    given = [segment.label for segment in video.segments] + list(video.labels.values())
    for label in dict.fromkeys(label for label in given if label not in known):
        defects.append(Defect(video.source, video.line, f"video {video.id!r}: class {label!r} is not in {path.name}"))
    return replace(video, segments=segments, labels=labels)
