"""TSM by stages, so that a temporal module can stand inside it."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor

from models.encoders.ragged import Layout, keep
from models.encoders.ragged_norm import real_statistics
from models.encoders.snippets import MEAN, STD
from models.encoders.staged import STAGES, StagedEncoder
from models.encoders.tsm import TSMResNet
from models.memory_format import image_format


class StagedTSM(StagedEncoder):
    """A TSM (held as ``tsm``, with its own names) whose stages run one by one.

    TSM's blocks end with their ReLU: a module that wants to stand before it stands behind it.
    """

    pixel_mean, pixel_std = MEAN, STD

    def __init__(self, tsm: TSMResNet) -> None:
        super().__init__()
        self.tsm = tsm
        self.feature_dim = tsm.feature_dim
        widths = [self._blocks(name)[-1].bn1.num_features for name in STAGES[1:]]
        growth = tsm.feature_dim // widths[-1]
        self.stage_channels = dict(
            zip(STAGES, (tsm.conv1.out_channels, *(growth * width for width in widths)), strict=True)
        )

    def run_stage(self, name: str, x: Tensor, layout: Layout | None = None, activate: bool = True) -> Tensor:
        """One stage on ``[B, C, T, H, W]``; inside, frames stand in the batch."""
        frames = x.shape[2]
        if name == "stem":
            # As in TSM itself; the stages behind keep the format.
            y: Tensor = (
                x.transpose(1, 2).flatten(0, 1).contiguous(memory_format=image_format(self.tsm.conv1.out_channels))
            )
            y = self.tsm.conv1(y)
            y = self.tsm.maxpool(self.tsm.bn1(y).relu())
            return y.view(-1, frames, *y.shape[1:]).transpose(1, 2)
        with self.statistics(name, layout):
            for block in self._blocks(name):
                y = block(keep(x, layout).transpose(1, 2).flatten(0, 1), frames)
                x = y.view(-1, frames, *y.shape[1:]).transpose(1, 2)
        return x

    def statistics(self, name: str, layout: Layout | None) -> AbstractContextManager[None]:
        """Around a stage: its batch statistics are those of real frames."""
        if layout is None or not self.training:
            return nullcontext()
        return real_statistics(self.tsm.get_submodule(f"layer{STAGES.index(name)}"), layout)

    def _blocks(self, name: str) -> list[Any]:
        return list(self.tsm.get_submodule(f"layer{STAGES.index(name)}").children())
