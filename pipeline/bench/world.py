"""Speed of the procedural world."""

import statistics
import tempfile
from pathlib import Path
from typing import Any

from pipeline.bench.timing import cpu_seconds
from pipeline.datasets.world import world_plan, write_video


def world() -> dict[str, Any]:
    """Rendering and H.264 encoding of the procedural world: seconds of video per CPU second (asked: 10)."""
    rows = {}
    with tempfile.TemporaryDirectory() as temp:
        for size in ("tiny", "small", "medium"):
            plans = [p for p in world_plan(size, seed=1) if p.subset == "testing"][:4]
            rates = [
                plan.duration_s
                / cpu_seconds(lambda plan=plan: write_video(plan, Path(temp) / "v.mp4", Path(temp) / "t.h5"))  # type: ignore[misc]
                for plan in plans
            ]
            rows[size] = {"times_real_time_per_core": round(statistics.median(rates), 1), "videos": len(plans)}
    return {"sizes": rows}
