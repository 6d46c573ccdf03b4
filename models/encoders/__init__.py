"""Snippet encoders: ``[B, C, T, H, W]`` pixels to ``[B, D, T', H', W']`` features.

Contract, held by ``tests/models/encoders/test_contract.py`` for every entry of the table: the encoder is an
``nn.Module`` whose ``forward`` takes ``in_channels`` channels of normalised pixels
(:func:`models.encoders.snippets.normalise_for`) of any T, H and W, whose result has ``feature_dim`` channels, and whose
result for one snippet does not depend on the others of the batch (with frozen batch statistics). No entry stores the
number of frames.
"""

from collections.abc import Callable

from torch import nn

from models import tables

ENCODERS: dict[str, str] = {
    "tsm_resnet18": "models.encoders.tsm:tsm_resnet18",
    "tsm_resnet50": "models.encoders.tsm:tsm_resnet50",
    "x3d_xs": "models.encoders.x3d:small",
    "x3d_s": "models.encoders.x3d:small",
    "x3d_m": "models.encoders.x3d:small",
    "x3d_l": "models.encoders.x3d:large",
    "x3d_xl": "models.encoders.x3d:extra_large",
    "slowfast_4x16_r50": "models.encoders.slowfast:slowfast_4x16_r50",
    "slowfast_4x16_r101": "models.encoders.slowfast:slowfast_4x16_r101",
    "slowfast_8x8_r18": "models.encoders.slowfast:slowfast_8x8_r18",
    "slowfast_8x8_r50": "models.encoders.slowfast:slowfast_8x8_r50",
    "slowfast_8x8_r50_nl": "models.encoders.slowfast:slowfast_8x8_r50_nl",
    "slowfast_8x8_r101": "models.encoders.slowfast:slowfast_r101",
    "slowfast_8x8_r101_101": "models.encoders.slowfast:slowfast_r101_101",
    "slowfast_8x8_r101_nl": "models.encoders.slowfast:slowfast_r101_nl",
    "slowfast_16x8_r50": "models.encoders.slowfast:slowfast_8x8_r50",
    "slowfast_16x8_r101": "models.encoders.slowfast:slowfast_r101",
    "slowfast_16x8_r101_nl": "models.encoders.slowfast:slowfast_r101_nl",
    "slow_4x16_r50": "models.encoders.i3d:slow_r50",
    "slow_8x8_r50": "models.encoders.i3d:slow_r50",
    "i3d_r50": "models.encoders.i3d:i3d_r50",
    "i3d_r50_nl": "models.encoders.i3d:i3d_r50_nl",
    "i3d_r50_thesis": "models.encoders.i3d:slow_r50",
    "i3d_r50_thesis_nl": "models.encoders.i3d:slow_r50_nl",
    "i3d_inception": "models.encoders.i3d_inception:i3d_inception",
    "r2plus1d_18": "models.encoders.r2plus1d:r2plus1d_18",
    "resnet3d_18": "models.encoders.resnet3d:resnet3d_18",
    "resnet3d_50": "models.encoders.resnet3d:resnet3d_50",
    "coviar_resnet18": "models.encoders.coviar:coviar_resnet18",
    "coviar_resnet50": "models.encoders.coviar:coviar_resnet50",
}

build_encoder: Callable[..., nn.Module] = tables.builder(ENCODERS, "encoder")
"""An entry of :data:`ENCODERS` by name, with its options; see :func:`models.tables.builder`."""
