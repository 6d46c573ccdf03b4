"""Activation checkpointing: chosen modules keep their inputs only and compute their activations again when needed."""

from collections.abc import Sequence
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(modules: Sequence[nn.Module]) -> None:
    """Let each of ``modules`` (such as the residual blocks of an encoder) recompute its activations, in place.

    Names, parameters and results stay; a training step takes about one forward pass of them longer. In evaluation, without
    gradients, nothing changes. Modules must not contain one another.

    Raises:
        ValueError: no module, or one that is treated already.
    """
    if not modules:
        raise ValueError("there is no module to recompute")
    for module in modules:
        if isinstance(module.forward, partial):
            raise ValueError(f"{type(module).__name__} is recomputed already")
    for module in modules:
        # On the instance: the class stays, and with it names in state_dict.
        module.forward = partial(checkpoint, module.forward, use_reentrant=False)
