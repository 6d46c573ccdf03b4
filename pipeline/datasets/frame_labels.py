"""Frame labels as index lists: which classes are on at which instants, without a dense table.

A dense table of Charades is 157 numbers for each of 1.3 million frames; the index list holds one number per class that
is on. Rows are any instants: frames, feature steps, the 25 points of Charades' protocol.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.datasets.schema import Segment

Ends = Literal["open", "closed", "half"]
"""Whether a label is on at the very start and end of its segment: neither, both, or the start only."""


@dataclass(frozen=True)
class FrameLabels:
    """Classes on at T instants: those of row t are ``classes[offsets[t]:offsets[t + 1]]``, rising, each once.

    ``offsets`` [T + 1], ``classes`` [K] indices below ``n_classes``.
    """

    offsets: NDArray[np.int64]
    classes: NDArray[np.int32]
    n_classes: int

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.offsets) - 1

    def of(self, row: int) -> NDArray[np.int32]:
        """Classes on in one row."""
        return self.classes[self.offsets[row] : self.offsets[row + 1]]

    def dense(self, rows: slice = slice(None)) -> NDArray[np.bool_]:
        """The table [T, C] of some consecutive rows."""
        first, last, _ = rows.indices(len(self))
        table = np.zeros((max(last - first, 0), self.n_classes), bool)
        counts = np.diff(self.offsets)[first:last]
        table[np.repeat(np.arange(len(counts)), counts), self.classes[self.offsets[first] : self.offsets[last]]] = True
        return table

    def positives(self) -> NDArray[np.int64]:
        """Rows in which each class is on, [C]."""
        return np.bincount(self.classes, minlength=self.n_classes)

    def rows(self) -> NDArray[np.int64]:
        """The row of each of ``classes``, [K]."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))


def frame_labels(
    segments: Sequence[Segment], index: Mapping[str, int], times: ArrayLike, ends: Ends = "half"
) -> FrameLabels:
    """The classes on at ``times`` [T] seconds, rising.

    Args:
        segments: with labels of ``index``; one that ends before it starts is on nowhere.
        index: number of each class, 0 to C - 1.
        times: the instants of the rows.
        ends: ``closed`` is Charades' official rule, ``open`` the one of the frame-wise sets, ``half`` the usual one.

    Raises:
        ValueError: a label that ``index`` lacks, or times that fall.
    """
    at = np.asarray(times, np.float64)
    if len(at) > 1 and (np.diff(at) < 0).any():
        raise ValueError("times must not fall")
    unknown = {segment.label for segment in segments} - set(index)
    if unknown:
        raise ValueError(f"label {sorted(unknown)[0]!r} is none of the {len(index)} classes")
    first_side: Literal["left", "right"] = "right" if ends == "open" else "left"
    last_side: Literal["left", "right"] = "right" if ends == "closed" else "left"
    first = np.searchsorted(at, [s.t_start for s in segments], side=first_side)
    last = np.maximum(np.searchsorted(at, [s.t_end for s in segments], side=last_side), first)
    label = np.array([index[s.label] for s in segments], np.int64)
    width = max(len(index), 1)
    rows = np.concatenate([np.zeros(0, np.int64), *map(np.arange, first, last)])
    keys = np.unique(rows * width + np.repeat(label, last - first))
    offsets = np.searchsorted(keys, np.arange(len(at) + 1) * width)
    return FrameLabels(offsets, (keys % width).astype(np.int32), len(index))
