"""The Fine stream on windows of a video, each a clip of its own: what gradient replay can take one after the other.

On whole videos the Fine stream's layers reach over all frames (26 temporal convolutions, squeeze-and-excitation over the
clip), so no part of it can be computed alone. On windows, which is how the first training stage shows them (16 frames,
paper section 4.1), each is encoded by itself: memory no longer grows with the video, and the fusion still sees it all.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.coarse_fine.stream import FUSED_STAGES
from models.coarse_fine.two_stream import CoarseFine, FineFeatures
from models.encoders.ragged import padded

Rows = Callable[[nn.Module, Tensor], Tensor]
"""(module, inputs ``[n, ...]``) to a row of features for each, ``[n, D]``."""

Encode = Callable[[Rows, nn.Module, Tensor], Tensor]
"""How rows are computed: :func:`direct`, or ``pipeline.training.replay.replayed`` with its chunk."""


def direct(rows: Rows, module: nn.Module, inputs: Tensor) -> Tensor:
    """All at once."""
    return rows(module, inputs)


def fine_in_windows(
    network: CoarseFine, video: Tensor, lengths: Tensor, window: int = 0, encode: Encode = direct
) -> FineFeatures:
    """The Fine stream on windows of whole videos.

    Args:
        network: whose Fine stream is run.
        video: ``[N, 3, T, H, W]`` normalised.
        lengths: int64 ``[N]``, real frames.
        window: frames of each window; 0: the whole video is one.
        encode: see :data:`Encode`.

    Returns:
        Features of T frames, rounded up to whole windows; :attr:`FineFeatures.lengths` says which are real.
    """

    def rows(_stream: nn.Module, clips: Tensor) -> Tensor:
        real = clips[:, 3, :, 0, 0].long().sum(dim=1)
        found = network.fine_features(clips[:, :3].contiguous(), padded(real, clips.shape[2], clips.dtype))
        return torch.cat([part.flatten(1) for part in (*found.levels, found.last)], dim=1)

    window = window or video.shape[2]
    encoded = encode(rows, network.fine, marked(video, lengths, window))
    encoder = network.fine.encoder
    widths = [*(encoder.stage_channels[name] for name in FUSED_STAGES), encoder.feature_dim]
    size = tuple(-(-side // 32) for side in video.shape[3:])
    parts = [
        part.view(len(video), -1, width, window, *size).transpose(1, 2).flatten(2, 3)
        for part, width in zip(
            torch.split(encoded, [w * window * math.prod(size) for w in widths], 1), widths, strict=True
        )
    ]
    return FineFeatures(tuple(parts[:-1]), parts[-1], lengths)


def cut(x: Tensor, window: int) -> Tensor:
    """``[N, C, n window, H, W]`` to its windows ``[N n, C, window, H, W]``."""
    parts = x.view(*x.shape[:2], -1, window, *x.shape[3:])
    return parts.transpose(1, 2).flatten(0, 1)


def marked(video: Tensor, lengths: Tensor, window: int) -> Tensor:
    """``[N, 3, T, H, W]`` to windows ``[N n, 4, window, H, W]``; the fourth channel is 1 in real frames, 0 behind the end.

    A window behind a shorter video's end keeps one frame (of nobody: its features are masked), so that no mean is empty.
    """
    frames = video.shape[2]
    real = torch.arange(frames, device=video.device) < lengths.unsqueeze(1)
    mask = real.to(video.dtype).view(len(video), 1, frames, 1, 1).expand(-1, -1, -1, *video.shape[3:])
    whole = F.pad(torch.cat([video, mask], dim=1), (0, 0, 0, 0, 0, -frames % window))
    parts: Tensor = cut(whole, window)
    parts[:, 3, 0] = 1
    return parts
