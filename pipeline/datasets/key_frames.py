"""Truth of videos in which people were boxed, and told what they do, at key frames alone: AVA's.

What is true between two key frames nobody knows. A box in the annotations is a row for each action of its person; here it
is one box with all of them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.formats.common import Annotations, class_index
from pipeline.datasets.schema import Video
from pipeline.run.kinds import TRUTH

PERSON = "person"


def plan_key_frames(found: Annotations) -> dict[int, dict[str, list[Any]]]:
    """The key frames of each video that has some, by the video's index, as plain values for :func:`write_key_frames`.

    ``time_s``: those with a box and those without, ascending; then of each box, in the order of time: ``frame``, index
    into ``time_s``; ``person``, -1 where unknown; ``box``, x1, y1, x2, y2 as shares of width and height; ``actions``,
    indices of ``found.classes``. An action without a name among them is left out.
    """
    if found.boxes is None:
        return {}
    index, boxes = class_index(found.classes), found.boxes
    keys = np.column_stack([boxes.video, boxes.time_s, boxes.person, boxes.box])
    order = np.lexsort(keys.T[::-1])
    keys, labels = keys[order], boxes.label[order]
    same = np.zeros(len(keys), bool)
    same[1:] = (keys[1:] == keys[:-1]).all(axis=1)
    first = np.flatnonzero(~same)
    numbers, inverse = np.unique(labels, return_inverse=True)
    columns = np.array([index.get(found.box_classes.get(label, ""), -1) for label in numbers.tolist()], np.int64)
    done: list[int] = columns[inverse].tolist()
    ends = [*first[1:].tolist(), len(keys)]
    actions = [[c for c in done[a:b] if c >= 0] for a, b in zip(first.tolist(), ends, strict=True)]
    video, time, person, box = keys[first, 0], keys[first, 1], keys[first, 2], keys[first, 3:]
    empty: dict[int, list[float]] = {}
    for i, instant in found.empty:
        empty.setdefault(i, []).append(instant)
    planned = {}
    for i in sorted({*np.unique(video).astype(int).tolist(), *empty}):
        a, b = np.searchsorted(video, (i, i + 1))
        times = np.unique(np.concatenate([time[a:b], empty.get(i, [])]))
        planned[i] = {
            "time_s": times.tolist(), "frame": np.searchsorted(times, time[a:b]).tolist(),
            "person": person[a:b].astype(int).tolist(), "box": box[a:b].tolist(), "actions": actions[a:b],
        }  # fmt: skip
    return planned


def write_key_frames(path: Path, planned: Mapping[str, Sequence[Any]], classes: Sequence[str], video: Video) -> bool:
    """Write the ``truth`` of one video, boxes in its pixels; False, and no file, where it ends before its first key frame.

    Key frames after its end are left out. A person whose number is unknown is another one in every box.

    Args:
        path: to write to.
        planned: a value of :func:`plan_key_frames`.
        classes: names of the actions.
        video: as it was opened.
    """
    times = np.array(planned["time_s"], np.float64)
    times = times[times < video.duration_s]
    if not len(times):
        return False
    count = int(np.searchsorted(planned["frame"], len(times)))
    frame = np.array(planned["frame"][:count], np.int32)
    share = np.array(planned["box"][:count], np.float64).reshape(-1, 4)
    person = np.array(planned["person"][:count], np.int32)
    nameless = person < 0
    person[nameless] = person.max(initial=-1) + 1 + np.arange(nameless.sum())
    action = np.zeros((count, len(classes)), np.uint8)
    for row, columns in enumerate(planned["actions"][:count]):
        action[row, columns] = 1
    labels = np.zeros((len(times), len(classes)), np.uint8)
    np.maximum.at(labels, frame, action)
    TRUTH.write(
        path,
        {"pts": times, "labels": labels, "box_frame": frame, "box": share * ([video.width, video.height] * 2),
         "box_class": np.zeros(count, np.int16), "box_track": person, "box_action": action, "shot_start": np.zeros(0)},
        {"box_classes": PERSON, "label_classes": "\n".join(classes)},
    )  # fmt: skip
    return True
