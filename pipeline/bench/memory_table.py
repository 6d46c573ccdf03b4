"""What a long-term feature bank remembers (thesis, table 7.1), on the world's classes that only the past tells apart.

``python -m pipeline bench memory-world`` renders the data set ``memory`` and runs ``recipes/memory_world.yaml`` up to
``memory``, through the door, so it runs in a worktree and goes on where it was stopped.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.bench.table_rows import run_metrics
from pipeline.run.launch import Request

REQUEST = Request("memory", "memory_world", (), "memory")
COMMAND = "python -m pipeline run --dataset memory --recipe memory_world --target memory"
REFERENCE, SHORT, LONG = "short_term", "bank_3s", "bank_60s"

MOST_AT_SHORT, LEAST_AT_LONG = 1.0, 5.0
"""The claim in mAP: what the bank may gain where the window does not reach what happened, and must where it does."""


def memory_world() -> dict[str, Any]:
    """Run the recipe and read its table.

    Raises:
        RuntimeError: the run failed; its output says why.
    """
    (Path.cwd() / "data" / "raw" / "memory").mkdir(
        parents=True, exist_ok=True
    )  # the graph wants it; nothing has to be in it
    return figures(run_metrics(REQUEST))


def figures(metrics: Mapping[str, float]) -> dict[str, Any]:
    """The table, in percent, each value with the ends of its 95 % interval over test videos and trainings.

    By variant: ``mAP`` of the two classes, the paired ``gain`` over the short-term network, and ``told_apart``: how often
    the right one of the two has the higher score where either is on (50 is chance; of the trainings' mean scores).
    ``holds`` says of each part of the claim whether it does, by the point estimates, and whether intervals are apart.
    """

    def value(name: str, variant: str) -> list[float]:
        return [round(100 * metrics[f"{name}{end}/{variant}"], 1) for end in ("", "_low", "_high")]

    names = [key.removeprefix("mAP/") for key in metrics if key.startswith("mAP/")]
    rows = {
        name: {
            "mAP": value("mAP", name),
            **({"gain": value("mAP_gain", name)} if name != REFERENCE else {}),
            "told_apart": value("told_apart", name),
        }
        for name in names
    }
    return {
        "run": COMMAND,
        "rows": rows,
        "test_videos": int(metrics["test_videos"]),
        "test_clips": int(metrics["test_clips"]),
        "positives": int(metrics["positives"]),
        "holds": {
            f"gain of {LONG} >= {LEAST_AT_LONG:g}": rows[LONG]["gain"][0] >= LEAST_AT_LONG,
            f"intervals of {LONG} and {REFERENCE} apart": rows[LONG]["mAP"][1] > rows[REFERENCE]["mAP"][2],
            f"gain of {SHORT} <= {MOST_AT_SHORT:g}": rows[SHORT]["gain"][0] <= MOST_AT_SHORT,
        },
    }
