"""Several encoders whose features stand side by side (LoFi, Table 8: ACP and a self-supervised one, concatenated)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SideBySide(nn.Module):
    """``[B, C, T, H, W]`` to ``[B, D_1 + D_2 + ..., T', H', W']``: every encoder sees the same pixels.

    Raises:
        ValueError: no encoder, or encoders that take different numbers of channels.
    """

    def __init__(self, encoders: Sequence[nn.Module]) -> None:
        super().__init__()
        channels = {int(getattr(encoder, "in_channels")) for encoder in encoders}  # noqa: B009
        if len(channels) != 1:
            raise ValueError(f"encoders side by side must take equally many channels, got {sorted(channels)}")
        self.encoders = nn.ModuleList(encoders)
        self.in_channels = channels.pop()
        self.feature_dim = sum(int(getattr(encoder, "feature_dim")) for encoder in encoders)  # noqa: B009

    def forward(self, clips: Tensor) -> Tensor:
        """Features of all encoders, along the channels."""
        return torch.cat([encoder(clips) for encoder in self.encoders], dim=1)
