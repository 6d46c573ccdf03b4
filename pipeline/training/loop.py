"""The training loop: one for encoder pre-training, heads on stored features, and LoFi end to end.

It takes plain values and functions and knows no model, no data set and no stage. Everything random is a pure function
of (seed, step), so a training killed anywhere goes on from its last checkpoint and ends with the same weights, bit for
bit, on the same machine with the same number of threads.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from pipeline.training.device import to_device
from pipeline.training.optim import LrSchedule, clip_gradients, set_lr
from pipeline.training.sampler import step_generator, step_seed

Loss = Callable[[Any, Any, torch.Generator], Mapping[str, Tensor]]
PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True)
class TrainResult:
    """What a training gives back.

    Attributes:
        history: one row of plain numbers for each ``log_every`` steps and each validation: ``step`` (steps done), the
            means of all loss terms, ``lr_factor`` and ``grad_norm`` since the row before, and the metrics.
        best_step: steps done when the metric was highest (the earliest of equals); ``steps`` without validation.
        best_state: the model's ``state_dict`` of that step, on the CPU.
    """

    history: list[dict[str, float]]
    best_step: int
    best_state: dict[str, Any]


def train(
    model: nn.Module,
    loss: Loss,
    batches: Callable[[int], Any],
    *,
    steps: int,
    optimizer: torch.optim.Optimizer,
    lr: LrSchedule,
    seed: int,
    precision: str = "float32",
    clip_norm: float | None = None,
    accumulate: int = 1,
    prefetch: bool = False,
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    validate_every: int = 0,
    metric: str = "",
    log_every: int = 1,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    checkpoint_every: int = 0,
    checkpoint_seconds: float = 60.0,
    on_step: Callable[[int, int, dict[str, float]], None] | None = None,
) -> TrainResult:
    """Train ``model`` in place for ``steps`` optimiser steps, or for what is left of them after ``checkpoint``.

    Args:
        model: on its device, in the modes (train, frozen BatchNorm) and memory format it shall be trained in.
        loss: (model, batch, generator) to named scalars, of which ``"total"`` is minimised. The generator is of this
            step and on the model's device; torch's global one (dropout) is seeded for the step as well.
        batches: the batch of a step (of micro-batch ``step * accumulate + i``), a pure function of that number.
        steps: of the whole training.
        optimizer: from :func:`~pipeline.training.optim.make_optimizer`.
        lr: from :func:`~pipeline.training.optim.lr_schedule`.
        seed: of everything random here.
        precision: "float32", or "bf16" for autocast.
        clip_norm: largest total gradient norm; None for no clipping.
        accumulate: micro-batches whose mean gradient makes one step; equals the big batch where the loss is a mean over
            items and nothing (BatchNorm) mixes them.
        prefetch: make the next batch in a background thread while this one is computed.
        validate: model to metrics, called without gradients or autocast and in evaluation mode; each module's own mode
            is put back after.
        validate_every: steps between validations; the last step is always validated.
        metric: which of the metrics decides which weights are best (highest).
        log_every: steps that a history row averages.
        checkpoint: file to go on from, if it is there, and to save to; None for neither.
        fingerprint: names this training; the checkpoint of another one is refused.
        checkpoint_every: steps between saves; 0 leaves it to the clock. The last step is always saved.
        checkpoint_seconds: also save when the last save is this long ago.
        on_step: (steps done, steps, values of this step), for progress.

    Raises:
        FloatingPointError: a loss term, the gradient (that step then changes no parameter) or the metric is not finite.
        CheckpointError: ``checkpoint`` is damaged or belongs to another training.
        ValueError: arguments that contradict each other, or a missing "total" or metric.
    """
    _check_arguments(steps, accumulate, precision, log_every, validate is not None, metric)
    where = next(model.parameters()).device
    state = _resume(model, optimizer, checkpoint, fingerprint, steps)
    saved_at = time.monotonic()
    stream = _stream(batches, state.step * accumulate, steps * accumulate, prefetch)

    with _own_random_state(where), closing(stream):
        for step in range(state.step, steps):
            factor = lr(step)
            set_lr(optimizer, factor)
            optimizer.zero_grad(set_to_none=True)
            terms: dict[str, float] = {}
            for micro in range(step * accumulate, (step + 1) * accumulate):
                batch = to_device(next(stream), where)
                torch.manual_seed(step_seed(seed, micro))
                with torch.autocast(where.type, torch.bfloat16, enabled=precision == "bf16"):
                    losses = loss(model, batch, step_generator(seed, micro, where))
                for name, value in _finite_terms(losses, step).items():
                    terms[name] = terms.get(name, 0.0) + value / accumulate
                (losses["total"] / accumulate).backward()  # type: ignore[no-untyped-call]
            grad_norm = clip_gradients(model.parameters(), clip_norm)
            if not math.isfinite(grad_norm):
                raise FloatingPointError(f"step {step}: the gradient is not finite (norm {grad_norm}); losses {terms}")
            optimizer.step()

            state.step = step + 1
            last = state.step == steps
            values = terms | {"lr_factor": factor, "grad_norm": grad_norm}
            state.window.append(values)
            if validate is not None and (last or (validate_every and state.step % validate_every == 0)):
                _close_row(state, _validate(model, validate, metric, state))
            elif last or state.step % log_every == 0:
                _close_row(state, {})
            due = checkpoint_every and state.step % checkpoint_every == 0
            if checkpoint is not None and (last or due or time.monotonic() - saved_at >= checkpoint_seconds):
                state.model, state.optimizer = model.state_dict(), optimizer.state_dict()
                save_checkpoint(checkpoint, state, fingerprint)
                saved_at = time.monotonic()
            if on_step is not None:
                on_step(state.step, steps, values)

    if state.best_step is None:
        return TrainResult(state.history, steps, _copy_to_cpu(model.state_dict()))
    return TrainResult(state.history, state.best_step, state.best_state)


def _check_arguments(steps: int, accumulate: int, precision: str, log_every: int, validates: bool, metric: str) -> None:
    for name, value in (("steps", steps), ("accumulate", accumulate), ("log_every", log_every)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is unknown; allowed: {', '.join(PRECISIONS)}")
    if validates != bool(metric):
        raise ValueError(f"validate and metric go together; metric is {metric!r}")


def _resume(
    model: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Path | None, fingerprint: str, steps: int
) -> TrainingState:
    if checkpoint is None or not checkpoint.exists():
        return TrainingState()
    state = load_checkpoint(checkpoint, fingerprint)
    if state.step > steps:
        raise ValueError(f"{checkpoint} is at step {state.step}, beyond the {steps} steps asked for")
    model.load_state_dict(state.model)
    optimizer.load_state_dict(state.optimizer)
    state.model, state.optimizer = {}, {}  # now in the model and the optimiser; a second copy would only cost memory
    return state


def _stream(batches: Callable[[int], Any], start: int, stop: int, prefetch: bool) -> Generator[Any, None, None]:
    """Yield batches start..stop-1, with ``prefetch`` each one made while the one before is in use."""
    if not prefetch:
        yield from map(batches, range(start, stop))
        return
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as pool:
        coming = pool.submit(batches, start)
        for number in range(start, stop):
            batch = coming.result()
            if number + 1 < stop:
                coming = pool.submit(batches, number + 1)
            yield batch


@contextmanager
def _own_random_state(where: torch.device) -> Iterator[None]:
    """Seed torch's global generators freely inside and give the caller's state back at the end."""
    with torch.random.fork_rng([where] if where.type == "cuda" else []):
        yield


def _finite_terms(losses: Mapping[str, Tensor], step: int) -> dict[str, float]:
    if "total" not in losses:
        raise ValueError(f"the loss returned {sorted(losses)}; it must have a term 'total'")
    # One transfer for all terms: each .item() would wait for the device once more.
    values = dict(zip(losses, torch.stack([v.detach().double() for v in losses.values()]).tolist(), strict=True))
    if bad := [name for name, value in values.items() if not math.isfinite(value)]:
        raise FloatingPointError(f"step {step}: loss term {', '.join(bad)} is not finite; all terms: {values}")
    return values


def _close_row(state: TrainingState, metrics: Mapping[str, float]) -> None:
    """Append a history row: the means over the window, and the metrics measured at its end."""
    columns: dict[str, list[float]] = {}
    for values in state.window:
        for name, value in values.items():
            columns.setdefault(name, []).append(value)
    means = {name: math.fsum(column) / len(column) for name, column in columns.items()}
    state.history.append({"step": state.step} | means | dict(metrics))
    state.window = []


def _validate(
    model: nn.Module, validate: Callable[[nn.Module], Mapping[str, float]], metric: str, state: TrainingState
) -> dict[str, float]:
    """Measure, and keep the weights when the metric is higher than ever before."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    with torch.no_grad():
        metrics = {name: float(value) for name, value in validate(model).items()}
    for module, mode in modes:
        module.training = mode
    if metric not in metrics:
        raise ValueError(f"validation returned {sorted(metrics)}; the metric {metric!r} is not among them")
    if not math.isfinite(metrics[metric]):
        raise FloatingPointError(f"after step {state.step} the metric {metric!r} is {metrics[metric]}")
    if metrics[metric] > state.best_value:
        state.best_step, state.best_value = state.step, metrics[metric]
        state.best_state = _copy_to_cpu(model.state_dict())
    return metrics


def _copy_to_cpu(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: v.detach().to("cpu", copy=True) if isinstance(v, Tensor) else v for key, v in state.items()}
