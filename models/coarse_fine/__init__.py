"""Networks that label every frame of a video (Kahatapitiya and Ryoo, Coarse-Fine Networks, CVPR 2021), by name.

Contract, held by ``tests/models/coarse_fine/test_networks.py``: ``forward`` takes normalised pixels ``[N, 3, T, H, W]`` of
any T and a :class:`~models.encoders.ragged.Layout` of their frames or None, and gives logits ``[N, classes, T]``; a video's
result in evaluation does not depend on its batch. Trained with :func:`models.heads.frame_labels.frame_label_loss`.
"""

from collections.abc import Callable

from torch import nn

from models import tables

FRAME_NETWORKS: dict[str, str] = {
    "coarse_fine": "models.coarse_fine.builders:coarse_fine",
    "fine_fine": "models.coarse_fine.builders:fine_fine",
    "coarse_only": "models.coarse_fine.builders:coarse_only",
    "fine_only": "models.coarse_fine.builders:fine_only",
    "slowfast_det": "models.coarse_fine.builders:slowfast_det",
}

build_frame_network: Callable[..., nn.Module] = tables.builder(FRAME_NETWORKS, "frame network")
"""An entry of :data:`FRAME_NETWORKS` by name, with its options; see :func:`models.tables.builder`."""
