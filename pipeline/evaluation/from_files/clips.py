"""Video-level protocols from files: kinetics, ssv2, ucf101, hmdb51 (recognition), lvu (nine tasks), coco (boxes).

Recognition: truth in the set's own lists; predictions an ``.npz`` with scores [C] or, of several views, [V, C] per clip.
LVU: truth the folder in either published form; predictions JSON ``{video: class scores, class index or target}``, for all
tasks ``{task: {video: ...}}``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from pipeline.datasets.formats.lvu import TASKS, read_tasks, shared_movies
from pipeline.datasets.formats.table import read_annotations
from pipeline.datasets.formats.text import read_object
from pipeline.datasets.formats.trimmed import SPLITS
from pipeline.evaluation.coco import coco_files
from pipeline.evaluation.from_files.request import Request, listed, load_arrays
from pipeline.evaluation.lvu import score_task
from pipeline.evaluation.recognition import Combine, Recognition, combine_views, mean_over_splits, recognition

COMBINE = ("softmax_mean", "mean", "max")
_SUBSET = {"kinetics": "validation", "ssv2": "validation", "ucf101": "testing", "hmdb51": "testing"}


def run_kinetics(request: Request) -> dict[str, Any]:
    """Top-1 and top-5 on Kinetics."""
    return _recognise("kinetics", request)


def run_ssv2(request: Request) -> dict[str, Any]:
    """Top-1 and top-5 on Something-Something v2."""
    return _recognise("ssv2", request)


def run_ucf101(request: Request) -> dict[str, Any]:
    """One split of UCF101, or the mean of three where the predictions are a folder with split1.npz to split3.npz."""
    return _recognise("ucf101", request)


def run_hmdb51(request: Request) -> dict[str, Any]:
    """One split of HMDB51, or the mean of three, as for UCF101."""
    return _recognise("hmdb51", request)


def run_lvu(request: Request) -> dict[str, Any]:
    """One task (``--task``), or every task that the predictions have."""
    lvu = read_tasks(request.truth)
    data = read_object(request.predictions)
    if request.task is not None:
        if request.task not in TASKS:
            raise ValueError(f"--task is {request.task!r}; it must be one of {', '.join(TASKS)}")
        data = {request.task: data.get(request.task, data)}
    subset = request.subset or "test"
    tasks, notes = {}, list[str]()
    for task, predictions in data.items():
        if task not in lvu.rows:
            there = ", ".join(lvu.rows)
            raise ValueError(f"{request.predictions}: task {task!r} has no truth in {request.truth}; there are {there}")
        rows = [row for row in lvu.rows[task] if row.subset == subset]
        if not rows or not isinstance(predictions, Mapping):
            raise ValueError(
                f"{request.truth}: task {task}: no videos in subset {subset!r}, or no predictions by video"
            )
        result = score_task(task, rows, predictions)
        tasks[task] = {result.metric: result.value, "videos": result.videos, "missing": len(result.missing)}
        notes += [f"{task}: {note}" for note in listed(result.missing, "videos without a prediction, left out")]
        shared = len(shared_movies(lvu.rows[task]))
        notes += [f"{task}: {shared} movies have clips in several splits"] if shared else []
    return {
        "subset": subset,
        "tasks": tasks,
        "videos": sum(int(entry["videos"]) for entry in tasks.values()),
        "warnings": notes,
    }


def run_coco(request: Request) -> dict[str, Any]:
    """COCO box AP of a results JSON, by pycocotools."""
    return {**coco_files(request.truth, request.predictions), "warnings": []}


def _recognise(format_: str, request: Request) -> dict[str, Any]:
    combine = request.choose(COMBINE)
    notes: list[str] = []
    if request.predictions.is_dir():
        results = [
            _split(format_, request, request.predictions / f"split{split}.npz", split, combine, notes)
            for split in SPLITS
        ]
        result, splits = mean_over_splits(results), "mean of 3"
    else:
        split = request.split or 1
        result = _split(format_, request, request.predictions, split, combine, notes)
        splits = str(split)
    return {
        "subset": request.subset or _SUBSET[format_],
        "split": splits,
        "views": f"combined by {combine}",
        "top1": result.top1,
        "top5": result.top5,
        "mean_class_accuracy": result.mean_class,
        "videos": result.videos,
        "warnings": notes,
    }


def _split(format_: str, request: Request, file: Path, split: int, combine: str, notes: list[str]) -> Recognition:
    annotations = read_annotations(format_, request.truth, split).require()
    videos = annotations.subset(request.subset or _SUBSET[format_])
    arrays = load_arrays(file)
    index = {name: i for i, name in enumerate(annotations.classes)}
    rows, labels = [], []
    for video in videos:
        if video.id in arrays:
            scores = np.atleast_2d(arrays[video.id])
            if scores.ndim != 2 or scores.shape[1] != len(index):
                raise ValueError(f"{file}: clip {video.id!r}: {scores.shape}, expected [views, {len(index)}]")
            if "class" not in video.labels:
                raise ValueError(f"{request.truth}: clip {video.id!r} has no label, so it cannot be scored")
            rows.append(combine_views(scores, cast(Combine, combine)))
            labels.append(index[video.labels["class"]])
    if not rows:
        raise ValueError(f"{file}: none of the {len(videos)} clips has scores")
    notes += listed([v.id for v in videos if v.id not in arrays], "clips have no scores and are left out")
    return recognition(np.array(rows), np.array(labels))
