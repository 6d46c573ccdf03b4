"""Features of regions from a detector: from a layer that is named, or by the detector's own pooler."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from models.roi import roi_features

OWN_POOLER = "own"
"""Instead of a layer: the pooler and box head that the detector classifies regions with (two-stage detectors)."""


def region_features(detector: Any, pictures: Tensor, boxes: Sequence[Tensor], layer: str, size: int = 7) -> Tensor:
    """One feature vector per box.

    Args:
        detector: a :class:`~models.detectors.Detector`; for ``OWN_POOLER`` one with ``box_features``.
        pictures: ``[B, 3, H, W]`` uint8.
        boxes: for each picture its boxes ``[N_b, 4]``, px.
        layer: a name of its feature maps, or ``OWN_POOLER``.
        size: cells of the aligned region, each way; the detector's own pooler has its own.

    Returns:
        ``[sum of N_b, C]``, picture after picture.

    Raises:
        ValueError: no such layer, or no pooler of its own.
    """
    if layer == OWN_POOLER:
        if not hasattr(detector, "box_features"):
            raise ValueError(f"{type(detector).__name__} has no pooler of its own; name a layer of its feature maps")
        features: Tensor = detector.box_features(pictures, boxes)
        return features
    maps = detector.feature_maps(pictures)
    if layer not in maps:
        raise ValueError(f"there is no layer {layer!r}; allowed: {', '.join(maps)}, {OWN_POOLER}")
    return roi_features(maps[layer], boxes, size)
