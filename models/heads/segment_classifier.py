"""The class of a segment: a linear classifier on the features pooled over it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def pool_segments(features: Tensor, segments: Tensor) -> Tensor:
    """Mean of the features over each segment, every snippet weighted by how much of it the segment covers.

    Args:
        features: ``[F, L]`` of one video.
        segments: ``[n, 2]`` start and end as fractions of the video. What lies outside 0..1 is cut; a segment without
            length takes the snippet it falls in.

    Returns:
        ``[n, F]``.
    """
    length = features.shape[1]
    cell = torch.arange(length, device=features.device)
    low, high = (segments.to(features).clamp(0, 1) * length).unsqueeze(2).unbind(dim=1)
    overlap = (torch.minimum(high, cell + 1) - torch.maximum(low, cell)).clamp(min=0)
    falls_in = (low.floor().clamp(max=length - 1) == cell).to(overlap)
    weights = torch.where(high > low, overlap, falls_in)
    return (weights / weights.sum(dim=1, keepdim=True)) @ features.T


class SegmentClassifier(nn.Module):
    """Linear classifier of pooled segments, on features standardised by buffers (mean 0, deviation 1 until fitted)."""

    mean: Tensor
    std: Tensor

    def __init__(self, feature_dim: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("std", torch.ones(feature_dim))
        self.linear = nn.Linear(feature_dim, classes)

    def fit_standardisation(self, pooled: Tensor) -> None:
        """Take mean and deviation from the training segments ``[n, F]``; a constant channel keeps deviation 1."""
        std, mean = torch.std_mean(pooled, dim=0, correction=0)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))

    def classify(self, pooled: Tensor) -> Tensor:
        """``[n, F]`` pooled features to ``[n, classes]`` logits."""
        logits: Tensor = self.linear((pooled - self.mean) / self.std)
        return logits

    def forward(self, features: Tensor, segments: Sequence[Tensor]) -> list[Tensor]:
        """Logits ``[n, classes]`` for each video, from ``features [B, F, L]`` and each one's segments ``[n, 2]``."""
        if len(features) != len(segments):
            raise ValueError(f"features of {len(features)} videos but segments of {len(segments)}")
        return [self.classify(pool_segments(*video)) for video in zip(features, segments, strict=True)]
