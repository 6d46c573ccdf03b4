"""Actions of boxes from their long-term context, and late fusion with the boxes' own features (thesis, section 8.4.3).

The context of a box is the Object Transformer's output for it in a pass in which all boxes of its instance were hidden.
Only two linear layers learn on it, so contexts are computed once. Nothing is random: instances are hidden in rounds, each
exactly once (the released code hides at random ten times, and a box that no draw hides gets 0).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.spans import OBJECT, PERSON, Instances, Sampling, Span, make_span, pad_spans
from stages._long_form_schedule import NOT_KEPT, Kept, Schedule, train_model

if TYPE_CHECKING:
    import torch

    from models.heads.long_form import LateFusionHead
    from models.object_transformer import ObjectTransformer, Tokens

ROUNDS = 10
"""Passes over a span, in each of which a tenth of its instances is hidden; the released code's number."""

CHUNK = 4096
"""Boxes whose features are made float32 at once."""


class BoxContext(NamedTuple):
    """N boxes: ``row`` [N] of the video's instances; ``context`` [N, width]; ``feature`` [N, D], own z, as it is stored."""

    row: NDArray[np.int64]
    context: NDArray[np.float32]
    feature: NDArray[np.floating]

    def only(self, kept: NDArray[np.bool_]) -> "BoxContext":
        """Some of them."""
        return BoxContext(self.row[kept], self.context[kept], self.feature[kept])


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

    from pipeline.training.device import to_device

    where, training = next(backbone.parameters()).device, backbone.training
    rows, contexts = [np.zeros(0, np.int64)], [np.zeros((0, backbone.width), np.float32)]
    backbone.eval()
    for second in seconds:
        span, tokens, masks = _passes(video, second, sampling, rounds)
        wanted = np.flatnonzero((video.second[span.row] == second) & np.isin(span.source, list(sources)))
        if not len(wanted):
            continue
        masks = masks[masks[:, torch.from_numpy(wanted)].any(dim=1)]  # passes that hide a box of this second
        batch = type(tokens)(*(value.expand(len(masks), *value.shape[1:]) for value in tokens))
        with torch.no_grad():
            found = backbone(to_device(batch, where), masks.to(where)).tokens.cpu()
        hidden_in = masks[:, torch.from_numpy(wanted)].long().argmax(dim=0)
        contexts.append(found[hidden_in, torch.from_numpy(wanted)].numpy())
        rows.append(span.row[wanted])
    backbone.train(training)
    row = np.concatenate(rows)
    return BoxContext(row, np.concatenate(contexts), video.feature[row])


def box_attention(
    backbone: "ObjectTransformer", video: Instances, row: int, sampling: Sampling, rounds: int = ROUNDS
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Where a box's context comes from: the last layer's attention of its token in the pass in which it is hidden.

    Args:
        backbone: pre-trained.
        video: its boxes.
        row: of a box that :func:`box_contexts` gives a context with the same ``sampling`` and ``rounds``.

    Returns:
        The n rows of its span, and the share of each; the rest of 1 went to the special tokens.
    """
    import torch

    from pipeline.training.device import to_device

    where, training = next(backbone.parameters()).device, backbone.training
    span, tokens, masks = _passes(video, int(video.second[row]), sampling, rounds)
    at = int(np.flatnonzero(span.row == row)[0])
    hidden = masks[masks[:, at].long().argmax()][None]
    backbone.eval()
    shares = backbone.attention(to_device(tokens, where), hidden.to(where), torch.tensor([at], device=where))
    backbone.train(training)
    return span.row, shares[0].cpu().numpy()


def _passes(video: Instances, second: int, sampling: Sampling, rounds: int) -> "tuple[Span, Tokens, torch.Tensor]":
    """The span around a second, its tokens as a batch of one, and what is hidden in each pass ``[rounds, n]``."""
    import torch

    from models.masking import cover_instances
    from models.object_transformer import Tokens

    span = make_span(video, second, "centre", length_s=sampling.length_s, budget=sampling.budget)
    tokens = Tokens(**{name: torch.from_numpy(value) for name, value in pad_spans([span]).items()})
    return span, tokens, cover_instances(tokens, rounds)[:, 0]


def fit_late_fusion(
    head: "LateFusionHead", boxes: BoxContext, labels: NDArray[np.floating], schedule: Schedule, kept: Kept = NOT_KEPT
) -> list[dict[str, float]]:
    """Train the two linear layers of ``head`` on boxes with labels [N, classes] 0/1 (binary cross-entropy), in place.

    The thesis: 2,000 steps, learning rate 1e-4; ``schedule.batch`` counts boxes here.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from pipeline.training.sampler import take

    data = tuple(torch.from_numpy(values) for values in (boxes.context, boxes.feature, labels))

    def batches(step: int) -> Any:
        chosen = take(schedule.seed, step * schedule.batch, schedule.batch, len(boxes.row))
        return tuple(values[torch.from_numpy(chosen)].float() for values in data)

    def loss(model: Any, batch: Any, _generator: "torch.Generator") -> Mapping[str, "torch.Tensor"]:
        context, feature, wanted = batch
        return {"total": binary_cross_entropy_with_logits(model(context, feature), wanted)}

    return list(train_model(head, loss, batches, schedule, kept=kept).history)


def box_scores(head: "LateFusionHead", boxes: BoxContext, fused: bool = True) -> NDArray[np.float32]:
    """Scores [N, classes], 0 to 1; not ``fused``: of the context alone ("masked" in table 8.4)."""
    import torch

    head.eval()
    where, scores = next(head.parameters()).device, [np.zeros((0, head.own.out_features), np.float32)]
    with torch.no_grad():
        for start in range(0, len(boxes.row), CHUNK):
            some = slice(start, start + CHUNK)
            context, feature = (torch.from_numpy(values[some]).to(where).float() for values in boxes[1:])
            scores.append(head(context, feature, fused).sigmoid().cpu().numpy())
    return np.concatenate(scores)
