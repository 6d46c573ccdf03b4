"""Features to mean 0 and deviation 1 per channel, by training-set statistics, in front of a head without normalisation."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from models.heads.localiser import Localiser
from models.heads.proposals import Proposals


class Standardise(nn.Module):
    """Fixed affine map of features ``[B, F, L]``; the identity until fitted.

    G-TAD has no normalisation layer and was published on features of one network. Encoders differ in scale by orders of
    magnitude, and a comparison of encoders must not be one of scales.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_dim, 1))
        self.register_buffer("std", torch.ones(feature_dim, 1))

    def fit(self, features: Tensor) -> None:
        """Take the statistics of ``[N, F, L]`` training features; a constant channel keeps deviation 1."""
        std, mean = torch.std_mean(features.transpose(0, 1).flatten(1), dim=1, keepdim=True, correction=0)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))

    def forward(self, features: Tensor) -> Tensor:
        """``[B, F, L]`` to the same."""
        return (features - self.mean) / self.std


class StandardisedLocaliser(nn.Module):
    """A localiser (:class:`models.heads.Localiser`) on standardised features, and a localiser itself."""

    def __init__(self, feature_dim: int, head: nn.Module) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.standardise = Standardise(feature_dim)
        self.head = head

    def forward(self, features: Tensor) -> Any:
        """``[B, F, L]`` to what the head gives."""
        return self.head(self.standardise(features))

    def labels(self, segments: Sequence[Tensor], length: int) -> Any:
        """The head's."""
        return cast(Localiser, self.head).labels(segments, length)

    def loss(self, output: Any, labels: Any, generator: torch.Generator) -> Any:
        """The head's."""
        return cast(Localiser, self.head).loss(output, labels, generator)

    def proposals(self, output: Any) -> list[Proposals]:
        """The head's."""
        return cast(Localiser, self.head).proposals(output)
