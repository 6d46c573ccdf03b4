"""What a run did, cost and learned, read from the files that its stages left: for the report."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.evaluation.bootstrap import Interval
from pipeline.report import plots
from pipeline.report.blocks import Measure
from pipeline.report.page import StageRow
from pipeline.report.tables import Score
from pipeline.run.files import read_json
from stages import _outputs


def stage_metrics(root: Path) -> list[dict[str, Any]]:
    """The metrics files of all stages in the graph's order, this one's left out."""
    order = [
        *(
            "ingest",
            "frames",
            "shots",
            "compressed",
            "recognise",
            "framewise",
            "detector",
            "detect",
            "track",
            "pretrain",
            "bank",
            "memory",
            "long_form",
            "lofi",
        ),
        *("features", "head", "evaluate"),
    ]
    found = [read_json(path) for path in sorted((root / _outputs.METRICS).glob("*.json"))]
    chosen = [m for m in found if m["stage"].partition("@")[0] in order]
    return sorted(chosen, key=lambda m: (order.index(m["stage"].partition("@")[0]), m["stage"]))


def stage_row(metrics: Mapping[str, Any]) -> StageRow:
    """One line of the report's table of stages."""
    videos = metrics.get("videos", {})
    return StageRow(
        metrics["stage"],
        metrics["cost"]["wall_s"],
        metrics["cost"]["process_cpu_s"],
        not metrics["executed"],
        videos.get("done"),
        videos.get("failed"),
        metrics["mlflow_run_id"],
    )


def measures(metrics: Sequence[Mapping[str, Any]]) -> dict[str, list[Measure]]:
    """Figures with intervals by the stage that has them: AP50, IDF1, MOTA, cut F1; a stage without scores has none."""
    wanted = {
        "shots": [("cut_F1", "cut F1", "harmonic mean of precision and recall of the hard cuts")],
        "detect": [
            ("AP50_person", "AP50 of people", "AP at IoU 0.50"),
            ("AP50_objects", "AP50 of objects", "mean over the object classes of AP at IoU 0.50"),
        ],
        "track": [
            ("IDF1", "IDF1 of people", "share of boxes that agree when tracks are matched as wholes"),
            ("IDF1_1Hz", "IDF1 at 1 Hz", "the same at one picture a second"),
            ("MOTA", "MOTA of people", "1 less misses, false positives and switches per true box"),
            ("HOTA", "HOTA of people", "detection and association weighed alike"),
        ],
    }
    found: dict[str, list[Measure]] = {name: [] for name in wanted}
    for one in metrics:
        values, nan = one["metrics"], float("nan")
        for key, name, doc in wanted.get(one["stage"], ()):
            if key in values:
                bounds = (values.get(f"{key}_{end}", nan) for end in ("low", "high"))
                found[one["stage"]].append(Measure(name, Interval(values[key], *bounds), doc))
    return found


def warnings(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the stages warned of, each with its stage."""
    return [f"{one['stage']}: {text}" for one in metrics for text in one.get("warnings", ())]


def class_ap50(metrics: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """AP50 of each class of the detector."""
    values: dict[str, float] = next((one["metrics"] for one in metrics if one["stage"] == "detect"), {})
    return {key.removeprefix("AP50/"): value for key, value in values.items() if key.startswith("AP50/")}


def cost(facts: Mapping[str, str], metrics: Sequence[Mapping[str, Any]], scores: Sequence[Score]) -> dict[str, Any]:
    """CPU seconds of each stage's process; ``complete`` says whether every stage did all of its work in this run."""
    stages = {
        m["stage"]: {
            "cpu_s": round(m["cost"]["process_cpu_s"], 1),
            "wall_s": round(m["cost"]["wall_s"], 1),
            "complete": bool(m["executed"]) and not m.get("videos", {}).get("reused"),
        }
        for m in metrics
    }
    total = sum(stage["cpu_s"] for stage in stages.values())
    return {
        "command": "make repro",
        "machine": facts["machine"],
        "commit": facts["commit"],
        "complete": all(stage["complete"] for stage in stages.values()),
        "stages": stages,
        "cpu_s": round(total, 1),
        "minutes_on_two_cores": round(total / 120, 2),
        "average_mAP": {score.name: [score.average.value, score.average.low, score.average.high] for score in scores},
    }


def curves(root: Path) -> list[plots.Plot]:
    """Training curves of every training stage that left a history."""
    folder = root / "data" / "checkpoints" / "history"
    drawn = []
    for title, y_label, key, files in (
        ("Detector", "loss", "total", {"detector": "detector/detector.json"}),
        ("Action classification pre-training", "loss", "total", {"acp": "pretrain/acp.json"}),
        (
            "Recognition by stream",
            "loss",
            "total",
            {name: f"recognise/{name}.json" for name in ("i", "mv", "residual", "flow")},
        ),
        (
            "Labels of frames by network",
            "loss",
            "total",
            {path.stem: f"framewise/{path.name}" for path in sorted((folder / "framewise").glob("*.json"))},
        ),
        (
            "Pre-training on spans of whole videos",
            "loss",
            "total",
            {path.stem: f"long_form/{path.name}" for path in sorted((folder / "long_form").glob("pretrain_*-0.json"))},
        ),
        (
            "LoFi end to end",
            "loss",
            "total",
            {"end to end": "lofi/end_to_end.json", "head warm-up": "lofi/head_warm_up.json"},
        ),
        (
            "Head at full fidelity",
            "proposal mAP on validation",
            "proposal_mAP",
            {v: f"head-{v}/localiser.json" for v in _outputs.ENCODER_VARIANTS},
        ),
    ):
        lines = {
            name: {int(row["step"]): float(row[key]) for row in read_json(folder / file) if key in row}
            for name, file in files.items()
            if (folder / file).is_file()
        }
        if any(lines.values()):
            drawn.append(plots.training_curves(lines, title, y_label))
    return drawn


def commit(root: Path) -> str:
    """The commit that is checked out, and whether the code differs from it."""
    done = subprocess.run(["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run(
        [
            "git",
            "-C",
            str(root),
            "status",
            "--porcelain",
            "--untracked-files=no",
            "--",
            "pipeline",
            "stages",
            "models",
            "params.yaml",
        ],
        capture_output=True,
        text=True,
    )
    return f"{done.stdout.strip() or 'unknown'}{' with changes' if changed.stdout.strip() else ''}"
