"""TSM: a 2-D ResNet that exchanges channels between neighbouring frames (Lin et al., ICCV 2019).

The shift stands before ``conv1`` of every residual block, on the residual branch only ("blockres"): the first eighth of
the channels comes from the next frame, the second eighth from the previous one, the rest stays; beyond the ends of a
snippet there are zeros. It has no parameters, so every parameter and buffer carries the name it has in torchvision's
``resnet18`` / ``resnet50`` and their ImageNet weights load one to one.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.memory_format import image_format

SHIFT_DIV = 8


class _TemporalShift(torch.autograd.Function):
    """The shift as one copy of the tensor; its gradient is the shift in the other direction."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, frames: int, fold: int, backward_in_time: bool) -> Tensor:
        ctx.shape = (frames, fold, backward_in_time)
        shifted = x.clone(memory_format=torch.preserve_format)
        source, target = (y.view(-1, frames, *y.shape[1:]) for y in (x, shifted))
        from_next, from_previous = slice(0, fold), slice(fold, 2 * fold)
        if backward_in_time:
            from_next, from_previous = from_previous, from_next
        target[:, :-1, from_next] = source[:, 1:, from_next]
        target[:, -1, from_next] = 0
        target[:, 1:, from_previous] = source[:, :-1, from_previous]
        target[:, 0, from_previous] = 0
        return shifted

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        frames, fold, backward_in_time = ctx.shape
        return _TemporalShift.apply(gradients[0], frames, fold, not backward_in_time), None, None, None


def temporal_shift(x: Tensor, frames: int, shift_div: int = SHIFT_DIV) -> Tensor:
    """Shift channels along time within each snippet.

    Args:
        x: ``[B * frames, C, H, W]``, the frames of a snippet one after the other, in any memory format (kept).
        frames: frames per snippet; snippets never mix.
        shift_div: ``C // shift_div`` channels move each way; 0 moves none.
    """
    if shift_div == 0:
        return x
    shifted: Tensor = _TemporalShift.apply(x, frames, x.shape[1] // shift_div, False)
    return shifted


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (ResNet-18/34)."""

    expansion = 1

    def __init__(self, channels: int, planes: int, stride: int, shift_div: int) -> None:
        super().__init__()
        self.shift_div = shift_div
        self.conv1 = nn.Conv2d(channels, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _shortcut(channels, planes, stride)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """``[B * frames, C, H, W]`` to the same with this block's channels and stride."""
        out = F.relu(self.bn1(self.conv1(temporal_shift(x, frames, self.shift_div))), inplace=True)
        out = self.bn2(self.conv2(out))
        out = out.add_(x if self.downsample is None else self.downsample(x))
        return F.relu(out, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions with a shortcut, stride in the 3x3 (ResNet-50 as torchvision has it)."""

    expansion = 4

    def __init__(self, channels: int, planes: int, stride: int, shift_div: int) -> None:
        super().__init__()
        self.shift_div = shift_div
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.downsample = _shortcut(channels, planes * self.expansion, stride)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """``[B * frames, C, H, W]`` to the same with this block's channels and stride."""
        out = F.relu(self.bn1(self.conv1(temporal_shift(x, frames, self.shift_div))), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        out = out.add_(x if self.downsample is None else self.downsample(x))
        return F.relu(out, inplace=True)


def _shortcut(channels: int, planes: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and channels == planes:
        return None
    return nn.Sequential(nn.Conv2d(channels, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))


class TSMResNet(nn.Module):
    """ResNet over frames with a temporal shift in every residual block; contract in ``models/encoders/__init__.py``.

    Args:
        block: :class:`BasicBlock` or :class:`Bottleneck`.
        layers: blocks in each of the four stages.
        base_width: channels of the first stage, 64 in the papers; a smaller one changes nothing else.
        shift_div: a block shifts ``C // shift_div`` channels each way; 0 turns the shift off (a plain 2-D ResNet).
    """

    in_channels = 3

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: tuple[int, int, int, int],
        base_width: int,
        shift_div: int,
    ) -> None:
        super().__init__()
        if base_width < 1:
            raise ValueError(f"base_width is {base_width}, it must be at least 1")
        if shift_div != 0 and shift_div < 2:
            raise ValueError(f"shift_div is {shift_div}, it must be 0 (no shift) or at least 2")
        self.conv1 = nn.Conv2d(3, base_width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(base_width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = base_width
        for stage, count in enumerate(layers):
            planes = base_width * 2**stage
            blocks = nn.ModuleList()
            for index in range(count):
                blocks.append(block(channels, planes, 2 if stage > 0 and index == 0 else 1, shift_div))
                channels = planes * block.expansion
            self.add_module(f"layer{stage + 1}", blocks)
        self.feature_dim = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Encode snippets.

        Args:
            x: ``[B, 3, T, H, W]``, normalised RGB; any T, H, W.

        Returns:
            ``[B, feature_dim, T, ceil(H / 32), ceil(W / 32)]``.
        """
        if x.dim() != 5 or x.shape[1] != 3:
            raise ValueError(f"expected pixels [B, 3, T, H, W], got {list(x.shape)}")
        batch, frames = x.shape[0], x.shape[2]
        # No copy is made where channels come last and the frames came as [T, H, W, C].
        y = x.transpose(1, 2).flatten(0, 1).contiguous(memory_format=image_format(self.conv1.out_channels))
        y = self.maxpool(F.relu(self.bn1(self.conv1(y)), inplace=True))
        for stage in range(1, 5):
            for block in self.get_submodule(f"layer{stage}").children():
                y = block(y, frames)
        features: Tensor = y.view(batch, frames, *y.shape[1:]).transpose(1, 2)
        return features


def tsm_resnet18(base_width: int = 64, shift_div: int = SHIFT_DIV) -> TSMResNet:
    """TSM-ResNet18, LoFi's encoder; ``feature_dim`` is ``8 * base_width`` (512)."""
    return TSMResNet(BasicBlock, (2, 2, 2, 2), base_width, shift_div)


def tsm_resnet50(base_width: int = 64, shift_div: int = SHIFT_DIV) -> TSMResNet:
    """TSM-ResNet50; ``feature_dim`` is ``32 * base_width`` (2048)."""
    return TSMResNet(Bottleneck, (3, 4, 6, 3), base_width, shift_div)
