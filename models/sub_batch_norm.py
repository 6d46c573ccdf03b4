"""Batch normalisation over parts of a mini-batch, so that its statistics do not change with the batch (thesis, 6.1.2)."""

from typing import Any

import torch
from torch import Tensor, nn


class SubBatchNorm3d(nn.BatchNorm3d):
    """Batch normalisation that, in training, normalises each of ``parts`` parts of the batch by its own statistics.

    Clip i belongs to part ``i mod parts``. The running statistics are those of the whole batch (the mean of the parts'
    means; the mean of their variances plus the variance of their means), so nothing needs gathering before evaluation, the
    number of parts may change at any step, and parameters and buffers are a plain ``BatchNorm3d``'s.
    """

    parts = 1

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, T, H, W]`` to the same.

        Raises:
            ValueError: the parts do not divide N.
        """
        if not self.training or self.parts == 1:
            return super().forward(x)
        if len(x) % self.parts:
            raise ValueError(f"{self.parts} parts do not divide a batch of {len(x)} clips")
        split = x.reshape(len(x) // self.parts, self.parts * x.shape[1], *x.shape[2:])
        weight, bias = (None if one is None else one.repeat(self.parts) for one in (self.weight, self.bias))
        out, mean, inverse = torch.native_batch_norm(split, weight, bias, None, None, True, 0.0, self.eps)
        if self.track_running_stats:
            self._track(mean.view(self.parts, -1), inverse.view(self.parts, -1), x.numel() // x.shape[1])
        return out.view(x.shape)

    @torch.no_grad()
    def _track(self, mean: Tensor, inverse: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        variance = (inverse.square().reciprocal() - self.eps).mean(dim=0) + mean.var(dim=0, unbiased=False)
        self.running_mean.lerp_(mean.mean(dim=0).to(self.running_mean.dtype), share)
        self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var.dtype), share)


def with_sub_batches(module: nn.Module) -> nn.Module:
    """Let every ``BatchNorm3d`` below ``module`` work on parts, in place: same parameters, same state keys."""
    for child in module.modules():
        if type(child) is nn.BatchNorm3d:
            child.__class__ = SubBatchNorm3d
    return module


def set_parts(module: nn.Module, parts: int) -> None:
    """Set the number of parts of every :class:`SubBatchNorm3d` below ``module``; 1 is plain batch normalisation.

    Raises:
        ValueError: fewer than 1 part, or there is none that could be set.
    """
    found: list[Any] = [child for child in module.modules() if isinstance(child, SubBatchNorm3d)]
    if parts < 1 or not found:
        raise ValueError(
            f"{parts} parts for {len(found)} normalisations; both must be at least 1 (see with_sub_batches)"
        )
    for child in found:
        child.parts = parts
