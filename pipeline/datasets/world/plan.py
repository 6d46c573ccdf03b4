"""What the world holds: classes, sizes, difficulty, and the list of planned videos. Cheap; nothing is rendered here.

Every planned video is a pure function of (size, seed, difficulty, subset, index): adding videos at the end of a subset,
or leaving some out, changes no other video. Classes are dealt like cards from endless shuffled decks, so that they are
balanced over neighbouring indices and a video still needs to know only its own place in the deck.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from pipeline.datasets.schema import SUBSETS

Card = TypeVar("Card")

CLASSES: tuple[str, ...] = (
    "walk_left",  # direction
    "walk_right",
    "wave_slow",  # speed
    "wave_fast",
    "pick_up",  # order
    "put_down",
    "sit_down",
    "stand_up",
    "lift_ball",  # object
    "lift_box",
    "hand_over",  # partner
    "shake_hands",
    "raise_arms",  # pose
    "jump",
    "hide",  # something is shown and put into the chest
    "reach_for_ball",  # memory: the same reach into the chest; only what was hidden >= 10 s ago tells them apart
    "reach_for_box",
)
"""The action classes, in index order."""

BOX_CLASSES: tuple[str, ...] = ("person", "ball", "box", "bag", "chest")
"""The classes of boxes and tracks, in index order."""

PLACES: tuple[str, ...] = ("meadow", "street", "beach", "room")
"""Values of the video label ``place``."""

PEOPLE: tuple[str, ...] = ("one", "two", "three", "four")
"""Values of the video label ``people``: how many take part (passers-by of cutaway shots not counted)."""

RELATIONS: tuple[str, ...] = ("apart", "greeting", "exchange")
"""Values of the video label ``relation``: nobody met, hands were shaken, or an object changed hands."""

VIDEO_LABELS: dict[str, tuple[str, ...]] = {"place": PLACES, "people": PEOPLE, "relation": RELATIONS}
"""The three video-level labels and their values."""

MEMORY_GAP_S = 10.0
"""Least time in seconds between the end of ``hide`` and the start of a reach that depends on it."""

SHORTEST_S = 15.0
"""Shortest video in seconds: room for a ``hide``, the memory gap and a reach."""

# What is dealt to people who act alone, and to pairs; what is possible less often comes more often.
_SOLO_DECK = (
    *CLASSES[:10], "raise_arms", "jump", "lift_ball", "lift_box", *CLASSES[:10], "raise_arms", "jump", "sit_down",
)  # fmt: skip
_PAIR_DECK = ("hand_over", "shake_hands")
_SOLO_PER_SECOND = (0.15, 0.20, 0.24, 0.28)


@dataclass(frozen=True)
class SubsetSize:
    """Number of videos of a subset, and the range of their durations in seconds."""

    videos: int
    shortest_s: float
    longest_s: float


@dataclass(frozen=True)
class WorldSize:
    """Picture size in pixels, frame rate and subsets of one size of the world."""

    width: int
    height: int
    fps: int
    subsets: dict[str, SubsetSize]


SIZES: dict[str, WorldSize] = {
    "tiny": WorldSize(112, 84, 20, {
        "auxiliary": SubsetSize(4, 16, 18), "training": SubsetSize(6, 15, 18),
        "validation": SubsetSize(3, 15, 18), "testing": SubsetSize(4, 15, 18),
    }),
    "small": WorldSize(192, 144, 20, {
        "auxiliary": SubsetSize(90, 28, 34), "training": SubsetSize(56, 15, 60),
        "validation": SubsetSize(12, 15, 60), "testing": SubsetSize(36, 15, 60),
    }),
    "medium": WorldSize(224, 168, 20, {
        "auxiliary": SubsetSize(360, 28, 34), "training": SubsetSize(560, 15, 60),
        "validation": SubsetSize(120, 15, 60), "testing": SubsetSize(360, 15, 60),
    }),
}  # fmt: skip
"""tiny: tests; small: the demo and CPU tables; medium: GPU runs."""


@dataclass(frozen=True)
class Difficulty:
    """How much stands between the picture and the action. Each value 0 (none) .. 1 (a lot)."""

    clutter: float
    background_motion: float
    camera_motion: float
    noise: float
    lighting: float
    distractors: float

    @staticmethod
    def of(value: float) -> "Difficulty":
        """All parts at one value.

        Raises:
            ValueError: ``value`` is not within 0..1.
        """
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"world difficulty is {value!r}; allowed are numbers from 0 (easy) to 1 (hard)")
        return Difficulty(value, value, value, value, value, value)


@dataclass(frozen=True)
class PlannedVideo:
    """One video to come. ``cards``, ``meetings`` and ``reaches`` are what its script has to bring in.

    ``hidden`` is what goes into the chest ("ball" or "box"); ``dense`` packs actions back to back.
    """

    id: str
    subset: str
    index: int
    seed: int
    difficulty: Difficulty
    width: int
    height: int
    fps: int
    n_frames: int
    people: int
    place: str
    cards: tuple[str, ...]
    meetings: tuple[str, ...]
    hidden: str
    reaches: int
    cuts: int
    dense: bool

    @property
    def duration_s(self) -> float:
        """Duration in seconds."""
        return self.n_frames / self.fps

    def rng(self, *purpose: int) -> np.random.Generator:
        """A generator of this video's own, one for each purpose."""
        return np.random.default_rng([self.seed, SUBSETS.index(self.subset), self.index, *purpose])


def world_plan(
    size: str,
    seed: int,
    difficulty: float | Difficulty = 0.5,
    extra: int = 0,
    videos: Mapping[str, int] | None = None,
) -> list[PlannedVideo]:
    """The videos of a world, by subset and index.

    ``videos``: numbers of videos of subsets, in place of the size's own. ``extra`` more training videos are added behind
    the others.

    Raises:
        ValueError: unknown ``size`` or subset, ``difficulty`` outside 0..1, or a negative ``seed``, ``extra`` or number.
    """
    if size not in SIZES:
        raise ValueError(f"world size {size!r} is not one of {', '.join(SIZES)}")
    asked = dict(videos or {})
    if unknown := sorted(set(asked) - set(SIZES[size].subsets)):
        raise ValueError(f"world videos names {unknown[0]!r}; allowed are {', '.join(SIZES[size].subsets)}")
    for name, value in (("seed", seed), ("extra", extra), *((f"videos.{key}", n) for key, n in asked.items())):
        if value < 0:
            raise ValueError(f"world {name} is {value!r}; allowed are whole numbers from 0")
    hard = difficulty if isinstance(difficulty, Difficulty) else Difficulty.of(float(difficulty))
    plans = []
    for subset, row in SIZES[size].subsets.items():
        n = asked.get(subset, row.videos) + (extra if subset == "training" else 0)
        plans += _plan_subset(SIZES[size], subset, row, n, seed, hard)
    return plans


def _plan_subset(
    size: WorldSize, subset: str, row: SubsetSize, n: int, seed: int, difficulty: Difficulty
) -> list[PlannedVideo]:
    key = (seed, SUBSETS.index(subset))
    dense = subset == "auxiliary"
    plans, solo_used, met_used = [], 0, 0
    offset = np.random.default_rng([*key, 1]).random()
    for i in range(n):
        # Golden-ratio steps spread the durations evenly over any run of indices; the power makes long videos rarer.
        share = (offset + i * 0.6180339887498949) % 1.0
        duration = row.shortest_s + (row.longest_s - row.shortest_s) * (share if dense else share**2.2)
        people = 1 + int(_deal((0, 0, 0, 1, 1, 2, 3), key, 2, i, 1)[0])
        people = 1 + (i % 3 == 2) if dense else people
        n_met = 0 if people == 1 else 1 + int(duration > 28)
        n_solo = round(duration * (0.3 if dense else _SOLO_PER_SECOND[people - 1]))
        n_met = n_met + 1 if dense and people > 1 else n_met
        plans.append(
            PlannedVideo(
                id=f"world-{subset}-{i:04d}", subset=subset, index=i, seed=seed, difficulty=difficulty,
                width=size.width, height=size.height, fps=size.fps, n_frames=round(duration * size.fps), people=people,
                place=_deal(PLACES, key, 3, i, 1)[0], cards=_deal(_SOLO_DECK, key, 4, solo_used, n_solo),
                meetings=_deal(_PAIR_DECK, key, 5, met_used, n_met),
                hidden=_deal(("ball", "box"), key, 6, i, 1)[0], reaches=1 if duration < 38 else 2,
                cuts=max(1, round(duration / 11)), dense=dense,
            )
        )  # fmt: skip
        solo_used, met_used = solo_used + n_solo, met_used + n_met
    return plans


def _deal(deck: tuple[Card, ...], key: tuple[int, ...], purpose: int, start: int, n: int) -> tuple[Card, ...]:
    """Cards ``start`` .. ``start + n`` of the endless row of shuffled decks that (key, purpose) names."""
    cards: list[Card] = []
    for block in range(start // len(deck), (start + n - 1) // len(deck) + 1 if n else 0):
        order = np.random.default_rng([*key, purpose, block]).permutation(len(deck))
        cards += [deck[j] for j in order]
    skip = start % len(deck)
    return tuple(cards[skip : skip + n])
