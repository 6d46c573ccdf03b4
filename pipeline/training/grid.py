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
