"""Heads: what stands on snippet features, by name. Each has its own input and output, named in its docstring.

A *localiser* (G-TAD, ActionFormer) finds segments of whatever class; its contract stands in ``localiser.py`` and is held
by ``tests/models/heads/test_localisers.py`` for every entry of :data:`LOCALISERS`.
"""

from collections.abc import Callable

from torch import nn

from models import tables

HEADS: dict[str, str] = {
    "actionformer": "models.heads.actionformer:ActionFormer",
    "gtad": "models.heads.gtad:GTAD",
    "segment_classifier": "models.heads.segment_classifier:SegmentClassifier",
    "video_classifier": "models.heads.video_classifier:VideoClassifier",
    "feature_bank": "models.heads.feature_bank:FeatureBankHead",
    "recognition": "models.heads.recognition:RecognitionHead",
    "frame_labels": "models.heads.frame_labels:frame_labels",
    "x3d": "models.heads.x3d:X3DHead",
}

LOCALISERS = ("gtad", "actionformer")

build_head: Callable[..., nn.Module] = tables.builder(HEADS, "head")
"""An entry of :data:`HEADS` by name, with its options; see :func:`models.tables.builder`."""
