"""Feature bank operators: what is happening now, seen in the light of a long-term feature bank (thesis, section 7.1.3).

All take short-term features ``[B, Q, D]`` (Q boxes of a clip, or one vector of a whole clip), a window of the bank
``[B, M, D']``, and ``valid`` ``[B, M]``, which rows of the window are filled. The output stands beside the short-term
feature in the classifier, so that an operator's example of no use costs nothing.
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["pre", "post"]
LayerNorm = Literal["affine", "plain", "none"]
Padding = Literal["masked", "released"]
Operator = Literal["nl", "avg", "max", "sto", "none"]

HIDDEN = 512
"""Width of the attention, section 7.1.4."""

_STD = 0.01  # of fresh weights, as released; the papers do not say


class NonLocalBlock(nn.Module):
    """NL' of figure 7.4: attention from the features ``[B, Q, C]`` to the bank ``[B, M, C]``, with a shortcut.

    ``activation`` "pre": LayerNorm, ReLU, output linear (AVA, EPIC-Kitchens); "post": output linear, LayerNorm, and a ReLU
    after the sum (Charades, section 7.5.1). The output linear starts at zero. With "pre" the block then is the identity;
    with "post" it is one as long as its input is positive.
    """

    def __init__(
        self, channels: int, activation: Activation, scale: bool, layer_norm: LayerNorm, dropout: float
    ) -> None:
        super().__init__()
        self.activation = activation
        self.scale = channels**-0.5 if scale else 1.0
        self.theta, self.phi, self.g = (_linear(channels, channels) for _ in range(3))
        self.norm = (
            nn.LayerNorm(channels, elementwise_affine=layer_norm == "affine") if layer_norm != "none" else nn.Identity()
        )
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor, bank: Tensor, valid: Tensor) -> Tensor:
        """``[B, Q, C]``; an example without a valid row in its window keeps what it had."""
        found = self.shares(features, bank, valid) @ self.g(bank)
        some = valid.any(dim=1)[:, None, None]
        if self.activation == "pre":
            update: Tensor = self.dropout(self.out(F.relu(self.norm(found)))) * some
            return features + update
        return F.relu(features + self.dropout(self.norm(self.out(found))) * some)

    def shares(self, features: Tensor, bank: Tensor, valid: Tensor) -> Tensor:
        """How much each feature looks at each row, ``[B, Q, M]``, summing to 1 over the rows that are valid, if any is."""
        scores = self.theta(features) @ self.phi(bank).transpose(1, 2) * self.scale
        # A finite low number: a row of nothing but -inf would give NaN, in the gradient too.
        shares: Tensor = scores.masked_fill(~valid[:, None], torch.finfo(scores.dtype).min).softmax(dim=-1)
        return shares


class NonLocalOperator(nn.Module):
    """FBO-NL: both sides reduced to ``hidden`` channels, then a stack of :class:`NonLocalBlock` (section 7.1.4).

    Args:
        short_dim: D.
        bank_dim: D'.
        layers: blocks, 2 in the thesis (3 were better later); the bank is the same for all.
        hidden: channels inside, and of the output.
        activation: see :class:`NonLocalBlock`.
        scale: divide the affinities by the square root of ``hidden``.
        layer_norm: "affine", "plain" (no learned scale and shift: the released code), or "none".
        dropout: rate in the blocks and on both inputs, 0.2 in the thesis; 0 for none.
        padding: "masked": rows that are not valid have no part in anything; "released": they are zero vectors like others,
            which after the reduction's bias act as constant keys and values.
    """

    def __init__(
        self,
        short_dim: int,
        bank_dim: int,
        layers: int = 2,
        hidden: int = HIDDEN,
        activation: Activation = "pre",
        scale: bool = True,
        layer_norm: LayerNorm = "affine",
        dropout: float = 0.2,
        padding: Padding = "masked",
    ) -> None:
        super().__init__()
        if not 1 <= layers <= 3:
            raise ValueError(f"layers is {layers}; the operator has 1, 2 or 3")
        for name, value, allowed in (
            ("activation", activation, Activation),
            ("layer_norm", layer_norm, LayerNorm),
            ("padding", padding, Padding),
        ):
            if value not in get_args(allowed):
                raise ValueError(f"{name} is {value!r}; allowed: {', '.join(get_args(allowed))}")
        self.padding = padding
        self.out_dim = hidden
        self.reduce_short, self.reduce_bank = _linear(short_dim, hidden), _linear(bank_dim, hidden)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            NonLocalBlock(hidden, activation, scale, layer_norm, dropout) for _ in range(layers)
        )

    def forward(self, short: Tensor, bank: Tensor, valid: Tensor) -> Tensor:
        """``[B, Q, hidden]``."""
        features, rows, valid = self._reduced(short, bank, valid)
        for block in self.blocks:
            features = block(features, rows, valid)
        return features

    @torch.no_grad()
    def attention(self, short: Tensor, bank: Tensor, valid: Tensor) -> Tensor:
        """Where each feature looks in the end: the last block's shares ``[B, Q, M]``, 0 at padding. In evaluation mode."""
        features, rows, counted = self._reduced(short, bank, valid)
        for block in self.blocks[:-1]:
            features = block(features, rows, counted)
        last = self.blocks[-1]
        assert isinstance(last, NonLocalBlock)
        return last.shares(features, rows, counted) * valid[:, None]

    def _reduced(self, short: Tensor, bank: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        bank, valid = _padded(bank, valid, self.padding)
        return self.dropout(self.reduce_short(short)), self.dropout(self.reduce_bank(bank)), valid


class PoolOperator(nn.Module):
    """FBO-Avg and FBO-Max: the window pooled over its rows, the same for every short-term feature.

    Args:
        bank_dim: D', also of the output.
        pool: "avg" or "max".
        padding: "masked", or "released": zero rows count in the average, and in the maximum as zeros.
    """

    def __init__(self, bank_dim: int, pool: Literal["avg", "max"], padding: Padding = "masked") -> None:
        super().__init__()
        if pool not in ("avg", "max"):
            raise ValueError(f"pool is {pool!r}; allowed: avg, max")
        if padding not in get_args(Padding):
            raise ValueError(f"padding is {padding!r}; allowed: {', '.join(get_args(Padding))}")
        self.pool, self.padding, self.out_dim = pool, padding, bank_dim

    def forward(self, short: Tensor, bank: Tensor, valid: Tensor) -> Tensor:
        """``[B, Q, D']``; zeros for an example without a valid row."""
        bank, valid = _padded(bank, valid, self.padding)
        if self.pool == "avg":
            pooled = bank.sum(dim=1) / valid.sum(dim=1, keepdim=True).clamp(min=1)
        else:
            low = torch.finfo(bank.dtype).min
            bank = F.pad(bank.masked_fill(~valid[..., None], low), (0, 0, 0, 1), value=low)  # a window may have no row
            pooled = bank.amax(dim=1) * valid.any(dim=1, keepdim=True)
        return pooled[:, None].expand(-1, short.shape[1], -1)


class FeatureBankHead(nn.Module):
    """Classifier of short-term features with long-term context: linear on [S; FBO(S, L)] (sections 7.1.3 and 7.1.4).

    Args:
        feature_dim: D, of the short-term features.
        bank_dim: D'; of the short-term rows for "sto"; unused with "none".
        classes: logits per short-term feature.
        operator: "nl", "avg", "max"; "sto": the same attention within the clip, STO(S) = FBO-NL(S, S); "none": the 3D CNN
            alone.
        dropout: rate before the classifier (0.3 in the released code).
        padding: see :class:`NonLocalOperator`.
        attention: further options of :class:`NonLocalOperator`, for "nl" and "sto"; its dropout as ``attention_dropout``.
    """

    def __init__(
        self,
        feature_dim: int,
        bank_dim: int,
        classes: int,
        operator: Operator = "nl",
        dropout: float = 0.3,
        padding: Padding = "masked",
        **attention: object,
    ) -> None:
        super().__init__()
        if operator not in get_args(Operator):
            raise ValueError(f"operator is {operator!r}; allowed: {', '.join(get_args(Operator))}")
        self.operator: nn.Module | None = None
        out_dim = 0
        if operator in ("nl", "sto"):
            if "attention_dropout" in attention:
                attention["dropout"] = attention.pop("attention_dropout")
            made = NonLocalOperator(feature_dim, bank_dim, padding=padding, **attention)  # type: ignore[arg-type]
            self.operator, out_dim = made, made.out_dim
        elif attention:
            raise ValueError(
                f"{', '.join(attention)}: options of the operators nl and sto, the operator is {operator!r}"
            )
        elif operator in ("avg", "max"):
            self.operator, out_dim = PoolOperator(bank_dim, operator, padding), bank_dim
        self.dropout = nn.Dropout(dropout)
        self.classifier = _linear(feature_dim + out_dim, classes)

    def forward(self, short: Tensor, bank: Tensor, valid: Tensor) -> Tensor:
        """Logits ``[B, Q, classes]``.

        Args:
            short: ``[B, Q, D]``.
            bank: ``[B, M, D']``; for "sto" the clip's own features: its boxes (equal to ``short``), or its spatially pooled
                features per time step where ``short`` is their mean (section 7.4.1). Half precision is converted.
            valid: ``[B, M]`` bool.
        """
        both = [short]
        if self.operator is not None:
            both.append(self.operator(short, bank.to(short.dtype), valid))
        logits: Tensor = self.classifier(self.dropout(torch.cat(both, dim=-1)))
        return logits


def _padded(bank: Tensor, valid: Tensor, padding: Padding) -> tuple[Tensor, Tensor]:
    """The window with zeros where it is not filled, and the rows that count."""
    bank = torch.where(valid[..., None], bank, 0.0)  # not a product: padding may hold anything, NaN too
    return bank, torch.ones_like(valid) if padding == "released" else valid


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=_STD)
    nn.init.zeros_(layer.bias)
    return layer
