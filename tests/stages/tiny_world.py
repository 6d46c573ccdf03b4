"""A folder in which stages run in this process on a few videos of the tiny world."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.datasets.schema import Dataset, Video
from pipeline.datasets.world import world_plan, write_video
from pipeline.run import kinds
from pipeline.run.params import PARAMS_FILE, Section, check_params, read_params
from pipeline.run.stage import section_models
from stages import _encoder, _outputs
from tests.stages.one_stage import run_one

SPEC = _encoder.EncoderSpec(name="tsm_resnet18", base_width=8, frames=4, window_s=1.0, height=48, width=64)


class Project:
    """A folder with links to the code, an ingested data set of a few videos, and shots as the truth has them."""

    def __init__(
        self, folder: Path, root: Path, subsets: dict[str, int], overrides: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self.root = folder
        self.metrics: dict[str, dict[str, float]] = {}
        for name in ("pipeline", "stages", "models"):
            (folder / name).symlink_to(root / name)
        raw = read_params(root / PARAMS_FILE)
        for name, values in overrides.items():
            raw[name] = raw[name] | values
        self.sections: dict[str, Section] = check_params(raw, section_models(), PARAMS_FILE)
        videos = folder / _outputs.VIDEOS
        made: list[Video] = []
        for plan in (p for p in world_plan("tiny", 0) if p.index < subsets.get(p.subset, 0)):
            made.append(write_video(plan, videos / f"{plan.id}.mp4", videos / f"{plan.id}.truth.h5"))
            starts = kinds.TRUTH.read(videos / f"{plan.id}.truth.h5")["shot_start"]
            ends = np.append(starts[1:], made[-1].duration_s)
            shots = {"t_start": starts, "t_end": ends, "score": np.zeros(len(starts))}
            kinds.SHOTS.write(folder / _outputs.SHOTS / f"{plan.id}.h5", shots, {"detector": "truth"})
        classes = tuple(sorted({segment.label for video in made for segment in video.segments}))
        Dataset("tiny", classes, tuple(made)).save(folder / _outputs.DATASET_FILE)
        torch.manual_seed(0)
        _encoder.save(folder / _outputs.ENCODERS.format(variant="acp"), _encoder.build(SPEC), SPEC)

    def run(self, name: str, variant: str = "") -> dict[str, float]:
        """Run one stage in this process; its metrics."""
        return run_one(self.root, self.sections, name, variant)

    def read(self, kind: str, out: str) -> dict[str, np.ndarray]:
        """The artifact of the test video."""
        return kinds.ALL[kind].read(self.root / out / "world-testing-0000.h5")
