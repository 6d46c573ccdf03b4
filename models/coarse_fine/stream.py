"""One stream of Coarse-Fine Networks: X3D-M with predictions at every frame, with or without temporal pooling.

Without pooling it is the Fine stream (X3D for detection), with it the Coarse one (paper, table 1).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.encoders.ragged import Layout, keep
from models.encoders.x3d import X3D
from models.heads.frame_labels import frame_labels
from models.temporal import build_temporal
from models.temporal.fixed_pool import FixedPool, clip_lengths
from models.temporal.grid_pool import GridPool
from models.temporal.grid_unpool import grid_unpool

POOL_AFTER = "res2"
FUSED_STAGES = ("res2", "res3", "res4", "res5")


class Pooled(NamedTuple):
    """Features behind the pooling and where they are in time.

    Attributes:
        features: ``[N, C, J, H, W]``.
        layout: of the J frames.
        centre: ``[N, J]``, position of each in frames of the stream's input.
        grid: Grid Pool's ``[N, J]``, None without Grid Pool.
    """

    features: Tensor
    layout: Layout | None
    centre: Tensor
    grid: Tensor | None


class Stream(nn.Module):
    """An X3D with pooling behind res2 and a head that labels every frame.

    Args:
        encoder: an X3D (any size, with conv5).
        classes: K.
        pooling: of ``models.temporal``: "grid_pool", "max_pool", "average_pool", "stride", or None.
        alpha: share of the frames that pooling keeps.
        dropout: before the logits.
    """

    def __init__(
        self, encoder: X3D, classes: int, pooling: str | None = None, alpha: float = 0.25, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.pixel_mean, self.pixel_std = encoder.pixel_mean, encoder.pixel_std
        width = encoder.stage_channels[POOL_AFTER]
        self.pool = build_temporal(pooling, channels=width, alpha=alpha) if pooling else None
        self.head = frame_labels(encoder.feature_dim, classes, x3d=True, dropout=dropout)

    def forward(self, pixels: Tensor, layout: Layout | None = None) -> Tensor:
        """``[N, 3, T, H, W]`` normalised RGB to logits ``[N, K, T]``, 0 past a clip's end."""
        return self.labels(self.pooled(self.before_pool(pixels, layout), layout), pixels.shape[2], layout)

    def before_pool(self, pixels: Tensor, layout: Layout | None = None) -> Tensor:
        """Features behind res2, ``[N, C, T, H / 4, W / 4]``."""
        x: Tensor = self.encoder.start(pixels)
        for name in self.encoder.stage_names[: self.encoder.stage_names.index(POOL_AFTER) + 1]:
            x = self.encoder.run_stage(name, x, layout)
        return x

    def labels(self, at: Pooled, frames: int, layout: Layout | None) -> Tensor:
        """From the pooling on: logits ``[N, K, frames]``."""
        x = at.features
        for name in self.encoder.stage_names[self.encoder.stage_names.index(POOL_AFTER) + 1 :]:
            x = self.encoder.run_stage(name, x, at.layout)
        return self.to_frames(self.head(x), at, frames, layout)

    def pooled(self, x: Tensor, layout: Layout | None = None) -> Pooled:
        """The pooling behind res2 on its input."""
        if isinstance(self.pool, GridPool):
            pooled = self.pool.sample(x, layout)
            last = x.new_tensor([x.shape[2]]) if layout is None else clip_lengths(layout)
            return Pooled(pooled.features, pooled.layout, pooled.grid * (last.float() - 1).unsqueeze(1), pooled.grid)
        if isinstance(self.pool, FixedPool):
            features, after = self.pool(x, layout)
            return Pooled(features, after, self.pool.grid(x.shape[2], x.device).expand(len(x), -1), None)
        return Pooled(x, layout, torch.arange(x.shape[2], device=x.device).float().expand(len(x), -1), None)

    def to_frames(self, logits: Tensor, at: Pooled, frames: int, layout: Layout | None) -> Tensor:
        """Logits of the pooled frames ``[N, K, J]`` to all ``[N, K, frames]``: Grid Unpool, or interpolation."""
        if self.pool is None:
            return logits if layout is None else keep(logits[..., None, None], layout).flatten(2)
        if layout is None or at.layout is None:
            return self._spread(logits, at, frames)
        full = logits.new_zeros((*logits.shape[:2], frames))
        columns, lengths = clip_lengths(at.layout).tolist(), clip_lengths(layout).tolist()
        for i, (column, length) in enumerate(zip(columns, lengths, strict=True)):
            grid = None if at.grid is None else at.grid[i : i + 1, :column]
            part = Pooled(at.features, None, at.centre[i : i + 1, :column], grid)
            full[i, :, :length] = self._spread(logits[i : i + 1, :, :column], part, length)[0]
        return full

    def _spread(self, logits: Tensor, at: Pooled, frames: int) -> Tensor:
        if at.grid is not None:
            return grid_unpool(logits, at.grid, frames)
        return nn.functional.interpolate(logits, size=frames, mode="linear", align_corners=False)
