"""Tables 7 and 8 of the LoFi paper, each row a run of the graph: its parameters, the command, and what it gave.

``python -m pipeline bench lofi-table-7`` and ``lofi-table-8`` run the rows on the demo's world, one after the other, through
the door, so each runs in a worktree and what rows share is computed once. Rows are paired by test video; a difference is
of one run each, and says so.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.evaluation.bootstrap import Interval, bootstrap
from pipeline.evaluation.segments import load_ground_truth, load_predictions
from pipeline.run.files import read_json
from pipeline.run.launch import Request, check, launch


class Row(NamedTuple):
    """Values of params.yaml that make a row, the encoder that is scored, and the paper's average mAP on ActivityNet."""

    values: tuple[str, ...]
    encoder: str
    paper: float

    @property
    def request(self) -> Request:
        """The run that makes it."""
        return Request("world", None, self.values, f"evaluate@{self.encoder}")

    @property
    def command(self) -> str:
        """The same as a command line."""
        return _command(self.request)


AT_25 = "features.snippets=25"
TABLES: dict[str, dict[str, Row]] = {
    "lofi-table-7": {
        "ACP": Row((AT_25,), "acp", 31.02),
        "end to end": Row((AT_25, "lofi.strategy=full"), "lofi", 32.21),
    },
    "lofi-table-8": {
        "ACP": Row((), "acp", 33.59),
        "Arrow": Row(("pretrain.tasks=[arrow_of_time]",), "acp", 28.82),
        "Speed": Row(("pretrain.tasks=[playback_speed]",), "acp", 29.39),
        "ACP+Arrow": Row(("pretrain.tasks=[classification,arrow_of_time]",), "acp", 33.72),
        "ACP+Speed": Row(("pretrain.tasks=[classification,playback_speed]",), "acp", 33.75),
        "LoFi-E2E": Row((), "lofi", 34.43),
    },
}
REFERENCE = "ACP"
REAL_CLIPS = Request("weizmann", None, ("pretrain.tasks=[arrow_of_time]", "pretrain.training.steps=600"), "pretrain")
"""The arrow of time on real people: half of the world's classes are others played backwards, which leaves little to tell."""


def table_7() -> dict[str, Any]:
    """ACP against end to end at the low L only (section 4.7); the head is trained anew on either's frozen features."""
    return _run("lofi-table-7")


def table_8() -> dict[str, Any]:
    """Self-supervised pre-training against ACP and LoFi, alone and beside ACP's features (section 4.8).

    What the arrow of time tells on real clips is added, where they are at hand.
    """
    table, root = _run("lofi-table-8"), Path.cwd()
    workspace = check(root, REAL_CLIPS).workspace
    if launch(root, REAL_CLIPS) == 0:
        return table | {"real_clips": {"command": _command(REAL_CLIPS), "pretext": _told(workspace)}}
    return table | {"real_clips": {"not_measured": _command(REAL_CLIPS)}}


def _run(name: str) -> dict[str, Any]:
    root, done = Path.cwd(), dict[str, Path]()
    for title, row in TABLES[name].items():
        workspace = check(root, row.request).workspace
        if launch(root, row.request) == 0:
            done[title] = workspace
    return figures(TABLES[name], done)


def figures(rows: Mapping[str, Row], workspaces: Mapping[str, Path]) -> dict[str, Any]:
    """The table of the rows that have a checkout in which they ran; the others are listed as not measured.

    Average mAP in percent with its 95 % interval over the test videos, the paired difference from :data:`REFERENCE`, and
    what pre-training could tell: accuracy and interval by task, and chance.
    """
    predictions, found, truth = {}, dict[str, dict[str, Any]](), None
    for title, root in workspaces.items():
        row = rows[title]
        truth = truth or load_ground_truth(root / "data" / "artifacts" / "videos" / "dataset.json", "testing")
        predictions[title] = load_predictions(root / "data" / "predictions" / row.encoder / "predictions.json")
        found[title] = {"command": row.command, "paper_average_mAP": row.paper, "pretext": _told(root)}
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
        if title != REFERENCE and REFERENCE in found:
            apart = sampled.difference(title, REFERENCE)
            made[f"minus_{REFERENCE}"] = _percent(apart)
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


def _told(root: Path) -> dict[str, Any]:
    """:func:`pretext` of the run in a checkout; empty where none pre-trained."""
    path = root / "reports" / "metrics" / "pretrain.json"
    return pretext(read_json(path)["metrics"]) if path.is_file() else {}


def _command(request: Request) -> str:
    chosen = "".join(f" --set '{value}'" for value in request.overrides)
    return f"python -m pipeline run --dataset {request.dataset}{chosen} --target {request.target}"


def _percent(interval: Interval) -> list[float]:
    return [round(100 * value, 2) for value in (interval.value, interval.low, interval.high)]
