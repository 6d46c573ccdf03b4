"""Reading finished runs back from the MLflow store, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.run.tracking import children_of, connect


@dataclass(frozen=True)
class RunRecord:
    """A run as plain values. ``stages`` are the runs of its stages, those that it took from the cache included."""

    id: str
    name: str
    experiment: str
    status: str
    started_ms: int
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    stages: dict[str, "RunRecord"]


def read_runs(store: Path, words: Sequence[str]) -> list[RunRecord]:
    """The runs that ``words`` name, by id or the beginning of one, with their stages.

    Raises:
        ValueError: no run or more than one begins like that, or there is no store.
    """
    client, names, runs = _all_runs(store)
    found = []
    for word in words:
        matching = [run for run in runs if run.info.run_id.startswith(word)]
        if len(matching) != 1:
            near = ", ".join(f"{run.info.run_id[:8]} ({run.info.run_name})" for run in (matching or runs)[:8])
            raise ValueError(
                f"{word!r} names {len(matching) or 'no'} runs; {'these' if matching else 'there are'}: {near}"
            )
        run = matching[0]
        children = {
            one.data.tags["dvc.stage"]: one for one in children_of(client, run.info.experiment_id, run.info.run_id)
        }
        for tag, value in run.data.tags.items():
            how, _, made_by = value.partition(":")
            if tag.startswith("stage.") and how == "cached":
                children |= {tag[6:].replace("/", "@"): one for one in runs if one.info.run_id == made_by}
        stages = {name: _record(one, names, {}) for name, one in sorted(children.items())}
        found.append(_record(run, names, stages))
    return found


def recent_runs(store: Path, most: int) -> list[RunRecord]:
    """The latest pipeline runs, newest first, without their stages."""
    _, names, runs = _all_runs(store)
    return [_record(run, names, {}) for run in runs if "mlflow.parentRunId" not in run.data.tags][:most]


def _all_runs(store: Path) -> tuple[Any, dict[str, str], list[Any]]:
    if not (store / "mlflow.db").is_file():
        raise ValueError(f"there is no MLflow store in {store}; the first run that executes a stage makes it")
    client = connect(store)
    names = {experiment.experiment_id: experiment.name for experiment in client.search_experiments()}
    runs = client.search_runs(list(names), max_results=5000, order_by=["attributes.start_time DESC"])
    return client, names, list(runs)


def _record(run: Any, names: Mapping[str, str], stages: dict[str, RunRecord]) -> RunRecord:
    info, data = run.info, run.data
    return RunRecord(
        info.run_id, info.run_name, names[info.experiment_id], info.status, info.start_time,
        dict(data.params), dict(data.metrics), dict(data.tags), stages,
    )  # fmt: skip
