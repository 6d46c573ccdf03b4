"""Crops of many action instances and two small classifiers, to test what one picture and what many can tell."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import nn

from pipeline.datasets.world import PlannedVideo, world_plan
from pipeline.datasets.world.actions import CHEST_FLOOR
from pipeline.datasets.world.render import World, render_frames
from pipeline.datasets.world.script import Event

Task = Callable[[World, np.random.Generator], list[tuple[np.ndarray, int]]]
"""Finds instances in a video: crops [T, SIDE, SIDE, 3] and binary target of each."""

SIDE = 28
_HEIGHT = 64


@dataclass(frozen=True)
class Samples:
    """Crops [N, T, SIDE, SIDE, 3] in 0..1, binary target [N], video of each [N]."""

    crops: np.ndarray
    target: np.ndarray
    video: np.ndarray


def plans(n: int, seed: int, cards: tuple[str, ...] | None = None, difficulty: float = 0.5) -> list[PlannedVideo]:
    """``n`` short videos; with ``cards``, people act these alone and do nothing else but the chest's actions."""
    found = [p for p in world_plan("tiny", seed, difficulty, extra=n) if p.subset == "training"][:n]
    if cards is None:
        return found
    few = [replace(p, people=min(p.people, 2), meetings=(), cuts=1) for p in found]
    return [replace(p, cards=tuple(cards[(p.index + j) % len(cards)] for j in range(3 + p.people))) for p in few]


def actor_crop(world: World, event: Event) -> tuple[float, float, float]:
    """A square (middle x, middle y, side; picture heights in the world) around all of an action of one person."""
    joints = world.tracks.joints[event.who[0], event.start : event.stop]
    person = world.script.people[event.who[0]]
    middle = float(joints[..., 0].min() + joints[..., 0].max()) / 2
    if event.action.startswith("wave"):  # the arm is what counts
        return middle, person.lane - 0.95 * person.height, 0.9 * person.height
    return middle, person.lane - 0.55 * person.height, 1.5 * person.height


def show_crop(world: World, event: Event) -> tuple[float, float, float]:
    """A square around the hand that shows something, high up and towards the chest."""
    person = world.script.people[event.who[0]]
    side = 1.0 if world.script.chest_x > world.tracks.joints[event.who[0], event.start, 0, 0] else -1.0
    # The actor stands 0.26 of their height beside the chest and holds the thing out by 0.2.
    return world.script.chest_x - side * 0.06 * person.height, person.lane - 1.0 * person.height, 0.5 * person.height


def chest_crop(world: World) -> tuple[float, float, float]:
    """A square around the chest and whoever stoops over it."""
    return world.script.chest_x, CHEST_FLOOR - 0.35, 0.8


def cut_out(
    world: World, frames: np.ndarray, square: tuple[float, float, float] | None, side: int = SIDE
) -> np.ndarray:
    """Crops [T, side, side, 3] float32 in 0..1 of some frames; the whole picture without a square."""
    out = []
    for f, picture in zip(frames, render_frames(world, frames, _HEIGHT), strict=True):
        high, width = picture.shape[:2]
        if square is None:
            out.append(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA))
            continue
        scale = world.camera.zoom[f] * high
        x = (square[0] - world.camera.x[f]) * scale + width / 2
        y = (square[1] - world.camera.y[f]) * scale + high / 2
        k = side / (square[2] * scale)
        matrix = np.array([[k, 0, side / 2 - k * x], [0, k, side / 2 - k * y]])
        out.append(cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_AREA))
    return np.stack(out).astype(np.float32) / 255


def gather(videos: list[PlannedVideo], tasks: dict[str, Task]) -> dict[str, Samples]:
    """Run every task on every video."""
    found: dict[str, list[tuple[np.ndarray, int, int]]] = {name: [] for name in tasks}
    for v, plan in enumerate(videos):
        world = World.of(plan)
        rng = np.random.default_rng([plan.seed, plan.index])
        for name, task in tasks.items():
            found[name] += [(crop, target, v) for crop, target in task(world, rng)]
    return {
        name: Samples(np.stack([r[0] for r in rows]), np.array([r[1] for r in rows]), np.array([r[2] for r in rows]))
        for name, rows in found.items()
    }


def pair_task(pair: tuple[str, str], n_frames: int, step_s: float | None = None) -> Task:
    """Instances of two classes, ``n_frames`` pictures of each: evenly over all of the action, or ``step_s`` apart."""

    def task(world: World, rng: np.random.Generator) -> list[tuple[np.ndarray, int]]:
        rows = []
        for event in world.script.events:
            if event.label in pair:
                length = event.stop - event.start
                if step_s is None:
                    frames = event.start + ((np.arange(n_frames) + rng.random()) / n_frames * length).astype(int)
                else:
                    way = np.arange(n_frames) * round(step_s * world.plan.fps)
                    frames = event.start + way + int(rng.integers(length - way[-1]))
                rows.append((cut_out(world, frames, actor_crop(world, event)), pair.index(event.label)))
        return rows

    return task


def reach_task(n_frames: int, window_s: float) -> Task:
    """Pictures of ``window_s`` seconds around every reach (around chest and actor); target: what was hidden."""

    def task(world: World, rng: np.random.Generator) -> list[tuple[np.ndarray, int]]:
        rows = []
        for event in world.script.events:
            if event.action == "reach":
                middle = (event.start + event.stop) / 2 / world.plan.fps
                times = middle + window_s * ((np.arange(n_frames) + 0.5) / n_frames - 0.5)
                frames = np.clip(np.rint(times * world.plan.fps), 0, world.plan.n_frames - 1).astype(int)
                rows.append((cut_out(world, frames, chest_crop(world)), int(event.label == "reach_for_box")))
        return rows

    return task


def past_task(n_frames: int) -> Task:
    """For every reach, pictures of the last ``hide`` before it; target as in :func:`reach_task`."""

    def task(world: World, rng: np.random.Generator) -> list[tuple[np.ndarray, int]]:
        rows, crops = [], None
        for event in world.script.events:
            if event.action == "hide":
                frames = event.start + (np.linspace(0.22, 0.5, n_frames) * (event.stop - event.start)).astype(int)
                crops = cut_out(world, frames, show_crop(world, event))
            elif event.action == "reach" and crops is not None:
                rows.append((crops, int(event.label == "reach_for_box")))
        return rows

    return task


def accuracy(samples: Samples, single: bool) -> tuple[float, int]:
    """Accuracy (mean of the two classes) on held-out videos, a third, and number of instances in them.

    ``single``: every picture of an instance is an example of its own, in training and in testing, and sees no other;
    else a classifier sees all pictures of the instance in order.
    """
    torch.manual_seed(0)
    test = samples.video % 3 == 0
    target = torch.from_numpy(samples.target).float()
    x = torch.from_numpy(samples.crops).permute(0, 1, 4, 2, 3)  # N, T, 3, H, W
    t = x.shape[1]
    if single:
        x, target, hold = x.flatten(0, 1), target.repeat_interleave(t), np.repeat(test, t)
    else:
        # Grey pictures, their changes, and how much each place changes.
        grey = x.mean(2)
        change = 3 * grey.diff(dim=1)
        x, hold = torch.cat([grey, change, change.abs(), change.abs().mean(1, keepdim=True)], 1), test
    x = x - x.mean((0, 2, 3), keepdim=True)
    chosen = torch.from_numpy(hold)
    net = _train(x[~chosen], target[~chosen], epochs=10 if single else 30)
    with torch.no_grad():
        guess = net(x[chosen]).squeeze(1) > 0
    truth = target[chosen] > 0.5
    score = sum(float((guess == truth)[truth == c].float().mean()) for c in (False, True)) / 2
    return score, int(test.sum())


def _train(x: torch.Tensor, target: torch.Tensor, epochs: int) -> nn.Module:
    def block(a: int, b: int) -> list[nn.Module]:
        return [nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]

    net = nn.Sequential(*block(x.shape[1], 24), *block(24, 32), *block(32, 48), nn.Flatten(), nn.Dropout(0.3),
                        nn.LazyLinear(1))  # fmt: skip
    net(x[:2])
    batch, steps = 64, max(1, len(x) // 64) * epochs
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    share = target.mean()
    weight = torch.where(target > 0.5, 0.5 / share, 0.5 / (1 - share))
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(len(x), (batch,), generator=generator)
        loss = nn.functional.binary_cross_entropy_with_logits(net(x[rows]).squeeze(1), target[rows], weight[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()
