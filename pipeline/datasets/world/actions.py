"""What each action does to the figures and things: one function for each, over the frames of the event.

``u`` [n] runs from 0 to 1 over the action, at frame centres, so that an action and its opposite mirror each other.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.datasets.world.body import STRIDE, Body, ramp, smooth
from pipeline.datasets.world.script import Event, Item, Person, Script

CHEST_SIZE = (0.18, 0.13)
"""Width and height of the chest in picture heights."""
CHEST_FLOOR = 0.965
"""Where the lower edge of the chest is."""
CHEST_INSIDE = CHEST_FLOOR - 0.6 * CHEST_SIZE[1]
"""Where hands go in it."""
_WAVE_HZ = {"wave_slow": 0.45, "wave_fast": 1.6}


@dataclass
class Stage:
    """What actions change: bodies, places of items [items, T, 2], whether they are seen, how far the chest is open."""

    script: Script
    bodies: list[Body]
    holding: np.ndarray
    items: np.ndarray
    seen: np.ndarray
    lid: np.ndarray


def lying(person: Person, item: Item) -> tuple[float, float]:
    """Where the middle of an item is that lies at somebody's spot, in picture heights."""
    return person.spot, person.lane + 0.015 - item.radius


def _pull(channel: np.ndarray, cut: slice, weight: np.ndarray, goal: np.ndarray) -> None:
    """Blend a channel towards a goal, in place."""
    part = channel[cut]
    w = weight.reshape(-1, *([1] * (part.ndim - 1)))
    channel[cut] = part * (1 - w) + goal * w


def _in_body(body: Body, person: Person, cut: slice, x: np.ndarray | float, y: np.ndarray | float) -> np.ndarray:
    """Picture coordinates as body coordinates of a person: [n, 2]."""
    across = (x - body.x[cut]) / person.height
    return np.stack([across, np.broadcast_to((person.lane - y) / person.height, across.shape)], 1)


def _walk(stage: Stage, event: Event, cut: slice, u: np.ndarray) -> None:
    p = event.who[0]
    body, person = stage.bodies[p], stage.script.people[p]
    way = (person.homes[1] - person.homes[0]) * (1 if event.action == "walk_right" else -1)
    # Even speed with short ends: both directions pass the same places equally long.
    v = smooth(u / 0.18) * smooth((1 - u) / 0.18)
    body.x[cut] += way * (np.cumsum(v) - 0.5 * v) / v.sum()
    body.x[event.stop :] += way
    if not stage.holding[p][event.start]:
        swing = 0.05 * np.sin(2 * np.pi * body.x[cut] / person.height / STRIDE) * ramp(u, 0.2)
        body.hands[cut, :, 0] += swing[:, None]


def _wave(stage: Stage, event: Event, cut: slice, u: np.ndarray) -> None:
    body = stage.bodies[event.who[0]]
    seconds = (event.stop - event.start) / stage.script.plan.fps
    angle = np.sin(2 * np.pi * (_WAVE_HZ[event.action] * u * seconds + event.phase))
    side = (event.side + 1) // 2
    goal = np.stack([event.side * (0.25 + 0.19 * angle), 1.02 - 0.05 * np.abs(angle)], 1)
    _pull(body.hands[:, side], cut, ramp(u, 0.15), goal)


def _raise_arms(stage: Stage, event: Event, cut: slice, u: np.ndarray) -> None:
    body, w = stage.bodies[event.who[0]], ramp(u, 0.25)
    for side, sign in ((0, -1), (1, 1)):
        _pull(body.hands[:, side], cut, w, np.array([sign * 0.17, 1.08]))
    # On the way up the hands swing outwards.
    swing = 0.16 * np.sin(np.pi * w)
    body.hands[cut, 0, 0] -= swing
    body.hands[cut, 1, 0] += swing


def _jump(stage: Stage, event: Event, cut: slice, u: np.ndarray) -> None:
    body = stage.bodies[event.who[0]]
    seconds = (event.stop - event.start) / stage.script.plan.fps
    hops = max(2, round(seconds / 0.85))
    phase = (u * hops) % 1.0
    air = np.clip((phase - 0.3) / 0.4, 0, 1)
    body.lift[cut] += 0.17 * 4 * air * (1 - air)
    ground = np.where(phase < 0.3, phase / 0.3, np.where(phase > 0.7, (1 - phase) / 0.3, 0.0))
    body.drop[cut] += 0.11 * np.sin(np.pi * ground) ** 2
    if not stage.holding[event.who[0]][event.start]:
        w = ramp(u, 0.12)
        for side, sign in ((0, -1), (1, 1)):
            goal = np.stack([sign * (0.2 + 0.06 * np.sin(np.pi * air)), 0.5 + 0.14 * np.sin(np.pi * air)], 1)
            _pull(body.hands[:, side], cut, w, goal)


def _lift(stage: Stage, event: Event, cut: slice, u: np.ndarray) -> None:
    body, w = stage.bodies[event.who[0]], ramp(u, 0.3)
    _pull(body.carry, cut, w, np.array([0.0, 1.09]))
    for side, sign in ((0, -1), (1, 1)):
        body.hands[cut, side] = body.carry[cut] + np.array([sign * 0.085, -0.02])


def _stoop(stage: Stage, event: Event, cut: slice, u: np.ndarray) -> None:
    """``pick_up``, and played backwards ``put_down``: hands to the thing, thing to the hands."""
    assert event.item is not None
    body, person = stage.bodies[event.who[0]], stage.script.people[event.who[0]]
    w = smooth(np.minimum(u, 1 - u) / 0.42)
    body.drop[cut] += 0.17 * w
    body.lean[cut] += (0.75 if person.spot > body.x[event.start] else -0.75) * w
    goal = _in_body(body, person, cut, person.spot, lying(person, stage.script.items[event.item])[1])
    _pull(body.carry, cut, w, goal)
    near = smooth(np.minimum(u, 1 - u) / 0.3)
    for side, out in ((0, -1), (1, 1)):
        _pull(body.hands[:, side], cut, near, body.carry[cut] + np.array([out * 0.06, 0.02]))


def _sit(stage: Stage, event: Event, cut: slice, u: np.ndarray) -> None:
    """A little swing to one side; sitting itself is a state (see motion) since it lasts beyond the event."""
    stage.bodies[event.who[0]].lean[cut] += event.side * 0.12 * np.sin(np.pi * u)


def _meet(stage: Stage, event: Event, cut: slice, u: np.ndarray) -> tuple[float, float]:
    """Both step up to each other and back; returns where their hands meet, in picture heights."""
    a, b = sorted(event.who)
    left, right = stage.script.people[a], stage.script.people[b]
    apart = 0.24 * (left.height + right.height)
    middle = float(stage.bodies[a].x[event.start] + stage.bodies[b].x[event.start]) / 2
    w = ramp(u, 0.28)
    _pull(stage.bodies[a].x, cut, w, np.array(middle - apart / 2))
    _pull(stage.bodies[b].x, cut, w, np.array(middle + apart / 2))
    return middle, min(left.lane - 0.62 * left.height, right.lane - 0.62 * right.height) + 0.03


def _shake_hands(stage: Stage, event: Event, cut: slice, u: np.ndarray) -> None:
    x, y = _meet(stage, event, cut, u)
    seconds = (event.stop - event.start) / stage.script.plan.fps
    pump = 0.025 * np.sin(2 * np.pi * 1.4 * u * seconds)
    for who, side in ((min(event.who), 1), (max(event.who), 0)):
        goal = _in_body(stage.bodies[who], stage.script.people[who], cut, x, y + pump)
        _pull(stage.bodies[who].hands[:, side], cut, smooth((u - 0.15) / 0.2) * smooth((0.85 - u) / 0.2), goal)


def _hand_over(stage: Stage, event: Event, cut: slice, u: np.ndarray) -> None:
    x, y = _meet(stage, event, cut, u)
    w = smooth((u - 0.18) / 0.24) * smooth((0.82 - u) / 0.24)
    for who in event.who:
        body = stage.bodies[who]
        goal = _in_body(body, stage.script.people[who], cut, x, y)
        _pull(body.carry, cut, w, goal)
        for side, out in ((0, -1), (1, 1)):
            _pull(body.hands[:, side], cut, w, body.carry[cut] + np.array([out * 0.05, 0.0]))
            free = stage.holding[who][cut]
            body.hands[cut, side][free] = body.carry[cut][free] + np.array([out * 0.065, 0.0])


def _at_chest(stage: Stage, event: Event, cut: slice, u: np.ndarray) -> tuple[Body, Person, float, np.ndarray]:
    """Step up to the chest and back; returns body, person, the side that it is on, and the hand of that side."""
    body, person = stage.bodies[event.who[0]], stage.script.people[event.who[0]]
    sign = 1.0 if stage.script.chest_x > body.x[event.start] else -1.0
    _pull(body.x, cut, ramp(u, 0.3), np.array(stage.script.chest_x - sign * 0.26 * person.height))
    return body, person, sign, body.hands[:, int(sign > 0)]


def _hide(stage: Stage, event: Event, cut: slice, u: np.ndarray) -> None:
    """Show the thing high up, then put it into the chest."""
    assert event.item is not None
    body, person, sign, hand = _at_chest(stage, event, cut, u)
    low = smooth((u - 0.52) / 0.2) * smooth((1 - u) / 0.2)
    body.lean[cut] += sign * 0.5 * low
    body.drop[cut] += 0.12 * low
    shown = np.stack([np.full(len(u), sign * 0.2), np.full(len(u), 0.97)], 1)
    way = smooth((u - 0.5) / 0.24)[:, None]
    inside = _in_body(body, person, cut, stage.script.chest_x, CHEST_INSIDE)
    _pull(hand, cut, ramp(u, 0.2), shown * (1 - way) + inside * way)
    stage.items[event.item, cut, 0] = body.x[cut] + hand[cut, 0] * person.height
    stage.items[event.item, cut, 1] = person.lane - hand[cut, 1] * person.height - 0.03 * (1 - way[:, 0])
    stage.seen[event.item, cut] = (u > 0.1) & (u < 0.76)
    stage.lid[cut] = np.maximum(stage.lid[cut], smooth((u - 0.42) / 0.12) * smooth((0.94 - u) / 0.12))


def _reach(stage: Stage, event: Event, cut: slice, u: np.ndarray) -> None:
    """Reach into the chest and feel around in it. Nothing shows what is in there."""
    body, person, sign, hand = _at_chest(stage, event, cut, u)
    w = smooth((u - 0.15) / 0.2) * smooth((0.85 - u) / 0.2)
    body.lean[cut] += sign * 0.5 * w
    body.drop[cut] += 0.12 * w
    stir = 0.03 * np.sin(2 * np.pi * (2 * u + event.phase))
    _pull(hand, cut, w, _in_body(body, person, cut, stage.script.chest_x + stir, CHEST_INSIDE))
    stage.lid[cut] = np.maximum(stage.lid[cut], smooth((u - 0.12) / 0.12) * smooth((0.88 - u) / 0.12))


def _scratch(stage: Stage, event: Event, cut: slice, u: np.ndarray) -> None:
    side = (event.side + 1) // 2
    rub = 0.02 * np.sin(2 * np.pi * 3 * u)
    goal = np.stack([event.side * 0.07 + rub, np.full(len(u), 0.93)], 1)
    _pull(stage.bodies[event.who[0]].hands[:, side], cut, ramp(u, 0.35), goal)


def _pace(stage: Stage, event: Event, cut: slice, u: np.ndarray) -> None:
    """A few steps to one side and back."""
    stage.bodies[event.who[0]].x[cut] += event.side * 0.06 * np.sin(2 * np.pi * u) * ramp(u, 0.2)


ACTIONS: dict[str, Callable[..., None]] = {
    "walk_left": _walk, "walk_right": _walk, "wave_slow": _wave, "wave_fast": _wave, "pick_up": _stoop,
    "put_down": _stoop, "sit_down": _sit, "stand_up": _sit, "lift_ball": _lift, "lift_box": _lift,
    "hand_over": _hand_over, "shake_hands": _shake_hands, "raise_arms": _raise_arms, "jump": _jump, "hide": _hide,
    "reach": _reach, "scratch": _scratch, "pace": _pace,
}  # fmt: skip
"""By action name. Each changes ``stage`` in place."""
