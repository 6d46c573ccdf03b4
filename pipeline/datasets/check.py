"""Everything that is wrong with a data set, each with file and line: annotations, videos, and what does not fit.

Errors are what cannot be used (a row that cannot be read, a video that cannot be opened); warnings are used as they
stand, or left out (a video without a file). Nothing here stops at the first defect, and nothing stops a run.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from pipeline.datasets.formats.common import AnnotatedVideo, Annotations, Defect, Severity
from pipeline.datasets.formats.text import JsonLines
from pipeline.datasets.locate import locate
from pipeline.datasets.schema import SUBSETS
from pipeline.video.container import VideoError

DURATION_SHARE, DURATION_S = 0.02, 0.5
"""A stated duration is wrong when it is off by more than this share and this many seconds."""


class Info(Protocol):
    """What is asked of an opened video."""

    @property
    def duration_s(self) -> float: ...  # noqa: D102

    @property
    def fps(self) -> float: ...  # noqa: D102

    @property
    def n_frames(self) -> int: ...  # noqa: D102


def check_sets(annotations: Annotations, source: str) -> list[Defect]:
    """Defects of the set as a whole: unknown subsets, empty ones, videos in two, classes without an instance."""
    defects = []
    names = Counter(video.subset for video in annotations.videos)
    for name, count in names.items():
        if name not in SUBSETS:
            ours = ", ".join(SUBSETS)
            text = f"{count} videos are in subset {name!r}, which is none of ours ({ours}); rename it in the definition"
            defects.append(Defect(source, None, text))
    repeated = [id_ for id_, count in Counter(video.id for video in annotations.videos).items() if count > 1]
    for id_ in repeated:
        of = sorted({video.subset for video in annotations.videos if video.id == id_})
        defects.append(Defect(source, None, f"video {id_!r} stands several times, in {', '.join(of)}"))
    if not annotations.videos:
        defects.append(Defect(source, None, "no videos"))
    used = {label for video in annotations.videos for label in _labels(video)}
    if used and annotations.boxes is None:
        for name in annotations.classes:
            if name not in used:
                defects.append(Defect(source, None, f"class {name!r} has no instance", "warning"))
    return defects


def check_videos(
    annotations: Annotations, folder: Path, opened: Callable[[Path], Info], snippet_frames: int = 64
) -> Iterator[Defect]:
    """Defects that show when the annotations meet the files; each video is opened once, lazily.

    Args:
        annotations: of the set.
        folder: with the videos, at any depth.
        opened: opens a file, :func:`pipeline.video.decode.probe` (its container) or ``scan`` (decoding all of it).
        snippet_frames: a video with fewer frames is reported: all its snippets read the same ones.
    """
    located, places = locate(annotations.videos, folder), _Places()
    by_id = {video.id: video for video in annotations.videos}

    def defect(video: AnnotatedVideo, text: str, severity: Severity = "warning") -> Defect:
        return Defect(video.source, places(video), f"video {video.id!r}: {text}", severity)

    for id_ in located.missing:
        yield defect(by_id[id_], f"no file of that name in {folder}")
    for id_, files in located.ambiguous.items():
        names = ", ".join(str(file.relative_to(folder)) for file in files)
        yield defect(by_id[id_], f"{len(files)} files have that name, the first is used: {names}")
    for file in located.unannotated:
        yield Defect(str(file), None, "a video without annotation", "warning")
    for id_, file in located.files.items():
        video = by_id[id_]
        try:
            info = opened(file)
        except VideoError as error:
            yield Defect(str(file), None, f"video {id_!r}: {error}", "error")
            continue
        for text in _misfits(video, info, snippet_frames):
            yield defect(video, f"{text} ({file.name})")


def _misfits(video: AnnotatedVideo, info: Info, snippet_frames: int) -> Iterator[str]:
    if info.n_frames < snippet_frames:
        yield f"{info.n_frames} frames, less than one snippet of {snippet_frames}"
    stated = video.duration_s
    if stated is not None and abs(stated - info.duration_s) > max(DURATION_S, DURATION_SHARE * info.duration_s):
        yield f"stated to last {stated:g} s, the file lasts {info.duration_s:.2f} s"
    beyond = [
        s for s in video.segments if s.t_end > info.duration_s + max(DURATION_S, DURATION_SHARE * info.duration_s)
    ]
    if beyond:
        last = max(segment.t_end for segment in beyond)
        yield f"{len(beyond)} segments end after the file's {info.duration_s:.2f} s, the last at {last:g} s"
    if video.fps is not None and abs(video.fps - info.fps) > 0.02 * info.fps:
        yield f"stated to have {video.fps:g} frames a second, the file has {info.fps:g}"


def _labels(video: AnnotatedVideo) -> Sequence[str]:
    return (*(segment.label for segment in video.segments), *video.labels.values())


class _Places:
    """Lines of videos; those of JSON files are looked up when the first is asked for."""

    def __init__(self) -> None:
        self._files: dict[str, JsonLines] = {}

    def __call__(self, video: AnnotatedVideo) -> int | None:
        if video.line is not None or ".json" not in video.source:
            return video.line
        return self._files.setdefault(video.source, JsonLines(Path(video.source))).of_video(video.id)
