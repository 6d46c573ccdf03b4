"""I3D in its first form: Inception-v1 with all kernels made cubes (Carreira and Zisserman, CVPR 2017).

Its weights (pytorch-i3d) are what the features of Charades, MultiTHUMOS and THUMOS in many papers come from. Pictures go
in as [-1, 1]. The stages bear the names of ResNet's at the same resolution: ``res2`` is Conv3d_2b and 2c, ``res3`` is
Mixed_3b and 3c, ``res4`` is Mixed_4b to 4f, ``res5`` is Mixed_5b and 5c, each with the pool before it.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.encoders.staged import StagedEncoder, init_weights, scaled_width

# Channels of the four branches of each module: 1x1; 1x1, 3x3; 1x1, 3x3; 1x1 behind the pool.
MIXED: dict[str, dict[str, tuple[int, int, int, int, int, int]]] = {
    "res3": {"b": (64, 96, 128, 16, 32, 32), "c": (128, 128, 192, 32, 96, 64)},
    "res4": {
        "b": (192, 96, 208, 16, 48, 64),
        "c": (160, 112, 224, 24, 64, 64),
        "d": (128, 128, 256, 24, 64, 64),
        "e": (112, 144, 288, 32, 64, 64),
        "f": (256, 160, 320, 32, 128, 128),
    },
    "res5": {"b": (256, 160, 320, 32, 128, 128), "c": (384, 192, 384, 48, 128, 128)},
}
# Kernel and stride of the pool at the start of each stage.
POOLS = {"res2": ((1, 3, 3), (1, 2, 2)), "res3": ((1, 3, 3), (1, 2, 2)), "res4": ((3, 3, 3), (2, 2, 2)),
         "res5": ((2, 2, 2), (2, 2, 2))}  # fmt: skip


def pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Zeros on both sides so that ceil(size / stride) results come out, the odd one behind, as TensorFlow pads."""
    sides: list[int] = []
    for size, width, step in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        missing = max(width - (size % step or step), 0)
        sides += [missing // 2, missing - missing // 2]
    return F.pad(x, sides)


class Unit(nn.Module):
    """Convolution, normalisation, ReLU."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, out, kernel, stride, bias=False)
        self.norm = nn.BatchNorm3d(out, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor, activate: bool = True) -> Tensor:
        """``[B, C, T, H, W]`` to the same with other channels, each size divided by the stride and rounded up."""
        out = self.norm(self.conv(pad_same(x, self.conv.kernel_size, self.conv.stride)))
        return F.relu(out, inplace=True) if activate else out


class Mixed(nn.Module):
    """Four branches side by side."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.b0 = Unit(channels, widths[0], 1)
        self.b1a, self.b1b = Unit(channels, widths[1], 1), Unit(widths[1], widths[2], 3)
        self.b2a, self.b2b = Unit(channels, widths[3], 1), Unit(widths[3], widths[4], 3)
        self.b3b = Unit(channels, widths[5], 1)

    def forward(self, x: Tensor, activate: bool = True) -> Tensor:
        """``[B, C, T, H, W]`` to the same with other channels."""
        pooled = F.max_pool3d(pad_same(x, (3, 3, 3), (1, 1, 1)), 3, 1)
        branches = (self.b0, x), (self.b1b, self.b1a(x)), (self.b2b, self.b2a(x)), (self.b3b, pooled)
        return torch.cat([unit(y, activate) for unit, y in branches], dim=1)


class Stage(nn.Module):
    """A pool, if any, and units or modules one after the other, by the letter they have in the paper's figure."""

    def __init__(self, name: str, parts: dict[str, nn.Module]) -> None:
        super().__init__()
        self.pool = POOLS.get(name)
        self.parts = nn.ModuleDict(parts)

    def forward(self, x: Tensor, layout: Any, activate: bool = True) -> Tensor:
        """``[B, C, T, H, W]`` to the same with this stage's channels and strides.

        Raises:
            ValueError: there is a layout. How this network pads depends on the length of its input, so a clip's result
                could not be the same in a longer batch.
        """
        if layout is not None:
            raise ValueError("Inception-I3D takes clips of one length only")
        if self.pool is not None:
            x = F.max_pool3d(pad_same(x, *self.pool), *self.pool)
        for index, part in enumerate(self.parts.values(), start=1):
            x = part(x, activate or index < len(self.parts))
        return x


class InceptionI3D(StagedEncoder):
    """I3D up to Mixed_5c; widths scale with ``base_width / 64``."""

    temporal_strides = {"stem": 2, "res4": 2, "res5": 2}  # noqa: RUF012, a constant
    pixel_mean = (0.5, 0.5, 0.5)
    pixel_std = (0.5, 0.5, 0.5)

    def __init__(self, base_width: int = 64) -> None:
        super().__init__()
        narrow, wide = scaled_width(64, base_width), scaled_width(192, base_width)
        self.stem = Stage("stem", {"a": Unit(3, narrow, 7, stride=2)})
        self.res2 = Stage("res2", {"b": Unit(narrow, narrow, 1), "c": Unit(narrow, wide, 3)})
        self.stage_channels = {"stem": narrow, "res2": wide}
        channels = wide
        for name, modules in MIXED.items():
            parts: dict[str, nn.Module] = {}
            for letter, widths in modules.items():
                scaled = [scaled_width(width, base_width) for width in widths]
                parts[letter] = Mixed(channels, scaled)
                channels = scaled[0] + scaled[2] + scaled[4] + scaled[5]
            self.add_module(name, Stage(name, parts))
            self.stage_channels[name] = channels
        self.feature_dim = channels
        init_weights(self)


def i3d_inception(base_width: int = 64) -> InceptionI3D:
    """Inception-I3D; ``feature_dim`` 1024, time is thinned eight times."""
    return InceptionI3D(base_width)
