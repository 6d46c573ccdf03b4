"""What a model costs, as the papers count it and as it runs here."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

FLAG = "reference_form"


class Cost(NamedTuple):
    """One forward pass in multiply-accumulates, each counted once.

    Attributes:
        params: trainable and frozen parameters; buffers do not count.
        conv_macs: of the convolutions, in the form the papers write down (their "FLOPs").
        macs: of convolutions, linear layers and matrix products in that form. Normalisation, activations, pooling,
            interpolation and element-wise products count nothing.
        executed_macs: the same of the form that runs here, which may reach the same result with less.
    """

    params: int
    conv_macs: int
    macs: int
    executed_macs: int


def cost(module: nn.Module, *inputs: Tensor) -> Cost:
    """Count parameters and one forward pass in evaluation mode.

    A submodule that runs in another form than the papers' has a flag ``reference_form``, False as it runs here.
    Only shapes matter: pass a module and inputs on the ``meta`` device to count without computing.
    """
    executed = reference = _macs(module, inputs)
    if any(hasattr(child, FLAG) for child in module.modules()):
        with reference_form(module):
            reference = _macs(module, inputs)
    convolutions = sum(count for operator, count in reference.items() if "convolution" in operator)
    return Cost(parameters(module), convolutions, sum(reference.values()), sum(executed.values()))


@contextmanager
def reference_form(module: nn.Module) -> Iterator[None]:
    """Within it, every submodule with a flag ``reference_form`` computes as the papers write it."""
    switched = [child for child in module.modules() if getattr(child, FLAG, None) is False]
    for child in switched:
        setattr(child, FLAG, True)
    try:
        yield
    finally:
        for child in switched:
            setattr(child, FLAG, False)


def parameters(module: nn.Module) -> int:
    """Number of trainable and frozen parameters; buffers do not count."""
    return sum(parameter.numel() for parameter in module.parameters())


def conv_macs(module: nn.Module, *inputs: Tensor) -> int:
    """Multiply-accumulates of the convolutions in one forward pass as it runs (the papers' "FLOPs" of an encoder)."""
    return sum(count for operator, count in _macs(module, inputs).items() if "convolution" in operator)


def _macs(module: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, int]:
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(*inputs)
    finally:
        for child, training in modes:
            child.training = training
    flops: dict[Any, int] = counter.get_flop_counts()["Global"]
    return {str(operator): count // 2 for operator, count in flops.items()}
