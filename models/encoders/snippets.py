"""From stored frames to snippet features, the same way for every caller."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# ImageNet statistics of RGB in 0..1, which the public weights of every 2-D backbone expect. An encoder whose weights
# expect others has them as attributes ``pixel_mean`` and ``pixel_std``.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(
    clips: Tensor,
    dtype: torch.dtype = torch.float32,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
) -> Tensor:
    """Turn uint8 RGB into what the encoders take: (value / 255 - mean) / std.

    Args:
        clips: ``[B, 3, T, H, W]`` uint8, in any memory format (kept).
        dtype: of the result.
        mean: of the colours in 0..1; ``std`` likewise.

    Raises:
        ValueError: another shape or dtype.
    """
    if clips.dtype != torch.uint8 or clips.dim() != 5 or clips.shape[1] != 3:
        raise ValueError(f"expected uint8 frames [B, 3, T, H, W], got {clips.dtype} {list(clips.shape)}")
    centre = torch.tensor(mean, device=clips.device).view(3, 1, 1, 1)
    scale = torch.tensor(std, device=clips.device).view(3, 1, 1, 1)
    return torch.addcmul(-centre / scale, clips.float(), 1 / (255 * scale)).to(dtype)


def normalise_for(encoder: nn.Module, clips: Tensor) -> Tensor:
    """:func:`normalise` with the statistics that ``encoder`` expects."""
    mean, std = getattr(encoder, "pixel_mean", MEAN), getattr(encoder, "pixel_std", STD)
    return normalise(clips, mean=mean, std=std)


def snippet_features(encoder: nn.Module, clips: Tensor) -> Tensor:
    """One feature vector per snippet: the encoder's features averaged over frames and positions (LoFi section 3).

    Args:
        encoder: an entry of :data:`models.encoders.ENCODERS`.
        clips: ``[..., 3, T, H, W]`` uint8 RGB, usually ``[N, 3, T, H, W]`` or ``[B, L, 3, T, H, W]``.

    Returns:
        ``[..., feature_dim]`` float.
    """
    leading = clips.shape[:-4]
    features: Tensor = encoder(normalise_for(encoder, clips.reshape(-1, *clips.shape[-4:])))
    return features.mean(dim=(2, 3, 4)).reshape(*leading, -1)
