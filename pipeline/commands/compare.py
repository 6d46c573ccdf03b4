"""``python -m pipeline compare RUN RUN``: what was different, and what it did, stage by stage, from the MLflow store."""

import argparse
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.run.announced import store_folder
from pipeline.run.records import RunRecord, read_runs, recent_runs

_BESIDE_THE_POINT = ("system/",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="two MLflow run ids, or their beginnings; none: list them"
    )


def run(options: argparse.Namespace) -> int:
    """Compare; see :func:`compare`."""
    return compare(Path.cwd(), options.runs)


def compare(root: Path, words: list[str]) -> int:
    """Print the difference of two runs, or the latest runs where none is named; returns the exit status.

    Args:
        root: the checkout.
        words: two ids, or beginnings of ids; none for a list.

    Raises:
        ValueError: not two, or no such run.
    """
    store, console = store_folder(root), Console(highlight=False)
    if not words:
        _list(recent_runs(store, 20), console)
        return 0
    if len(words) != 2:
        raise ValueError(f"two runs are compared, got {len(words)}; without any it lists the latest")
    a, b = read_runs(store, words)
    for side, run in (("A", a), ("B", b)):
        console.print(f"{side}  {_title(run)}", markup=False)
    parameters = parameter_changes(a, b)
    _table(console, "What was different", ("stage", "parameter", "A", "B"), parameters)
    rows = [
        (stage, name, _number(x), _number(y), "" if x is None or y is None else f"{y - x:+.4g}")
        for stage, name, x, y in metric_changes(a, b)
    ]
    _table(console, "What it did", ("stage", "metric", "A", "B", "B − A"), rows)
    return 0


def parameter_changes(a: RunRecord, b: RunRecord) -> list[tuple[str, str, str, str]]:
    """(stage, parameter, value in ``a``, in ``b``) where they differ; stage is empty for the run itself."""
    return [
        (stage, key, x.get(key, "—"), y.get(key, "—"))
        for stage, x, y in _pairs(a, b, "params")
        for key in sorted(x.keys() | y.keys())
        if x.get(key) != y.get(key)
    ]


def metric_changes(a: RunRecord, b: RunRecord) -> list[tuple[str, str, float | None, float | None]]:
    """(stage, metric, last value in ``a``, in ``b``) where they differ; the machine's own metrics are left out."""
    return [
        (stage, key, x.get(key), y.get(key))
        for stage, x, y in _pairs(a, b, "metrics")
        for key in sorted(x.keys() | y.keys())
        if x.get(key) != y.get(key) and not key.startswith(_BESIDE_THE_POINT)
    ]


def _pairs(a: RunRecord, b: RunRecord, field: str) -> list[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    pairs: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [("", getattr(a, field), getattr(b, field))]
    for stage in sorted(a.stages.keys() | b.stages.keys()):
        one, other = a.stages.get(stage), b.stages.get(stage)
        # A stage that both took from the same run has nothing to tell; one that only one has is no change of a value.
        if one and other and one.id != other.id:
            pairs.append((stage, getattr(one, field), getattr(other, field)))
    return pairs


def _list(runs: list[RunRecord], console: Console) -> None:
    rows = [
        (
            run.id[:8],
            run.name,
            run.experiment,
            run.status,
            f"{datetime.fromtimestamp(run.started_ms / 1000):%Y-%m-%d %H:%M}",
        )
        for run in runs
    ]
    _table(console, "The latest runs", ("id", "name", "data set", "status", "started"), rows)


def _title(run: RunRecord) -> str:
    commit = run.tags.get("git.commit", "")[:9]
    dirty = " with changes" if run.tags.get("git.dirty") == "true" else ""
    return f"{run.id[:8]}  {run.name}  ({run.experiment}, {run.status.lower()}, commit {commit or 'unknown'}{dirty})"


def _table(console: Console, title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    if not rows:
        console.print(f"\n{title}: nothing")
        return
    table = Table(title=title, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, overflow="fold", justify="left" if index < 2 else "right")
    for row in rows:
        table.add_row(*row)
    console.print()
    console.print(table)


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.6g}"
