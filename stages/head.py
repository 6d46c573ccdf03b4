"""head@E: the localisation head on encoder E's frozen features at full fidelity (LoFi, section 3.1, stage 3).

In: features of encoder E, the segments, and with ``context`` the feature banks. Out: a folder that ``predict`` can use by
itself: the localiser (G-TAD or ActionFormer), trained on subset ``training``, where asked at several learning rates of
which the best on validation stays; the linear classifier that names a proposal's class from the features pooled over it,
trained on the same subset's segments, the same way for every encoder; the one that names the classes of a whole video; and
the encoder. With ``context``, localiser and classifier each see a window of the video's long-term feature bank around a
snippet or a proposal.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline.datasets.schema import Dataset, Video
from pipeline.run import kinds
from pipeline.run.files import write_bytes
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, DatasetStage, StageError
from stages import (
    _context_training,
    _detections,
    _encoder,
    _head_context,
    _localiser,
    _lr_search,
    _opened_head,
    _outputs,
    _segment_training,
    _stored_features,
    _training,
    _video_classifier,
    _video_training,
)

if TYPE_CHECKING:
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
    context: _head_context.ContextSpec | None = Field(
        None, description="long-term context from the feature bank; null: none"
    )
    beside: Literal["videos", "bank"] = Field(
        "videos", description="what the graph makes before the head, beside features: bank where there is a context"
    )
    jitter: float = Field(0.1, ge=0, lt=0.5, description="shift of training segments' ends, relative to their length")

    @model_validator(mode="after")
    def _bank_where_read(self) -> "Head":
        # dvc.yaml cannot ask whether there is a context; a set without people must not need a detector for its head.
        if (self.context is not None) != (self.beside == "bank"):
            raise ValueError(
                f"beside is {self.beside!r}, context {self.context}: bank belongs to a context, videos to none"
            )
        return self


def inputs(context: Context) -> Sequence[Path]:
    """Everything that is read."""
    features = context.root / _outputs.FEATURES.format(variant=context.variant)
    encoder = context.root / _outputs.ENCODERS.format(variant=context.variant)
    banks = [context.root / _outputs.BANK] if context.params.context else []
    return [context.root / _outputs.DATASET_FILE, features, encoder, *banks]


def train_head(context: Context) -> Mapping[str, float]:
    """Train the localiser (best by validation proposals) and the segment classifier (best by validation accuracy)."""
    from torch import Tensor

    from pipeline.training.device import device

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
    seen = [*training, *validation]
    banks = _head_context.open_banks(context.root, seen, params.context) if params.context else None

    spec = _localiser.LocaliserSpec(params.name, getattr(params, params.name))

    def trained(options: _training.Optimisation, name: str) -> "tuple[Any, TrainResult]":
        _training.prepare(options)
        model = _localiser.build(spec, feature_dim).to(device())
        if banks:
            return _context_training.fit(context, options, model, training, validation, banks, name)
        return model, _stored_features.fit(context, options, model, training, validation, name)

    searched: dict[str, float] = {}
    if params.lr_search:
        names = {"name": "localiser", "metric": _stored_features.METRIC}
        localiser, found, searched = _lr_search.best_rate(context, params.training, params.lr_search, trained, **names)
    else:
        localiser, found = trained(params.training, "localiser")

    classifier, of_segments, accuracy = _segment_training.train(
        context, params.classifier, params.jitter, training, validation, dataset.classes, banks
    )
    of_videos, video_map = _video_training.train(context, params.classifier, training, validation, dataset.classes)
    snippets, frames = context.shared["features.snippets"], context.shared["frames"]
    compressed = {name: context.shared[f"compressed.{name}"] for name in ("short_side", "b_frames")}
    if banks:
        assert of_segments is not None
        _opened_head.save(context.result / "head", banks, localiser.context, of_segments)
        localiser = localiser.localiser
    _localiser.save(context.result / "head", localiser, classifier, spec, dataset.classes, snippets, frames, compressed)
    _video_classifier.save(context.result / "head", of_videos)
    # The encoder goes with its head, so that one folder is all that `predict` needs.
    for name in (_encoder.WEIGHTS_FILE, _encoder.SPEC_FILE):
        encoder = context.root / _outputs.ENCODERS.format(variant=context.variant)
        write_bytes(context.result / "head" / name, (encoder / name).read_bytes())
    return {
        _stored_features.METRIC: _stored_features.best(found),
        "accuracy": accuracy,
        "video_mAP": video_map,
        **({"without_bank": float(banks.missing(seen))} if banks else {}),
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
