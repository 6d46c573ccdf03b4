"""Batch normalisation in training: keep the statistics as they are, or let them run."""

from typing import Literal, get_args

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Norm = Literal["frozen", "running"]


def freeze_statistics(module: nn.Module) -> None:
    """Put every batch normalisation below ``module`` in evaluation mode; scale and shift still learn.

    With frozen statistics a snippet's features do not depend on the batch, so chunked encoding and accumulated
    gradients are exact. ``module.train()`` undoes it: use :func:`train_mode`.
    """
    for child in module.modules():
        if isinstance(child, _BatchNorm):
            child.eval()


def train_mode(module: nn.Module, norm: Norm) -> None:
    """``module.train()`` with the batch statistics ``frozen`` (LoFi's default) or ``running``.

    Raises:
        ValueError: ``norm`` is neither.
    """
    if norm not in get_args(Norm):
        raise ValueError(f"norm is {norm!r}; allowed: {', '.join(get_args(Norm))}")
    module.train()
    if norm == "frozen":
        freeze_statistics(module)
