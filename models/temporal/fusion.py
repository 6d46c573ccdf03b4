"""Multi-stage Fusion: fine features, aligned in time, scale and shift coarse ones (Coarse-Fine paper, section 3.2).

Structure and cost are the released network's, which the paper's text abbreviates: at every level the fine features are
averaged over time under a self-attention mask and Gaussians around each coarse frame (a weighted *mean*; the paper prints
the sum, with the sign of the exponent missing), two small point-wise networks follow, and each fusion location mixes those
of all levels into its scale and shift. A last fusion stands on the logits.

The fine features have the few positions of res5 (7 x 7 at 224 px), and everything up to scale and shift works on single
positions. So all of it runs at that size and only scale and shift are repeated to a location's size: the same result, far
less to compute. In the reference form the fine features themselves are repeated, as released.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Connections = Literal["multi_stage", "one_to_one", "late"]
Dims = Literal["CHWT", "CHW", "C"]
DROPOUT = 0.5


def coarse_gaussians(centre: Tensor, lengths: Tensor, frames: int) -> Tensor:
    """Coarse-centric Gaussians G, each with peak 1 on the fine frames.

    Args:
        centre: ``[N, J]``, where each coarse frame lies on the fine stream's time axis, in its frames.
        lengths: ``[N]``, real frames of the fine stream; sigma is an eighth of it.
        frames: T', fine frames with padding.

    Returns:
        float32 ``[N, T', J]``; 0 past a clip's end.
    """
    time = torch.arange(frames, device=centre.device, dtype=torch.float32)
    sigma = lengths.to(torch.float32).view(-1, 1, 1) / 8
    exponent = -(time.view(1, -1, 1) - centre.to(torch.float32).unsqueeze(1)).square() / (2 * sigma.square())
    real = (time < lengths.unsqueeze(1)).unsqueeze(2)
    exponent = exponent.masked_fill(~real, -torch.inf)
    # Divided by its peak: the peak's exponent is subtracted, so that none underflows far outside the clip.
    return (exponent - exponent.amax(dim=1, keepdim=True)).exp()


class Level(nn.Module):
    """The fine features of one stage, filtered, aligned and projected (filtering, correspondence and heads of 3.2)."""

    def __init__(self, channels: int, out: int, mask: bool, late: bool = False) -> None:
        super().__init__()
        self.late = late
        self.at1 = nn.Conv3d(channels, channels, 1) if mask else None
        self.at2 = nn.Conv3d(channels, 1, 1) if mask else None
        self.fc1, self.fc2 = nn.Conv3d(channels, channels, 1), nn.Conv3d(channels, out, 1)
        self.fc3, self.fc4 = nn.Conv3d(channels, channels, 1), nn.Conv3d(channels, out, 1)
        self.dropout = nn.Dropout(DROPOUT if late else 0.0)

    def aligned(self, fine: Tensor, gaussians: Tensor) -> Tensor:
        """Weighted mean of the fine frames around each coarse one: ``[N, C, T', H, W]`` to ``[N, C, J, H, W]``."""
        attention = torch.ones_like(fine[:, :1])
        if self.at1 is not None and self.at2 is not None:
            attention = self.at2(F.relu(self.at1(fine))).sigmoid()
        gaussians = gaussians.to(fine.dtype)
        total, weight = over_time(fine * attention, gaussians), over_time(attention, gaussians)
        return total / (weight + 1e-6)

    def forward(self, fine: Tensor, gaussians: Tensor) -> tuple[Tensor, Tensor]:
        """Shift and scale of this level, ``[N, out, J, H, W]`` each (late: H = W = 1); the scale before its sigmoid."""
        aligned = self.aligned(fine, gaussians)
        if self.late:
            aligned = aligned.mean(dim=(3, 4), keepdim=True)
        shift = self.fc2(self.dropout(F.relu(self.fc1(aligned))))
        return shift, self.fc4(self.dropout(F.relu(self.fc3(aligned))))


def over_time(x: Tensor, weights: Tensor) -> Tensor:
    """``sum_t x_t w_tj``: ``[N, C, T, H, W]`` and ``[N, T, J]`` to ``[N, C, J, H, W]``, without their 6-D product."""
    sums: Tensor = weights.transpose(1, 2).unsqueeze(1) @ x.flatten(3)
    return sums.view(*x.shape[:2], -1, *x.shape[3:])


class MultiStageFusion(nn.Module):
    """Fusion of a fine stream into a coarse one after res2..res5 and on the logits.

    Args:
        channels: of the fine and the coarse stream's stages that are fused, in order (24, 48, 96, 192 for X3D-M).
        last: channels of the fine features behind the stages, for the fusion on the logits (conv5: 432).
        classes: K.
        connections: "multi_stage", "one_to_one" (each location sees its own level only) or "late" (the logits only):
            table 3a.
        mask: whether fine features pass the self-attention mask (table 3c).
        dims: those of the fused features (table 3b); fine features are averaged over those that are missing: "CHW" takes
            the same mean over time for every coarse frame, without Gaussians, and "C" that of all positions too.

    Attributes:
        reference_form: compute at every location's own size, for the papers' cost.

    Raises:
        ValueError: ``connections`` or ``dims`` is not allowed.
    """

    def __init__(
        self,
        channels: Sequence[int],
        last: int,
        classes: int,
        connections: Connections = "multi_stage",
        mask: bool = True,
        dims: Dims = "CHWT",
    ) -> None:
        super().__init__()
        for name, given, allowed in (("connections", connections, Connections), ("dims", dims, Dims)):
            if given not in get_args(allowed):
                raise ValueError(f"fusion {name} is {given!r}; allowed: {', '.join(get_args(allowed))}")
        self.connections, self.dims, self.reference_form = connections, dims, False
        fused = () if connections == "late" else tuple(channels)
        self.levels = nn.ModuleList(Level(width, width, mask) for width in fused)
        self.late = Level(last, classes, mask, late=True)
        mixed = fused if connections == "multi_stage" else ()
        self.mix_shift = nn.ModuleList(nn.Conv3d(sum(fused), width, 1) for width in mixed)
        self.mix_scale = nn.ModuleList(nn.Conv3d(sum(fused), width, 1) for width in mixed)

    def weights(self, centre: Tensor, lengths: Tensor, frames: int) -> Tensor:
        """What the fine frames count for each coarse one: the arguments and the result of :func:`coarse_gaussians`."""
        if "T" in self.dims:
            return coarse_gaussians(centre, lengths, frames)
        real = torch.arange(frames, device=centre.device) < lengths.unsqueeze(1)
        return real.float().unsqueeze(2).expand(-1, -1, centre.shape[1])

    def prepare(
        self, fine: Sequence[Tensor], gaussians: Tensor, sizes: Sequence[torch.Size]
    ) -> list[tuple[Tensor, ...]]:
        """Shift and scale of every level, once per clip, for :meth:`fuse` to mix.

        Args:
            fine: features of the fused stages, ``[N, C_l, T', h, w]`` with equal h, w.
            gaussians: ``[N, T', J]``, of :meth:`weights`.
            sizes: (H, W) of the coarse stream at each location; needed in the reference form only.
        """
        if self.connections == "late":
            return []
        if self.dims == "C":
            fine = [x.mean(dim=(3, 4), keepdim=True) for x in fine]
        elif self.reference_form:
            fine = [repeated(x, size) for x, size in zip(fine, sizes, strict=True)]
        return [level(x, gaussians) for level, x in zip(self.levels, fine, strict=True)]

    def fuse(self, location: int, x: Tensor, prepared: Sequence[tuple[Tensor, ...]]) -> Tensor:
        """``scale * x + shift`` at one location: ``[N, C_i, J, H, W]`` to the same."""
        if self.connections == "late":
            return x
        if self.connections == "one_to_one":
            shift, scale = prepared[location]
        else:
            size = x.shape[3:] if self.reference_form else prepared[0][0].shape[3:]
            shift = self.mix_shift[location](torch.cat([resized(level[0], size) for level in prepared], dim=1))
            scale = self.mix_scale[location](torch.cat([resized(level[1], size) for level in prepared], dim=1))
        return torch.addcmul(repeated(shift, x.shape[3:]), repeated(scale.sigmoid(), x.shape[3:]), x)

    def fuse_logits(self, logits: Tensor, fine: Tensor, gaussians: Tensor) -> Tensor:
        """The fusion before Grid Unpool: ``[N, K, J]`` logits and ``[N, last, T', h, w]`` fine features to ``[N, K, J]``."""
        shift, scale = self.late(fine, gaussians)
        fused: Tensor = logits * scale.flatten(2).sigmoid() + shift.flatten(2)
        return fused


def repeated(x: Tensor, size: Sequence[int]) -> Tensor:
    """``[N, C, T, h, w]`` with every position repeated to ``size`` (whole multiples of h, w in the paper's network)."""
    if tuple(x.shape[3:]) == tuple(size):
        return x
    return F.interpolate(x, size=(x.shape[2], *size), mode="nearest")


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """``[N, C, T, h, w]`` at ``size`` by adaptive maximum, as the paper adjusts levels to each other."""
    if tuple(x.shape[3:]) == tuple(size):
        return x
    smaller: Tensor = F.adaptive_max_pool3d(x, (x.shape[2], *size))
    return smaller
