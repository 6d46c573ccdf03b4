"""The networks of ``models/coarse_fine/__init__.py``'s table; defaults are the paper's."""

from torch import nn

from models.coarse_fine import build_frame_network
from models.coarse_fine.slowfast_det import SlowFastDet
from models.coarse_fine.stream import FUSED_STAGES, Stream
from models.coarse_fine.two_stream import Centres, CoarseFine
from models.encoders.x3d import small
from models.temporal.fusion import Connections, Dims, MultiStageFusion


def coarse_fine(
    classes: int,
    base_width: int = 64,
    pooling: str | None = "grid_pool",
    alpha: float = 0.25,
    connections: Connections = "multi_stage",
    mask: bool = True,
    dims: Dims = "CHWT",
    centres: Centres = "paper",
) -> CoarseFine:
    """Coarse-Fine; ``pooling="stride"`` is table 3f's SlowFast_det with Fusion."""
    coarse, fine = coarse_only(classes, base_width, pooling, alpha), fine_only(classes, base_width)
    widths = fine.encoder.stage_channels
    channels = [widths[name] for name in FUSED_STAGES]
    fusion = MultiStageFusion(channels, fine.encoder.feature_dim, classes, connections, mask, dims)
    return CoarseFine(coarse, fine, fusion, centres)


def fine_fine(
    classes: int,
    base_width: int = 64,
    connections: Connections = "multi_stage",
    mask: bool = True,
    dims: Dims = "CHWT",
    centres: Centres = "paper",
) -> CoarseFine:
    """Fine-Fine: Coarse-Fine without Grid Pool."""
    return coarse_fine(classes, base_width, None, connections=connections, mask=mask, dims=dims, centres=centres)


def coarse_only(classes: int, base_width: int = 64, pooling: str | None = "grid_pool", alpha: float = 0.25) -> Stream:
    """The Coarse stream alone: first training stage and tables 3d, 3e."""
    return Stream(small(base_width), classes, pooling, alpha)


def fine_only(classes: int, base_width: int = 64) -> Stream:
    """The Fine stream alone: X3D-M at every frame."""
    return Stream(small(base_width), classes)


def slowfast_det(classes: int, base_width: int = 64, pooling: str = "stride", alpha: float = 0.25) -> SlowFastDet:
    """SlowFast_det; ``pooling="grid_pool"`` is table 3f's second row."""
    return SlowFastDet(coarse_only(classes, base_width, pooling, alpha), fine_only(classes, base_width), alpha)


def published(name: str, classes: int) -> nn.Module:
    """The network ``name`` with the paper's values, as :mod:`models.catalogue` builds it."""
    return build_frame_network(name, classes=classes)
