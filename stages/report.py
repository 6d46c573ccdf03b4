"""report: one page that tells what the run gave, and the table that ``make repro`` prints.

In: the predictions of all encoders, and every stage's metrics. Out: ``reports/index.html`` (self-contained),
``reports/tables/results.md``, ``reports/plots/*.png``, and ``reports/bench/repro.json`` with the cost of each stage.
"""

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.datasets.schema import Dataset
from pipeline.run.files import write_bytes, write_json, write_text
from pipeline.run.params import PARAMS_FILE, Section, flatten, read_params
from pipeline.run.runner import main
from pipeline.run.stage import Context, DatasetStage
from stages import _outputs, _summary


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
    metrics = _summary.stage_metrics(root)
    facts = {
        "data set": f"{dataset.name}, {len(dataset.videos)} videos, {len(dataset.classes)} classes",
        "test split": f"{len(truth.videos)} videos, {len(truth)} instances",
        "protocol": "ActivityNet, official rule; average over tIoU 0.50:0.05:0.95",
        "intervals": "95 %, percentile bootstrap over the test videos",
        "commit": _summary.commit(root),
        "machine": f"{os.cpu_count()} x {platform.machine()}, {platform.system()}",
    }
    curves = _summary.curves(root)
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
            stages=[_summary.stage_row(m) for m in metrics],
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
    write_json(out / "bench" / "repro.json", _summary.cost(facts, metrics, scores))
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


STAGE = DatasetStage(name="report", section=Report, inputs=inputs, run=report, always=True)

if __name__ == "__main__":
    main("report")
