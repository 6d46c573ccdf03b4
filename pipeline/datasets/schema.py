"""The one schema of every data set: videos with segments and video labels, as JSON in ActivityNet's layout.

``{"version", "name", "classes", "database": {id: {"subset", "duration", "annotations": [{"label", "segment"}], ...}}}``.
Any ActivityNet reader understands the file; our extra fields are beside the official ones. Dense truths (frame labels,
boxes, tracks, shots) are HDF5 artifacts of kind ``truth``, one per video.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.run.files import read_json, write_json

SUBSETS = ("auxiliary", "training", "validation", "testing")
"""``auxiliary`` is the action-classification set of the encoder's pre-training; the rest are ActivityNet's names."""


@dataclass(frozen=True)
class Segment:
    """One action instance: label and times in seconds."""

    label: str
    t_start: float
    t_end: float


@dataclass(frozen=True)
class Video:
    """One video: its file (relative to the project's root, or absolute), subset, size and annotations."""

    id: str
    path: str
    subset: str
    duration_s: float
    fps: float
    n_frames: int
    width: int
    height: int
    segments: tuple[Segment, ...] = ()
    labels: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def file_stem(self) -> str:
        """A name that is safe in a file system and different for different ids."""
        return file_stem(self.id)


@dataclass(frozen=True)
class Dataset:
    """A data set: name, action classes in index order, videos in id order."""

    name: str
    classes: tuple[str, ...]
    videos: tuple[Video, ...]

    def subset(self, name: str) -> tuple[Video, ...]:
        """The videos of one subset.

        Raises:
            ValueError: no such subset name.
        """
        if name not in SUBSETS:
            raise ValueError(f"subset {name!r} is not one of {', '.join(SUBSETS)}")
        return tuple(video for video in self.videos if video.subset == name)

    def __iter__(self) -> Iterator[Video]:
        return iter(self.videos)

    def save(self, path: Path) -> None:
        """Write the JSON file, atomically."""
        database: dict[str, Any] = {}
        for video in sorted(self.videos, key=lambda v: v.id):
            entry = asdict(video)
            entry["duration"] = entry.pop("duration_s")
            entry["annotations"] = [{"label": s.label, "segment": [s.t_start, s.t_end]} for s in video.segments]
            del entry["segments"], entry["id"]
            database[video.id] = entry
        write_json(
            path,
            {"version": "1", "name": self.name, "classes": list(self.classes), "taxonomy": [], "database": database},
        )

    @staticmethod
    def load(path: Path) -> "Dataset":
        """Read the JSON file.

        Raises:
            ValueError: the file is not JSON, or a field is missing; it names file, video and field.
        """
        raw = read_json(path)
        videos = []
        for id_, entry in raw["database"].items():
            try:
                segments = tuple(
                    Segment(a["label"], float(a["segment"][0]), float(a["segment"][1])) for a in entry["annotations"]
                )
                videos.append(
                    Video(
                        id=id_,
                        path=entry["path"],
                        subset=entry["subset"],
                        duration_s=entry["duration"],
                        fps=entry["fps"],
                        n_frames=entry["n_frames"],
                        width=entry["width"],
                        height=entry["height"],
                        segments=segments,
                        labels=entry["labels"],
                    )
                )
            except KeyError as error:
                raise ValueError(f"{path}: video {id_!r} has no field {error}") from error
        return Dataset(raw["name"], tuple(raw["classes"]), tuple(sorted(videos, key=lambda v: v.id)))


def file_stem(id_: str) -> str:
    """Percent-encode a video id into a file name."""
    return quote(id_, safe=" ()[]+,=@")
