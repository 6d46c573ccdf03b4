"""Training of the classifier of whole videos, on the features that the head is trained on."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.datasets.schema import Video
from pipeline.run.stage import Context
from stages import _lr_search, _training

if TYPE_CHECKING:
    from torch import Tensor, nn


def train(
    context: Context,
    options: _training.Optimisation,
    training: Mapping[Video, "Tensor"],
    validation: Mapping[Video, "Tensor"],
    classes: Sequence[str],
) -> tuple["nn.Module", float]:
    """The classifier of whole videos on stored features ``[F, L]``, and its validation mAP over the classes that occur.

    A video has as many labels as classes occur in it, or none: each class is a question of its own (binary cross-entropy).
    """
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

    from models.heads import build_head
    from models.heads.video_classifier import VideoClassifier
    from pipeline.evaluation.multilabel import average_precision
    from pipeline.training.device import device
    from pipeline.training.sampler import batch_indices

    index = {label: i for i, label in enumerate(classes)}

    def present(videos: Sequence[Video]) -> Tensor:
        labels = torch.zeros(len(videos), len(classes))
        for row, video in enumerate(videos):
            labels[row, [index[segment.label] for segment in video.segments]] = 1
        return labels

    features, labels = torch.stack(list(training.values())), present(list(training))
    held_out, asked = torch.stack(list(validation.values())), present(list(validation)).bool().numpy()
    _training.prepare(options)
    classifier = build_head("video_classifier", feature_dim=features.shape[1], classes=len(classes))
    assert isinstance(classifier, VideoClassifier)
    classifier.fit_standardisation(features.transpose(1, 2).flatten(0, 1))
    classifier.to(device())

    def batches(step: int) -> tuple[Tensor, Tensor]:
        chosen = torch.from_numpy(batch_indices(options.seed, step, options.batch, len(features), "wrap"))
        return features[chosen], labels[chosen]

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor], _generator: torch.Generator) -> dict[str, Tensor]:
        return {"total": F.binary_cross_entropy_with_logits(model(batch[0]), batch[1])}

    def mean_precision(model: nn.Module) -> dict[str, float]:
        scores = model(held_out.to(device())).double().cpu().numpy()
        found = [average_precision(scores[:, c], asked[:, c]) for c in range(len(classes)) if asked[:, c].any()]
        return {"video_mAP": sum(found) / max(1, len(found))}

    result = _training.fit(
        context, options, classifier, loss, batches, name="video_classifier", validate=mean_precision, metric="video_mAP"
    )  # fmt: skip
    return classifier, _lr_search.best_value(result, "video_mAP")
