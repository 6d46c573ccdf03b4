"""Task ``seconds`` of the stage ``memory``: what happens in each second of a video; several classes may (Charades).

A clip is an instant of the bank, labelled by the segments that hold it. Scored by mAP over the seconds, by mAP over whole
videos (Charades' official classification: the highest score of a video's seconds; the thesis, section 7.5), and by how often
the right one of the classes that count is put above the others of them.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.frame_labels import frame_labels
from pipeline.datasets.schema import Dataset, Video
from pipeline.run.files import write_bytes
from pipeline.run.stage import StageError
from stages import _memory
from stages._memory import Clips, Taken, Task, Window
from stages._memory_rows import BankRows
from stages._memory_table import figures
from stages._memory_training import Data, data_of


def read(root: Path, dataset: Dataset, counted: Sequence[str], window: Window) -> Data:
    """Clips and banks of all subsets; ``counted``: names of the classes that count.

    Raises:
        StageError: nothing to train on, or nothing to test.
        ValueError: a label that is no class of the data set.
    """
    take = take_of({name: i for i, name in enumerate(dataset.classes)})

    def clips(videos: Sequence[Video], _subset: str) -> Clips:
        return _memory.read_clips(root, videos, window, take, len(dataset.classes))

    data = data_of(root, dataset, window, clips, dataset.classes, counted)
    for name in ("training", "testing"):
        if not data.counted(name).any():
            raise StageError(
                f"data set {dataset.name}: no second of {name} with a bank has any of the classes {', '.join(counted)}"
            )
    return data


def take_of(index: Mapping[str, int]) -> Task:
    """Every instant of a video with the classes, by ``index``, whose segments hold it."""

    def take(video: Video, rows: BankRows) -> Taken:
        return Taken(rows.instants, frame_labels(video.segments, index, rows.instants).dense())

    return take


def measure(
    dataset: Dataset,
    data: Data,
    scores: Mapping[str, NDArray[np.float32]],
    baseline: str,
    resamples: int,
    seed: int,
) -> dict[str, float]:
    """MAP of the classes that count and of all, gains over ``baseline``, and how often those that count are told apart.

    ``video_mAP``: of whole videos, the classes that count.
    """
    from pipeline.evaluation.frame_bootstrap import frame_maps

    testing, metrics = data.testing, dict[str, float]()
    whole = {name: of_videos(testing, one) for name, one in scores.items()}
    ids = np.arange(len(testing.ids))
    every = tuple(range(len(data.classes)))
    for key, columns, tables, labels, video in (
        ("mAP", data.scored, scores, testing.labels, testing.video),
        ("all_mAP", every, scores, testing.labels, testing.video),
        ("video_mAP", data.scored, whole, _labels_of_videos(dataset, data), ids),
    ):
        maps = frame_maps(tables, labels, video, columns, resamples=resamples, seed=seed)
        for name in scores:
            gain = maps.difference(name, baseline) if name != baseline else None
            metrics |= figures(key, name, maps.interval(name), gain)
    return metrics | _told_apart(scores, data, resamples, seed)


def of_videos(clips: Clips, scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """The highest score of each video's clips, [S, V, C] of [S, N, C]; a video has at least one clip here."""
    return np.stack([scores[:, clips.video == number].max(axis=1) for number in range(len(clips.ids))], axis=1)


def write(folder: Path, clips: Clips, scores: Mapping[str, NDArray[np.float32]]) -> None:
    """``<variant>-<training>.npz`` for each training: an array [C] per video, as ``charades_v1_classify`` reads them."""
    for name, tables in scores.items():
        for number, one in enumerate(of_videos(clips, tables)):
            buffer = io.BytesIO()
            arrays: dict[str, Any] = dict(zip(clips.ids, one, strict=True))
            np.savez(buffer, **arrays)
            write_bytes(folder / f"{name}-{number}.npz", buffer.getvalue())


def _labels_of_videos(dataset: Dataset, data: Data) -> NDArray[np.bool_]:
    videos = {video.id: video for video in dataset.subset("testing")}
    labels = np.zeros((len(data.testing.ids), len(data.classes)), bool)
    for number, id_ in enumerate(data.testing.ids):
        labels[number, [data.classes.index(segment.label) for segment in videos[id_].segments]] = True
    return labels


def _told_apart(scores: Mapping[str, NDArray[np.float32]], data: Data, resamples: int, seed: int) -> dict[str, float]:
    """Share of the seconds with one of the classes that count in which that one is put above the others of them.

    A window also tells that time has passed, and so raises the AP of what comes late; here only memory of what happened
    helps. Of the trainings' mean scores, with intervals over videos.
    """
    from pipeline.evaluation.accuracy import top1

    columns = list(data.scored)
    rows = np.flatnonzero(data.testing.labels[:, columns].sum(axis=1) == 1)
    if len(columns) < 2 or not len(rows):
        return {}
    wanted = data.testing.labels[rows][:, columns].argmax(axis=1)
    tables = {name: one.mean(axis=0)[rows][:, columns] for name, one in scores.items()}
    measured = top1(tables, wanted, data.testing.video[rows], resamples=resamples, seed=seed)
    found: dict[str, float] = {}
    for name in scores:
        found |= figures("told_apart", name, measured.interval(name), None)
    return found
