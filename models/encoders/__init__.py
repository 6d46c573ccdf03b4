"""Snippet encoders: ``[B, C, T, H, W]`` pixels to ``[B, D, T', H', W']`` features.

Contract, held by ``tests/models/encoders/test_contract.py`` for every entry of the table: the encoder is an
``nn.Module`` whose ``forward`` takes normalised pixels (:func:`models.encoders.snippets.normalise`) of any T, H and W,
whose result has ``feature_dim`` channels, and whose result for one snippet does not depend on the others of the batch
(with frozen batch statistics). No entry stores the number of frames.
"""

from typing import Any

from torch import nn

from models import tables

ENCODERS: dict[str, str] = {
    "tsm_resnet18": "models.encoders.tsm:tsm_resnet18",
    "tsm_resnet50": "models.encoders.tsm:tsm_resnet50",
}


def build_encoder(name: str, **options: Any) -> nn.Module:
    """Build the encoder ``name`` of :data:`ENCODERS`, with fresh weights drawn from torch's global generator.

    Raises:
        ValueError: unknown name or option; the message lists the allowed ones.
    """
    encoder: nn.Module = tables.build(ENCODERS, "encoder", name, options)
    return encoder
