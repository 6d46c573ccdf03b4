"""Training losses of the heads."""

from typing import NamedTuple

import torch
from torch import Tensor

from models.heads.gtad_output import GTADOutput
from models.heads.targets import GTADTargets

EPSILON = 1e-6
HIGH_IOU, MEDIUM_IOU, POSITIVE_IOU = 0.7, 0.3, 0.9
REGRESSION_WEIGHT = 10.0


class GTADLoss(NamedTuple):
    """``total = node + 10 regression + classification``, each a scalar."""

    total: Tensor
    node: Tensor
    regression: Tensor
    classification: Tensor


def gtad_loss(output: GTADOutput, targets: GTADTargets, generator: torch.Generator) -> GTADLoss:
    """The loss of G-TAD's branch ``anet``; finite for any labels, also for none.

    Args:
        output: of the network.
        targets: labels on the same device.
        generator: draws the anchors that the regression sees; its state is all that makes two calls differ.
    """
    node = balanced_cross_entropy(output.start, targets.start) + balanced_cross_entropy(output.end, targets.end)
    classification = balanced_cross_entropy(output.maps[:, 1], targets.iou > POSITIVE_IOU, targets.valid)
    kept = regression_sample(targets.iou, generator)
    regression = 0.5 * _mean((output.maps[:, 0] - targets.iou).square(), kept)
    return GTADLoss(node + REGRESSION_WEIGHT * regression + classification, node, regression, classification)


def balanced_cross_entropy(probability: Tensor, positive: Tensor, valid: Tensor | None = None) -> Tensor:
    """Binary cross-entropy in which positives and negatives weigh the same as a whole.

    The released form weighs positives by r / 2 and negatives by r / (2 (r - 1)), r = N / N+, and takes the mean: that
    is half the mean over the positives plus half that over the negatives, which stays finite when a side is empty.
    """
    negative = ~positive if valid is None else ~positive & valid
    positive = positive if valid is None else positive & valid
    return -0.5 * (_mean((probability + EPSILON).log(), positive) + _mean((1 - probability + EPSILON).log(), negative))


def regression_sample(iou: Tensor, generator: torch.Generator) -> Tensor:
    """Which anchors the regression learns from: all with IoU > 0.7, and about as many of 0.3 - 0.7 and of 0 - 0.3.

    Anchors that touch no action (IoU 0) are never drawn. Shape of ``iou``, bool.
    """
    high = iou > HIGH_IOU
    medium = (iou > MEDIUM_IOU) & ~high
    low = (iou > 0) & (iou <= MEDIUM_IOU)
    draw = torch.rand(iou.shape, generator=generator, device=generator.device).to(iou.device)
    kept = high
    for group in (medium, low):
        kept = kept | (group & (draw > 1 - high.sum() / group.sum().clamp(min=1)))
    return kept


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` under ``mask``, 0 when nothing is."""
    return (values * mask).sum() / mask.expand_as(values).sum().clamp(min=1)
