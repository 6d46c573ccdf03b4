"""Task ``seconds`` of the stage ``memory``: what happens in each second of a video; several classes may (Charades).

A clip is an instant of the bank, labelled by the segments that hold it. Scored by mAP over the seconds, and by how often
the right one of the classes that count is put above the others of them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.frame_labels import frame_labels
from pipeline.datasets.schema import Dataset, Video
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
    data: Data, scores: Mapping[str, NDArray[np.float32]], baseline: str, resamples: int, seed: int
) -> dict[str, float]:
    """MAP of the classes that count and of all, gains over ``baseline``, and how often those that count are told apart."""
    from pipeline.evaluation.frame_bootstrap import frame_maps

    testing, metrics = data.testing, dict[str, float]()
    for key, columns in (("mAP", data.scored), ("all_mAP", tuple(range(len(data.classes))))):
        maps = frame_maps(scores, testing.labels, testing.video, columns, resamples=resamples, seed=seed)
        for name in scores:
            gain = maps.difference(name, baseline) if name != baseline else None
            metrics |= figures(key, name, maps.interval(name), gain)
    return metrics | _told_apart(scores, data, resamples, seed)


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
