"""Multigrid training of clips as a section of params.yaml: its plan, and the clips of a step's shape (thesis, chapter 6)."""

from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field, model_validator

from pipeline.run.params import Section
from pipeline.run.stage import StageError
from stages import _training

if TYPE_CHECKING:
    from pipeline.training.grid import Grid
    from pipeline.training.multigrid import Multigrid


class MultigridSection(Section):
    """How mini-batch shapes change; ``steps``, ``batch``, ``lr`` and ``warmup`` beside it stay those of the baseline."""

    long: bool = Field(True, description="the long cycle: frames and side length change within a learning-rate stage")
    short: bool = Field(True, description="the short cycle: the side length changes from step to step")
    long_shapes: tuple[tuple[float, float], ...] | None = Field(
        None, min_length=1, description="factors of frames and side, small to large; null: the thesis' four"
    )
    short_sides: tuple[float, ...] | None = Field(
        None, min_length=1, description="factors of the full side that take turns with the shape's own; null: both"
    )
    stages: tuple[float, ...] = Field(
        (94.0, 60.0, 42.0, 43.0),
        min_length=1,
        description="relative lengths of the baseline's learning-rate stages; Kinetics'",
    )
    epoch_factor: float = Field(1.5, gt=0, description="epochs seen, times the baseline's")
    fine_tune: bool = Field(True, description="the last stage is at full size only")
    order: Literal["thesis", "released"] = Field("thesis", description="of the short cycle: own shape first, or last")

    @model_validator(mode="after")
    def _some_cycle(self) -> "MultigridSection":
        if not self.long and not self.short:
            raise ValueError("long and short are both false: that is the baseline, multigrid: null")
        if (self.long_shapes and not self.long) or (self.short_sides and not self.short):
            raise ValueError("long_shapes needs long: true, short_sides needs short: true")
        return self


class ClipTraining(_training.Optimisation):
    """Training on clips, at one shape or by a multigrid plan."""

    multigrid: MultigridSection | None = Field(None, description="shapes that change; needs schedule step or cosine")

    @model_validator(mode="after")
    def _decays(self) -> "ClipTraining":
        if self.multigrid is not None and self.schedule not in ("step", "cosine"):
            raise ValueError(f"schedule is {self.schedule}; multigrid needs step (gamma per stage) or cosine")
        if self.multigrid is not None and self.milestones:
            raise ValueError(
                f"milestones are {list(self.milestones)}; with multigrid, step decays where its stages end"
            )
        return self


class Shape(NamedTuple):
    """Of the clips of one step.

    Attributes:
        frames: T.
        size: height and width in px.
        most_stride: a clip's frames lie up to so many times as far apart as in the full shape (at random, from 1 on).
        min_scale: smallest random window, relative to the largest.
        flip: whether every second clip, at random, is mirrored.
    """

    frames: int
    size: tuple[int, int]
    most_stride: float = 1.0
    min_scale: float = 1.0
    flip: bool = False


def plan(options: ClipTraining, full: "Grid", clips: int) -> "Multigrid | None":
    """The plan in place of the baseline of ``options`` on ``clips`` clips; None without multigrid.

    Raises:
        StageError: a stage is too short for its shapes.
    """
    from pipeline.training.multigrid import LONG_CYCLE, SHORT_CYCLE, multigrid

    section = options.multigrid
    if section is None:
        return None
    epochs = options.steps * options.batch / clips
    try:
        return multigrid(
            full,
            clips,
            [epochs * stage / sum(section.stages) for stage in section.stages],
            gamma=options.gamma,
            epoch_factor=section.epoch_factor,
            long_cycle=(section.long_shapes or LONG_CYCLE) if section.long else LONG_CYCLE[-1:],
            short_cycle=(section.short_sides or SHORT_CYCLE) if section.short else (),
            fine_tune=section.fine_tune,
            decay="cosine" if options.schedule == "cosine" else "steps",
            order=section.order,
            warmup_epochs=options.warmup * options.batch / clips,
        )
    except ValueError as error:
        raise StageError(f"multigrid: {error}") from error


def shape(grid: "Grid", full: "Grid", min_scale: float, flip: bool) -> Shape:
    """A step's clips: fewer frames may lie further apart, smaller pictures may be smaller windows (section 6.2).

    Strides are drawn from an interval here, not from whole numbers of frames: windows are in seconds.
    """
    return Shape(grid.T, (grid.H, grid.W), full.T / grid.T, min_scale * grid.H / full.H, flip)
