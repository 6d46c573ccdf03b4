"""How a long-form training goes: AdamW, a rate that rises and falls linearly, and where it is kept while it runs."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from pipeline.run.params import Section

if TYPE_CHECKING:
    from torch import nn

    from pipeline.training.loop import TrainResult


class Schedule(Section):
    """How a training goes; the defaults are the thesis' end tasks (section 8.4)."""

    steps: int = Field(ge=0, description="optimiser steps; 0, of an end task: ten epochs, as in the thesis")
    batch: int = Field(16, ge=1, description="spans; in pre-training, pairs of them")
    lr: float = Field(2e-5, gt=0)
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    validate_every: int = Field(0, ge=0, description="steps between validations; 0 validates at the end only")
    seed: int = Field(0, ge=0)
    threads: int = Field(1, ge=1, description="torch threads; part of what makes equal bytes")

    def but(self, **values: Any) -> "Schedule":
        """The same with other values."""
        return Schedule.model_validate(self.model_dump() | values)


class Kept(NamedTuple):
    """Where a training is kept, so that it goes on after a kill, its name there, and who is told of its steps."""

    checkpoint: Path | None = None
    fingerprint: str = ""
    on_step: Callable[[int, int, dict[str, float]], None] | None = None


NOT_KEPT = Kept()


def train_model(
    model: "nn.Module",
    loss: Any,
    batches: Any,
    schedule: Schedule,
    validate: Any = None,
    metric: str = "",
    kept: Kept = NOT_KEPT,
) -> "TrainResult":
    """Train in place; see :func:`pipeline.training.loop.train`."""
    from pipeline.training.device import device, set_threads
    from pipeline.training.loop import train
    from pipeline.training.optim import make_optimizer

    set_threads(schedule.threads)
    model.to(device()).train()
    optimizer = make_optimizer(model, "adamw", schedule.lr, weight_decay=schedule.weight_decay, decay_norm_bias=False)
    rise = round(schedule.warmup * schedule.steps)
    return train(
        model, loss, batches, steps=schedule.steps, optimizer=optimizer, lr=linear(schedule.steps, rise),
        seed=schedule.seed, clip_norm=schedule.clip_norm, validate=validate, validate_every=schedule.validate_every,
        metric=metric, log_every=max(1, schedule.steps // 10), checkpoint=kept.checkpoint, fingerprint=kept.fingerprint,
        on_step=kept.on_step,
    )  # fmt: skip


def linear(steps: int, warmup: int) -> Callable[[int], float]:
    """A learning rate that rises linearly over ``warmup`` steps and falls linearly to 0 at ``steps``."""
    return lambda step: min((step + 1) / max(warmup, 1), (steps - step) / max(steps - warmup, 1))
