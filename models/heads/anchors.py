"""The segments that G-TAD scores: every start cell s and duration d (in cells, less one) with s + d < L."""

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=32)
def anchor_cells(length: int, max_duration: int, device: torch.device) -> Tensor:
    """Where the valid anchors stand in a flattened ``[D, L]`` map, duration-major: ``[N]`` int64. Do not modify it."""
    with torch.inference_mode(False):  # the cached tensor must serve training as well
        return valid_anchors(length, max_duration).flatten().nonzero().squeeze(1).to(device)


def valid_anchors(length: int, max_duration: int) -> Tensor:
    """``[D, L]`` bool: anchor (d, s) ends inside the video."""
    check_lengths(length, max_duration)
    duration, start = torch.arange(max_duration).unsqueeze(1), torch.arange(length)
    return start + duration < length


def check_lengths(length: int, max_duration: int) -> None:
    """Raise ValueError unless 1 <= max_duration <= length."""
    if not 1 <= max_duration <= length:
        raise ValueError(f"max_duration is {max_duration}, it must be between 1 and the length {length}")
