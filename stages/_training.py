"""What the training stages share: the optimisation part of their sections, and the loop tied to a stage's context."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt, model_validator

from pipeline.run.files import write_json
from pipeline.run.params import Section
from pipeline.run.stage import Context

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from pipeline.training.loop import TrainResult
    from pipeline.training.optim import LrSchedule


class Optimisation(Section):
    """How a training goes; the same fields for every training stage."""

    steps: int = Field(ge=1, description="optimiser steps")
    batch: int = Field(ge=1, description="clips or videos per step")
    optimizer: Literal["sgd", "adam", "adamw"]
    lr: float = Field(gt=0)
    momentum: float = Field(0.0, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(1e-4, ge=0)
    schedule: Literal["constant", "step", "cosine", "one_cycle"] = "constant"
    warmup: int = Field(0, ge=0, description="steps")
    decay_every: int = Field(0, ge=0, description="steps between decays of schedule step")
    milestones: tuple[PositiveInt, ...] = Field((), description="steps from which schedule step decays, in its place")
    gamma: float = Field(0.5, gt=0, le=1, description="factor of schedule step")
    clip_norm: float | None = Field(None, gt=0)
    precision: Literal["float32", "bf16"] = "float32"
    validate_every: int = Field(0, ge=0, description="steps between validations; 0 validates at the end only")
    checkpoint_s: float = Field(20.0, gt=0, description="seconds between checkpoints")
    threads: int = Field(2, ge=1, description="torch threads; part of what makes equal bytes")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _warm_up_ends(self) -> "Optimisation":
        if self.warmup > self.steps:
            raise ValueError(f"warmup is {self.warmup}, more than steps = {self.steps}")
        return self

    @model_validator(mode="after")
    def _one_way_to_decay(self) -> "Optimisation":
        if self.schedule != "step" and self.milestones:
            raise ValueError(f"milestones belong to schedule: step, not {self.schedule}")
        if self.milestones and self.decay_every:
            raise ValueError(
                f"decay_every is {self.decay_every} and milestones are {list(self.milestones)}: one of them"
            )
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones are {list(self.milestones)}; they must rise")
        return self


def prepare(options: Optimisation) -> None:
    """Fix threads, determinism and torch's global seed, before the model is built."""
    import torch

    from pipeline.training.device import set_deterministic, set_threads

    set_threads(options.threads)
    set_deterministic(strict=False)
    torch.manual_seed(options.seed)


def fit(
    context: Context,
    options: Optimisation,
    model: "nn.Module",
    loss: Callable[..., Mapping[str, Any]],
    batches: Callable[[int], Any],
    *,
    name: str,
    validate: "Callable[[nn.Module], Mapping[str, float]] | None" = None,
    metric: str = "",
    multipliers: Mapping[str, float] | None = None,
    optimizer: "Optimizer | None" = None,
    schedule: "LrSchedule | None" = None,
) -> "TrainResult":
    """Run one training of a stage: resumable in ``context.work``, shown in progress, logged; weights end as the best.

    Args:
        context: of the stage.
        options: the training's section.
        model: on its device, in the mode it is trained in.
        loss: see :func:`pipeline.training.loop.train`.
        batches: see there.
        name: of this training within the stage; names the checkpoint, the history file and the logged metrics.
        validate: see there.
        metric: see there.
        multipliers: learning-rate multiplier by parameter-name prefix.
        optimizer: one that is made already, in place of that of ``options``.
        schedule: likewise.
    """
    from pipeline.training.loop import train
    from pipeline.training.optim import lr_schedule, make_optimizer

    optimizer = optimizer or make_optimizer(
        model,
        options.optimizer,
        options.lr,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        multipliers=multipliers,
    )
    schedule = schedule or lr_schedule(
        options.schedule, options.steps, warmup=options.warmup, every=options.decay_every, milestones=options.milestones,
        gamma=options.gamma,
    )  # fmt: skip
    context.progress.start(f"{name} steps", options.steps)

    def on_step(done: int, _total: int, values: dict[str, float]) -> None:
        context.progress.update(done, note=f"loss {values['total']:.3f}")
        if done % 10 == 0 or done == options.steps:
            context.log(done, {f"{name}/{key}": value for key, value in values.items()})

    result = train(
        model,
        loss,
        batches,
        steps=options.steps,
        optimizer=optimizer,
        lr=schedule,
        seed=options.seed,
        precision=options.precision,
        clip_norm=options.clip_norm,
        validate=validate,
        validate_every=options.validate_every,
        metric=metric,
        log_every=10,
        checkpoint=context.work / f"{name}.pt",
        fingerprint=f"{context.fingerprint}/{name}",
        checkpoint_seconds=options.checkpoint_s,
        on_step=on_step,
    )
    for row in result.history:
        if metric and metric in row:
            context.log(int(row["step"]), {f"{name}/{metric}": row[metric]})
    model.load_state_dict(result.best_state)
    write_json(context.result / "history" / f"{name}.json", result.history)
    return result
