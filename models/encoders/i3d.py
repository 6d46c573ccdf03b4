"""One-pathway 3-D ResNets: I3D-R50 (with and without non-local operators), Slow-R50 and the thesis' I3D of Table 6.3.

I3D is the ResNet-50 form of Carreira and Zisserman's idea that PySlowFast trains and the papers measure against; the
Inception form is :mod:`models.encoders.i3d_inception`. Slow (SlowFast paper) has no kernel in time before res4. The
thesis' "I3D" of its multigrid chapter (Table 6.3) is Slow at 16 frames, its I3D-NL has dot-product operators.
"""

from typing import NamedTuple

from models.encoders.bottleneck import ResStage, ResStem
from models.encoders.non_local import Affinity, NonLocal
from models.encoders.staged import STAGES, StagedEncoder, init_weights, scaled_width

# Non-local operators of the ResNet-50 models: behind these blocks of each stage.
R50_LOCATIONS = {"res3": (1, 3), "res4": (1, 3, 5)}


class Design(NamedTuple):
    """What tells the networks apart: kernels in time, and a halving of time before res3."""

    stem_kernel_t: int
    kernels_t: dict[str, tuple[int, ...]]
    pool_t: int


I3D = Design(5, {"res2": (3, 3, 3), "res3": (3, 1) * 2, "res4": (3, 1) * 3, "res5": (1, 3, 1)}, 2)
SLOW = Design(1, {"res2": (1,) * 3, "res3": (1,) * 4, "res4": (3,) * 6, "res5": (3,) * 3}, 1)


class ResNet3D(StagedEncoder):
    """A 3-D ResNet with one pathway.

    Args:
        design: kernels and pool in time.
        base_width: inner channels of res2, 64 in the papers.
        non_local: kind of the non-local operators at :data:`R50_LOCATIONS`; None for none.
    """

    def __init__(self, design: Design, base_width: int = 64, non_local: Affinity | None = None) -> None:
        super().__init__()
        width = scaled_width(64, base_width)
        self.stem = ResStem(width, design.stem_kernel_t)
        self.stage_channels = {"stem": width}
        channels = width
        for index, name in enumerate(STAGES[1:]):
            inner, out = width * 2**index, width * 2**index * 4
            places = R50_LOCATIONS.get(name, ()) if non_local else ()
            pool_t = design.pool_t if name == "res3" else 1
            operators = {place: NonLocal(out, non_local) for place in places if non_local}
            stride = 1 if name == "res2" else 2
            self.add_module(name, ResStage(channels, inner, out, design.kernels_t[name], stride, operators, pool_t))
            self.stage_channels[name] = channels = out
        self.temporal_strides = {"res3": design.pool_t}
        self.feature_dim = channels
        init_weights(self)


def i3d_r50(base_width: int = 64) -> ResNet3D:
    """I3D-R50; ``feature_dim`` 2048, time is halved."""
    return ResNet3D(I3D, base_width)


def i3d_r50_nl(base_width: int = 64) -> ResNet3D:
    """I3D-R50 with five softmax non-local operators."""
    return ResNet3D(I3D, base_width, "softmax")


def slow_r50(base_width: int = 64) -> ResNet3D:
    """Slow-R50, which is also the I3D of the thesis' Table 6.3; ``feature_dim`` 2048."""
    return ResNet3D(SLOW, base_width)


def slow_r50_nl(base_width: int = 64) -> ResNet3D:
    """Slow-R50 with five dot-product non-local operators: the I3D-NL of the thesis' Table 6.3."""
    return ResNet3D(SLOW, base_width, "dot_product")
