"""Actions of people's boxes as AVA's tables: true ones, found ones, and their CSVs for ``evaluate --protocol ava``.

Classes are numbered from 1; times are those of the video's file.
"""

import csv
import gzip
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.formats.ava import AvaFile
from pipeline.datasets.formats.common import Boxes
from pipeline.datasets.schema import Video
from pipeline.run.files import write_bytes
from stages import _outputs
from stages._boxes import read_true_boxes


def true_table(
    root: Path, videos: Sequence[Video], classes: Sequence[str], instants: Callable[[Video], NDArray[np.float64]]
) -> AvaFile:
    """What people do in the videos whose truth tells it, at the ``instants`` [K] of each that are known.

    A person who does nothing is no row; its picture is a key frame all the same.
    """
    names, parts, empty = list[str](), list[Boxes](), list[tuple[int, float]]()
    for video in videos:
        at = instants(video)
        true = read_true_boxes(_outputs.truth(root, video), at)
        if true is None or true.action is None:
            continue
        row, action = np.nonzero(true.action)
        index = {number: list(classes).index(true.actions[number]) for number in np.unique(action).tolist()}
        box = np.clip(true.box / np.array([video.width, video.height] * 2), 0, 1)[row]
        number = np.full(len(row), len(names), np.int64)
        label = np.array([index[number] for number in action.tolist()], np.int64) + 1
        parts.append(Boxes(number, at[true.picture[row]], box, label, true.track[row], np.ones(len(row))))
        idle = np.setdiff1d(np.flatnonzero(true.known), true.picture[row])
        empty += [(len(names), float(t)) for t in at[idle]]
        names.append(video.id)
    joined = Boxes(*(np.concatenate([getattr(part, name) for part in parts]) for name in Boxes.__dataclass_fields__))
    return AvaFile(tuple(names), joined, tuple(empty), np.zeros(len(joined), np.int64), ())


def found_table(
    ids: Sequence[str],
    video: NDArray[np.int64],
    t: NDArray[np.float64],
    box: NDArray[np.floating],
    scores: NDArray[np.floating],
) -> AvaFile:
    """Every class of N boxes with its score.

    Args:
        ids: of the videos.
        video: [N] index into ``ids``.
        t: [N] seconds.
        box: [N, 4] x1, y1, x2, y2 as shares of the picture.
        scores: [N, C].
    """
    number, label = (one.ravel() for one in np.indices(scores.shape))
    boxes = Boxes(
        video[number], t[number], box[number].astype(np.float64), label + 1, np.full(len(number), -1, np.int64),
        scores.ravel().astype(np.float64),
    )  # fmt: skip
    return AvaFile(tuple(ids), boxes, (), np.zeros(len(number), np.int64), ())


def key_frames(truth: AvaFile) -> int:
    """Number of pictures that are known, with a row or without."""
    pairs = zip(truth.boxes.video.tolist(), truth.boxes.time_s.tolist(), strict=True)
    return len({*pairs, *truth.empty})


def write_truth(folder: Path, truth: AvaFile, classes: Mapping[int, str]) -> None:
    """``truth.csv.gz``, and ``label_map.txt`` of the classes that count, by number."""
    write_bytes(folder / "label_map.txt", "".join(f"{id_}: {name}\n" for id_, name in classes.items()).encode())
    write_bytes(folder / "truth.csv.gz", _csv(truth, "person"))


def write_found(path: Path, found: AvaFile) -> None:
    """A results file, gzipped."""
    write_bytes(path, _csv(found, "score"))


def _csv(table: AvaFile, last: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows((table.videos[video], f"{t:.9g}") for video, t in table.empty)
    boxes = table.boxes
    for video, t, box, label, value in zip(
        boxes.video.tolist(), boxes.time_s.tolist(), boxes.box.tolist(), boxes.label.tolist(),
        getattr(boxes, last).tolist(), strict=True,
    ):  # fmt: skip
        corners = [f"{corner:.9g}" for corner in box]
        writer.writerow([table.videos[video], f"{t:.9g}", *corners, label, f"{value:.9g}"])
    return gzip.compress(text.getvalue().encode(), mtime=0)
