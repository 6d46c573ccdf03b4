"""Temporal modules: change the time axis of features inside an encoder, by name.

Contract, the one of :meth:`models.encoders.staged.StagedEncoder.plug`: an ``nn.Module`` called as
``module(x, layout) -> (x, layout)`` with features ``[B, C, T, H, W]`` and the layout of their frames (None: all real).
``build_temporal(name, channels=C, ...)`` makes one. In evaluation a clip's result does not depend on its batch.
"""

from collections.abc import Callable

from torch import nn

from models import tables

TEMPORAL: dict[str, str] = {
    "sgs": "models.temporal.sgs:SGS",
    "slowfast_sgs": "models.temporal.sgs:slowfast_sgs",
    "temporal_attention": "models.temporal.attention:TemporalAttention",
    "grid_pool": "models.temporal.grid_pool:GridPool",
    "max_pool": "models.temporal.fixed_pool:max_pool",
    "average_pool": "models.temporal.fixed_pool:average_pool",
    "stride": "models.temporal.fixed_pool:stride",
}

build_temporal: Callable[..., nn.Module] = tables.builder(TEMPORAL, "temporal module")
"""An entry of :data:`TEMPORAL` by name, with its options; see :func:`models.tables.builder`."""
