"""pretrain: what the snippet encoder learns before localisation (LoFi, sections 4.2 and 4.8).

In: frames (or compressed streams, as the encoder wants), and the videos of subset ``pretrain.subset``. Out: the encoder
after pre-training (``acp``), the same encoder before it (``untrained``), and the trainings' histories.

By default the task is action classification (ACP): a clip is one snippet within an action instance, its label is the
instance's. ``plus`` goes on with the target's own positive segments (ACP+). The self-supervised tasks of Table 8 are
``arrow_of_time`` and ``playback_speed``; of several tasks each trains an encoder of its own, and their features stand
side by side. ``initial`` starts from a file of weights, such as torchvision's ImageNet ResNets or a TSM of Kinetics; then
``untrained`` is that file's encoder, Table 1's first row. (dvc sees the file's name, the work store its content.)
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.datasets.schema import Dataset
from pipeline.run import kinds
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, DatasetStage
from stages import _encoder, _outputs, _pretext, _snippets, _training

if TYPE_CHECKING:
    from torch import nn

_FITS = {"classification": "acp"}


class Pretrain(Section):
    """Section ``pretrain`` of params.yaml."""

    encoder: _encoder.EncoderSpec
    initial: str | None = Field(
        None, description="file of weights to start from, relative to the project; none: random"
    )
    tasks: tuple[_pretext.TaskName, ...] = Field(("classification",), min_length=1, description="an encoder for each")
    subset: Literal["auxiliary", "training"] = Field("auxiliary", description="whose videos are learned from")
    dropout: float = Field(0.5, ge=0, lt=1)
    min_scale: float = Field(0.8, gt=0, le=1, description="smallest random window, relative to the largest")
    training: _training.Optimisation
    plus: _training.Optimisation | None = Field(None, description="ACP+: go on with the training subset's segments")


def inputs(context: Context) -> Sequence[Path]:
    """Everything that is read."""
    params: Pretrain = context.params
    weights = [context.root / params.initial] if params.initial else []
    return [context.root / _outputs.DATASET_FILE, context.root / _snippets.source(params.encoder), *weights]


def pretrain(context: Context) -> Mapping[str, float]:
    """Train an encoder for each task; metrics: top-1 accuracy on the validation videos with intervals and chance."""
    from copy import deepcopy

    params: Pretrain = context.params
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    source = _snippets.Snippets.of_root(context.root, params.encoder, [v.id for v in dataset])
    started, trained, metrics = [], [], dict[str, float]()
    for name in params.tasks:
        task = _pretext.task(name, dataset, source, params.subset, context.progress.say)
        _training.prepare(params.training)
        encoder = _start(context, params)
        started.append(deepcopy(encoder))
        model = _with_head(encoder, task, params.dropout)
        metrics |= _fit(context, params.training, model, task, source, _FITS.get(name, name))
        if params.plus is not None and name == "classification":
            own = _pretext.classification(dataset, source, "training")
            metrics |= _fit(context, params.plus, model, own, source, "acp_plus")
        trained.append(encoder)
    spec = params.encoder.model_copy(update={"copies": len(trained)})
    for folder, encoders in (("untrained", started), ("acp", trained)):
        _encoder.save(context.result / folder, _encoder.combined(encoders), spec)
    return metrics


def _start(context: Context, params: Pretrain) -> "nn.Module":
    """The encoder, from ``initial`` where that is given: our own safetensors, or a public checkpoint of its family."""
    from models.checkpoints import load_checkpoint
    from models.weights import load_weights

    encoder = _encoder.build(params.encoder)
    if params.initial:
        path = context.root / params.initial
        found = load_weights(encoder, path) if path.suffix == ".safetensors" else load_checkpoint(encoder, path)
        context.progress.say(f"starting from {params.initial} ({found.format}); not used: {list(found.not_loaded)}")
    return encoder


def _with_head(encoder: "nn.Module", task: _pretext.Task, dropout: float) -> "nn.ModuleDict":
    from torch import nn

    from models.heads import build_head
    from models.norm import train_mode
    from pipeline.training.device import device

    head = build_head("recognition", feature_dim=encoder.feature_dim, classes=task.classes, dropout=dropout)
    model = nn.ModuleDict({"encoder": encoder, "head": head}).to(device())
    train_mode(model, "running")
    return model


def _fit(
    context: Context,
    options: _training.Optimisation,
    model: "nn.ModuleDict",
    task: _pretext.Task,
    source: _snippets.Snippets,
    name: str,
) -> dict[str, float]:
    """One training; the model ends with its best weights. Metrics of the stage."""
    import numpy as np
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

    from models.encoders.snippets import snippet_features
    from pipeline.evaluation.accuracy import top1
    from pipeline.training.device import device
    from pipeline.training.sampler import batch_indices, step_rng

    min_scale = context.params.min_scale

    def batches(step: int) -> tuple[Tensor, Tensor]:
        rng = step_rng(options.seed, step)
        order = batch_indices(options.seed, step, options.batch, len(task.examples), "wrap")
        drawn = [_pretext.draw(task, task.examples[i], source, rng, min_scale) for i in order]
        return torch.stack([clip for clip, _ in drawn]), torch.tensor([label for _, label in drawn])

    def logits(model: nn.Module, clips: Tensor) -> Tensor:
        assert isinstance(model, nn.ModuleDict)
        result: Tensor = model["head"](snippet_features(model["encoder"], clips))
        return result

    def loss(model: nn.ModuleDict, batch: tuple[Tensor, Tensor], _generator: torch.Generator) -> dict[str, Tensor]:
        return {"total": F.cross_entropy(logits(model, batch[0]), batch[1])}

    labels = np.array([example.label for example in task.held_out])

    def scores(model: nn.Module) -> np.ndarray:
        rows = []
        for start in range(0, len(task.held_out), options.batch):
            part = task.held_out[start : start + options.batch]
            clips = torch.stack([_pretext.draw(task, one, source, None, min_scale)[0] for one in part])
            rows.append(logits(model, clips.to(device())).float().cpu().numpy())
        return np.concatenate(rows)

    def accuracy(model: nn.Module) -> dict[str, float]:
        return {"accuracy": float((scores(model).argmax(axis=1) == labels).mean())}

    result = _training.fit(context, options, model, loss, batches, name=name, validate=accuracy, metric="accuracy")
    model.eval()
    with torch.inference_mode():
        final = scores(model)
    video = np.unique([example.video for example in task.held_out], return_inverse=True)[1]
    found = top1({name: final}, labels, video).interval(name)
    prefix = "" if name == "acp" else f"{name}/"
    return {
        **found.metrics(f"{prefix}accuracy"),
        f"{prefix}chance": 1 / task.classes,
        f"{prefix}clips": float(len(task.examples)),
        f"{prefix}best_step": float(result.best_step),
    }


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
