"""X3D-XS, S, M, L and XL (Feichtenhofer, CVPR 2020): a small 2-D network expanded along time, space, width and depth.

XS, S and M are one network seen with more frames and pixels. All stages halve the picture, none shortens time. The
channels of XL are multiples of 8, as in the published 11.09 M parameters; PySlowFast's own rounding gives others.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from models.encoders.ragged import Layout, keep, mean_per_clip, spread
from models.encoders.residual import Blocks, ResidualBlock
from models.encoders.staged import STAGES, StagedEncoder, init_weights, scaled_width

BOTTLENECK = 2.25  # inner channels of a block over its outer ones
REDUCTION = 16  # inner channels over those between the two layers of squeeze-and-excitation


class Size(NamedTuple):
    """Blocks and channels of res2..res5; the stem has the channels of res2."""

    blocks: tuple[int, int, int, int]
    channels: tuple[int, int, int, int]


SMALL = Size((3, 5, 11, 7), (24, 48, 96, 192))
LARGE = Size((5, 10, 25, 15), (24, 48, 96, 192))
EXTRA_LARGE = Size((5, 10, 25, 15), (32, 72, 136, 280))


def squeezed(inner: int) -> int:
    """Channels between the layers of squeeze-and-excitation: a multiple of 8 that loses at most a tenth."""
    wanted = inner / REDUCTION
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


class SqueezeExcitation(nn.Module):
    """Channels weighted by two layers on their mean over the clip (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv3d(channels, squeezed(channels), 1)
        self.expand = nn.Conv3d(squeezed(channels), channels, 1)

    def forward(self, x: Tensor, layout: Layout | None) -> Tensor:
        """``[B, C, T, H, W]`` to the same."""
        mean = mean_per_clip(x, layout)[:, :, None, None, None]
        weights = self.expand(F.relu(self.reduce(mean))).sigmoid()
        return x * spread(weights.flatten(1), layout)


class Block(ResidualBlock):
    """1x1x1, depthwise 3x3x3 (with the stride), squeeze-and-excitation in every second block, 1x1x1."""

    last_norm = "norm_c"

    def __init__(self, channels: int, out: int, stride: int, squeeze: bool) -> None:
        super().__init__()
        inner = int(BOTTLENECK * out)
        self.conv_a = nn.Conv3d(channels, inner, 1, bias=False)
        self.norm_a = nn.BatchNorm3d(inner)
        self.conv_b = nn.Conv3d(inner, inner, 3, (1, stride, stride), padding=1, groups=inner, bias=False)
        self.norm_b = nn.BatchNorm3d(inner)
        self.squeeze = SqueezeExcitation(inner) if squeeze else None
        self.conv_c = nn.Conv3d(inner, out, 1, bias=False)
        self.norm_c = nn.BatchNorm3d(out)
        self.add_shortcut(channels, out, stride)

    def forward(self, x: Tensor, layout: Layout | None, activate: bool = True) -> Tensor:
        """``[B, C, T, H, W]`` to the same with this block's channels and stride."""
        out = F.relu(self.norm_a(self.conv_a(x)), inplace=True)
        out = self.norm_b(self.conv_b(keep(out, layout)))
        if self.squeeze is not None:
            out = self.squeeze(out, layout)
        return self.join(self.norm_c(self.conv_c(F.silu(out, inplace=True))), x, activate)


class Stem(nn.Module):
    """A 1x3x3 convolution and a depthwise 5x1x1 one with nothing between them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_s = nn.Conv3d(3, channels, (1, 3, 3), (1, 2, 2), padding=(0, 1, 1), bias=False)
        self.conv_t = nn.Conv3d(channels, channels, (5, 1, 1), padding=(2, 0, 0), groups=channels, bias=False)
        self.norm = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor, layout: Layout | None, activate: bool = True) -> Tensor:
        """``[B, 3, T, H, W]`` to ``[B, C, T, H / 2, W / 2]``."""
        out = self.norm(self.conv_t(keep(self.conv_s(x), layout)))
        return F.relu(out, inplace=True) if activate else out


class Conv5(nn.Module):
    """The 1x1x1 convolution behind res5."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, out, 1, bias=False)
        self.norm = nn.BatchNorm3d(out)

    def forward(self, x: Tensor, layout: Layout | None, activate: bool = True) -> Tensor:
        """``[B, C, T, H, W]`` to ``[B, inner channels of res5, T, H, W]``."""
        out = self.norm(self.conv(x))
        return F.relu(out, inplace=True) if activate else out


class X3D(StagedEncoder):
    """X3D up to and with conv5; the layers behind the pooling belong to :class:`models.recogniser.X3DHead`.

    Args:
        size: blocks and channels of the paper's network.
        base_width: scales all channels by ``base_width / 64``, to multiples of 8.
    """

    stage_names = (*STAGES, "conv5")
    classifier = "x3d"

    def __init__(self, size: Size, base_width: int = 64) -> None:
        super().__init__()
        widths: Sequence[int] = [scaled_width(channels, base_width, 8) for channels in size.channels]
        self.stem = Stem(widths[0])
        channels = widths[0]
        for name, blocks, width in zip(STAGES[1:], size.blocks, widths, strict=True):
            stage = Blocks()
            for index in range(blocks):
                stage.append(Block(channels, width, 2 if index == 0 else 1, squeeze=index % 2 == 0))
                channels = width
            self.add_module(name, stage)
        self.feature_dim = int(BOTTLENECK * channels)
        self.conv5 = Conv5(channels, self.feature_dim)
        self.stage_channels = dict(zip(self.stage_names, (widths[0], *widths, self.feature_dim), strict=True))
        init_weights(self)


def small(base_width: int = 64) -> X3D:
    """X3D-XS, S and M; ``feature_dim`` 432."""
    return X3D(SMALL, base_width)


def large(base_width: int = 64) -> X3D:
    """X3D-L; ``feature_dim`` 432."""
    return X3D(LARGE, base_width)


def extra_large(base_width: int = 64) -> X3D:
    """X3D-XL; ``feature_dim`` 630."""
    return X3D(EXTRA_LARGE, base_width)
