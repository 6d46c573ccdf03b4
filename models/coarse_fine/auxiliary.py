"""Self-supervised losses on Grid Pool's locations (Coarse-Fine paper, appendix A.2): L = (L_class + L_loc)/2 + 0.1 L_aux.

They take what :class:`models.coarse_fine.stream.Stream` passes from one method to the next: the features before the pooling,
and what the pooling took where. The paper found that neither helps (table A.1).
"""

import torch
from torch import Tensor

from models.coarse_fine.stream import Pooled
from models.temporal.grid_pool import sample_frames
from models.temporal.grid_unpool import inverse

WEIGHT = 0.1


def reconstruction_loss(before: Tensor, pooled: Pooled) -> Tensor:
    """L_rec: mean L1 distance between Grid Pool's input and its up-sampled output, a scalar.

    Args:
        before: ``[N, C, T, H, W]``.
        pooled: of it, by Grid Pool, clips of equal length.

    Raises:
        ValueError: no Grid Pool.
    """
    grid = _grid(pooled)
    column = inverse(grid, before.shape[2]) * (grid.shape[1] - 1)
    return (sample_frames(pooled.features, column) - before).abs().mean()


def flow_loss(motion: Tensor, pooled: Pooled) -> Tensor:
    """L_flow: motion within the grid's cells minus motion across their borders, over the clip's mean; a scalar.

    Smallest when the borders lie where most moves. A border counts for the two steps next to it by its distance (the
    paper gives no formula). Its flow is computed online by a method of its own; any motion per step serves, for instance
    :func:`frame_motion`.

    Args:
        motion: ``[N, T - 1]``, not negative: how much changes between a frame and the next. T at least 3.
        pooled: by Grid Pool, clips of equal length.
    """
    steps = motion.shape[1]
    border = _grid(pooled)[:, 1:-1] * steps  # in frames; step t lies between frames t and t + 1
    middle = torch.arange(steps, device=motion.device) + 0.5
    near = (1 - (middle.view(1, -1, 1) - border.unsqueeze(1)).abs()).clamp(min=0)
    across = near.sum(dim=2).clamp(max=1)
    within = 1 - across

    def mean(weight: Tensor) -> Tensor:
        return (weight * motion).sum(dim=1) / weight.sum(dim=1).clamp(min=1e-6)

    return ((mean(within) - mean(across)) / motion.mean(dim=1).clamp(min=1e-6)).mean()


def frame_motion(pixels: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring frames: ``[N, 3, T, H, W]`` to ``[N, T - 1]``, without a gradient."""
    return pixels.detach().float().diff(dim=2).abs().mean(dim=(1, 3, 4))


def _grid(pooled: Pooled) -> Tensor:
    if pooled.grid is None:
        raise ValueError("auxiliary losses are on Grid Pool's locations; this stream has no Grid Pool")
    return pooled.grid
