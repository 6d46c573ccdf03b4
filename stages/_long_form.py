"""Training of long-form models on spans: pre-training, end tasks, and their evaluation (thesis, sections 8.2.2 and 8.4)."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.spans import Instances, Sampling, sample_spans, span_ends
from stages._long_form_schedule import NOT_KEPT, Kept, Schedule, train_model

if TYPE_CHECKING:
    import torch
    from torch import nn

    from models.long_form import PretrainingModel
    from models.object_transformer import Tokens


def tokens_of(
    videos: Sequence[Instances],
    ends: Sequence[int],
    sampling: Sampling,
    rng: np.random.Generator | None = None,
    frames: bool = False,
) -> "Tokens":
    """Spans as the models take them; see :func:`~pipeline.datasets.spans.sample_spans`."""
    import torch

    from models.object_transformer import Tokens, frame_tokens

    arrays = sample_spans(videos, ends, sampling, rng)
    tokens = Tokens(**{name: torch.from_numpy(value) for name, value in arrays.items()})
    return frame_tokens(tokens) if frames else tokens


def pretrain(
    model: "PretrainingModel",
    videos: Sequence[Instances],
    teacher: Callable[["torch.Tensor"], "torch.Tensor"],
    schedule: Schedule,
    sampling: Sampling,
    *,
    mask: bool = True,
    compatibility: bool = True,
    released: bool = False,
    kept: Kept = NOT_KEPT,
) -> list[dict[str, float]]:
    """Train on masked instances (eq. 8.2) and span compatibility (eq. 8.3), and give the history.

    Args:
        model: trained in place.
        videos: those without a box are left out; a step sees two spans of each of ``schedule.batch`` different ones.
        teacher: features ``[..., D]`` to the short-term model's logits, the pseudo-labels.
        schedule: of the training.
        sampling: of the spans.
        mask: use eq. 8.2.
        compatibility: use eq. 8.3.
        released: sigmoid distillation times 80, temperature 0.2, masking twice.
        kept: where the training is kept while it runs.

    Raises:
        ValueError: neither task, or fewer than two videos with a box.
    """
    from models.heads.long_form import compatibility_loss, masked_instance_loss
    from models.masking import mask_instances
    from pipeline.training.sampler import step_rng

    if not (mask or compatibility):
        raise ValueError("neither masked instances nor compatibility: there is nothing to train on")
    known = [video for video in videos if len(video)]
    if len(known) < 2:
        raise ValueError(f"{len(known)} videos have a box; pre-training compares at least 2")
    ends = [span_ends(video, sampling.length_s) for video in known]

    def batches(step: int) -> Any:
        rng = step_rng(schedule.seed, step)
        chosen = rng.choice(len(known), min(schedule.batch, len(known)), replace=False).tolist() * 2
        at = [int(rng.choice(ends[i])) for i in chosen]
        return tokens_of([known[i] for i in chosen], at, sampling, rng, model.frames)

    def loss(model: Any, tokens: Any, generator: "torch.Generator") -> Mapping[str, "torch.Tensor"]:
        masked = mask_instances(tokens, generator, passes=2 if released else 1)
        logits, vectors = model(masked.tokens, masked.hidden) if mask else model(tokens, None)
        terms = {}
        if mask:
            both = logits[masked.chosen], teacher(tokens.feature[masked.chosen])
            terms["mask"] = 80 * masked_instance_loss(*both, "sigmoid") if released else masked_instance_loss(*both)
        if compatibility:
            terms["compatibility"] = compatibility_loss(vectors, 0.2 if released else 1.0)
        return {**terms, "total": sum(terms.values())}  # type: ignore[dict-item]

    return list(train_model(model, loss, batches, schedule, kept=kept).history)


def fine_tune(
    model: "nn.Module",
    videos: Sequence[Instances],
    targets: NDArray[np.floating],
    schedule: Schedule,
    sampling: Sampling,
    *,
    classes: int,
    validate: Callable[["nn.Module"], Mapping[str, float]] | None = None,
    metric: str = "",
    kept: Kept = NOT_KEPT,
) -> list[dict[str, float]]:
    """Train a model of :mod:`models.long_form` on one end task, and give the history; best weights by ``metric`` are kept.

    A step sees one random span of each of its videos, which come in shuffled epochs: a video counts once, however long it
    is (the released code draws from the spans of all videos).

    Args:
        model: trained in place.
        videos: of the training split.
        targets: class index or value of each.
        schedule: of the training.
        sampling: of the spans.
        classes: number of classes, cross-entropy; 0 for a regression, squared error.
        validate: model to metrics on the validation split.
        metric: of these, higher is better.
        kept: where the training is kept while it runs.
    """
    import torch
    from torch.nn.functional import cross_entropy, mse_loss

    from pipeline.training.sampler import step_rng, take

    ends = [span_ends(video, sampling.length_s) for video in videos]
    wanted = torch.from_numpy(np.asarray(targets, np.int64 if classes else np.float32))

    def batches(step: int) -> Any:
        rng = step_rng(schedule.seed, step)
        chosen = take(schedule.seed, step * schedule.batch, schedule.batch, len(videos)).tolist()
        at = [int(rng.choice(ends[i])) for i in chosen]
        return tokens_of([videos[i] for i in chosen], at, sampling, rng), wanted[chosen]

    def loss(model: Any, batch: Any, _generator: "torch.Generator") -> Mapping[str, "torch.Tensor"]:
        tokens, target = batch
        scores = model(tokens)
        return {"total": cross_entropy(scores, target) if classes else mse_loss(scores[:, 0], target)}

    result = train_model(model, loss, batches, schedule, validate, metric, kept)
    model.load_state_dict(result.best_state)
    return list(result.history)


def span_outputs(model: "nn.Module", video: Instances, sampling: Sampling, batch: int = 32) -> NDArray[np.floating]:
    """The model's scores ``[S, outputs]`` of all overlapping spans of a video; nothing is masked, nothing random."""
    import torch

    from pipeline.training.device import to_device

    where, training = next(model.parameters()).device, model.training
    ends = span_ends(video, sampling.length_s, sampling.step_s).tolist()
    model.eval()
    with torch.no_grad():
        parts = [
            model(to_device(tokens_of([video] * len(some), some, sampling), where)).cpu()
            for start in range(0, len(ends), batch)
            for some in (ends[start : start + batch],)
        ]
    model.train(training)
    scores: NDArray[np.floating] = torch.cat(parts).numpy()
    return scores
