"""G-TAD (Xu et al., CVPR 2020), branch ``anet``: snippet features to boundary probabilities and scored segments.

No parameter depends on the number of snippets, so one set of weights runs at any L (LoFi trains at L / 4 and the final
head at L). With the default sizes the network is the published one, parameter for parameter; smaller sizes are the same
network by these options. There are no normalisation layers.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.heads.anchors import anchor_cells
from models.heads.compat import Compat
from models.heads.gtad_output import GTADOutput
from models.heads.proposals import Proposals, proposals
from models.heads.sgalign import Form, SGAlign
from models.heads.targets import GTADTargets, gtad_targets
from models.losses import GTADLoss, gtad_loss


def semantic_neighbours(features: Tensor, count: int) -> Tensor:
    """The ``count`` nearest snippets of each (Euclidean, itself included): ``[B, C, L]`` to ``[B, L, count]``."""
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        features = features.float() if features.dtype in (torch.bfloat16, torch.float16) else features
        norm = features.square().sum(dim=1)
        similarity = 2 * features.transpose(1, 2) @ features - norm.unsqueeze(1)  # the centre's own norm orders nothing
        return similarity.topk(min(count, features.shape[2]), dim=2).indices


def gather_neighbours(features: Tensor, neighbours: Tensor) -> Tensor:
    """``features [B, C, L]`` at ``neighbours [B, L, k]``: ``[B, C, L, k]``."""
    batch, channels, length = features.shape
    index = neighbours.reshape(batch, 1, -1).expand(-1, channels, -1)
    return features.gather(2, index).view(batch, channels, length, -1)


class GCNeXt(nn.Module):
    """Sum of a temporal stream, a semantic stream and the identity (G-TAD section 3.2).

    Both streams are ``groups * width_per_group`` wide. The semantic edge feature is (neighbour, centre), followed by a
    1x1 convolution; that is applied before the neighbours are gathered, which is the same sum with a third of the work.
    """

    def __init__(self, channels: int, groups: int = 32, width_per_group: int = 4, neighbours: int = 3) -> None:
        super().__init__()
        width = groups * width_per_group
        self.neighbours = neighbours
        self.temporal = nn.Sequential(
            nn.Conv1d(channels, width, 1),
            nn.ReLU(inplace=True),
            nn.Conv1d(width, width, 3, padding=1, groups=groups),
            nn.ReLU(inplace=True),
            nn.Conv1d(width, channels, 1),
        )
        self.edge = nn.Conv2d(2 * channels, width, 1)
        self.semantic = nn.Sequential(
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 1, groups=groups),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, channels, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """``[B, C, L]`` to ``[B, C, L]``."""
        neighbour_weight, centre_weight = self.edge.weight.squeeze(3).chunk(2, dim=1)
        centre = F.conv1d(features, centre_weight, self.edge.bias).unsqueeze(3)
        around = F.conv1d(features, neighbour_weight)
        edges = gather_neighbours(around, semantic_neighbours(features, self.neighbours)) + centre
        semantic = self.semantic(edges).amax(dim=3)
        return F.relu(self.temporal(features) + features + semantic)


class GTAD(nn.Module):
    """The G-TAD network.

    Args:
        feature_dim: F, channels of a snippet feature, a multiple of 4.
        hidden: channels of the GCNeXt blocks, a multiple of 4.
        groups: of the GCNeXt blocks.
        width_per_group: of the GCNeXt blocks.
        neighbours: semantic neighbours of a snippet, itself included.
        inner_points: sampling points of SGAlign in an anchor's (extended) region.
        context_points: the same for the context features.
        aligned: channels after SGAlign's 1x1 convolution.
        localisation: channels of the layers between that and the two maps.
        compat: see :mod:`models.heads.compat`.
        sgalign: ``fused`` or ``plain``, equal but for rounding and cost (:mod:`models.heads.sgalign`).
    """

    def __init__(
        self,
        feature_dim: int,
        hidden: int = 256,
        groups: int = 32,
        width_per_group: int = 4,
        neighbours: int = 3,
        inner_points: int = 32,
        context_points: int = 4,
        aligned: int = 512,
        localisation: int = 128,
        compat: Compat = "fixed",
        sgalign: Form = "fused",
    ) -> None:
        super().__init__()
        for name, value in (("feature_dim", feature_dim), ("hidden", hidden)):
            if value < 4 or value % 4:
                raise ValueError(f"G-TAD {name} is {value}, it must be a positive multiple of 4 (grouped convolution)")
        self.feature_dim = feature_dim
        self.neighbours = neighbours
        self.compat: Compat = compat

        def block() -> GCNeXt:
            return GCNeXt(hidden, groups, width_per_group, neighbours)

        self.base = nn.Sequential(
            nn.Conv1d(feature_dim, hidden, 3, padding=1, groups=4), nn.ReLU(inplace=True), block()
        )
        self.start = nn.Sequential(block(), nn.Conv1d(hidden, 1, 1))
        self.end = nn.Sequential(block(), nn.Conv1d(hidden, 1, 1))
        self.graph = block()
        self.sgalign = SGAlign(hidden, aligned, inner_points, context_points, compat, sgalign)
        self.localisation = nn.Sequential(
            nn.ReLU(inplace=True),
            nn.Linear(aligned, localisation),
            nn.ReLU(inplace=True),
            nn.Linear(localisation, localisation),
            nn.ReLU(inplace=True),
            nn.Linear(localisation, localisation),
            nn.ReLU(inplace=True),
            nn.Linear(localisation, 2),
        )

    def forward(self, features: Tensor, max_duration: int | None = None) -> GTADOutput:
        """Score every anchor of every video.

        Args:
            features: ``[B, F, L]``, any L >= 1.
            max_duration: D, the longest anchor in snippets; L when None.
        """
        if features.dim() != 3 or features.shape[1] != self.feature_dim:
            raise ValueError(f"expected features [B, {self.feature_dim}, L], got {list(features.shape)}")
        length = features.shape[2]
        max_duration = length if max_duration is None else max_duration
        base = self.base(features)
        graph = self.graph(base)
        context = gather_neighbours(graph, semantic_neighbours(graph, self.neighbours)).mean(dim=3)
        scores = self.localisation(self.sgalign(graph, context, max_duration)).float().sigmoid().transpose(1, 2)
        cells = anchor_cells(length, max_duration, features.device)
        maps = scores.new_zeros(len(features), 2, max_duration * length).index_copy(2, cells, scores)
        return GTADOutput(
            self.start(base).squeeze(1).float().sigmoid(),
            self.end(base).squeeze(1).float().sigmoid(),
            maps.unflatten(2, (max_duration, length)),
        )

    def labels(self, segments: Sequence[Tensor], length: int) -> GTADTargets:
        """See :mod:`models.heads`."""
        return gtad_targets(segments, length)

    def loss(self, output: GTADOutput, labels: GTADTargets, generator: torch.Generator) -> GTADLoss:
        """See :mod:`models.heads`; the generator draws the anchors that the regression sees."""
        return gtad_loss(output, labels.to(output.start.device), generator)

    def proposals(self, output: GTADOutput) -> list[Proposals]:
        """See :mod:`models.heads`."""
        return proposals(output, self.compat)
