"""pretrain: action classification pre-training (ACP) of the snippet encoder (LoFi, section 4.2).

In: frames (or compressed streams, as the encoder wants), and the segments of subset ``pretrain.subset``. A clip is one
snippet within an action instance; its label is the instance's. Out: the encoder after ACP (``acp``), the same encoder
before it (``untrained``), and the training's history. With a set of its own as ``auxiliary`` this is the paper's ACP; on
the target's segments (``training``), which a data set without auxiliary videos falls back to, it is ACP+.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.datasets.schema import SUBSETS, Dataset, Segment
from pipeline.run import kinds
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, DatasetStage, StageError
from stages import _encoder, _outputs, _snippets, _training


class Pretrain(Section):
    """Section ``pretrain`` of params.yaml."""

    encoder: _encoder.EncoderSpec
    subset: Literal["auxiliary", "training"] = Field("auxiliary", description="whose segments are classified")
    dropout: float = Field(0.5, ge=0, lt=1)
    min_scale: float = Field(0.8, gt=0, le=1, description="smallest random window, relative to the largest")
    training: _training.Optimisation


def inputs(context: Context) -> Sequence[Path]:
    """Everything that is read."""
    return [context.root / _outputs.DATASET_FILE, context.root / _snippets.source(context.params.encoder)]


def pretrain(context: Context) -> Mapping[str, float]:
    """Train encoder and linear classifier on clips; metric: top-1 accuracy on the validation segments."""
    import numpy as np
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

    from models.encoders.snippets import snippet_features
    from models.heads import build_head
    from models.norm import train_mode
    from pipeline.datasets.snippets import segment_clip_center
    from pipeline.training.device import device
    from pipeline.training.sampler import batch_indices, step_rng

    params: Pretrain = context.params
    spec, options = params.encoder, params.training
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    source = _snippets.Snippets.of_root(context.root, spec, [v.id for v in dataset])
    index = {label: i for i, label in enumerate(dataset.classes)}

    def clips_of(subset: str) -> list[tuple[str, Segment]]:
        return [(v.id, s) for v in dataset.subset(subset) if v.id in source for s in v.segments]

    items, held_out = clips_of(params.subset), clips_of("validation")
    if not items and params.subset == "auxiliary":
        context.progress.say(
            "the data set has no auxiliary segments: pre-training on the training ones, the paper's ACP+"
        )
        items = clips_of("training")
    if not items or not held_out:
        have = ", ".join(f"{len(clips_of(name))} in {name}" for name in SUBSETS)
        raise StageError(
            f"data set {dataset.name}: pre-training needs segments in training and validation; there are {have}"
        )

    _training.prepare(options)
    encoder = _encoder.build(spec)
    _encoder.save(context.result / "untrained", encoder, spec)
    head = build_head(
        "recognition", feature_dim=encoder.feature_dim, classes=len(dataset.classes), dropout=params.dropout
    )
    model = nn.ModuleDict({"encoder": encoder, "head": head}).to(device())
    train_mode(model, "running")

    def clip(item: tuple[str, Segment], rng: np.random.Generator | None) -> Tensor:
        id_, segment = item
        center = np.array([segment_clip_center(segment, spec.window_s, rng)])
        return source.clips(id_, center, rng, params.min_scale)[0]

    def batches(step: int) -> tuple[Tensor, Tensor]:
        rng = step_rng(options.seed, step)
        chosen = [items[i] for i in batch_indices(options.seed, step, options.batch, len(items), "wrap")]
        labels = torch.tensor([index[segment.label] for _, segment in chosen])
        return torch.stack([clip(item, rng) for item in chosen]), labels

    def loss(model: nn.ModuleDict, batch: tuple[Tensor, Tensor], _generator: torch.Generator) -> dict[str, Tensor]:
        clips, labels = batch
        logits = model["head"](snippet_features(model["encoder"], clips))
        return {"total": F.cross_entropy(logits, labels)}

    def accuracy(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, nn.ModuleDict)
        correct = 0
        for start in range(0, len(held_out), options.batch):
            part = held_out[start : start + options.batch]
            clips = torch.stack([clip(item, None) for item in part]).to(device())
            predicted = model["head"](snippet_features(model["encoder"], clips)).argmax(dim=1).cpu()
            correct += int((predicted == torch.tensor([index[s.label] for _, s in part])).sum())
        return {"accuracy": correct / len(held_out)}

    result = _training.fit(context, options, model, loss, batches, name="acp", validate=accuracy, metric="accuracy")
    _encoder.save(context.result / "acp", encoder, spec)
    best = max(row["accuracy"] for row in result.history if "accuracy" in row)
    return {"accuracy": best, "clips": float(len(items)), "best_step": float(result.best_step)}


STAGE = DatasetStage(
    name="pretrain",
    section=Pretrain,
    reads=(kinds.FRAMES, kinds.COMPRESSED),
    needs="gpu",
    code=lambda params, _root, _variant: [
        _encoder.table_entry(params.encoder),
        "models.heads.recognition:RecognitionHead",
    ],
    inputs=inputs,
    run=pretrain,
    checkpoints={"acp": "stages._served", "untrained": "stages._served"},
    outs={
        "acp": _outputs.ENCODERS.format(variant="acp"),
        "untrained": _outputs.ENCODERS.format(variant="untrained"),
        "history": "data/checkpoints/history/pretrain",
    },
)

if __name__ == "__main__":
    main("pretrain")
