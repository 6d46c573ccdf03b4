"""Detectors: pictures to boxes with classes and scores, and the feature maps that regions are cut from.

Contract, held by ``tests/models/detectors/test_contract.py`` for every entry of the table: a :class:`Detector`. Boxes are
(x1, y1, x2, y2) in pixels of the pictures that were given, whatever size the network looks at; classes are 0-based, in
the order the detector was built with, without a background class. What is found in one picture does not depend on the
others of the batch (in evaluation mode).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from models import tables


class Boxes(NamedTuple):
    """Boxes of one picture: ``boxes`` [N, 4] float, px, and ``labels`` [N] int64."""

    boxes: Tensor
    labels: Tensor


class Detections(NamedTuple):
    """What was found in one picture, best first: ``boxes`` [N, 4], px, ``labels`` [N] int64, ``scores`` [N], 0 to 1."""

    boxes: Tensor
    labels: Tensor
    scores: Tensor


class FeatureMap(NamedTuple):
    """Features ``[B, C, h, w]`` of a layer; ``scale`` is cells per pixel of the picture, as (vertical, horizontal)."""

    values: Tensor
    scale: tuple[float, float]


class Detector(Protocol):
    """What every entry of :data:`DETECTORS` is, besides an ``nn.Module``. Pictures are uint8 RGB ``[3, H, W]``."""

    def loss(self, pictures: Sequence[Tensor], truth: Sequence[Boxes]) -> Mapping[str, Tensor]:
        """Named scalars to train on; ``"total"`` is their sum. The module is in training mode, sizes may differ."""
        ...

    def detect(self, pictures: Sequence[Tensor]) -> list[Detections]:
        """Find; the module is in evaluation mode, sizes may differ."""
        ...

    def feature_maps(self, pictures: Tensor) -> Mapping[str, FeatureMap]:
        """Feature maps by layer name of pictures ``[B, 3, H, W]``, for :func:`models.roi.roi_features`."""
        ...


DETECTORS: dict[str, str] = {
    "fcos_resnet18_fpn": "models.detectors.fcos:fcos_resnet18_fpn",
    "fasterrcnn_resnet50_fpn": "models.detectors.torchvision_zoo:fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnext101_fpn": "models.detectors.torchvision_zoo:fasterrcnn_resnext101_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn": "models.detectors.torchvision_zoo:fasterrcnn_mobilenet_v3_large_320_fpn",
    "retinanet_resnet50_fpn": "models.detectors.torchvision_zoo:retinanet_resnet50_fpn",
    "fcos_resnet50_fpn": "models.detectors.torchvision_zoo:fcos_resnet50_fpn",
    "detectron2": "models.detectors.detectron:detectron2_model",
    "ssdlite320_mobilenet_v3_large": "models.detectors.torchvision_zoo:ssdlite320_mobilenet_v3_large",
}

build_detector = tables.builder(DETECTORS, "detector")
"""An entry of :data:`DETECTORS` by name, with its options; see :func:`models.tables.builder`."""
