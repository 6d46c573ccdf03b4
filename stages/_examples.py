"""Pictures with true boxes that a detector learns from: the data set's own, or the procedural world's."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.datasets.schema import Dataset
from stages import _boxes, _outputs

LEAST_SIDE = 1.0
"""px; true boxes of which less is in the picture are not learned."""


@dataclass(frozen=True)
class Examples:
    """Pictures with boxes: ``picture(i)`` is uint8 [h, w, 3], ``boxes[i]`` [N, 4] in its pixels, ``labels[i]`` [N]."""

    picture: Callable[[int], np.ndarray]
    boxes: list[np.ndarray]
    labels: list[np.ndarray]
    classes: tuple[str, ...]


def of_set(root: Path, subset: str) -> Examples | None:
    """The stored pictures of a subset's videos of which all boxes are known; None if there are none."""
    from pipeline.datasets.opened import stored_files
    from pipeline.datasets.snippets import FrameStore

    videos = Dataset.load(root / _outputs.DATASET_FILE).subset(subset)
    store = FrameStore(stored_files(root / _outputs.FRAMES, [v.id for v in videos]))
    where: list[tuple[str, int]] = []
    boxes: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    classes: tuple[str, ...] = ()
    for video in videos:
        if video.id not in store:
            continue
        pts = store.pts(video.id)
        true = _boxes.read_true_boxes(_outputs.truth(root, video), pts)
        if true is None or not true.known.any():
            continue
        known = np.flatnonzero(true.known)
        stored = store.attributes(video.id)
        scale = np.array([stored["width"] / video.width, stored["height"] / video.height] * 2)
        size = (stored["width"], stored["height"])
        _append(boxes, labels, np.searchsorted(known, true.picture), true.box * scale, true.label, len(known), size)
        where += [(video.id, row) for row in known.tolist()]
        classes = true.classes
    if not where:
        return None
    return Examples(lambda i: store.pictures(where[i][0], np.array(where[i][1])), boxes, labels, classes)


def of_world(subset: str, videos: int, fps: float, short_side: int) -> Examples:
    """Pictures of the small procedural world, rendered without a codec."""
    from pipeline.datasets.world import BOX_CLASSES, render_arrays, world_plan

    pictures: list[np.ndarray] = []
    boxes: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for plan in [p for p in world_plan("small", 0) if p.subset == subset][:videos]:
        drawn, truth = render_arrays(plan, fps, short_side)
        pictures += list(drawn)
        size = (drawn.shape[2], drawn.shape[1])
        _append(boxes, labels, truth.box_frame, truth.box.astype(np.float64), truth.box_class, len(drawn), size)
    return Examples(pictures.__getitem__, boxes, labels, BOX_CLASSES)


def _append(
    boxes: list[np.ndarray], labels: list[np.ndarray], picture: np.ndarray, box: np.ndarray, label: np.ndarray, n: int,
    size: tuple[int, int],
) -> None:  # fmt: skip
    """Add a video's boxes, those of each of its ``n`` pictures of ``size`` (width, height) apart, cut at their edges."""
    box = np.clip(box, 0, [*size, *size])
    large = ((box[:, 2:] - box[:, :2]) >= LEAST_SIDE).all(axis=1)
    picture, box, label = picture[large], box[large], label[large]
    edges = np.searchsorted(picture, np.arange(1, n))
    boxes += np.split(box, edges)
    labels += np.split(label.astype(np.int64), edges)
