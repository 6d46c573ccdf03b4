"""The classes of a whole untrimmed video: the source of classes for proposals of whatever class."""

import torch
from torch import Tensor

from models.heads.segment_classifier import SegmentClassifier

SHARE = 8
"""One snippet of so many decides, for each class the L / 8 that speak most for it (W-TALC, Paul et al., ECCV 2018)."""


class VideoClassifier(SegmentClassifier):
    """Logits of several classes at once, a linear classifier of snippets whose best few are averaged for each class.

    An action may fill a hundredth of an untrimmed video, so a mean over all of it would drown it: the hard selection of
    UntrimmedNets (Wang et al., CVPR 2017, section 4.2), where all videos need is their labels.
    """

    def forward(self, features: Tensor) -> Tensor:  # type: ignore[override]
        """``[B, F, L]`` to logits ``[B, classes]``; a sigmoid makes them scores."""
        logits = self.classify(features.transpose(1, 2))
        best: Tensor = torch.topk(logits, max(1, features.shape[2] // SHARE), dim=1).values
        return best.mean(dim=1)
