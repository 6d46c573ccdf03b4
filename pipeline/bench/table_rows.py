"""Tables whose rows are runs of the graph on the demo's world: their parameters, their commands, and what they gave.

The rows run through the door one after the other, so each runs in a worktree and what they share is computed once. They
are paired by test video; a difference is of one run each, and says so.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.evaluation.bootstrap import Interval, bootstrap
from pipeline.evaluation.segments import load_ground_truth, load_predictions
from pipeline.run.files import read_json
from pipeline.run.launch import Request, check, launch


class Row(NamedTuple):
    """A row: values of params.yaml, the encoder that is scored, the paper's average mAP on ActivityNet, and a recipe."""

    values: tuple[str, ...]
    encoder: str
    paper: float | None = None
    recipe: str | None = None

    @property
    def request(self) -> Request:
        """The run that makes it."""
        return Request("world", self.recipe, self.values, f"evaluate@{self.encoder}")

    @property
    def command(self) -> str:
        """The same as a command line."""
        return command(self.request)


def run_rows(rows: Mapping[str, Row]) -> dict[str, Any]:
    """Run what has not run yet, and read the table; a row whose run failed is listed as not measured."""
    root, done = Path.cwd(), dict[str, Path]()
    for title, row in rows.items():
        workspace = check(root, row.request).workspace
        if launch(root, row.request) == 0:
            done[title] = workspace
    return figures(rows, done)


def run_metrics(request: Request) -> dict[str, float]:
    """Run what has not run yet, and read what the target stage measured.

    Raises:
        RuntimeError: the run failed; its output says why.
    """
    root = Path.cwd()
    workspace = check(root, request).workspace
    if (status := launch(root, request)) != 0:
        raise RuntimeError(f"{command(request)} ended with {status}")
    metrics: dict[str, float] = read_json(workspace / "reports" / "metrics" / f"{request.target}.json")["metrics"]
    return metrics


def figures(rows: Mapping[str, Row], workspaces: Mapping[str, Path]) -> dict[str, Any]:
    """The table of the rows that have a checkout in which they ran; the others are listed as not measured.

    Average mAP in percent with its 95 % interval over the test videos, the paired difference from the first row, and
    what pre-training could tell: accuracy and interval by task, and chance.
    """
    predictions, found, truth = {}, dict[str, dict[str, Any]](), None
    reference = next(iter(rows))
    for title, root in workspaces.items():
        row = rows[title]
        truth = truth or load_ground_truth(root / "data" / "artifacts" / "videos" / "dataset.json", "testing")
        predictions[title] = load_predictions(root / "data" / "predictions" / row.encoder / "predictions.json")
        found[title] = {"command": row.command, "pretext": told(root)}
        if row.paper is not None:
            found[title]["paper_average_mAP"] = row.paper
    result: dict[str, Any] = {
        "rows": found,
        "not_measured": {title: row.command for title, row in rows.items() if title not in workspaces},
        "runs_per_row": 1,
    }
    if truth is None:
        return result
    sampled = bootstrap(truth, predictions)
    result |= {"test_videos": len(truth.videos), "instances": len(truth)}
    for title, made in found.items():
        made["average_mAP"] = _percent(sampled.average(title))
        if title != reference and reference in found:
            apart = sampled.difference(title, reference)
            made[f"minus_{reference}"] = _percent(apart)
            made["verdict"] = "not told apart" if apart.low <= 0 <= apart.high else "apart in this one run"
    return result


def pretext(metrics: Mapping[str, float]) -> dict[str, Any]:
    """By task of pre-training: top-1 accuracy with its interval, chance, and whether the one is above the other."""
    found = {}
    for key in (key for key in metrics if key.endswith("accuracy")):
        task = key.removesuffix("accuracy")
        low, chance = metrics[f"{key}_low"], metrics[f"{task}chance"]
        found[task.rstrip("/") or "classification"] = {
            "accuracy": metrics[key], "low": low, "high": metrics[f"{key}_high"], "chance": chance,
            "above_chance": low > chance,
        }  # fmt: skip
    return found


def told(root: Path) -> dict[str, Any]:
    """:func:`pretext` of the run in a checkout; empty where none pre-trained."""
    path = root / "reports" / "metrics" / "pretrain.json"
    return pretext(read_json(path)["metrics"]) if path.is_file() else {}


def command(request: Request) -> str:
    """A request as a command line."""
    chosen = "".join(f" --set '{value}'" for value in request.overrides)
    recipe = f" --recipe {request.recipe}" if request.recipe else ""
    return f"python -m pipeline run --dataset {request.dataset}{recipe}{chosen} --target {request.target}"


def _percent(interval: Interval) -> list[float]:
    return [round(100 * value, 2) for value in (interval.value, interval.low, interval.high)]
