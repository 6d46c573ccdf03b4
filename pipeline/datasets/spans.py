"""Spans of a video as tokens of an Object Transformer: persons and objects, where, when, and which (thesis, chapter 8).

Everything is plain arrays. A token is one box at one key frame (a second); thesis, section 8.2.1. What the thesis does not
tell (budget, order of filling, jitter, forms of the indices) is as in the released code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

FillOrder = Literal["latest", "centre", "even"]

SPAN_S = 60
"""Seconds of a span, section 8.4."""

BUDGET = 254
"""Most tokens of a span; with the first and the last one they make 256."""

JITTER = 0.2
"""Of a box in training: how far a corner is moved at most, as a share of width and height."""

PERSON, OBJECT = 0, 1
"""Sources of tokens; each has features of its own."""


@dataclass(frozen=True)
class Instances:
    """The N boxes of a video at its key frames, in the order of time.

    ``t`` [N] seconds; ``box`` [N, 4] x1, y1, x2, y2 as shares of the picture; ``instance`` [N] int64 track; ``shot`` [N]
    int64 number of the shot; ``source`` [N] int64, ``PERSON`` or ``OBJECT``; ``feature`` [N, D] as precise as stored.
    """

    t: NDArray[np.float64]
    box: NDArray[np.float32]
    instance: NDArray[np.int64]
    shot: NDArray[np.int64]
    source: NDArray[np.int64]
    feature: NDArray[np.floating]

    def __len__(self) -> int:
        return len(self.t)

    @cached_property
    def second(self) -> NDArray[np.int64]:
        """[N] int64, the key frame: the second that ``t`` lies in."""
        return np.floor(self.t).astype(np.int64)


class Span(NamedTuple):
    """n tokens of a span.

    ``feature`` [n, D] float32; ``source`` [n]; ``box`` [n, 5] x1, y1, x2, y2, area; ``time`` [n, 3] seconds since the span's
    first token, until its last, and from its centre; ``shot`` [n, 3] the same of shots; ``instance`` [n] from 0;
    ``row`` [n] of the video's :class:`Instances`.
    """

    feature: NDArray[np.float32]
    source: NDArray[np.int64]
    box: NDArray[np.float32]
    time: NDArray[np.int64]
    shot: NDArray[np.int64]
    instance: NDArray[np.int64]
    row: NDArray[np.int64]


def instances_of(
    bank: Mapping[str, NDArray[Any]],
    classes: Sequence[str],
    shot_start: Sequence[float] | NDArray[np.float64],
    width: int,
    height: int,
    sources: Sequence[int] = (PERSON,),
    person: str = "person",
) -> Instances:
    """The tokens of a video from its ``bank`` artifact.

    Args:
        bank: arrays of the kind ``bank``.
        classes: names of its labels.
        shot_start: starts of the shots in seconds, of the kind ``shots``.
        width: of the source picture in pixels.
        height: likewise.
        sources: which tokens are kept: people alone (thesis' default), or (``PERSON``, ``OBJECT``). Rows that follow no
            track (cells of a grid, whole pictures) are no tokens.
        person: the class that is a person; all others are objects.

    Raises:
        ValueError: no such class, or a box, time or feature that is not a finite number.
    """
    if person not in classes:
        raise ValueError(f"there is no class {person!r} among {', '.join(classes)}")
    for name in ("t", "box", "feature"):
        finite = np.isfinite(bank[name]).all(axis=tuple(range(1, np.ndim(bank[name]))))
        if not finite.all():
            raise ValueError(f"the bank's {name} of row {int(finite.argmin())} is not finite")
    source = np.where(bank["label"] == list(classes).index(person), PERSON, OBJECT).astype(np.int64)
    # Boxes may reach out of the picture; the part outside was not seen.
    box = np.clip(bank["box"] / np.array([width, height, width, height]), 0, 1).astype(np.float32)
    shot = np.searchsorted(np.sort(np.asarray(shot_start, np.float64)), bank["t"], side="right").astype(np.int64)
    kept = np.flatnonzero(np.isin(source, list(sources)) & (bank["track"] >= 0))
    kept = kept[np.argsort(bank["t"][kept], kind="stable")]
    return Instances(
        bank["t"][kept],
        box[kept],
        bank["track"][kept].astype(np.int64),
        shot[kept],
        source[kept],
        bank["feature"][kept],
    )


def span_ends(video: Instances, length_s: int = SPAN_S, step_s: int = 1) -> NDArray[np.int64]:
    """Last seconds of all overlapping spans that hold a token; a video shorter than a span has one, an empty one too."""
    if not len(video):
        return np.zeros(1, np.int64)
    first, last = int(video.second[0]), int(video.second[-1])
    ends = np.arange(first + length_s - 1, last + 1, step_s)
    low, high = np.searchsorted(video.second, ends - length_s + 1), np.searchsorted(video.second, ends, side="right")
    return ends[high > low] if len(ends) else np.array([last])


def make_span(
    video: Instances,
    at: int,
    order: FillOrder = "latest",
    *,
    length_s: int = SPAN_S,
    budget: int = BUDGET,
    jitter: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Span:
    """The tokens of one span.

    Args:
        video: its boxes.
        at: its last second; for "centre" the middle one, of ``at - length_s / 2`` to ``at + length_s / 2 - 1``.
        order: what is kept when there are more than ``budget`` boxes: "latest", the last seconds (released, LVU: a dense
            span loses its beginning); "centre", those nearest the middle (released, AVA); "even", as many of each second.
        length_s: seconds.
        budget: most tokens.
        jitter: see :data:`JITTER`; 0 in evaluation.
        rng: draws the jitter, and which number an instance gets, so that no number comes to mean anything (section 8.2.1);
            None numbers them in the order in which they appear, for an evaluation that repeats.

    Raises:
        ValueError: unknown order, or a jitter without a generator.
    """
    if order not in get_args(FillOrder):
        raise ValueError(f"order is {order!r}; allowed: {', '.join(get_args(FillOrder))}")
    if jitter and rng is None:
        raise ValueError(f"jitter is {jitter}; it needs a generator")
    first = at - length_s // 2 if order == "centre" else at - length_s + 1
    low, high = np.searchsorted(video.second, [first, first + length_s])
    second = video.second[low:high]
    rows = low + np.sort(np.argsort(_priority(second, at, order), kind="stable")[:budget])
    second, shot = video.second[rows], video.shot[rows]
    centre = at if order == "centre" or not len(rows) else int(second[0] + second[-1]) // 2
    middle = shot[np.abs(second - centre).argmin()] if len(rows) else 0
    return Span(
        video.feature[rows].astype(np.float32),
        video.source[rows],
        _with_area(video.box[rows], jitter, rng),
        _indices(second, centre),
        _indices(shot, int(middle)),
        _numbers(video.instance[rows], rng),
        rows,
    )


def _priority(second: NDArray[np.int64], at: int, order: FillOrder) -> NDArray[np.int64]:
    """Lower is kept first; equals in their own order."""
    if order == "latest":
        return -second
    if order == "centre":  # at, at - 1, at + 1, at - 2, ...
        return np.where(second >= at, 2 * (second - at), 2 * (at - second) - 1)
    return np.arange(len(second)) - np.searchsorted(second, second)


def _indices(value: NDArray[np.int64], centre: int) -> NDArray[np.int64]:
    low, high = (int(value.min()), int(value.max())) if len(value) else (0, 0)
    return np.stack([value - low, high - value, value - centre], axis=1)


def _numbers(instance: NDArray[np.int64], rng: np.random.Generator | None) -> NDArray[np.int64]:
    found, first, index = np.unique(instance, return_index=True, return_inverse=True)
    # The rank of first appearance is a permutation of 0..n-1, as the random numbers are.
    numbers = np.argsort(np.argsort(first)) if rng is None else rng.permutation(len(found))
    return numbers[index].astype(np.int64)


def _with_area(box: NDArray[np.float32], jitter: float, rng: np.random.Generator | None) -> NDArray[np.float32]:
    if jitter and rng is not None:
        size = np.tile(box[:, 2:] - box[:, :2], 2)
        box = box + size * rng.uniform(-jitter, jitter, box.shape).astype(np.float32)
    area = (box[:, 2:] - box[:, :2]).prod(axis=1, keepdims=True)
    return np.concatenate([box, area], axis=1).astype(np.float32)


@dataclass(frozen=True)
class Sampling:
    """How spans are drawn, see :func:`make_span`; ``jitter``: in training; ``step_s``: between spans of an evaluation."""

    length_s: int = SPAN_S
    budget: int = BUDGET
    order: FillOrder = "latest"
    jitter: float = JITTER
    step_s: int = 1


def sample_spans(
    videos: Sequence[Instances], at: Sequence[int], sampling: Sampling, rng: np.random.Generator | None = None
) -> dict[str, NDArray[Any]]:
    """A span of each video as a batch, as of :func:`pad_spans`; with ``rng`` jittered and with random instance numbers."""
    options = {"length_s": sampling.length_s, "budget": sampling.budget}
    jitter = sampling.jitter if rng is not None else 0.0
    return pad_spans(
        [
            make_span(video, when, sampling.order, jitter=jitter, rng=rng, **options)
            for video, when in zip(videos, at, strict=True)
        ]
    )


def pad_spans(spans: Sequence[Span]) -> dict[str, NDArray[Any]]:
    """Spans as one batch: the arrays of :class:`Span` but ``row`` as [B, n, ...], zeros behind, and ``valid`` [B, n]."""
    most = max(1, *(len(span.row) for span in spans))
    batch = {
        name: np.stack([_extended(getattr(span, name), most) for span in spans])
        for name in Span._fields
        if name != "row"
    }
    return {**batch, "valid": np.stack([np.arange(most) < len(span.row) for span in spans])}


def _extended(values: NDArray[Any], length: int) -> NDArray[Any]:
    return np.concatenate([values, np.zeros((length - len(values), *values.shape[1:]), values.dtype)])


def one_source(video: Instances, source: int) -> Instances:
    """The tokens of one source only."""
    kept = video.source == source
    return replace(video, **{one.name: getattr(video, one.name)[kept] for one in fields(video)})
