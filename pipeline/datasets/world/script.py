"""From a plan to a script: who stands where, what happens when, where the cuts are. Still no pictures.

Times are frames. A script is made in the order of what is hardest to place: the hidden thing and the reaches that
depend on it, then cuts, meetings, solo actions, and unlabelled distractors last. Actions are bound to the time slots
only afterwards and in order of time, since what somebody can do depends on the state they are in (holding, sitting, and
standing left or right). That is also what balances the opposites: ``put_down`` is ``pick_up`` in the other state.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from pipeline.datasets.world.plan import MEMORY_GAP_S, PLACES, PlannedVideo

DURATION_S: dict[str, tuple[float, float]] = {
    "walk": (2.0, 3.6), "wave": (2.0, 4.0), "hold": (1.8, 2.8), "sit": (1.6, 2.4), "lift": (2.0, 3.4),
    "raise_arms": (1.8, 3.4), "jump": (1.8, 3.4), "hand_over": (2.2, 3.2), "shake_hands": (2.2, 3.4),
    "hide": (2.2, 2.8), "reach": (1.8, 2.6), "scratch": (1.2, 2.2), "pace": (2.4, 4.0),
}  # fmt: skip
"""Shortest and longest duration of each kind of action. Opposites share a kind, so duration tells nothing."""

_KIND = {"wave_slow": "wave", "wave_fast": "wave"}
_MARGIN_S = 0.5
_CANDIDATES = 16


@dataclass(frozen=True)
class Person:
    """One figure. Lengths in picture heights, ``x`` to the right and ``lane`` (where the feet are) downwards.

    ``homes``: the two places between which walks go. ``seat``: the home that has a stool.
    """

    track: int
    height: float
    lane: float
    homes: tuple[float, float]
    look: int
    phase: float
    seat: int | None = None

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


@dataclass(frozen=True)
class _Slot:
    start: int
    stop: int
    who: tuple[int, ...]
    what: str


def make_script(plan: PlannedVideo) -> Script:
    """The script of a planned video; equal plans give equal scripts.

    Of a few candidates it is the one whose actions are nearest to the dealt cards.
    """
    wanted = Counter((*plan.cards, *plan.meetings, *([f"reach_for_{plan.hidden}"] * plan.reaches)))
    best, best_cost = None, 10**9
    for attempt in range(_CANDIDATES):
        script = _draft(plan, plan.rng(10, attempt))
        got = Counter(event.label for event in script.events if event.label not in (None, "hide"))
        cost = sum(abs(wanted[label] - got[label]) for label in {*wanted, *got})
        if cost < best_cost:
            best, best_cost = script, cost
        if cost == 0:
            break
    assert best is not None
    return best


def _draft(plan: PlannedVideo, rng: np.random.Generator) -> Script:
    script = _cast(plan, rng)
    busy = np.zeros((plan.people, plan.n_frames), bool)
    busy[:, : round(0.2 * plan.fps)] = busy[:, plan.n_frames - round(0.2 * plan.fps) :] = True
    slots = _memory_slots(script, busy, rng)
    script.shots = _cut(plan, busy, rng)
    slots += _meeting_slots(plan, busy, rng)
    slots += _solo_slots(script, busy, rng)
    _bind(script, sorted(slots, key=lambda s: (s.start, s.who)), rng)
    _distract(script, busy, rng)
    script.events.sort(key=lambda e: (e.start, e.who))
    return script


def _cast(plan: PlannedVideo, rng: np.random.Generator) -> Script:
    aspect, k = plan.width / plan.height, plan.people
    tall = {1: (0.58, 0.70), 2: (0.56, 0.68), 3: (0.52, 0.60), 4: (0.48, 0.57)}[k]
    centres = np.linspace(0.24, aspect - 0.24, k) if k > 1 else np.array([aspect * rng.uniform(0.42, 0.58)])
    reach = {1: 0.22, 2: 0.18, 3: 0.14, 4: 0.12}[k]
    lanes = rng.permutation(np.linspace(0.88, 0.94, k)) if k > 1 else np.array([0.92])
    seat = int(rng.integers(k))
    people = [
        Person(
            track=p, height=float(rng.uniform(*tall)), lane=float(lanes[p]),
            homes=(float(centres[p] - reach), float(centres[p] + reach)), look=int(rng.integers(2**31)),
            phase=float(rng.random()), seat=int(rng.integers(2)) if p == seat else None,
        )
        for p in range(k)
    ]  # fmt: skip
    kinds = ["ball", "box"] if rng.random() < 0.5 else ["box", "ball"]
    items = []
    for p in range(k):
        kind = kinds[p % 2] if rng.random() < 0.75 or k == 1 else "bag"
        items.append(Item(kind, 10 + p, float(rng.uniform(0.058, 0.068)), int(rng.integers(2**31))))
    items.append(Item(plan.hidden, 30, 0.064, int(rng.integers(2**31))))
    extras = [
        Person(40 + p, float(rng.uniform(0.5, 0.7)), float(rng.uniform(0.88, 0.94)),
               (x, x), int(rng.integers(2**31)), float(rng.random()))
        for p, x in enumerate(aspect * rng.uniform((0.2, 0.6), (0.4, 0.8)))
    ]  # fmt: skip
    keeper = int(rng.integers(k))
    left = bool(rng.random() < 0.5) if 0 < keeper < k - 1 or k == 1 else keeper == k - 1
    middle = people[keeper].spot
    chest_x = middle + (-1 if left else 1) * {1: 0.42, 2: 0.36, 3: 0.2, 4: 0.15}[k]
    return Script(plan, people, extras, items, chest_x)


def _frames(plan: PlannedVideo, kind: str, rng: np.random.Generator) -> int:
    return round(float(rng.uniform(*DURATION_S[_KIND.get(kind, kind)])) * plan.fps)


def _take(busy: np.ndarray, who: tuple[int, ...], start: int, stop: int, margin: int) -> bool:
    """Reserve the frames for these people if all are free; a margin stays free around."""
    lo, hi = max(0, start - margin), stop + margin
    if start < 0 or stop > busy.shape[1] or busy[list(who), lo:hi].any():
        return False
    busy[list(who), start:stop] = True
    return True


def _memory_slots(script: Script, busy: np.ndarray, rng: np.random.Generator) -> list[_Slot]:
    plan, fps = script.plan, script.plan.fps
    near = np.argsort([abs(p.spot - script.chest_x) for p in script.people])[:2]
    gap, edge = round(MEMORY_GAP_S * fps), round(0.2 * fps)
    hide = _frames(plan, "hide", rng)
    reach = min(_frames(plan, "reach", rng), plan.n_frames - 2 * edge - gap - hide)
    spare = plan.n_frames - 2 * edge - gap - hide - reach
    start = edge + round(float(rng.uniform(0, min(0.6 * spare, 0.25 * plan.n_frames))))
    slots = [_Slot(start, start + hide, (int(rng.choice(near)),), "hide")]
    first, margin = slots[0].stop + gap, round(_MARGIN_S * fps)
    for slot in slots:
        _take(busy, slot.who, slot.start, slot.stop, 0)
    for n in range(plan.reaches):
        length = reach if n == 0 else _frames(plan, "reach", rng)
        for _ in range(30):
            begin = int(rng.integers(first, max(first + 1, plan.n_frames - edge - length + 1)))
            who = (int(rng.choice(near)),)
            # Nobody else reaches at the same time: there is one chest.
            clash = any(begin < s.stop + margin and s.start < begin + length + margin for s in slots)
            if not clash and _take(busy, who, begin, begin + length, 0):
                slots.append(_Slot(begin, begin + length, who, "reach"))
                break
    return slots


def _cut(plan: PlannedVideo, busy: np.ndarray, rng: np.random.Generator) -> list[Shot]:
    """Shots between hard cuts; actions may run over a change of camera, not over a change of place or a cutaway."""
    fps, shortest = plan.fps, 3 * plan.fps
    place = plan.place
    shots = [Shot(0, place, int(rng.integers(2**31)), int(rng.integers(2**31)), False)]
    spots: list[tuple[int, int, str]] = []
    for _ in range(plan.cuts):
        for _ in range(20):
            kind = str(rng.choice(["camera", "place", "cutaway"], p=[0.6, 0.2, 0.2] if plan.dense else [0.4, 0.3, 0.3]))
            length = round(float(rng.uniform(1.8, 2.6)) * fps) if kind == "cutaway" else 0
            start = int(rng.integers(shortest, plan.n_frames - shortest - length))
            if any(start < b + shortest and a < start + length + shortest for a, b, _ in spots):
                continue
            margin = round(0.3 * fps)
            if kind != "camera" and busy[:, start - margin : start + length + margin].any():
                continue
            if kind != "camera":
                busy[:, start - 2 : start + length + 2] = True
            spots.append((start, start + length, kind))
            break
    for start, stop, kind in sorted(spots):
        last = shots[-1]
        seeds = rng.integers(2**31, size=3)
        if kind == "camera":
            shots.append(Shot(start, place, last.scene, int(seeds[0]), False))
        elif kind == "place":
            shots.append(Shot(start, place, int(seeds[0]), int(seeds[1]), False))
        else:
            elsewhere = str(rng.choice([other for other in PLACES if other != place]))
            shots.append(Shot(start, elsewhere, int(seeds[0]), int(seeds[1]), True))
            shots.append(Shot(stop, place, last.scene, int(seeds[2]), False))
    return shots


def _meeting_slots(plan: PlannedVideo, busy: np.ndarray, rng: np.random.Generator) -> list[_Slot]:
    slots = []
    for what in plan.meetings:
        for _ in range(40):
            length = _frames(plan, what, rng)
            left = int(rng.integers(plan.people - 1))
            start = int(rng.integers(0, plan.n_frames - length))
            if _take(busy, (left, left + 1), start, start + length, round(_MARGIN_S * plan.fps)):
                slots.append(_Slot(start, start + length, (left, left + 1), what))
                break
    return slots


def _solo_slots(script: Script, busy: np.ndarray, rng: np.random.Generator) -> list[_Slot]:
    """One slot for each card. Its length is drawn before anyone knows which of the opposites it will become."""
    plan, slots = script.plan, []
    order = rng.permutation(len(plan.cards))
    for n, card in enumerate(_kind_of(plan.cards[i]) for i in order):
        length = _frames(plan, card, rng)
        liked = _suited(script, card)
        placed = False
        for attempt in range(60):
            pool = liked if liked and attempt < 40 else list(range(plan.people))
            person = pool[n % len(pool)] if attempt < 20 else int(rng.choice(pool))
            margin = round((0.2 if plan.dense else _MARGIN_S) * plan.fps) if attempt < 40 else 2
            start = int(rng.integers(0, plan.n_frames - length))
            if _take(busy, (person,), start, start + length, margin):
                slots.append(_Slot(start, start + length, (person,), card))
                placed = True
                break
        if not placed:  # first fit, anywhere
            for start in range(0, plan.n_frames - length, 3):
                person = int(np.argmin(busy[:, start : start + length].sum(1)))
                if _take(busy, (person,), start, start + length, 2):
                    slots.append(_Slot(start, start + length, (person,), card))
                    break
    return slots


def _suited(script: Script, card: str) -> list[int]:
    """Who should rather do this: the one with the stool sits, the others walk, those with ball or box lift."""
    k = script.plan.people
    if card == "sit":
        return [p for p in range(k) if script.people[p].seat is not None]
    if card == "walk":
        return [p for p in range(k) if script.people[p].seat is None]
    if card == "lift":
        return [p for p in range(k) if script.items[p].kind in ("ball", "box")]
    return []


def _bind(script: Script, slots: list[_Slot], rng: np.random.Generator) -> None:
    """Walk through the slots in time, keep everyone's state, and decide what each slot becomes."""
    k = script.plan.people
    home = [p.seat if p.seat is not None else int(rng.integers(2)) for p in script.people]
    agenda = [[s.what for s in slots if s.who == (p,) and s.what not in ("hide", "reach")] for p in range(k)]
    hands: list[int | None] = [None] * k
    ground: list[list[int]] = [[p] for p in range(k)]
    seated = [False] * k
    first_of = [next((s for s in slots if p in s.who), None) for p in range(k)]
    for p in range(k):
        first = first_of[p]
        alone = first is not None and first.who == (p,) and first.what not in ("hide", "reach")
        if "sit" in agenda[p] and alone and rng.random() < 0.5:
            seated[p] = True
        elif ("lift" in agenda[p] and rng.random() < 0.6) or rng.random() < 0.5:
            hands[p], ground[p] = p, []
    script.first_home, script.first_seated = list(home), list(seated)
    script.keeps = [[(0, p, hands[p] == p)] for p in range(k)] + [[]]
    for n, slot in enumerate(slots):
        middle, phase = (slot.start + slot.stop) // 2, float(rng.random())
        p, side = slot.who[0], int(rng.choice([-1, 1]))
        if slot.what in ("hide", "reach"):
            label = "hide" if slot.what == "hide" else f"reach_for_{script.plan.hidden}"
            item = k if slot.what == "hide" else None
            script.events.append(Event(slot.what, label, slot.who, slot.start, slot.stop, side, phase, item))
            continue
        if len(slot.who) == 2:
            givers = [w for w in slot.who if hands[w] is not None]
            if len(givers) == 1 and (slot.what == "hand_over" or rng.random() < 0.35):
                a, b = givers[0], slot.who[1] if givers[0] == slot.who[0] else slot.who[0]
                hands[b], hands[a] = hands[a], None
                thing = hands[b]
                assert thing is not None
                script.keeps[thing].append((middle, b, True))
                script.events.append(Event("hand_over", "hand_over", (a, b), slot.start, slot.stop, 0, phase, thing))
            else:
                script.events.append(Event("shake_hands", "shake_hands", slot.who, slot.start, slot.stop, 0, phase))
            continue
        after = next((s for s in slots[n + 1 :] if p in s.who), None)
        can_sit_next = after is None or (after.who == (p,) and after.what not in ("hide", "reach"))
        action = _choose(script, p, agenda[p], hands[p], ground[p], seated[p], home[p], can_sit_next, rng)
        start, stop, item = slot.start, slot.stop, None
        longest = round(DURATION_S[_KIND.get(_kind_of(action), _kind_of(action))][1] * script.plan.fps)
        if stop - start > longest:
            start += int(rng.integers(stop - start - longest + 1))
            stop = start + longest
        middle = (start + stop) // 2
        if action in ("walk_left", "walk_right"):
            home[p] = 1 - home[p]
        elif action in ("sit_down", "stand_up"):
            seated[p] = action == "sit_down"
        elif action == "pick_up":
            item = hands[p] = ground[p].pop()
            script.keeps[item].append((middle, p, True))
        elif action == "put_down":
            item, hands[p] = hands[p], None
            assert item is not None
            ground[p].append(item)
            script.keeps[item].append((middle, p, False))
        elif action.startswith("lift"):
            item = hands[p]
        script.events.append(Event(action, action, (p,), start, stop, side, phase, item))


def _kind_of(action: str) -> str:
    if action.startswith(("walk", "lift")):
        return action[:4]
    return {"pick_up": "hold", "put_down": "hold", "sit_down": "sit", "stand_up": "sit"}.get(action, action)


def _choose(
    script: Script, p: int, agenda: list[str], hand: int | None, ground: list[int], seated: bool, home: int,
    can_sit_next: bool, rng: np.random.Generator,
) -> str:  # fmt: skip
    """The first card of this person's agenda that is possible in the state; it is taken off the agenda."""
    person = script.people[p]
    possible: dict[str, str] = {}
    if seated:
        possible["sit"] = "stand_up"
    else:
        possible = {"walk": ("walk_right", "walk_left")[home], "wave_slow": "wave_slow", "wave_fast": "wave_fast",
                    "jump": "jump"}  # fmt: skip
        if hand is None:
            possible["raise_arms"] = "raise_arms"
            if ground:
                possible["hold"] = "pick_up"
            if person.seat == home and can_sit_next:
                possible["sit"] = "sit_down"
        else:
            possible["hold"] = "put_down"
            kind = script.items[hand].kind
            if kind in ("ball", "box"):
                possible["lift"] = f"lift_{kind}"
    # Sitting down is possible least often, so it comes first when it is.
    for card in sorted(agenda, key=lambda c: c != "sit"):
        if card in possible:
            agenda.remove(card)
            return possible[card]
    # Nothing on the agenda is possible: change the state towards it.
    if seated:
        return "stand_up"
    wanted = agenda.pop(0) if agenda else ""
    if wanted in ("lift", "raise_arms", "sit") and "hold" in possible and (hand is not None or wanted == "lift"):
        return possible["hold"]
    if wanted == "sit" and person.seat != home:
        return possible["walk"]
    return str(rng.choice(sorted(set(possible.values()) - {"sit_down"})))


def _distract(script: Script, busy: np.ndarray, rng: np.random.Generator) -> None:
    """Unlabelled motion in the gaps: pacing on the spot, scratching the head."""
    plan = script.plan
    for _ in range(round(plan.difficulty.distractors * plan.duration_s * plan.people / 5)):
        what = str(rng.choice(["scratch", "pace"]))
        length, person = _frames(plan, what, rng), int(rng.integers(plan.people))
        start = int(rng.integers(0, plan.n_frames - length))
        side, phase = int(rng.choice([-1, 1])), float(rng.random())
        if _take(busy, (person,), start, start + length, 4):
            script.events.append(Event(what, None, (person,), start, start + length, side, phase))
