"""Heads: what stands on snippet features, by name. Each has its own input and output, named in its docstring.

A *localiser* (G-TAD, ActionFormer) finds segments of whatever class; its contract is :class:`Localiser`, held by
``tests/models/heads/test_localisers.py`` for every entry of :data:`LOCALISERS`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from torch import nn

from models import tables

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from models.heads.proposals import Proposals


class Localiser(Protocol):
    """An ``nn.Module`` whose ``forward`` takes features ``[B, F, L]`` of any L >= 1 and gives an output of its own kind.

    No parameter depends on L; with the module in evaluation mode a video's output does not depend on the batch.
    """

    feature_dim: int

    def labels(self, segments: "Sequence[Tensor]", length: int) -> Any:
        """What a batch of videos of ``length`` snippets shall be taught, on the CPU.

        Args:
            segments: for each video ``[n, 2]`` start and end as fractions of the video, n >= 0.
            length: L.

        Raises:
            ValueError: a segment list of another shape, or a segment that ends before it starts.
        """

    def loss(self, output: Any, labels: Any, generator: "torch.Generator") -> Any:
        """Named scalars (a NamedTuple) of which ``total`` is minimised; finite for any labels, also for none.

        Args:
            output: of a batch.
            labels: of :meth:`labels`, on any device.
            generator: draws whatever is drawn.
        """

    def proposals(self, output: Any) -> "list[Proposals]":
        """Scored segments of each video of the batch, before non-maximum suppression, on the CPU."""


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
