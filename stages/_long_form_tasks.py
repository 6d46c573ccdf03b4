"""Video-level tasks: which videos with which labels, how outputs of spans become a prediction, and its score.

The nine of LVU (thesis, section 8.3), or the video labels of a data set of our own, each a classification.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.formats.common import Defect
from pipeline.datasets.formats.lvu import SPLITS, TASKS, Row, read_tasks
from pipeline.datasets.schema import Dataset
from pipeline.evaluation.lvu import sum_of_probabilities

_SUBSETS = dict(zip(("training", "validation", "testing"), SPLITS, strict=True))


@dataclass(frozen=True)
class Benchmark:
    """``classes`` by task, empty for a regression; ``rows`` by task; stated ``durations`` by video; what is wrong."""

    classes: Mapping[str, tuple[str, ...]]
    rows: Mapping[str, tuple[Row, ...]]
    durations: Mapping[str, float]
    defects: tuple[Defect, ...] = ()

    def at_most(self, videos: int) -> "Benchmark":
        """The first so many videos of every split of every task; 0 keeps all."""
        if not videos:
            return self
        kept = {
            task: tuple(row for split in SPLITS for row in [one for one in rows if one.subset == split][:videos])
            for task, rows in self.rows.items()
        }
        return replace(self, rows=kept)

    def videos(self, split: str | None = None) -> list[str]:
        """Ids of all tasks' videos of one split or all, sorted."""
        return sorted({row.video for rows in self.rows.values() for row in rows if split in (None, row.subset)})


def read_benchmark(path: Path) -> Benchmark:
    """A folder in either form of LVU, or a data set of our own (JSON).

    Raises:
        ValueError: neither.
    """
    if path.is_file():
        return _own(Dataset.load(path), str(path))
    lvu = read_tasks(path)
    return Benchmark({name: task.class_names for name, task in TASKS.items()}, lvu.rows, lvu.durations, lvu.defects)


def _own(dataset: Dataset, source: str) -> Benchmark:
    videos = [video for video in dataset if video.subset in _SUBSETS]
    names = sorted({name for video in videos for name in video.labels})
    values = {name: sorted({v.labels[name] for v in videos if name in v.labels}) for name in names}
    # The readers store LVU's two regression targets as text.
    classes = {name: () if name in TASKS and not TASKS[name].classes else tuple(values[name]) for name in names}
    rows = {
        name: tuple(
            Row(v.id, _SUBSETS[v.subset], _target(classes[name], v.labels[name]), None, source, None)
            for v in videos
            if name in v.labels
        )
        for name in names
    }
    return Benchmark(classes, rows, {video.id: video.duration_s for video in videos})


def _target(classes: Sequence[str], label: str) -> float:
    return float(classes.index(label) if classes else label)


def prediction(classes: int, spans: NDArray[np.floating]) -> NDArray[np.float64]:
    """What a video's spans [S, outputs] say together, as LVU's released code: probabilities are summed, values averaged."""
    return sum_of_probabilities(spans) if classes else np.asarray(spans, np.float64).mean(axis=0)


def errors(classes: int, rows: Sequence[Row], predicted: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """By video: 100 where the class is right and 0 where not; of a regression (0 ``classes``), the squared error."""
    wanted = np.array([row.target for row in rows])
    if classes:
        right = np.array([one.argmax() for one in predicted]) == wanted
        return np.where(right, 100.0, 0.0)
    squared: NDArray[np.float64] = (np.array([float(one[0]) for one in predicted]) - wanted) ** 2
    return squared


def score(classes: int, rows: Sequence[Row], spans: Mapping[str, NDArray[np.floating]]) -> float:
    """Accuracy in percent or mean squared error, from the scores ``[S, outputs]`` of each video's spans."""
    return float(errors(classes, rows, [prediction(classes, spans[row.video]) for row in rows]).mean())


def without_looking(classes: int, train: Sequence[Row], test: Sequence[Row]) -> float:
    """The test score of always saying the training split's most frequent class, or its mean value (0 ``classes``)."""
    targets, wanted = (np.array([row.target for row in rows]) for rows in (train, test))
    if not classes:
        return float(np.square(wanted - targets.mean()).mean())
    return float(100 * (wanted == np.bincount(targets.astype(int)).argmax()).mean())
