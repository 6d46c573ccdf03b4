"""Training of the classifier of segments, with or without long-term context, on the features that the head is trained on."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.datasets.schema import Video
from pipeline.run.stage import Context
from stages import _detections, _lr_search, _training
from stages._head_context import Banks, InBank

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from models.heads.bank_context import BankContext
    from models.heads.segment_classifier import SegmentClassifier


def train(
    context: Context,
    options: _training.Optimisation,
    jitter: float,
    training: Mapping[Video, "Tensor"],
    validation: Mapping[Video, "Tensor"],
    classes: Sequence[str],
    banks: Banks | None,
) -> "tuple[SegmentClassifier, BankContext | None, float]":
    """The linear classifier of pooled segments, its context where there are banks, and its validation accuracy.

    ``jitter`` is the largest shift of a segment's ends, relative to its length.
    """
    import torch
    from torch import Tensor, nn

    from models.heads import build_head
    from models.heads.bank_context import BankSegmentClassifier
    from models.heads.segment_classifier import SegmentClassifier, pool_segments
    from pipeline.training.sampler import batch_indices, step_rng

    index = {label: i for i, label in enumerate(classes)}
    examples = [(v, k) for v in training for k in range(len(v.segments))]
    relative = {v: _detections.relative_segments(v) for v in [*training, *validation]}
    labels = {v: torch.tensor([index[s.label] for s in v.segments]) for v in relative}

    def around(segments: Sequence[tuple[Video, Tensor]], rng: "np.random.Generator | None" = None) -> tuple[Any, ...]:
        """What the model is given beside the pooled features."""
        seen = [(InBank(video.id, video.duration_s), ends) for video, ends in segments]
        return (banks.of_segments(seen, rng),) if banks else ()

    held_out = torch.cat([pool_segments(f, relative[v]) for v, f in validation.items()])
    held_out_around = around([(v, ends) for v in validation for ends in relative[v]])
    held_out_labels = torch.cat([labels[v] for v in validation])
    _training.prepare(options)
    feature_dim = held_out.shape[1]
    classifier = build_head("segment_classifier", feature_dim=feature_dim, classes=len(classes))
    assert isinstance(classifier, SegmentClassifier)
    classifier.fit_standardisation(torch.cat([pool_segments(f, relative[v]) for v, f in training.items()]))
    made = banks.context(feature_dim, [InBank(v.id, v.duration_s) for v in training]) if banks else None
    model: Any = BankSegmentClassifier(classifier, made) if made else classifier

    def pooled_batch(step: int) -> tuple[Any, ...]:
        rng = step_rng(options.seed, step)
        chosen = batch_indices(options.seed, step, options.batch, len(examples), "wrap")
        shifted = []
        for i in chosen:
            video, k = examples[i]
            segment = relative[video][k]
            # Proposals miss the truth's ends by a little; so do the examples.
            shift = torch.from_numpy(rng.uniform(-jitter, jitter, 2)).float() * (segment[1] - segment[0])
            shifted.append((video, segment + shift))
        pooled = torch.stack([pool_segments(training[video], ends[None])[0] for video, ends in shifted])
        wanted = torch.stack([labels[v][k] for v, k in (examples[i] for i in chosen)])
        return pooled, *around(shifted, rng), wanted

    def loss(model: Any, batch: tuple[Any, ...], _g: "torch.Generator") -> dict[str, Tensor]:
        return {"total": nn.functional.cross_entropy(model.classify(*batch[:-1]), batch[-1])}

    def accuracy(model: Any) -> dict[str, float]:
        logits = model.classify(held_out, *held_out_around)
        return {"accuracy": float((logits.argmax(dim=1) == held_out_labels).float().mean())}

    named = _training.fit(
        context, options, model, loss, pooled_batch, name="classifier", validate=accuracy, metric="accuracy"
    )
    return classifier, made, _lr_search.best_value(named, "accuracy")
