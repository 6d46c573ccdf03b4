"""G-TAD's labels: the IoU of every anchor and the snippets at boundaries, from segments in 0..1."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from models.heads.anchors import valid_anchors

BOUNDARY_RADIUS = 1.5
"""A snippet belongs to a boundary when its centre lies closer than this many snippets."""


class GTADTargets(NamedTuple):
    """Labels: ``iou [B, D, L]`` (0 where invalid), ``start`` and ``end`` ``[B, L]`` bool, ``valid [D, L]`` bool."""

    iou: Tensor
    start: Tensor
    end: Tensor
    valid: Tensor

    def to(self, device: torch.device) -> "GTADTargets":
        """The same on ``device``."""
        return GTADTargets(*(tensor.to(device) for tensor in self))


def gtad_targets(segments: Sequence[Tensor], length: int, max_duration: int | None = None) -> GTADTargets:
    """Label a batch.

    The published rule calls t a boundary when the 3 snippets around a boundary cover more than half of t's cell, which
    the authors take two snippets wide and others one. Either way that is: t's centre is closer than 1.5 snippets.

    Args:
        segments: for each video ``[n, 2]`` start and end as fractions of the video, n >= 0; cut to 0..1.
        length: L, snippets per video.
        max_duration: D, longest anchor in snippets; L when None.

    Raises:
        ValueError: a segment list of another shape, or one whose end lies before its start.
    """
    valid = valid_anchors(length, length if max_duration is None else max_duration)
    duration, first = torch.arange(len(valid)).unsqueeze(1), torch.arange(length)
    centres = first + 0.5
    iou = torch.zeros(len(segments), *valid.shape)
    start = torch.zeros(len(segments), length, dtype=torch.bool)
    end = torch.zeros_like(start)
    for index, video in enumerate(segments):
        if video.numel() == 0:
            continue
        if video.dim() != 2 or video.shape[1] != 2 or (video[:, 1] < video[:, 0]).any():
            raise ValueError(f"segments of video {index} in the batch: want [n, 2], start <= end, got {video.tolist()}")
        low, high = (video.to("cpu", torch.float32).clamp(0, 1) * length).T.reshape(2, -1, 1, 1)
        shared = (torch.minimum(high, first + duration + 1) - torch.maximum(low, first)).clamp(min=0)
        union = (high - low) + (duration + 1) - shared
        iou[index] = (shared / union).amax(dim=0) * valid
        start[index] = ((low.view(-1, 1) - centres).abs() < BOUNDARY_RADIUS).any(dim=0)
        end[index] = ((high.view(-1, 1) - centres).abs() < BOUNDARY_RADIUS).any(dim=0)
    return GTADTargets(iou, start, end, valid)
