"""The procedural world: the embedded data set, rendered offline from a seed, with every ground truth.

``world_plan`` lists the videos, ``write_video`` makes one of them, ``render_arrays`` does so without a codec.
"""

from pipeline.datasets.world.plan import (
    BOX_CLASSES,
    CLASSES,
    PEOPLE,
    PLACES,
    RELATIONS,
    SIZES,
    VIDEO_LABELS,
    Difficulty,
    PlannedVideo,
    WorldSize,
    world_plan,
)
from pipeline.datasets.world.render import render_arrays, render_video
from pipeline.datasets.world.truth import Truth
from pipeline.datasets.world.write import write_video

__all__ = [
    "BOX_CLASSES", "CLASSES", "PEOPLE", "PLACES", "RELATIONS", "SIZES", "VIDEO_LABELS", "Difficulty", "PlannedVideo",
    "Truth", "WorldSize", "render_arrays", "render_video", "world_plan", "write_video",
]  # fmt: skip
