"""MLflow: two levels of runs, one store for several first users, and never a reason to fail."""

from pathlib import Path
from typing import Any

import pytest

from tests.run.tiny_project import TinyProject


def runs(store: Path) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def test_two_levels_from_two_first_users_at_once(tmp_path: Path) -> None:
    """Two checkouts that share a store which does not exist yet; one of them runs to its report."""
    store = tmp_path / "mlruns"
    projects = [TinyProject(tmp_path / name, {"one": "1", "bad": "x"}, tracking=True) for name in ("main", "other")]
    stages = [project.start("ingest", PIPELINE_TRACKING=str(store)) for project in projects]
    for stage in stages:
        _, error = stage.communicate(timeout=120)
        assert stage.returncode == 0, error
    main = projects[0]
    main.run("train", "a", PIPELINE_TRACKING=str(store))
    main.run("report", PIPELINE_TRACKING=str(store))
    for project in projects:
        assert project.json("reports/metrics/ingest.json")["warnings"] == []

    found = {run.info.run_id: run for run in runs(store)}
    parents = [run for run in found.values() if "mlflow.parentRunId" not in run.data.tags]
    assert sorted(run.info.status for run in parents) == ["FINISHED", "RUNNING"], "report closes its own parent only"
    finished = next(run for run in parents if run.info.status == "FINISHED")
    assert finished.data.metrics["final"] == main.json("reports/page/page.json")["weight"]
    children = {
        run.data.tags["dvc.stage"]: run
        for run in found.values()
        if run.data.tags.get("mlflow.parentRunId") == finished.info.run_id
    }
    assert children.keys() == {"ingest", "train@a", "report"}
    assert all(run.info.status == "FINISHED" for run in children.values())
    for label, run in children.items():
        assert main.json(f"reports/metrics/{label}.json")["mlflow_run_id"] == run.info.run_id
    assert children["ingest"].data.params == {"dataset": "tiny", "scale": "double", "rows": "3"}
    assert children["train@a"].data.params == {"steps": "20", "ingest.rows": "3"}
    assert children["ingest"].data.metrics["failed"] == 1
    assert children["train@a"].data.metrics["weight"] == pytest.approx(finished.data.metrics["final"])
    assert children["train@a"].data.tags["variant"] == "a"

    # What is taken from the work store makes no run and still names the one that made it.
    count = len(found)
    (main.folder / "data" / "raw" / "bad.txt").unlink()
    main.run("ingest", PIPELINE_TRACKING=str(store))
    assert len(runs(store)) == count
    assert main.json("reports/metrics/ingest.json")["mlflow_run_id"] == children["ingest"].info.run_id
    assert not list(store.glob("mlflow.creating*"))


def test_a_broken_store_is_a_warning(project: TinyProject) -> None:
    project.params["run"]["tracking"] = True
    project.write("mlruns/mlflow.db", "this is no database")
    text = project.run("ingest")
    assert "MLflow could not begin" in text
    metrics = project.json("reports/metrics/ingest.json")
    assert "MLflow could not begin: DatabaseError" in metrics["warnings"][0]
    assert metrics["mlflow_run_id"] is None
    assert metrics["metrics"]["videos"] == 3
    assert project.json("data/work/status/ingest.json")["outcome"] == "done"
