"""A folder of videos as a data set, with or without annotations in ActivityNet's layout.

Listing goes by file names only, so a damaged file never stops it; each video is opened on its own by
:func:`probe_video`, where its error belongs to it alone.
"""

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.datasets.definition import ActivityNetDefinition, DefinitionError, FolderDefinition, resolve_source
from pipeline.datasets.readers import Planned
from pipeline.datasets.schema import SUBSETS, Segment, Video
from pipeline.video.decode import probe, scan

SUFFIXES = frozenset(
    (
        ".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4",
        ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv",
    )
)  # fmt: skip
"""Names that are taken for videos; whether they are shows when they are opened."""


@dataclass(frozen=True)
class PlannedFile:
    """One video file: id, path (relative to the project's root, or absolute), subset and segments."""

    id: str
    path: str
    subset: str
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True)
class Listing:
    """What a folder holds: videos in id order, ids that are annotated but have no file, class names in index order."""

    videos: tuple[PlannedFile, ...]
    missing: tuple[str, ...]
    classes: tuple[str, ...]


def folder_plan(definition: FolderDefinition | ActivityNetDefinition, root: Path) -> Listing:
    """List a folder's videos, at any depth, and bring them together with the annotations.

    A ``folder`` set has every video of the folder, those without annotation for testing and without segments; an
    ``activitynet`` set has the annotated ones.

    Raises:
        DefinitionError: the folder or the annotation file is missing, or an annotation is malformed.
    """
    source = resolve_source(definition, root)
    found = sorted(video_files(source))
    ids = video_ids([source / name for name in found], source)
    annotated, classes = _annotations(definition, root) if definition.annotations else ({}, ())
    videos, seen = [], set()
    for id_, name in zip(ids, found, strict=True):
        key = next((key for key in (id_, id_.removeprefix("v_"), _without_suffix(id_)) if key in annotated), None)
        seen.add(key)
        if key is None and isinstance(definition, ActivityNetDefinition):
            continue
        subset, segments = annotated[key] if key is not None else ("testing", ())
        path = source / name
        relative = path if Path(definition.source).is_absolute() else Path(os.path.relpath(path, root))
        videos.append(PlannedFile(id_, str(relative), subset, segments))
    missing = tuple(sorted(key for key in annotated if key not in seen))
    return Listing(tuple(sorted(videos, key=lambda video: video.id)), missing, classes)


def plan(definition: FolderDefinition | ActivityNetDefinition, root: Path) -> list[Planned]:
    """The videos of :func:`folder_plan` for :mod:`pipeline.datasets.readers`; raises as that does."""
    videos = folder_plan(definition, root).videos
    return [Planned(video.id, (root / video.path,), asdict(video)) for video in videos]


def make(_id: str, inputs: Sequence[Path], spec: Mapping[str, Any], _folder: Path) -> Video:
    """The entry of one video; nothing is written, the video stays where it lies. Raises as :func:`probe_video`."""
    segments = tuple(Segment(**segment) for segment in spec["segments"])
    return probe_video(PlannedFile(**{**spec, "segments": segments}), inputs[0])


def probe_video(plan: PlannedFile, file: Path, *, exact: bool = True) -> Video:
    """Open one video and return its entry. ``file``: where its path leads.

    ``exact`` decodes it once, without converting: frames and duration are counted and damage is found here. Without, they
    are what the container states, and damage shows when the frames are read.

    Raises:
        VideoError: the file cannot be read; it names the cause.
    """
    info = scan(file) if exact else probe(file)
    return Video(
        plan.id,
        plan.path,
        plan.subset,
        info.duration_s,
        info.fps,
        info.n_frames,
        info.width,
        info.height,
        plan.segments,
    )


def video_ids(paths: Sequence[Path], base: Path | None = None) -> list[str]:
    """An id for each of several files: its stem, or its path relative to ``base`` where stems collide.

    ``base`` None is the deepest folder that holds them all.
    """
    absolute = [_normal(path) for path in paths]
    folder = (
        _normal(base) if base else Path(os.path.commonpath([path.parent for path in absolute])) if paths else Path()
    )
    relative = [path.relative_to(folder).as_posix() for path in absolute]
    count = Counter(path.stem for path in absolute)
    ids = [path.stem if count[path.stem] == 1 else name for path, name in zip(absolute, relative, strict=True)]
    return ids if len(set(ids)) == len(set(relative)) else relative


def _normal(path: Path) -> Path:
    """Absolute and without "..", links kept: a linked video is named after the link."""
    return Path(os.path.normpath(path.absolute()))


def video_files(folder: Path) -> Iterator[str]:
    """Paths of video files relative to ``folder``; links to folders are followed once, hidden names left out."""
    visited = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = Path(here).resolve()
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield (Path(here) / name).relative_to(folder).as_posix()


def _without_suffix(id_: str) -> str:
    return str(PurePosixPath(id_).with_suffix("")) if "/" in id_ else id_


def _annotations(
    definition: FolderDefinition | ActivityNetDefinition, root: Path
) -> tuple[dict[str, tuple[str, tuple[Segment, ...]]], tuple[str, ...]]:
    """Subset and segments of every annotated id, and the classes: those the file lists, else its labels in order."""
    path = root / str(definition.annotations)
    if not path.is_file():
        raise DefinitionError(
            f"data set {definition.name}: annotations is {definition.annotations!r}, but there is no file {path}"
        )
    raw = _read_json(path)
    if not isinstance(raw, dict) or not isinstance(raw.get("database"), dict):
        raise DefinitionError(f"{path}: not in ActivityNet's layout, it has no `database` of videos")
    entries = {}
    for id_, entry in raw["database"].items():
        try:
            segments = tuple(
                Segment(str(a["label"]), float(a["segment"][0]), float(a["segment"][1])) for a in entry["annotations"]
            )
            entries[str(id_)] = (_subset(entry["subset"], definition.subsets), segments)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            what = f"no field {error}" if isinstance(error, KeyError) else str(error)
            raise DefinitionError(f"{path}: video {id_!r}: {what}") from error
    labels = sorted({segment.label for _, segments in entries.values() for segment in segments})
    return entries, tuple(raw.get("classes", labels))


def _subset(theirs: str, renamed: Mapping[str, str]) -> str:
    ours = renamed.get(theirs, theirs)
    if ours not in SUBSETS:
        raise ValueError(
            f"subset is {theirs!r}, ours are {', '.join(SUBSETS)}; "
            f"say which it is in the definition, `subsets: {{{theirs}: testing}}`"
        )
    return ours


def _read_json(path: Path) -> Any:
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as handle:
            return json.load(handle)
    except (json.JSONDecodeError, UnicodeDecodeError, gzip.BadGzipFile) as error:
        raise DefinitionError(f"{path}: not valid JSON: {error}") from error
