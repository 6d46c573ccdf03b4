"""Networks that label every frame of a video (Kahatapitiya and Ryoo, Coarse-Fine Networks, CVPR 2021), by name.

Contract, held by ``tests/models/coarse_fine/test_contract.py``: ``forward`` takes normalised pixels ``[N, 3, T, H, W]`` of
any T and a :class:`~models.encoders.ragged.Layout` of their frames or None, and gives logits ``[N, classes, T]``; a video's
result in evaluation does not depend on its batch. Trained with :func:`models.heads.frame_labels.frame_label_loss`.
"""

from typing import Any

from torch import nn

from models import tables

FRAME_NETWORKS: dict[str, str] = {
    "coarse_fine": "models.coarse_fine.builders:coarse_fine",
    "fine_fine": "models.coarse_fine.builders:fine_fine",
    "coarse_only": "models.coarse_fine.builders:coarse_only",
    "fine_only": "models.coarse_fine.builders:fine_only",
    "slowfast_det": "models.coarse_fine.builders:slowfast_det",
}


def build_frame_network(name: str, **options: Any) -> nn.Module:
    """Build the network ``name`` of :data:`FRAME_NETWORKS`, with fresh weights drawn from torch's global generator.

    Raises:
        ValueError: unknown name or option; the message lists the allowed ones.
    """
    network: nn.Module = tables.build(FRAME_NETWORKS, "frame network", name, options)
    return network
