"""SlowFast_det: the baseline with two X3D-M streams and SlowFast's laterals (Coarse-Fine paper, section 4.2, table 3f).

The paper gives no details. Laterals as in SlowFast behind res2..res5 of the Fine stream (5x1x1 convolution with the stride
of the pooling, C to 2C, normalised, concatenated) give its 7.41 M parameters to the digit, but 57.7 GFLOPs, not 54.31.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.coarse_fine.stream import FUSED_STAGES, POOL_AFTER, Stream
from models.encoders.ragged import Layout, keep
from models.temporal.fixed_pool import window

KERNEL, WIDEN = 5, 2


class Lateral(nn.Module):
    """Fine features at the coarse rate, twice as many channels."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(
            channels, WIDEN * channels, (KERNEL, 1, 1), (stride, 1, 1), padding=(KERNEL // 2, 0, 0), bias=False
        )
        self.norm = nn.BatchNorm3d(WIDEN * channels)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """``[N, C, T, H, W]`` to ``[N, 2C, frames, H, W]``; Grid Pool's one frame more is interpolated."""
        out = F.relu(self.norm(self.conv(x)), inplace=True)
        if out.shape[2] == frames:
            return out
        return F.interpolate(out, size=(frames, *out.shape[3:]), mode="trilinear", align_corners=True)


class SlowFastDet(nn.Module):
    """Coarse and Fine X3D-M with laterals; the Coarse stream pools by a stride in time, as the paper has it.

    Args:
        coarse: with pooling.
        fine: without.
        alpha: of the pooling.
    """

    def __init__(self, coarse: Stream, fine: Stream, alpha: float = 0.25) -> None:
        super().__init__()
        self.coarse, self.fine = coarse, fine
        self.pixel_mean, self.pixel_std = coarse.pixel_mean, coarse.pixel_std
        widths = [fine.encoder.stage_channels[name] for name in FUSED_STAGES]
        self.laterals = nn.ModuleList(Lateral(width, window(alpha)) for width in widths)
        stages = coarse.encoder.stage_names
        for name, width in zip(FUSED_STAGES, widths, strict=True):
            _take_more(coarse.encoder.get_submodule(stages[stages.index(name) + 1]), WIDEN * width)

    def forward(self, pixels: Tensor, layout: Layout | None = None) -> Tensor:
        """``[N, 3, T, H, W]`` normalised RGB to logits ``[N, K, T]``, 0 past a clip's end."""
        at = self.coarse.pooled(self.coarse.before_pool(pixels, layout), layout)
        slow, fast = at.features, self.fine.before_pool(pixels, layout)
        stages = self.coarse.encoder.stage_names
        for name in stages[stages.index(POOL_AFTER) + 1 :]:
            lateral = self.laterals[FUSED_STAGES.index(stages[stages.index(name) - 1])]
            slow = torch.cat([slow, lateral(keep(fast, layout), slow.shape[2])], dim=1)
            slow = self.coarse.encoder.run_stage(name, slow, at.layout)
            if name in FUSED_STAGES:
                fast = self.fine.encoder.run_stage(name, fast, layout)
        return self.coarse.to_frames(self.coarse.head(slow), at, pixels.shape[2], layout)


def _take_more(stage: nn.Module, extra: int) -> None:
    """Let the first layers of a stage take ``extra`` more channels, with fresh weights."""
    first: Any = stage[0] if isinstance(stage, nn.ModuleList) else stage
    for name in ("conv_a", "shortcut_conv", "conv"):
        conv = getattr(first, name, None)
        if conv is not None:
            wider = nn.Conv3d(conv.in_channels + extra, conv.out_channels, 1, conv.stride, bias=False)
            nn.init.kaiming_normal_(wider.weight, mode="fan_out", nonlinearity="relu")
            setattr(first, name, wider)
