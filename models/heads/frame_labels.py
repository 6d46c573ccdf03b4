"""Frame-wise multi-label detection: several actions at once, decided at every frame (Coarse-Fine paper, section 4.1)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.heads.recognition import RecognitionHead
from models.heads.x3d import X3DHead


class FrameLabelHead(nn.Module):
    """A classifier of vectors, applied to the mean over positions of every frame."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, features: Tensor) -> Tensor:
        """``[N, feature_dim, T, H, W]`` to logits ``[N, classes, T]``."""
        logits: Tensor = self.classifier(features.mean(dim=(3, 4)).transpose(1, 2))
        return logits.transpose(1, 2)


def frame_labels(feature_dim: int, classes: int, x3d: bool = False, dropout: float = 0.5) -> FrameLabelHead:
    """With dropout and a linear layer, or with X3D's classifier, which has a layer of 2048 between."""
    classifier = (X3DHead if x3d else RecognitionHead)(feature_dim, classes, dropout)
    nn.init.normal_(classifier.linear.weight, std=0.01)
    nn.init.zeros_(classifier.linear.bias)
    return FrameLabelHead(classifier)


class FrameLabelLoss(NamedTuple):
    """``total = (classification + localisation) / 2``, each a scalar."""

    total: Tensor
    classification: Tensor
    localisation: Tensor


def frame_label_loss(logits: Tensor, labels: Tensor, valid: Tensor | None = None) -> FrameLabelLoss:
    """The average of a classification and a localisation loss.

    Classification is the binary cross-entropy of each class's largest score over a clip's frames against whether the class
    occurs at all; localisation that of every frame, over the real frames.

    Args:
        logits: ``[N, K, T]``.
        labels: ``[N, K, T]``, 0 or 1, where T may differ: logits are interpolated to it (:func:`at_frames`).
        valid: bool ``[N, T]`` of the labels' T, frames that are real; None: all. Each clip has at least one.

    Raises:
        ValueError: other shapes.
    """
    if logits.shape[:2] != labels.shape[:2]:
        raise ValueError(
            f"logits {list(logits.shape)} and labels {list(labels.shape)}: expected [N, K, T] of the same N, K"
        )
    logits, labels = at_frames(logits, labels.shape[2]).float(), labels.float()
    real = torch.ones_like(labels[:, :1], dtype=torch.bool) if valid is None else valid.unsqueeze(1)
    every = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    localisation = every.masked_fill(~real, 0).sum() / (real.sum() * labels.shape[1])
    # The sigmoid rises, so the largest score belongs to the largest logit.
    largest = logits.masked_fill(~real, -torch.inf).amax(dim=2)
    occurs = labels.masked_fill(~real, 0).amax(dim=2)
    classification = F.binary_cross_entropy_with_logits(largest, occurs)
    return FrameLabelLoss((classification + localisation) / 2, classification, localisation)


def at_frames(logits: Tensor, frames: int, align_corners: bool = False) -> Tensor:
    """Logits ``[N, K, T]`` interpolated to another number of frames, ``[N, K, frames]``.

    ``align_corners`` False puts T even windows over the frames, which is what sampling with a stride means; the released
    scripts use it for the two streams and True for the Fine network alone.
    """
    if logits.shape[2] == frames:
        return logits
    return F.interpolate(logits, size=frames, mode="linear", align_corners=align_corners)
