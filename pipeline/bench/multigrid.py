"""Time of a multigrid training against its baseline (thesis, section 6.2: 4.5 times less at 1.5 times the epochs).

Every shape of the plan is trained for a few real steps; a shape's median, times the steps the plan gives it, summed over the
plan, stands against the baseline's shape times its steps. Clips are random and already in memory: this is the network's
and the optimiser's time, no reading of videos.
"""

import statistics
import time
from collections import Counter
from typing import Any

import torch
from torch import nn

from models.encoders import build_encoder
from models.recogniser import recogniser
from models.sub_batch_norm import set_parts, with_sub_batches
from pipeline.training.device import device, set_threads
from pipeline.training.grid import Grid
from pipeline.training.multigrid import LONG_CYCLE, SHORT_CYCLE, Multigrid, multigrid

CLASSES = 400
VARIANTS: dict[str, dict[str, Any]] = {
    "long_and_short": {},
    "long": {"short_cycle": ()},
    "short": {"long_cycle": LONG_CYCLE[-1:], "short_cycle": SHORT_CYCLE},
}


def measure(encoder: str, base_width: int, full: Grid, rounds: int, precision: str = "float32") -> dict[str, Any]:
    """Times of all variants for Kinetics' stages of learning rate, at the baseline's epochs and at 1.5 times as many.

    Args:
        encoder: name in ``models.encoders``.
        base_width: of the encoder, 64 is the paper's.
        full: the baseline's mini-batch.
        rounds: steps per shape that count, after one that does not.
        precision: "float32", or "bf16" for autocast.
    """
    plans = {
        f"{name}_{factor}x": multigrid(full, 240_000, (94, 60, 42, 43), epoch_factor=factor, **options)
        for name, options in VARIANTS.items()
        for factor in (1.0, 1.5)
    }
    shapes = {full: 1} | {
        grid: phase.sub_batches for p in plans.values() for phase in p.phases for grid in phase.shapes
    }
    target = device()
    torch.manual_seed(0)
    model = with_sub_batches(recogniser(build_encoder(encoder, base_width=base_width), CLASSES)).to(target)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    seconds = {g: _step_seconds(model, optimizer, g, parts, rounds, target, precision) for g, parts in shapes.items()}
    baseline = seconds[full] * next(iter(plans.values())).baseline_steps
    return {
        "encoder": f"{encoder}, base_width {base_width}",
        "precision": precision,
        "baseline": f"{full.B}x{full.T}x{full.H}x{full.W}",
        "step_s": {f"{g.B}x{g.T}x{g.H}x{g.W}": round(s, 4) for g, s in seconds.items()},
        "plans": {
            name: {
                "epochs": round(plan.epochs, 1),
                "times_fewer_steps": round(plan.baseline_steps / plan.steps, 2),
                "times_faster": round(baseline / _total(plan, seconds), 2),
            }
            for name, plan in plans.items()
        },
    }


def multigrid_figures() -> dict[str, Any]:
    """The default measurement of this machine's device."""
    kind = device().type
    if kind == "cpu":
        set_threads(1)
        return {"variant": kind, "clock": "CPU seconds, one thread", **measure("x3d_s", 16, Grid(2, 16, 64, 64), 3)}
    return {
        "variant": kind,
        "clock": f"wall, {torch.cuda.get_device_name()}",
        **measure("slowfast_8x8_r50", 64, Grid(8, 32, 224, 224), 5),
    }


def _total(plan: Multigrid, seconds: dict[Grid, float]) -> float:
    steps: Counter[Grid] = Counter()
    for phase in plan.phases:
        turns, rest = divmod(phase.steps, len(phase.shapes))
        for index, grid in enumerate(phase.shapes):
            steps[grid] += turns + (index < rest)
    return sum(count * seconds[grid] for grid, count in steps.items())


def _step_seconds(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    grid: Grid,
    parts: int,
    rounds: int,
    target: torch.device,
    precision: str,
) -> float:
    set_parts(model, parts)
    pixels = torch.randn(grid.B, 3, grid.T, grid.H, grid.W, device=target)
    labels = torch.arange(grid.B, device=target) % CLASSES
    taken = []
    for _ in range(rounds + 1):
        start = _now(target)
        optimizer.zero_grad()
        with torch.autocast(target.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = nn.functional.cross_entropy(model(pixels), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        taken.append(_now(target) - start)
    return statistics.median(taken[1:])


def _now(target: torch.device) -> float:
    if target.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()
