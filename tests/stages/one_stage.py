"""A stage run in this process, as the command ``python -m stages.NAME`` runs it."""

from collections.abc import Mapping
from pathlib import Path

from pipeline.run.files import read_json
from pipeline.run.params import Section
from pipeline.run.progress import StageProgress
from pipeline.run.runner import run_stage
from pipeline.run.stage import find_stage
from stages import _outputs


def run_one(root: Path, sections: Mapping[str, Section], name: str, variant: str = "") -> dict[str, float]:
    """Run one stage of the project in ``root``; its metrics."""
    label = f"{name}@{variant}" if variant else name
    with StageProgress(label, root / "status.json") as progress:
        run_stage(find_stage(name), variant, dict(sections), root, progress)
    metrics: dict[str, float] = read_json(root / _outputs.METRICS / f"{label}.json")["metrics"]
    return metrics
