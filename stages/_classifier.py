"""An encoder with a classifier, trained on clips: the loop's batches, loss and metric, at one shape or by multigrid."""

import io
from typing import TYPE_CHECKING

import numpy as np

from pipeline.datasets.schema import Dataset
from pipeline.run.files import write_bytes
from pipeline.run.stage import Context
from stages import _multigrid, _pretext, _snippets, _training, _views

if TYPE_CHECKING:
    from torch import Tensor, nn

FITS = {"classification": "acp"}
"""What the training of a task is called, where that is not the task's own name."""


def with_head(encoder: "nn.Module", classes: int, dropout: float) -> "nn.ModuleDict":
    """Encoder and classifier on the device, in training mode."""
    from torch import nn

    from models.heads import build_head
    from models.norm import train_mode
    from pipeline.training.device import device

    head = build_head("recognition", feature_dim=encoder.feature_dim, classes=classes, dropout=dropout)
    model = nn.ModuleDict({"encoder": encoder, "head": head}).to(device())
    train_mode(model, "running")
    return model


def logits(model: "nn.Module", clips: "Tensor") -> "Tensor":
    """``[n, C, T, H, W]`` uint8 to ``[n, classes]``."""
    from torch import Tensor, nn

    from models.encoders.snippets import snippet_features

    assert isinstance(model, nn.ModuleDict)
    result: Tensor = model["head"](snippet_features(model["encoder"], clips))
    return result


def fit(
    context: Context,
    options: _multigrid.ClipTraining,
    model: "nn.ModuleDict",
    task: _pretext.Task,
    source: _snippets.Snippets,
    name: str,
) -> dict[str, float]:
    """One training; the model ends with its best weights. Metrics of the stage."""
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

    from pipeline.evaluation.accuracy import top1
    from pipeline.training.device import device
    from pipeline.training.grid import Grid
    from pipeline.training.sampler import batch_indices, step_rng, take

    params, spec = context.params, source.spec
    full = Grid(options.batch, spec.frames, spec.height, spec.width)
    plan = _multigrid.plan(options, full, len(task.examples))
    split = plan is not None and _splittable(model)
    if plan is not None:
        context.progress.say(f"{name}: multigrid\n{plan.table()}")
        if not split:
            context.progress.say("batch normalisation is 2-D here: statistics are of the whole batch, not of its parts")

    def batches(step: int) -> tuple[Tensor, Tensor, int]:
        rng, grid = step_rng(options.seed, step), full if plan is None else plan.grid(step)
        if plan is None:
            order, parts = batch_indices(options.seed, step, options.batch, len(task.examples), "wrap"), 1
        else:
            order, parts = (
                take(options.seed, plan.clips_before(step), grid.B, len(task.examples)),
                plan.sub_batches(step),
            )
        shape = _multigrid.shape(grid, full, params.min_scale, params.flip)
        drawn = [_pretext.draw(task, task.examples[i], source, rng, shape) for i in order]
        return torch.stack([clip for clip, _ in drawn]), torch.tensor([label for _, label in drawn]), parts

    def loss(model: nn.ModuleDict, batch: tuple[Tensor, Tensor, int], _: torch.Generator) -> dict[str, Tensor]:
        clips, labels, parts = batch
        if split:
            from models.sub_batch_norm import set_parts

            set_parts(model, parts)
        return {"total": F.cross_entropy(logits(model, clips), labels)}

    labels = np.array([example.label for example in task.held_out])

    def scores(model: nn.Module) -> np.ndarray:
        rows = []
        for start in range(0, len(task.held_out), options.batch):
            part = task.held_out[start : start + options.batch]
            clips = torch.stack([_pretext.draw(task, one, source, None)[0] for one in part])
            rows.append(logits(model, clips.to(device())).float().cpu().numpy())
        return np.concatenate(rows)

    def accuracy(model: nn.Module) -> dict[str, float]:
        return {"accuracy": float((scores(model).argmax(axis=1) == labels).mean())}

    if plan is not None:
        options = options.model_copy(update={"steps": plan.steps})
    if not task.selects:
        options = options.model_copy(update={"validate_every": 0})
    result = _training.fit(
        context,
        options,
        model,
        loss,
        batches,
        name=name,
        validate=accuracy,
        metric="accuracy",
        schedule=None if plan is None else plan.lr,
    )
    model.eval()
    with torch.inference_mode():
        final = scores(model)
    video = np.unique([example.video for example in task.held_out], return_inverse=True)[1]
    found = top1({name: final}, labels, video).interval(name)
    prefix = "" if name == "acp" else f"{name}/"
    planned = {} if plan is None else {f"{prefix}steps": float(plan.steps), f"{prefix}epochs": plan.epochs}
    return {
        **found.metrics(f"{prefix}accuracy"),
        f"{prefix}chance": 1 / task.classes,
        f"{prefix}clips": float(len(task.examples)),
        f"{prefix}best_step": float(result.best_step),
        **planned,
    }


def _splittable(model: "nn.Module") -> bool:
    """Prepare batch normalisation for parts; False where there is none that could be split (TSM's is 2-D)."""
    from torch import nn

    from models.sub_batch_norm import with_sub_batches

    with_sub_batches(model)
    return any(isinstance(child, nn.BatchNorm3d) for child in model.modules())


def protocol(
    context: Context,
    model: "nn.ModuleDict",
    views: _views.Views,
    dataset: Dataset,
    source: _snippets.Snippets,
    batch: int,
) -> dict[str, float]:
    """Score the videos of a subset by a clip protocol; writes ``history/recognition.npz`` and gives the accuracies.

    The file holds the raw scores [V, C] of each video under its id: what ``python -m pipeline evaluate`` reads.
    """
    from pipeline.evaluation.accuracy import top1
    from pipeline.evaluation.recognition import combine_views, recognition
    from pipeline.training.device import device

    videos = _views.trimmed(dataset.subset(views.subset), source)
    context.progress.start("videos scored", len(videos))
    found = _views.score(
        lambda clips: logits(model, clips.to(device())), views, videos, dataset.classes, source, batch,
        context.progress.update,
    )  # fmt: skip
    combined = combine_views(found.scores, views.combine)
    result = recognition(combined, found.labels)
    buffer = io.BytesIO()
    np.savez(buffer, **dict(zip(found.ids, found.scores, strict=True)))
    write_bytes(context.result / "history" / "recognition.npz", buffer.getvalue())
    interval = top1({"views": combined}, found.labels, np.arange(len(videos))).interval("views")
    return {
        "views/top1": result.top1,
        "views/top1_low": 100 * interval.low,
        "views/top1_high": 100 * interval.high,
        "views/top5": result.top5,
        "views/mean_class": result.mean_class,
        "views/videos": float(result.videos),
        "views/per_video": float(found.scores.shape[1]),
    }
