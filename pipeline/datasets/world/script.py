"""What a script is: people, things, events, shots. Values only; ``direct`` makes it, ``schedule`` finds the times."""

from dataclasses import dataclass, field

from pipeline.datasets.world.plan import PlannedVideo


@dataclass(frozen=True)
class Person:
    """One figure. Lengths in picture heights, ``x`` to the right and ``lane`` (where the feet are) downwards.

    ``homes``: the two places between which walks go. ``stools``: there is one at either home.
    """

    track: int
    height: float
    lane: float
    homes: tuple[float, float]
    look: int
    phase: float
    stools: bool = False

    @property
    def spot(self) -> float:
        """Where this person's things lie: at hand from both homes."""
        return (self.homes[0] + self.homes[1]) / 2


@dataclass(frozen=True)
class Item:
    """One object: box class, track id, radius in picture heights, seed of its look."""

    kind: str
    track: int
    radius: float
    look: int


@dataclass(frozen=True)
class Event:
    """One action over frames ``start`` .. ``stop`` (not included). ``label`` is None for distractors.

    ``who``: one person, or giver and taker. ``side``: -1 left, +1 right. ``phase``: 0..1. ``item``: its index.
    """

    action: str
    label: str | None
    who: tuple[int, ...]
    start: int
    stop: int
    side: int
    phase: float
    item: int | None = None


@dataclass(frozen=True)
class Shot:
    """One shot from frame ``start`` on: place, seed of its picture, and whether the people are in it."""

    start: int
    place: str
    scene: int
    camera: int
    cutaway: bool


@dataclass
class Script:
    """All of one video, and the state everyone is in at its start."""

    plan: PlannedVideo
    people: list[Person]
    extras: list[Person]
    items: list[Item]
    chest_x: float
    events: list[Event] = field(default_factory=list)
    shots: list[Shot] = field(default_factory=list)
    first_home: list[int] = field(default_factory=list)
    first_seated: list[bool] = field(default_factory=list)
    keeps: list[list[tuple[int, int, bool]]] = field(default_factory=list)
    """Per item: from this frame on with this person, in the hands or lying at their spot. Empty for the hidden one."""
