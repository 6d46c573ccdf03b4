"""The modified 3DResNet-18 and 3DResNet-50 of the adaptive-temporal-resolution paper (appendix; CVPR 2021).

Bottlenecks at both depths, an early part narrow enough that most of the cost lies behind res2, where SGS stands; kernels
in time at the stem (5), res2 and res5 (3). Time is never shortened.
"""

from models.encoders.bottleneck import ResStage, ResStem
from models.encoders.staged import STAGES, StagedEncoder, init_weights, scaled_width

STEM = 8
INNER = {"res2": 8, "res3": 64, "res4": 128, "res5": 256}
KERNEL_T = {"res2": 3, "res3": 1, "res4": 1, "res5": 3}


class AdaptiveResNet3D(StagedEncoder):
    """3DResNet with ``blocks`` bottlenecks per stage; widths scale with ``base_width / 64``."""

    def __init__(self, blocks: tuple[int, int, int, int], base_width: int = 64) -> None:
        super().__init__()
        channels = scaled_width(STEM, base_width)
        self.stem = ResStem(channels, 5)
        self.stage_channels = {"stem": channels}
        for name, count in zip(STAGES[1:], blocks, strict=True):
            inner = scaled_width(INNER[name], base_width)
            stride = 1 if name == "res2" else 2
            self.add_module(name, ResStage(channels, inner, 4 * inner, (KERNEL_T[name],) * count, stride))
            self.stage_channels[name] = channels = 4 * inner
        self.feature_dim = channels
        init_weights(self)


def resnet3d_18(base_width: int = 64) -> AdaptiveResNet3D:
    """3DResNet-18: two bottlenecks per stage; ``feature_dim`` 1024."""
    return AdaptiveResNet3D((2, 2, 2, 2), base_width)


def resnet3d_50(base_width: int = 64) -> AdaptiveResNet3D:
    """3DResNet-50: 3, 4, 6 and 3 bottlenecks; ``feature_dim`` 1024."""
    return AdaptiveResNet3D((3, 4, 6, 3), base_width)
