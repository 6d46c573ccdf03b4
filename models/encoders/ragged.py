"""Clips of unequal length in one tensor, so that a clip's result is the same alone and in any batch.

A module that changes the number of frames clip by clip (SGS drops empty bins) leaves tensors with frames that belong to
nobody: padding behind short clips, or gaps between clips laid one behind the other in a row. A :class:`Layout` travels
with the features and says which frames are real. Every operation that mixes frames first sets the others to zero
(:func:`keep`), which is what a convolution's own padding would show the clip; every mean is taken over real frames only.
Without a layout (``None``) all frames are real and row b is clip b, and nothing is computed.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Layout(NamedTuple):
    """Which frames of ``[B, C, T, H, W]`` are real, and whose.

    Attributes:
        mask: ``[B, 1, T, 1, 1]``, 1 where a frame is real and 0 elsewhere, of the features' dtype.
        clip: ``[B, T]`` int64, the clip a frame belongs to; any clip where the frame is not real.
        clips: number of clips. Rows with several clips need at least one unreal frame between two of them for each
            frame a convolution reaches to one side.
    """

    mask: Tensor
    clip: Tensor
    clips: int


def padded(lengths: Tensor, frames: int, dtype: torch.dtype = torch.float32) -> Layout:
    """Row b is clip b, with ``lengths[b]`` real frames first and padding behind them up to ``frames``."""
    mask = torch.arange(frames, device=lengths.device) < lengths[:, None]
    clip = torch.arange(len(lengths), device=lengths.device)[:, None].expand(-1, frames)
    return Layout(mask.to(dtype)[:, None, :, None, None], clip, len(lengths))


def keep(x: Tensor, layout: Layout | None) -> Tensor:
    """``x`` with the frames that are not real set to zero."""
    return x if layout is None else x * layout.mask.to(x.dtype)


def strided(layout: Layout | None, stride: int) -> Layout | None:
    """The layout behind a convolution or pool of this stride in time: frame t' is real if frame ``t' * stride`` was.

    Raises:
        ValueError: several clips in a row, which a stride would tear apart.
    """
    if layout is None or stride == 1:
        return layout
    if layout.clips != len(layout.clip):
        raise ValueError(f"{layout.clips} clips in {len(layout.clip)} rows: a stride in time needs one clip per row")
    return Layout(layout.mask[:, :, ::stride], layout.clip[:, ::stride], layout.clips)


def mean_per_clip(x: Tensor, layout: Layout | None) -> Tensor:
    """``[B, C, T, H, W]`` to ``[clips, C]``: the mean over the real frames of a clip and all positions."""
    if layout is None:
        return x.mean(dim=(2, 3, 4))
    mask = layout.mask.to(x.dtype).view(len(x), 1, -1)
    frames = (x.mean(dim=(3, 4)) * mask).transpose(1, 2).flatten(0, 1)
    clip = layout.clip.flatten()
    total = x.new_zeros(layout.clips, x.shape[1]).index_add(0, clip, frames)
    count = x.new_zeros(layout.clips).index_add(0, clip, mask.flatten())
    return total / count.clamp(min=1)[:, None]


def frame_mean(x: Tensor, layout: Layout) -> Tensor:
    """``[B, C, T, H, W]`` to ``[clips, C, 1, H, W]``: the mean over the real frames of a clip."""
    frames, clip = keep(x, layout).transpose(1, 2).flatten(0, 1), layout.clip.flatten()
    total = x.new_zeros(layout.clips, *frames.shape[1:]).index_add(0, clip, frames)
    count = x.new_zeros(layout.clips).index_add(0, clip, layout.mask.to(x.dtype).flatten())
    return (total / count.clamp(min=1).view(-1, 1, 1, 1)).unsqueeze(2)


def spread(values: Tensor, layout: Layout | None) -> Tensor:
    """``[clips, C]`` to ``[B, C, T, 1, 1]`` (``T`` is 1 without a layout): each frame gets its clip's values."""
    if layout is None:
        return values[:, :, None, None, None]
    return values[layout.clip].transpose(1, 2)[..., None, None]
