"""Which file of a folder is which annotated video: by the names that its format allows, with any video suffix."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.datasets.folder import SUFFIXES, video_files
from pipeline.datasets.formats.common import AnnotatedVideo


@dataclass(frozen=True)
class Located:
    """Files by video id, in the order of the annotations; ids without a file; ids with several; files of no video."""

    files: dict[str, Path]
    missing: tuple[str, ...]
    ambiguous: dict[str, tuple[Path, ...]]
    unannotated: tuple[Path, ...]


def locate(videos: Iterable[AnnotatedVideo], folder: Path) -> Located:
    """Bring videos and files together. Names only: no file is opened.

    A name with a folder is looked up there first, then by its last part anywhere; one without a video suffix matches
    any. Of several files with that name the first in alphabetical order is taken and all are reported.
    """
    found = sorted(video_files(folder))
    index = _index(found)
    files, missing, ambiguous, used = dict[str, Path](), list[str](), dict[str, tuple[Path, ...]](), set[str]()
    for video in videos:
        names = next((index[key] for name in video.files or (video.id,) for key in _keys(name) if key in index), None)
        if names is None:
            missing.append(video.id)
            continue
        files[video.id] = folder / names[0]
        used.update(names)
        if len(names) > 1:
            ambiguous[video.id] = tuple(folder / name for name in names)
    return Located(files, tuple(missing), ambiguous, tuple(folder / name for name in found if name not in used))


def _index(found: Sequence[str]) -> dict[str, list[str]]:
    """Files under their relative path and their name, each with and without the suffix."""
    index: dict[str, list[str]] = defaultdict(list)
    for name in found:
        path = PurePosixPath(name)
        for key in dict.fromkeys((name, str(path.with_suffix("")), path.name, path.stem)):
            index[key].append(name)
    return dict(index)


def _keys(name: str) -> tuple[str, ...]:
    path = PurePosixPath(name)
    bare = str(path.with_suffix("")) if path.suffix.lower() in SUFFIXES else name
    return tuple(dict.fromkeys((name, bare, path.name, PurePosixPath(bare).name)))
