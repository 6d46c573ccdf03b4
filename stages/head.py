"""head@E: the localisation head on encoder E's frozen features at full fidelity (LoFi, section 3.1, stage 3).

In: features of encoder E, and the segments. Out: a folder that ``predict`` can use by itself: the localiser (G-TAD or
ActionFormer), trained on subset ``training``, where asked at several learning rates of which the best on validation stays;
the linear classifier that names a proposal's class from the features pooled over it, trained on the same subset's segments,
the same way for every encoder; the one that names the classes of a whole video; and the encoder.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.datasets.schema import Dataset, Video
from pipeline.run import kinds
from pipeline.run.files import write_bytes
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, DatasetStage, StageError
from stages import (
    _detections,
    _encoder,
    _localiser,
    _lr_search,
    _outputs,
    _stored_features,
    _training,
    _video_classifier,
    _video_training,
)

if TYPE_CHECKING:
    from models.heads.standardise import StandardisedLocaliser
    from pipeline.training.loop import TrainResult


class Head(Section):
    """Section ``head`` of params.yaml."""

    name: Literal["gtad", "actionformer"] = Field("gtad", description="the localiser; its sizes are below")
    gtad: _localiser.GTADSpec = _localiser.GTADSpec()
    actionformer: _localiser.ActionFormerSpec = _localiser.ActionFormerSpec()
    training: _training.Optimisation
    lr_search: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(
        None, description="learning rates to choose from by validation proposals; none: that of training"
    )
    classifier: _training.Optimisation
    jitter: float = Field(0.1, ge=0, lt=0.5, description="shift of training segments' ends, relative to their length")


def inputs(context: Context) -> Sequence[Path]:
    """Everything that is read."""
    features = context.root / _outputs.FEATURES.format(variant=context.variant)
    encoder = context.root / _outputs.ENCODERS.format(variant=context.variant)
    return [context.root / _outputs.DATASET_FILE, features, encoder]


def train_head(context: Context) -> Mapping[str, float]:
    """Train the localiser (best by validation proposals) and the segment classifier (best by validation accuracy)."""
    import torch
    from torch import Tensor, nn

    from models.heads import build_head
    from models.heads.segment_classifier import SegmentClassifier, pool_segments
    from pipeline.training.device import device
    from pipeline.training.sampler import batch_indices, step_rng

    params: Head = context.params
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    folder = _outputs.FEATURES.format(variant=context.variant)

    def with_features(subset: str) -> dict[Video, Tensor]:
        stored = _outputs.existing(context.root, folder, dataset.subset(subset))
        return {video: _detections.read_features(path) for video, path in stored.items()}

    training, validation = with_features("training"), with_features("validation")
    if not training or not validation:
        raise StageError("the head needs videos with features in the subsets 'training' and 'validation'")
    feature_dim = len(next(iter(training.values())))

    spec = _localiser.LocaliserSpec(params.name, getattr(params, params.name))

    def trained(options: _training.Optimisation, name: str) -> "tuple[StandardisedLocaliser, TrainResult]":
        _training.prepare(options)
        model = _localiser.build(spec, feature_dim).to(device())
        return model, _stored_features.fit(context, options, model, training, validation, name)

    searched: dict[str, float] = {}
    if params.lr_search:
        names = {"name": "localiser", "metric": _stored_features.METRIC}
        localiser, found, searched = _lr_search.best_rate(context, params.training, params.lr_search, trained, **names)
    else:
        localiser, found = trained(params.training, "localiser")

    index = {label: i for i, label in enumerate(dataset.classes)}
    examples = [(v, k) for v in training for k in range(len(v.segments))]
    relative = {v: _detections.relative_segments(v) for v in [*training, *validation]}
    labels = {v: torch.tensor([index[s.label] for s in v.segments]) for v in relative}
    held_out = torch.cat([pool_segments(f, relative[v]) for v, f in validation.items()])
    held_out_labels = torch.cat([labels[v] for v in validation])
    _training.prepare(params.classifier)
    classifier = build_head("segment_classifier", feature_dim=feature_dim, classes=len(dataset.classes))
    assert isinstance(classifier, SegmentClassifier)
    classifier.fit_standardisation(torch.cat([pool_segments(f, relative[v]) for v, f in training.items()]))

    def pooled_batch(step: int) -> tuple[Tensor, Tensor]:
        rng = step_rng(params.classifier.seed, step)
        chosen = batch_indices(params.classifier.seed, step, params.classifier.batch, len(examples), "wrap")
        rows = []
        for i in chosen:
            video, k = examples[i]
            segment = relative[video][k]
            # Proposals miss the truth's ends by a little; so do the examples.
            shift = torch.from_numpy(rng.uniform(-params.jitter, params.jitter, 2)).float() * (segment[1] - segment[0])
            rows.append(pool_segments(training[video], (segment + shift)[None])[0])
        return torch.stack(rows), torch.stack([labels[v][k] for v, k in (examples[i] for i in chosen)])

    def classifier_loss(
        model: SegmentClassifier, batch: tuple[Tensor, Tensor], _g: torch.Generator
    ) -> dict[str, Tensor]:
        return {"total": nn.functional.cross_entropy(model.classify(batch[0]), batch[1])}

    def accuracy(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, SegmentClassifier)
        return {"accuracy": float((model.classify(held_out).argmax(dim=1) == held_out_labels).float().mean())}

    named = _training.fit(
        context,
        params.classifier,
        classifier,
        classifier_loss,
        pooled_batch,
        name="classifier",
        validate=accuracy,
        metric="accuracy",
    )
    of_videos, video_map = _video_training.train(context, params.classifier, training, validation, dataset.classes)
    snippets, frames = context.shared["features.snippets"], context.shared["frames"]
    compressed = {name: context.shared[f"compressed.{name}"] for name in ("short_side", "b_frames")}
    _localiser.save(context.result / "head", localiser, classifier, spec, dataset.classes, snippets, frames, compressed)
    _video_classifier.save(context.result / "head", of_videos)
    # The encoder goes with its head, so that one folder is all that `predict` needs.
    for name in (_encoder.WEIGHTS_FILE, _encoder.SPEC_FILE):
        encoder = context.root / _outputs.ENCODERS.format(variant=context.variant)
        write_bytes(context.result / "head" / name, (encoder / name).read_bytes())
    return {
        _stored_features.METRIC: _stored_features.best(found),
        "accuracy": _lr_search.best_value(named, "accuracy"),
        "video_mAP": video_map,
        **searched,
    }


STAGE = DatasetStage(
    name="head",
    section=Head,
    variants=_outputs.ENCODER_VARIANTS,
    reads=(kinds.FEATURES,),
    reads_params=("features.snippets", "frames", "compressed.short_side", "compressed.b_frames"),
    needs="gpu",
    code=lambda params, _root, _variant: [*_localiser.entries(params.name), _video_classifier.entry()],
    inputs=inputs,
    run=train_head,
    checkpoints={"head": "stages._served"},
    outs={"head": _outputs.HEADS, "history": "data/checkpoints/history/head-{variant}"},
)

if __name__ == "__main__":
    main("head")
