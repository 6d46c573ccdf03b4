"""Batch statistics of ragged clips in training: those of real frames only."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.encoders.ragged import Layout


@contextmanager
def real_statistics(stage: nn.Module, *layouts: Layout | None) -> Iterator[None]:
    """While active, batch normalisations below ``stage`` that are in training see the real frames and nothing else.

    Their result is 0 in the other frames. Without this the padding would count in mean and variance, and the running
    statistics would not be those of evaluation, where no frame is padding.

    Args:
        stage: what runs on the features.
        layouts: of its input and its output, told apart by their number of frames; features of another one are left alone.
    """
    masks = {layout.mask.shape[2]: layout.mask[:, 0, :, 0, 0] > 0 for layout in layouts if layout is not None}
    with ExitStack() as stack:
        if any(not bool(mask.all()) for mask in masks.values()):
            for child in stage.modules():
                if isinstance(child, _BatchNorm) and child.training:
                    open_masks: list[Tensor | None] = []
                    for handle in (
                        child.register_forward_pre_hook(lambda m, args, o=open_masks: _pack(args[0], masks, o)),
                        child.register_forward_hook(lambda m, args, out, o=open_masks: _unpack(out, o)),
                    ):
                        stack.callback(handle.remove)
        yield


def _pack(x: Tensor, masks: dict[int, Tensor], open_masks: list[Tensor | None]) -> Tensor:
    """``[B, C, T, H, W]`` to its real frames, each a clip of one frame; ``[B * T, C, H, W]`` (TSM) to its real rows."""
    if x.dim() == 5:
        mask = masks.get(x.shape[2])
    else:
        mask = next((one.flatten() for one in masks.values() if one.numel() == len(x)), None)
    open_masks.append(mask)
    if mask is None:
        return x
    return x.transpose(1, 2)[mask].unsqueeze(2) if mask.dim() == 2 else x[mask]


def _unpack(out: Tensor, open_masks: list[Tensor | None]) -> Tensor:
    mask = open_masks.pop()
    if mask is None:
        return out
    if mask.dim() == 1:
        return out.new_zeros((len(mask), *out.shape[1:])).index_put(mask.nonzero(as_tuple=True), out)
    full = out.new_zeros((*mask.shape, out.shape[1], *out.shape[3:]))
    return full.index_put(mask.nonzero(as_tuple=True), out.squeeze(2)).transpose(1, 2)
