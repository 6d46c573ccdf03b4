"""pretrain: what the snippet encoder learns before localisation (LoFi, sections 4.2 and 4.8).

In: frames (or compressed streams, as the encoder wants), and the videos of subset ``pretrain.subset``. Out: the encoder
after pre-training (``acp``), the same encoder before it (``untrained``), and the trainings' histories.

By default the task is action classification (ACP): a clip is one snippet within an action instance, its label is the
instance's. ``plus`` goes on with the target's own positive segments (ACP+). The self-supervised tasks of Table 8 are
``arrow_of_time`` and ``playback_speed``; of several tasks each trains an encoder of its own, and their features stand
side by side. ``initial`` starts from a file of weights, such as torchvision's ImageNet ResNets or a TSM of Kinetics; then
``untrained`` is that file's encoder, Table 1's first row. With ``training`` null the file is taken as it is: the encoder of
a pre-training on another data set, which has classes of its own (the paper's Kinetics). (dvc sees the file's name, the work
store its content.)

On trimmed videos (Kinetics, Something-Something, UCF101, HMDB51) this is the training of a recogniser: ``subset: training``,
``training.multigrid`` where that is wanted, and ``views`` for the published protocol: the scores of the ``testing`` or
``validation`` videos go to ``history/recognition.npz``, the classifier beside the encoder.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from pipeline.datasets.schema import Dataset
from pipeline.run import kinds
from pipeline.run.files import write_bytes
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, DatasetStage
from stages import _classifier, _encoder, _multigrid, _outputs, _pretext, _snippets, _training, _views

if TYPE_CHECKING:
    from torch import nn

HEAD_FILE = "head.safetensors"
"""The classifier of trimmed videos, beside its encoder."""


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
    flip: bool = Field(False, description="mirror every second clip; not where left and right tell classes apart")
    training: _multigrid.ClipTraining | None = Field(description="none: nothing, `initial` is what pre-training gave")
    plus: _multigrid.ClipTraining | None = Field(None, description="ACP+: go on with the training subset's segments")
    views: _views.Views | None = Field(
        None, description="of trimmed videos: a clip protocol to score them by at the end"
    )

    @model_validator(mode="after")
    def _fits(self) -> "Pretrain":
        if self.flip and self.encoder.compressed:
            raise ValueError("flip: motion cannot be mirrored like a picture")
        ragged = self.encoder.temporal is not None and self.encoder.temporal.name in ("sgs", "slowfast_sgs")
        if ragged and any(one is not None and one.multigrid for one in (self.training, self.plus)):
            raise ValueError("training.multigrid: the clips of SGS are of unequal length, parts of a batch cannot be")
        if self.training is None and (self.initial is None or self.plus is not None or self.views is not None):
            raise ValueError("training: null needs `initial`, the pre-trained weights, and no `plus` or `views`")
        return self


def inputs(context: Context) -> Sequence[Path]:
    """Everything that is read."""
    params: Pretrain = context.params
    weights = [context.root / params.initial] if params.initial else []
    return [context.root / _outputs.DATASET_FILE, context.root / _snippets.source(params.encoder), *weights]


def pretrain(context: Context) -> Mapping[str, float]:
    """Train an encoder for each task; metrics: top-1 accuracy on the validation videos with intervals and chance."""
    from copy import deepcopy

    from models.weights import save_weights

    params: Pretrain = context.params
    if params.training is None:
        return _as_given(context, params)
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    source = _snippets.Snippets.of_root(context.root, params.encoder, [v.id for v in dataset])
    started, trained, metrics = [], [], dict[str, float]()
    for name in params.tasks:
        task = _pretext.task(name, dataset, source, params.subset, context.progress.say)
        _training.prepare(params.training)
        encoder = _start(context, params)
        started.append(deepcopy(encoder))
        model = _classifier.with_head(encoder, task.classes, params.dropout)
        metrics |= _classifier.fit(context, params.training, model, task, source, _classifier.FITS.get(name, name))
        if params.plus is not None and name == "classification":
            own = _pretext.classification(dataset, source, "training")
            metrics |= _classifier.fit(context, params.plus, model, own, source, "acp_plus")
        if params.views is not None and name == "classification":
            metrics |= _classifier.protocol(context, model, params.views, dataset, source, params.training.batch)
            write_bytes(context.result / "acp" / HEAD_FILE, save_weights(model["head"], {"classes": dataset.classes}))
        trained.append(encoder)
    spec = params.encoder.model_copy(update={"copies": len(trained)})
    for folder, encoders in (("untrained", started), ("acp", trained)):
        _encoder.save(context.result / folder, _encoder.combined(encoders), spec)
    return metrics


def _as_given(context: Context, params: Pretrain) -> Mapping[str, float]:
    """Nothing is learned here: the file's encoder is what pre-training on another data set gave, such as Kinetics."""
    encoder = _start(context, params)
    for folder in ("untrained", "acp"):
        _encoder.save(context.result / folder, encoder, params.encoder)
    (context.result / "history").mkdir()
    return {}


def _start(context: Context, params: Pretrain) -> "nn.Module":
    """The encoder, from ``initial`` where that is given: our own safetensors, or a public checkpoint of its family."""
    from models.checkpoints import load_checkpoint
    from models.weights import load_weights

    encoder = _encoder.build_plain(params.encoder)
    if params.initial:
        path = context.root / params.initial
        found = load_weights(encoder, path) if path.suffix == ".safetensors" else load_checkpoint(encoder, path)
        context.progress.say(f"starting from {params.initial} ({found.format}); not used: {list(found.not_loaded)}")
    return _encoder.with_temporal(encoder, params.encoder)


STAGE = DatasetStage(
    name="pretrain",
    section=Pretrain,
    reads=(kinds.FRAMES, kinds.COMPRESSED),
    needs="gpu",
    code=lambda params, _root, _variant: [
        *_encoder.table_entries(params.encoder),
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
