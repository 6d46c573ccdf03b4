"""Grid Unpool: predictions on a learned grid back to even time (Coarse-Fine paper, section 3.1)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.temporal.grid_pool import sample_frames


def grid_unpool(logits: Tensor, grid: Tensor, frames: int) -> Tensor:
    """The inverse of Grid Pool on what the network made of its frames; nothing to learn.

    First n + 1 re-sample locations, the inverse of the grid's cumulative distribution at even steps: dense where Grid Pool
    was sparse, and the other way round. Then linear up-sampling to ``frames``, both with the ends on the ends.

    Args:
        logits: ``[N, K, n + 1]``, one column per frame that Grid Pool took.
        grid: ``[N, n + 1]``, rising from 0 to 1 (:class:`models.temporal.grid_pool.GridPooled`), all columns real.
        frames: T of the input; the released code gives 4 n, also for T that 4 does not divide.

    Returns:
        ``[N, K, frames]``.
    """
    steps = grid.shape[1] - 1
    even = sample_frames(logits, inverse(grid, steps + 1) * steps)
    return F.interpolate(even, size=frames, mode="linear", align_corners=True)


def inverse(grid: Tensor, count: int) -> Tensor:
    """The inverse of the grid's cumulative distribution at ``count`` even points.

    Args:
        grid: ``[N, n + 1]``, rising from 0 to 1.
        count: points on the input's time axis, both ends included.

    Returns:
        ``[N, count]`` in 0..1: which share of the grid's columns lies before each point.
    """
    steps = grid.shape[1] - 1
    even = torch.linspace(0, 1, count, device=grid.device, dtype=grid.dtype).expand(len(grid), -1).contiguous()
    left = (torch.searchsorted(grid.detach().contiguous(), even) - 1).clamp(0, steps - 1)
    low, high = grid.gather(1, left), grid.gather(1, left + 1)
    share = ((even - low) / (high - low).clamp(min=torch.finfo(grid.dtype).eps)).clamp(0, 1)
    return (left + share) / steps
