"""Small encoders whose every layer matters: random statistics and scales, no zero-initialised branch."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def alive(module: nn.Module, seed: int = 0) -> nn.Module:
    """``module`` in evaluation mode with random batch normalisation, so that no branch is switched off."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for child in module.modules():
            if isinstance(child, _BatchNorm):
                assert child.running_mean is not None and child.running_var is not None
                child.running_mean.normal_(0, 0.1, generator=generator)
                child.running_var.uniform_(0.5, 1.5, generator=generator)
                child.weight.uniform_(0.5, 1.5, generator=generator)
    return module.eval()


def clips(count: int, frames: int, size: int = 32, seed: int = 0) -> torch.Tensor:
    """``[count, 3, frames, size, size]``, each clip with less change than the one before; the last is a still."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(count, 3, 1, size, size, generator=generator)
    change = torch.randn(count, 3, frames, size, size, generator=generator)
    change = change + 3 * torch.randn(count, 3, frames, 1, 1, generator=generator)
    return base + change * torch.linspace(1, 0, count).view(-1, 1, 1, 1, 1)
