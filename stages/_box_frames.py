"""AVA's frame mAP of the people that the stage ``long_form`` scores: those who were missed count too (section 8.4.3)."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.datasets.formats.ava import AvaFile
from pipeline.datasets.schema import Video
from pipeline.datasets.spans import Instances
from pipeline.evaluation.frame_bootstrap import FrameMaps
from stages import _ava_tables
from stages._bank_rows import STEP_S, instants
from stages._long_form_trainings import Fused


def frame_map(
    root: Path,
    folder: Path,
    videos: Sequence[Video],
    boxes: Mapping[str, Instances],
    fused: Fused,
    classes: Sequence[str],
    every_s: int,
    resamples: int,
    seed: int,
) -> FrameMaps:
    """Score, and write AVA's CSVs into ``folder``.

    Args:
        root: of the project.
        folder: of the CSVs.
        videos: of testing.
        boxes: of all videos.
        fused: scores of the boxes of those that have boxes.
        classes: their names.
        every_s: seconds between the key frames that are scored.
        resamples: of videos and trainings.
        seed: of the draws.
    """
    from pipeline.evaluation.ava_bootstrap import ava_maps

    ids = [video.id for video in videos if video.id in boxes]
    row, number = fused.context.row, fused.labelled.video
    t, box = np.zeros(len(row)), np.zeros((len(row), 4), np.float32)
    for n, id_ in enumerate(ids):
        mine = number == n
        t[mine], box[mine] = boxes[id_].t[row[mine]], boxes[id_].box[row[mine]]
    first_s = float(t[0]) % STEP_S
    truth = _ava_tables.true_table(root, videos, classes, lambda video: instants(video.duration_s, first_s)[::every_s])

    def tables(name: str) -> Iterator[AvaFile]:
        return (_ava_tables.found_table(ids, number, t, box, one) for one in fused.scores[name])

    names = {number + 1: name for number, name in enumerate(classes)}
    _ava_tables.write_truth(folder, truth, names)
    for name in fused.scores:
        for training, found in enumerate(tables(name)):
            _ava_tables.write_found(folder / f"{name}-{training}.csv.gz", found)
    return ava_maps(truth, {name: tables(name) for name in fused.scores}, names, resamples=resamples, seed=seed)
