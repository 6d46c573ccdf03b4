"""When everything of a script happens: free times for the chest, cuts, meetings, solo actions and distractors.

Times are frames; ``busy`` [people, frames] (bool) is what is taken. What is hardest to place comes first.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.datasets.world.plan import MEMORY_GAP_S, PLACES, PlannedVideo
from pipeline.datasets.world.script import Event, Script, Shot

DURATION_S: dict[str, tuple[float, float]] = {
    "walk": (2.0, 3.6), "wave": (2.0, 4.0), "hold": (1.8, 2.8), "sit": (1.6, 2.4), "lift": (2.0, 3.4),
    "raise_arms": (1.8, 3.4), "jump": (1.8, 3.4), "hand_over": (2.2, 3.2), "shake_hands": (2.2, 3.4),
    "hide": (2.2, 2.8), "reach": (1.8, 2.6), "scratch": (1.2, 2.2), "pace": (2.4, 4.0),
}  # fmt: skip
"""Shortest and longest duration of each kind of action. Opposites share a kind, so duration tells nothing."""

_MARGIN_S = 0.5


@dataclass(frozen=True)
class Slot:
    """Frames ``start`` .. ``stop`` (not included) of one or two people, kept for this kind of action."""

    start: int
    stop: int
    who: tuple[int, ...]
    what: str


def kind_of(action: str) -> str:
    """What an action's duration goes by; opposites are of one kind."""
    if action.startswith(("walk", "lift", "wave")):
        return action[:4]
    return {"pick_up": "hold", "put_down": "hold", "sit_down": "sit", "stand_up": "sit"}.get(action, action)


def _frames(plan: PlannedVideo, kind: str, rng: np.random.Generator) -> int:
    return round(float(rng.uniform(*DURATION_S[kind])) * plan.fps)


def _place(
    busy: np.ndarray, who: tuple[int, ...], length: int, margin: int, rng: np.random.Generator, first: int = 0
) -> int | None:
    """Reserve ``length`` frames of these people at random, from ``first`` on, ``margin`` free frames around.

    Returns the start, or None where nothing is free.
    """
    n = busy.shape[1]
    taken = np.concatenate([[0], np.cumsum(busy[list(who)].any(0))])
    starts = np.arange(first, n - length + 1)
    inside = taken[np.minimum(starts + length + margin, n)] - taken[np.maximum(starts - margin, 0)]
    starts = starts[inside == 0]
    if not len(starts):
        return None
    start = int(rng.choice(starts))
    busy[list(who), start : start + length] = True
    return start


def memory_slots(script: Script, busy: np.ndarray, rng: np.random.Generator) -> list[Slot]:
    """A ``hide`` early on, and the reaches that depend on it, at least MEMORY_GAP_S later."""
    plan, fps = script.plan, script.plan.fps
    near = np.argsort([abs(p.spot - script.chest_x) for p in script.people])[:2]
    gap, edge = round(MEMORY_GAP_S * fps), round(0.2 * fps)
    hide = _frames(plan, "hide", rng)
    reach = min(_frames(plan, "reach", rng), plan.n_frames - 2 * edge - gap - hide)
    spare = plan.n_frames - 2 * edge - gap - hide - reach
    start = edge + round(float(rng.uniform(0, min(0.6 * spare, 0.25 * plan.n_frames))))
    slots = [Slot(start, start + hide, (int(rng.choice(near)),), "hide")]
    busy[slots[0].who, slots[0].start : slots[0].stop] = True
    # One chest: the next reach begins after the one before, whoever does it.
    first = slots[0].stop + gap
    for n in range(plan.reaches):
        who = (int(rng.choice(near)),)
        length = reach if n == 0 else _frames(plan, "reach", rng)
        begin = _place(busy, who, length, 0, rng, first)
        if begin is not None:
            slots.append(Slot(begin, begin + length, who, "reach"))
            first = begin + length + round(_MARGIN_S * fps)
    return slots


def cut(plan: PlannedVideo, busy: np.ndarray, rng: np.random.Generator) -> list[Shot]:
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


def meeting_slots(plan: PlannedVideo, busy: np.ndarray, rng: np.random.Generator) -> list[Slot]:
    """One slot for each meeting of two neighbours."""
    slots = []
    for what in plan.meetings:
        length, left = _frames(plan, what, rng), int(rng.integers(plan.people - 1))
        start = _place(busy, (left, left + 1), length, round(_MARGIN_S * plan.fps), rng)
        if start is not None:
            slots.append(Slot(start, start + length, (left, left + 1), what))
    return slots


def solo_slots(script: Script, busy: np.ndarray, rng: np.random.Generator) -> list[Slot]:
    """One slot for each card. Its length is drawn before anyone knows which of the opposites it will become."""
    plan, slots = script.plan, []
    margin = round((0.2 if plan.dense else _MARGIN_S) * plan.fps)
    for card in (plan.cards[i] for i in rng.permutation(len(plan.cards))):
        kind = kind_of(card)
        length, liked = _frames(plan, kind, rng), _suited(script, kind)
        others = [p for p in range(plan.people) if p not in liked]
        for person, space in [(p, m) for m in (margin, 2) for p in (*rng.permutation(liked), *rng.permutation(others))]:
            start = _place(busy, (int(person),), length, space, rng)
            if start is not None:
                what = card if kind == "wave" else kind
                slots.append(Slot(start, start + length, (int(person),), what))
                break
    return slots


def _suited(script: Script, kind: str) -> list[int]:
    """Who should rather do this: the one with the stool sits, the others walk, those with ball or box lift."""
    people = range(script.plan.people)
    if kind in ("sit", "walk"):
        return [p for p in people if script.people[p].stools == (kind == "sit")]
    if kind == "lift":
        return [p for p in people if script.items[p].kind in ("ball", "box")]
    return []


def distract(script: Script, busy: np.ndarray, rng: np.random.Generator) -> None:
    """Unlabelled motion in the gaps: pacing on the spot, scratching the head."""
    plan = script.plan
    for _ in range(round(plan.difficulty.distractors * plan.duration_s * plan.people / 5)):
        what = str(rng.choice(["scratch", "pace"]))
        length, person = _frames(plan, what, rng), int(rng.integers(plan.people))
        start = _place(busy, (person,), length, 4, rng)
        side, phase = int(rng.choice([-1, 1])), float(rng.random())
        if start is not None:
            script.events.append(Event(what, None, (person,), start, start + length, side, phase))
