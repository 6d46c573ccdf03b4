"""MLflow: two levels of runs, one store for several first users, and never a reason to fail."""

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from pipeline.run.tracking import SYSTEM_SECONDS, _log_data_set, connect
from tests.run.tiny_project import TinyProject, clean_environment


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
    # A name may hold what MLflow does not take: the metric is there all the same.
    assert children["train@a"].data.metrics["top1/I_M _any / class_"] == 0.5
    for label in children:
        assert main.json(f"reports/metrics/{label}.json")["warnings"] == []

    # What is taken from the work store makes no run and still names the one that made it.
    count = len(found)
    (main.folder / "data" / "raw" / "bad.txt").unlink()
    main.run("ingest", PIPELINE_TRACKING=str(store))
    assert len(runs(store)) == count
    assert main.json("reports/metrics/ingest.json")["mlflow_run_id"] == children["ingest"].info.run_id
    assert not list(store.glob("mlflow.creating*"))


def test_runs_that_read_the_same_at_the_same_time(tmp_path: Path) -> None:
    """MLflow looks for a data set before it writes it, and several runs may look before one has written."""
    clients = [connect(tmp_path) for _ in range(4)]
    experiment = clients[0].create_experiment("same")
    digests = [f"digest {number}" for number in range(8)]
    made = [[client.create_run(experiment).info.run_id for client in clients] for _ in digests]
    start = Barrier(len(clients))

    def log(client: Any, run_id: str, digest: str) -> None:
        start.wait()
        _log_data_set(client, run_id, "same", digest, "somewhere")

    with ThreadPoolExecutor(len(clients)) as pool:
        for digest, run_ids in zip(digests, made, strict=True):
            list(pool.map(log, clients, run_ids, [digest] * len(clients)))
    for digest, run_ids in zip(digests, made, strict=True):
        for run_id in run_ids:
            assert [read.dataset.digest for read in clients[0].get_run(run_id).inputs.dataset_inputs] == [digest]


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


SERVER = """
import json
from pathlib import Path

from pipeline.run.stage import Array, Signature


class Weight:
    def __init__(self, weight):
        self.weight = weight

    def predict(self, inputs, params=None):
        return inputs * self.weight


def signature(folder):
    return Signature(Array("float64", (-1, 2)), Array("float64", (-1, 2)))


def _load_pyfunc(path):
    return Weight(json.loads((Path(path) / "weights.json").read_text())["weight"])
"""
LOAD = """
import sys
import mlflow
import numpy
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/" + sys.argv[2])
print(model.metadata.signature.inputs, float(model.predict(numpy.array([[1.0, 2.0]]))[0, 1]))
try:
    model.predict(numpy.array([[1.0, 2.0, 3.0]]))
except mlflow.exceptions.MlflowException as error:
    print("refused", error)
"""


def with_checkpoint(project: TinyProject) -> None:
    """Let ``train`` declare its weights as a checkpoint that ``stages._weight`` serves."""
    project.write("stages/_weight.py", SERVER)
    train = (project.folder / "stages" / "train.py").read_text()
    project.write(
        "stages/train.py", train.replace("run=run, outs", 'run=run, checkpoints={"model": "stages._weight"}, outs')
    )
    project.params["run"]["tracking"] = True


def test_a_checkpoint_is_a_model_with_a_signature(project: TinyProject) -> None:
    with_checkpoint(project)
    project.run("ingest")
    project.run("train", "a")
    metrics = project.json("reports/metrics/train@a.json")
    assert metrics["warnings"] == []
    (run,) = (one for one in runs(project.folder / "mlruns") if one.info.run_id == metrics["mlflow_run_id"])
    (output,) = run.outputs.model_outputs

    uri = f"sqlite:///{project.folder / 'mlruns' / 'mlflow.db'}"
    done = subprocess.run(
        [sys.executable, "-c", LOAD, uri, output.model_id], cwd=project.folder,
        env=clean_environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    weight = metrics["metrics"]["weight"]
    assert f"[Tensor('float64', (-1, 2))] {2 * weight}" in done.stdout
    assert "refused" in done.stdout, "the signature is enforced"


def test_a_checkpoint_that_cannot_be_logged_is_a_warning(project: TinyProject) -> None:
    with_checkpoint(project)
    project.write(
        "stages/_weight.py", SERVER.replace("return Signature", "raise KeyError('no shape')\n    return Signature")
    )
    project.run("ingest")
    project.run("train", "a")
    metrics = project.json("reports/metrics/train@a.json")
    assert metrics["warnings"] == ["MLflow could not log a checkpoint: KeyError: 'no shape'"]
    assert project.json("data/checkpoints/a/weights.json")["weight"] == metrics["metrics"]["weight"]


def test_what_the_machine_did_meanwhile(project: TinyProject) -> None:
    project.params["run"]["tracking"] = True
    project.run("ingest")
    project.run("train", "a", TINY_PAUSE=str(1.5 * SYSTEM_SECONDS / 20))
    run_id = project.json("reports/metrics/train@a.json")["mlflow_run_id"]
    (run,) = (one for one in runs(project.folder / "mlruns") if one.info.run_id == run_id)
    assert 0 <= run.data.metrics["system/cpu_utilization_percentage"] <= 100
    assert run.data.metrics["system/system_memory_usage_megabytes"] > 0


def test_a_locked_store_costs_a_warning_and_a_bounded_wait(project: TinyProject) -> None:
    """Somebody holds the database (a backup, a hanging server): the stage does its work all the same."""
    project.params["run"]["tracking"] = True
    project.run("ingest")
    with closing(sqlite3.connect(project.folder / "mlruns" / "mlflow.db", isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        stage = project.start("train", "a")
        _, error = stage.communicate(timeout=120)
    assert stage.returncode == 0, error
    metrics = project.json("reports/metrics/train@a.json")
    assert "database is locked" in " ".join(metrics["warnings"])
    assert project.json("data/checkpoints/a/weights.json")["weight"] == metrics["metrics"]["weight"]
    text = project.run("report")  # and when it is free again, tracking goes on
    assert "could not" not in text
