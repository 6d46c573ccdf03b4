"""The world as a data set reader (:mod:`pipeline.datasets.readers`): its videos are rendered."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.datasets.definition import WorldDefinition
from pipeline.datasets.readers import Planned
from pipeline.datasets.schema import Video
from pipeline.datasets.world.plan import Difficulty, PlannedVideo, world_plan
from pipeline.datasets.world.write import write_video


def plan(definition: WorldDefinition, _root: Path) -> list[Planned]:
    """One entry per video of the size; the spec is the whole plan of that video, so others do not matter to it."""
    videos = world_plan(definition.size, definition.seed, definition.difficulty, definition.extra, definition.videos)
    return [Planned(video.id, (), asdict(video)) for video in videos]


def make(id_: str, _inputs: tuple[Path, ...], spec: dict[str, Any], folder: Path) -> Video:
    """Render, encode and write one video and its truth."""
    video = PlannedVideo(**(spec | {"difficulty": Difficulty(**spec["difficulty"])}))
    assert video.id == id_
    return write_video(video, folder / "unit.mp4", folder / "unit.truth.h5")
