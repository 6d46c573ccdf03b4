"""lofi: LoFi-E2E, the encoder trained end to end with the localisation head at low fidelity (LoFi, section 3).

In: frames (or compressed streams, as the encoder wants), and the encoder after ACP. First the head is trained on the
frozen encoder's features at the low fidelity ("to avoid finetuning with an under-trained head"), then encoder and head
together, in S-, T-, ST- or C-LoFi's shapes; a cycle warms up and is validated in its first. Strategy ``full`` reduces
nothing: gradient replay makes that possible in the memory of ``replay_chunk`` snippets, and with ``features.snippets`` at a
low L it is the paper's Table 7. Out: the encoder (``lofi``) and the trainings' histories; the head of full fidelity is
trained anew by ``head``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.datasets.schema import Dataset, Video
from pipeline.run import kinds
from pipeline.run.params import Section
from pipeline.run.runner import main
from pipeline.run.stage import Context, DatasetStage, StageError
from stages import _clips, _detections, _encoder, _localiser, _outputs, _snippets, _stored_features, _training


class Lofi(Section):
    """Section ``lofi`` of params.yaml."""

    strategy: Literal["s", "t", "st", "cyclic_short", "cyclic_long", "full"] = Field(
        "cyclic_long", description="what is reduced: space, time, both, each in turn; full: nothing"
    )
    reduction: float = Field(4.0, gt=1, description="of snippets x height x width; the paper's is 4")
    c_s: int = Field(16, ge=1, description="of cyclic_short: steps of each configuration")
    c_l: int = Field(1, ge=1, description="of cyclic_long: epochs of each configuration")
    replay_chunk: int = Field(0, ge=0, description="snippets encoded together by gradient replay; 0: all, directly")
    norm: Literal["frozen", "running"] = "frozen"
    encoder_lr: float = Field(1.0, gt=0, description="multiplier of the encoder's learning rate")
    min_scale: float = Field(0.8, gt=0, le=1, description="smallest random window, relative to the largest")
    head: _training.Optimisation
    end_to_end: _training.Optimisation


def inputs(context: Context) -> Sequence[Path]:
    """Everything that is read."""
    encoder = context.root / _outputs.ENCODERS.format(variant="acp")
    source = _snippets.source(_encoder.load_spec(encoder))
    return [context.root / _outputs.DATASET_FILE, context.root / source, encoder]


def lofi(context: Context) -> Mapping[str, float]:
    """Warm the head up, then train end to end; metric: average mAP of the proposals on the validation videos."""
    import torch
    from torch import Tensor, nn

    from models.encoders.snippets import snippet_features
    from models.norm import freeze_statistics, train_mode
    from pipeline.training.device import device
    from pipeline.training.grid import Grid, constant, lofi_schedule
    from pipeline.training.replay import Lazy, replayed
    from pipeline.training.sampler import batch_indices, step_rng

    params: Lofi = context.params
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    acp = context.root / _outputs.ENCODERS.format(variant="acp")
    source = _snippets.Snippets.of_root(context.root, _encoder.load_spec(acp), [v.id for v in dataset])
    training = [v for v in dataset.subset("training") if v.id in source]
    validation = [v for v in dataset.subset("validation") if v.id in source and v.segments]
    if not training or not validation:
        raise StageError("LoFi needs videos in the subsets 'training' and 'validation'")

    _training.prepare(params.head)
    encoder, spec = _encoder.load(acp)
    encoder.to(device())
    full = Grid(params.end_to_end.batch, context.shared["features.snippets"], spec.height, spec.width)
    schedule, grids = (
        (constant(full), (full,))
        if params.strategy == "full"
        else lofi_schedule(params.strategy, full, params.reduction, -(-len(training) // full.B), params.c_s, params.c_l)
    )
    shapes = " -> ".join(f"{grid.T} x {grid.H} x {grid.W}" for grid in grids)
    context.progress.say(f"snippets x height x width, batch {full.B}: {shapes}")
    shaped = {grid: _clips.ShapedSnippets(source, grid.T, (grid.H, grid.W), params.min_scale) for grid in grids}
    first = shaped[grids[0]]

    def encode(clips: Tensor | Lazy) -> Tensor:
        """``[N, ...]`` to ``[N, D]``."""
        if isinstance(clips, Tensor) and not params.replay_chunk:
            return snippet_features(encoder, clips)
        return replayed(snippet_features, encoder, clips, chunk=params.replay_chunk)

    def encode_video(video: Video) -> Tensor:
        with torch.inference_mode():
            return encode(first.of(video, None).to(device())).T.clone()

    head = _localiser.build(_localiser.chosen(context.shared), _encoder.feature_dim(encoder)).to(device())
    frozen = {video: encode_video(video) for video in [*training, *validation]}
    known, held_out = ({video: frozen[video] for video in videos} for videos in (training, validation))
    _stored_features.fit(context, params.head, head, known, held_out, "head_warm_up")

    model = nn.ModuleDict({"encoder": encoder, "head": head})
    train_mode(model, params.norm)
    options = params.end_to_end

    def clip_batch(step: int) -> tuple[Tensor | Lazy, list[Tensor]]:
        rng = step_rng(options.seed, step)
        videos = [training[i] for i in batch_indices(options.seed, step, options.batch, len(training), "wrap")]
        snippets = shaped[schedule(step)]
        clips = snippets.lazy(videos, rng, device()) if params.replay_chunk else snippets.batch(videos, rng)
        return clips, [_detections.relative_segments(v) for v in videos]

    def loss(
        _model: nn.ModuleDict, batch: tuple[Tensor | Lazy, list[Tensor]], generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        clips, segments = batch
        found = encode(clips)
        features = found.view(len(segments), -1, found.shape[1]).transpose(1, 2)
        return _localiser.loss(head, features, segments, generator)

    def end_to_end_map(_model: nn.Module) -> dict[str, float]:
        features = (encode(first.of(video, None).to(device())).T for video in validation)
        return _stored_features.proposal_map(head, validation, features)

    result = _training.fit(
        context,
        options,
        model,
        loss,
        clip_batch,
        name="end_to_end",
        validate=end_to_end_map,
        metric=_stored_features.METRIC,
        multipliers={"encoder.": params.encoder_lr},
    )
    freeze_statistics(encoder)
    _encoder.save(context.result / "lofi", encoder, spec)
    return {
        _stored_features.METRIC: _stored_features.best(result),
        "snippets": float(grids[0].T),
        "best_step": float(result.best_step),
    }


STAGE = DatasetStage(
    name="lofi",
    section=Lofi,
    reads=(kinds.FRAMES, kinds.COMPRESSED),
    reads_params=("features.snippets", *_localiser.READS_PARAMS),
    needs="gpu",
    code=lambda _params, root, _variant: [
        *_encoder.table_entries(_encoder.load_spec(root / _outputs.ENCODERS.format(variant="acp"))),
        *_localiser.entries(),
    ],
    inputs=inputs,
    run=lofi,
    checkpoints={"lofi": "stages._served"},
    outs={"lofi": _outputs.ENCODERS.format(variant="lofi"), "history": "data/checkpoints/history/lofi"},
)

if __name__ == "__main__":
    main("lofi")
