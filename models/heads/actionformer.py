"""ActionFormer (Zhang, Wu, Li, ECCV 2022): snippet features to scored segments without anchors.

Two convolutions, two transformer blocks at the features' rate and five that halve it each, with attention in a local
window; light convolutional heads, shared by all levels, say at every point of the pyramid whether an action is centred
there and how far its ends are. Layout, sizes and initialisation are the released code's ActivityNet configuration; one
class, since classes come from elsewhere (there as here). What differs: a video is padded to the next multiple of the
coarsest step instead of to 768 snippets, and positions are encoded at their own place for any L, so that one set of
weights runs at any L; the loss is stateless (:func:`models.heads.pyramid.pyramid_loss`); and distances start at one step
(:data:`START_DISTANCE`).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.heads.proposals import Proposals
from models.heads.pyramid import (
    REGRESSION_RANGES,
    PyramidLoss,
    PyramidOutput,
    PyramidTargets,
    points,
    pyramid_loss,
    pyramid_proposals,
    pyramid_targets,
)

PRIOR = 0.01
"""Score of every point before training, so that the focal loss starts small."""
START_DISTANCE = 1.0
"""Distances before training, in steps of the level. The released code has 0, where the rectifier is shut for one of the two
distances in every fourth training on a small set, for good."""
BRANCH_SCALE = 1e-4
"""Initial weight of a block's two branches beside its identity."""


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of ``[B, C, L]``."""

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, L]`` to the same."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class DropPath(nn.Module):
    """A block's branch, scaled per channel by a learnt weight and left out for some videos in training."""

    def __init__(self, channels: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.scale = nn.Parameter(torch.full((channels, 1), BRANCH_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, L]`` to the same."""
        x = x * self.scale
        if not self.training or self.rate == 0:
            return x
        kept = torch.empty(len(x), 1, 1, dtype=x.dtype, device=x.device).bernoulli_(1 - self.rate)
        return x * kept / (1 - self.rate)


class LocalAttention(nn.Module):
    """Multi-head attention of each position to those at most ``window // 2`` away; 0 means to all.

    Queries, keys and values come from depthwise convolutions, which halve the rate when ``stride`` is 2.
    """

    def __init__(self, channels: int, heads: int, window: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.inputs = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(channels, channels, 3, stride, padding=1, groups=channels, bias=False), ChannelNorm(channels)
            )
            for _ in range(3)
        )
        self.projections = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in range(3))
        self.out = nn.Conv1d(channels, channels, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, length: int) -> Tensor:
        """``[B, C, L]`` of which ``length`` positions (of the result) are the video's: to ``[B, C, L / stride]``."""
        q, k, v = (
            projection(prepare(x)).unflatten(1, (self.heads, -1)).transpose(2, 3)  # [B, heads, L, C / heads]
            for prepare, projection in zip(self.inputs, self.projections, strict=True)
        )
        place = torch.arange(q.shape[2], device=x.device)
        seen = (place < length).expand(len(place), -1)
        if self.window:
            near = (place[:, None] - place).abs() <= self.window // 2
            # Padding beyond every real position sees itself, for a sum over nothing is no number.
            seen = (seen & near) | torch.eye(len(place), dtype=torch.bool, device=x.device)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        result: Tensor = self.dropout(self.out(found.transpose(2, 3).flatten(1, 2)))
        return result


class TransformerBlock(nn.Module):
    """Attention and a four times wider perceptron, normalised before; ``stride`` 2 halves the rate (max pooling)."""

    def __init__(self, channels: int, heads: int, window: int, stride: int, dropout: float, drop_path: float) -> None:
        super().__init__()
        self.stride = stride
        self.norm1, self.norm2 = ChannelNorm(channels), ChannelNorm(channels)
        self.attention = LocalAttention(channels, heads, window, stride, dropout)
        self.skip = nn.Identity() if stride == 1 else nn.MaxPool1d(stride + 1, stride, padding=(stride + 1) // 2)
        self.perceptron = nn.Sequential(
            nn.Conv1d(channels, 4 * channels, 1), nn.GELU(), nn.Dropout(dropout),
            nn.Conv1d(4 * channels, channels, 1), nn.Dropout(dropout),
        )  # fmt: skip
        self.drop1, self.drop2 = DropPath(channels, drop_path), DropPath(channels, drop_path)

    def forward(self, x: Tensor, length: int) -> Tensor:
        """``[B, C, L]``, zero from ``length`` on, to ``[B, C, L / stride]``, zero from ``length / stride`` (up) on."""
        normalised = self.norm1(x) * _mask(x.shape[2], length, x)
        length = -(-length // self.stride)
        mask = _mask(x.shape[2] // self.stride, length, x)
        x = self.skip(x) * mask + self.drop1(self.attention(normalised, length) * mask)
        result: Tensor = x + self.drop2(self.perceptron(self.norm2(x)) * mask)
        return result


class PointHead(nn.Module):
    """Two normalised convolutions and one to ``out`` channels, shared by all levels."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv1d(channels, channels, 3, padding=1, bias=False), ChannelNorm(channels), nn.ReLU())
            for _ in range(2)
        )
        self.out = nn.Conv1d(channels, out, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``[B, C, L]`` to ``[B, out, L]``."""
        for layer in self.layers:
            x = layer(x) * mask
        result: Tensor = self.out(x)
        return result


class ActionFormer(nn.Module):
    """The network.

    Args:
        feature_dim: F, channels of a snippet feature.
        hidden: channels everywhere, a multiple of ``heads``.
        heads: of the attention.
        window: of the attention on all levels but the last, which sees everything; odd.
        levels: of the pyramid, 1 to 6.
        dropout: in attention and perceptron.
        drop_path: share of videos that a branch is left out for.
    """

    def __init__(
        self,
        feature_dim: int,
        hidden: int = 256,
        heads: int = 4,
        window: int = 25,
        levels: int = 6,
        dropout: float = 0.1,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        if hidden < 1 or heads < 1 or hidden % heads or hidden % 2:
            raise ValueError(f"ActionFormer hidden is {hidden}, it must be even and a multiple of heads = {heads}")
        if not 1 <= levels <= len(REGRESSION_RANGES):
            raise ValueError(f"ActionFormer levels is {levels}, it must be between 1 and {len(REGRESSION_RANGES)}")
        if window < 1 or window % 2 == 0:
            raise ValueError(f"ActionFormer window is {window}, it must be odd and positive")
        self.feature_dim, self.hidden, self.levels = feature_dim, hidden, levels
        self.embedding = nn.ModuleList(
            nn.Sequential(nn.Conv1d(width, hidden, 3, padding=1, bias=False), ChannelNorm(hidden), nn.ReLU())
            for width in (feature_dim, hidden)
        )

        def block(stride: int, window: int) -> TransformerBlock:
            return TransformerBlock(hidden, heads, window, stride, dropout, drop_path)

        self.stem = nn.ModuleList(block(1, window) for _ in range(2))
        self.branch = nn.ModuleList(block(2, window if level < levels - 1 else 0) for level in range(1, levels))
        self.norms = nn.ModuleList(ChannelNorm(hidden) for _ in range(levels))
        self.classification, self.regression = PointHead(hidden, 1), PointHead(hidden, 2)
        self.scales = nn.Parameter(torch.ones(levels))
        for module in self.modules():
            if isinstance(module, nn.Conv1d) and module.bias is not None:
                nn.init.zeros_(module.bias)
        assert self.classification.out.bias is not None and self.regression.out.bias is not None
        nn.init.constant_(self.classification.out.bias, -math.log((1 - PRIOR) / PRIOR))
        nn.init.constant_(self.regression.out.bias, START_DISTANCE)

    def forward(self, features: Tensor) -> PyramidOutput:
        """Score every point of every video.

        Args:
            features: ``[B, F, L]``, any L >= 1.
        """
        if features.dim() != 3 or features.shape[1] != self.feature_dim:
            raise ValueError(f"expected features [B, {self.feature_dim}, L], got {list(features.shape)}")
        length = features.shape[2]
        x = F.pad(features, (0, -length % 2 ** (self.levels - 1)))
        mask = _mask(x.shape[2], length, x)
        for layer in self.embedding:
            x = layer(x) * mask
        x = (x + _positions(x.shape[2], self.hidden, x)) * mask
        for block in self.stem:
            x = block(x, length)
        pyramid = [x]
        for level, block in enumerate(self.branch):
            pyramid.append(block(pyramid[-1], -(-length // 2**level)))
        logits, offsets = [], []
        for level, (norm, x) in enumerate(zip(self.norms, pyramid, strict=True)):
            inside = -(-length // 2**level)  # points that stand on the video
            mask = _mask(x.shape[2], inside, x)
            x = norm(x) * mask
            logits.append(self.classification(x, mask)[:, 0, :inside])
            offsets.append(F.relu(self.regression(x, mask)[:, :, :inside].float() * self.scales[level]))
        return PyramidOutput(
            torch.cat(logits, dim=1).float(),
            torch.cat(offsets, dim=2).transpose(1, 2),
            *points(length, self.levels),
            length,
        )

    def labels(self, segments: Sequence[Tensor], length: int) -> PyramidTargets:
        """See :mod:`models.heads`."""
        return pyramid_targets(segments, length, self.levels)

    def loss(self, output: PyramidOutput, labels: PyramidTargets, generator: torch.Generator) -> PyramidLoss:
        """See :mod:`models.heads`; nothing is drawn from ``generator``."""
        return pyramid_loss(output, labels)

    def proposals(self, output: PyramidOutput) -> list[Proposals]:
        """See :mod:`models.heads`."""
        return pyramid_proposals(output)


def _mask(size: int, length: int, like: Tensor) -> Tensor:
    """``[size]``: 1 on the video's own positions, 0 on the padding behind them."""
    return (torch.arange(size, device=like.device) < length).to(like.dtype)


def _positions(length: int, channels: int, like: Tensor) -> Tensor:
    """Sinusoids of the position ``[channels, length]`` (Vaswani et al., 2017), scaled by 1 / sqrt(channels)."""
    place = torch.arange(length, dtype=torch.float32, device=like.device)
    rate = 10000.0 ** (-torch.arange(0, channels, 2, dtype=torch.float32, device=like.device) / channels)
    angle = rate[:, None] * place
    waves = torch.stack((angle.sin(), angle.cos()), dim=1).flatten(0, 1)
    return waves.div(channels**0.5).to(like.dtype)
