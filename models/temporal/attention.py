"""Temporal attention, the baseline beside SGS (Fayyaz et al., table A.6): frames are weighted, none is removed."""

import torch
from torch import Tensor, nn

from models.encoders.ragged import Layout

REDUCTION = 4


class TemporalAttention(nn.Module):
    """Double attention (Chen et al., A2-Nets, NeurIPS 2018) over the frames of a clip, as a gate on its features.

    On the spatial means: C/4 attention maps, softmax over time, gather C/4 descriptors of the clip; each frame takes a
    mixture of them, softmax over descriptors; a linear layer and a sigmoid give each channel and frame its weight.
    Contract in ``models/temporal/__init__.py``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // REDUCTION, 1)
        self.features = nn.Conv1d(channels, inner, 1)
        self.maps = nn.Conv1d(channels, inner, 1)
        self.mixture = nn.Conv1d(channels, inner, 1)
        self.reconstruct = nn.Conv1d(inner, channels, 1)

    def forward(self, x: Tensor, layout: Layout | None = None) -> tuple[Tensor, Layout | None]:
        """``[N, C, T, H, W]`` to the same, weighted."""
        means = x.mean(dim=(3, 4))
        maps = self.maps(means)
        if layout is not None:
            maps = maps.masked_fill(layout.mask.flatten(1).unsqueeze(1) == 0, -torch.inf)
        descriptors = self.features(means) @ maps.softmax(dim=2).transpose(1, 2)
        gate = self.reconstruct(descriptors @ self.mixture(means).softmax(dim=1)).sigmoid()
        return x * gate[..., None, None], layout
