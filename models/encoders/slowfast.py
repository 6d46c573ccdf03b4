"""SlowFast (Feichtenhofer et al., ICCV 2019): a slow pathway for what is there, a thin fast one for how it moves.

Features of a stage are a pair ``(slow, fast)``. The fast pathway sees all T frames, the slow one ceil(T / alpha) of them
and, at the start of each stage, a convolution of the fast one's features of the stage before.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.encoders.bottleneck import ResStage, ResStem
from models.encoders.non_local import NonLocal
from models.encoders.ragged import Layout, keep, strided
from models.encoders.ragged_norm import real_statistics
from models.encoders.staged import STAGES, StagedEncoder, init_weights, scaled_width

BETA_INV = 8  # channels of the slow pathway over those of the fast one
SLOW_KERNELS_T = {"stem": 1, "res2": 1, "res3": 1, "res4": 3, "res5": 3}
FAST_KERNELS_T = {"stem": 5, "res2": 3, "res3": 3, "res4": 3, "res5": 3}
R18, R50, R101 = (2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 23, 3)

Pair = tuple[Tensor, Tensor]
Layouts = tuple[Layout | None, Layout | None]


class Design(NamedTuple):
    """What tells the published models apart.

    Attributes:
        blocks: bottlenecks of each stage.
        alpha: frames of the fast pathway per frame of the slow one.
        lateral_kernel: frames a lateral convolution spans (7 or 5, by model).
        temporal_blocks: at most so many blocks of a stage have a kernel in time: 6 in R101_50_50, as in R50.
        non_local: blocks of the slow pathway that a dot-product non-local operator follows.
    """

    blocks: tuple[int, int, int, int]
    alpha: int
    lateral_kernel: int
    temporal_blocks: int = 6
    non_local: dict[str, tuple[int, ...]] = {}  # noqa: RUF012, a constant


def slow_indices(frames: int, alpha: int) -> list[int]:
    """Frames the slow pathway sees: evenly spread from first to last, rounded down (0,4,8,13,17,22,26,31 of 32)."""
    count = -(-frames // alpha)
    return [index * (frames - 1) // max(count - 1, 1) for index in range(count)]


def joined_layout(layouts: Layouts, alpha: int) -> Layout | None:
    """Layout of the slow pathway once the fast one's features are concatenated: a frame is real if it was in either."""
    slow, fast = layouts
    thinned = strided(fast, alpha)
    if slow is None or thinned is None:
        return slow or thinned
    frames = max(slow.mask.shape[2], thinned.mask.shape[2])
    masks = [F.pad(one.mask, (0, 0, 0, 0, 0, frames - one.mask.shape[2])) for one in (slow, thinned)]
    return Layout(torch.maximum(*masks), slow.clip[:, :1].expand(-1, frames), slow.clips)


class Lateral(nn.Module):
    """Fast to slow: a convolution over time with stride alpha to twice the fast channels, concatenated to the slow ones."""

    def __init__(self, channels: int, kernel_t: int, alpha: int) -> None:
        super().__init__()
        self.alpha = alpha
        padding = (kernel_t // 2, 0, 0)
        self.conv = nn.Conv3d(channels, 2 * channels, (kernel_t, 1, 1), (alpha, 1, 1), padding, bias=False)
        self.norm = nn.BatchNorm3d(2 * channels)

    def forward(self, x: Pair, layouts: Layouts) -> Tensor:
        """``[B, C, T_slow, H, W]`` and ``[B, C', T, H, W]`` to ``[B, C + 2C', T_slow, H, W]``.

        Where a temporal module has left pathways whose lengths no longer match, the shorter one gets zeros at its end.
        """
        slow, fast = (keep(one, layout) for one, layout in zip(x, layouts, strict=True))
        found = keep(F.relu(self.norm(self.conv(fast)), inplace=True), strided(layouts[1], self.alpha))
        frames = max(slow.shape[2], found.shape[2])
        padded = [F.pad(one, (0, 0, 0, 0, 0, frames - one.shape[2])) for one in (slow, found)]
        return torch.cat(padded, dim=1)


class PathwayStems(nn.Module):
    """The stems of both pathways."""

    def __init__(self, slow: int, fast: int) -> None:
        super().__init__()
        self.slow = ResStem(slow, SLOW_KERNELS_T["stem"])
        self.fast = ResStem(fast, FAST_KERNELS_T["stem"])

    def forward(self, x: Pair, layouts: Layouts | None, activate: bool = True) -> Pair:
        """Pixels of both pathways to features."""
        slow, fast = layouts or (None, None)
        return self.slow(x[0], slow, activate), self.fast(x[1], fast, activate)


class PathwayStages(nn.Module):
    """The lateral connection into a stage and that stage of both pathways."""

    def __init__(self, lateral: Lateral, slow: ResStage, fast: ResStage) -> None:
        super().__init__()
        self.lateral, self.slow, self.fast = lateral, slow, fast

    def forward(self, x: Pair, layouts: Layouts | None, activate: bool = True) -> Pair:
        """Features of the stage before, with their layouts, to those of this one."""
        layouts = layouts or (None, None)
        joined = self.lateral(x, layouts)
        slow = self.slow(joined, joined_layout(layouts, self.lateral.alpha), activate)
        return slow, self.fast(x[1], layouts[1], activate)


class SlowFast(StagedEncoder):
    """SlowFast of a published design; ``base_width`` is the slow pathway's inner channels of res2, 64 in the paper."""

    stage_channels: dict[str, tuple[int, int]]

    def __init__(self, design: Design, base_width: int = 64) -> None:
        super().__init__()
        width = scaled_width(64, base_width)
        thin = scaled_width(64 // BETA_INV, base_width)
        self.alpha = design.alpha
        self.stem = PathwayStems(width, thin)
        slow, fast = width, thin
        self.stage_channels = {"stem": (slow, fast)}
        for index, (name, blocks) in enumerate(zip(STAGES[1:], design.blocks, strict=True)):
            stride = 1 if name == "res2" else 2
            out, out_fast = width * 2**index * 4, thin * 2**index * 4
            kernels, kernels_fast = (_kernels(name, blocks, design, t) for t in (SLOW_KERNELS_T, FAST_KERNELS_T))
            operators = {place: NonLocal(out, "dot_product") for place in design.non_local.get(name, ())}
            stages = PathwayStages(
                Lateral(fast, design.lateral_kernel, design.alpha),
                ResStage(slow + 2 * fast, out // 4, out, kernels, stride, operators),
                ResStage(fast, out_fast // 4, out_fast, kernels_fast, stride),
            )
            self.add_module(name, stages)
            slow, fast = out, out_fast
            self.stage_channels[name] = (slow, fast)
        self.feature_dim = slow + fast
        init_weights(self)

    def start(self, pixels: Tensor) -> Pair:
        """Pixels of the slow and of the fast pathway."""
        pixels = super().start(pixels)
        return pixels[:, :, slow_indices(pixels.shape[2], self.alpha)], pixels

    def start_layout(self, layout: Layout | None) -> Any:
        """Clips of unequal length cannot enter: which frames the slow pathway sees depends on the length.

        Raises:
            ValueError: there is a layout.
        """
        if layout is not None:
            raise ValueError("SlowFast takes clips of one length; only a module behind a stage may change it")
        return None, None

    @contextmanager
    def statistics(self, name: str, layout: Any) -> Iterator[None]:
        """Around a stage: the batch statistics of each pathway are those of its real frames."""
        stage: Any = self.get_submodule(name)
        if layout in (None, (None, None)) or not self.training:
            yield
            return
        with (
            real_statistics(stage.slow, joined_layout(layout, self.alpha)),
            real_statistics(stage.fast, layout[1]),
            real_statistics(stage.lateral, strided(layout[1], self.alpha)),
        ):
            yield

    def stage_layout(self, name: str, layout: Any) -> Layouts:
        """Layouts behind a stage: at the start of each but the stem the pathways are joined."""
        layouts: Layouts = layout or (None, None)
        return layouts if name == "stem" else (joined_layout(layouts, self.alpha), layouts[1])

    def finish(self, x: Any, layout: Any) -> tuple[Tensor, Layout | None]:
        """``[B, slow + fast channels, T_slow, H', W']``: the fast pathway's frames averaged in as many groups.

        With clips of unequal length (or lengths that do not match) each frame gets the average of the whole clip.
        """
        slow, fast = x
        frames = slow.shape[2]
        if layout[1] is None and frames == -(-fast.shape[2] // self.alpha):
            return torch.cat([slow, F.adaptive_avg_pool3d(fast, (frames, *fast.shape[3:]))], dim=1), layout[0]
        count: Tensor | int = (
            fast.shape[2] if layout[1] is None else layout[1].mask.sum(dim=2, keepdim=True).clamp(min=1)
        )
        mean = keep(fast, layout[1]).sum(dim=2, keepdim=True) / count
        return torch.cat([slow, mean.expand(-1, -1, frames, -1, -1)], dim=1), layout[0]


def _kernels(stage: str, blocks: int, design: Design, kernels_t: dict[str, int]) -> list[int]:
    return [kernels_t[stage] if index < design.temporal_blocks else 1 for index in range(blocks)]


def slowfast_4x16_r50(base_width: int = 64) -> SlowFast:
    """SlowFast 4x16, R50: 32 frames, 4 of them slow; ``feature_dim`` 2304, as of all but R18."""
    return SlowFast(Design(R50, alpha=8, lateral_kernel=5), base_width)


def slowfast_8x8_r50(base_width: int = 64) -> SlowFast:
    """SlowFast 8x8, R50: 32 frames, 8 of them slow."""
    return SlowFast(Design(R50, alpha=4, lateral_kernel=7), base_width)


def slowfast_8x8_r50_nl(base_width: int = 64) -> SlowFast:
    """SlowFast 8x8, R50, with the non-local operators of I3D-R50 in the slow pathway."""
    return SlowFast(Design(R50, 4, 5, non_local={"res3": (1, 3), "res4": (1, 3, 5)}), base_width)


def slowfast_4x16_r101(base_width: int = 64) -> SlowFast:
    """SlowFast 4x16, R101: the design of 4x16 R50 with the blocks of R101."""
    return SlowFast(Design(R101, alpha=8, lateral_kernel=5), base_width)


def slowfast_r101(base_width: int = 64) -> SlowFast:
    """SlowFast 8x8 and 16x8, R101 as published ("R101_50_50"): six blocks of res4 have a kernel in time."""
    return SlowFast(Design(R101, alpha=4, lateral_kernel=5), base_width)


def slowfast_r101_101(base_width: int = 64) -> SlowFast:
    """SlowFast 8x8, R101, with a kernel in time in all 23 blocks of res4, as PyTorchVideo trains it."""
    return SlowFast(Design(R101, alpha=4, lateral_kernel=5, temporal_blocks=23), base_width)


def slowfast_r101_nl(base_width: int = 64) -> SlowFast:
    """SlowFast 8x8 and 16x8, R101+NL."""
    return SlowFast(Design(R101, 4, 5, non_local={"res4": (6, 13, 20)}), base_width)


def slowfast_8x8_r18(base_width: int = 64) -> SlowFast:
    """SlowFast 8x8 with two bottlenecks per stage, the "R18" of the adaptive-temporal-resolution paper."""
    return SlowFast(Design(R18, alpha=4, lateral_kernel=7), base_width)
