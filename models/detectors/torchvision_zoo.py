"""torchvision's detectors behind the project's interface: Faster R-CNN, RetinaNet, FCOS, SSDLite.

Weights are the user's: nothing is downloaded. :func:`load_torchvision` takes the published ``.pth`` files, for all classes
of COCO (``coco=True``) or to fine-tune on one's own boxes, as the thesis does for AVA (section 7.2.1).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from models.detectors import Boxes, Detections, FeatureMap
from models.detectors.sizes import search_by_size
from models.weights import read_state_dict, require_fit

Norm = Literal["batch", "frozen"]

_COCO = tuple(detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"])
_COCO_OUTPUTS = [number for number, name in enumerate(_COCO) if name not in ("__background__", "N/A")]

COCO_CLASSES: tuple[str, ...] = tuple(_COCO[number] for number in _COCO_OUTPUTS)
"""The 80 classes of COCO; torchvision's networks have 91 outputs, with gaps."""

_OF_CLASSES = ("roi_heads.box_predictor.", "head.classification_head.")
"""Where the layers are whose size depends on the number of classes."""


class TorchvisionDetector(nn.Module):
    """Contract in ``models/detectors/__init__.py``.

    Args:
        network: of torchvision.
        outputs: which of its classes each of ours is.
        levels: of its backbone; see ``_Levels``.
    """

    to_network: Tensor
    to_ours: Tensor

    def __init__(self, network: nn.Module, outputs: Sequence[int], levels: "_Levels") -> None:
        super().__init__()
        self.network: Any = network
        self.levels = {name: (ours, stride) for name, ours, stride in levels}
        to_network = torch.tensor(outputs, dtype=torch.int64)
        to_ours = torch.full((max(outputs) + 1,), -1)
        to_ours[to_network] = torch.arange(len(to_network))
        self.register_buffer("to_network", to_network, persistent=False)
        self.register_buffer("to_ours", to_ours, persistent=False)

    def loss(self, pictures: Sequence[Tensor], truth: Sequence[Boxes]) -> dict[str, Tensor]:
        """The network's own terms, and their ``total``. Sampling of regions draws from torch's global generator."""
        targets = [{"boxes": one.boxes.float(), "labels": self.to_network[one.labels]} for one in truth]
        terms: dict[str, Tensor] = self.network(_unit_range(pictures), targets)
        return {**terms, "total": torch.stack(list(terms.values())).sum()}

    def detect(self, pictures: Sequence[Tensor]) -> list[Detections]:
        """Detections after non-maximum suppression within each class."""
        return search_by_size(pictures, self._search)

    def _search(self, pictures: list[Tensor]) -> list[Detections]:
        found = []
        for one in self.network(_unit_range(pictures)):
            label = self.to_ours[one["labels"].clamp(max=len(self.to_ours) - 1)]
            kept = (one["labels"] < len(self.to_ours)) & (label >= 0)  # the network may have outputs that are no class
            found.append(Detections(one["boxes"][kept], label[kept], one["scores"][kept]))
        return found

    def feature_maps(self, pictures: Tensor) -> Mapping[str, FeatureMap]:
        """The backbone's levels."""
        images, _ = self.network.transform(_unit_range(pictures))
        (height, width), (scaled_height, scaled_width) = pictures.shape[-2:], images.image_sizes[0]
        padded_height, padded_width = images.tensors.shape[-2:]
        maps = {}
        for name, values in self.network.backbone(images.tensors).items():
            ours, stride = self.levels[name]
            rows, columns = (
                (1 / stride,) * 2 if stride else (values.shape[2] / padded_height, values.shape[3] / padded_width)
            )
            maps[ours] = FeatureMap(values, (rows * scaled_height / height, columns * scaled_width / width))
        return maps

    def box_features(self, pictures: Tensor, boxes: Sequence[Tensor]) -> Tensor:
        """Features of regions by the network's own pooler and box head: ``[sum of N_b, 1024]``, picture after picture.

        Args:
            pictures: ``[B, 3, H, W]`` uint8.
            boxes: for each its boxes ``[N_b, 4]``, px.

        Raises:
            ValueError: a network of one stage, which has none.
        """
        if not hasattr(self.network, "roi_heads"):
            raise ValueError(f"{type(self.network).__name__} has no pooler of its own; cut regions from feature_maps")
        images, _ = self.network.transform(_unit_range(pictures))
        features = self.network.backbone(images.tensors)
        (height, width), (scaled_height, scaled_width) = pictures.shape[-2:], images.image_sizes[0]
        scale = torch.tensor([scaled_width / width, scaled_height / height] * 2, device=pictures.device)
        heads = self.network.roi_heads
        pooled = heads.box_roi_pool(features, [one.float() * scale for one in boxes], images.image_sizes)
        regions: Tensor = heads.box_head(pooled)
        return regions


def _unit_range(pictures: Sequence[Tensor] | Tensor) -> list[Tensor]:
    return [picture.float() / 255 for picture in pictures]


def _wrap(
    build: Callable[..., nn.Module],
    levels: "_Levels",
    background: bool,
    classes: int,
    coco: bool,
    norm: Norm,
    norm_eps: float,
    **options: Any,
) -> TorchvisionDetector:
    """Build a network whose class 0 is the background (or not), with our classes or COCO's outputs."""
    if norm not in get_args(Norm):
        raise ValueError(f"norm is {norm!r}; allowed: {', '.join(get_args(Norm))}")
    if classes < 1 or (coco and classes != len(COCO_CLASSES)):
        raise ValueError(f"classes is {classes}; needed: at least 1, and with coco {len(COCO_CLASSES)}")
    outputs = _COCO_OUTPUTS if coco else list(range(int(background), classes + int(background)))
    network = build(num_classes=len(_COCO) if coco else classes + int(background), **options)
    if norm == "frozen":
        _freeze_norms(network.backbone, norm_eps)  # type: ignore[arg-type]
    return TorchvisionDetector(network, outputs, levels)


def _freeze_norms(module: nn.Module, eps: float) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(child.num_features, eps))
        else:
            _freeze_norms(child, eps)


Side = int | Sequence[int]
"""px of the shorter side; several: one of them at random in training (512 to 800 in section 7.2.1), else the last one."""

_Levels = Sequence[tuple[str, str, int]]
"""torchvision's name of a level, ours, and its stride in px of the scaled picture; 0: as many cells as fit exactly."""

_P2_TO_P6: _Levels = [(str(i), f"p{i + 2}", 2 ** (i + 2)) for i in range(4)] + [("pool", "p6", 64)]
_P3_TO_P7: _Levels = [(str(i), f"p{i + 3}", 2 ** (i + 3)) for i in range(3)] + [("p6", "p6", 64), ("p7", "p7", 128)]
_MOBILE: _Levels = [("0", "p5_middle", 32), ("1", "p5", 32), ("pool", "p6", 64)]
_SSD: _Levels = [("0", "c4", 16), ("1", "c5", 32), *[(str(i + 1), f"extra{i}", 0) for i in range(1, 5)]]
_NOTHING_LOADED = {"weights": None, "weights_backbone": None}


def _two_stage(
    build: Callable[..., nn.Module],
    levels: _Levels,
    classes: int,
    short_side: Side = 800,
    long_side: int = 1333,
    min_score: float = 0.05,
    max_boxes: int = 100,
    nms_iou: float = 0.5,
    coco: bool = False,
    norm: Norm = "frozen",
    norm_eps: float = 1e-5,
) -> TorchvisionDetector:
    """Faster R-CNN.

    Args:
        build: torchvision's function.
        levels: its names and ours of the backbone's levels.
        classes: number of classes; 80 with ``coco``.
        short_side: see :data:`Side`.
        long_side: px that the longer side never exceeds.
        min_score: detections below are dropped.
        max_boxes: most detections in a picture.
        nms_iou: of two boxes of a class that overlap more, the weaker is dropped.
        coco: with torchvision's 91 outputs; classes are :data:`COCO_CLASSES`.
        norm: "frozen" as torchvision trains, "batch" to learn from scratch.
        norm_eps: of frozen norms; 0 for torchvision's published COCO_V1 weights of the ResNet-50 and of RetinaNet.
    """
    options = {"box_score_thresh": min_score, "box_detections_per_img": max_boxes, "box_nms_thresh": nms_iou}
    options |= {"min_size": short_side, "max_size": long_side, **_NOTHING_LOADED}  # type: ignore[dict-item]
    return _wrap(build, levels, True, classes, coco, norm, norm_eps, **options)


def _one_stage(
    build: Callable[..., nn.Module],
    classes: int,
    short_side: Side = 800,
    long_side: int = 1333,
    min_score: float = 0.05,
    max_boxes: int = 100,
    nms_iou: float = 0.5,
    coco: bool = False,
    norm: Norm = "frozen",
    norm_eps: float = 1e-5,
) -> TorchvisionDetector:
    """RetinaNet and FCOS; options as those of :func:`_two_stage`."""
    options = {"score_thresh": min_score, "detections_per_img": max_boxes, "nms_thresh": nms_iou}
    options |= {"min_size": short_side, "max_size": long_side, **_NOTHING_LOADED}  # type: ignore[dict-item]
    return _wrap(build, _P3_TO_P7, False, classes, coco, norm, norm_eps, **options)


def _resnext101(num_classes: int, weights: None, weights_backbone: None, **options: Any) -> nn.Module:
    backbone = resnet_fpn_backbone(
        backbone_name="resnext101_32x8d", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
    )
    network: nn.Module = detection.FasterRCNN(backbone, num_classes, **options)
    return network


fasterrcnn_resnet50_fpn = partial(_two_stage, detection.fasterrcnn_resnet50_fpn, _P2_TO_P6)
"""Faster R-CNN with an FPN on ResNet-50."""

fasterrcnn_resnext101_fpn = partial(_two_stage, _resnext101, _P2_TO_P6)
"""Faster R-CNN with an FPN on ResNeXt-101 32x8d, the person detector of section 7.2.1; torchvision has no weights of it."""

fasterrcnn_mobilenet_v3_large_320_fpn = partial(
    _two_stage, detection.fasterrcnn_mobilenet_v3_large_320_fpn, _MOBILE, short_side=320, long_side=640
)
"""Faster R-CNN with an FPN on MobileNetV3: the light one."""

retinanet_resnet50_fpn = partial(_one_stage, detection.retinanet_resnet50_fpn)
"""RetinaNet with an FPN on ResNet-50."""

fcos_resnet50_fpn = partial(_one_stage, detection.fcos_resnet50_fpn, min_score=0.2, nms_iou=0.6)
"""FCOS with an FPN on ResNet-50."""


def ssdlite320_mobilenet_v3_large(
    classes: int, min_score: float = 0.05, max_boxes: int = 100, nms_iou: float = 0.55, coco: bool = False
) -> TorchvisionDetector:
    """SSDLite on MobileNetV3; every picture is scaled to 320 x 320. Options as those of :func:`_two_stage`."""
    options = {"score_thresh": min_score, "detections_per_img": max_boxes, "nms_thresh": nms_iou, **_NOTHING_LOADED}
    build = detection.ssdlite320_mobilenet_v3_large
    return _wrap(build, _SSD, True, classes, coco, "batch", 0.0, **options)


def load_torchvision(detector: TorchvisionDetector, source: Path | bytes) -> tuple[str, ...]:
    """Load a ``.pth`` state dict of torchvision's network of the same kind; nothing in the file can execute.

    Layers whose size is that of another number of classes keep their fresh weights, so that a detector of COCO can be
    fine-tuned on other classes; everything else must fit.

    Returns:
        The names in the file that were not loaded, for that reason.

    Raises:
        WeightsError: unreadable, or keys missing, unexpected or of another shape; the detector is then as it was.
    """
    name = "weights" if isinstance(source, bytes) else str(source)
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    state = read_state_dict(data, name)
    expected = detector.network.state_dict()
    counters = ".num_batches_tracked"  # frozen norms have none; nothing computes with them at a fixed momentum
    found = {key: value for key, value in state.items() if key in expected or not key.endswith(counters)}
    other_classes = tuple(
        key
        for key, value in found.items()
        if key in expected and value.shape != expected[key].shape and key.startswith(_OF_CLASSES)
    )
    merged = {key: value for key, value in found.items() if key not in other_classes}
    for key, value in expected.items():
        if key in other_classes or key.endswith(counters):
            merged.setdefault(key, value)
    require_fit(detector.network, merged, name)
    detector.network.load_state_dict(merged)
    return other_classes
