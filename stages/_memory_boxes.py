"""Task ``boxes`` of the stage ``memory``: what each person does, at key frames (AVA; thesis, section 7.2).

A clip is a tracked person's box at an instant of its bank whose truth is known. It is labelled by the true person whom it
overlaps most. One without such a person is left out in training, or learned as doing nothing; in testing it is a false
detection. The true people that the bank has (``bank.kinds``: true_person) are learned from too. Scored by AVA's official
rule (frame mAP at IoU 0.5); the tables are written as AVA's CSVs too, which ``evaluate --protocol ava`` reads.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.datasets.formats.ava import AvaFile
from pipeline.datasets.schema import Dataset, Video
from pipeline.run.params import Section
from pipeline.run.stage import StageError
from stages import _ava_tables, _memory, _outputs
from stages._bank_rows import STEP_S, instants
from stages._box_labels import MATCH_IOU, own_labels
from stages._memory import Clips, Taken, Window
from stages._memory_rows import BankRows
from stages._memory_table import figures
from stages._memory_training import Data, data_of


class Boxes(Section):
    """What is particular to the task; section 7.2.1 trains on true people, and on boxes of 0.9 that match at 0.9."""

    match_iou: float = Field(MATCH_IOU, gt=0, le=1, description="overlap with the true one that a training box needs")
    unmatched: Literal["left_out", "nothing"] = Field(
        "left_out", description="training boxes that match nobody; nothing: they are learned as doing nothing"
    )
    training_score: float | None = Field(
        None, ge=0, le=1, description="least of a clip's detection; null: the window's"
    )
    testing_score: float | None = Field(None, ge=0, le=1, description="likewise, in validation and testing")


def read(root: Path, dataset: Dataset, counted: Sequence[str], window: Window, options: Boxes) -> Data:
    """Clips and banks of all subsets.

    Args:
        root: of the project.
        dataset: with ``truth`` artifacts that tell what people do.
        counted: names of the classes that count.
        window: what is read; ``short`` is the person's own feature here.
        options: which boxes are clips.

    Raises:
        StageError: nothing to train on, or nothing to test.
    """

    def clips(videos: Sequence[Video], subset: str) -> Clips:
        def take(video: Video, rows: BankRows) -> Taken:
            learned = subset == "training"
            least = options.training_score if learned else options.testing_score
            mine = rows.of_kinds(("person",), window.min_score if least is None else least)
            if learned:
                mine = np.union1d(mine, rows.true_people())
            picture = np.searchsorted(rows.instants, rows.t[mine] - STEP_S / 4)
            found = own_labels(
                _outputs.truth(root, video), rows.instants, picture, rows.box[mine], dataset.classes, options.match_iou
            )
            if found is None:
                nothing = np.zeros(0, np.int64)
                return Taken(rows.t[nothing], np.zeros((0, len(dataset.classes)), bool), nothing, rows.box[nothing])
            kept = found.matched if learned and options.unmatched == "left_out" else found.known
            size = np.array([video.width, video.height] * 2)
            box = np.clip(rows.box[mine[kept]] / size, 0, 1).astype(np.float32)
            return Taken(rows.t[mine[kept]], found.actions[kept], mine[kept], box)

        return _memory.read_clips(root, videos, window, take, len(dataset.classes))

    data = data_of(root, dataset, window, clips, dataset.classes, counted)
    for name in ("training", "testing"):
        if not data.counted(name).any():
            raise StageError(
                f"data set {dataset.name}: no tracked person of {name} is known to do any of {', '.join(counted)}; task "
                "boxes needs a set that tells what each person does (the world, format ava)"
            )
    return data


def true_table(root: Path, dataset: Dataset, data: Data) -> AvaFile:
    """What the people of the test videos do at the banks' instants; a video whose bank failed has been missed whole."""
    first_s = float(data.testing.t[0]) % STEP_S
    videos = dataset.subset("testing")
    return _ava_tables.true_table(root, videos, dataset.classes, lambda video: instants(video.duration_s, first_s))


def found_table(clips: Clips, scores: NDArray[np.float32]) -> AvaFile:
    """Every class of every box with its score [N, C]."""
    return _ava_tables.found_table(clips.ids, clips.video, clips.t, clips.box, scores)


def measure(
    data: Data, truth: AvaFile, scores: Mapping[str, NDArray[np.float32]], baseline: str, resamples: int, seed: int
) -> dict[str, float]:
    """AVA's frame mAP over the classes that count, and gains over ``baseline``."""
    from pipeline.evaluation.ava_bootstrap import ava_maps

    def tables(name: str) -> Iterator[AvaFile]:
        return (found_table(data.testing, one) for one in scores[name])

    classes = {c + 1: data.classes[c] for c in data.scored}
    maps = ava_maps(truth, {name: tables(name) for name in scores}, classes, resamples=resamples, seed=seed)
    metrics = {"true_boxes": float(len(truth.boxes)), "key_frames": float(_ava_tables.key_frames(truth))}
    for name in scores:
        gain = maps.difference(name, baseline) if name != baseline else None
        metrics |= figures("frame_mAP", name, maps.interval(name), gain)
    return metrics


def write(folder: Path, data: Data, truth: AvaFile, scores: Mapping[str, NDArray[np.float32]]) -> None:
    """AVA's files: the truth, the label map of the classes that count, and a CSV for each training."""
    _ava_tables.write_truth(folder, truth, {c + 1: data.classes[c] for c in data.scored})
    for name, tables in scores.items():
        for number, one in enumerate(tables):
            _ava_tables.write_found(folder / f"{name}-{number}.csv.gz", found_table(data.testing, one))
