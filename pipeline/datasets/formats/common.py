"""What every annotation reader returns: videos with segments, labels and boxes, and a list of what is wrong in the file.

A reader never stops at a bad row: it leaves the row out and notes a :class:`Defect` with file and line. ``check`` prints
all of them; who needs clean data calls :meth:`Annotations.require`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.schema import Segment

Severity: TypeAlias = Literal["error", "warning"]


class FormatError(ValueError):
    """A file is not in the format at all, or is missing; the text names it and what was expected."""


@dataclass(frozen=True)
class Defect:
    """Something wrong: ``error`` where a row or video cannot be used, ``warning`` where it is used as it stands."""

    file: str
    line: int | None
    text: str
    severity: Severity = "error"

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.severity}: {self.text}"


@dataclass(frozen=True)
class AnnotatedVideo:
    """One video as an annotation file tells of it.

    ``subset`` is the file's own word. ``segments`` in seconds from the start of the video file (AVA: of the movie, see
    :meth:`Annotations.from_second`); ``duration_s`` and ``fps`` None where the file does not say. ``labels`` are
    video-level labels by task (``class`` of trimmed clips). ``trimmed``: the video is one clip of one action. ``files``:
    names, without folder or with, under which the video may lie, without suffix where any video suffix will do. ``line``
    of ``source``, where the video stands.
    """

    id: str
    subset: str
    segments: tuple[Segment, ...] = ()
    duration_s: float | None = None
    fps: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    trimmed: bool = False
    files: tuple[str, ...] = ()
    source: str = ""
    line: int | None = None


@dataclass(frozen=True)
class Boxes:
    """Boxes at single instants, one row each; a person with two actions has two rows.

    ``video`` [N] index into the annotations' videos; ``time_s`` [N] as the format counts (AVA: from the start of the
    movie, not of the 15-minute cut; see :meth:`Annotations.from_second`); ``box`` [N, 4] x1, y1, x2, y2 as a share of
    width and height; ``label`` [N] class id as in the file, -1 for none; ``person`` [N] id within the video, -1 for none;
    ``score`` [N], 1 in a ground truth.
    """

    video: NDArray[np.int64]
    time_s: NDArray[np.float64]
    box: NDArray[np.float64]
    label: NDArray[np.int64]
    person: NDArray[np.int64]
    score: NDArray[np.float64]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.time_s)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "Boxes":
        """Some of the rows."""
        return Boxes(
            self.video[rows], self.time_s[rows], self.box[rows], self.label[rows], self.person[rows], self.score[rows]
        )  # fmt: skip


@dataclass(frozen=True)
class Annotations:
    """What a reader found: classes in index order, videos in file order, boxes where the format has them, defects.

    ``box_classes``: name of each class id in ``boxes.label``. ``empty``: instants that were annotated and are without a
    box, as (index of the video, seconds).
    """

    classes: tuple[str, ...]
    videos: tuple[AnnotatedVideo, ...]
    defects: tuple[Defect, ...] = ()
    boxes: Boxes | None = None
    box_classes: Mapping[int, str] = field(default_factory=dict)
    empty: tuple[tuple[int, float], ...] = ()

    def require(self) -> "Annotations":
        """The same, if no defect is an error.

        Raises:
            FormatError: some are; the first three are named.
        """
        errors = [defect for defect in self.defects if defect.severity == "error"]
        if errors:
            more = f"; and {len(errors) - 3} more, `python -m pipeline check` lists them" if len(errors) > 3 else ""
            raise FormatError("; ".join(map(str, errors[:3])) + more)
        return self

    def subset(self, name: str) -> tuple[AnnotatedVideo, ...]:
        """The videos of a subset, by the file's own word."""
        return tuple(video for video in self.videos if video.subset == name)

    def boxes_of(self, id_: str) -> Boxes:
        """The boxes of one video, in file order; none where the format has none.

        Raises:
            KeyError: no such video.
        """
        number = next((i for i, video in enumerate(self.videos) if video.id == id_), None)
        if number is None:
            raise KeyError(f"no video {id_!r}; there are {len(self.videos)} videos")
        if self.boxes is None:
            whole = np.zeros(0, np.int64)
            return Boxes(whole, np.zeros(0), np.zeros((0, 4)), whole, whole, np.zeros(0))
        return self.boxes.take(self.boxes.video == number)

    def renamed(self, subsets: Mapping[str, str]) -> "Annotations":
        """With the subsets renamed; names that are not in ``subsets`` stay."""
        videos = tuple(replace(video, subset=subsets.get(video.subset, video.subset)) for video in self.videos)
        return replace(self, videos=videos)

    def from_second(self, starts_s: float) -> "Annotations":
        """With times from the start of files that are cut from second ``starts_s`` of the annotations' clock on.

        What is before it is left out, and a segment that goes on over it begins at 0.
        """
        if not starts_s:
            return self
        videos = []
        for video in self.videos:
            kept = (segment for segment in video.segments if segment.t_end > starts_s)
            segments = tuple(Segment(s.label, max(s.t_start - starts_s, 0.0), s.t_end - starts_s) for s in kept)
            videos.append(replace(video, segments=segments))
        boxes = self.boxes
        if boxes is not None:
            boxes = boxes.take(boxes.time_s >= starts_s)
            boxes = replace(boxes, time_s=boxes.time_s - starts_s)
        empty = tuple((video, time - starts_s) for video, time in self.empty if time >= starts_s)
        return replace(self, videos=tuple(videos), boxes=boxes, empty=empty)


def class_index(classes: Iterable[str]) -> dict[str, int]:
    """Index of each class name."""
    return {name: index for index, name in enumerate(classes)}


def check_segment(
    where: Defect, segment: Segment, duration_s: float | None, defects: list[Defect], slack_s: float = 0.0
) -> None:
    """Note what is odd about a segment that is used all the same; ``where`` says where it stands, its text is ignored."""

    def note(text: str) -> None:
        defects.append(replace(where, text=f"{where.text}: {text}", severity="warning"))

    span = f"[{segment.t_start:g}, {segment.t_end:g}] s of {segment.label!r}"
    if segment.t_end < segment.t_start:
        note(f"{span} ends before it starts")
    elif segment.t_end == segment.t_start:
        note(f"{span} has no length")
    if segment.t_start < 0:
        note(f"{span} starts before the video")
    if duration_s is not None and segment.t_end > duration_s + slack_s:
        note(f"{span} ends after the video, which lasts {duration_s:g} s")


def only_file(path: Path, patterns: Iterable[str]) -> Path | None:
    """The first file of a folder that matches one of the patterns, each also tried with ``.gz``; None without a match."""
    for pattern in patterns:
        for name in (pattern, f"{pattern}.gz"):
            found = sorted(path.glob(name))
            if found:
                return found[0]
    return None
