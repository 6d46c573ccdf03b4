"""Similarity Guided Sampling: group similar frames of a feature map into bins (Fayyaz et al., CVPR 2021, section 4).

A frame's similarity vector Z_t comes from its spatial mean (4.1). Its coordinate Delta_t, ||Z_t|| by default (eq. 1), is
compared with B bins of half width gamma = Delta_max / 2B and centres beta_b = (2b - 1) gamma (eq. 2, 3); a bin's output
is the weighted sum of its frames (eq. 4-6, 9), bins without frames are dropped, so each clip keeps its own number of
frames B' <= B. The new time axis is the order of the bins.

What the paper leaves open is decided here:

* Bins are half open, (beta - gamma, beta + gamma], and 0 belongs to the first: every frame has exactly one bin. On an edge
  the linear kernel weighs 0, and the frame of the largest coordinate is always on one. A bin whose weights sum to no more
  than :data:`EDGE` is empty.
* By the formula alone a static clip, or T = 1, would vanish: all frames are the largest one. So the weights of a clip (of
  a block, where there are blocks) sum to at least :data:`FLOOR`: what is missing is spread evenly over its frames. A static
  clip becomes its one frame. Clips with any spread are far above and obey eq. 6 to the letter.
* Eq. 8 is the derivative by Delta_t / gamma; by Delta_t itself it lacks the factor 1 / gamma and the path through
  Delta_max. ``gradient="paper"`` is eq. 8 as printed, ``"exact"`` the true derivative, which the released code uses.
* In an untrained network the magnitudes of a clip's frames are nearly equal, so the paper's form begins with one or two
  active bins and learns from there. ``form="released"`` compares distances to the clip's mean vector, which spread from
  the start (about 6 of 13 bins, the B' that the paper's cost of X3D-S means).
* Eq. 5 (Kronecker, the mean of a bin) has no useful derivative by Delta: it borrows eq. 8, divided by the bin's count.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.encoders.ragged import Layout, padded
from models.temporal.rows import in_one_row

Similarity = Literal["magnitude", "angular", "spherical"]
Kernel = Literal["linear", "kronecker"]
Form = Literal["paper", "released"]
Gradient = Literal["paper", "exact"]
Packing = Literal["padded", "row"]
Bins = int | Sequence[int] | None

FLOOR = 1.0
"""Least sum of a clip's weights: one frame's worth."""

EDGE = 1e-6
"""A bin is active when its weights sum to more than this: rounding on an edge makes no bin."""


class SGS(nn.Module):
    """Similarity Guided Sampling; contract in ``models/temporal/__init__.py``.

    It stands before the last ReLU of a stage, as in the released code: the paper does not say.

    Args:
        channels: C of the features.
        dims: L of the similarity space (table 3: 8); angular and spherical bins as in the paper mean 3.
        bins: B, or one number per coordinate (angular 4 x 8, spherical 2 x 4 x 4 in the paper); None is B = T, for the
            magnitude only. May be set anew at any time, also on a trained module (table A.4).
        similarity: "magnitude" ||Z_t||, "angular" its L - 1 angles, "spherical" both (appendix D).
        kernel: "linear" (eq. 6) or "kronecker" (eq. 5).
        block: frames of a block that is sampled on its own, None the whole clip (appendix A, SlowFast: 8 fast, 2 slow).
        form: "paper", or "released": half as many hidden units, batch normalisation of Z, and the distance of Z_t to
            the clip's mean Z instead of its magnitude. (The release also keeps a bin of 1e-7 times the farthest frame.)
        gradient: with respect to the coordinates, see above.
        floor: least sum of a clip's weights; 0 is the formula alone, where a static clip becomes one frame of zeros.
        packing: of the result: "padded", a row per clip with zeros behind short ones, or "row", all clips one behind the
            other with a gap between, so that later layers compute little beside the active bins; evaluation only
            (training always pads), and only for encoders without temporal strides behind. May be set anew.

    Raises:
        ValueError: a value that is not allowed.
    """

    before_relu = True

    def __init__(
        self,
        channels: int,
        dims: int = 8,
        bins: Bins = None,
        similarity: Similarity = "magnitude",
        kernel: Kernel = "linear",
        block: int | None = None,
        form: Form = "paper",
        gradient: Gradient = "paper",
        floor: float = FLOOR,
        packing: Packing = "padded",
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ("similarity", similarity, Similarity),
            ("kernel", kernel, Kernel),
            ("form", form, Form),
            ("gradient", gradient, Gradient),
            ("packing", packing, Packing),
        ):
            if value not in get_args(choices):
                raise ValueError(f"SGS {name} is {value!r}; allowed: {', '.join(get_args(choices))}")
        if block is not None and block < 1:
            raise ValueError(f"SGS block is {block}; it must be at least 1 frame, or None for the whole clip")
        self.similarity, self.kernel, self.form, self.gradient = similarity, kernel, form, gradient
        self.block, self.floor, self.dims, self.packing = block, floor, dims, packing
        self.bins = bins
        self.bins_for(1)
        hidden = channels if form == "paper" else channels // 2
        self.fc = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, dims))
        self.bn = nn.BatchNorm1d(dims) if form == "released" else nn.Identity()

    def bins_for(self, frames: int) -> tuple[int, ...]:
        """Number of bins per coordinate for a clip (or block) of ``frames``.

        Raises:
            ValueError: ``bins`` does not fit the similarity and the dimensions.
        """
        coordinates = {"magnitude": 1, "angular": self.dims - 1, "spherical": self.dims}[self.similarity]
        if self.bins is None and self.similarity == "magnitude":
            return (frames,)
        bins = (self.bins,) if isinstance(self.bins, int) else tuple(self.bins or ())
        if len(bins) != coordinates or coordinates < 1 or min(bins) < 1:
            raise ValueError(
                f"SGS bins is {self.bins!r}; {self.similarity} similarity in {self.dims} dimensions needs "
                f"{coordinates} number(s) of at least 1"
            )
        return bins

    def forward(self, x: Tensor, layout: Layout | None = None) -> tuple[Tensor, Layout]:
        """``[N, C, T, H, W]`` to the clips' active bins, ``[N, C, max B', H, W]`` or in one row, and their layout.

        Raises:
            ValueError: a layout: the clips were already of unequal length.
        """
        if layout is not None:
            raise ValueError("SGS takes clips of equal length; there can be one such module in an encoder")
        weights, lengths = self.weights(x)
        features = weighted_sums(x, weights)
        if self.packing == "row" and not self.training:
            return in_one_row(features, lengths)
        return features, padded(lengths, features.shape[2], x.dtype)

    def weights(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What each active bin takes of each frame: float32 ``[N, max B', T]``, zero rows past B', and B' ``[N]``."""
        with torch.autocast(x.device.type, enabled=False):
            z = self.fc(x.mean(dim=(3, 4), dtype=torch.float32).transpose(1, 2))
            z = self.bn(z.flatten(0, 1)).view_as(z)
            frames = z.shape[1]
            parts = [self._block_weights(part) for part in z.split(self.block or frames, dim=1)]
            slots = torch.cat(
                [
                    F.pad(part, (before, frames - before - part.shape[2]))
                    for part, before in zip(parts, range(0, frames, self.block or frames), strict=True)
                ],
                dim=1,
            )
        active = slots.detach().sum(dim=2) > EDGE
        active[:, 0] |= ~active.any(dim=1)
        lengths = active.sum(dim=1)
        order = (~active).to(torch.int8).argsort(dim=1, stable=True)[:, : int(lengths.max())]
        rows = slots.gather(1, order.unsqueeze(2).expand(-1, -1, frames))
        return rows * active.gather(1, order).unsqueeze(2), lengths

    def _block_weights(self, z: Tensor) -> Tensor:
        """``[N, T, L]`` similarity vectors to ``[N, B, T]``, one non-zero row per frame."""
        bins = self.bins_for(z.shape[1])
        index, weight = assign(self._coordinates(z), bins, self.gradient)
        if self.kernel == "kronecker":
            count = (index.unsqueeze(2) == index.unsqueeze(1)).sum(dim=2)
            weight = (1 + (weight - weight.detach())) / count
        missing = (self.floor - weight.detach().sum(dim=1, keepdim=True)).clamp(min=0)
        weight = weight + missing / z.shape[1]
        empty = weight.new_zeros((z.shape[0], math.prod(bins), z.shape[1]))
        return empty.scatter(1, index.unsqueeze(1), weight.unsqueeze(1))

    def _coordinates(self, z: Tensor) -> Tensor:
        """``[N, T, L]`` to the K coordinates ``[N, T, K]`` that are compared, none negative."""
        if self.form == "released":
            z = z.mean(dim=1, keepdim=True) - z + 1e-6
        if self.similarity == "magnitude":
            length: Tensor = torch.linalg.vector_norm(z, dim=2, keepdim=True)
            return length
        coordinates = spherical(z)
        return coordinates if self.similarity == "spherical" else coordinates[..., 1:]


def assign(coordinates: Tensor, bins: Sequence[int], gradient: Gradient) -> tuple[Tensor, Tensor]:
    """The bin of each frame and the linear kernel's weight in it (eq. 2, 3, 6; several coordinates: eq. 9).

    Args:
        coordinates: ``[N, T, K]``, none negative.
        bins: B of each coordinate.
        gradient: of the weight with respect to the coordinates, see the top of this file.

    Returns:
        index int64 ``[N, T]`` into the prod(B) bins, the last coordinate fastest, and weight ``[N, T]`` in 0..1.
    """
    index = torch.zeros(coordinates.shape[:2], dtype=torch.int64, device=coordinates.device)
    weight = torch.ones_like(coordinates[..., 0])
    for delta, count in zip(coordinates.unbind(dim=2), bins, strict=True):
        largest = delta.amax(dim=1, keepdim=True)
        # In units of gamma: bins are 2 wide, their centres 1, 3, 5, ...; all coordinates 0 counts as all the largest.
        position = torch.where(largest > 0, delta / largest.clamp(min=torch.finfo(delta.dtype).tiny), 1.0) * 2 * count
        if gradient == "paper":
            position = position.detach() + (delta - delta.detach())  # the brackets add an exact 0
        place = ((position.detach() / 2).ceil().long() - 1).clamp(0, count - 1)
        centre = 2 * place + 1
        # Rising up to and with the centre, then falling: eq. 8's sides; relu has gradient 0 on the edges.
        weight = weight * F.relu(1 - torch.where(position <= centre, centre - position, position - centre))
        index = index * count + place
    return index, weight


def spherical(z: Tensor) -> Tensor:
    """Hyperspherical coordinates ``[..., L]`` of ``z [..., L]``: radius, then L - 1 angles.

    All angles are in [0, pi] but the last, whose (-pi, pi] is shifted to (0, 2 pi] (the bins start at 0). At the origin the
    angles are those of the first axis, with gradient 0.
    """
    tail = z.square().flip(-1).cumsum(-1).flip(-1)  # sums of squares from each component on
    first = torch.zeros_like(z).index_fill(-1, torch.tensor([0], device=z.device), 1.0)
    z = torch.where(tail > 0, z, first)
    radius = torch.where(tail[..., :1] > 0, tail[..., :1], 1.0).sqrt() * (tail[..., :1] > 0)
    rest = torch.where(tail[..., 1:] > 0, tail[..., 1:], 1.0).sqrt() * (tail[..., 1:] > 0)
    angles = torch.atan2(rest[..., :-1], z[..., :-2])
    last = torch.atan2(z[..., -1:], z[..., -2:-1]) + math.pi
    return torch.cat([radius, angles, last], dim=-1)


def weighted_sums(x: Tensor, weights: Tensor) -> Tensor:
    """``O_b = sum_t w_bt I_t`` (eq. 4): ``[N, C, T, H, W]`` and ``[N, B, T]`` to ``[N, C, B, H, W]``, layout kept."""
    weights = weights.to(x.dtype)
    size = (x.shape[0], weights.shape[1], *x.shape[3:], x.shape[1])
    if x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous():
        return (weights @ x.permute(0, 2, 3, 4, 1).flatten(2)).view(size).permute(0, 4, 1, 2, 3)
    return (weights.unsqueeze(1) @ x.flatten(3)).view(size[0], size[4], *size[1:4])


class PathwaySGS(nn.ModuleList):
    """One :class:`SGS` per pathway of an encoder that has several (SlowFast)."""

    before_relu = True

    def forward(self, x: tuple[Tensor, ...], layout: tuple[Layout | None, ...] | None = None) -> tuple[Any, Any]:
        """A tensor and a layout per pathway to the same; the pathways' lengths differ from then on."""
        done = [sgs(part, at) for sgs, part, at in zip(self, x, layout or [None] * len(x), strict=True)]
        return tuple(part for part, _ in done), tuple(at for _, at in done)


def slowfast_sgs(channels: tuple[int, int], blocks: tuple[int, int] = (2, 8), **options: Any) -> PathwaySGS:
    """SGS of SlowFast's slow and fast pathway in blocks, 2 and 8 frames in the paper (appendix A)."""
    return PathwaySGS(SGS(width, block=block, **options) for width, block in zip(channels, blocks, strict=True))
