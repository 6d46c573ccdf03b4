"""memory: what a long-term feature bank adds to a 3D CNN (Wu et al., CVPR 2019; thesis, chapter 7, table 7.1).

In: the banks of the data set, and what its ``task`` tells: the segments of videos (``seconds``: what happens in each second;
``segments``: verb and noun of each segment), or what each person does in its box (``boxes``). A clip is an instant of the
bank or a box at one; its short-term features are rows of the bank at that instant. Each of ``variants`` (the features alone,
STO, attention, average or maximum over a window of the bank) is trained ``seeds`` times and scored on ``testing``. Out: the
models, their histories, the scores (``scores.npz``: by variant [seeds, N, classes]; labels; names of the rows; of
``segments`` for verb and noun each), the table ``table.json`` of the task's figures with 95 % intervals over videos and
trainings and gains over the first variant on the same resamples; ``attention.json``: where the longest window was looked at;
of ``boxes`` AVA's CSVs too, of ``seconds`` the scores of whole videos (``videos``).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from pipeline.datasets.schema import SUBSETS, Dataset
from pipeline.run import kinds
from pipeline.run.files import write_bytes
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, DatasetStage
from stages import (
    _memory,
    _memory_boxes,
    _memory_examples,
    _memory_seconds,
    _memory_segments,
    _memory_table,
    _memory_training,
    _outputs,
    _training,
)
from stages._memory_training import Data

Scores = dict[str, np.ndarray]


class Memory(Section):
    """Section ``memory`` of params.yaml."""

    task: Literal["seconds", "boxes", "segments"] = Field(
        "seconds",
        description="seconds: what happens in each (Charades); boxes: what each person does at key frames (AVA); "
        "segments: verb and noun of each (EPIC-Kitchens)",
    )
    classes: tuple[str, ...] = Field((), description="that count, as far as the data set has them; none of them: all")
    window: _memory.Window = _memory.Window()
    boxes: _memory_boxes.Boxes = _memory_boxes.Boxes()
    segments: _memory_segments.Segments = _memory_segments.Segments()
    variants: dict[str, _memory.Variant] = Field(
        min_length=2, description="the first is what the others are set against"
    )
    network: _memory_training.Network = _memory_training.Network()
    training: _training.Optimisation
    counted_steps: int = Field(
        0, ge=0, description="first steps of each training that learn only from clips of the classes that count"
    )
    seeds: int = Field(3, ge=1, description="trainings of each variant")
    examples: int = Field(4, ge=0, description="test clips whose attention over time is kept")
    resamples: int = Field(1000, ge=100, description="bootstrap resamples of test videos and trainings")

    @model_validator(mode="after")
    def _usable(self) -> "Memory":
        if wrong := [name for name in self.variants if not name.replace("_", "").isalnum()]:
            raise ValueError(f"variants: {wrong[0]!r} names files; allowed: letters, digits and _")
        if self.task == "segments" and self.classes:
            raise ValueError(f"classes are {', '.join(self.classes)}; with task segments all count: set classes=[]")
        return self


def inputs(context: Context) -> Sequence[Path]:
    """The data set and its banks; for boxes what is true of its videos."""
    found = [context.root / _outputs.DATASET_FILE, context.root / _outputs.BANK]
    if context.params.task == "boxes":
        dataset = Dataset.load(found[0])
        truths = [_outputs.truth(context.root, video) for name in SUBSETS[1:] for video in dataset.subset(name)]
        found += [path for path in truths if path.is_file()]
    return found


def memory(context: Context) -> Mapping[str, float]:
    """Train every variant with every seed, score, compare."""
    params: Memory = context.params
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    parts = read(context.root, dataset, params)
    data = next(iter(parts.values()))
    metrics: dict[str, float] = {
        "training_clips": float(len(data.training)),
        "test_clips": float(len(data.testing)),
        "test_videos": float(len(data.testing.ids)),
        "without_bank": float(sum(len(dataset.subset(s)) for s in SUBSETS[1:]) - len(data.banks.banks)),
        "counted_classes": float(len(data.scored)),
        "positives": float(data.testing.labels[:, list(data.scored)].sum()),
    }
    scores: dict[str, Scores] = {}
    shown: list[dict[str, object]] = []
    for part, one in parts.items():
        scores[part], looked = _train(context, params, one, part)
        shown += looked
        for name, variant in params.variants.items():
            metrics[f"covered/{part}{'_' if part else ''}{name}"] = _memory_training.covered(
                one.testing, one, _of_part(variant, part)
            )
    metrics |= _measure(context, dataset, params, parts, scores)
    _memory_table.write(context.result / "scores", parts, scores, metrics, shown)
    return metrics


def read(root: Path, dataset: Dataset, params: Memory) -> dict[str, Data]:
    """The clips of the task, by the name of what is classified: ``verb`` and ``noun``, or one without a name.

    Raises:
        StageError: nothing to train on, or nothing to test.
    """
    counted = [name for name in params.classes if name in dataset.classes] or list(dataset.classes)
    if params.task == "segments":
        return _memory_segments.read(root, dataset, params.window, params.segments)
    if params.task == "boxes":
        return {"": _memory_boxes.read(root, dataset, counted, params.window, params.boxes)}
    return {"": _memory_seconds.read(root, dataset, counted, params.window)}


def _train(context: Context, params: Memory, data: Data, part: str) -> tuple[Scores, list[dict[str, object]]]:
    """Scores [S, N, C] of the test clips by variant, and examples of the longest window's attention."""
    from models.weights import save_weights

    variants = {name: _of_part(variant, part) for name, variant in params.variants.items()}
    given = (params.segments.noun_training if part == "noun" else None) or params.training
    longest = _memory_examples.longest_window(variants)
    scores: Scores = {}
    shown: list[dict[str, object]] = []
    for name, variant in variants.items():
        tables = []
        for seed in range(params.seeds):
            training = f"{part}{'-' if part else ''}{name}-{seed}"
            own = {"seed": params.training.seed + seed, "lr": variant.lr or given.lr}
            options = given.model_copy(update=own)
            model = _memory_training.fit(
                context, data, params.network, variant, options, training, params.counted_steps
            )
            tables.append(_memory_training.score(model, data.testing, data, variant))
            spec = {"classes": list(data.classes), "variant": name, **variant.model_dump(mode="json")}
            write_bytes(context.result / "models" / f"{training}.safetensors", save_weights(model, spec))
            if name == longest and seed == 0:
                shown = _memory_examples.looked(model, data, name, variant, tables[0], params.examples)
        scores[name] = np.stack(tables)
    return scores, shown


def _of_part(variant: _memory.Variant, part: str) -> _memory.Variant:
    """The variant of one of the networks: nouns may have a window of their own."""
    window_s = (variant.noun_window_s if part == "noun" else None) or variant.window_s
    return variant.model_copy(update={"window_s": window_s, "noun_window_s": None})


def _measure(
    context: Context, dataset: Dataset, params: Memory, parts: Mapping[str, Data], scores: Mapping[str, Scores]
) -> dict[str, float]:
    baseline, seed = next(iter(params.variants)), params.training.seed
    if params.task == "segments":
        separator = params.segments.separator
        return _memory_segments.measure(dataset, parts, scores, separator, params.resamples, seed)
    data, tables = parts[""], scores[""]
    if params.task == "boxes":
        truth = _memory_boxes.true_table(context.root, dataset, data)
        _memory_boxes.write(context.result / "scores" / "ava", data, truth, tables)
        return _memory_boxes.measure(data, truth, tables, baseline, params.resamples, seed)
    _memory_seconds.write(context.result / "scores" / "videos", data.testing, tables)
    return _memory_seconds.measure(dataset, data, tables, baseline, params.resamples, seed)


STAGE = DatasetStage(
    name="memory",
    section=Memory,
    reads=(kinds.BANK, kinds.TRUTH),
    needs="gpu",
    inputs=inputs,
    run=memory,
    outs={
        "models": _outputs.MEMORY_MODELS,
        "scores": _outputs.MEMORY,
        "history": "data/checkpoints/history/memory",
    },
)

if __name__ == "__main__":
    main("memory")
