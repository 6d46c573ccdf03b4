"""Non-local operator (Wang et al., CVPR 2018): each position of a clip takes in all others, weighted by likeness."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.encoders.ragged import Layout

Affinity = Literal["softmax", "dot_product"]


class NonLocal(nn.Module):
    """Residual attention over all positions and frames; keys and values are pooled by 2x2 in space.

    ``softmax`` scales the products of queries and keys by ``(C / 2) ** -0.5``, ``dot_product`` divides them by the number
    of keys. The latter is linear in the keys, so the product of keys and values can be formed first, which is cheaper as
    soon as there are more keys than channels; ``reference_form`` True computes the affinity matrix as the papers write it.
    """

    last_norm = "norm"

    def __init__(self, channels: int, affinity: Affinity) -> None:
        super().__init__()
        inner = channels // 2
        self.affinity = affinity
        self.theta = nn.Conv3d(channels, inner, 1)
        self.phi = nn.Conv3d(channels, inner, 1)
        self.g = nn.Conv3d(channels, inner, 1)
        self.out = nn.Conv3d(inner, channels, 1)
        self.norm = nn.BatchNorm3d(channels)
        self.reference_form = False

    def forward(self, x: Tensor, layout: Layout | None) -> Tensor:
        """``[B, C, T, H, W]`` to the same.

        Raises:
            ValueError: a layout with several clips in a row.
        """
        # ceil_mode lets maps of a single row or column through; even ones are pooled as everywhere.
        pooled = F.max_pool3d(x, (1, 2, 2), ceil_mode=True)
        queries, keys, values = self.theta(x).flatten(2), self.phi(pooled).flatten(2), self.g(pooled).flatten(2)
        real = None
        if layout is not None:
            if layout.clips != len(x):
                raise ValueError(f"{layout.clips} clips in {len(x)} rows: a non-local operator needs one clip per row")
            real = layout.mask.to(x.dtype).expand(-1, 1, *pooled.shape[2:]).flatten(2)
        if self.affinity == "softmax":
            likeness = queries.transpose(1, 2) @ keys / math.sqrt(keys.shape[1])
            if real is not None:
                likeness = likeness.masked_fill(real == 0, torch.finfo(likeness.dtype).min)
            seen = likeness.softmax(dim=2) @ values.transpose(1, 2)
        else:
            count: Tensor | int = keys.shape[2]
            if real is not None:
                keys, count = keys * real, real.sum(dim=2, keepdim=True).clamp(min=1)
            if self.reference_form or keys.shape[2] <= keys.shape[1]:
                seen = (queries.transpose(1, 2) @ keys / count) @ values.transpose(1, 2)
            else:
                seen = queries.transpose(1, 2) @ (keys @ values.transpose(1, 2) / count)
        mixed: Tensor = self.norm(self.out(seen.transpose(1, 2).reshape(len(x), -1, *x.shape[2:])))
        return x + mixed
