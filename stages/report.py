"""report: one page that tells what the run gave, and the table that ``make repro`` prints.

In: the predictions of all encoders, and every stage's metrics. Out: ``reports/index.html`` (self-contained),
``reports/tables/results.md``, ``reports/plots/*.png``, and ``reports/bench/repro.json`` with the cost of each stage.
"""

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.datasets.schema import Dataset
from pipeline.run.files import read_json, write_bytes, write_json, write_text
from pipeline.run.params import PARAMS_FILE, Section, flatten, read_params
from pipeline.run.runner import main
from pipeline.run.stage import Context, DatasetStage
from stages import _outputs


class Report(Section):
    """Section ``report`` of params.yaml; nothing to set yet."""


def inputs(context: Context) -> Sequence[Path]:
    """Everything that is read."""
    predictions = [context.root / _outputs.PREDICTIONS.format(variant=v) for v in _outputs.ENCODER_VARIANTS]
    return [context.root / _outputs.DATASET_FILE, *predictions]


def report(context: Context) -> Mapping[str, float]:
    """Score all encoders on the same resamples, write page, table, plots and costs."""
    import numpy as np

    from pipeline.evaluation.activitynet import evaluate
    from pipeline.evaluation.bootstrap import bootstrap
    from pipeline.evaluation.segments import load_ground_truth, load_predictions
    from pipeline.report import page, plots
    from pipeline.report.tables import Difference, Score, difference_table, score_table

    root, out = context.root, context.root / "reports"
    dataset_file = root / _outputs.DATASET_FILE
    dataset = Dataset.load(dataset_file)
    raw = read_params(root / PARAMS_FILE)
    truth = load_ground_truth(dataset_file, "testing")
    predictions = {
        variant: load_predictions(root / _outputs.PREDICTIONS.format(variant=variant) / "predictions.json")
        for variant in _outputs.ENCODER_VARIANTS
    }
    sampled = bootstrap(truth, predictions, resamples=raw["evaluate"].get("resamples", 1000))
    scores = [
        Score(
            name,
            {f"{tiou:.2f}": float(v) for tiou, v in zip(sampled.tious, sampled.point[name], strict=True)},
            sampled.average(name),
        )
        for name in predictions
    ]
    pairs = [("lofi", "untrained"), ("acp", "untrained"), ("lofi", "acp")]
    differences = [Difference(a, b, sampled.difference(a, b)) for a, b in pairs]
    class_ap = {
        name: dict(zip(truth.labels, np.asarray(evaluate(truth, one).ap).mean(axis=0).tolist(), strict=True))
        for name, one in predictions.items()
    }
    metrics = _stage_metrics(root)
    facts = {
        "data set": f"{dataset.name}, {len(dataset.videos)} videos, {len(dataset.classes)} classes",
        "test split": f"{len(truth.videos)} videos, {len(truth)} instances",
        "protocol": "ActivityNet, official rule; average over tIoU 0.50:0.05:0.95",
        "intervals": "95 %, percentile bootstrap over the test videos",
        "commit": _commit(root),
        "machine": f"{os.cpu_count()} x {platform.machine()}, {platform.system()}",
    }
    curves = _curves(root)
    drawn = [plots.average_map_bars(scores), plots.map_against_tiou(scores), *curves]
    table = score_table(scores, "markdown") + "\n\n" + difference_table(differences, "markdown")
    notes = _notes(dataset, truth, differences)
    html = page.report_page(
        page.Report(
            title="Localised actions",
            subtitle=f"Data set {dataset.name}",
            notes=notes,
            scores=scores,
            differences=differences,
            facts=facts,
            plots=drawn,
            class_ap=class_ap,
            stages=[_stage_row(m) for m in metrics],
            failures=[
                page.FailureRow(f["stage"], f["video"], f["cause"]) for m in metrics for f in m.get("failures", [])
            ],
            parameters={name: flatten(section) for name, section in raw.items()},
        )
    )
    write_text(out / "index.html", html)
    for name, plot in zip(["average_map", "map_against_tiou"], drawn, strict=False):
        write_bytes(out / "plots" / f"{name}.png", plot.light)
    lines = [*(f"- {key}: {value}" for key, value in facts.items()), "", table, "", *(f"{note}\n" for note in notes)]
    write_text(out / "tables" / "results.md", "\n".join(lines) + "\n")
    write_json(out / "bench" / "repro.json", _cost(root, facts, metrics, scores))
    print(f"\n{score_table(scores)}\n\n{difference_table(differences)}\n")
    for note in notes:
        print(note)
    return {f"{score.name}/average_mAP": score.average.value for score in scores}


def _notes(dataset: Dataset, truth: Any, differences: Sequence[Any]) -> list[str]:
    notes = []
    if len(truth) < 100:
        notes.append(
            f"The test split has {len(truth)} instances in {len(truth.videos)} videos: these figures prove that the chain "
            "runs, they compare no methods."
        )
    for difference in differences[:2]:
        if difference.interval.low <= 0:
            notes.append(f"{difference.name} is not above {difference.minus} beyond the interval.")
    notes.append("LoFi against ACP is a question for several seeds and more videos, not for one run of the demo.")
    return notes


def _stage_metrics(root: Path) -> list[dict[str, Any]]:
    """The metrics files of all stages in the graph's order, this one's left out."""
    order = ["ingest", "frames", "pretrain", "lofi", "features", "head", "evaluate"]
    found = [read_json(path) for path in sorted((root / _outputs.METRICS).glob("*.json"))]
    chosen = [m for m in found if m["stage"].partition("@")[0] in order]
    return sorted(chosen, key=lambda m: (order.index(m["stage"].partition("@")[0]), m["stage"]))


def _stage_row(metrics: Mapping[str, Any]) -> Any:
    from pipeline.report.page import StageRow

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


def _cost(root: Path, facts: Mapping[str, str], metrics: Sequence[Mapping[str, Any]], scores: Sequence[Any]) -> Any:
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


def _curves(root: Path) -> list[Any]:
    from pipeline.report import plots

    folder = root / "data" / "checkpoints" / "history"
    drawn = []
    for title, y_label, key, files in (
        ("Action classification pre-training", "loss", "total", {"acp": "pretrain/acp.json"}),
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
            {v: f"head-{v}/gtad.json" for v in _outputs.ENCODER_VARIANTS},
        ),
    ):
        curves = {
            name: {int(row["step"]): float(row[key]) for row in read_json(folder / file) if key in row}
            for name, file in files.items()
            if (folder / file).is_file()
        }
        if any(curves.values()):
            drawn.append(plots.training_curves(curves, title, y_label))
    return drawn


def _commit(root: Path) -> str:
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


STAGE = DatasetStage(name="report", section=Report, inputs=inputs, run=report, always=True)

if __name__ == "__main__":
    main("report")
