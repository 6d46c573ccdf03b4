"""Multigrid training: mini-batch shapes that change in a long and a short cycle (Wu et al., CVPR 2020; thesis, chapter 6).

A plan is laid out in steps before training starts: what shape, learning rate and sub-batches every step has is a pure
function of the step, as of any :data:`~pipeline.training.grid.GridSchedule`.

Rules (section 6.1.2): with L learning-rate stages the long cycle runs once in each of the first L - 1, equally many
steps on every shape; the last stage fine-tunes at full size, its first half at the rate before. The batch grows as clips
shrink (eq. 6.1); the rate grows with the batch of the long cycle's shape, not with the short cycle. Every stage is
shortened by the mean growth of the batch, then all are stretched so that ``epoch_factor`` times the baseline's epochs are
seen.
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from pipeline.training.grid import Grid

Order = Literal["thesis", "released"]
Decay = Literal["steps", "cosine"]
Factors = tuple[float, float]
"""Of frames and of side length, each above 0 and at most 1."""

SQRT_HALF = math.sqrt(0.5)
LONG_CYCLE: tuple[Factors, ...] = ((0.25, SQRT_HALF), (0.5, SQRT_HALF), (0.5, 1.0), (1.0, 1.0))
SHORT_CYCLE = (SQRT_HALF, 0.5)
"""Side lengths, of the full size, that take turns with the long cycle's own."""

STATISTICS = 8
"""Clips behind one statistic of batch normalisation, before the short cycle enlarges the batch."""


@dataclass(frozen=True)
class Phase:
    """Steps with one shape of the long cycle.

    Attributes:
        first: step it begins with.
        steps: how many.
        shapes: of its short cycle, in turn; one shape without a short cycle.
        base: the long cycle's own shape.
        lr: factor on the baseline's learning rate, without warm-up; under cosine only the batch's share of it.
        sub_batches: into how many parts batch normalisation splits the batch.
        name: what stage and shape it is.
    """

    first: int
    steps: int
    shapes: tuple[Grid, ...]
    base: Grid
    lr: float
    sub_batches: int
    name: str

    def clips(self, steps: int) -> int:
        """Clips in its first ``steps`` steps."""
        turns, rest = divmod(steps, len(self.shapes))
        return turns * sum(grid.B for grid in self.shapes) + sum(grid.B for grid in self.shapes[:rest])


@dataclass(frozen=True)
class Multigrid:
    """A training laid out by :func:`multigrid`.

    Attributes:
        phases: one after the other, from step 0 on.
        videos: in one epoch.
        baseline_steps: of the training it stands for.
        decay: of the learning rate.
        warmup_steps: of the linear rise to where the plan is by then.
        warmup_start: factor on the baseline's rate that it begins with.
    """

    phases: tuple[Phase, ...]
    videos: int
    baseline_steps: int
    decay: Decay
    warmup_steps: int
    warmup_start: float

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.phases[-1].first + self.phases[-1].steps

    @property
    def epochs(self) -> float:
        """Times that every video is seen."""
        return self.clips_before(self.steps) / self.videos

    def phase(self, step: int) -> Phase:
        """The phase of a step.

        Raises:
            ValueError: no such step.
        """
        if not 0 <= step < self.steps:
            raise ValueError(f"there is no step {step}; the plan has steps 0..{self.steps - 1}")
        return self.phases[bisect.bisect_right([phase.first for phase in self.phases], step) - 1]

    def grid(self, step: int) -> Grid:
        """Shape of a step's mini-batch; the plan's :data:`~pipeline.training.grid.GridSchedule`."""
        phase = self.phase(step)
        return phase.shapes[(step - phase.first) % len(phase.shapes)]

    def lr(self, step: int) -> float:
        """Factor on the baseline's learning rate, an :data:`~pipeline.training.optim.LrSchedule`."""
        if step < self.warmup_steps:
            end = self._lr(min(self.warmup_steps, self.steps - 1))
            return self.warmup_start + (end - self.warmup_start) * step / self.warmup_steps
        return self._lr(step)

    def sub_batches(self, step: int) -> int:
        """Parts of the batch whose statistics batch normalisation takes apart (:mod:`models.sub_batch_norm`)."""
        return self.phase(step).sub_batches

    def clips_before(self, step: int) -> int:
        """Clips in all steps before this one: where :func:`pipeline.training.sampler.take` goes on."""
        return sum(phase.clips(min(max(step - phase.first, 0), phase.steps)) for phase in self.phases)

    def table(self) -> str:
        """The plan for people, to be printed before training."""
        lines = [f"{'phase':18} {'steps':>15} {'epochs':>14}  {'lr':>8}  parts  shapes (B x T x H x W)"]
        for phase in self.phases:
            end = phase.first + phase.steps
            seen = [self.clips_before(step) / self.videos for step in (phase.first, end)]
            shapes = ", ".join(f"{g.B}x{g.T}x{g.H}x{g.W}" for g in phase.shapes)
            lines.append(
                f"{phase.name:18} {phase.first:7}-{end - 1:7} {seen[0]:6.1f}-{seen[1]:7.1f}  {self.lr(phase.first):8.4g}"
                f"  {phase.sub_batches:5}  {shapes}"
            )
        saved = self.baseline_steps / self.steps
        lines.append(
            f"{self.steps} steps, {self.epochs:.1f} epochs; 1/{saved:.2f} of the baseline's {self.baseline_steps} steps"
        )
        return "\n".join(lines)

    def _lr(self, step: int) -> float:
        factor = self.phase(step).lr
        return factor * (1 + math.cos(math.pi * step / self.steps)) / 2 if self.decay == "cosine" else factor


def multigrid(
    full: Grid,
    videos: int,
    stage_epochs: Sequence[float],
    *,
    gamma: float = 0.1,
    epoch_factor: float = 1.5,
    long_cycle: Sequence[Factors] = LONG_CYCLE,
    short_cycle: Sequence[float] = SHORT_CYCLE,
    fine_tune: bool = True,
    decay: Decay = "steps",
    order: Order = "thesis",
    warmup_epochs: float = 0.0,
    warmup_start: float = 0.0,
    devices: int = 1,
) -> Multigrid:
    """Lay out a multigrid training in place of a baseline one.

    Args:
        full: the baseline's mini-batch over all devices.
        videos: clips in an epoch.
        stage_epochs: epochs of each of the baseline's L learning-rate stages; cosine keeps them as the periods of the long
            cycle.
        gamma: factor on the rate from stage to stage.
        epoch_factor: epochs seen, times the baseline's.
        long_cycle: shapes from small to large, any non-empty choice; ``[(1, 1)]`` is the short cycle alone.
        short_cycle: further side lengths in turn, of the full size; ``()`` is the long cycle alone.
        fine_tune: whether the last stage is the fine-tuning phase; False runs the long cycle there too.
        decay: "steps", or "cosine" over the whole training, times the batch's share.
        order: of the short cycle: "thesis" begins with the long cycle's own shape, "released" ends with it.
        warmup_epochs: of the baseline; not stretched.
        warmup_start: factor on the rate at step 0.
        devices: that share a mini-batch and take statistics each on its own part.

    Raises:
        ValueError: a value that is not allowed, or a training too short for every shape to get a step.
    """
    _check(full, videos, stage_epochs, long_cycle, short_cycle, decay, order, devices)
    if fine_tune and len(stage_epochs) < 2:
        raise ValueError("a fine-tuning phase is the last of several learning-rate stages; stage_epochs has one")
    cycles = [_shapes(full, factors, short_cycle, order) for factors in long_cycle]
    growth = [sum(grid.B for grid in shapes) / len(shapes) / full.B for shapes in cycles]
    mean_growth = sum(growth) / len(growth)
    tuned = _shapes(full, (1.0, 1.0), short_cycle, order)
    tuned_growth = sum(grid.B for grid in tuned) / len(tuned) / full.B

    # In epochs of the baseline's batch, which is to say in steps times a constant.
    cycled = stage_epochs[:-1] if fine_tune else stage_epochs
    seen = sum(cycled) + (stage_epochs[-1] * tuned_growth / mean_growth if fine_tune else 0.0)
    stretch = epoch_factor * sum(stage_epochs) / seen / mean_growth
    parts: list[tuple[float, tuple[Grid, ...], Factors, float, str]] = []
    for stage, epochs in enumerate(cycled):
        for factors, shapes in zip(long_cycle, cycles, strict=True):
            parts.append((stretch * epochs / len(cycles), shapes, factors, gamma**stage, f"stage {stage + 1}"))
    if fine_tune:
        for stage in (len(cycled) - 1, len(cycled)):
            parts.append((stretch * stage_epochs[-1] / 2, tuned, (1.0, 1.0), gamma**stage, "fine-tuning"))

    phases: list[Phase] = []
    end, first = 0.0, 0
    for epochs, shapes, factors, rate, name in parts:
        end += epochs * videos / full.B
        steps = round(end) - first
        base = _shape(full, factors, factors[1])
        if steps < 1:
            raise ValueError(f"{name}, shape {base}: no step left for it; more epochs, or fewer shapes")
        share = base.B / full.B
        lr = share * (rate if decay == "steps" else 1.0)
        phases.append(Phase(first, steps, shapes, base, lr, _sub_batches(base.B, devices), name))
        first += steps
    baseline = round(sum(stage_epochs) * videos / full.B)
    warmup = _steps_of(phases, warmup_epochs * videos)
    return Multigrid(tuple(phases), videos, baseline, decay, warmup, warmup_start)


def short_side(low: float, high: float, side: int, full: int) -> tuple[float, float]:
    """Range of the short side that crops of ``side`` px are cut from, ``[low side / full, high]`` (section 6.2)."""
    return low * side / full, high


def strides(stride: int, frames: int, full: int) -> tuple[int, int]:
    """Range of the random stride between ``frames`` frames, both ends included, ``[stride, stride full / frames]``."""
    return stride, stride * full // frames


def _shape(full: Grid, factors: Factors, side: float) -> Grid:
    """Frames of ``factors``, the given side; the batch of eq. 6.1, the ratio rounded, sizes too (224 / sqrt 2 is 158)."""
    ratio = round(1 / (factors[0] * side**2))
    return Grid(
        full.B * ratio, *(max(1, round(n * f)) for n, f in ((full.T, factors[0]), (full.H, side), (full.W, side)))
    )


def _shapes(full: Grid, factors: Factors, short_cycle: Sequence[float], order: Order) -> tuple[Grid, ...]:
    """A shape's short cycle; none of its sides is larger than the shape's own."""
    sides = [factors[1], *(min(side, factors[1]) for side in sorted(short_cycle, reverse=True))]
    if order == "released":
        sides.reverse()
    return tuple(_shape(full, factors, side) for side in sides)


def _sub_batches(batch: int, devices: int) -> int:
    """The most equal parts of a device's share with at least :data:`STATISTICS` clips each; 1 where there are fewer."""
    share = max(1, batch // devices)
    return max(parts for parts in range(1, max(1, share // STATISTICS) + 1) if share % parts == 0)


def _steps_of(phases: Sequence[Phase], clips: float) -> int:
    """Steps until so many clips have been seen."""
    steps = 0
    for phase in phases:
        mean = sum(grid.B for grid in phase.shapes) / len(phase.shapes)
        taken = min(phase.steps, round(clips / mean))
        steps, clips = steps + taken, clips - taken * mean
        if taken < phase.steps:
            break
    return steps


def _check(
    full: Grid,
    videos: int,
    stage_epochs: Sequence[float],
    long_cycle: Sequence[Factors],
    short_cycle: Sequence[float],
    decay: str,
    order: str,
    devices: int,
) -> None:
    for name, value, allowed in (("decay", decay, Decay), ("order", order, Order)):
        if value not in get_args(allowed):
            raise ValueError(f"multigrid {name} is {value!r}; allowed: {', '.join(get_args(allowed))}")
    if videos < 1 or not stage_epochs or min(stage_epochs) <= 0:
        raise ValueError(f"videos is {videos} and stage_epochs {list(stage_epochs)}; needed: at least one, all above 0")
    if not long_cycle or any(not 0 < f <= 1 for factors in long_cycle for f in factors):
        raise ValueError(f"long_cycle is {list(long_cycle)}; needed: factors above 0 and at most 1, at least one pair")
    if list(long_cycle) != sorted(long_cycle, key=lambda f: f[0] * f[1] ** 2):
        raise ValueError(f"long_cycle is {list(long_cycle)}; its shapes go from small to large")
    if any(not 0 < side <= 1 for side in short_cycle):
        raise ValueError(f"short_cycle is {list(short_cycle)}; needed: factors above 0 and at most 1")
    if devices < 1 or full.B % devices:
        raise ValueError(f"a batch of {full.B} cannot be shared by {devices} devices")
