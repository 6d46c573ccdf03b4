"""Features of a regular grid, for banks without a detector: "Grid" and "Global pool" of table 7.2d of the thesis."""

import torch
import torch.nn.functional as F
from torch import Tensor


def grid_features(values: Tensor, cells: int) -> Tensor:
    """The mean of a feature map in each of ``cells`` x ``cells`` bins, row by row; 1 is global pooling.

    Args:
        values: ``[B, C, h, w]``; bins of a map that ``cells`` does not divide overlap by a cell of it.
        cells: 1, 2 or 4 in the thesis.

    Returns:
        ``[B, cells * cells, C]``.
    """
    if cells < 1:
        raise ValueError(f"cells is {cells}; it must be at least 1")
    return F.adaptive_avg_pool2d(values, cells).flatten(2).transpose(1, 2)


def grid_boxes(cells: int, height: float, width: float) -> Tensor:
    """The bins as boxes x1, y1, x2, y2 of a picture of that size, ordered as :func:`grid_features`: ``[cells^2, 4]``."""
    y, x = torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="ij")
    corners = torch.stack([x, y, x + 1, y + 1], dim=-1).reshape(-1, 4) / cells
    return corners * torch.tensor([width, height, width, height])
