"""What residual blocks of all 3-D backbones share: the shortcut around a branch, and blocks one behind the other."""

import torch.nn.functional as F
from torch import Tensor, nn

from models.encoders.ragged import Layout, strided


class ResidualBlock(nn.Module):
    """A block that adds a branch to its input; where the shape changes, a normalised 1x1x1 convolution stands between.

    A subclass makes its branch, then calls :meth:`add_shortcut`, and in ``forward(x, layout, activate)`` ends with
    :meth:`join`.

    Attributes:
        last_norm: name of the branch's last normalisation, see :func:`models.encoders.staged.init_weights`.
        stride_t: how many times the block thins out time.
    """

    last_norm: str
    stride_t = 1

    def add_shortcut(self, channels: int, out: int, stride: int) -> None:
        """Make what stands between input and sum; ``stride``: in space."""
        self.shortcut_conv, self.shortcut_norm = None, None
        if channels != out or stride != 1:
            self.shortcut_conv = nn.Conv3d(channels, out, 1, (self.stride_t, stride, stride), bias=False)
            self.shortcut_norm = nn.BatchNorm3d(out)

    def join(self, branch: Tensor, x: Tensor, activate: bool) -> Tensor:
        """The sum of the branch and the block's input ``x``; ``activate`` False leaves the ReLU away."""
        if self.shortcut_conv is not None and self.shortcut_norm is not None:
            x = self.shortcut_norm(self.shortcut_conv(x))
        out = branch + x
        return F.relu(out, inplace=True) if activate else out


class Blocks(nn.ModuleList):
    """The residual blocks of one stage."""

    def forward(self, x: Tensor, layout: Layout | None, activate: bool = True) -> Tensor:
        """``[B, C, T, H, W]`` to the same with this stage's channels and strides; ``layout`` is that of ``x``."""
        last = len(self) - 1
        for index, block in enumerate(self):
            x = block(x, layout, activate or index < last)
            layout = strided(layout, block.stride_t)  # type: ignore[arg-type]
        return x
