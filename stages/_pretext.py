"""What an encoder can be pre-trained to tell: the class of an action, the arrow of time, the playback speed.

Classification is ACP (LoFi, section 4.2). The other two need no label (Table 8): whether a clip runs backwards (Wei et
al., CVPR 2018), and whether it runs at double speed (SpeedNet, Benaim et al., CVPR 2020).
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from pipeline.datasets.schema import SUBSETS, Dataset, Segment, Video
from pipeline.datasets.snippets import segment_clip_center
from pipeline.run.stage import StageError
from stages._multigrid import Shape
from stages._snippets import Snippets

if TYPE_CHECKING:
    from torch import Tensor

TaskName = Literal["classification", "arrow_of_time", "playback_speed"]
TASKS: tuple[TaskName, ...] = get_args(TaskName)

FAST = 2.0
"""SpeedNet's double speed."""

HELD_OUT_CLIPS = 6
"""Places in each validation video at which a task without labels is asked, once for each answer."""


class Example(NamedTuple):
    """Where a clip is taken, within [begin, end] s of a video; ``label`` None: drawn anew each time."""

    video: str
    begin: float
    end: float
    label: int | None


class Task(NamedTuple):
    """A pre-training task: what it asks, on which examples, and on which it is measured.

    ``selects``: the measure may choose among weights; not where it is taken on the test videos.
    """

    name: TaskName
    classes: int
    examples: Sequence[Example]
    held_out: Sequence[Example]
    selects: bool = True


def task(name: TaskName, dataset: Dataset, source: Snippets, subset: str, say: Callable[[str], None]) -> Task:
    """The task ``name`` on the videos of a subset; ``say`` is told where another subset has to do.

    Raises:
        StageError: there is nothing to learn from, or nothing to measure on.
    """
    if name != "classification":
        made = without_labels(name, dataset, source, subset)
    else:
        made = classification(dataset, source, subset)
        if not made.examples and subset == "auxiliary":
            say("the data set has no auxiliary segments: pre-training on the training ones, the paper's ACP+")
            made = classification(dataset, source, "training")
    if not made.examples or not made.held_out:
        have = ", ".join(f"{sum(len(v.segments) for v in dataset.subset(one))} in {one}" for one in SUBSETS)
        raise StageError(
            f"data set {dataset.name}: pre-training needs segments in training and validation; there are {have}"
        )
    return made


def classification(dataset: Dataset, source: Snippets, subset: str) -> Task:
    """Classes of the action instances of a subset; measured on those of the validation videos.

    A set without validation videos (UCF101, HMDB51) is measured at the end, on its test videos.
    """
    index = {label: i for i, label in enumerate(dataset.classes)}

    def instances(name: str) -> list[Example]:
        videos = [video for video in dataset.subset(name) if video.id in source]
        return [Example(v.id, s.t_start, s.t_end, index[s.label]) for v in videos for s in v.segments]

    held_out = instances("validation")
    if held_out or dataset.subset("validation"):
        return Task("classification", len(index), instances(subset), held_out)
    return Task("classification", len(index), instances(subset), instances("testing"), selects=False)


def without_labels(name: TaskName, dataset: Dataset, source: Snippets, subset: str) -> Task:
    """A task that makes its own labels, on all of a subset's videos (the training ones where it has none)."""

    def videos(name: str) -> list[Video]:
        return [video for video in dataset.subset(name) if video.id in source]

    examples = [Example(v.id, 0.0, v.duration_s, None) for v in videos(subset) or videos("training")]
    edges = np.arange(HELD_OUT_CLIPS + 1) / HELD_OUT_CLIPS
    held_out = [
        Example(v.id, float(begin) * v.duration_s, float(end) * v.duration_s, label)
        for v in videos("validation")
        for begin, end in pairwise(edges)
        for label in (0, 1)
    ]
    return Task(name, 2, examples, held_out)


def draw(
    task: Task, example: Example, source: Snippets, rng: np.random.Generator | None, shape: Shape | None = None
) -> "tuple[Tensor, int]":
    """A clip uint8 ``[C, T, H, W]`` and its label; ``rng`` None takes the middle of the place, for measuring.

    ``shape``: of the clip; None is the encoder's own, with the largest window.

    Raises:
        ValueError: an example without a label and no ``rng`` to draw it by.
    """
    if example.label is None and rng is None:
        raise ValueError(f"an example of {example.video} has no label and nothing to draw it by")
    spec = source.spec
    shape = shape or Shape(spec.frames, (spec.height, spec.width))
    spread = float(rng.uniform(1.0, shape.most_stride)) if rng is not None and shape.most_stride > 1 else 1.0
    place = Segment("", example.begin, example.end)
    window_s = spec.window_s * (shape.frames / spec.frames) * spread
    center = np.array([segment_clip_center(place, window_s, rng)])
    label = example.label if example.label is not None else int(rng.integers(task.classes))  # type: ignore[union-attr]
    speed = spread * (FAST if task.name == "playback_speed" and label else 1.0)
    clip = source.clips(example.video, center, rng, shape.min_scale, speed=speed, size=shape.size, frames=shape.frames)[
        0
    ]
    if shape.flip and rng is not None and rng.random() < 0.5:
        clip = clip.flip(3)
    return (clip.flip(1) if task.name == "arrow_of_time" and label else clip), label
