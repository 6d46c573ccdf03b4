"""Heads of an Object Transformer: masked instances, span compatibility, end tasks, and boxes of AVA (thesis, 8.2, 8.4.3)."""

from typing import Literal

import torch
from torch import Tensor, nn

from models.object_transformer import Form

COMPATIBILITY_DIM = 128


class VideoHead(nn.Module):
    """End tasks: dropout 0.1 and a linear layer on the span's output ``[B, width]`` (section 8.2.3).

    ``outputs``: classes, or 1 for a regression.
    """

    def __init__(self, width: int, outputs: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, outputs)

    def forward(self, video: Tensor) -> Tensor:
        """``[B, outputs]``."""
        scores: Tensor = self.linear(self.dropout(video))
        return scores


class InstanceHead(nn.Module):
    """h(mask), a two-layer MLP: what the boxes are that a context is known of, ``[..., width]`` to ``[..., classes]``."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.decoder = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.decoder(self.norm(nn.functional.gelu(self.dense(tokens))))
        return logits


class CompatibilityHead(nn.Module):
    """h(compat): the span's output ``[B, width]`` to a vector ``[B, 128]`` that eq. 8.3 compares.

    ``form`` "thesis": dropout 0.1 and a linear layer; "released": dense, GELU, LayerNorm, linear.
    """

    def __init__(self, width: int, form: Form = "thesis", dim: int = COMPATIBILITY_DIM) -> None:
        super().__init__()
        if form == "thesis":
            self.layers = nn.Sequential(nn.Dropout(0.1), nn.Linear(width, dim))
        elif form == "released":
            self.layers = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, dim))
        else:
            raise ValueError(f"form is {form!r}; allowed: thesis, released")

    def forward(self, video: Tensor) -> Tensor:
        """``[B, dim]``."""
        vectors: Tensor = self.layers(video)
        return vectors


class LateFusionHead(nn.Module):
    """AVA's actions of a box: what its masked context says plus what its own feature says (section 8.4.3).

    Two linear layers learn, ``context.decoder`` and ``own``; everything below stays as pre-training left it. The context
    must come from a pass in which the box itself was hidden, or the model looks at the answer.

    Args:
        context: the head of masked-instance pre-training, with its weights.
        feature_dim: channels of z.
        own_weights: weight [classes, D] and bias [classes] of the short-term model's classifier, to begin with.
    """

    def __init__(
        self, context: InstanceHead, feature_dim: int, own_weights: tuple[Tensor, Tensor] | None = None
    ) -> None:
        super().__init__()
        self.context = context
        self.own = nn.Linear(feature_dim, context.decoder.out_features)
        if own_weights is not None:
            with torch.no_grad():
                self.own.weight.copy_(own_weights[0])
                self.own.bias.copy_(own_weights[1])
        context.dense.requires_grad_(False)
        context.norm.requires_grad_(False)

    def forward(self, tokens: Tensor, feature: Tensor, fused: bool = True) -> Tensor:
        """Logits ``[..., classes]`` from outputs ``[..., width]`` and z ``[..., D]``; not ``fused``: of the context."""
        logits: Tensor = self.context(tokens)
        return logits + self.own(feature) if fused else logits


Distillation = Literal["softmax", "sigmoid"]


def masked_instance_loss(logits: Tensor, target: Tensor, form: Distillation = "softmax") -> Tensor:
    """Eq. 8.2: cross-entropy with the short-term model's own prediction, mean over M masked boxes; 0 where M is 0.

    Args:
        logits: ``[M, K]``.
        target: ``[M, K]`` logits of the short-term model for the same boxes; no gradient goes there.
        form: "softmax", as eq. 8.2; "sigmoid", as released: both Kullback-Leibler terms of every class, mean over all M x K
            entries (the released code then weighs it 80 times).
    """
    if not len(logits):
        return logits.sum()
    target = target.detach()
    if form == "softmax":
        return -(target.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1).mean()
    if form != "sigmoid":
        raise ValueError(f"form is {form!r}; allowed: softmax, sigmoid")
    log = nn.functional.logsigmoid
    yes, no = ((sign * target).sigmoid() * (log(sign * target) - log(sign * logits)) for sign in (1, -1))
    return (yes + no).mean()


def compatibility_loss(vectors: Tensor, temperature: float = 1.0) -> Tensor:
    """Eq. 8.3, InfoNCE: which of the other spans is of the same video; spans i and i + B / 2 are.

    Args:
        vectors: ``[B, dim]``, B even; all others of the batch are incompatible.
        temperature: dot products are divided by it; 1 in eq. 8.3, 0.2 in the released code.
    """
    count = len(vectors)
    if count % 2 or count < 2:
        raise ValueError(f"there are {count} spans; compatibility needs pairs")
    scores = vectors @ vectors.T / temperature
    scores = scores.masked_fill(torch.eye(count, dtype=torch.bool, device=vectors.device), -torch.inf)
    partner = torch.arange(count, device=vectors.device).roll(count // 2)
    return nn.functional.cross_entropy(scores, partner)
