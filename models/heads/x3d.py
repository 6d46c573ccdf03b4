"""X3D's classifier: a second expansion behind the pooling (Feichtenhofer, CVPR 2020)."""

import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 2048


class X3DHead(nn.Module):
    """1x1x1 convolution to 2048 without bias or normalisation, ReLU, dropout, linear layer.

    Applied to one vector per clip by X3D, to one per frame by Coarse-Fine Networks.
    """

    def __init__(self, feature_dim: int, classes: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.conv = nn.Conv3d(feature_dim, WIDTH, 1, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(WIDTH, classes)

    def forward(self, features: Tensor) -> Tensor:
        """``[..., feature_dim]`` to ``[..., classes]`` logits."""
        wide = F.relu(self.conv(features.flatten(0, -2)[..., None, None, None])).flatten(1)
        logits: Tensor = self.linear(self.dropout(wide))
        return logits.view(*features.shape[:-1], -1)
