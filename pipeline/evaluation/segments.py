"""Labelled time segments of many videos as flat arrays, and the ActivityNet JSON files that hold them.

Two value types, :class:`GroundTruth` and :class:`Predictions`, carry one row per segment with times in seconds. Every
protocol of this folder is a function of the two. Plain ``.json`` and gzipped ``.json.gz`` are read.
"""

import gzip
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

ID_PREFIX = "v_"
"""ActivityNet's files name a video ``xyz`` in the official JSON and ``v_xyz`` in the features and lists around it."""


@dataclass(frozen=True)
class GroundTruth:
    """The annotated instances of one subset, in file order.

    ``videos`` holds every video of the subset, also those without an instance; ``labels`` the classes that occur, in
    the order of their first instance (the official class order). ``video`` and ``label`` index into them, shape [N].
    """

    videos: tuple[str, ...]
    labels: tuple[str, ...]
    video: IntArray
    label: IntArray
    t_start: FloatArray
    t_end: FloatArray
    source: str = "ground truth"

    @staticmethod
    def from_rows(
        videos: Iterable[str], rows: Iterable[tuple[str, str, float, float]], source: str = "ground truth"
    ) -> "GroundTruth":
        """Build from (video, label, t_start, t_end) rows; a row's video must be among ``videos``."""
        ids = tuple(videos)
        videos_of, labels_of, starts, ends = _columns(rows, 4)
        video_index = {id_: i for i, id_ in enumerate(ids)}
        label_index = {label: i for i, label in enumerate(dict.fromkeys(labels_of))}
        return GroundTruth(
            ids,
            tuple(label_index),
            np.array([video_index[id_] for id_ in videos_of], np.int64),
            np.array([label_index[label] for label in labels_of], np.int64),
            np.array(starts, np.float64),
            np.array(ends, np.float64),
            source,
        )

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.t_start)


@dataclass(frozen=True)
class Predictions:
    """Scored segments, in file order (which decides between equal scores); arrays of shape [N].

    ``videos`` and ``labels`` are this file's own, in order of first appearance; a protocol maps them to
    the ground truth's.
    """

    videos: tuple[str, ...]
    labels: tuple[str, ...]
    video: IntArray
    label: IntArray
    t_start: FloatArray
    t_end: FloatArray
    score: FloatArray
    source: str = "predictions"

    @staticmethod
    def from_rows(
        rows: Iterable[tuple[str, str, float, float, float]], source: str = "predictions", videos: Iterable[str] = ()
    ) -> "Predictions":
        """Build from (video, label, t_start, t_end, score) rows; ``videos`` may name videos without a row."""
        videos_of, labels_of, starts, ends, scores = _columns(rows, 5)
        video_index = {id_: i for i, id_ in enumerate(dict.fromkeys((*videos, *videos_of)))}
        label_index = {label: i for i, label in enumerate(dict.fromkeys(labels_of))}
        return Predictions(
            tuple(video_index),
            tuple(label_index),
            np.array([video_index[id_] for id_ in videos_of], np.int64),
            np.array([label_index[label] for label in labels_of], np.int64),
            np.array(starts, np.float64),
            np.array(ends, np.float64),
            np.array(scores, np.float64),
            source,
        )

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.t_start)


def load_ground_truth(path: Path, subset: str = "validation") -> GroundTruth:
    """Read one subset of an ActivityNet ground truth file.

    ``{"database": {id: {"subset", "annotations": [{"label", "segment": [t_start, t_end]}]}}}``; the database alone is
    read too. Times may be numbers or numeric strings (THUMOS' file has strings).

    Raises:
        ValueError: not such a file, or the subset has no video or no instance; file, video and field are named.
    """
    data = _read_object(path)
    database = data.get("database", data)
    if "database" not in data and not all(isinstance(v, dict) and "subset" in v for v in data.values()):
        raise ValueError(f"{path}: no field 'database'; this is not an ActivityNet ground truth file")
    if not isinstance(database, dict):
        raise ValueError(f"{path}: field 'database' is {_kind(database)}, expected an object of videos")
    subsets: dict[str, int] = {}
    videos: list[str] = []
    rows: list[tuple[str, str, float, float]] = []
    for id_, entry in database.items():
        where = f"{path}: video {id_!r}"
        if not isinstance(entry, dict):
            raise ValueError(f"{where} is {_kind(entry)}, expected an object")
        name = _field(entry, "subset", where)
        subsets[str(name)] = subsets.get(str(name), 0) + 1
        if name != subset:
            continue
        videos.append(id_)
        for index, item in enumerate(_list(_field(entry, "annotations", where), "annotations", where)):
            rows.append((id_, *_label_and_segment(item, f"{where}, annotation {index}")))
    if not videos:
        found = ", ".join(f"{name} ({count} videos)" for name, count in sorted(subsets.items())) or "no video at all"
        raise ValueError(f"{path}: no video has subset {subset!r}; the file holds {found}")
    if not rows:
        raise ValueError(f"{path}: the {len(videos)} videos of subset {subset!r} have no annotation; mAP is undefined")
    return GroundTruth.from_rows(videos, rows, str(path))


def load_predictions(path: Path) -> Predictions:
    """Read an ActivityNet submission: ``{"results": {id: [{"label", "score", "segment": [t_start, t_end]}]}}``.

    The official toolkit also insists on the fields ``version`` and ``external_data``; nothing reads them, so they are
    optional here.

    Raises:
        ValueError: not such a file, a missing or malformed field, or a time or score that is not finite; file, video
            and field are named.
    """
    data = _read_object(path)
    results = data.get("results")
    if not isinstance(results, dict):
        problem = "no field 'results'" if "results" not in data else f"field 'results' is {_kind(results)}"
        raise ValueError(f"{path}: {problem}; expected an object {{video id: [predictions]}}")
    rows: list[tuple[str, str, float, float, float]] = []
    for id_, items in results.items():
        for index, item in enumerate(_list(items, "results", f"{path}: video {id_!r}")):
            where = f"{path}: video {id_!r}, prediction {index}"
            label, t_start, t_end = _label_and_segment(item, where)
            score = _field(item, "score", where)
            # A score as text would be sorted as text by the toolkit ("10" < "9"): refused, unlike a time.
            if isinstance(score, bool) or not isinstance(score, int | float):
                raise ValueError(f"{where}: field 'score' is {score!r}, expected a finite number")
            rows.append((id_, label, t_start, t_end, _finite(score, "score", where)))
    return Predictions.from_rows(rows, str(path), results)


def align_prefix(gt: GroundTruth, pred: Predictions) -> tuple[Predictions, str | None]:
    """Rename the predictions' videos where the two files differ only by the ``v_`` prefix.

    Ids are compared as they stand, as the official rule does. Only when *no* predicted video is in the ground truth as
    it stands, and at least one is after ``v_`` is added or taken away, the predictions are renamed so.

    Returns:
        The predictions and a sentence that says what was renamed, or None.
    """
    known = set(gt.videos)
    if known.intersection(pred.videos):
        return pred, None
    added = tuple(ID_PREFIX + id_ for id_ in pred.videos)
    removed = tuple(id_.removeprefix(ID_PREFIX) for id_ in pred.videos)
    if known.intersection(added):
        return replace(pred, videos=added), f"the prefix '{ID_PREFIX}' was added to the predictions' video ids"
    if known.intersection(removed) and len(set(removed)) == len(removed):
        return replace(pred, videos=removed), f"the prefix '{ID_PREFIX}' was taken off the predictions' video ids"
    return pred, None


def _columns(rows: Iterable[Sequence[Any]], width: int) -> Iterator[tuple[Any, ...]]:
    columns = tuple(zip(*rows, strict=True))
    return iter(columns or ((),) * width)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        raw = Path(path).read_bytes()
        data = json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is a broken gzip file: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path}: the top level is {_kind(data)}, expected an object")
    return data


def _label_and_segment(item: Any, where: str) -> tuple[str, float, float]:
    label = _field(item, "label", where)
    if not isinstance(label, str):
        raise ValueError(f"{where}: field 'label' is {label!r}, expected a string")
    segment = _field(item, "segment", where)
    if not isinstance(segment, list) or len(segment) != 2:
        raise ValueError(f"{where}: field 'segment' is {segment!r}, expected [t_start, t_end] in seconds")
    return label, _finite(segment[0], "segment[0]", where), _finite(segment[1], "segment[1]", where)


def _finite(value: Any, name: str, where: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{where}: field {name!r} is {value!r}, expected a finite number")
    return number


def _field(item: Any, name: str, where: str) -> Any:
    if not isinstance(item, dict):
        raise ValueError(f"{where} is {_kind(item)}, expected an object")
    if name not in item:
        raise ValueError(f"{where} has no field {name!r}; it has {', '.join(map(repr, item)) or 'none'}")
    return item[name]


def _list(value: Any, name: str, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{where}: field {name!r} is {_kind(value)}, expected a list")
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
