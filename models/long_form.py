"""Models of a whole span, by name: Object Transformer and what the thesis sets beside it (tables 8.1 and 8.2b).

All take :class:`~models.object_transformer.Tokens` and give scores ``[B, outputs]``: logits of classes, or one value. They
see the same features; only what stands on them differs.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from models import tables
from models.heads.long_form import CompatibilityHead, InstanceHead, VideoHead
from models.object_transformer import Form, ObjectTransformer, Tokens, frame_tokens

LONG_FORM: dict[str, str] = {
    "object_transformer": "models.long_form:object_transformer",
    "frame_transformer": "models.long_form:frame_transformer",
    "short_term": "models.long_form:ShortTerm",
    "average": "models.long_form:average",
    "max": "models.long_form:maximum",
}


def build_long_form(name: str, feature_dims: Sequence[int], outputs: int, **options: Any) -> nn.Module:
    """Build the model ``name`` of :data:`LONG_FORM`, with fresh weights drawn from torch's global generator.

    Args:
        name: of the table.
        feature_dims: channels of z by source.
        outputs: classes, or 1 for a regression.
        options: further ones of that entry.

    Raises:
        ValueError: unknown name or option; the message lists the allowed ones.
    """
    options = {"feature_dims": feature_dims, "outputs": outputs, **options}
    model: nn.Module = tables.build(LONG_FORM, "long-form model", name, options)
    return model


class TransformerModel(nn.Module):
    """A transformer ``backbone`` and the end task's ``head``; ``frames``: it sees one token per second."""

    def __init__(self, backbone: ObjectTransformer, outputs: int, frames: bool = False) -> None:
        super().__init__()
        self.backbone, self.frames = backbone, frames
        self.head = VideoHead(backbone.width, outputs)

    def forward(self, tokens: Tokens, hidden: Tensor | None = None) -> Tensor:
        """Scores; ``hidden``: see :class:`ObjectTransformer`, only ever by the caller's own wish."""
        scores: Tensor = self.head(self.backbone(frame_tokens(tokens) if self.frames else tokens, hidden).video)
        return scores


def object_transformer(feature_dims: Sequence[int], outputs: int, **options: Any) -> TransformerModel:
    """The thesis' model; ``options`` of :class:`ObjectTransformer`."""
    return TransformerModel(ObjectTransformer(feature_dims, **options), outputs)


def frame_transformer(feature_dims: Sequence[int], outputs: int, **options: Any) -> TransformerModel:
    """A frame-centric transformer in the manner of VideoBERT's vision part: tokens are seconds, and only time is told."""
    backbone = ObjectTransformer(feature_dims[:1], uses=("time",), **options)
    return TransformerModel(backbone, outputs, frames=True)


class PretrainingModel(nn.Module):
    """A backbone with the heads of both pretext tasks (section 8.2.2).

    Args:
        backbone: the transformer that end tasks begin from.
        classes: of the short-term model whose predictions are to be told; 80 on AVA.
        form: of the compatibility head.
        frames: tokens are seconds, as for ``frame_transformer``; what is masked then are frames.
    """

    def __init__(self, backbone: ObjectTransformer, classes: int, form: Form = "thesis", frames: bool = False) -> None:
        super().__init__()
        self.backbone, self.frames = backbone, frames
        self.instance_head = InstanceHead(backbone.width, classes)
        self.compatibility_head = CompatibilityHead(backbone.width, form)

    def forward(self, tokens: Tokens, hidden: Tensor | None) -> tuple[Tensor, Tensor]:
        """What each token is told to be ``[B, N, classes]``, and the spans' vectors ``[B, 128]``."""
        encoded = self.backbone(tokens, hidden)
        return self.instance_head(encoded.tokens), self.compatibility_head(encoded.video)


class ShortTerm(nn.Module):
    """No long-term module: every box is classified by itself, and the answers are averaged (late fusion)."""

    def __init__(self, feature_dims: Sequence[int], outputs: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.dims = tuple(feature_dims)
        self.heads = nn.ModuleList(VideoHead(dim, outputs, dropout) for dim in feature_dims)
        self.prior = nn.Parameter(torch.zeros(outputs))

    def forward(self, tokens: Tokens) -> Tensor:
        """Logarithm of the mean probability, or the mean value; a span without a box gets what is learned for it."""
        scores: Tensor = sum(
            head(tokens.feature[..., :dim]) * (tokens.source == number)[..., None]
            for number, (head, dim) in enumerate(zip(self.heads, self.dims, strict=True))
        )
        empty = ~tokens.valid.any(dim=1, keepdim=True)
        valid = torch.cat([tokens.valid, empty], dim=1)[..., None]  # the prior stands for what is not there
        scores = torch.cat([scores, self.prior.expand(len(scores), 1, -1)], dim=1)
        if scores.shape[-1] == 1:
            return torch.where(valid, scores, 0.0).sum(dim=1) / valid.sum(dim=1)
        return scores.log_softmax(dim=-1).masked_fill(~valid, -math.inf).logsumexp(dim=1) - valid.sum(dim=1).log()


class Pooled(nn.Module):
    """All boxes of a span pooled, source by source, then one linear layer."""

    def __init__(
        self, feature_dims: Sequence[int], outputs: int, pool: Literal["average", "max"], dropout: float
    ) -> None:
        super().__init__()
        self.dims, self.pool = tuple(feature_dims), pool
        self.head = VideoHead(sum(feature_dims), outputs, dropout)

    def forward(self, tokens: Tokens) -> Tensor:
        """Scores; a source without a box counts as zeros."""
        pooled = []
        for number, dim in enumerate(self.dims):
            mine = (tokens.valid & (tokens.source == number))[..., None]
            z = tokens.feature[..., :dim]
            if self.pool == "average":
                pooled.append(torch.where(mine, z, 0.0).sum(dim=1) / mine.sum(dim=1).clamp(min=1))
            else:
                highest = z.masked_fill(~mine, torch.finfo(z.dtype).min).amax(dim=1)
                pooled.append(torch.where(mine.any(dim=1), highest, 0.0))
        scores: Tensor = self.head(torch.cat(pooled, dim=-1))
        return scores


def average(feature_dims: Sequence[int], outputs: int, dropout: float = 0.1) -> Pooled:
    """Average pooling over all boxes."""
    return Pooled(feature_dims, outputs, "average", dropout)


def maximum(feature_dims: Sequence[int], outputs: int, dropout: float = 0.1) -> Pooled:
    """Maximum over all boxes."""
    return Pooled(feature_dims, outputs, "max", dropout)
