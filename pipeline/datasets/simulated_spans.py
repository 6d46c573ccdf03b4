"""Simulated people for videos whose pictures are not at hand, so that long-form tasks run end to end.

Every video gets a few people who act for some seconds each; an action is a direction in feature space. A class prefers some
actions, and a regression target shifts the weight between two; so a label can be told from many boxes together, while no
box alone is sure. The numbers say nothing about real films.
"""

import csv
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.formats.lvu import SPLITS, TASKS
from pipeline.datasets.spans import PERSON, Instances

ACTIONS = 12
"""Kinds of actions; the simulated short-term model knows them."""

_NOISE = 0.7
_SHOT_S = 8


class Simulation(NamedTuple):
    """``prototypes`` [ACTIONS, D]: what the features of an action scatter around; ``seed``: of everything."""

    prototypes: NDArray[np.float32]
    seed: int

    def teacher(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weight [ACTIONS, D] and bias [ACTIONS] of the linear classifier that is best for these features."""
        weight = self.prototypes / _NOISE**2
        return weight, -0.5 * (weight * self.prototypes).sum(axis=1)


def simulation(dim: int = 32, seed: int = 0) -> Simulation:
    """Draw the actions."""
    drawn = np.random.default_rng(seed).standard_normal((ACTIONS, dim))
    return Simulation((drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32) * 1.5, seed)


def simulated_video(
    made: Simulation, video: str, duration_s: float, targets: Mapping[str, float], classes: Mapping[str, int]
) -> Instances:
    """The people of one video.

    Args:
        made: the actions.
        video: its id; the same id and targets give the same people.
        duration_s: seconds.
        targets: of the tasks that the video has a label in: class index, or value of a regression (about -2 to 2).
        classes: number of classes by task; 0 for a regression.
    """
    rng = np.random.default_rng([made.seed, zlib.crc32(video.encode())])
    weight = np.full(ACTIONS, 0.5)
    for task, target in targets.items():
        of_task = np.random.default_rng([made.seed, zlib.crc32(task.encode())])
        liked = of_task.permuted(np.tile(np.arange(ACTIONS), (max(classes[task], 2), 1)), axis=1)[:, :2]
        if classes[task]:
            weight[liked[int(target)]] += 2.0
        else:
            share = 1 / (1 + np.exp(-target))
            weight[liked[0]] += 3.0 * share
            weight[liked[1]] += 3.0 * (1 - share)
    seconds = np.arange(max(1, round(duration_s)))
    people = rng.integers(1, 4)
    rows = []
    for person in range(people):
        here = seconds[rng.random(len(seconds)) < 0.7]
        action = rng.choice(ACTIONS, len(seconds) // 4 + 1, p=weight / weight.sum())
        rows.append((here, np.full(len(here), person), action[here // 4]))
    second, track, action = (np.concatenate(column) for column in zip(*rows, strict=True))
    order = np.argsort(second, kind="stable")
    second, track, action = second[order], track[order], action[order]
    shot = second // _SHOT_S
    corner = rng.uniform(0, 0.6, (people, 2))[track] + rng.normal(0, 0.02, (len(second), 2))
    box = np.clip(np.concatenate([corner, corner + 0.3], axis=1), 0, 1).astype(np.float32)
    noise = rng.standard_normal((len(second), made.prototypes.shape[1])) * _NOISE
    feature = (made.prototypes[action] + noise).astype(np.float32)
    # A tube ends at a cut, so a person is another instance in every shot.
    instance = track + people * shot
    source = np.full(len(second), PERSON)
    return Instances(second.astype(np.float64), box, instance.astype(np.int64), shot.astype(np.int64), source, feature)


def write_simulated_annotations(folder: Path, sizes: Sequence[int] = (48, 24, 24), seed: int = 0) -> None:
    """All nine tasks in the published CSV form, with made-up clips and labels; ``sizes`` by split."""
    rng = np.random.default_rng(seed)
    for task in TASKS.values():
        (folder / task.name).mkdir(parents=True)
        for split, size in zip(SPLITS, sizes, strict=True):
            with (folder / task.name / f"{split}.csv").open("w", newline="") as file:
                table = csv.writer(file, delimiter=" ")
                columns = {"like_ratio": ["like_count", "dislike_count"], "view_count": ["view_count"]}
                table.writerow([*columns.get(task.name, ["class_id", "class_name"]), "youtube_id", "imdb_id"])
                for i in range(size):
                    where = [f"{task.name}-{split}-{i:03}", f"tt-{split}-{i:03}"]
                    if task.classes:
                        label: list[Any] = list(task.classes[int(rng.integers(len(task.classes)))][:2])
                    elif task.name == "like_ratio":
                        label = [int(rng.integers(20_000, 40_000)), int(rng.integers(500, 6_000))]
                    else:
                        label = [round(float(np.exp(rng.normal(11.8, 1.0))))]
                    table.writerow([*label, *where])
