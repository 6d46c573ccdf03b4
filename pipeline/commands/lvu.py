"""The command ``lvu``: pre-train, fine-tune and evaluate on the nine tasks of the LVU benchmark. A door, like the cli.

The video labels of a data set of one's own, such as the procedural world's three, are tasks of the same kind.

Thesis, sections 8.3 and 8.4: accuracy of seven classifications, mean squared error of two regressions, per video over all
its spans; epochs and batch size by the validation split; the test split is reported, mean and standard error over seeds.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.datasets.formats.lvu import SPLITS
from pipeline.datasets.simulated_spans import ACTIONS, simulated_video, simulation, write_simulated_annotations
from pipeline.datasets.spans import OBJECT, PERSON, Instances, Sampling, instances_of
from pipeline.run import kinds
from pipeline.run.files import write_json
from pipeline.run.process import wait_passively
from stages import _long_form
from stages._long_form import Schedule
from stages._long_form_tasks import Benchmark, read_benchmark, score, without_looking

if TYPE_CHECKING:
    from torch import Tensor, nn

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
    # Section 8.4: 308 k iterations of 16 spans; 10 epochs of an end task, batch by the validation split.
    "thesis": Scale(
        {}, Schedule(steps=308_000, batch=8, lr=1e-4), Schedule(steps=0), Sampling(), (16, 32), 10, 0
    ),
}  # fmt: skip
EPOCHS = 10


@dataclass(frozen=True)
class Source:
    """Where tokens come from: the boxes of a video (None: not at hand), channels by source, and the teacher if any."""

    instances: Callable[[str], Instances | None]
    feature_dims: tuple[int, ...]
    teacher: "Callable[[Tensor], Tensor] | None"
    teacher_classes: int


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
        "scale": {**asdict(scale), "name": options.scale},
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
    rows, classes = lvu.rows[name], len(lvu.classes[name])
    found = {row.video: boxes for row in rows if (boxes := source.instances(row.video)) is not None}
    missing = sorted({row.video for row in rows} - found.keys())
    splits = {split: [row for row in rows if row.subset == split and row.video in found] for split in SPLITS}
    empty = [split for split, mine in splits.items() if not mine]
    if empty:
        return {"skipped": f"no video with features in {', '.join(empty)}", "missing": missing}
    runs: dict[int, list[tuple[float, float]]] = {}

    def measured(model: "nn.Module", split: str) -> float:
        spans = {row.video: _long_form.span_outputs(model, found[row.video], scale.sampling) for row in splits[split]}
        return score(name, splits[split], spans)

    for batch in scale.batches:
        for seed in range(options.seeds):
            steps = scale.tuning.steps or max(1, EPOCHS * len(splits["train"]) // batch)
            schedule = replace(scale.tuning, steps=steps, batch=batch, seed=seed)
            schedule = replace(schedule, validate_every=max(1, steps // scale.validations))
            model = _model(options, scale, source, max(classes, 1), seed, backbone)

            history = _long_form.fine_tune(
                model, [found[row.video] for row in splits["train"]], np.array([row.target for row in splits["train"]]),
                schedule, scale.sampling, classes=classes, metric="validation",
                # The loop keeps what is highest.
                validate=lambda model: {"validation": (1 if classes else -1) * measured(model, "val")},
            )  # fmt: skip
            best = max(row["validation"] for row in history if "validation" in row)
            runs.setdefault(batch, []).append((best, measured(model, "test")))
    batch = max(runs, key=lambda size: float(np.mean([best for best, _ in runs[size]])))
    tests = np.array([test for _, test in runs[batch]])
    return {
        "metric": "accuracy" if classes else "mse",
        "test": float(tests.mean()),
        "standard_error": float(tests.std(ddof=1) / len(tests) ** 0.5) if len(tests) > 1 else None,
        "without_looking": without_looking(classes, splits["train"], splits["test"]),
        "batch": batch,
        "videos": {split: len(mine) for split, mine in splits.items()},
        "missing": missing,
    }


def _model(
    options: argparse.Namespace, scale: Scale, source: Source, outputs: int, seed: int, backbone: Any
) -> "nn.Module":
    import torch

    from models.long_form import build_long_form

    torch.manual_seed(seed)
    transformer = "transformer" in options.model
    size = {**scale.model, "form": options.form} if transformer else {}
    model = build_long_form(options.model, source.feature_dims, outputs, **size)
    if transformer and backbone is not None:
        model.backbone.load_state_dict(backbone)  # type: ignore[union-attr]
    return model


def _pretrain(
    options: argparse.Namespace, scale: Scale, source: Source, lvu: Benchmark
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights of a backbone, and what its training told; on the training videos of all tasks."""
    from models.long_form import PretrainingModel

    if "transformer" not in options.model:
        raise ValueError(f"model {options.model} has nothing to pre-train; say --pretrain none")
    mask = options.pretrain in ("mask", "both")
    if mask and source.teacher is None:
        raise ValueError("masked instances are told by the short-term model's classes: --teacher is missing")
    videos = [boxes for video in lvu.videos("train") if (boxes := source.instances(video)) is not None]
    fresh: Any = _model(options, scale, source, 1, 0, None)
    model = PretrainingModel(fresh.backbone, source.teacher_classes, options.form, fresh.frames)
    history = _long_form.pretrain(
        model, videos, source.teacher or (lambda z: z), scale.pretraining, scale.sampling, mask=mask,
        compatibility=options.pretrain in ("compatibility", "both"), released=options.form == "released",
    )  # fmt: skip
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
        weight, bias = (torch.from_numpy(value) for value in made.teacher())

        def simulate(video: str) -> Instances:
            return simulated_video(made, video, lvu.durations.get(video, DURATION_S), targets[video], classes)

        return Source(simulate, (made.prototypes.shape[1],), lambda z: z @ weight.to(z).T + bias.to(z), ACTIONS)
    folder = Path(options.features)
    sources = (PERSON, OBJECT) if options.objects else (PERSON,)
    loaded = {video: load_instances(folder, video, sources) for video in lvu.videos()}
    dims = {boxes.feature.shape[1] for boxes in loaded.values() if boxes is not None}
    if len(dims) != 1:
        raise ValueError(
            f"{folder}: banks of the annotated videos have {sorted(dims) or 'no'} channels; needed: one number"
        )
    dim = dims.pop()
    teacher, count = None, 1
    if options.teacher is not None:
        with np.load(options.teacher, allow_pickle=False) as file:
            weight, bias = torch.from_numpy(file["weight"]).float(), torch.from_numpy(file["bias"]).float()
        if weight.shape != (len(bias), dim):
            raise ValueError(
                f"{options.teacher}: weight is {list(weight.shape)}, bias {len(bias)}; features have {dim}"
            )
        teacher, count = (lambda z: z @ weight.to(z).T + bias.to(z)), len(bias)
    return Source(loaded.get, (dim,) * len(sources), teacher, count)


def load_instances(folder: Path, video: str, sources: Sequence[int]) -> Instances | None:
    """The boxes of a video from the artifacts of the pipeline's stages, None where it has no bank."""
    from pipeline.datasets.schema import file_stem

    name = f"{file_stem(video)}.h5"
    if not (folder / "bank" / name).is_file():
        return None
    with kinds.BANK.open(folder / "bank" / name) as reader:
        bank = {array: reader[array] for array in kinds.BANK.arrays if array != "short"}
        classes = reader.attributes["classes"].split(",")
    with kinds.TRACKS.open(folder / "tracks" / name) as reader:
        width, height = reader.attributes["width"], reader.attributes["height"]
    shots = kinds.SHOTS.read(folder / "shots" / name)["t_start"]
    return instances_of(bank, classes, shots, width, height, sources)


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
