"""Residual stages of the 3-D ResNets: SlowFast, Slow, I3D and the 3DResNet of the adaptive-resolution paper.

A bottleneck is Tx1x1, 1x3x3, 1x1x1: a kernel in time, if any, stands in its first convolution, the spatial stride in its
second one.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from models.encoders.non_local import NonLocal
from models.encoders.ragged import Layout, keep, strided
from models.encoders.residual import ResidualBlock


class Bottleneck(ResidualBlock):
    """Three convolutions with a shortcut.

    Args:
        channels: of the input.
        inner: of the first two convolutions.
        out: of the result.
        kernel_t: frames the first convolution spans.
        stride: of the second convolution, in space.
    """

    last_norm = "norm_c"

    def __init__(self, channels: int, inner: int, out: int, kernel_t: int, stride: int) -> None:
        super().__init__()
        self.conv_a = nn.Conv3d(channels, inner, (kernel_t, 1, 1), padding=(kernel_t // 2, 0, 0), bias=False)
        self.norm_a = nn.BatchNorm3d(inner)
        self.conv_b = nn.Conv3d(inner, inner, (1, 3, 3), (1, stride, stride), padding=(0, 1, 1), bias=False)
        self.norm_b = nn.BatchNorm3d(inner)
        self.conv_c = nn.Conv3d(inner, out, 1, bias=False)
        self.norm_c = nn.BatchNorm3d(out)
        self.add_shortcut(channels, out, stride)

    def forward(self, x: Tensor, layout: Layout | None, activate: bool = True) -> Tensor:
        """``[B, C, T, H, W]`` to the same with this block's channels and stride."""
        seen = keep(x, layout) if self.conv_a.kernel_size[0] > 1 else x
        out = F.relu(self.norm_a(self.conv_a(seen)), inplace=True)
        out = F.relu(self.norm_b(self.conv_b(out)), inplace=True)
        return self.join(self.norm_c(self.conv_c(out)), x, activate)


class ResStage(nn.Module):
    """The bottlenecks of one stage, with non-local operators behind some of them.

    Args:
        channels: of the input.
        inner: of the bottlenecks.
        out: of the result.
        kernels_t: frames the first convolution of each block spans; its length is the number of blocks.
        stride: of the first block, in space.
        non_local: for each block that a non-local operator follows its index and the operator.
        pool_t: frames joined by their maximum before the first block (the last group may be smaller).
    """

    def __init__(
        self,
        channels: int,
        inner: int,
        out: int,
        kernels_t: Sequence[int],
        stride: int,
        non_local: dict[int, NonLocal] | None = None,
        pool_t: int = 1,
    ) -> None:
        super().__init__()
        # With ceil_mode a single frame and an odd last one survive; an even number gives what the references give.
        self.pool_t = pool_t
        self.pool = nn.MaxPool3d((pool_t, 1, 1), ceil_mode=True) if pool_t > 1 else None
        self.blocks = nn.ModuleList(
            Bottleneck(channels if index == 0 else out, inner, out, kernel_t, stride if index == 0 else 1)
            for index, kernel_t in enumerate(kernels_t)
        )
        self.non_local = nn.ModuleDict({str(index): module for index, module in (non_local or {}).items()})

    def forward(self, x: Tensor, layout: Layout | None, activate: bool = True) -> Tensor:
        """``[B, C, T, H, W]`` to the same with this stage's channels and strides.

        ``layout`` is that of ``x``; ``activate`` False leaves away the last ReLU, if no operator stands behind it.
        """
        if self.pool is not None:
            # Behind a ReLU zero is the least value, so frames that are not real never win.
            x, layout = self.pool(keep(x, layout)), strided(layout, self.pool_t)
        last = len(self.blocks) - 1
        for index, block in enumerate(self.blocks):
            followed = str(index) in self.non_local
            x = block(x, layout, activate or followed or index < last)
            if followed:
                x = self.non_local[str(index)](x, layout)
        return x


class ResStem(nn.Module):
    """Tx7x7 convolution of stride 2 in space, normalisation, ReLU, maximum over 3x3 of stride 2."""

    def __init__(self, channels: int, kernel_t: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, channels, (kernel_t, 7, 7), (1, 2, 2), padding=(kernel_t // 2, 3, 3), bias=False)
        self.norm = nn.BatchNorm3d(channels)
        self.pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), padding=(0, 1, 1))

    def forward(self, x: Tensor, layout: Layout | None, activate: bool = True) -> Tensor:
        """``[B, 3, T, H, W]`` to ``[B, C, T, H / 4, W / 4]``; ReLU and pool commute, so ``activate`` may be False."""
        if self.conv.kernel_size[0] > 1:
            x = keep(x, layout)
        out: Tensor = self.pool(self.norm(self.conv(x)))
        return F.relu(out, inplace=True) if activate else out
