"""SGAlign, the sub-graph alignment of G-TAD, with the 1x1 convolution that follows it.

Each anchor's region is cut into P bins; a bin's value is the mean of r samples, linearly interpolated between snippets,
r = ceil(length / P) (ROIAlign in one dimension with sampling ratio 0). So alignment is a fixed linear map, the
convolution another, and they commute:

    conv(align(x)) = sum_p align_p(conv_p(x)),    conv_p: the slice of the kernel that meets sampling point p.

The ``fused`` form computes the right side: P small matrix products, then one sparse sum over (snippet, point) rows. The
``plain`` form is the left side as published but for the anchors that end outside the video, the reference that the tests
compare with; it holds an ``[N, 36 C]`` tensor (178 MiB per video at L = 100 in the published network, 352 with all
anchors) that the fused form never makes.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.heads.anchors import check_lengths
from models.heads.compat import Compat, check_compat

Form = Literal["fused", "plain"]


def sample_positions(duration: int, points: int, compat: Compat) -> Tensor:
    """Where the anchor that starts at snippet 0 with duration index ``duration`` is sampled: ``[points, r]`` float64.

    In units of snippets, 0 being the centre of the first. Anchors of one duration are the same, moved. Regions reach
    half the anchor's width beyond it on both sides; see :mod:`models.heads.compat`.
    """
    margin = (duration + 1) / 2 + (0.5 if compat == "fixed" else 0.0)
    low, width = -margin, max(duration + 2 * margin, 1.0)
    samples = math.ceil(width / points)
    steps = torch.arange(points * samples, dtype=torch.float64) + 0.5
    return (low + width * steps / (points * samples)).view(points, samples)


def _taps(positions: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Linear interpolation at ``positions``: lower snippet, weight of it, weight of the next; same shape each.

    The released rule at the ends: from -1 to 0 the first snippet, from L - 1 to L the last, zero beyond.
    """
    inside = (positions >= -1) & (positions <= length)
    clamped = positions.clamp(0, length - 1)
    lower = clamped.floor().clamp(max=max(length - 2, 0))
    upper_weight = clamped - lower
    return lower.long(), (1 - upper_weight) * inside, upper_weight * inside


def align_plain(features: Tensor, max_duration: int, points: int, compat: Compat) -> Tensor:
    """SGAlign as published: ``[B, C, L]`` to ``[B, N, C, points]``, valid anchors only, duration-major."""
    length = features.shape[2]
    check_lengths(length, max_duration)
    aligned = []
    for duration in range(max_duration):
        starts = torch.arange(length - duration, dtype=torch.float64).view(-1, 1, 1)
        lower, lower_weight, upper_weight = (
            tap.to(features.device) for tap in _taps(starts + sample_positions(duration, points, compat), length)
        )
        upper = (lower + 1).clamp(max=length - 1)
        samples = features[:, :, lower] * lower_weight.to(features.dtype)
        samples = samples + features[:, :, upper] * upper_weight.to(features.dtype)
        aligned.append(samples.mean(dim=-1).transpose(1, 2))  # [B, starts, C, points]
    return torch.cat(aligned, dim=1)


@dataclass(frozen=True)
class SparseRows:
    """A sparse matrix ``[rows, columns]`` by rows: entry i of row r at ``offsets[r] <= i < offsets[r + 1]``."""

    columns: int
    indices: Tensor
    offsets: Tensor
    weights: Tensor

    def times(self, source: Tensor) -> Tensor:
        """The matrix times each video's part of ``source``: ``[B, columns, O]`` to ``[B, rows, O]``.

        ``embedding_bag`` is a sparse product by another name: twice as fast as torch.sparse on CPU, and deterministic,
        since every row is summed in the order of its entries. One video at a time, since it would want the indices of all.
        """
        result = source.new_empty(len(source), len(self.offsets), source.shape[2])
        for video, part in zip(result, source, strict=True):
            video.copy_(F.embedding_bag(self.indices, part, self.offsets, mode="sum", per_sample_weights=self.weights))
        return result


@dataclass(frozen=True)
class AlignOperator:
    """The alignment as a sparse matrix ``[N, L * points]`` (column = snippet * points + point), and its transpose."""

    rows: SparseRows
    transposed: SparseRows


@lru_cache(maxsize=32)
def align_operator(
    length: int, max_duration: int, points: tuple[int, ...], compat: Compat, dtype: torch.dtype, device: torch.device
) -> AlignOperator:
    """Alignment at ``points[0]`` points, then at ``points[1]`` and so on, of features projected for each point.

    Built once for each set of sizes; its tensors are shared, do not modify them.
    """
    check_lengths(length, max_duration)
    stride = sum(points)
    rows, columns, weights = [], [], []
    first_row = 0
    with torch.inference_mode(False):  # the cached tensors must serve training as well
        for duration in range(max_duration):
            starts = torch.arange(length - duration).view(-1, 1, 1)
            for first_point, count in zip(accumulate((0, *points)), points, strict=False):
                positions = sample_positions(duration, count, compat)
                point = torch.arange(first_point, first_point + count).view(1, -1, 1)
                lower, lower_weight, upper_weight = _taps(starts + positions, length)
                for snippet, weight in ((lower, lower_weight), (lower + 1, upper_weight)):
                    kept = weight > 0
                    rows.append((first_row + starts).expand_as(snippet)[kept])
                    columns.append((snippet * stride + point)[kept])
                    weights.append(weight[kept] / positions.shape[1])
            first_row += length - duration
        row, column, weight = torch.cat(rows), torch.cat(columns), torch.cat(weights)
        anchors, sources = first_row, length * stride
        return AlignOperator(
            _sparse_rows(row, column, weight, (anchors, sources), dtype, device),
            _sparse_rows(column, row, weight, (sources, anchors), dtype, device),
        )


def _sparse_rows(
    row: Tensor, column: Tensor, weight: Tensor, shape: tuple[int, int], dtype: torch.dtype, device: torch.device
) -> SparseRows:
    rows, columns = shape
    # Several samples of a bin may meet the same snippet: `unique` sorts the cells by row and merges those.
    cell, place = torch.unique(row * columns + column, return_inverse=True)
    weight = torch.zeros(len(cell), dtype=weight.dtype).index_add_(0, place, weight)
    per_row = torch.bincount(cell // columns, minlength=rows)
    offsets = per_row.cumsum(0) - per_row
    return SparseRows(
        columns, (cell % columns).int().to(device), offsets.int().to(device), weight.to(device=device, dtype=dtype)
    )


BLOCKS = 4
"""The kernel is brought into the order of the products in this many parts, so that there is no second copy of it."""


class _FusedAlign(torch.autograd.Function):
    """Projection for every sampling point, then the sparse sum; kept for the backward pass are the arguments only.

    ``sources``: ``[B, L, C]`` each, with as many points as ``points`` says; ``weight`` ``[O, C * sum(points)]``. Result
    ``[B, N, O]``.
    """

    @staticmethod
    def forward(
        ctx: Any, operator: AlignOperator, points: tuple[int, ...], weight: Tensor, bias: Tensor, *sources: Tensor
    ) -> Tensor:
        ctx.operator, ctx.points = operator, points
        ctx.save_for_backward(weight, *sources)
        videos, length, channels = sources[0].shape
        projected = weight.new_empty(videos, length, sum(points), len(weight))
        for index, block in _point_blocks(points):
            kernel = weight.view(len(weight), channels, -1)[:, :, block].permute(2, 0, 1).flatten(0, 1)
            projected[:, :, block] = (sources[index] @ kernel.T).view(videos, length, -1, len(weight))
            del kernel
        return operator.rows.times(projected.view(videos, -1, len(weight))).add_(bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, *sources = ctx.saved_tensors
        points: tuple[int, ...] = ctx.points
        videos, length, channels = sources[0].shape
        out, total = len(weight), sum(points)
        projected = ctx.operator.transposed.times(gradient.contiguous()).view(videos, length, total, out)
        of_sources = [torch.zeros_like(source) for source in sources]
        for index, block in _point_blocks(points):
            kernel = weight.view(out, channels, -1)[:, :, block].permute(2, 0, 1).flatten(0, 1)
            of_sources[index] += projected[:, :, block].flatten(2) @ kernel
            del kernel
        of_weight = torch.empty_like(weight)
        first = 0
        for source, count in zip(sources, points, strict=True):
            by_point = of_weight.view(out, channels, total)[:, :, first : first + count].permute(0, 2, 1)
            for start in range(0, out, -(-out // BLOCKS)):
                block = slice(start, min(start - (-out // BLOCKS), out))
                part = projected[:, :, first : first + count, block].permute(3, 2, 0, 1).flatten(2).flatten(0, 1)
                by_point[block] = (part @ source.flatten(0, 1)).view(-1, count, channels)
            first += count
        return None, None, of_weight, gradient.sum(dim=(0, 1)), *of_sources


def _point_blocks(points: tuple[int, ...]) -> Iterator[tuple[int, slice]]:
    """Parts of the points of one source, as (source, slice)."""
    size, first = -(-sum(points) // BLOCKS), 0
    for index, count in enumerate(points):
        for start in range(0, count, size):
            yield index, slice(first + start, first + min(start + size, count))
        first += count


class SGAlign(nn.Module):
    """Align inner features at ``inner_points`` and context features at ``context_points``, then a 1x1 convolution.

    ``projection.weight`` is ``[out, C * (inner_points + context_points)]``, the points of a channel side by side, as in
    the released network. The result does not depend on ``form`` beyond rounding.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        inner_points: int = 32,
        context_points: int = 4,
        compat: Compat = "fixed",
        form: Form = "fused",
    ) -> None:
        super().__init__()
        check_compat(compat)
        if form not in get_args(Form):
            raise ValueError(f"SGAlign form is {form!r}; allowed: {', '.join(get_args(Form))}")
        self.channels, self.points = channels, (inner_points, context_points)
        self.compat: Compat = compat
        self.form: Form = form
        self.projection = nn.Linear(channels * sum(self.points), out)

    def forward(self, features: Tensor, context: Tensor, max_duration: int) -> Tensor:
        """Align and project.

        Args:
            features: ``[B, C, L]``.
            context: ``[B, C, L]``, for each snippet the mean of its semantic neighbours.
            max_duration: D, at most L.

        Returns:
            ``[B, N, out]`` for the N valid anchors, duration-major (:func:`models.heads.anchors.anchor_cells`).
        """
        form = self._plain if self.form == "plain" else self._fused
        return form((features, context), max_duration)

    def _plain(self, sources: tuple[Tensor, Tensor], max_duration: int) -> Tensor:
        aligned = [
            align_plain(source, max_duration, count, self.compat)
            for source, count in zip(sources, self.points, strict=True)
        ]
        projected: Tensor = self.projection(torch.cat(aligned, dim=3).flatten(2))
        return projected

    def _fused(self, sources: tuple[Tensor, Tensor], max_duration: int) -> Tensor:
        device, weight, bias = sources[0].device, self.projection.weight, self.projection.bias
        dtype = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else weight.dtype
        operator = align_operator(sources[0].shape[2], max_duration, self.points, self.compat, dtype, device)
        used = [source.transpose(1, 2).to(dtype) for source in sources]
        aligned: Tensor = _FusedAlign.apply(operator, self.points, weight.to(dtype), bias.to(dtype), *used)
        return aligned
