"""Optical flow between neighbouring stored pictures, computed when it is asked for: the stream CoViAR is fused with.

OpenCV's wheels have Farnebäck's method and DIS; TV-L1, the thesis' flow, is in the contrib build only.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import cv2
import numpy as np

from pipeline.datasets.kept import Kept
from pipeline.datasets.snippets import FrameStore

Method = Literal["farneback", "dis"]
_SMALLEST_DIS_PX = 16


def flow(before: np.ndarray, after: np.ndarray, method: Method) -> np.ndarray:
    """Where the pixels of ``before`` [h, w, 3] (uint8 RGB) went: float32 [h, w, 2], px, x to the right and y down.

    Raises:
        ValueError: unknown method, or a picture too small for it.
    """
    first, second = (cv2.cvtColor(np.ascontiguousarray(one), cv2.COLOR_RGB2GRAY) for one in (before, after))
    if method == "farneback":
        start = np.zeros((*first.shape, 2), np.float32)
        return np.asarray(cv2.calcOpticalFlowFarneback(first, second, start, 0.5, 3, 15, 3, 5, 1.2, 0))
    if method != "dis":
        raise ValueError(f"flow method is {method!r}; allowed: farneback, dis")
    if min(first.shape) < _SMALLEST_DIS_PX:
        raise ValueError(
            f"pictures are {first.shape[1]} x {first.shape[0]} px; DIS needs {_SMALLEST_DIS_PX} px each way"
        )
    return np.asarray(cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(first, second, None))  # type: ignore[call-overload]


class FlowStore:
    """Flow of stored videos by id and row, as float16; kept in memory up to a bound.

    Args:
        frames: the pictures.
        method: see :func:`flow`.
        capacity_bytes: bound on the fields that are kept.
    """

    def __init__(self, frames: FrameStore, method: Method, capacity_bytes: int = 2**29) -> None:
        self.frames = frames
        self._method: Method = method
        self._capacity = capacity_bytes
        self._kept: Kept[tuple[str, int]] = Kept(capacity_bytes)

    def __contains__(self, id_: str) -> bool:
        return id_ in self.frames

    def __reduce__(self) -> tuple[Any, ...]:
        return FlowStore, (self.frames, self._method, self._capacity)

    def fields(self, id_: str, rows: np.ndarray) -> np.ndarray:
        """Flow from each row (int [...]) to the next one: float16 [..., h, w, 2]; the last row repeats the one before it.

        Raises:
            KeyError, ArtifactError, ValueError: as :class:`FrameStore` and :func:`flow`.
        """
        last = len(self.frames.pts(id_)) - 1
        rows = np.clip(rows, 0, max(last - 1, 0))

        def compute(keys: Sequence[tuple[str, int]]) -> Iterator[np.ndarray]:
            before = np.array([row for _, row in keys])
            pairs = self.frames.pictures(id_, np.stack([before, np.minimum(before + 1, last)], axis=1))
            for pair in pairs:
                yield flow(pair[0], pair[1], self._method).astype(np.float16)

        kept = self._kept.take(((id_, row) for row in rows.reshape(-1).tolist()), compute)
        flat = [kept[id_, row] for row in rows.reshape(-1).tolist()]
        return np.stack(flat).reshape(*rows.shape, *flat[0].shape)
