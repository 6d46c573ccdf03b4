"""A bounded reader of ``compressed`` artifacts: rows of any of their arrays, and their I-frames as pictures."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.datasets.kept import Kept
from pipeline.datasets.opened import Store
from pipeline.run.artifacts import Reader
from pipeline.run.kinds import COMPRESSED, COMPRESSED_CHUNK
from pipeline.video import jpeg


class Stream(NamedTuple):
    """What is known of every frame of one video: rows of the artifact, by name, and the coded size in px."""

    pts: np.ndarray
    i_frame_index: np.ndarray
    reference_index: np.ndarray
    i_frame_row: np.ndarray
    width: int
    height: int

    @property
    def is_predicted(self) -> np.ndarray:
        """Whether a frame has motion and a residual, bool [N]."""
        return self.reference_index >= 0


class CompressedStore(Store[Reader]):
    """Reads rows of ``compressed`` artifacts by video id; keeps what it unpacked in memory up to a bound.

    Arrays are unpacked in whole chunks, so a video of any length costs no more than the chunks that are asked for; the
    least recently used go first.

    Args:
        paths: artifact of each video id.
        capacity_bytes: bound on the unpacked chunks and pictures that are kept.
    """

    holds = "coded stream"

    def __init__(self, paths: Mapping[str, Path], capacity_bytes: int = 2**29) -> None:
        super().__init__(paths, capacity_bytes)
        self._streams: dict[str, Stream] = {}
        self._kept: Kept[tuple[str, str, int]] = Kept(capacity_bytes)

    def stream(self, id_: str) -> Stream:
        """Times, types and references of a video's frames.

        Raises:
            KeyError: no such id.
            ArtifactError: the artifact is missing or not readable.
        """
        if id_ not in self._streams:
            reader = self._opened[id_]
            arrays = {name: reader[name] for name in ("pts", "i_frame_index", "reference_index", "i_frame_row")}
            size = {name: int(reader.attributes[name]) for name in ("width", "height")}
            self._streams[id_] = Stream(**arrays, **size)  # type: ignore[arg-type]
        return self._streams[id_]

    def rows(self, id_: str, name: str, rows: np.ndarray) -> np.ndarray:
        """Rows (int, any shape [...]) of array ``name`` as stored, [..., *the array's other dimensions]; a copy.

        Raises:
            KeyError, ArtifactError: as :meth:`stream`.
        """
        rows = np.asarray(rows)
        size = COMPRESSED_CHUNK

        def read(keys: Sequence[tuple[str, str, int]]) -> Iterator[np.ndarray]:
            for _, _, chunk in keys:
                yield self._opened[id_].rows(name, slice(chunk * size, (chunk + 1) * size))

        chunks = self._kept.take(((id_, name, int(chunk)) for chunk in np.unique(rows // size)), read)
        flat = [chunks[id_, name, row // size][row % size] for row in rows.reshape(-1).tolist()]
        return np.stack(flat).reshape(*rows.shape, *flat[0].shape)

    def i_frame_pictures(self, id_: str, frames: np.ndarray) -> np.ndarray:
        """Pictures of I-frames, by their rows (int, any shape [...]): uint8 RGB [..., height, width, 3], a copy.

        Raises:
            KeyError, ArtifactError: as :meth:`stream`.
            ValueError: a row is no I-frame, or its picture cannot be decoded.
        """
        frames = np.asarray(frames)
        have = self.stream(id_).i_frame_row
        if not np.isin(frames, have).all():
            wrong = sorted(set(frames.reshape(-1).tolist()) - set(have.tolist()))
            raise ValueError(f"{self._paths[id_]}: rows {wrong} are no I-frames")
        numbers = np.searchsorted(have, frames)

        def decode(keys: Sequence[tuple[str, str, int]]) -> Iterator[np.ndarray]:
            for _, name, number in keys:
                yield jpeg.decode(self._opened[id_].rows(name, slice(number, number + 1))[0])

        pictures = self._kept.take(((id_, "i_frame", int(number)) for number in np.unique(numbers)), decode)
        flat = [pictures[id_, "i_frame", number] for number in numbers.reshape(-1).tolist()]
        return np.stack(flat).reshape(*frames.shape, *flat[0].shape)

    def _open(self, id_: str, path: Path) -> AbstractContextManager[Reader]:
        return COMPRESSED.open(path)
