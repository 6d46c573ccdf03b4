"""What the temporal module inside an encoder does with clips, for pictures of it (Fayyaz et al., figure A.5)."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.encoders.staged import StagedEncoder
from models.temporal.fixed_pool import FixedPool
from models.temporal.grid_pool import GridPool
from models.temporal.sgs import SGS


class Look(NamedTuple):
    """Of N clips of T frames, as they come to the module; of an encoder with two pathways the second, fast one.

    Attributes:
        before: mean absolute feature at each position, ``[N, T, h, w]``.
        after: behind the module, ``[N, T', h, w]``; zeros past a clip's own frames.
        frames: how many of the T' are real, ``[N]``.
        weights: what each takes of each frame, ``[N, T', T]``; SGS only.
        positions: where each lies on the clip's time axis, in its frames, ``[N, T']``; Grid Pool and fixed pools.
    """

    before: Tensor
    after: Tensor
    frames: Tensor
    weights: Tensor | None
    positions: Tensor | None


@torch.inference_mode()
def look(encoder: StagedEncoder, pixels: Tensor) -> Look:
    """Encode ``[N, 3, T, H, W]`` (normalised) in evaluation mode and see what the module does.

    Raises:
        ValueError: there is no module in the encoder, or there are several.
    """
    if len(encoder.after) != 1:
        raise ValueError(f"there are {len(encoder.after)} temporal modules in the encoder; one is needed")
    module = next(iter(encoder.after.values()))
    seen: list[tuple[Any, Any]] = []
    handle = module.register_forward_hook(lambda _module, given, out: seen.append((given[0], out)))
    modes = [(child, child.training) for child in encoder.modules()]
    try:
        encoder.eval().encode(pixels)
    finally:
        handle.remove()
        for child, training in modes:
            child.training = training
    x, (y, layout) = seen[0]
    if isinstance(x, tuple):
        x, y, layout, module = x[-1], y[-1], layout[-1], list(module.children())[-1]
    count = torch.full((len(y),), y.shape[2]) if layout is None else layout.mask.flatten(1).sum(dim=1).long()
    return Look(_map(x), _map(y), count, _weights(module, x), _positions(module, x))


def _map(x: Tensor) -> Tensor:
    return x.abs().mean(dim=1)


def _weights(module: nn.Module, x: Tensor) -> Tensor | None:
    return module.weights(x)[0] if isinstance(module, SGS) else None


def _positions(module: nn.Module, x: Tensor) -> Tensor | None:
    if isinstance(module, GridPool):
        return module.sample(x).grid * (x.shape[2] - 1)
    return module.grid(x.shape[2], x.device).expand(len(x), -1) if isinstance(module, FixedPool) else None
