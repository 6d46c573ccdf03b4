"""The table of the stage ``long_form``: every variant on every task with intervals, chance and gains, and boxes' mAP."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.formats.lvu import Row
from pipeline.evaluation.bootstrap import Interval
from pipeline.evaluation.frame_bootstrap import FrameMaps, frame_maps
from pipeline.evaluation.video_means import video_means
from pipeline.run.files import write_bytes, write_json
from stages._long_form_runs import TaskVideos
from stages._long_form_tasks import errors, without_looking
from stages._long_form_trainings import Fused


def task_table(
    task: TaskVideos,
    predicted: Mapping[str, NDArray[np.float64]],
    twins: Mapping[str, str],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """A task's figures.

    Args:
        task: its rows.
        predicted: [S, N, outputs] by variant: of S trainings, for the N test videos.
        twins: variant to the one that is the same without pre-training.
        resamples: of test videos and trainings.
        seed: of the draws.
    """
    rows: Sequence[Row] = task.rows["test"]
    train = task.rows["train"]
    figures = {name: np.stack([errors(task.classes, rows, list(one)) for one in p]) for name, p in predicted.items()}
    variants: dict[str, dict[str, float]] = {}
    for name, mean in video_means(figures, resamples=resamples, seed=seed).items():
        variants[name] = mean.value.metrics("value") | (mean.gain.metrics("gain") if mean.gain else {})
    for name in figures.keys() & twins.keys():
        pair = {twins[name]: figures[twins[name]], name: figures[name]}
        gain = video_means(pair, resamples=resamples, seed=seed)[name].gain
        variants[name] |= gain.metrics("pretraining_gain") if gain else {}
    return {
        "metric": "accuracy" if task.classes else "mse",
        "videos": {split: len(some) for split, some in task.rows.items()},
        "missing": list(task.missing),
        "chance": 100 / task.classes if task.classes else None,
        "without_looking": without_looking(task.classes, train, rows),
        "names": list(variants),  # JSON files are sorted
        "variants": variants,
    }


def box_table(fused: Fused, frames: FrameMaps | None, resamples: int, seed: int) -> dict[str, Any]:
    """Per-box mAP over the classes that occur, of [S, N, classes] by name, in percent; gains are over the first name.

    An AP is the mean precision at the positive boxes, as in the stage ``memory``; ``chance`` is the mean share of positives.
    ``frames``: AVA's frame mAP, where boxes have actions of their own.
    """
    scores, boxes = fused.scores, fused.labelled
    present = tuple(int(c) for c in np.flatnonzero(boxes.labels.any(axis=0)))
    maps = frame_maps(scores, boxes.labels, boxes.video, present, resamples=resamples, seed=seed)
    first, found = next(iter(scores)), dict[str, Any]()
    for name in scores:
        found[name] = {}
        for (value, gain), one in ((("value", "gain"), maps), (("frame_mAP", "frame_mAP_gain"), frames)):
            if one is not None:
                found[name] |= _percent(one.interval(name)).metrics(value)
            if one is not None and name != first:
                found[name] |= _percent(one.difference(name, first)).metrics(gain)
    return {
        "boxes": len(boxes.video),
        "videos": len(np.unique(boxes.video)),
        "classes": len(present),
        "chance": 100 * float(boxes.labels[:, list(present)].mean()),
        **fused.counts,
        "names": list(found),
        "variants": found,
    }


def metrics_of(table: Mapping[str, Any]) -> dict[str, float]:
    """The table as flat metrics: ``place/average``, ``place/average/low``, ..., ``boxes/fused``."""
    found: dict[str, float] = {"skipped": float(len(table["skipped"])), "missing": float(len(table["missing"]))}
    for part, figures in {**table["tasks"], **({"boxes": table["boxes"]} if table["boxes"] else {})}.items():
        for name in ("chance", "without_looking", "unmatched", "missed"):
            if figures.get(name) is not None:
                found[f"{part}/{name}"] = float(figures[name])
        for name, values in figures["variants"].items():
            for key, value in values.items():
                found[f"{part}/{name}" + ("" if key == "value" else f"/{key.removeprefix('value_')}")] = float(value)
    return found


def reasons(table: Mapping[str, Any]) -> str:
    """In one line, what the table lacks and why."""
    given = [f"{name}: {why}" for name, why in table["skipped"].items()]
    if table["missing"]:
        given.append(f"videos without a bank: {len(table['missing'])}")
    if not (given or table["tasks"] or table["boxes"]):
        return "the videos have no labels, and the seconds of people no actions"
    return "; ".join(given)


def write(
    folder: Path, table: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], examples: Sequence[Mapping[str, Any]]
) -> None:
    """The stage's table, scores and examples of attention; the folders of models and histories are there in any case."""
    for name in ("models", "history"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    given: dict[str, Any] = dict(arrays)
    np.savez(buffer, **given)
    write_bytes(folder / "scores" / "scores.npz", buffer.getvalue())
    write_json(folder / "scores" / "table.json", {**table, "left_out": reasons(table)})
    write_json(folder / "scores" / "attention.json", list(examples))


def _percent(interval: Interval) -> Interval:
    return Interval(100 * interval.value, 100 * interval.low, 100 * interval.high)
