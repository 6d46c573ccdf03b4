"""Which frames a snippet or a clip reads, by time, and a bounded reader of the decoded pictures.

LoFi section 3: a snippet is a window of consecutive frames (64), read with a stride (8, giving 8 frames); a video is L
snippets. Here a window is seconds, so that it means the same at every frame rate; TSM calls this dense sampling. Snippet
i stands for the i-th of L equal cells of the video and is centred in it, at (i + 0.5) / L of the duration. Windows may
overlap (short videos) or leave gaps (long ones); times outside the file read its first or last frame.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.opened import Store
from pipeline.datasets.schema import Segment
from pipeline.datasets.stored import Layout, StoredFrames, open_frames


def frame_indices(pts: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Rows on show at ``times`` (seconds, any shape): the nearest ones, save that a gap shows the frame before it.

    A row of ``pts`` [N] (strictly increasing) is chosen up to half a usual row interval (the median) before its time. At
    a constant rate that is the nearest row. In a gap of a variable-rate file the picture stands still until the next one
    comes, however near that is.

    Raises:
        ValueError: ``pts`` is empty.
    """
    pts = np.asarray(pts, dtype=np.float64)
    if not len(pts):
        raise ValueError("a video without frames has no snippets")
    early = np.median(np.diff(pts)) / 2 if len(pts) > 1 else 0.0
    # 1 ns: a time exactly between two rows must not depend on the last bit of either.
    rows = np.searchsorted(pts, np.asarray(times) + early - 1e-9, side="right") - 1
    return np.clip(rows, 0, len(pts) - 1)


def clip_indices(pts: np.ndarray, centers: np.ndarray | float, frames: int, window_s: float) -> np.ndarray:
    """Rows of clips at ``centers`` [...]: int64 [..., frames], ``window_s / frames`` apart and centred."""
    offsets = (np.arange(frames) - (frames - 1) / 2) * (window_s / frames)
    return frame_indices(pts, np.asarray(centers, dtype=np.float64)[..., None] + offsets)


def snippet_cells(duration_s: float, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and end in seconds, float64 [length] each, of the equal cells that the snippets of a video stand for."""
    edges = np.arange(length + 1) * (duration_s / length)
    return edges[:-1], edges[1:]


def snippet_indices(pts: np.ndarray, duration_s: float, length: int, frames: int, window_s: float) -> np.ndarray:
    """Rows of the snippets of a video: int64 [length, frames], snippet i centred in its cell."""
    start, end = snippet_cells(duration_s, length)
    return clip_indices(pts, (start + end) / 2, frames, window_s)


def segment_clip_center(segment: Segment, window_s: float, rng: np.random.Generator | None) -> float:
    """Centre in seconds of a clip inside an action, for classification of trimmed clips as in LoFi's ACP.

    A clip of ``window_s`` stays inside the segment, drawn uniformly with ``rng`` (training), in the middle without
    (test); in a shorter segment it is always in the middle.
    """
    room = max(0.0, segment.t_end - segment.t_start - window_s)
    offset = (rng.random() - 0.5) * room if rng is not None else 0.0
    return (segment.t_start + segment.t_end) / 2 + offset


@dataclass
class _Loaded:
    """Decoded pictures of one video; ``have`` marks the rows that were decoded so far."""

    pictures: np.ndarray
    have: np.ndarray


class FrameStore(Store[StoredFrames]):
    """Reads pictures of ``frames`` artifacts by video id and row; keeps decoded videos in memory up to a bound.

    Where a video's pictures lie in its file is remembered, 24 bytes for each. Only the rows asked for are decoded, each once
    while the video is kept. The least recently used video goes first; a video that is larger than the bound alone is
    decoded anew each time.

    Args:
        paths: artifact of each video id.
        capacity_bytes: bound on the decoded pictures that are kept.
    """

    holds = "frames"

    def __init__(self, paths: Mapping[str, Path], capacity_bytes: int = 2**30) -> None:
        super().__init__(paths, capacity_bytes)
        self._capacity = capacity_bytes
        self._layouts: dict[str, Layout] = {}
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()

    def pts(self, id_: str) -> np.ndarray:
        """Times of a video's rows in seconds, float64 [N].

        Raises:
            KeyError: no such id.
            ArtifactError: the artifact is missing or not readable.
        """
        return self._layout(id_).pts

    def attributes(self, id_: str) -> Mapping[str, Any]:
        """What the artifact says of a video: width, height, fps, duration_s. Raises as :meth:`pts`."""
        return self._layout(id_).attributes

    def pictures(self, id_: str, indices: np.ndarray) -> np.ndarray:
        """Pictures of ``indices`` (int, any shape [...]): uint8 [..., height, width, 3], a copy.

        Raises:
            KeyError, ArtifactError: as :meth:`pts`.
            ValueError: a picture cannot be decoded or has another size than the artifact says.
        """
        indices = np.asarray(indices)
        wanted = np.unique(indices)
        loaded = self._loaded.get(id_)
        if loaded is None or not loaded.have[wanted].all():
            stored = self._opened[id_]
            if loaded is None and len(stored) * int(np.prod(stored.size)) > self._capacity:
                some = stored.pictures(wanted)
                return some if np.array_equal(wanted, indices) else some[np.searchsorted(wanted, indices)]
            if loaded is None:
                empty = np.empty((len(stored), *stored.size), dtype=np.uint8)
                loaded = _Loaded(empty, np.zeros(len(stored), dtype=bool))
            missing = wanted[~loaded.have[wanted]]
            loaded.pictures[missing] = stored.pictures(missing)
            loaded.have[missing] = True
        self._loaded[id_] = loaded
        self._loaded.move_to_end(id_)
        self._forget_beyond_capacity()
        pictures: np.ndarray = loaded.pictures[indices]
        return pictures

    def _forget_beyond_capacity(self) -> None:
        held = sum(loaded.pictures.nbytes for loaded in self._loaded.values())
        while held > self._capacity:
            _, oldest = self._loaded.popitem(last=False)
            held -= oldest.pictures.nbytes

    def _layout(self, id_: str) -> Layout:
        if id_ not in self._layouts:
            self._opened[id_]
        return self._layouts[id_]

    @contextmanager
    def _open(self, id_: str, path: Path) -> Iterator[StoredFrames]:
        with open_frames(path, self._layouts.get(id_)) as stored:
            self._layouts[id_] = stored.layout
            yield stored
