"""Windows of long-term feature banks, read from disk at random in well under a millisecond (thesis, section 7.1.2).

Only times and scores of the rows are kept in memory (12 bytes a row and no features), so the size of a set's banks is
bounded by the disk: a window's rows are read straight from their places in the ``bank`` artifacts. What is read is plain
arrays, in the precision that is stored.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.run import kinds
from pipeline.run.artifacts import ArtifactError

WindowMode = Literal["centred", "causal"]

_BLOCK_ROWS = 1024  # checked at once
_ROUNDING_S = 1e-6  # times that went through a file agree to a microsecond


@dataclass(frozen=True)
class WindowRule:
    """Which rows of a bank stand around an instant.

    Attributes:
        window_s: length; 60 on AVA, 40 and 12 on EPIC-Kitchens, 10 on Charades (sections 7.2.2, 7.4.1, 7.5.1).
        per_second: K, most rows of a second; 5 on AVA.
        mode: "centred": from half a window before the instant to half after it; "causal": the last ``window_s`` of rows
            whose own clips ended by the instant, so that no picture after it has any influence.
    """

    window_s: float
    per_second: int
    mode: WindowMode = "centred"

    def __post_init__(self) -> None:
        """Refuse what selects nothing."""
        if self.window_s <= 0 or self.per_second < 1:
            raise ValueError(
                f"window_s is {self.window_s} and per_second {self.per_second}; needed: above 0, and at least 1"
            )
        if self.mode not in get_args(WindowMode):
            raise ValueError(f"mode is {self.mode!r}; allowed: {', '.join(get_args(WindowMode))}")

    @property
    def rows(self) -> int:
        """M, rows of every window, filled or not: K for each second begun."""
        return int(np.ceil(self.window_s - _ROUNDING_S)) * self.per_second


class BankWindow(NamedTuple):
    """M rows in the order of time, the filled ones first.

    ``features`` [M, D] as stored, zeros where not filled; ``valid`` [M] bool; ``t`` [M] s, 0 where not filled.
    """

    features: NDArray[np.floating]
    valid: NDArray[np.bool_]
    t: NDArray[np.float64]


@dataclass(frozen=True)
class _Bank:
    """Where one video's rows are: ``t`` and ``score`` of N kept rows, the byte where each begins, and the file's state."""

    path: Path
    t: NDArray[np.float64]
    score: NDArray[np.float32]
    offset: NDArray[np.int64]
    reach_s: float
    state: tuple[int, int]


@dataclass(frozen=True)
class BankIndex:
    """The rows of many videos' banks; ``dim`` is D and ``dtype`` float32 or float16. Made by :func:`index_banks`."""

    banks: Mapping[str, _Bank]
    dim: int
    dtype: np.dtype[np.floating]

    @property
    def rows(self) -> int:
        """Rows of all videos."""
        return sum(len(bank.t) for bank in self.banks.values())


def index_banks(
    paths: Mapping[str, Path],
    *,
    min_score: float = 0.0,
    classes: Collection[str] | None = None,
    check: bool = True,
) -> BankIndex:
    """Index the ``bank`` artifacts of videos.

    Args:
        paths: video id to its artifact; all with the same feature size and precision.
        min_score: rows of weaker detections are left out (AVA: 0.9 in the bank).
        classes: names of the classes to keep; None for all. A bank of people alone, of objects, or of both.
        check: read every feature once, a thousand at a time, and refuse those that are not finite.

    Raises:
        ArtifactError: no bank, times that fall, features that differ in size or precision or are not finite.
    """
    if not paths:
        raise ArtifactError("there is no bank to index")
    banks: dict[str, _Bank] = {}
    shapes: dict[tuple[int, str], Path] = {}
    for video, path in paths.items():
        with kinds.BANK.open(path) as reader:
            t, score, label = reader["t"], reader["score"], reader["label"]
            empty = reader.rows("feature", slice(0))
            shapes.setdefault((empty.shape[1], empty.dtype.name), path)
            if len(shapes) > 1:
                forms = "; ".join(f"{dim} x {dtype} in {path}" for (dim, dtype), path in shapes.items())
                raise ArtifactError(f"banks that are used together hold features of one form: {forms}")
            if (np.diff(t) < 0).any():
                raise ArtifactError(f"{path}: the time falls after row {int(np.argmax(np.diff(t) < 0))}")
            for start in range(0, len(t) if check else 0, _BLOCK_ROWS):
                finite = np.isfinite(reader.rows("feature", slice(start, start + _BLOCK_ROWS))).all(axis=1)
                if not finite.all():
                    row = start + int(finite.argmin())
                    raise ArtifactError(f"{path}: the feature of row {row} ({t[row]:.2f} s) is not finite")
            kept = score >= min_score
            if classes is not None:
                names = reader.attributes["classes"].split(",")
                kept &= np.isin(label, [number for number, name in enumerate(names) if name in classes])
            size = empty.shape[1] * empty.dtype.itemsize
            places = [extent.offset + np.arange(extent.rows) * size for extent in reader.extents("feature")]
            offset = np.concatenate([np.zeros(0, np.int64), *places])[kept]
            reach = reader.attributes["window_s"] / 2
        banks[video] = _Bank(path, t[kept], score[kept], offset, reach, _state(path.stat()))
    return BankIndex(banks, empty.shape[1], empty.dtype)


def read_window(
    index: BankIndex, video: str, instant_s: float, rule: WindowRule, rng: np.random.Generator | None = None
) -> BankWindow:
    """The window of a video's bank around an instant.

    Args:
        index: of the banks.
        video: its id.
        instant_s: seconds; for a causal window, what lies after it is not seen.
        rule: which rows.
        rng: draws the K rows of a second that has more (training); None takes those with the best scores, so that
            evaluation is the same every time. (The released code draws in evaluation too.)

    Raises:
        ValueError: the index does not know the video.
        ArtifactError: the file was written again since it was indexed.
    """
    if video not in index.banks:
        raise ValueError(f"video {video!r} has no bank; {len(index.banks)} videos have one")
    bank = index.banks[video]
    first, last = window_bounds(instant_s, rule, bank.reach_s)
    low, high = np.searchsorted(bank.t, [first - _ROUNDING_S, last - _ROUNDING_S])
    second = (bank.t[low:high] - first + _ROUNDING_S).astype(np.int64)
    chosen = low + _at_most(second, rule.per_second, -bank.score[low:high] if rng is None else rng.random(high - low))
    count = len(chosen)
    features = np.zeros((rule.rows, index.dim), index.dtype)
    _read_rows(bank, bank.offset[chosen], features[:count])
    t = np.zeros(rule.rows)
    t[:count] = bank.t[chosen]
    return BankWindow(features, np.arange(rule.rows) < count, t)


def window_bounds(instant_s: float, rule: WindowRule, reach_s: float) -> tuple[float, float]:
    """First instant of the window and the first one after it; ``reach_s``: how far a row's clip goes beyond its own time.

    A causal window includes its end: the row whose clip ends just at the instant was seen.
    """
    if rule.mode == "causal":
        last = instant_s - reach_s + 2 * _ROUNDING_S
        return last - rule.window_s, last
    return instant_s - rule.window_s / 2, instant_s + rule.window_s / 2


def stack_windows(windows: Sequence[BankWindow]) -> BankWindow:
    """Windows of one rule as a batch: each array with a leading dimension B."""
    return BankWindow(*(np.stack(column) for column in zip(*windows, strict=True)))


def _at_most(group: NDArray[np.int64], most: int, key: NDArray[np.floating]) -> NDArray[np.int64]:
    """Rows, in order, that are among the ``most`` with the lowest key of their group; groups come in order."""
    order = np.lexsort((key, group))
    begin = np.searchsorted(group, group)  # of each row's group; the same after sorting within groups
    return np.sort(order[np.arange(len(group)) - begin < most])


def _read_rows(bank: _Bank, offset: NDArray[np.int64], out: NDArray[np.floating]) -> None:
    """Fill ``out`` with the rows at these bytes of the file; rows that lie side by side are read at once."""
    if not len(offset):
        return
    size = out.strides[0]
    breaks = np.flatnonzero(np.diff(offset) != size) + 1
    bounds = [0, *breaks.tolist(), len(offset)]
    places = offset[bounds[:-1]].tolist()
    raw = out.data.cast("B")
    file = os.open(bank.path, os.O_RDONLY)
    try:
        if _state(os.fstat(file)) != bank.state:
            raise ArtifactError(f"{bank.path}: was written again since it was indexed; index the banks anew")
        for place, start, stop in zip(places, bounds[:-1], bounds[1:], strict=True):
            part = raw[start * size : stop * size]
            if os.preadv(file, [part], place) != len(part):
                raise ArtifactError(f"{bank.path}: ends within its features")
    finally:
        os.close(file)


def _state(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns
