"""Multi-stage Fusion of Coarse-Fine networks at the size where it is needed."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from models.temporal.fusion import MultiStageFusion, coarse_gaussians
from pipeline.bench.timing import median_seconds
from pipeline.training.device import set_threads

CHANNELS = (24, 48, 96, 192)
"""Of X3D-M's stages that are fused; the fine features have 7 x 7 positions, the coarse ones eight times, ... once that."""

Form = Callable[[], list[Tensor]]


def forms(where: torch.device, frames: int, coarse_frames: int, positions: int) -> dict[str, Form]:
    """One clip's fusion at all four places, computed at the fine features' size and at the released sizes.

    Args:
        where: device.
        frames: fine frames, 128 in the paper.
        coarse_frames: 33 in the paper.
        positions: of the fine features, each way; 7 at 224 px.
    """
    torch.manual_seed(0)
    module = MultiStageFusion(CHANNELS, 432, 157).eval().to(where)
    sizes = [positions * 2 ** (3 - i) for i in range(4)]
    fine = [torch.randn(1, c, frames, positions, positions, device=where) for c in CHANNELS]
    coarse = [torch.randn(1, c, coarse_frames, s, s, device=where) for c, s in zip(CHANNELS, sizes, strict=True)]
    centres = torch.linspace(0, frames - 1, coarse_frames, device=where)[None]
    gaussians = coarse_gaussians(centres, torch.tensor([frames], device=where), frames)

    def run(reference: bool) -> list[Tensor]:
        module.reference_form = reference
        with torch.inference_mode():
            prepared = module.prepare(fine, gaussians, [x.shape[3:] for x in coarse])
            return [module.fuse(i, x, prepared) for i, x in enumerate(coarse)]

    return {"here": lambda: run(False), "released_sizes": lambda: run(True)}


def difference(small: list[Tensor], large: list[Tensor]) -> float:
    """Largest relative difference of two results."""
    return max(float((a - b).norm() / b.norm()) for a, b in zip(small, large, strict=True))


def fusion() -> dict[str, Any]:
    """Multi-stage Fusion of a 224 px video, 128 fine and 33 coarse frames: here at 7 x 7 against the released sizes."""
    set_threads(1)
    both = forms(torch.device("cpu"), 128, 33, 7)
    seconds = {name: round(median_seconds(run, 3), 4) for name, run in both.items()}
    return {
        "cpu_s": seconds,
        "speed_up": round(seconds["released_sizes"] / seconds["here"], 1),
        "relative_difference": difference(*(run() for run in both.values())),
    }
