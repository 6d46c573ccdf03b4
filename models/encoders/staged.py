"""What the 3-D backbones share: named stages, and places between them where a temporal module can stand.

A temporal module (Grid Pool, SGS) is put behind a stage with :meth:`StagedEncoder.plug`. It is called as
``module(x, layout) -> (x, layout)`` with the features of that stage and the :class:`~models.encoders.ragged.Layout` of
their frames (``None``: all real), and may change the number of frames. One that has the attribute ``before_relu`` set to
True gets the sum of the last block's two branches before its ReLU (where SGS stands); the ReLU follows behind it.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from models.encoders.ragged import Layout, frame_mean, strided
from models.encoders.ragged_norm import real_statistics

STAGES = ("stem", "res2", "res3", "res4", "res5")

# Statistics of RGB in 0..1 that PySlowFast, PyTorchVideo and the papers on top of them train with.
KINETICS_MEAN, KINETICS_STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)


class StagedEncoder(nn.Module):
    """A snippet encoder (contract in ``models/encoders/__init__.py``) whose stages can be run one by one.

    A subclass adds one module per stage under the stage's name, called as ``stage(x, layout, activate)``.

    Attributes:
        stage_names: in the order they run.
        stage_channels: channels of each stage's features (a pair for an encoder of two pathways).
        temporal_strides: stages that thin out time, and by how much.
        feature_dim: channels of the encoder's result.
        in_channels: of the pixels: RGB.
        classifier: what its family classifies with, a key of :data:`models.heads.HEADS`.
        pixel_mean: of RGB in 0..1, what the public weights were trained with; ``pixel_std`` likewise.
        after: the temporal modules by the stage they stand behind.
    """

    stage_names: tuple[str, ...] = STAGES
    temporal_strides: Mapping[str, int] = {}
    classifier: str = "recognition"
    pixel_mean: tuple[float, float, float] = KINETICS_MEAN
    pixel_std: tuple[float, float, float] = KINETICS_STD
    stage_channels: dict[str, Any]
    feature_dim: int
    in_channels: int = 3

    def __init__(self) -> None:
        super().__init__()
        self.after = nn.ModuleDict()

    def plug(self, stage: str, module: nn.Module) -> None:
        """Put a temporal module behind ``stage``.

        Raises:
            ValueError: no such stage, or its place is taken.
        """
        if stage not in self.stage_names:
            raise ValueError(f"no stage {stage!r}; allowed: {', '.join(self.stage_names)}")
        if stage in self.after:
            raise ValueError(f"{type(self.after[stage]).__name__} already stands behind {stage}")
        self.after[stage] = module

    def start(self, pixels: Tensor) -> Any:
        """What the first stage takes: the pixels ``[B, 3, T, H, W]`` themselves (SlowFast: those of each pathway)."""
        if pixels.dim() != 5 or pixels.shape[1] != 3:
            raise ValueError(f"expected pixels [B, 3, T, H, W], got {list(pixels.shape)}")
        return pixels

    def start_layout(self, layout: Layout | None) -> Any:
        """The layout of what :meth:`start` returns."""
        return layout

    def run_stage(self, name: str, x: Any, layout: Any = None, activate: bool = True) -> Any:
        """Run one stage, without the module behind it.

        Args:
            name: one of ``stage_names``.
            x: result of the stage before (of :meth:`start` for the first), ``[B, C, T, H, W]``; SlowFast: the pair of
                its pathways.
            layout: of the frames of ``x``.
            activate: False leaves the last block's ReLU away.

        Returns:
            The features of the stage; their frames have the layout :meth:`stage_layout` says.
        """
        with self.statistics(name, layout):
            return self.get_submodule(name)(x, layout, activate)

    def statistics(self, name: str, layout: Any) -> AbstractContextManager[None]:
        """Around a stage: its batch statistics are those of real frames."""
        if layout is None or not self.training:
            return nullcontext()
        return real_statistics(self.get_submodule(name), layout, self.stage_layout(name, layout))

    def stage_layout(self, name: str, layout: Any) -> Any:
        """The layout behind a stage, of that before it."""
        return strided(layout, self.temporal_strides.get(name, 1))

    def finish(self, x: Any, layout: Any) -> tuple[Tensor, Layout | None]:
        """Features of the last stage to the encoder's result (SlowFast: both pathways in one tensor)."""
        return x, layout

    def forward_stages(self, pixels: Tensor, layout: Layout | None = None) -> dict[str, tuple[Any, Any]]:
        """Features and layout behind every stage and the module that stands there, by stage name."""
        x, at = self.start(pixels), self.start_layout(layout)
        found = {}
        for name in self.stage_names:
            module = self.after[name] if name in self.after else None  # noqa: SIM401, no method get
            before_relu = bool(getattr(module, "before_relu", False))
            x, at = self.run_stage(name, x, at, not before_relu), self.stage_layout(name, at)
            if module is not None:
                x, at = module(x, at)
            if before_relu:
                x = tuple(map(F.relu, x)) if isinstance(x, tuple) else F.relu(x)
            found[name] = x, at
        return found

    def encode(self, pixels: Tensor, layout: Layout | None = None) -> tuple[Tensor, Layout | None]:
        """Features ``[B, feature_dim, T', H', W']`` and which of their frames are real."""
        return self.finish(*self.forward_stages(pixels, layout)[self.stage_names[-1]])

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode snippets: ``[B, 3, T, H, W]``, normalised RGB, to ``[B, feature_dim, T', H', W']``.

        Where a module inside gives each clip its own number of frames, T' is 1, their mean: no caller can average over
        frames that are not a clip's.
        """
        features, layout = self.encode(pixels)
        return features if layout is None else frame_mean(features, layout)


def scaled_width(channels: int, base_width: int, multiple: int = 1) -> int:
    """``channels`` of the paper's network at another ``base_width``, of which 64 is the paper's, as for TSM.

    Raises:
        ValueError: ``base_width`` below 1.
    """
    if base_width < 1:
        raise ValueError(f"base_width is {base_width}, it must be at least 1")
    if base_width == 64:
        return channels
    return max(round(channels * base_width / 64 / multiple), 1) * multiple


def init_weights(module: nn.Module) -> None:
    """Kaiming (fan out) for convolutions; the last scale of each residual branch 0, so that a block starts as identity.

    A block names that normalisation by its attribute ``last_norm``.
    """
    for child in module.modules():
        if isinstance(child, nn.Conv3d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
            if child.bias is not None:
                nn.init.zeros_(child.bias)
    for child in module.modules():
        last = getattr(child, "last_norm", None)
        if isinstance(last, str):
            nn.init.zeros_(child.get_parameter(f"{last}.weight"))
