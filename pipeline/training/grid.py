"""The grid schedule: which mini-batch shape (B, T, H, W) each training step has.

A schedule is a plain function from the step to a :class:`Grid`. A constant shape, LoFi's S-, T- and ST-LoFi and their
cycle (LoFi paper, section 3.2), and multigrid's long and short cycles are all functions of that type; whoever makes the
batches asks the schedule, the loop never does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """The shape of one mini-batch.

    Attributes:
        B: videos or clips in the mini-batch.
        T: length on the sample's time axis: L snippets of an untrimmed video, or frames of a clip.
        H: height in pixels.
        W: width in pixels.
    """

    B: int
    T: int
    H: int
    W: int

    def __post_init__(self) -> None:
        """Refuse sizes that are no positive integers."""
        for name in ("B", "T", "H", "W"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"Grid.{name} is {value!r}; it must be an integer of at least 1")

    @property
    def pixels(self) -> int:
        """T x H x W: what one sample costs in memory, the paper's Omega (eq. 1-4), per frame of a snippet."""
        return self.T * self.H * self.W


GridSchedule = Callable[[int], Grid]
"""Step (from 0) to the shape of that step's mini-batch; pure, so that a resumed training sees the same shapes."""

LOFI_KINDS = ("s", "t", "st")
"""LoFi's configurations I, II and III, in the order in which C-LoFi cycles through them (section 3.2)."""


def constant(grid: Grid) -> GridSchedule:
    """The same shape at every step."""
    return lambda step: grid


def lofi_grid(kind: str, full: Grid, r_t: float = 1.0, r_s: float = 1.0) -> Grid:
    """A low-fidelity configuration of ``full`` (LoFi section 3.2).

    S-LoFi is L x H/r_s x W/r_s (eq. 2), T-LoFi L/r_t x H x W (eq. 3), ST-LoFi L/r_t x H/r_s x W/r_s (eq. 4); B stays
    ("the batch size also remains constant throughout"). Sizes are rounded to the nearest integer: 224/sqrt(2) is the
    paper's 158. Its values are r_s = 2 for "s", r_t = 4 for "t", r_t = 2 with r_s = sqrt(2) for "st".

    Raises:
        ValueError: unknown kind, a factor that does not reduce, or one that this kind does not use.
    """
    if kind not in LOFI_KINDS:
        raise ValueError(f"LoFi kind {kind!r} is unknown; allowed: {', '.join(LOFI_KINDS)}")
    for axis, name, value in (("t", "r_t", r_t), ("s", "r_s", r_s)):
        if axis in kind and value <= 1:
            raise ValueError(f"{name} is {value}; {kind}-LoFi reduces this axis, so it must be above 1")
        if axis not in kind and value != 1:
            raise ValueError(f"{name} is {value}; {kind}-LoFi keeps this axis, so it must be 1")
    return Grid(full.B, max(1, round(full.T / r_t)), max(1, round(full.H / r_s)), max(1, round(full.W / r_s)))


def lofi_factors(kind: str, reduction: float) -> dict[str, float]:
    """r_t and r_s of a configuration that costs ``1 / reduction`` of full fidelity.

    At the paper's reduction of 4 they are r_s = 2 for "s", r_t = 4 for "t", and r_t = 2 with r_s = sqrt(2) for "st"
    (section 4.3): "st" shares the reduction equally between time and space.

    Raises:
        ValueError: unknown kind, or a reduction that does not reduce.
    """
    if kind not in LOFI_KINDS:
        raise ValueError(f"LoFi kind {kind!r} is unknown; allowed: {', '.join(LOFI_KINDS)}")
    if reduction <= 1:
        raise ValueError(f"reduction is {reduction}; it must be above 1")
    in_time = {"s": 1.0, "t": float(reduction), "st": reduction**0.5}[kind]
    return {"r_t": in_time, "r_s": (reduction / in_time) ** 0.5}


def cycle(grids: Sequence[Grid], every: int) -> GridSchedule:
    """Go through ``grids`` again and again, each for ``every`` steps: C-LoFi (section 3.2).

    ``every`` is c_s for the short cycle; for the long one c_l epochs in steps, so that a shape changes only at the
    beginning of an epoch.

    Raises:
        ValueError: no grid, or fewer than one step each.
    """
    if not grids or every < 1:
        raise ValueError(f"a cycle needs at least one shape and one step for each; got {len(grids)} and {every}")
    shapes = tuple(grids)
    return lambda step: shapes[step // every % len(shapes)]


LOFI_STRATEGIES = (*LOFI_KINDS, "cyclic_short", "cyclic_long")
"""A single configuration, or all three in turn (IV, C-LoFi); the paper's choice is the long cycle."""


def lofi_schedule(
    strategy: str, full: Grid, reduction: float, epoch_steps: int, c_s: int = 16, c_l: int = 1
) -> tuple[GridSchedule, tuple[Grid, ...]]:
    """LoFi's schedule, and the shapes it goes through in their order.

    Args:
        strategy: one of :data:`LOFI_STRATEGIES`.
        full: the shape at full fidelity.
        reduction: see :func:`lofi_factors`.
        epoch_steps: steps of an epoch, for the long cycle.
        c_s: steps of each configuration in the short cycle (16 in the paper).
        c_l: epochs of each in the long one (the paper gives no number).

    Raises:
        ValueError: as :func:`lofi_factors` and :func:`cycle`.
    """
    if strategy not in LOFI_STRATEGIES:
        raise ValueError(f"LoFi strategy {strategy!r} is unknown; allowed: {', '.join(LOFI_STRATEGIES)}")
    kinds = LOFI_KINDS if strategy.startswith("cyclic") else (strategy,)
    grids = tuple(lofi_grid(kind, full, **lofi_factors(kind, reduction)) for kind in kinds)
    return cycle(grids, c_l * epoch_steps if strategy == "cyclic_long" else c_s), grids


def check_equal_budget(grids: Sequence[Grid], tolerance: float = 0.005) -> None:
    """Check that all ``grids`` cost the same memory per video, as LoFi's configurations must (section 3.2).

    Raises:
        ValueError: batch sizes differ, or pixels differ by more than ``tolerance`` of the largest.
    """
    most = max(grid.pixels for grid in grids)
    for grid in grids:
        if grid.B != grids[0].B or most - grid.pixels > tolerance * most:
            shapes = ", ".join(f"{g.B}x{g.T}x{g.H}x{g.W}" for g in grids)
            raise ValueError(
                f"the configurations {shapes} (B x T x H x W) do not share one budget: "
                f"{grid} has {grid.pixels} pixels per video, the largest {most}; allowed difference {tolerance:.1%}"
            )
