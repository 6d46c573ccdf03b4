"""memory: what a long-term feature bank adds to a 3D CNN (Wu et al., CVPR 2019; thesis, chapter 7, table 7.1).

In: the banks and the segments of the data set. A clip is every second of a video, labelled by the segments that hold its
middle; its short-term features are rows of the bank at that second (the whole picture, or each person). Each of ``variants``
(the features alone, STO, attention, average or maximum over a window of the bank) is trained ``seeds`` times and scored on
``testing``. Out: the models, their histories, the scores (``scores.npz``: by variant [seeds, N, classes]; labels; names of
the rows), the table ``table.json``: mAP of the classes that count, with 95 % intervals over videos and trainings, gains
over the first variant on the same resamples, and how often those classes are told apart; and ``attention.json``: where the
longest window was looked at.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from pipeline.datasets.schema import SUBSETS, Dataset
from pipeline.run import kinds
from pipeline.run.files import write_bytes, write_json
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, DatasetStage, StageError
from stages import _memory, _memory_training, _outputs, _training
from stages._memory_training import Data


class Memory(Section):
    """Section ``memory`` of params.yaml."""

    classes: tuple[str, ...] = Field((), description="that count, as far as the data set has them; none of them: all")
    window: _memory.Window = _memory.Window()
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
    def _plain_names(self) -> "Memory":
        if wrong := [name for name in self.variants if not name.replace("_", "").isalnum()]:
            raise ValueError(f"variants: {wrong[0]!r} names files; allowed: letters, digits and _")
        return self


def inputs(context: Context) -> Sequence[Path]:
    """The data set and its banks."""
    return [context.root / _outputs.DATASET_FILE, context.root / _outputs.BANK]


def memory(context: Context) -> Mapping[str, float]:
    """Train every variant with every seed, score, compare."""
    from models.weights import save_weights
    from pipeline.evaluation.frame_bootstrap import frame_maps

    params: Memory = context.params
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    data = read(context.root, dataset, params)
    known = [name for name in params.classes if name in dataset.classes] or list(dataset.classes)
    scores: dict[str, np.ndarray] = {}
    metrics: dict[str, float] = {
        "training_clips": float(len(data.training)),
        "test_clips": float(len(data.testing)),
        "test_videos": float(len(data.testing.ids)),
        "without_bank": float(sum(len(dataset.subset(s)) for s in SUBSETS[1:]) - len(data.banks.banks)),
        "counted_classes": float(len(known)),
        "positives": float(data.testing.labels[:, list(data.scored)].sum()),
    }
    windows = {name: v.window_s for name, v in params.variants.items() if v.operator == "nl" and v.window_s is not None}
    longest = max(windows, key=lambda name: windows[name]) if windows else None
    shown: list[dict[str, object]] = []
    for name, variant in params.variants.items():
        tables = []
        for seed in range(params.seeds):
            own = {"seed": params.training.seed + seed, "lr": variant.lr or params.training.lr}
            options = params.training.model_copy(update=own)
            model = _memory_training.fit(
                context, data, params.window, params.network, variant, options, f"{name}-{seed}", len(dataset.classes),
                params.counted_steps,
            )  # fmt: skip
            tables.append(_memory_training.score(model, data.testing, data, params.window, variant))
            spec = {"classes": list(dataset.classes), "variant": name, **variant.model_dump(mode="json")}
            write_bytes(context.result / "models" / f"{name}-{seed}.safetensors", save_weights(model, spec))
            if name == longest and seed == 0:
                shown = _shown(model, data, params, name, tables[0], dataset.classes)
        scores[name] = np.stack(tables)
        metrics[f"covered/{name}"] = _memory_training.covered(data.testing, data.banks, params.window, variant)
    for key, columns in (("mAP", data.scored), ("all_mAP", tuple(range(len(dataset.classes))))):
        maps = frame_maps(
            scores,
            data.testing.labels,
            data.testing.video,
            columns,
            resamples=params.resamples,
            seed=params.training.seed,
        )
        baseline = next(iter(scores))
        for name in scores:
            found = {key: maps.interval(name)}
            if name != baseline:
                found[f"{key}_gain"] = maps.difference(name, baseline)
            for label, interval in found.items():
                metrics |= {f"{label}/{name}": interval.value, f"{label}_low/{name}": interval.low}
                metrics[f"{label}_high/{name}"] = interval.high
    metrics |= _memory_training.told_apart(scores, data, params.resamples, params.training.seed)
    _write(context.result / "scores", scores, data, metrics, shown)
    return metrics


def read(root: Path, dataset: Dataset, params: Memory) -> Data:
    """Clips and banks of all subsets.

    Raises:
        StageError: nothing to train on, or nothing to test.
    """
    subsets = {name: dataset.subset(name) for name in SUBSETS[1:]}
    clips = {name: _memory.read_clips(root, dataset, videos, params.window) for name, videos in subsets.items()}
    classes = [name for name in params.classes if name in dataset.classes] or dataset.classes
    scored = tuple(dataset.classes.index(name) for name in classes)
    for name in ("training", "testing"):
        if not clips[name].labels[:, list(scored)].any():
            raise StageError(
                f"data set {dataset.name}: no second of {name} with a bank has any of the classes {', '.join(classes)}"
            )
    paths = _memory.bank_paths(root, [video for videos in subsets.values() for video in videos])
    training, validation, testing = clips.values()
    return Data(training, validation, testing, _memory.index(paths, params.window), scored)


def _shown(
    model: "object", data: Data, params: Memory, name: str, scores: np.ndarray, classes: Sequence[str]
) -> list[dict[str, object]]:
    """Attention of the clips that a class that counts is most surely and rightly said of, one of a video, class by class."""
    testing, found, used = data.testing, list[dict[str, object]](), set[int]()
    queues = {c: [n for n in np.argsort(-scores[:, c], kind="stable") if testing.labels[n, c]] for c in data.scored}
    while len(found) < params.examples and any(queues.values()):
        for c, queue in queues.items():
            n = next((n for n in queue if testing.video[n] not in used), None)
            queues[c] = [] if n is None else [m for m in queue if testing.video[m] not in used and m != n]
            if n is None or len(found) == params.examples:
                continue
            used.add(int(testing.video[n]))
            looked = _memory_training.attention(model, testing, data, params.window, params.variants[name], int(n))  # type: ignore[arg-type]
            found.append(
                {
                    "variant": name, "video": testing.ids[testing.video[n]], "t": float(testing.t[n]),
                    "label": classes[c], "score": float(scores[n, c]), "rows": looked,
                }
            )  # fmt: skip
    return found


def _write(
    folder: Path, scores: Mapping[str, np.ndarray], data: Data, metrics: Mapping[str, float], shown: Sequence[object]
) -> None:
    buffer = io.BytesIO()
    names = np.array(
        [f"{data.testing.ids[v]} {t:.3f}" for v, t in zip(data.testing.video, data.testing.t, strict=True)]
    )
    arrays: dict[str, Any] = {f"scores_{name}": one for name, one in scores.items()}
    np.savez(buffer, labels=data.testing.labels, names=names, **arrays)
    write_bytes(folder / "scores.npz", buffer.getvalue())
    write_json(folder / "table.json", dict(metrics))
    write_json(folder / "attention.json", list(shown))


STAGE = DatasetStage(
    name="memory",
    section=Memory,
    reads=(kinds.BANK,),
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
