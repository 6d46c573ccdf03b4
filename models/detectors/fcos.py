"""FCOS: one box per position of a feature pyramid (Tian et al., ICCV 2019), from torchvision's parts.

The pyramid stands on the project's own ResNet without temporal shift, so that its width is free. torchvision's FCOS
brings assignment, losses (focal, GIoU, centerness) and non-maximum suppression. Small boxes need fine levels: a level of
stride s learns boxes whose farthest side is 4 s to 8 s from the position; the first takes all smaller, the last all
larger ones.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.ops import FeaturePyramidNetwork

from models.detectors import Boxes, Detections, FeatureMap
from models.encoders.snippets import MEAN, STD
from models.encoders.tsm import TSMResNet, tsm_resnet18

LONGEST = 4096
"""px; the longer side of a picture is never scaled beyond this."""

START_SIDE = 4.0
"""Distance from a position to each side of its box before training, in strides. torchvision starts at 0, where the head's
last ReLU passes no gradient; from random weights it may then never learn a box."""


class PyramidBackbone(nn.Module):
    """A ResNet's stages from level ``levels[0]`` to ``levels[-1]`` (stride 2 ** level) with an FPN on top.

    Stages above the last level are left out. ``out_channels`` is what torchvision's detectors ask a backbone for.
    """

    def __init__(self, resnet: TSMResNet, levels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.out_channels = channels
        self.body = resnet
        for level in range(levels[-1] + 1, 6):
            delattr(resnet, f"layer{level - 1}")
        widths = [resnet.bn1.num_features * 2 ** (level - 2) for level in levels]
        self.fpn = FeaturePyramidNetwork(widths, channels)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """``[B, 3, H, W]`` to ``p<level>`` -> ``[B, channels, H / 2**level, W / 2**level]``."""
        body = self.body
        x = x.contiguous(memory_format=torch.channels_last)  # what convolutions are fastest in
        y = body.maxpool(F.relu(body.bn1(body.conv1(x)), inplace=True))
        stages: OrderedDict[str, Tensor] = OrderedDict()
        for level in range(2, self.levels[-1] + 1):
            for block in body.get_submodule(f"layer{level - 1}").children():
                y = block(y, 1)
            if level in self.levels:
                stages[f"p{level}"] = y
        pyramid: dict[str, Tensor] = self.fpn(stages)
        return pyramid


class FCOSDetector(nn.Module):
    """Contract in ``models/detectors/__init__.py``; the feature maps are the pyramid's levels, ``p2`` to ``p5``.

    Args:
        classes: number of classes.
        short_side: px to which the shorter side of every picture is scaled.
        base_width: channels of the ResNet's first stage, 64 in the papers.
        first_level: the pyramid's finest level, of stride 2 ** first_level; 3 in the paper.
        last_level: the coarsest; 7 in the paper, here at most the ResNet's last, 5.
        channels: of pyramid and head, a multiple of 32 (the head's group norms); 256 in the paper.
        head_convs: convolutions of each of the two branches of the head, 4 in the paper.
        min_score: detections below are dropped.
        max_boxes: most detections in a picture.
    """

    def __init__(
        self,
        classes: int,
        short_side: int,
        base_width: int,
        first_level: int,
        last_level: int,
        channels: int,
        head_convs: int,
        min_score: float,
        max_boxes: int,
    ) -> None:
        super().__init__()
        if not 2 <= first_level <= last_level <= 5:
            raise ValueError(f"levels are {first_level} to {last_level}; needed: 2 <= first_level <= last_level <= 5")
        if channels < 32 or channels % 32:
            raise ValueError(f"channels is {channels}; it must be a multiple of 32")
        levels = range(first_level, last_level + 1)
        head = FCOSHead(channels, 1, classes, head_convs)
        nn.init.constant_(head.regression_head.bbox_reg.bias, START_SIDE)
        self.network = FCOS(
            PyramidBackbone(tsm_resnet18(base_width, shift_div=0), levels, channels),
            num_classes=classes,
            min_size=short_side,
            max_size=LONGEST,
            image_mean=MEAN,
            image_std=STD,
            anchor_generator=AnchorGenerator(tuple((2**level,) for level in levels), ((1.0,),) * len(levels)),
            head=head,
            score_thresh=min_score,
            nms_thresh=0.5,
            detections_per_img=max_boxes,
            topk_candidates=400,
            size_divisible=2**last_level,
        )

    def loss(self, pictures: Sequence[Tensor], truth: Sequence[Boxes]) -> dict[str, Tensor]:
        """Focal loss, GIoU and centerness, and their ``total``."""
        targets = [{"boxes": one.boxes.float(), "labels": one.labels} for one in truth]
        terms: dict[str, Tensor] = self.network(_unit_range(pictures), targets)
        return {**terms, "total": torch.stack(list(terms.values())).sum()}

    def detect(self, pictures: Sequence[Tensor]) -> list[Detections]:
        """Detections after non-maximum suppression at IoU 0.5 within each class."""
        found = self.network(_unit_range(pictures))
        return [Detections(one["boxes"], one["labels"], one["scores"]) for one in found]

    def feature_maps(self, pictures: Tensor) -> Mapping[str, FeatureMap]:
        """The pyramid's levels."""
        images, _ = self.network.transform(_unit_range(pictures))
        height, width = pictures.shape[-2:]
        scaled = images.image_sizes[0]
        return {
            name: FeatureMap(values, (scaled[0] / height / stride, scaled[1] / width / stride))
            for name, values in self.network.backbone(images.tensors).items()
            for stride in (2 ** int(name[1:]),)
        }


def _unit_range(pictures: Sequence[Tensor] | Tensor) -> list[Tensor]:
    return [picture.float() / 255 for picture in pictures]


def fcos_resnet18_fpn(
    classes: int,
    short_side: int = 800,
    base_width: int = 64,
    first_level: int = 3,
    last_level: int = 5,
    channels: int = 256,
    head_convs: int = 4,
    min_score: float = 0.05,
    max_boxes: int = 100,
) -> FCOSDetector:
    """FCOS on a ResNet18-FPN; see :class:`FCOSDetector`."""
    return FCOSDetector(
        classes, short_side, base_width, first_level, last_level, channels, head_convs, min_score, max_boxes
    )
