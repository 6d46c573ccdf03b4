"""Adam with learning rates and weight decay by parameter name: how CoViAR is trained.

Its released recipe (the thesis names only the factor 100): Adam with eps 1e-3, weight decay on everything
but biases (norm scales do decay), learning rate x 1 for the new classifier, x 0.1 for the stem, which is new for motion and
residuals, and x 0.01 for the pre-trained rest.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from pipeline.training.optim import parameter_groups

REST = ""
"""Key of the multiplier of all parameters that no other key names."""

PRETRAINED: Mapping[str, float] = {"fc.": 1.0, "data_bn.": 0.1, "conv1.": 0.1, "bn1.": 0.1, REST: 0.01}
"""CoViAR's multipliers for motion and residual networks that begin with ImageNet weights."""
PRETRAINED_PICTURES: Mapping[str, float] = {"fc.": 1.0, REST: 0.01}
"""The same for the I-frame network, whose stem is pre-trained too."""


def adam_by_name(
    model: nn.Module,
    lr: float,
    *,
    multipliers: Mapping[str, float],
    stem: str = "",
    eps: float = 1e-3,
    weight_decay: float = 1e-4,
    undecayed: Sequence[str] = ("bias",),
) -> torch.optim.Adam:
    """Adam (L2 decay in the gradient) over the trainable parameters of ``model``.

    Args:
        model: parameters with ``requires_grad`` False are left out.
        lr: base learning rate.
        multipliers: beginning of a parameter's name, after ``stem`` is taken off it, to a factor on ``lr``; the longest
            that fits counts, ``REST`` fits all.
        stem: beginning of names that is not part of the rules, such as ``"backbone."``.
        eps: of Adam.
        weight_decay: of every parameter whose name holds none of ``undecayed``.
        undecayed: parts of names.

    Raises:
        ValueError: a parameter that no multiplier fits, a multiplier that fits no parameter, or nothing to train.
    """
    settings = parameter_groups(
        model,
        lr,
        weight_decay,
        multipliers,
        decays=lambda name, _: not any(part in name for part in undecayed),
        default=None,
        stem=stem,
    )
    return torch.optim.Adam(settings, lr=lr, eps=eps)
