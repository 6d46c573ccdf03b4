"""Multi-stage Fusion of Coarse-Fine networks at the size where it is needed."""

from typing import Any

import torch

from models.temporal.fusion import MultiStageFusion, coarse_gaussians
from pipeline.bench.timing import median_seconds
from pipeline.training.device import set_threads


def fusion() -> dict[str, Any]:
    """Multi-stage Fusion of a 224 px video, 128 fine and 33 coarse frames: here at 7 x 7 against the released sizes."""
    set_threads(1)
    channels, sizes = (24, 48, 96, 192), (56, 28, 14, 7)
    module = MultiStageFusion(channels, 432, 157).eval()
    fine = [torch.randn(1, c, 128, 7, 7) for c in channels]
    coarse = [torch.randn(1, c, 33, s, s) for c, s in zip(channels, sizes, strict=True)]
    gaussians = coarse_gaussians(torch.linspace(0, 127, 33)[None], torch.tensor([128]), 128)

    def run(reference: bool) -> list[torch.Tensor]:
        module.reference_form = reference
        with torch.inference_mode():
            prepared = module.prepare(fine, gaussians, [x.shape[3:] for x in coarse])
            return [module.fuse(i, x, prepared) for i, x in enumerate(coarse)]

    small, large = run(False), run(True)
    seconds = {
        "here": round(median_seconds(lambda: run(False), 3), 4),
        "released_sizes": round(median_seconds(lambda: run(True), 3), 4),
    }
    return {
        "cpu_s": seconds,
        "speed_up": round(seconds["released_sizes"] / seconds["here"], 1),
        "relative_difference": max(float((a - b).norm() / b.norm()) for a, b in zip(small, large, strict=True)),
    }
