"""AVA frame mAP by the official rule, vectorised, equal to the official script to the last digit.

The rule (``Evaluation/get_ava_performance.py`` of the ActivityNet toolkit): a key frame is a picture; only the classes of
the label map count (60 of AVA's 80), rows of others and of excluded key frames are left out on both sides. Of the
detections of a picture the 50 best rows are kept (over all classes together). Within a picture and class, in falling
score, each detection is compared with *the* true box it overlaps most; it is right if that IoU is at least 0.5 and the
box is not taken (a taken box does not send it to the next one). AP is the area below the monotone precision envelope
(VOC since 2010). A class without true boxes has no AP and is left out of the mean; with true boxes and no detection it
counts 0. Detections in pictures that the truth does not know are ignored.

``uncapped`` keeps all rows of a picture, as MMAction2 and PySlowFast do; the figure moves by some points.

Kept as it is: equal scores within a picture lie in the order of the script's heap, between pictures in that of numpy's
unstable argsort, reversed; a detection whose box has no width or height is dropped.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.formats.ava import AvaFile
from pipeline.evaluation.segments import FloatArray, IntArray

CAPACITY = 50
Variant = Literal["official", "uncapped"]


@dataclass(frozen=True)
class AvaResult:
    """AP of each class id of the label map (NaN without a true box), and what was counted."""

    ids: tuple[int, ...]
    ap: FloatArray
    key_frames: int
    true_boxes: int
    detections: int
    unknown_frames: int

    @property
    def mAP(self) -> float:
        """Mean over the classes that have a true box; NaN if none has."""
        if np.isnan(self.ap).all():
            return float("nan")
        # Over a vector of all ids up to the largest, as the script has it: numpy sums pairwise, for the last digit.
        by_id = np.full(max(self.ids), np.nan)
        by_id[np.array(self.ids) - 1] = self.ap
        return float(np.nanmean(by_id))


@dataclass(frozen=True)
class AvaMatches:
    """N detections that count, in the script's order, and M true boxes.

    ``hit`` [N] whether right; ``label``, ``score``, ``video`` (its id) [N]; ``true_label`` and
    ``true_video`` [M]; ``key_frames`` that the truth knows; ``unknown_frames`` with detections alone.
    """

    hit: NDArray[np.bool_]
    label: IntArray
    score: FloatArray
    video: NDArray[np.object_]
    true_label: IntArray
    true_video: NDArray[np.object_]
    key_frames: int
    unknown_frames: int


@dataclass(frozen=True)
class _Table:
    """Rows that count, grouped by picture in order of appearance; within one in the script's order."""

    picture: IntArray
    label: IntArray
    box: FloatArray
    score: FloatArray


def ava_map(
    truth: AvaFile,
    detections: AvaFile,
    classes: Mapping[int, str],
    excluded: frozenset[tuple[str, float]] = frozenset(),
    variant: Variant = "official",
    iou: float = 0.5,
) -> AvaResult:
    """Score detections.

    Args:
        truth: ``ava_val_v2.x.csv``.
        detections: the same seven columns and a score.
        classes: the label map's classes by id; only these count.
        excluded: key frames (video, seconds) left out on both sides.
        variant: ``official``: the 50 best rows of a picture; ``uncapped``: all.
        iou: threshold.

    Raises:
        ValueError: a true box ends before it starts (the script refuses the file), or no class is given.
    """
    return result_of(match_ava(truth, detections, classes, excluded, variant, iou), classes)


def result_of(matched: AvaMatches, classes: Mapping[int, str]) -> AvaResult:
    """The figures of matched detections; ``classes`` as of :func:`ava_map`."""
    ids = tuple(sorted(classes))
    ap = np.full(len(ids), np.nan)
    for place, id_ in enumerate(ids):
        positives = int((matched.true_label == id_).sum())
        if positives:
            rows = np.flatnonzero(matched.label == id_)
            ap[place] = _average_precision(matched.score[rows], matched.hit[rows], positives)
    return AvaResult(ids, ap, matched.key_frames, len(matched.true_label), len(matched.label), matched.unknown_frames)


def match_ava(
    truth: AvaFile,
    detections: AvaFile,
    classes: Mapping[int, str],
    excluded: frozenset[tuple[str, float]] = frozenset(),
    variant: Variant = "official",
    iou: float = 0.5,
) -> AvaMatches:
    """What became of each detection that counts; arguments and errors as of :func:`ava_map`."""
    if not classes:
        raise ValueError("no classes to score")
    pictures: dict[tuple[str, float], int] = {}
    for video, time in truth.empty:
        _number(pictures, truth.videos[video], time, excluded)
    true = _table(truth, classes, excluded, pictures, None)
    known = len(pictures)
    found = _table(detections, classes, excluded, pictures, CAPACITY if variant == "official" else None)
    wrong = (true.box[:, 2] < true.box[:, 0]) | (true.box[:, 3] < true.box[:, 1])
    if wrong.any():
        raise ValueError(f"a true box is {true.box[np.flatnonzero(wrong)[0]].tolist()}: x2 < x1 or y2 < y1")
    unknown = len(np.unique(found.picture[found.picture >= known]))
    used = (
        (found.picture < known)
        & (found.box[:, 2] > found.box[:, 0])  # no width: dropped without a trace
        & (found.box[:, 3] > found.box[:, 1])
    )
    found = _Table(found.picture[used], found.label[used], found.box[used], found.score[used])
    video_of = np.array([id_ for id_, _ in pictures], object)
    return AvaMatches(
        _match(true, found, iou), found.label, found.score, video_of[found.picture], true.label,
        video_of[true.picture], known, unknown,
    )  # fmt: skip


def _number(
    pictures: dict[tuple[str, float], int], id_: str, time: float, excluded: frozenset[tuple[str, float]]
) -> int:
    key = (id_, round(time, 6))
    return -1 if key in excluded else pictures.setdefault(key, len(pictures))


def _table(
    file: AvaFile,
    classes: Mapping[int, str],
    excluded: frozenset[tuple[str, float]],
    pictures: dict[tuple[str, float], int],
    capacity: int | None,
) -> _Table:
    """The rows that count; ``pictures`` takes up new key frames, those of rows of other classes too."""
    boxes = file.boxes
    instant = np.rint(boxes.time_s * 1e6).astype(np.int64)
    keys = boxes.video * (int(instant.max(initial=0)) + 1) + instant
    frames, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    numbers = np.full(len(frames), -1, np.int64)
    for at in np.argsort(first, kind="stable"):
        row = first[at]
        numbers[at] = _number(pictures, file.videos[boxes.video[row]], float(boxes.time_s[row]), excluded)
    picture = numbers[inverse]
    rows = np.flatnonzero((picture >= 0) & np.isin(boxes.label, list(classes)))
    # Groups in the order in which the pictures first have a row that counts, as the script's dictionary has them.
    groups, begin, inverse = np.unique(picture[rows], return_index=True, return_inverse=True)
    place = np.empty(len(groups), np.int64)
    place[np.argsort(begin, kind="stable")] = np.arange(len(groups))
    rows = rows[np.lexsort((-boxes.score[rows], place[inverse]))]
    rows = _in_script_order(boxes.label, boxes.box, boxes.score, picture, rows, capacity)
    return _Table(picture[rows], boxes.label[rows], boxes.box[rows], boxes.score[rows])


def _in_script_order(
    label: IntArray, box: FloatArray, score: FloatArray, picture: IntArray, rows: IntArray, capacity: int | None
) -> IntArray:
    """Keep the best ``capacity`` rows of each picture; where scores are equal, which and in what order the heap says."""
    if not len(rows):
        return rows
    begins = np.flatnonzero(np.concatenate([[True], picture[rows][1:] != picture[rows][:-1]]))
    ends = np.append(begins[1:], len(rows))
    same = np.concatenate([[False], score[rows][1:] == score[rows][:-1]])
    same[begins] = False
    rank = np.arange(len(rows)) - np.repeat(begins, ends - begins)
    kept = np.ones(len(rows), bool) if capacity is None else rank < capacity
    group = np.repeat(np.arange(len(begins)), ends - begins)
    for tied in np.unique(group[same]):
        span = slice(begins[tied], ends[tied])
        order = _heap_order(label, box, score, np.sort(rows[span]), capacity)
        rows[span.start : span.start + len(order)] = order
    ordered: IntArray = rows[kept]
    return ordered


def _heap_order(label: IntArray, box: FloatArray, score: FloatArray, rows: IntArray, capacity: int | None) -> IntArray:
    """Rows of one picture, given in file order, as a bounded min-heap keeps them and a stable sort then orders them."""
    heap: list[tuple[float, int, float, float, float, float, int]] = []
    for row in rows.tolist():
        x1, y1, x2, y2 = box[row].tolist()
        entry = (float(score[row]), int(label[row]), y1, x1, y2, x2, row)
        if capacity is None or len(heap) < capacity:
            heapq.heappush(heap, entry)
        elif entry[0] > heap[0][0]:
            heapq.heapreplace(heap, entry)
    return np.array([entry[-1] for entry in sorted(heap, key=lambda entry: -entry[0])], np.int64)


def _match(true: _Table, found: _Table, iou: float) -> NDArray[np.bool_]:
    """Which detections are right, [N]."""
    width = int(max(true.label.max(initial=0), found.label.max(initial=0))) + 1
    cell_of_true, cell_of_found = true.picture * width + true.label, found.picture * width + found.label
    order = np.argsort(cell_of_true, kind="stable")
    cells, begin, count = np.unique(cell_of_true[order], return_index=True, return_counts=True)
    hit = np.zeros(len(found.label), bool)
    if not len(cells):
        return hit
    place = np.minimum(np.searchsorted(cells, cell_of_found), len(cells) - 1)
    inside = np.flatnonzero(cells[place] == cell_of_found)
    claimed = np.full(len(found.label), -1, np.int64)
    for size in np.unique(count[place[inside]]):
        at = inside[count[place[inside]] == size]
        candidates = order[begin[place[at], None] + np.arange(size)]
        overlap = _iou(found.box[at, None], true.box[candidates])
        best = overlap.argmax(axis=1)
        rows = np.arange(len(at))
        claimed[at] = np.where(overlap[rows, best] >= iou, candidates[rows, best], -1)
    # Rows of a picture lie in falling score: the first to claim a box gets it.
    claims = np.flatnonzero(claimed >= 0)
    _, first = np.unique(claimed[claims], return_index=True)
    hit[claims[first]] = True
    return hit


def _iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """IoU of boxes x1, y1, x2, y2 in the script's own arithmetic."""
    height = np.maximum(0.0, np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1]))
    width = np.maximum(0.0, np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0]))
    shared = height * width
    areas = [(x[..., 3] - x[..., 1]) * (x[..., 2] - x[..., 0]) for x in (a, b)]
    ratio: FloatArray = shared / (areas[0] + areas[1] - shared)
    return ratio


def _average_precision(score: FloatArray, hit: NDArray[np.bool_], positives: int) -> float:
    if not len(score):
        return 0.0
    right = hit[np.argsort(score)[::-1]].astype(np.int64)
    true = np.cumsum(right)
    recall = np.concatenate([[0.0], true / positives, [1.0]])
    precision = np.concatenate([[0.0], true / np.arange(1, len(right) + 1), [0.0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    step = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(np.sum((recall[step] - recall[step - 1]) * precision[step]))
