"""Adaptive time and multigrid training on a GPU: ``python -m pipeline bench gpu-temporal --part sgs`` (:data:`PARTS`).

``sgs``: X3D-S with Similarity Guided Sampling in its packings against X3D-S alone (asked: 1.5 times its frames per second;
table A.2: 1.51). ``fusion``: Multi-stage Fusion at 7 x 7 against the released sizes, time and memory. ``multigrid``: time of
whole trainings against their baselines at equal epochs and at 1.5 times as many (thesis: 4.5 times less).
"""

from collections.abc import Callable
from typing import Any

import torch

from pipeline.bench import fusion, gpu, multigrid, sgs
from pipeline.training.grid import Grid

PRECISIONS = ("float32", "bf16")


def gpu_temporal(part: str | None = None, toy: bool = False) -> dict[str, Any]:
    """Figures of the named part, or of all by their names.

    Raises:
        ValueError: unknown part; no GPU and no ``toy``.
    """
    names, where = gpu.chosen(PARTS, part), gpu.target(toy)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    found: dict[str, Any] = {**gpu.hardware(where), "toy": toy}
    left: list[str] = []
    for name in gpu.within(names, left):
        found[name] = PARTS[name](where, toy)
    return {**found, "not_measured": left}


def _sgs(_where: torch.device, toy: bool) -> list[dict[str, Any]]:
    if toy:
        return [sgs.measure(sgs.PAPER_BINS, 2, 1, "float32", size=32)]
    return [sgs.measure(sgs.PAPER_BINS, batch, 20, precision) for precision in sgs.PRECISIONS for batch in (32, 128)]


def _fusion(where: torch.device, toy: bool) -> list[gpu.Row]:
    forms = fusion.forms(where, *((16, 5, 2) if toy else (128, 33, 7)))
    small, large = (run() for run in forms.values())
    rows: list[gpu.Row] = [{"relative_difference": fusion.difference(small, large)}]
    for precision in PRECISIONS:
        for name, run in forms.items():
            row: gpu.Row = {"form": name, "precision": precision}
            with gpu.failure_in(row), gpu.autocast(where, precision):
                row |= gpu.measured(run, where, 1 if toy else 20)
            rows.append(row)
    return rows


def _multigrid(where: torch.device, toy: bool) -> list[dict[str, Any]]:
    if toy:
        return [multigrid.measure("x3d_s", 8, Grid(2, 8, 32, 32), 1)]
    trained = (("x3d_m", Grid(8, 16, 224, 224)), ("slowfast_8x8_r50", Grid(8, 32, 224, 224)))
    return [multigrid.measure(name, 64, full, 5, precision) for name, full in trained for precision in PRECISIONS]


PARTS: dict[str, Callable[[torch.device, bool], Any]] = {"sgs": _sgs, "fusion": _fusion, "multigrid": _multigrid}
