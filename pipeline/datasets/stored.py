"""Reading and writing the artifacts of decoded pictures, in whichever of the three forms they are stored.

- ``jpeg``: the default; see ``python -m pipeline bench decode-storage`` for what each costs.
- ``raw``: no loss and the fastest to read, for some thirteen times the bytes.
- ``segments``: closed groups of H.264, a sixth of the bytes; a clip takes three to four times as long.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.run.artifacts import Kind, Reader, open_any
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


class StoredFrames:
    """An opened artifact of decoded pictures, of any form. Made by :func:`open_frames`."""

    def __init__(self, reader: Reader, path: Path) -> None:
        self.attributes = reader.attributes
        self._reader = reader
        self._path = path

    def __len__(self) -> int:
        return len(self._reader)

    @property
    def size(self) -> tuple[int, int, int]:
        """Shape of a picture."""
        return self.attributes["height"], self.attributes["width"], 3

    def pts(self) -> np.ndarray:
        """Times of the rows in seconds, float64 [N]."""
        return self._reader["pts"]

    def pictures(self, rows: np.ndarray) -> np.ndarray:
        """Pictures of ascending, different ``rows`` [n]: uint8 RGB [n, height, width, 3].

        Raises:
            ValueError: a picture cannot be decoded or has another size than the artifact says; the file is named.
        """
        target = np.empty((len(rows), *self.size), dtype=np.uint8)
        try:
            if self._reader.kind is FRAMES:
                jpeg.decode_into(target, list(self._reader.rows("jpeg", rows)))
            elif self._reader.kind is FRAMES_RAW:
                for one, row in zip(target, rows, strict=True):  # h5py takes 100 ms for a list of rows
                    one[:] = self._reader.rows("picture", slice(row, row + 1))[0]
            else:
                self._decode_segments(target, rows)
        except ValueError as error:
            raise ValueError(f"{self._path}: {error}") from error
        return target

    def jpegs(self, rows: np.ndarray) -> list[bytes]:
        """Pictures of ``rows`` as JPEG: the stored ones where they are that."""
        if self._reader.kind is FRAMES:
            return [self._reader.rows("jpeg", slice(row, row + 1))[0].tobytes() for row in rows]
        return [jpeg.encode(self.pictures(np.array([row]))[0], 90) for row in rows]

    def _decode_segments(self, target: np.ndarray, rows: np.ndarray) -> None:
        from pipeline.video.segments import decode_group

        height, width, _ = self.size
        group = self.attributes["group"]
        for number in np.unique(rows // group):
            places = np.flatnonzero(rows // group == number)
            inside = (rows[places] - number * group).tolist()
            packets = list(self._reader.rows("packet", slice(number * group, number * group + inside[-1] + 1)))
            for place, picture in zip(places, decode_group(packets, inside, height, width), strict=True):
                target[place] = picture


@contextmanager
def open_frames(path: Path) -> Iterator[StoredFrames]:
    """Open an artifact of decoded pictures, of whichever kind it is.

    Raises:
        ArtifactError: it is none, or not readable.
    """
    with open_any(tuple(KINDS.values()), path) as reader:
        yield StoredFrames(reader, Path(path))
