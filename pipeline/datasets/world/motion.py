"""From a script to where every joint and object is in every frame: arrays over the whole video, no pictures."""

from dataclasses import dataclass

import numpy as np

from pipeline.datasets.world.actions import ACTIONS, Stage, lying
from pipeline.datasets.world.body import gait, hold, joints, seat, smooth, standing
from pipeline.datasets.world.script import Script


@dataclass
class Tracks:
    """Everything that moves, over T frames, in picture heights (x right, y down).

    ``joints`` [people, T, 14, 2] (:data:`body.JOINTS`), ``items`` [items, T, 2] with ``seen`` [items, T] (bool) and
    ``owner`` [items, T] (the person whom it is with), ``lid`` [T] (how far the chest is open, 0..1), ``extras``
    [extras, T, 14, 2].
    """

    joints: np.ndarray
    items: np.ndarray
    seen: np.ndarray
    owner: np.ndarray
    lid: np.ndarray
    extras: np.ndarray


def make_tracks(script: Script) -> Tracks:
    """Positions of all joints and objects of a script."""
    plan = script.plan
    n = plan.n_frames
    t = np.arange(n) / plan.fps
    owner, held = _owners(script)
    stage = Stage(
        script, [standing(plan, p, p.homes[home], t) for p, home in zip(script.people, script.first_home, strict=True)],
        holding=np.stack([((owner == p) & held).any(0) for p in range(plan.people)]),
        items=np.full((len(script.items), n, 2), -9.0), seen=np.zeros((len(script.items), n), bool), lid=np.zeros(n),
    )  # fmt: skip
    for p, body in enumerate(stage.bodies):
        seat(body, _seated(script, p))
        hold(body, stage.holding[p])
    for event in script.events:
        u = (np.arange(event.stop - event.start) + 0.5) / (event.stop - event.start)
        ACTIONS[event.action](stage, event, slice(event.start, event.stop), u)
    for i in range(plan.people):
        _place_item(stage, i)
    people = [joints(b, gait(b.x, plan.fps, p), p) for b, p in zip(stage.bodies, script.people, strict=True)]
    around = [standing(plan, p, p.spot, t) for p in script.extras]
    extras = [joints(b, gait(b.x, plan.fps, p), p) for b, p in zip(around, script.extras, strict=True)]
    return Tracks(np.stack(people), stage.items, stage.seen, owner, stage.lid, np.stack(extras))


def _seated(script: Script, p: int) -> np.ndarray:
    """How far person ``p`` sits, 0..1, over the frames."""
    weight = np.full(script.plan.n_frames, float(script.first_seated[p]))
    for event in script.events:
        if event.action in ("sit_down", "stand_up") and event.who == (p,):
            u = (np.arange(event.stop - event.start) + 0.5) / (event.stop - event.start)
            down = event.action == "sit_down"
            weight[event.start : event.stop] = smooth(u if down else 1 - u)
            weight[event.stop :] = float(down)
    return weight


def _owners(script: Script) -> tuple[np.ndarray, np.ndarray]:
    """Per item and frame: the person whom it is with, and whether they hold it."""
    owner = np.full((len(script.items), script.plan.n_frames), -1, np.int64)
    held = np.zeros(owner.shape, bool)
    for i, changes in enumerate(script.keeps):
        for start, person, in_hands in changes:
            owner[i, start:], held[i, start:] = person, in_hands
    for event in script.events:
        if event.action == "hide":
            owner[event.item, event.start : event.stop] = event.who[0]
    return owner, held


def _place_item(stage: Stage, i: int) -> None:
    """Put item ``i`` where it lies or into the hands that hold it."""
    stage.seen[i] = True
    for start, person, held in stage.script.keeps[i]:
        who, body = stage.script.people[person], stage.bodies[person]
        if held:
            stage.items[i, start:, 0] = body.x[start:] + body.carry[start:, 0] * who.height
            stage.items[i, start:, 1] = who.lane - (body.carry[start:, 1] + body.lift[start:]) * who.height
        else:
            stage.items[i, start:] = lying(who, stage.script.items[i])
