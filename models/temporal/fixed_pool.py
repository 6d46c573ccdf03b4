"""Temporal pooling that does not look at its input, the baselines beside Grid Pool (Coarse-Fine paper, table 3d)."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from models.encoders.ragged import Layout, keep, padded

Kind = Literal["max", "average", "stride"]


class FixedPool(nn.Module):
    """Max, average or plain stride over windows of ``1 / alpha`` frames; contract in ``models/temporal/__init__.py``.

    A last window that is not full counts only the frames it has.
    """

    def __init__(self, kind: Kind, alpha: float) -> None:
        super().__init__()
        if kind not in get_args(Kind):
            raise ValueError(f"pooling kind is {kind!r}; allowed: {', '.join(get_args(Kind))}")
        self.kind, self.step = kind, window(alpha)

    def forward(self, x: Tensor, layout: Layout | None = None) -> tuple[Tensor, Layout | None]:
        """``[N, C, T, H, W]`` to ``[N, C, ceil(alpha T), H, W]``."""
        lengths = None if layout is None else clip_lengths(layout)
        after = None if lengths is None else -(-lengths // self.step)
        if self.kind == "stride":
            out = x[:, :, :: self.step]
        else:
            missing = -x.shape[2] % self.step
            full = nn.functional.pad(keep(x, layout), (0, 0, 0, 0, 0, missing))
            full = full.view(*full.shape[:2], -1, self.step, *full.shape[3:])
            real = self._real(x, lengths)[:, None, :, :, None, None]
            if self.kind == "max":
                out = full.masked_fill(~real, -torch.inf).amax(dim=3).clamp(min=torch.finfo(x.dtype).min)
            else:
                out = full.sum(dim=3) / real.sum(dim=3).clamp(min=1).to(x.dtype)
        if after is None:
            return out, None
        layout = padded(after, out.shape[2], x.dtype)
        return out * layout.mask, layout

    def _real(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Bool ``[N or 1, windows, step]``: which frames of each window there are."""
        steps = torch.arange(-(-x.shape[2] // self.step) * self.step, device=x.device)
        ends = torch.tensor([x.shape[2]], device=x.device) if lengths is None else lengths
        return (steps < ends.unsqueeze(1)).view(len(ends), -1, self.step)

    def grid(self, frames: int, device: torch.device) -> Tensor:
        """Where the pooled frames lie, ``[ceil(alpha T)]`` in frames of the input: a window's first frame or middle."""
        first = torch.arange(0, frames, self.step, device=device, dtype=torch.float32)
        return first if self.kind == "stride" else first + (self.step - 1) / 2


def window(alpha: float) -> int:
    """Frames of the input per frame of the output, 1 / alpha.

    Raises:
        ValueError: alpha is not 1 over a whole number of at least 2.
    """
    step = round(1 / alpha) if alpha > 0 else 0
    if step < 2 or abs(step * alpha - 1) > 1e-6:
        raise ValueError(f"alpha is {alpha}; it must be 1 over a whole number of at least 2 (1/4 in the paper)")
    return step


def clip_lengths(layout: Layout) -> Tensor:
    """int64 ``[N]``: real frames of each clip of a padded batch.

    Raises:
        ValueError: several clips in a row.
    """
    if layout.clips != len(layout.clip):
        raise ValueError(f"{layout.clips} clips in {len(layout.clip)} rows: this module needs one clip per row")
    return layout.mask.flatten(1).sum(dim=1).long()


def max_pool(channels: int, alpha: float = 0.25) -> FixedPool:
    """The maximum of every ``1 / alpha`` frames."""
    return FixedPool("max", alpha)


def average_pool(channels: int, alpha: float = 0.25) -> FixedPool:
    """The mean of every ``1 / alpha`` frames."""
    return FixedPool("average", alpha)


def stride(channels: int, alpha: float = 0.25) -> FixedPool:
    """The first of every ``1 / alpha`` frames."""
    return FixedPool("stride", alpha)
