"""lofi: LoFi-E2E, the encoder trained end to end with the localisation head at low fidelity (LoFi, section 3).

In: frames, and the encoder after ACP. First the head is trained on the frozen encoder's features at the low L ("to avoid
finetuning with an under-trained head"), then encoder and head together: T-LoFi, L / r_t snippets at full resolution; or
with ``fidelity: full`` all L of them, which gradient replay makes possible in the memory of ``replay_chunk`` snippets.
Out: the encoder (``lofi``) and the trainings' histories; the head of full fidelity is trained anew by ``head``.
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
from stages import _clips, _detections, _encoder, _localiser, _outputs, _training


class Lofi(Section):
    """Section ``lofi`` of params.yaml."""

    fidelity: Literal["lofi", "full"] = Field("lofi", description="full: all L snippets at full resolution, no kind")
    replay_chunk: int = Field(0, ge=0, description="snippets encoded together by gradient replay; 0: all, directly")
    kind: Literal["t"] = Field("t", description="T-LoFi (eq. 3); the other configurations come with their issue")
    r_t: float = Field(4.0, gt=1, description="factor by which L is reduced")
    norm: Literal["frozen", "running"] = "frozen"
    encoder_lr: float = Field(1.0, gt=0, description="multiplier of the encoder's learning rate")
    min_scale: float = Field(0.8, gt=0, le=1, description="smallest random window, relative to the largest")
    head: _training.Optimisation
    end_to_end: _training.Optimisation


def inputs(context: Context) -> Sequence[Path]:
    """Everything that is read."""
    encoder = context.root / _outputs.ENCODERS.format(variant="acp")
    return [context.root / _outputs.DATASET_FILE, context.root / _outputs.FRAMES, encoder]


def lofi(context: Context) -> Mapping[str, float]:
    """Warm the head up, then train end to end; metric: average mAP of the proposals on the validation videos."""
    import torch
    from torch import Tensor, nn

    from models.encoders.snippets import snippet_features
    from models.heads.standardise import StandardisedLocaliser
    from models.norm import freeze_statistics, train_mode
    from pipeline.datasets.snippets import FrameStore
    from pipeline.training.device import device
    from pipeline.training.grid import Grid, lofi_grid
    from pipeline.training.replay import Lazy, replayed
    from pipeline.training.sampler import batch_indices, step_rng

    params: Lofi = context.params
    post = _detections.Postprocess()  # for the choice of weights only
    dataset = Dataset.load(context.root / _outputs.DATASET_FILE)
    store = FrameStore.of_folder(context.root / _outputs.FRAMES, [v.id for v in dataset])
    training = [v for v in dataset.subset("training") if v.id in store]
    validation = [v for v in dataset.subset("validation") if v.id in store and v.segments]
    if not training or not validation:
        raise StageError("LoFi needs videos in the subsets 'training' and 'validation'")

    _training.prepare(params.head)
    encoder, spec = _encoder.load(context.root / _outputs.ENCODERS.format(variant="acp"))
    encoder.to(device())
    full = Grid(params.end_to_end.batch, context.shared["features.snippets"], spec.height, spec.width)
    low = full if params.fidelity == "full" else lofi_grid(params.kind, full, r_t=params.r_t)
    snippets = _clips.Snippets(store, spec, low.T, params.min_scale)

    def encode(clips: Tensor | Lazy) -> Tensor:
        """``[N, ...]`` to ``[N, D]``."""
        if isinstance(clips, Tensor) and not params.replay_chunk:
            return snippet_features(encoder, clips)
        return replayed(snippet_features, encoder, clips, chunk=params.replay_chunk)

    def encode_video(video: Video) -> Tensor:
        with torch.inference_mode():
            return encode(snippets.of(video, None).to(device())).T.clone()

    head = _localiser.build(_localiser.chosen(context.shared), _encoder.feature_dim(encoder)).to(device())
    frozen = {video.id: encode_video(video) for video in [*training, *validation]}
    head.standardise.fit(torch.stack([frozen[video.id] for video in training]))

    def stored_batch(step: int) -> tuple[Tensor, list[Tensor]]:
        chosen = batch_indices(params.head.seed, step, params.head.batch, len(training), "wrap")
        videos = [training[i] for i in chosen]
        return torch.stack([frozen[v.id] for v in videos]), [_detections.relative_segments(v) for v in videos]

    def head_loss(
        model: StandardisedLocaliser, batch: tuple[Tensor, list[Tensor]], generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        return _localiser.loss(model, *batch, generator)

    def head_map(model: nn.Module) -> dict[str, float]:
        output = model(torch.stack([frozen[v.id] for v in validation]))
        return {"proposal_mAP": _detections.proposal_map(validation, _detections.suppressed(head, output, post))}

    _training.fit(
        context,
        params.head,
        head,
        head_loss,
        stored_batch,
        name="head_warm_up",
        validate=head_map,
        metric="proposal_mAP",
    )

    model = nn.ModuleDict({"encoder": encoder, "head": head})
    train_mode(model, params.norm)
    options = params.end_to_end

    def clip_batch(step: int) -> tuple[Tensor | Lazy, list[Tensor]]:
        rng = step_rng(options.seed, step)
        videos = [training[i] for i in batch_indices(options.seed, step, options.batch, len(training), "wrap")]
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
        kept = []
        for video in validation:
            features = encode(snippets.of(video, None).to(device())).T
            kept += _detections.suppressed(head, head(features.unsqueeze(0)), post)
        return {"proposal_mAP": _detections.proposal_map(validation, kept)}

    result = _training.fit(
        context,
        options,
        model,
        loss,
        clip_batch,
        name="end_to_end",
        validate=end_to_end_map,
        metric="proposal_mAP",
        multipliers={"encoder.": params.encoder_lr},
    )
    freeze_statistics(encoder)
    _encoder.save(context.result / "lofi", encoder, spec)
    best = max(row["proposal_mAP"] for row in result.history if "proposal_mAP" in row)
    return {"proposal_mAP": best, "snippets": float(low.T), "best_step": float(result.best_step)}


STAGE = DatasetStage(
    name="lofi",
    section=Lofi,
    reads=(kinds.FRAMES,),
    reads_params=("features.snippets", *_localiser.READS_PARAMS),
    needs="gpu",
    code=lambda _params, root, _variant: [
        _encoder.table_entry(_encoder.load_spec(root / _outputs.ENCODERS.format(variant="acp"))),
        *_localiser.entries(),
    ],
    inputs=inputs,
    run=lofi,
    checkpoints={"lofi": "stages._served"},
    outs={"lofi": _outputs.ENCODERS.format(variant="lofi"), "history": "data/checkpoints/history/lofi"},
)

if __name__ == "__main__":
    main("lofi")
