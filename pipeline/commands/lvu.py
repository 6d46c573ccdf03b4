"""The command ``lvu``: pre-train, fine-tune and evaluate on the nine tasks of the LVU benchmark. A door, like the cli.

The video labels of a data set of one's own, such as the procedural world's three, are tasks of the same kind.

Thesis, sections 8.3 and 8.4: accuracy of seven classifications, mean squared error of two regressions, per video over all
its spans; epochs and batch size by the validation split; the test split is reported, mean and standard error over seeds.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.formats.lvu import SPLITS
from pipeline.datasets.simulated_spans import simulated_video, simulation, write_simulated_annotations
from pipeline.datasets.spans import OBJECT, PERSON, Instances, Sampling
from pipeline.run.files import write_json
from pipeline.run.process import wait_passively
from stages._instances import channels, load_instances
from stages._long_form_runs import (
    Design,
    Teacher,
    build,
    pretrain,
    read_teacher,
    spans,
    task_videos,
    tune,
    with_steps,
)
from stages._long_form_schedule import Schedule
from stages._long_form_tasks import Benchmark, read_benchmark, score, without_looking

SIMULATED = "simulated"
"""Instead of a folder."""

DURATION_S = 132.0
"""Of a video whose annotation tells none: the median of MovieClips."""


@dataclass(frozen=True)
class Scale:
    """Size of the transformer, and how long and on what the trainings go; ``videos``: most of a split, 0 for all."""

    model: Mapping[str, Any]
    pretraining: Schedule
    tuning: Schedule
    sampling: Sampling
    batches: tuple[int, ...]
    validations: int
    videos: int


SCALES = {
    "demo": Scale(
        {"width": 48, "layers": 2, "heads": 4, "inner": 96},
        Schedule(steps=60, batch=8, lr=1e-3),
        Schedule(steps=80, lr=1e-3),
        Sampling(step_s=30),
        (16,),
        2,
        48,
    ),
    # Section 8.4: 308 k iterations of 16 spans; ten epochs of an end task, batch by the validation split.
    "thesis": Scale(
        {}, Schedule(steps=308_000, batch=8, lr=1e-4), Schedule(steps=0), Sampling(), (16, 32), 10, 0
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Where tokens come from: the boxes of a video (None: not at hand), channels by source, and the teacher if any."""

    instances: Callable[[str], Instances | None]
    feature_dims: tuple[int, ...]
    teacher: Teacher | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add = parser.add_argument
    add(
        "--annotations",
        required=True,
        metavar="PATH",
        help="LVU in either published form, a dataset.json, or 'simulated'",
    )
    add("--features", required=True, metavar="DIR", help="a folder with bank/, tracks/ and shots/, or 'simulated'")
    add("--task", action="append", metavar="NAME", help="may be given several times; default: all")
    add("--model", default="object_transformer", metavar="NAME", help="of models.long_form; default: %(default)s")
    add("--form", choices=("thesis", "released"), default="thesis", help="of tokens, heads and losses")
    add("--pretrain", choices=("none", "mask", "compatibility", "both"), default="mask", help="default: %(default)s")
    add("--teacher", type=Path, metavar="NPZ", help="weight [K, D] and bias [K] of the short-term model's classifier")
    add("--objects", action="store_true", help="objects are tokens too, not people alone")
    add("--scale", choices=("demo", "thesis"), default="demo", help="default: %(default)s")
    add("--seeds", type=int, default=1, metavar="N", help="trainings of each task; 5 in the thesis")
    add("--out", type=Path, default=Path("reports/lvu.json"), metavar="JSON", help="default: %(default)s")


def run(options: argparse.Namespace) -> int:
    """Run the command; see the module.

    Raises:
        ValueError: no annotations or features, or a teacher that does not fit.
    """
    wait_passively()
    scale = SCALES[options.scale]
    lvu = _annotations(options.annotations).at_most(scale.videos)
    if wrong := sorted(set(options.task or ()) - set(lvu.classes)):
        raise ValueError(f"task is {wrong[0]!r}; allowed: {', '.join(lvu.classes)}")
    source = _source(options, lvu)
    names = [name for name in options.task or lvu.classes if lvu.rows.get(name)]
    figures: dict[str, Any] = {
        "command": " ".join(["python -m pipeline lvu", *_spoken(options)]),
        "scale": {**_plain(scale), "name": options.scale},
        "without_labels": sorted(set(options.task or lvu.classes) - set(names)),
        "defects": [asdict(defect) for defect in lvu.defects],
        "tasks": {},
    }
    backbone = None
    if options.pretrain != "none":
        backbone, figures["pretraining"] = _pretrain(options, scale, source, lvu)
    for name in names:
        start = time.process_time()
        figures["tasks"][name] = _task(name, options, scale, source, lvu, backbone)
        figures["tasks"][name]["cpu_s"] = round(time.process_time() - start, 1)
        _print(name, figures["tasks"][name])
    for name in figures["without_labels"]:
        print(f"{name}: these annotations have no labels of it")
    write_json(options.out, figures)
    return 0


def _task(
    name: str, options: argparse.Namespace, scale: Scale, source: Source, lvu: Benchmark, backbone: Any
) -> dict[str, Any]:
    """Train with every batch size and seed; report the test split of the batch size that validates best."""
    task = task_videos(name, lvu, source.instances)
    train, test = task.rows["train"], task.rows["test"]
    if empty := task.without_rows(*SPLITS):
        return {"skipped": f"no video with features in {', '.join(empty)}", "missing": task.missing}
    runs: dict[int, list[tuple[float, float]]] = {}
    for batch in scale.batches:
        for seed in range(options.seeds):
            schedule = with_steps(scale.tuning.but(batch=batch, seed=seed), len(train))
            schedule = schedule.but(validate_every=max(1, schedule.steps // scale.validations))
            model = build(_design(options, scale, source), max(task.classes, 1), seed, backbone)
            history = tune(model, task, schedule, scale.sampling)
            best = max(row["validation"] for row in history if "validation" in row)
            result = score(task.classes, test, spans(model, task, "test", scale.sampling))
            runs.setdefault(batch, []).append((best, result))
    batch = max(runs, key=lambda size: float(np.mean([best for best, _ in runs[size]])))
    tests = np.array([test for _, test in runs[batch]])
    return {
        "metric": "accuracy" if task.classes else "mse",
        "test": float(tests.mean()),
        "standard_error": float(tests.std(ddof=1) / len(tests) ** 0.5) if len(tests) > 1 else None,
        "without_looking": without_looking(task.classes, train, test),
        "batch": batch,
        "videos": {split: len(rows) for split, rows in task.rows.items()},
        "missing": task.missing,
    }


def _design(options: argparse.Namespace, scale: Scale, source: Source) -> Design:
    return Design(options.model, source.feature_dims, {**scale.model, "form": options.form})


def _pretrain(
    options: argparse.Namespace, scale: Scale, source: Source, lvu: Benchmark
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights of a backbone, and what its training told; on the training videos of all tasks."""
    videos = [boxes for video in lvu.videos("train") if (boxes := source.instances(video)) is not None]
    model, history = pretrain(
        _design(options, scale, source), options.pretrain, source.teacher, videos, scale.pretraining, scale.sampling
    )
    figures = {"videos": len(videos), "first": history[0], "last": history[-1]}
    print(f"pre-training on {len(videos)} videos: loss {history[0]['total']:.3f} to {history[-1]['total']:.3f}")
    return {name: value.cpu() for name, value in model.backbone.state_dict().items()}, figures


def _annotations(given: str) -> Benchmark:
    if given != SIMULATED:
        return read_benchmark(Path(given))
    with tempfile.TemporaryDirectory() as folder:
        write_simulated_annotations(Path(folder))
        return read_benchmark(Path(folder))


def _source(options: argparse.Namespace, lvu: Benchmark) -> Source:
    import torch

    classes = {name: len(names) for name, names in lvu.classes.items()}
    if options.features == SIMULATED:
        made = simulation()
        targets: dict[str, dict[str, float]] = {}
        for task, rows in lvu.rows.items():
            for row in rows:
                targets.setdefault(row.video, {})[task] = row.target
        teacher = Teacher(*(torch.from_numpy(value) for value in made.teacher()))

        def simulate(video: str) -> Instances:
            return simulated_video(made, video, lvu.durations.get(video, DURATION_S), targets[video], classes)

        return Source(simulate, (made.prototypes.shape[1],), teacher)
    folder = Path(options.features)
    sources = (PERSON, OBJECT) if options.objects else (PERSON,)
    loaded = {video: load_instances(folder, video, sources) for video in lvu.videos()}
    dim = channels(loaded, folder)
    read = read_teacher(options.teacher, dim) if options.teacher is not None else None
    return Source(loaded.get, (dim,) * len(sources), read)


def _plain(scale: Scale) -> dict[str, Any]:
    schedules = {name: getattr(scale, name).model_dump() for name in ("pretraining", "tuning")}
    return {**vars(scale), **schedules, "sampling": asdict(scale.sampling)}


def _spoken(options: argparse.Namespace) -> list[str]:
    names = ("annotations", "features", "model", "form", "pretrain", "scale", "seeds")
    return [f"--{name} {getattr(options, name)}" for name in names]


def _print(name: str, figures: Mapping[str, Any]) -> None:
    if "skipped" in figures:
        print(f"{name}: {figures['skipped']}")
        return
    error = "" if figures["standard_error"] is None else f" ± {figures['standard_error']:.3f}"
    print(
        f"{name}: {figures['metric']} {figures['test']:.3f}{error} (without looking {figures['without_looking']:.3f}; "
        f"{figures['videos']['test']} videos, {len(figures['missing'])} missing; {figures['cpu_s']} CPU s)"
    )
