"""Heads: what stands on snippet features, by name. Each has its own input and output, named in its docstring.

A *localiser* (G-TAD, ActionFormer) finds segments of whatever class; its contract stands in ``localiser.py`` and is held
by ``tests/models/heads/test_localisers.py`` for every entry of :data:`LOCALISERS`.
"""

from typing import Any

from torch import nn

from models import tables

HEADS: dict[str, str] = {
    "actionformer": "models.heads.actionformer:ActionFormer",
    "gtad": "models.heads.gtad:GTAD",
    "segment_classifier": "models.heads.segment_classifier:SegmentClassifier",
    "feature_bank": "models.heads.feature_bank:FeatureBankHead",
    "recognition": "models.heads.recognition:RecognitionHead",
    "frame_labels": "models.heads.frame_labels:frame_labels",
    "x3d": "models.heads.x3d:X3DHead",
}

LOCALISERS = ("gtad", "actionformer")


def build_head(name: str, **options: Any) -> nn.Module:
    """Build the head ``name`` of :data:`HEADS`, with fresh weights drawn from torch's global generator.

    Raises:
        ValueError: unknown name or option; the message lists the allowed ones.
    """
    head: nn.Module = tables.build(HEADS, "head", name, options)
    return head
