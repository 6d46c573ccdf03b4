"""Classes for class-agnostic proposals: video-level class scores from three named sources, and their fusion.

``external``: a score file made elsewhere, with a check of what it covers; ``own``: an array per video from our own
video-level classifier; ``oracle``: the ground truth's labels, an upper bound that no model can have. A result says which.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.datasets.formats.text import read_object
from pipeline.evaluation.segments import FloatArray, GroundTruth, Predictions, align_prefix

Origin = Literal["external", "own", "oracle"]

THUMOS_NUMBERS = {
    "BaseballPitch": 7, "BasketballDunk": 9, "Billiards": 12, "CleanAndJerk": 21, "CliffDiving": 22,
    "CricketBowling": 23, "CricketShot": 24, "Diving": 26, "FrisbeeCatch": 31, "GolfSwing": 33, "HammerThrow": 36,
    "HighJump": 40, "JavelinThrow": 45, "LongJump": 51, "PoleVault": 68, "Shotput": 79, "SoccerPenalty": 85,
    "TennisSwing": 92, "ThrowDiscus": 93, "VolleyballSpiking": 97,
}  # fmt: skip
"""THUMOS14's classes with actions in time, by their numbers among the 101 of UCF101, from 1."""

UCF101_CLASSES = 101


@dataclass(frozen=True)
class VideoScores:
    """Scores of every class for some videos: ``scores`` [V, C] for ``videos`` and ``classes``; where they are from."""

    origin: Origin
    videos: tuple[str, ...]
    classes: tuple[str, ...]
    scores: FloatArray
    source: str


@dataclass(frozen=True)
class Coverage:
    """What of a data set a score file covers: ids without scores, classes it does not know, and what it has beyond."""

    videos: int
    missing_videos: tuple[str, ...]
    missing_classes: tuple[str, ...]
    further_videos: int
    further_classes: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Every video and class has a score."""
        return not self.missing_videos and not self.missing_classes

    def __str__(self) -> str:
        parts = [f"scores for {self.videos - len(self.missing_videos)} of {self.videos} videos"]
        for names, what in ((self.missing_videos, "without scores"), (self.missing_classes, "classes it lacks")):
            if names:
                parts.append(f"{what}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''} ({len(names)})")
        return "; ".join(parts)


def load_video_scores(path: Path) -> VideoScores:
    """Read a score file.

    Formats: CUHK's ``{"results": {id: [score per class]}, "class": [names]}``; ActivityNet's classification submission
    ``{"results": {id: [{"label", "score"}]}}`` (a class that is not listed scores 0); or a CSV with a header ``video`` and
    one column per class. JSON may be gzipped. Our own classifier's are an ``.npz`` with an array [C] per video and the names
    in ``classes``. Two files that the field passes on are read too: UntrimmedNets' ``.npy`` of THUMOS14
    ([1574, 101], row i is ``video_test_`` i + 1), and G-TAD's of HACS, ``{position: [{"label", "score"}]}``: the two best
    classes of the videos by position in the sorted list, which :func:`align_videos` gives names; scores count relative to
    each other, so that the best has max / (sum of the two).

    Raises:
        ValueError: none of these, or a score that is no finite number; file, video and field are named.
    """
    if path.suffix == ".csv":
        return _load_csv(path)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            if "classes" not in archive.files:
                raise ValueError(f"{path}: no array 'classes' with the class names")
            arrays = {name: archive[name] for name in archive.files if name != "classes"}
            return own_video_scores(arrays, archive["classes"].tolist(), str(path))
    if path.suffix == ".npy":
        return _load_untrimmednets(path)
    data = read_object(path)
    if data and all(key.isdecimal() for key in data):
        data = {"results": {key: _relative(path, key, items) for key, items in data.items()}}
    results = data.get("results")
    if not isinstance(results, dict) or not results:
        raise ValueError(f"{path}: no field 'results' with scores by video")
    names = data.get("class", data.get("classes"))
    if isinstance(names, list):
        classes = tuple(map(str, names))
        rows = [_row(path, id_, values, len(classes)) for id_, values in results.items()]
    else:
        first = {str(item.get("label")): None for items in results.values() for item in items if isinstance(item, dict)}
        classes = tuple(first)
        index = {name: i for i, name in enumerate(classes)}
        rows = []
        for id_, items in results.items():
            row = [0.0] * len(classes)
            for item in items:
                if not isinstance(item, dict) or not {"label", "score"} <= item.keys():
                    raise ValueError(f"{path}: video {id_!r}: {item!r} is no {{'label', 'score'}}")
                row[index[str(item["label"])]] = item["score"]
            rows.append(_row(path, id_, row, len(classes)))
    return VideoScores("external", tuple(results), classes, np.array(rows), str(path))


def own_video_scores(scores: Mapping[str, FloatArray], classes: Sequence[str], source: str) -> VideoScores:
    """Scores of our own classifier: an array [C] per video id.

    Raises:
        ValueError: an array has another length than ``classes``, or a value is not finite.
    """
    rows = [_row(Path(source), id_, np.asarray(values).tolist(), len(classes)) for id_, values in scores.items()]
    return VideoScores("own", tuple(scores), tuple(classes), np.array(rows).reshape(-1, len(classes)), source)


def oracle_video_scores(gt: GroundTruth) -> VideoScores:
    """1 for every class that occurs in the video and 0 for the others: the upper bound of any video-level classifier."""
    scores = np.zeros((len(gt.videos), len(gt.labels)))
    scores[gt.video, gt.label] = 1.0
    return VideoScores("oracle", gt.videos, gt.labels, scores, gt.source)


def align_videos(scores: VideoScores, gt: GroundTruth) -> VideoScores:
    """With the ground truth's ids: positions become those of its sorted list, and ``v_`` is as there where ids differ by it.

    Raises:
        ValueError: the scores are by position, and of another number of videos.
    """
    if scores.videos and all(id_.isdecimal() for id_ in scores.videos) and not set(scores.videos) & set(gt.videos):
        if sorted(map(int, scores.videos)) != list(range(len(gt.videos))):
            raise ValueError(
                f"{scores.source}: its scores are by position, of {len(scores.videos)} videos; {gt.source} has "
                f"{len(gt.videos)}. Give scores by video id"
            )
        names = sorted(gt.videos)
        return replace(scores, videos=tuple(names[int(id_)] for id_ in scores.videos))
    empty = np.empty(0, np.int64)
    ids = Predictions(scores.videos, (), empty, empty, np.empty(0), np.empty(0), np.empty(0), scores.source)
    return replace(scores, videos=align_prefix(gt, ids)[0].videos)


def coverage(scores: VideoScores, videos: Sequence[str], classes: Sequence[str]) -> Coverage:
    """Compare what the scores cover with what is asked for."""
    have, know = set(scores.videos), set(scores.classes)
    return Coverage(
        len(videos),
        tuple(id_ for id_ in videos if id_ not in have),
        tuple(name for name in classes if name not in know),
        len(have - set(videos)),
        tuple(name for name in scores.classes if name not in set(classes)),
    )


def classify_proposals(
    proposals: Predictions, scores: VideoScores, top_k: int = 2, most: int | None = None
) -> Predictions:
    """Give every proposal the ``top_k`` best classes of its video; score = proposal score x class score.

    As in BMN and G-TAD (top 2 on ActivityNet and THUMOS, top 1 on HACS). A class with score 0 is not given, so the
    oracle gives exactly the labels of the video. ``most``: the best that many detections of a video are kept.

    Raises:
        ValueError: ``top_k`` below 1, or a video has proposals and no class scores; use :func:`coverage` first.
    """
    if top_k < 1:
        raise ValueError(f"top_k is {top_k}; it must be 1 or more")
    row_of = {id_: row for row, id_ in enumerate(scores.videos)}
    unknown = [id_ for id_ in (proposals.videos[v] for v in np.unique(proposals.video)) if id_ not in row_of]
    if unknown:
        raise ValueError(
            f"{scores.source}: no class scores for {len(unknown)} videos with proposals, such as {unknown[0]!r}"
        )
    rows = np.array([row_of.get(id_, -1) for id_ in proposals.videos], np.int64)[proposals.video]
    best = np.argsort(-scores.scores, axis=1, kind="stable")[:, :top_k]
    given = np.take_along_axis(scores.scores, best, axis=1)[rows]
    at, rank = np.nonzero(given > 0)
    score = proposals.score[at] * given[at, rank]
    order = np.lexsort((-score, proposals.video[at]))  # stable: equal scores stay in the order of the proposals
    at, label, score = at[order], best[rows[at], rank][order], score[order]
    if most is not None:
        video = proposals.video[at]
        first = np.arange(len(at)) - np.searchsorted(video, video) < most
        at, label, score = at[first], label[first], score[first]
    return Predictions(
        proposals.videos, scores.classes, proposals.video[at], label, proposals.t_start[at], proposals.t_end[at], score,
        f"{proposals.source} with classes of {scores.source}",
    )  # fmt: skip


def _row(path: Path, id_: str, values: Any, width: int) -> list[float]:
    if not isinstance(values, list) or len(values) != width:
        raise ValueError(f"{path}: video {id_!r} has {np.size(values)} scores, there are {width} classes")
    try:
        row = [float(value) for value in values]
    except (TypeError, ValueError):
        row = [float("nan")]
    if not np.isfinite(row).all():
        raise ValueError(f"{path}: video {id_!r} has a score that is no finite number")
    return row


def _relative(path: Path, key: str, items: Any) -> list[dict[str, Any]]:
    if not isinstance(items, list) or not all(
        isinstance(one, dict) and {"label", "score"} <= one.keys() for one in items
    ):
        raise ValueError(f"{path}: position {key!r}: {items!r} is no list of {{'label', 'score'}}")
    total = sum(_row(path, key, [one["score"] for one in items], len(items)))
    if items and total <= 0:
        raise ValueError(f"{path}: position {key!r}: the scores sum to {total}; they must be above 0")
    return [{"label": one["label"], "score": float(one["score"]) / total} for one in items]


def _load_untrimmednets(path: Path) -> VideoScores:
    table = np.load(path, allow_pickle=False)
    if table.ndim != 2 or table.shape[1] != UCF101_CLASSES or not np.isfinite(table).all():
        raise ValueError(
            f"{path}: an array {list(table.shape)}; allowed: finite scores [videos, {UCF101_CLASSES}] of THUMOS14's test set"
        )
    columns = np.array(list(THUMOS_NUMBERS.values())) - 1
    videos = tuple(f"video_test_{number:07d}" for number in range(1, len(table) + 1))
    return VideoScores("external", videos, tuple(THUMOS_NUMBERS), table[:, columns].astype(np.float64), str(path))


def _load_csv(path: Path) -> VideoScores:
    with open(path, newline="") as handle:
        rows = list(csv.reader(handle))
    if not rows or len(rows[0]) < 2 or rows[0][0] != "video":
        raise ValueError(f"{path}: line 1: the header must be 'video' and the class names")
    classes = tuple(rows[0][1:])
    scores = [_row(path, row[0] if row else "", row[1:], len(classes)) for row in rows[1:]]
    return VideoScores("external", tuple(row[0] for row in rows[1:]), classes, np.array(scores), str(path))
