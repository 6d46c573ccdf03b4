"""R(2+1)D-18 (Tran et al., CVPR 2018), as torchvision defines it and its public Kinetics weights need it.

Each 3x3x3 convolution is a 1x3x3 and a 3x1x1 one with M channels between them, normalised and rectified. M keeps the
parameters of the 3x3x3 convolution and is computed once per block, from the block's input, for both of its convolutions
(the paper's formula would give the second one another M). Time and space are halved together at res3, res4 and res5.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from models.encoders.ragged import Layout, keep, strided
from models.encoders.residual import Blocks, ResidualBlock
from models.encoders.staged import STAGES, StagedEncoder, init_weights, scaled_width

STEM_INNER = 45
BLOCKS = 2


class FactoredConv(nn.Module):
    """1x3x3 with the stride in space, normalisation, ReLU, 3x1x1 with the stride in time."""

    def __init__(self, channels: int, inner: int, out: int, stride: int) -> None:
        super().__init__()
        self.spatial = nn.Conv3d(channels, inner, (1, 3, 3), (1, stride, stride), padding=(0, 1, 1), bias=False)
        self.norm = nn.BatchNorm3d(inner)
        self.temporal = nn.Conv3d(inner, out, (3, 1, 1), (stride, 1, 1), padding=(1, 0, 0), bias=False)

    def forward(self, x: Tensor, layout: Layout | None) -> Tensor:
        """``[B, C, T, H, W]`` to the same with other channels and stride."""
        found: Tensor = self.temporal(keep(F.relu(self.norm(self.spatial(x)), inplace=True), layout))
        return found


class Block(ResidualBlock):
    """Two factored convolutions with a shortcut."""

    last_norm = "norm_b"

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.stride_t = stride
        inner = channels * out * 27 // (channels * 9 + 3 * out)
        self.conv_a = FactoredConv(channels, inner, out, stride)
        self.norm_a = nn.BatchNorm3d(out)
        self.conv_b = FactoredConv(out, inner, out, 1)
        self.norm_b = nn.BatchNorm3d(out)
        self.add_shortcut(channels, out, stride)

    def forward(self, x: Tensor, layout: Layout | None, activate: bool = True) -> Tensor:
        """``[B, C, T, H, W]`` to the same with this block's channels and stride; ``layout`` is that of ``x``."""
        out = F.relu(self.norm_a(self.conv_a(x, layout)), inplace=True)
        return self.join(self.norm_b(self.conv_b(out, strided(layout, self.stride_t))), x, activate)


class Stem(nn.Module):
    """1x7x7 of stride 2 in space, normalisation, ReLU, 3x1x1, normalisation, ReLU; no pool."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.spatial = nn.Conv3d(3, inner, (1, 7, 7), (1, 2, 2), padding=(0, 3, 3), bias=False)
        self.spatial_norm = nn.BatchNorm3d(inner)
        self.temporal = nn.Conv3d(inner, channels, (3, 1, 1), padding=(1, 0, 0), bias=False)
        self.temporal_norm = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor, layout: Layout | None, activate: bool = True) -> Tensor:
        """``[B, 3, T, H, W]`` to ``[B, C, T, H / 2, W / 2]``."""
        out = F.relu(self.spatial_norm(self.spatial(x)), inplace=True)
        out = self.temporal_norm(self.temporal(keep(out, layout)))
        return F.relu(out, inplace=True) if activate else out


class R2Plus1D(StagedEncoder):
    """R(2+1)D-18; ``base_width`` is the width of stem and res2, 64 in the paper."""

    pixel_mean = (0.43216, 0.394666, 0.37645)
    pixel_std = (0.22803, 0.22145, 0.216989)

    def __init__(self, base_width: int = 64) -> None:
        super().__init__()
        channels = scaled_width(64, base_width)
        self.stem = Stem(channels, scaled_width(STEM_INNER, base_width))
        self.stage_channels = {"stem": channels}
        for index, name in enumerate(STAGES[1:]):
            out, stride = scaled_width(64, base_width) * 2**index, 1 if name == "res2" else 2
            self.add_module(
                name, Blocks([Block(channels, out, stride), *(Block(out, out, 1) for _ in range(1, BLOCKS))])
            )
            self.stage_channels[name] = channels = out
        self.temporal_strides = {"res3": 2, "res4": 2, "res5": 2}
        self.feature_dim = channels
        init_weights(self)


def r2plus1d_18(base_width: int = 64) -> R2Plus1D:
    """R(2+1)D-18; ``feature_dim`` 512, time is thinned eight times."""
    return R2Plus1D(base_width)
