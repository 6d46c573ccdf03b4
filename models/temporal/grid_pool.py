"""Grid Pool: learned temporal down-sampling (Coarse-Fine paper, section 3.1, eq. 1 and 2)."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.encoders.ragged import Layout, keep, padded, strided
from models.temporal.fixed_pool import clip_lengths, window

TEMPERATURE = 0.5
"""Of the sigmoid behind the head, in the released code; the paper has 1."""


class GridPooled(NamedTuple):
    """What Grid Pool took and where.

    Attributes:
        features: ``[N, C, n + 1, H, W]``, n = ceil(alpha T).
        grid: ``[N, n + 1]``, from 0 (a clip's first frame) to 1 (its last), rising; 1 past a shorter clip's end.
        layout: which of the n + 1 frames are real, None when all are.
    """

    features: Tensor
    grid: Tensor
    layout: Layout | None


class GridPool(nn.Module):
    """Sample a clip more densely where a small head finds it informative; contract in ``models/temporal/__init__.py``.

    The head h (eq. 1) is log2(1 / alpha) 3x3x3 convolutions of stride 2 in time and space, normalised, then a 1x3x3 one
    of stride 2, the mean over positions and a sigmoid: the paper's three for alpha = 1/4. Intervals are proportional to
    1 - p, and the grid has both ends of the clip, so n + 1 frames of n intervals, where eq. 2 speaks of n (33 of 128 for
    alpha = 1/4): the released code, whose cost is the paper's 16.53 GFLOPs.

    Args:
        channels: C of the features.
        alpha: share of the frames kept, 1/2, 1/4, 1/8, ...
        temperature: factor on the sigmoid's argument; 0.5 as released, 1 as printed.

    Raises:
        ValueError: alpha is no such share.
    """

    def __init__(self, channels: int, alpha: float = 0.25, temperature: float = TEMPERATURE) -> None:
        super().__init__()
        halvings = math.log2(window(alpha))
        if halvings != int(halvings):
            raise ValueError(f"alpha is {alpha}; Grid Pool's head needs a power of 1/2")
        self.alpha, self.temperature = alpha, temperature
        self.convs = nn.ModuleList(nn.Conv3d(channels, channels, 3, 2, padding=1) for _ in range(int(halvings)))
        self.norms = nn.ModuleList(nn.BatchNorm3d(channels) for _ in range(int(halvings)))
        self.last = nn.Conv3d(channels, 1, (1, 3, 3), (1, 2, 2), padding=(0, 1, 1))

    def forward(self, x: Tensor, layout: Layout | None = None) -> tuple[Tensor, Layout | None]:
        """``[N, C, T, H, W]`` to ``[N, C, n + 1, H, W]``."""
        pooled = self.sample(x, layout)
        return pooled.features, pooled.layout

    def sample(self, x: Tensor, layout: Layout | None = None) -> GridPooled:
        """Pool, and say where the frames were taken.

        Raises:
            ValueError: several clips in one row of ``x``.
        """
        lengths = None if layout is None else clip_lengths(layout)
        grid, intervals = self.locations(x, layout)
        last = (
            torch.full_like(grid[:, :1], x.shape[2] - 1) if lengths is None else (lengths - 1).to(grid.dtype)[:, None]
        )
        features = sample_frames(x, grid * last)
        if intervals is None:
            return GridPooled(features, grid, None)
        after = padded(intervals + 1, grid.shape[1], x.dtype)
        return GridPooled(features * after.mask, grid, after)

    def confidence(self, x: Tensor, layout: Layout | None = None) -> tuple[Tensor, Layout | None]:
        """p of each interval, ``[N, n]`` float32 in 0..1, and which of the n there are (eq. 1)."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x, layout = F.relu(norm(conv(keep(x, layout)))), strided(layout, 2)
        scores = self.last(x).mean(dim=(1, 3, 4), dtype=torch.float32)
        return torch.sigmoid(self.temperature * scores), layout

    def locations(self, x: Tensor, layout: Layout | None = None) -> tuple[Tensor, Tensor | None]:
        """The grid ``[N, n + 1]`` in 0..1 (eq. 2) and, with a layout, the number of intervals of each clip ``[N]``."""
        p, at = self.confidence(x, layout)
        weight = 1 - p if at is None else (1 - p) * at.mask.flatten(1)
        # Sums of shares instead of shares of sums: the last is exactly 1.
        sums = weight.cumsum(dim=1)
        grid = F.pad(sums / sums[:, -1:].clamp(min=1e-16), (1, 0))
        return grid, None if at is None else clip_lengths(at)


def sample_frames(x: Tensor, position: Tensor) -> Tensor:
    """Linear interpolation in time, I(.) of eq. 2; differentiable in both arguments.

    Args:
        x: ``[N, C, T, ...]``.
        position: ``[N, n]`` in frames, within 0..T - 1.

    Returns:
        ``[N, C, n, ...]`` in the dtype of ``x``.
    """
    left = position.detach().floor().clamp(0, max(x.shape[2] - 2, 0))
    share = (position - left).view(len(x), 1, -1, *[1] * (x.dim() - 3)).to(x.dtype)
    first, second = (_frames(x, index.long()) for index in (left, (left + 1).clamp(max=x.shape[2] - 1)))
    return torch.lerp(first, second, share.expand_as(first))


def _frames(x: Tensor, index: Tensor) -> Tensor:
    """``x[n, :, index[n]]`` for each n."""
    clips = torch.arange(len(x), device=x.device).unsqueeze(1)
    return x.transpose(1, 2)[clips, index].transpose(1, 2)
