"""Actions of boxes from their long-term context, and late fusion with the boxes' own features (thesis, section 8.4.3).

The context of a box is the Object Transformer's output for it in a pass in which all boxes of its instance were hidden.
Only two linear layers learn on it, so contexts are computed once. Nothing is random: instances are hidden in rounds, each
exactly once (the released code hides at random ten times, and a box that no draw hides gets 0).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.spans import OBJECT, PERSON, Instances, Sampling, make_span, pad_spans
from stages._long_form_schedule import NOT_KEPT, Kept, Schedule, train_model

if TYPE_CHECKING:
    import torch

    from models.heads.long_form import LateFusionHead
    from models.object_transformer import ObjectTransformer

ROUNDS = 10
"""Passes over a span, in each of which a tenth of its instances is hidden; the released code's number."""


class BoxContext(NamedTuple):
    """N boxes: ``row`` [N] of the video's instances; ``context`` [N, width]; ``feature`` [N, D], the box's own z."""

    row: NDArray[np.int64]
    context: NDArray[np.float32]
    feature: NDArray[np.float32]


def box_contexts(
    backbone: "ObjectTransformer",
    video: Instances,
    seconds: Sequence[int],
    sampling: Sampling,
    rounds: int = ROUNDS,
    sources: Sequence[int] = (PERSON, OBJECT),
) -> BoxContext:
    """The contexts of all boxes at some key frames, each from the span around its own second.

    Args:
        backbone: pre-trained.
        video: its boxes.
        seconds: key frames; on AVA 902 to 1798. Boxes beyond a span's budget have none and are left out.
        sampling: of the spans; the order of filling is "centre".
        rounds: passes; as many as there are instances hides them one by one.
        sources: of the boxes whose context is wanted; those of the others are seen all the same.
    """
    import torch

    from models.masking import cover_instances
    from models.object_transformer import Tokens
    from pipeline.training.device import to_device

    where, training = next(backbone.parameters()).device, backbone.training
    rows, contexts = [np.zeros(0, np.int64)], [np.zeros((0, backbone.width), np.float32)]
    backbone.eval()
    for second in seconds:
        span = make_span(video, second, "centre", length_s=sampling.length_s, budget=sampling.budget)
        wanted = np.flatnonzero((video.second[span.row] == second) & np.isin(span.source, list(sources)))
        if not len(wanted):
            continue
        tokens = Tokens(**{name: torch.from_numpy(value) for name, value in pad_spans([span]).items()})
        masks = cover_instances(tokens, rounds)[:, 0]
        masks = masks[masks[:, torch.from_numpy(wanted)].any(dim=1)]  # passes that hide a box of this second
        batch = Tokens(*(value.expand(len(masks), *value.shape[1:]) for value in tokens))
        with torch.no_grad():
            found = backbone(to_device(batch, where), masks.to(where)).tokens.cpu()
        hidden_in = masks[:, torch.from_numpy(wanted)].long().argmax(dim=0)
        contexts.append(found[hidden_in, torch.from_numpy(wanted)].numpy())
        rows.append(span.row[wanted])
    backbone.train(training)
    row = np.concatenate(rows)
    return BoxContext(row, np.concatenate(contexts), video.feature[row].astype(np.float32))


def fit_late_fusion(
    head: "LateFusionHead", boxes: BoxContext, labels: NDArray[np.floating], schedule: Schedule, kept: Kept = NOT_KEPT
) -> list[dict[str, float]]:
    """Train the two linear layers of ``head`` on boxes with labels [N, classes] 0/1 (binary cross-entropy), in place.

    The thesis: 2,000 steps, learning rate 1e-4; ``schedule.batch`` counts boxes here.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from pipeline.training.sampler import take

    data = tuple(torch.from_numpy(np.asarray(values, np.float32)) for values in (boxes.context, boxes.feature, labels))

    def batches(step: int) -> Any:
        chosen = take(schedule.seed, step * schedule.batch, schedule.batch, len(boxes.row))
        return tuple(values[torch.from_numpy(chosen)] for values in data)

    def loss(model: Any, batch: Any, _generator: "torch.Generator") -> Mapping[str, "torch.Tensor"]:
        context, feature, wanted = batch
        return {"total": binary_cross_entropy_with_logits(model(context, feature), wanted)}

    return list(train_model(head, loss, batches, schedule, kept=kept).history)


def box_scores(head: "LateFusionHead", boxes: BoxContext, fused: bool = True) -> NDArray[np.float32]:
    """Scores [N, classes], 0 to 1; not ``fused``: of the context alone ("masked" in table 8.4)."""
    import torch

    head.eval()
    where = next(head.parameters()).device
    with torch.no_grad():
        context, feature = (torch.from_numpy(values).to(where) for values in (boxes.context, boxes.feature))
        scores: NDArray[np.float32] = head(context, feature, fused).sigmoid().cpu().numpy()
    return scores
