"""Training a localiser together with its long-term context, on features and banks that do not change."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.datasets.schema import Video
from pipeline.run.stage import Context
from stages import _detections, _stored_features, _training
from stages._head_context import Banks, InBank

if TYPE_CHECKING:
    from torch import Tensor

    from models.heads.bank_context import BankLocaliser
    from models.heads.standardise import StandardisedLocaliser
    from pipeline.training.loop import TrainResult


def fit(
    context: Context,
    options: _training.Optimisation,
    localiser: "StandardisedLocaliser",
    training: "Mapping[Video, Tensor]",
    validation: "Mapping[Video, Tensor]",
    banks: Banks,
    name: str,
) -> "tuple[BankLocaliser, TrainResult]":
    """As :func:`stages._stored_features.fit`, with a fresh context around a fresh ``localiser``."""
    import torch
    from torch import Tensor

    from models.heads.bank_context import BankLocaliser, BankWindows
    from pipeline.training.device import device, to_device
    from pipeline.training.sampler import batch_indices, step_rng

    videos = list(training)
    in_bank = {video: InBank(video.id, video.duration_s) for video in [*videos, *validation]}
    length = next(iter(training.values())).shape[1]
    localiser.standardise.fit(torch.stack(list(training.values())))
    made = banks.context(localiser.feature_dim, [in_bank[video] for video in videos])
    model = BankLocaliser(localiser, made).to(device())

    def batches(step: int) -> tuple[Tensor, BankWindows, list[Tensor]]:
        chosen = [videos[i] for i in batch_indices(options.seed, step, options.batch, len(videos), "wrap")]
        windows = banks.of_snippets([in_bank[v] for v in chosen], length, step_rng(options.seed, step))
        features = torch.stack([training[v] for v in chosen])
        return features, windows, [_detections.relative_segments(v) for v in chosen]

    def loss(
        model: BankLocaliser, batch: tuple[Tensor, BankWindows, list[Tensor]], generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        features, windows, segments = batch
        labels = model.localiser.labels(segments, length)
        terms: Mapping[str, Tensor] = model.localiser.loss(model(features, windows), labels, generator)._asdict()
        return terms

    def validate(_: object) -> dict[str, float]:
        post, kept = _detections.Postprocess(), []
        for video, features in validation.items():
            windows = to_device(banks.of_snippets([in_bank[video]], length), device())
            kept += _detections.suppressed(localiser, model(features[None].to(device()), windows), post)
        return {_stored_features.METRIC: _detections.proposal_map(list(validation), kept)}

    result = _training.fit(
        context, options, model, loss, batches, name=name, validate=validate, metric=_stored_features.METRIC
    )
    return model, result
