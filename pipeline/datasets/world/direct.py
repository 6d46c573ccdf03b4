"""From a plan to a script: who is there, what each of them does when.

Actions are bound to the times of ``schedule`` in order of time, since what somebody can do depends on the state they
are in: holding, sitting, standing left or right. That is also what balances the opposites: ``put_down`` is what
``pick_up`` is in the other state.
"""

from collections import Counter

import numpy as np

from pipeline.datasets.world.plan import PlannedVideo
from pipeline.datasets.world.schedule import (
    DURATION_S,
    Slot,
    cut,
    distract,
    kind_of,
    meeting_slots,
    memory_slots,
    solo_slots,
)
from pipeline.datasets.world.script import Event, Item, Person, Script

_CANDIDATES = 16


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
    slots = memory_slots(script, busy, rng)
    script.shots = cut(plan, busy, rng)
    slots += meeting_slots(plan, busy, rng)
    slots += solo_slots(script, busy, rng)
    _bind(script, sorted(slots, key=lambda s: (s.start, s.who)), rng)
    distract(script, busy, rng)
    script.events.sort(key=lambda e: (e.start, e.who))
    return script


def _cast(plan: PlannedVideo, rng: np.random.Generator) -> Script:
    aspect, k = plan.width / plan.height, plan.people
    tall = {1: (0.64, 0.76), 2: (0.60, 0.70), 3: (0.54, 0.62), 4: (0.48, 0.57)}[k]
    edge = 0.24 if k < 4 else 0.2
    centres = np.linspace(edge, aspect - edge, k) if k > 1 else np.array([aspect * rng.uniform(0.42, 0.58)])
    reach = {1: 0.22, 2: 0.18, 3: 0.12, 4: 0.1}[k]
    lanes = rng.permutation(np.linspace(0.88, 0.94, k)) if k > 1 else np.array([0.92])
    sitter = int(rng.integers(k))
    people = [
        Person(
            track=p, height=float(rng.uniform(*tall)), lane=float(lanes[p]),
            homes=(float(centres[p] - reach), float(centres[p] + reach)), look=int(rng.integers(2**31)),
            phase=float(rng.random()), stools=p == sitter,
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
    chest_x = middle + (-1 if left else 1) * {1: 0.31, 2: 0.28, 3: 0.2, 4: 0.15}[k]
    return Script(plan, people, extras, items, chest_x)


def _bind(script: Script, slots: list[Slot], rng: np.random.Generator) -> None:
    """Walk through the slots in time, keep everyone's state, and decide what each slot becomes."""
    k = script.plan.people
    home = [int(h) for h in rng.integers(2, size=k)]
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
        elif ("lift" in agenda[p] and rng.random() < 0.6) or rng.random() < 0.35:
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
        longest = round(DURATION_S[kind_of(action)][1] * script.plan.fps)
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
            if person.stools and can_sit_next:
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
    return str(rng.choice(sorted(set(possible.values()) - {"sit_down"})))
