"""Training of one network that labels frames: clips, the paper's loss, the choice of weights."""

import copy
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.datasets.schema import Video
from pipeline.run.stage import Context
from stages import _framewise_models, _framewise_scores, _training
from stages._framewise_clips import Batch, Reader
from stages._framewise_networks import TWO_STREAM, NetworkSection

if TYPE_CHECKING:
    import torch
    from torch import nn


def fit(
    context: Context, network: "nn.Module", name: str, reader: Reader, training: Sequence[Video], held_out: Sequence[Video]
) -> Mapping[str, float]:  # fmt: skip
    """Train one network; its weights end as the best on ``held_out``, or the last where there is none."""
    import torch

    from models.coarse_fine.auxiliary import WEIGHT
    from models.heads.frame_labels import frame_label_loss
    from models.norm import freeze_statistics, train_mode
    from pipeline.training.device import device, to_device
    from pipeline.training.memory import measured_peak
    from pipeline.training.sampler import batch_indices, step_rng

    section: NetworkSection = context.params.networks[name]
    options = section.training
    around = reader.spec.context if section.model in TWO_STREAM and section.model != "slowfast_det" else 0

    def batches(step: int) -> Batch:
        chosen = batch_indices(options.seed, step, options.batch, len(training), "wrap")
        return reader.batch([training[i] for i in chosen], section.frames, around, step_rng(options.seed, step))

    def loss(model: Any, batch: Batch, _generator: Any) -> dict[str, "torch.Tensor"]:
        logits, auxiliary = _framewise_models.answer(model, section, batch, section.frames)
        terms = frame_label_loss(
            _framewise_models.held(logits, batch.clip_lengths), batch.labels, batch.valid
        )._asdict()
        if auxiliary is not None:
            terms |= {"total": terms["total"] + WEIGHT * auxiliary, "auxiliary": auxiliary}
        return terms

    def score(model: "nn.Module") -> dict[str, float]:
        said = _framewise_scores.say(model, section, reader, held_out)
        return {"score": _framewise_scores.quality(said, held_out, reader.index)}

    factors = _framewise_models.prepare(network, section)
    train_mode(network, "frozen" if section.norm == "frozen" else "running")
    if section.norm == "fine_frozen":
        freeze_statistics(network.get_submodule("fine"))
    metrics = {}
    if context.params.measure_memory:
        first, twin = to_device(batches(0), device()), copy.deepcopy(network)  # a step would move its statistics

        def one_step() -> None:
            torch.autograd.backward(loss(twin, first, None)["total"])

        metrics["peak_mib"] = measured_peak(one_step, device()) / 2**20
    began = time.process_time()
    result = _training.fit(
        context,
        options,
        network,
        loss,
        batches,
        name=name,
        validate=score if held_out else None,
        metric="score" if held_out else "",
        multipliers=factors,
    )
    freeze_statistics(network)
    return {"best_step": float(result.best_step), "train_cpu_s": time.process_time() - began, **metrics}
