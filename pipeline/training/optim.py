"""Optimisers and learning-rate schedules from plain values.

A schedule is a pure function from the step to a factor on each parameter group's own base rate, so there is no
scheduler object whose state could be lost or stepped twice.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

LrSchedule = Callable[[int], float]
"""Step (from 0) to the factor on the base learning rate."""

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "step", "cosine", "one_cycle")

# Torch's OneCycleLR defaults: start at 1/25 of the peak, rise over 30 % of the steps.
_ONE_CYCLE_START, _ONE_CYCLE_RISE = 1 / 25, 0.3


def make_optimizer(
    model: nn.Module,
    name: str,
    lr: float,
    *,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    multipliers: Mapping[str, float] | None = None,
    decay_norm_bias: bool = True,
) -> torch.optim.Optimizer:
    """An optimiser over the trainable parameters of ``model``.

    Args:
        model: parameters with ``requires_grad`` False are left out.
        name: "sgd", "adam" (L2 decay in the gradient, as G-TAD) or "adamw" (decoupled).
        lr: base learning rate.
        momentum: of SGD; LoFi uses 0 (section 3.3).
        weight_decay: on every group, but see ``decay_norm_bias``.
        multipliers: parameter-name prefix to a factor on ``lr``, e.g. ``{"encoder.": 0.1}``; the longest prefix counts.
        decay_norm_bias: False exempts one-dimensional parameters (norm scales and all biases) from weight decay.

    Raises:
        ValueError: unknown name, nothing to train, or a prefix that matches no trainable parameter.
    """
    settings = parameter_groups(
        model,
        lr,
        weight_decay,
        multipliers or {},
        decays=lambda _, parameter: decay_norm_bias or parameter.ndim > 1,
        default=1.0,
    )
    if name == "sgd":
        return torch.optim.SGD(settings, lr=lr, momentum=momentum)
    if name == "adam":
        return torch.optim.Adam(settings, lr=lr)
    if name == "adamw":
        return torch.optim.AdamW(settings, lr=lr)
    raise ValueError(f"optimizer {name!r} is unknown; allowed: {', '.join(OPTIMIZERS)}")


def parameter_groups(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    multipliers: Mapping[str, float],
    *,
    decays: Callable[[str, nn.Parameter], bool],
    default: float | None,
    stem: str = "",
) -> list[dict[str, Any]]:
    """Groups of the trainable parameters of ``model`` with equal learning rate and decay, as torch's optimisers take them.

    Args:
        model: parameters with ``requires_grad`` False are left out.
        lr: base learning rate.
        weight_decay: of the parameters that decay.
        multipliers: beginning of a parameter's name to a factor on ``lr``; the longest that fits counts.
        decays: whether a parameter (name, parameter) does.
        default: factor where no beginning fits; None: that is an error.
        stem: taken off the beginning of names first.

    Raises:
        ValueError: a parameter without a factor, a multiplier that fits none, or nothing to train.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    unused = set(multipliers)
    for key, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        name = key.removeprefix(stem)
        fitting = [begin for begin in multipliers if name.startswith(begin)]
        unused.difference_update(fitting)
        factor = multipliers[max(fitting, key=len)] if fitting else default
        if factor is None:
            raise ValueError(f"no learning-rate multiplier of {sorted(multipliers)} fits the parameter {key!r}")
        groups.setdefault((factor, weight_decay if decays(name, parameter) else 0.0), []).append(parameter)
    if unused:
        raise ValueError(f"learning-rate multipliers for {sorted(unused)} match no trainable parameter of the model")
    if not groups:
        raise ValueError("the model has no trainable parameter")
    # `initial_lr` is torch's own name for a group's base rate; it travels in the optimiser's state.
    return [
        {"params": parameters, "lr": lr * factor, "initial_lr": lr * factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]


def lr_schedule(
    name: str,
    steps: int,
    *,
    warmup: int = 0,
    every: int = 0,
    milestones: Sequence[int] = (),
    gamma: float = 0.5,
    final: float = 0.0,
) -> LrSchedule:
    """A learning-rate schedule over ``steps`` steps.

    Args:
        name: "constant"; "step", x ``gamma`` after each ``every`` steps (LoFi: 0.5 each 5 epochs, G-TAD: 0.1) or from each
            of ``milestones`` on; "cosine" from 1 to ``final``; "one_cycle", cosine from 1/25 to 1 and on to ``final`` at
            the last step.
        steps: of the whole training.
        warmup: steps of a linear ramp 1/warmup .. 1 that multiplies the schedule; for "one_cycle" the length of its own
            rise instead, 0 meaning 30 % of the steps.
        every: period of "step".
        milestones: steps of "step" instead of a period, rising (thesis 7.2.1: 100k and 120k of 140k; CoViAR's lr-steps).
        gamma: factor of "step".
        final: end of "cosine" and "one_cycle", as a factor.

    Raises:
        ValueError: unknown name or a length that does not fit.
    """
    if steps < 1 or not 0 <= warmup <= steps:
        raise ValueError(f"steps is {steps} and warmup {warmup}; needed: steps >= 1 and 0 <= warmup <= steps")
    if name == "one_cycle":
        return _one_cycle(steps, warmup or _ONE_CYCLE_RISE * steps, final)
    if name == "constant":
        base: LrSchedule = lambda step: 1.0  # noqa: E731 - three one-line formulas side by side read best so
    elif name == "step":
        if (every > 0) == bool(milestones) or list(milestones) != sorted(set(milestones)):
            raise ValueError(
                f"every is {every} and milestones are {list(milestones)}; the schedule 'step' needs a period of at least 1 "
                "step, or milestones that rise"
            )
        if milestones:
            base = lambda step: gamma ** sum(step >= begin for begin in milestones)  # noqa: E731
        else:
            base = lambda step: gamma ** (step // every)  # noqa: E731
    elif name == "cosine":
        base = lambda step: _half_cosine(1.0, final, step / steps)  # noqa: E731
    else:
        raise ValueError(f"learning-rate schedule {name!r} is unknown; allowed: {', '.join(SCHEDULES)}")
    return lambda step: base(step) * min(1.0, (step + 1) / max(warmup, 1))


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2


def _one_cycle(steps: int, rise: float, final: float) -> LrSchedule:
    peak, end = rise - 1, steps - 1

    def factor(step: int) -> float:
        if step <= peak:
            return _half_cosine(_ONE_CYCLE_START, 1.0, step / max(peak, 1))
        return _half_cosine(1.0, final, (step - peak) / max(end - peak, 1))

    return factor


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to its base rate times ``factor``."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def clip_gradients(parameters: Iterable[torch.Tensor], max_norm: float | None) -> float:
    """Scale the gradients down to a total L2 norm of ``max_norm`` (None: never); returns the norm before."""
    with_gradient = [parameter for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in with_gradient if parameter.grad is not None])
    if max_norm is not None:
        nn.utils.clip_grads_with_norm_(with_gradient, max_norm, norm)
    return float(norm)
