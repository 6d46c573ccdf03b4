"""Coarse-Fine Networks and their parts on the demo's world: what each labels at every frame, and what it costs.

``python -m pipeline bench coarse-fine-world`` runs ``recipes/coarse_fine_world.yaml`` up to ``framewise``, through the door.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.bench.table_rows import run_metrics
from pipeline.run.launch import Request

REQUEST = Request("world", "coarse_fine_world", (), "framewise")
COMMAND = "python -m pipeline run --recipe coarse_fine_world --target framewise"
SCORES = ("charades_v1_localize_mAP", "frames_mAP")
COSTS = ("conv_gmacs", "params_m", "peak_mib", "train_cpu_s", "test_cpu_ms_per_frame")


def coarse_fine_world() -> dict[str, Any]:
    """Run the recipe and read its table.

    Raises:
        RuntimeError: the run failed; its output says why.
    """
    return figures(run_metrics(REQUEST))


def figures(metrics: Mapping[str, float]) -> dict[str, Any]:
    """By network: scores in percent with their 95 % intervals over the test videos, and costs.

    ``conv_gmacs`` of a test video; ``peak_mib`` of a training step; ``train_cpu_s`` without the networks it starts from.
    """
    first = f"{SCORES[0]}/"
    names = [key.removeprefix(first) for key in metrics if key.startswith(first)]
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        rows[name] = {
            score: [round(100 * metrics[f"{score}{end}/{name}"], 2) for end in ("", "_low", "_high")]
            for score in SCORES
        }
        rows[name] |= {cost: round(metrics[f"{cost}/{name}"], 4) for cost in COSTS if f"{cost}/{name}" in metrics}
    return {
        "run": COMMAND,
        "chance_mAP": round(100 * metrics["chance_mAP"], 2),
        "test_videos": int(metrics["test_videos"]),
        "rows": rows,
    }
