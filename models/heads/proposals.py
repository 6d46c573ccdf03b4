"""From G-TAD's output to scored segments, before non-maximum suppression."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.heads.anchors import valid_anchors
from models.heads.compat import Compat, check_compat
from models.heads.gtad_output import GTADOutput


class Proposals(NamedTuple):
    """Of one video, on the CPU: ``segments [N, 2]`` as fractions of the video and ``scores [N]``; N may be 0."""

    segments: Tensor
    scores: Tensor


def boundary_candidates(probability: Tensor, always: int, compat: Compat) -> Tensor:
    """Which of ``[L]`` boundaries are candidates: strict local peaks, values above half the maximum, and ``always``."""
    if compat == "released":
        peak = torch.zeros_like(probability, dtype=torch.bool)
        inner = probability[1:-1]
        peak[1:-1] = (inner > probability[:-2]) & (inner > probability[2:]) | (inner > 0.5 * probability.max())
    else:
        padded = F.pad(probability, (1, 1), value=-torch.inf)
        peak = (probability > padded[:-2]) & (probability > padded[2:]) | (probability > 0.5 * probability.max())
    peak[always] = True
    return peak


def proposals(output: GTADOutput, compat: Compat = "fixed") -> list[Proposals]:
    """Anchors between two boundary candidates, scored classification x regression, for each video of the batch.

    Anchor (d, s) is the segment [s, s + d + 1] / L. Proposals come in the order of the map (by duration, then start),
    not of the score. What ``compat`` changes is in :mod:`models.heads.compat`.
    """
    check_compat(compat)
    max_duration, length = output.maps.shape[2:]
    valid = valid_anchors(length, max_duration)
    duration, start = torch.arange(max_duration).unsqueeze(1), torch.arange(length)
    end = start + duration if compat == "fixed" else start + duration + 1
    valid &= end < length
    result = []
    for start_probability, end_probability, maps in zip(*(part.detach().cpu() for part in output), strict=True):
        starts = boundary_candidates(start_probability, 0, compat)
        ends = boundary_candidates(end_probability, length - 1, compat)
        chosen = (valid & starts & ends[end.clamp(max=length - 1)]).nonzero()
        first, width = chosen[:, 1], chosen[:, 0] + 1
        segments = torch.stack((first, first + width), dim=1) / length
        result.append(Proposals(segments, (maps[0] * maps[1])[chosen[:, 0], chosen[:, 1]]))
    return result
