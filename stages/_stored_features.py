"""Training a localiser on features that do not change: all of ``head``'s, and what ``lofi`` does before it goes end to end.

Weights are chosen by the proposals on the validation videos, classes aside; end to end too.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.datasets.schema import Video
from pipeline.run.stage import Context
from stages import _detections, _localiser, _training

if TYPE_CHECKING:
    from torch import Tensor

    from models.heads.standardise import StandardisedLocaliser
    from pipeline.training.loop import TrainResult

METRIC = "proposal_mAP"


def fit(
    context: Context,
    options: _training.Optimisation,
    localiser: "StandardisedLocaliser",
    training: "Mapping[Video, Tensor]",
    validation: "Mapping[Video, Tensor]",
    name: str,
) -> "TrainResult":
    """Train ``localiser``, its standardisation too, on features ``[F, L]`` of videos; ``name``: of this training."""
    import torch
    from torch import Tensor

    from pipeline.training.sampler import batch_indices

    videos = list(training)
    localiser.standardise.fit(torch.stack(list(training.values())))

    def batches(step: int) -> tuple[Tensor, list[Tensor]]:
        chosen = [videos[i] for i in batch_indices(options.seed, step, options.batch, len(videos), "wrap")]
        return torch.stack([training[v] for v in chosen]), [_detections.relative_segments(v) for v in chosen]

    def loss(
        model: "StandardisedLocaliser", batch: tuple[Tensor, list[Tensor]], generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        return _localiser.loss(model, *batch, generator)

    return _training.fit(
        context,
        options,
        localiser,
        loss,
        batches,
        name=name,
        validate=lambda _: proposal_map(localiser, list(validation), validation.values()),
        metric=METRIC,
    )


def proposal_map(
    localiser: "StandardisedLocaliser", videos: Sequence[Video], features: "Iterable[Tensor]"
) -> dict[str, float]:
    """The metric that weights are chosen by, of features ``[F, L]`` of each of the videos."""
    from pipeline.training.device import device

    post = _detections.Postprocess()  # for the choice of weights only
    kept = []
    for one in features:
        kept += _detections.suppressed(localiser, localiser(one.unsqueeze(0).to(device())), post)
    return {METRIC: _detections.proposal_map(videos, kept)}


def best(result: "TrainResult") -> float:
    """The metric of the chosen weights."""
    return max(row[METRIC] for row in result.history if METRIC in row)
