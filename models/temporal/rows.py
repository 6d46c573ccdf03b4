"""Ragged batches packed, so that clips with fewer frames really cost less.

Two forms. :func:`in_one_row` lays the clips one behind the other in a single row: few, large operations, at the price of
one empty frame per clip. :func:`encode_by_length` cuts the batch into one per length behind the module that made it
ragged: no empty frame at all, but more and smaller operations.
"""

from collections.abc import Callable
from itertools import groupby, pairwise

import torch
from torch import Tensor

from models.encoders.ragged import Layout, padded
from models.encoders.staged import StagedEncoder
from models.temporal.fixed_pool import clip_lengths

GAP = 1
"""Empty frames between two clips of a row: all temporal kernels behind a temporal module are at most 3 long."""


def in_one_row(x: Tensor, lengths: Tensor) -> tuple[Tensor, Layout]:
    """Padded clips ``[N, C, T, H, W]`` to one row ``[1, C, sum(lengths) + N - 1, H, W]`` and its layout."""
    clips, frames = x.shape[0], x.shape[2]
    wide = torch.arange(frames + GAP, device=x.device) < lengths.unsqueeze(1) + GAP
    clip, step = (index[: -GAP or None] for index in wide.nonzero(as_tuple=True))
    real = step < lengths[clip]
    row = x.transpose(0, 1).flatten(1, 2).index_select(1, clip * frames + step.clamp(max=frames - 1))
    mask = real.to(x.dtype)[None, None, :, None, None]
    return row.unsqueeze(0) * mask, Layout(mask, clip.unsqueeze(0), clips)


def encode_by_length(
    encoder: StagedEncoder,
    pixels: Tensor,
    head: Callable[[Tensor, Layout | None], Tensor],
    most: int | None = None,
) -> Tensor:
    """Encode and apply ``head``, the batch cut by length from where a temporal module made its clips unequal.

    Args:
        encoder: of one pathway.
        pixels: ``[B, 3, T, H, W]``, normalised.
        head: from features ``[n, D, T', H', W']`` and their layout to ``[n, ...]``.
        most: batches; None cuts one per distinct length, a number at most so many, with padding inside.

    Returns:
        ``[B, ...]``, what ``head`` gives for each clip alone.

    Raises:
        ValueError: the module packs its clips in one row.
    """
    x, layout = encoder.start(pixels), encoder.start_layout(None)
    names = list(encoder.stage_names)
    while names and layout is None:
        x, layout = _run(encoder, names.pop(0), x, layout)
    if layout is None:
        return head(*encoder.finish(x, None))
    lengths = clip_lengths(layout)
    counts = lengths.tolist()
    parts = chunks(counts, most)
    results = []
    for part in parts:
        index = torch.tensor(part, device=x.device)
        longest, ragged = counts[part[-1]], counts[part[0]] != counts[part[-1]]
        y, at = x[:, :, :longest].index_select(0, index), padded(lengths[index], longest, x.dtype) if ragged else None
        for name in names:
            y, at = _run(encoder, name, y, at)
        results.append(head(*encoder.finish(y, at)))
    order = torch.tensor([i for part in parts for i in part], device=x.device)
    return torch.cat(results).index_select(0, order.argsort())


def _run(encoder: StagedEncoder, name: str, x: Tensor, layout: Layout | None) -> tuple[Tensor, Layout | None]:
    """One stage and the module behind it, as ``StagedEncoder.forward_stages`` runs them."""
    module = dict(encoder.after.items()).get(name)
    before_relu = bool(getattr(module, "before_relu", False))
    x, layout = encoder.run_stage(name, x, layout, not before_relu), encoder.stage_layout(name, layout)
    if module is not None:
        x, layout = module(x, layout)
    return (x.relu() if before_relu else x), layout


def chunks(lengths: list[int], most: int | None) -> list[list[int]]:
    """Clips sorted by length and cut into at most ``most`` batches with as little padding as possible.

    Args:
        lengths: of each clip.
        most: batches; None makes one per distinct length, so without any padding.

    Returns:
        indices of the clips of each batch, shortest batch first.

    Raises:
        ValueError: ``most`` below 1.
    """
    if most is not None and most < 1:
        raise ValueError(f"at most {most} batches; it must be at least 1, or None")
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    runs = [list(run) for _, run in groupby(order, key=lambda i: lengths[i])]
    if most is None or len(runs) <= most:
        return runs

    def cost(first: int, last: int) -> int:  # frames of runs first..last in one batch
        return sum(map(len, runs[first : last + 1])) * lengths[runs[last][0]]

    # best[k]: the cheapest cut of runs 0..k into the number of batches so far, and the run each batch begins with.
    best = [(cost(0, k), [0]) for k in range(len(runs))]
    for count in range(1, most):
        best = [
            min((best[j - 1][0] + cost(j, k), [*best[j - 1][1], j]) for j in range(count, k + 1)) if k >= count else one
            for k, one in enumerate(best)
        ]
    starts = [*best[-1][1], len(runs)]
    return [[i for run in runs[a:b] for i in run] for a, b in pairwise(starts)]
