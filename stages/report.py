"""report: one page that tells what the run gave, and the table that ``make repro`` prints.

In: the predictions of all encoders, what was found in the test videos (shots, boxes, tracks, bank, coded stream), and
every stage's metrics. Out: ``reports/index.html`` (self-contained), ``results.md``, ``recognition.json`` and
``framewise.json`` in ``reports/tables/``, ``reports/plots/*.png``, and ``reports/bench/repro.json`` with the cost of each
stage.
"""

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipeline.datasets.schema import Dataset
from pipeline.run import kinds
from pipeline.run.announced import open_run
from pipeline.run.files import write_bytes, write_json, write_text
from pipeline.run.params import PARAMS_FILE, Section, flatten, read_params
from pipeline.run.runner import main
from pipeline.run.stage import Context, DatasetStage
from stages import _adaptive, _framewise_report, _outputs, _recognition, _summary

if TYPE_CHECKING:
    from pipeline.report import blocks


SERVER = "http://127.0.0.1:5000"
SERVER_VARIABLE = "PIPELINE_MLFLOW_URL"
"""Address of the MLflow server that run ids are linked to; the UI sets the variable for what it starts."""


class Report(Section):
    """Section ``report`` of params.yaml."""

    videos: int = Field(3, ge=1, le=20, description="test videos that are shown with timelines and pictures")


def inputs(context: Context) -> Sequence[Path]:
    """What the figures are made from; it need not be all, as this stage is never taken from the work store."""
    predictions = [_outputs.PREDICTIONS.format(variant=variant) for variant in _outputs.ENCODER_VARIANTS]
    return [context.root / path for path in (_outputs.DATASET_FILE, *predictions)]


def report(context: Context) -> Mapping[str, float]:
    """Score all encoders on the same resamples, write page, table, plots and costs."""
    from pipeline.evaluation.bootstrap import bootstrap
    from pipeline.evaluation.segments import load_ground_truth, load_predictions
    from pipeline.report import page, plots
    from pipeline.report.tables import Difference, Score, difference_table, score_table

    root, out = context.root, context.root / "reports"
    dataset = Dataset.load(root / _outputs.DATASET_FILE)
    raw = read_params(root / PARAMS_FILE)
    truth = load_ground_truth(root / _outputs.DATASET_FILE, "testing")
    predictions = {
        variant: load_predictions(root / _outputs.PREDICTIONS.format(variant=variant) / "predictions.json")
        for variant in _outputs.ENCODER_VARIANTS
    }
    sampled = bootstrap(truth, predictions, resamples=raw["evaluate"].get("resamples", 1000))
    tious = [f"{tiou:.2f}" for tiou in sampled.tious]
    scores = [
        Score(
            name,
            dict(zip(tious, sampled.point[name].tolist(), strict=True)),
            sampled.average(name),
            dict(zip(tious, sampled.per_tiou(name), strict=True)),
        )
        for name in predictions
    ]
    pairs = [("lofi", "untrained"), ("acp", "untrained"), ("lofi", "acp")]
    differences = [Difference(a, b, sampled.difference(a, b)) for a, b in pairs]
    metrics = _summary.stage_metrics(root)
    facts = {
        "data set": f"{dataset.name}, {len(dataset.videos)} videos, {len(dataset.classes)} classes",
        "test split": f"{len(truth.videos)} videos, {len(truth)} instances",
        "protocol": "ActivityNet, official rule; average over tIoU 0.50:0.05:0.95",
        "intervals": "95 %, percentile bootstrap over the test videos",
        "commit": _summary.commit(root),
        "machine": f"{os.cpu_count()} x {platform.machine()}, {platform.system()}",
    }
    notes = _notes(dataset, truth, differences)
    adaptive = _adaptive.drawn(root, dataset)
    html = page.report_page(
        page.Report(
            title="What happens, and when",
            subtitle=f"Localised actions, shots, people and objects in the data set {dataset.name}",
            notes=notes,
            scores=scores,
            measures=[measure for found in _summary.measures(metrics).values() for measure in found],
            differences=differences,
            facts=facts,
            sections=[
                *_sections(context, dataset, truth, predictions, scores, metrics, raw),
                *_adaptive.section(adaptive),
            ],
            stages=[_summary.stage_row(m) for m in metrics],
            failures=[
                page.FailureRow(f["stage"], f["video"], f["cause"]) for m in metrics for f in m.get("failures", [])
            ],
            warnings=_summary.warnings(metrics),
            parameters={name: flatten(section) for name, section in raw.items()},
            run_id=open_run(root),
            tracking=os.environ.get(SERVER_VARIABLE) or SERVER,
        )
    )
    write_text(out / "index.html", html)
    write_bytes(out / "plots" / "average_map.png", plots.average_map_bars(scores).light)
    write_bytes(out / "plots" / "map_against_tiou.png", plots.map_against_tiou(scores).light)
    for name, plot in adaptive.items():
        write_bytes(out / "plots" / f"{name}.png", plot.light)
    table = score_table(scores, "markdown") + "\n\n" + difference_table(differences, "markdown")
    lines = [*(f"- {key}: {value}" for key, value in facts.items()), "", table, "", *(f"{note}\n" for note in notes)]
    write_text(out / "tables" / "results.md", "\n".join(lines) + "\n")
    recognised = _recognition.rows(metrics)
    write_json(out / "tables" / "recognition.json", {**facts, "legend": _recognition.LEGEND, "rows": recognised})
    write_json(out / "tables" / "framewise.json", {**facts, "rows": _framewise_report.rows(metrics)})
    write_json(out / "bench" / "repro.json", _summary.cost(facts, metrics, scores))
    print(f"\n{score_table(scores)}\n\n{difference_table(differences)}\n")
    for note in notes:
        print(note)
    return {f"{score.name}/average_mAP": score.average.value for score in scores}


def _sections(
    context: Context,
    dataset: Dataset,
    truth: Any,
    predictions: Mapping[str, Any],
    scores: Sequence[Any],
    metrics: Sequence[Mapping[str, Any]],
    raw: Mapping[str, Mapping[str, Any]],
) -> "list[blocks.Section]":
    from pipeline.report import blocks
    from stages import _actions, _long_form_report, _memory_report, _people, _sheets

    root = context.root
    shown = _sheets.shown_videos(dataset, context.params.videos)
    measured = _summary.measures(metrics)
    return [
        *_actions.sections(root, truth, predictions, scores, shown),
        _sheets.shots(root, shown, measured["shots"], raw["shots"]["tolerance_s"]),
        _people.detections(
            root, shown, measured["detect"], _summary.class_ap50(metrics), raw["track"]["continue_score"]
        ),
        _people.tracks(root, shown, measured["track"]),
        _people.bank(root, dataset),
        _memory_report.section(root, dataset, metrics, raw),
        _long_form_report.section(root, dataset),
        _sheets.stream(root, shown),
        _recognition.section(root, metrics, shown),
        _framewise_report.section(root, dataset, metrics, shown),
        blocks.Section("training", "Training", "", [blocks.Plots(_summary.curves(root))]),
    ]


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


STAGE = DatasetStage(
    name="report",
    section=Report,
    reads=(kinds.FRAMES, kinds.SHOTS, kinds.DETECTIONS, kinds.TRACKS, kinds.BANK, kinds.COMPRESSED, kinds.TRUTH),
    inputs=inputs,
    run=report,
    always=True,
)

if __name__ == "__main__":
    main("report")
