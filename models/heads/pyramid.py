"""What an anchor-free head says, learns and finds: points on a pyramid of rates, each with a score and two distances.

The labels, losses and decoding are ActionFormer's (Zhang et al., ECCV 2022, sections 3.3 and 3.4; values of its released
ActivityNet configuration), for one class: whether anything happens. Positions are in snippets, 0 being the centre of the
first; point k of level i stands at 2^i k.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.heads.proposals import Proposals

REGRESSION_RANGES = ((0.0, 4.0), (4.0, 8.0), (8.0, 16.0), (16.0, 32.0), (32.0, 64.0), (64.0, float("inf")))
"""The longer of a point's two distances, in snippets, that each level is in charge of; a shallower pyramid's last level
takes all that is left."""
CENTRE_RADIUS = 1.5
"""Points learn an action when they lie closer than this many of their level's steps to its centre, and inside it."""
FOCAL_ALPHA, FOCAL_GAMMA, LABEL_SMOOTHING = 0.25, 2.0, 0.1
MIN_SCORE, MOST_PER_LEVEL, MIN_LENGTH = 0.001, 2000, 0.1


class PyramidOutput(NamedTuple):
    """Of a batch, at the P points of all levels inside the video; float32.

    ``logits`` ``[B, P]``: that an action with this point near its centre goes on. ``offsets`` ``[B, P, 2]``: distances to
    its start and end, in the level's steps, at least 0. ``position`` and ``level`` ``[P]`` (on the CPU), and ``length``: L
    snippets.
    """

    logits: Tensor
    offsets: Tensor
    position: Tensor
    level: Tensor
    length: int


class PyramidTargets(NamedTuple):
    """Labels: ``positive [B, P]`` bool, and ``offsets [B, P, 2]`` where it is (elsewhere 0)."""

    positive: Tensor
    offsets: Tensor


class PyramidLoss(NamedTuple):
    """``total = classification + regression``, each a scalar."""

    total: Tensor
    classification: Tensor
    regression: Tensor


def points(length: int, levels: int) -> tuple[Tensor, Tensor]:
    """Position and level ``[P]`` of all points of a video of ``length`` snippets, on the CPU."""
    counts = [-(-length // 2**level) for level in range(levels)]
    position = torch.cat([2.0**level * torch.arange(count) for level, count in enumerate(counts)])
    return position, torch.cat([torch.full((count,), level) for level, count in enumerate(counts)])


def pyramid_targets(segments: Sequence[Tensor], length: int, levels: int) -> PyramidTargets:
    """Label the points (section 3.3, "center sampling"); of several actions that a point could learn, the shortest.

    Args:
        segments: for each video ``[n, 2]`` start and end as fractions of the video, n >= 0; cut to 0..1.
        length: L.
        levels: of the pyramid.
    """
    position, level = points(length, levels)
    step = 2.0**level
    ranges = torch.tensor([*REGRESSION_RANGES[: levels - 1], (REGRESSION_RANGES[levels - 1][0], float("inf"))])
    low, high = ranges[level].unbind(dim=1)
    positive = torch.zeros(len(segments), len(position), dtype=torch.bool)
    offsets = torch.zeros(len(segments), len(position), 2)
    for video, rows in enumerate(segments):
        if rows.numel() == 0:
            continue
        if rows.dim() != 2 or rows.shape[1] != 2 or (rows[:, 1] < rows[:, 0]).any():
            raise ValueError(f"segments of video {video} in the batch: want [n, 2], start <= end, got {rows.tolist()}")
        start, end = (rows.to("cpu", torch.float32).clamp(0, 1) * length - 0.5).unbind(dim=1)  # [n]
        distances = torch.stack((position[:, None] - start, end - position[:, None]), dim=2)  # [P, n, 2]
        inside = (distances.amin(dim=2) > 0) & (
            (position[:, None] - (start + end) / 2).abs() < CENTRE_RADIUS * step[:, None]
        )
        longest = distances.amax(dim=2)
        inside &= (longest >= low[:, None]) & (longest <= high[:, None])
        shortest, chosen = torch.where(inside, end - start, torch.inf).min(dim=1)
        positive[video] = shortest < torch.inf
        of_chosen = distances[torch.arange(len(position)), chosen] / step[:, None]
        offsets[video] = torch.where(positive[video][:, None], of_chosen, torch.zeros(()))
    return PyramidTargets(positive, offsets)


def pyramid_loss(output: PyramidOutput, targets: PyramidTargets) -> PyramidLoss:
    """Focal loss at all points and DIoU loss at positive ones, both over the batch's number of positives.

    The released code divides by a running mean of that number instead (momentum 0.9), which would be state of a loss; this
    is the published formula (equation 4), and finite without any positive.
    """
    positive = targets.positive.to(output.logits.device)
    count = positive.sum().clamp(min=1)
    smooth = positive.to(output.logits.dtype) * (1 - LABEL_SMOOTHING) + LABEL_SMOOTHING / 2
    classification = focal_loss(output.logits, smooth).sum() / count
    distance = diou_loss(output.offsets, targets.offsets.to(output.offsets.device))
    regression = torch.where(positive, distance, torch.zeros_like(distance)).sum() / count
    return PyramidLoss(classification + regression, classification, regression)


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss (Lin et al., 2017) of each logit; targets may lie between 0 and 1 (smoothed labels)."""
    probability = logits.sigmoid()
    right = probability * target + (1 - probability) * (1 - target)
    weight = FOCAL_ALPHA * target + (1 - FOCAL_ALPHA) * (1 - target)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return weight * (1 - right) ** FOCAL_GAMMA * entropy


def diou_loss(offsets: Tensor, target: Tensor) -> Tensor:
    """1 - IoU + (distance of the centres / smallest hull)^2 of segments around a common point: ``[..., 2]`` to ``[...]``.

    Offsets are distances to start and end, at least 0. Both segments empty: 1.
    """
    shared = torch.minimum(offsets, target).sum(dim=-1)
    hull = torch.maximum(offsets, target).sum(dim=-1).clamp(min=1e-8)
    union = (offsets.sum(dim=-1) + target.sum(dim=-1) - shared).clamp(min=1e-8)
    apart = ((offsets[..., 1] - offsets[..., 0]) - (target[..., 1] - target[..., 0])) / 2
    return 1 - shared / union + (apart / hull).square()


def pyramid_proposals(output: PyramidOutput) -> list[Proposals]:
    """Each point's segment with its score, for each video of the batch; at most 2,000 of a level, the best of them.

    In the order of the points. Left out are scores of 0.001 and less and segments of a tenth of a snippet and less.
    """
    position, level = output.position, output.level
    step = 2.0**level
    result = []
    for logits, offsets in zip(output.logits.detach().cpu(), output.offsets.detach().cpu(), strict=True):
        scores = logits.sigmoid()
        ends = torch.stack((position - offsets[:, 0] * step, position + offsets[:, 1] * step), dim=1)
        kept = (scores > MIN_SCORE) & (ends[:, 1] - ends[:, 0] > MIN_LENGTH)
        for number in range(int(level.max()) + 1):
            of_level = torch.where(kept & (level == number), scores, -torch.inf)
            if int(of_level.isfinite().sum()) > MOST_PER_LEVEL:
                kept &= (level != number) | (of_level >= of_level.topk(MOST_PER_LEVEL).values[-1])
        segments = ((ends + 0.5) / output.length).clamp(0, 1)
        result.append(Proposals(segments[kept], scores[kept]))
    return result
