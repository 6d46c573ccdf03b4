"""long_form: Object Transformers on the labels of whole videos, and on the actions of people's boxes (thesis, chapter 8).

In: the banks of tracked people and objects, shots, and the labels of the videos. A video becomes spans of tokens, a token a
box at a second. Transformers are pre-trained on the training videos (masked instances, eq. 8.2; span compatibility,
eq. 8.3), each of ``variants`` is trained on each label ``seeds`` times and scored on ``testing`` over all spans of a video.
Where people's boxes or seconds have actions, the pre-trained transformer is fused with the short-term model (section
8.4.3): the truth's actions of each box (``box_action``) if the data set tells them, else the segments of its second.
Out: the models; their histories; ``scores.npz`` (by label and variant [seeds, N, outputs]; targets; names of the videos);
``table.json``: accuracy or squared error of every variant with 95 % intervals over videos and trainings, what guessing
gives, mAP of boxes, what labels them, and what is missing or was left out and why; ``attention.json``: where the context
of a few test boxes came from; of boxes with actions of their own AVA's CSVs. Without labels and actions the table is empty
and says so.

In memory are the boxes of all videos at once: of each the D channels as its bank has them (float16: 2 D bytes, 4.6 kB at
2304; spans and batches alone are made float32), 56 bytes of place and time, and a byte per class. The features of those
that the short-term model or fusion learns from are there once more, and the latter's contexts, 4 bytes per width.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from pipeline.datasets.schema import SUBSETS, Dataset, Video
from pipeline.datasets.spans import OBJECT, PERSON, Instances
from pipeline.run import kinds
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, DatasetStage
from stages import _box_actions, _long_form_table, _outputs
from stages._box_actions import Labelling
from stages._box_frames import frame_map
from stages._box_labels import MATCH_IOU, tells_actions
from stages._instances import channels, load_instances
from stages._long_form_parts import Fusion, Network, Spans, Variant
from stages._long_form_runs import TaskVideos, read_teacher, task_videos
from stages._long_form_schedule import Schedule
from stages._long_form_tasks import Benchmark, read_benchmark
from stages._long_form_trainings import Trainings


class LongForm(Section):
    """Section ``long_form`` of params.yaml."""

    annotations: str | None = Field(
        None, description="LVU in either published form, from the root; null: the data set's"
    )
    teacher: str | None = Field(
        None, description=".npz, weight [K, D] and bias [K] of the short-term model; null: trained on the actions"
    )
    objects: bool = Field(True, description="objects are tokens too, not people alone")
    spans: Spans = Spans()
    network: Network = Network()
    variants: dict[str, Variant] = Field(min_length=2, description="the first is what gains are over")
    short_term: Schedule = Field(description="of the linear classifier of people's boxes; batch counts boxes")
    pretraining: Schedule
    tuning: Schedule
    fusion: Fusion | None = Field(description="null: boxes are not looked at")
    seeds: int = Field(3, ge=1, description="trainings of each variant, and of its backbone")
    resamples: int = Field(1000, ge=100, description="bootstrap resamples of test videos and trainings")

    @model_validator(mode="after")
    def _usable(self) -> "LongForm":
        if wrong := [name for name in self.variants if not name.replace("_", "").isalnum()]:
            raise ValueError(f"variants: {wrong[0]!r} names files; allowed: letters, digits and _")
        for name in ("short_term", "pretraining"):
            if getattr(self, name).steps < 1:
                raise ValueError(f"{name}.steps is 0; only the tuning's may be")
        return self


def inputs(context: Context) -> Sequence[Path]:
    """The data set, banks, tracks and shots, what is true of the videos, and the files that the section names."""
    named = [path for path in (context.params.annotations, context.params.teacher) if path is not None]
    folders = (_outputs.DATASET_FILE, _outputs.BANK, _outputs.TRACKS, _outputs.SHOTS, *named)
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    truths = [_outputs.truth(context.root, video) for name in SUBSETS[1:] for video in dataset.subset(name)]
    return [*(context.root / path for path in folders), *(path for path in truths if path.is_file())]


def long_form(context: Context) -> Mapping[str, float]:
    """Train every variant on every label with every seed, fuse, compare."""
    params: LongForm = context.params
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    benchmark = read_benchmark(context.root / (params.annotations or _outputs.DATASET_FILE))
    videos = {name: dataset.subset(name) for name in SUBSETS[1:]}
    ours = [video for some in videos.values() for video in some]
    truths = {one.id: path for one in ours if tells_actions(path := _outputs.truth(context.root, one))}
    # Or there is nothing to read the banks for.
    told = bool(benchmark.videos() or truths) or any(video.segments for video in ours)
    wanted = sorted({*benchmark.videos(), *(video.id for video in ours)}) if told else []
    sources = (PERSON, OBJECT) if params.objects else (PERSON,)
    artifacts = (context.root / _outputs.BANK).parent
    boxes = {id_: one for id_ in wanted if (one := load_instances(artifacts, id_, sources)) is not None}
    skipped: dict[str, str] = {}
    missing = [id_ for id_ in wanted if id_ not in boxes]
    iou = params.fusion.match_iou if params.fusion else MATCH_IOU
    labelling = _box_actions.label_boxes(ours, boxes, dataset.classes, truths, iou)
    table: dict[str, Any] = {
        "tasks": {}, "boxes": {}, "labelled_by": labelling.by, "skipped": skipped, "missing": missing,
    }  # fmt: skip
    arrays: dict[str, np.ndarray] = {}
    work = _trainings(context, params, benchmark, videos["training"], boxes, labelling, len(dataset.classes))
    tasks = _tasks(benchmark, boxes, skipped)
    usable = params.variants.items() if boxes else ()
    variants = {name: variant for name, variant in usable if work.can(name, variant, skipped)}
    for task in tasks if variants else ():
        predicted = {name: work.predictions(name, variant, task) for name, variant in variants.items()}
        table["tasks"][task.name] = _long_form_table.task_table(
            task, predicted, _twins(variants), params.resamples, params.tuning.seed
        )
        arrays |= {f"{task.name}/{name}": one for name, one in predicted.items()}
        arrays[f"{task.name}/targets"] = np.array([row.target for row in task.rows["test"]])
        arrays[f"{task.name}/videos"] = np.array([row.video for row in task.rows["test"]])
    examples: list[dict[str, Any]] = []
    if params.fusion is not None and work.teacher is not None:
        fused = work.fused(params.fusion, variants, videos, dataset.classes, skipped)
        if fused.scores:
            examples = fused.examples
            draws = (params.resamples, params.tuning.seed)
            frames = None
            if labelling.by == "boxes":
                folder, every_s = context.result / "scores" / "ava", params.fusion.every_s
                frames = frame_map(
                    context.root, folder, videos["testing"], boxes, fused, dataset.classes, every_s, *draws
                )
            table["boxes"] = _long_form_table.box_table(fused, frames, *draws)
    _long_form_table.write(context.result, table, arrays, examples)
    if not (table["tasks"] or table["boxes"]):
        context.progress.say(f"nothing was trained: {_long_form_table.reasons(table)}")
    return _long_form_table.metrics_of(table)


def _trainings(
    context: Context, params: LongForm, benchmark: Benchmark, training: Sequence[Video],
    boxes: Mapping[str, Instances], labelling: Labelling, classes: int,
) -> Trainings:  # fmt: skip
    dim = channels(boxes, context.root / _outputs.BANK) if boxes else 1
    dims = (dim,) * (1 + params.objects)  # by source
    # LVU's splits are those of a task: as in the thesis, all videos that some task trains on.
    pool = benchmark.videos("train") if params.annotations else [video.id for video in training]
    work = Trainings(context, params, boxes, labelling, dims, [boxes[id_] for id_ in pool if id_ in boxes])
    if params.teacher is not None:
        work.teacher = read_teacher(context.root / params.teacher, dim)
    else:
        people = _box_actions.people(training, boxes, labelling, classes)
        if people.labels.any():
            work.fit_teacher(people)
    return work


def _tasks(benchmark: Benchmark, boxes: Mapping[str, Instances], skipped: dict[str, str]) -> list[TaskVideos]:
    """The labels that can be learned and scored; why others cannot is noted."""
    found = []
    for name in benchmark.classes:
        task = task_videos(name, benchmark, boxes.get) if benchmark.rows.get(name) else None
        empty = task.without_rows("train", "test") if task else ["train", "test"]
        if empty:
            skipped[f"label {name}"] = f"no video with a bank in {', '.join(empty)}"
        elif task is not None and task.classes == 1:
            skipped[f"label {name}"] = f"all videos have the label {benchmark.classes[name][0]!r}"
        elif task is not None:
            found.append(task)
    return found


def _twins(variants: Mapping[str, Variant]) -> dict[str, str]:
    """Pre-trained variants, and the first that is the same without."""
    plain = {variant.model: name for name, variant in reversed(list(variants.items())) if variant.pretrain == "none"}
    return {name: plain[v.model] for name, v in variants.items() if v.pretrain != "none" and v.model in plain}


STAGE = DatasetStage(
    name="long_form",
    section=LongForm,
    reads=(kinds.BANK, kinds.TRACKS, kinds.SHOTS, kinds.TRUTH),
    needs="gpu",
    inputs=inputs,
    run=long_form,
    outs={
        "models": "data/checkpoints/long_form",
        "history": "data/checkpoints/history/long_form",
        "scores": _outputs.PREDICTIONS.format(variant="long_form"),
    },
)

if __name__ == "__main__":
    main("long_form")
