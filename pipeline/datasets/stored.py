"""Reading and writing the artifacts of decoded pictures, in whichever of the three forms they are stored.

- ``jpeg``: the default; see ``python -m pipeline bench decode-storage`` for what each costs.
- ``raw``: no loss and the fastest to read, for some thirteen times the bytes.
- ``segments``: closed groups of H.264, a sixth of the bytes; a clip takes three to four times as long.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.run.artifacts import Kind, open_any
from pipeline.run.heap import read_string
from pipeline.run.kinds import FRAMES, FRAMES_RAW, FRAMES_SEGMENTS
from pipeline.video import jpeg

if TYPE_CHECKING:
    from pipeline.video.planes import Planes

KINDS: Mapping[str, Kind] = {"jpeg": FRAMES, "raw": FRAMES_RAW, "segments": FRAMES_SEGMENTS}

GROUP = 16
"""Pictures of a segment."""


class _Form(NamedTuple):
    """How one storage is written: its array of rows, pictures coded together, rows written together."""

    array: str
    coded: int
    written: int


_FORMS = {"jpeg": _Form("jpeg", 1, 64), "raw": _Form("picture", 1, 4), "segments": _Form("packet", GROUP, 64)}


def write_frames(
    path: Path,
    storage: str,
    frames: "Iterator[tuple[float, np.ndarray | Planes]]",
    attributes: Mapping[str, Any],
    *,
    quality: int,
    crf: int,
) -> int:
    """Write an artifact of decoded pictures; returns their number. Memory does not grow with it.

    Args:
        path: of the artifact.
        storage: one of :data:`KINDS`.
        frames: times, and uint8 RGB pictures of one size; for ``jpeg`` planes as well.
        attributes: of the kind, without width, height and group; without fps where it shall be the pictures' average.
        quality: of ``jpeg``, 1 to 100.
        crf: of ``segments``, 0 to 51, lower is better.

    Raises:
        DiskFull: the disk has no space left.
    """
    form, count = _FORMS[storage], 0
    given = {"width": 0, "height": 0, **({"group": GROUP} if storage == "segments" else {}), **attributes}

    def rows() -> Iterator[tuple[float, Any]]:
        while group := list(islice(frames, form.coded)):
            pictures = [picture for _, picture in group]
            writer.attributes |= {"height": pictures[0].shape[0], "width": pictures[0].shape[1]}
            yield from zip([t for t, _ in group], _code(storage, pictures, quality, crf), strict=True)

    with KINDS[storage].writer(path, given) as writer:
        coming = rows()
        while batch := list(islice(coming, form.written)):
            writer.append(**{"pts": [t for t, _ in batch], form.array: [row for _, row in batch]})
            count += len(batch)
        writer.attributes.setdefault("fps", count / given["duration_s"])
    return count


def _code(storage: str, pictures: list[Any], quality: int, crf: int) -> Sequence[Any]:
    if storage == "segments":
        from pipeline.video.segments import encode_group  # late: who only reads JPEG needs no PyAV

        return encode_group(pictures, crf)
    if storage == "raw":
        return pictures
    return [
        jpeg.encode(one, quality) if isinstance(one, np.ndarray) else jpeg.encode_planes(one.y, one.u, one.v, quality)
        for one in pictures
    ]


class Layout(NamedTuple):
    """What opening an artifact finds out; given to a later opening of the same file it need not be found out again."""

    kind: str
    attributes: Mapping[str, Any]
    pts: np.ndarray
    places: np.ndarray
    """Of the rows in the file: byte of each picture, or of each byte string its :data:`pipeline.run.heap.REFERENCE`."""
    state: tuple[int, ...]


class StoredFrames:
    """An opened artifact of decoded pictures, of any form. Made by :func:`open_frames`."""

    def __init__(self, path: Path, layout: Layout, descriptor: int) -> None:
        self.layout = layout
        self.attributes = layout.attributes
        self._path = path
        self._descriptor = descriptor

    def __len__(self) -> int:
        return len(self.layout.pts)

    @property
    def size(self) -> tuple[int, int, int]:
        """Shape of a picture."""
        return self.attributes["height"], self.attributes["width"], 3

    def pts(self) -> np.ndarray:
        """Times of the rows in seconds, float64 [N]."""
        return self.layout.pts

    def pictures(self, rows: np.ndarray) -> np.ndarray:
        """Pictures of ascending, different ``rows`` [n]: uint8 RGB [n, height, width, 3].

        Raises:
            ValueError: a picture cannot be decoded or has another size than the artifact says; the file is named.
        """
        target = np.empty((len(rows), *self.size), dtype=np.uint8)
        try:
            if self.layout.kind == FRAMES.name:
                jpeg.decode_into(target, self._strings(rows))
            elif self.layout.kind == FRAMES_RAW.name:
                for one, place in zip(target, self.layout.places[rows].tolist(), strict=True):
                    if os.preadv(self._descriptor, [one.data], place) != one.nbytes:
                        raise ValueError(f"it ends within the picture at byte {place}")
            else:
                self._decode_segments(target, rows)
        except ValueError as error:
            raise ValueError(f"{self._path}: {error}") from error
        return target

    def jpegs(self, rows: np.ndarray) -> list[bytes]:
        """Pictures of ``rows`` as JPEG: the stored ones where they are that."""
        if self.layout.kind == FRAMES.name:
            return self._strings(rows)
        return [jpeg.encode(self.pictures(np.array([row]))[0], 90) for row in rows]

    def _strings(self, rows: np.ndarray | slice) -> list[bytes]:
        return [read_string(self._descriptor, place) for place in self.layout.places[rows].tolist()]

    def _decode_segments(self, target: np.ndarray, rows: np.ndarray) -> None:
        from pipeline.video.segments import decode_group

        height, width, _ = self.size
        group = self.attributes["group"]
        for number in np.unique(rows // group):
            places = np.flatnonzero(rows // group == number)
            inside = (rows[places] - number * group).tolist()
            packets = self._strings(slice(number * group, number * group + inside[-1] + 1))
            for place, picture in zip(places, decode_group(packets, inside, height, width), strict=True):
                target[place] = picture


@contextmanager
def open_frames(path: Path, known: Layout | None = None) -> Iterator[StoredFrames]:
    """Open an artifact of decoded pictures, of whichever kind it is.

    ``known``: the attribute ``layout`` of an earlier opening; it counts as long as the file is the same.

    Raises:
        ArtifactError: it is none, or not readable.
    """
    path = Path(path)
    layout = known if known is not None and path.is_file() and _state(path) == known.state else _find_out(path)
    with open(path, "rb", buffering=0) as file:
        yield StoredFrames(path, layout, file.fileno())


def _find_out(path: Path) -> Layout:
    with open_any(tuple(KINDS.values()), path) as reader:
        if reader.kind is FRAMES_RAW:
            step = reader.attributes["height"] * reader.attributes["width"] * 3
            runs = [extent.offset + np.arange(extent.rows) * step for extent in reader.extents("picture")]
            places = np.concatenate([np.zeros(0, np.int64), *runs])
        else:
            places = reader.strings("jpeg" if reader.kind is FRAMES else "packet")
        return Layout(reader.kind.name, reader.attributes, reader["pts"], places, _state(path))


def _state(path: Path) -> tuple[int, ...]:
    """Changes when a file is written anew."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
