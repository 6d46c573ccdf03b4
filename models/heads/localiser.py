"""The contract of localisers: heads that find segments of whatever class in a video's snippet features."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

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
