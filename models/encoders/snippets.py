"""From stored frames to snippet features, the same way for every caller."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# ImageNet statistics of RGB in 0..1, which the public weights of every 2-D backbone expect. An encoder whose weights
# expect others has them as attributes ``pixel_mean`` and ``pixel_std``.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# What may follow the RGB of a picture: motion x and y, then residual RGB, both around 1/2 (CoViAR).
_MORE_MEANS = (0.5, 0.5, 0.5, 0.5, 0.5)
_MORE_STDS = (1.0, 1.0, *STD)
_CHANNELS = (3, 5, 8)


def normalise(
    clips: Tensor,
    dtype: torch.dtype = torch.float32,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
) -> Tensor:
    """Turn uint8 pictures into what the encoders take: (value / 255 - mean) / std by channel.

    Args:
        clips: ``[B, C, T, H, W]`` uint8, in any memory format (kept). C is 3 (RGB), 5 (and motion) or 8 (and residual).
        dtype: of the result.
        mean: of the colours in 0..1; ``std`` likewise.

    Raises:
        ValueError: another shape or dtype.
    """
    if clips.dtype != torch.uint8 or clips.dim() != 5 or clips.shape[1] not in _CHANNELS:
        raise ValueError(f"expected uint8 frames [B, 3, 5 or 8, T, H, W], got {clips.dtype} {list(clips.shape)}")
    channels = clips.shape[1]
    centre = torch.tensor((*mean, *_MORE_MEANS)[:channels], device=clips.device).view(-1, 1, 1, 1)
    scale = torch.tensor((*std, *_MORE_STDS)[:channels], device=clips.device).view(-1, 1, 1, 1)
    return torch.addcmul(-centre / scale, clips.float(), 1 / (255 * scale)).to(dtype)


def normalise_for(encoder: nn.Module, clips: Tensor) -> Tensor:
    """:func:`normalise` with the statistics that ``encoder`` expects."""
    mean, std = getattr(encoder, "pixel_mean", MEAN), getattr(encoder, "pixel_std", STD)
    return normalise(clips, mean=mean, std=std)


def snippet_features(encoder: nn.Module, clips: Tensor) -> Tensor:
    """One feature vector per snippet: the encoder's features averaged over frames and positions (LoFi section 3).

    Args:
        encoder: an entry of :data:`models.encoders.ENCODERS`.
        clips: ``[..., C, T, H, W]`` uint8, usually ``[N, C, T, H, W]`` or ``[B, L, C, T, H, W]``.

    Returns:
        ``[..., feature_dim]`` float.
    """
    leading = clips.shape[:-4]
    features: Tensor = encoder(normalise_for(encoder, clips.reshape(-1, *clips.shape[-4:])))
    return features.mean(dim=(2, 3, 4)).reshape(*leading, -1)
