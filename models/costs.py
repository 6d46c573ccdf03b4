"""What a model costs, as the papers count it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(module: nn.Module) -> int:
    """Number of trainable and frozen parameters; buffers do not count."""
    return sum(parameter.numel() for parameter in module.parameters())


def conv_macs(module: nn.Module, *inputs: Tensor) -> int:
    """Multiply-accumulates of the convolutions in one forward pass (the papers' "FLOPs" of an encoder).

    Only shapes matter: pass a module and inputs on the ``meta`` device to count without computing.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    flops: dict[Any, int] = counter.get_flop_counts()["Global"]
    return sum(count for operator, count in flops.items() if "convolution" in str(operator)) // 2
