"""The flow as the form starts it: refused, run, cached, cancelled, and on without its server. Second tier."""

import socket
import subprocess
import time

import psutil
import pytest

from tests.flow.conftest import Pages
from tests.run.door_project import runs
from tests.run.tiny_project import wait_until

pytestmark = pytest.mark.slow


def test_the_form_offers_what_there_is_and_refuses_all_else(pages: Pages) -> None:
    deployment = pages.deployment()
    fields = deployment["parameter_openapi_schema"]["properties"]
    assert fields["dataset"]["enum"] == ["tiny"]
    assert fields["recipe"]["enum"] == ["none", "big"]
    assert fields["target"]["enum"] == ["all", "ingest", "train", "train@a", "train@b", "report"]
    assert all(field["description"] for field in fields.values())
    for parameters in ({"dataset": "moon"}, {"target": "moon"}, {"workspace": "there"}, {"overrides": [3]}):
        status, answer = pages.call(f"/deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})
        assert status == 409
        assert f"Validation failed for field '{next(iter(parameters))}" in answer


def test_a_wrong_override_is_refused_by_the_first_step(pages: Pages) -> None:
    before = pages.project.worktrees()
    run = pages.start(overrides=["ingest.rowz=3"])
    state = pages.wait(run)
    assert state["type"] == "FAILED"
    assert "unknown parameter ingest.rowz = 3; allowed there: dataset, rows, scale" in state["message"]
    wait_until(lambda: pages.tasks(run).keys() == {"check"}, "the server has heard of the only task")
    assert pages.project.worktrees() == before


def test_a_run_from_the_form_and_the_same_again(pages: Pages) -> None:
    run = pages.start(recipe="big", overrides=["train.steps=30", "ingest.rows=11"])
    pages.wait_for_task(run, "train@a", "Running")
    wait_until(lambda: 0 < pages.artifacts(run).get("stage-train-a", {"data": 0})["data"] < 100, "progress shows", 60)
    assert pages.wait(run)["type"] == "COMPLETED"
    wait_until(lambda: {name for name, _ in pages.tasks(run).values()} == {"Completed"}, "all tasks are done")
    tasks, artifacts = pages.tasks(run), pages.artifacts(run)
    assert tasks.keys() == {"check", "ingest", "train@a", "train@b", "report"}
    assert "2 videos (0 from the work store), 1 failed" in tasks["ingest"][1]
    assert artifacts["stage-train-a"]["data"] == 100
    assert "30 of 30 steps, 0 failed" in artifacts["stage-train-a"]["description"]
    parent = next(one for one in runs(pages.project.folder / "mlruns") if "mlflow.parentRunId" not in one.data.tags)
    assert (parent.info.status, parent.data.tags["prefect.flow_run_id"]) == ("FINISHED", run)
    text = artifacts["summary"]["data"]
    assert (
        f"http://127.0.0.1:{pages.mlflow}/#/experiments/{parent.info.experiment_id}/runs/{parent.info.run_id}" in text
    )
    assert "| ingest | bad | ValueError: could not convert string to float: 'x' |" in text
    (worktree,) = [one for one in pages.project.worktrees() if "rows: 11" in (one / "params.yaml").read_text()]
    assert str(worktree) in text
    assert (worktree / "reports/page/page.json").is_file()
    assert not (pages.project.folder / "data/artifacts").exists(), "the checkout itself is not touched"

    again = pages.start(recipe="big", overrides=["train.steps=30", "ingest.rows=11"])
    assert pages.wait(again)["type"] == "COMPLETED"
    names = ("ingest", "train@a", "train@b")
    wait_until(lambda: all(pages.tasks(again).get(n) == ("Cached", "up to date") for n in names), "stages were cached")
    assert "none: nothing had to be computed" in pages.artifacts(again)["summary"]["data"]


def test_cancel_ends_the_stage(pages: Pages) -> None:
    run = pages.start(overrides=["train.steps=500"], target="train@a")
    pages.wait_for_task(run, "train@a", "Running")
    (worktree,) = [one for one in pages.project.worktrees() if "steps: 500" in (one / "params.yaml").read_text()]
    wait_until(lambda: (worktree / "computed.log").is_file(), "it has begun")
    start = time.monotonic()
    pages.call(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    wait_until(lambda: not any(_is_stage(one) for one in pages.family()), "the stage has ended", 20)
    assert time.monotonic() - start < 5
    assert pages.wait(run)["type"] == "CANCELLED"
    assert pages.tasks(run)["train@a"][0] == "Cancelled"
    newest = next(one for one in runs(pages.project.folder / "mlruns") if "mlflow.parentRunId" not in one.data.tags)
    wait_until(lambda: _status(pages, newest.info.run_id) == "KILLED", "the MLflow run is closed")


def test_the_server_may_go_down_in_mid_run(pages: Pages) -> None:
    run = pages.start(overrides=["train.steps=60"], target="train@a")
    pages.wait_for_task(run, "train@a", "Running")
    (server,) = [one for one in pages.family() if "prefect" in " ".join(one.cmdline()) and "server" in one.cmdline()]
    server.kill()
    wait_until(lambda: _answers(pages), "the server is back", 60)
    assert pages.wait(run)["type"] == "COMPLETED"
    wait_until(lambda: pages.tasks(run)["train@a"][0] == "Completed", "the task is known to be done")


def test_a_taken_port_is_named_and_nothing_starts(pages: Pages) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        command = [*pages.command()[:4], "--prefect-port", str(port)]
        done = subprocess.run(
            command, cwd=pages.project.folder, env=pages.project.environment(), capture_output=True, text=True
        )
    assert done.returncode == 1
    assert f"port {port}, where Prefect should listen, is taken" in done.stderr
    assert "--prefect-port" in done.stderr


def _is_stage(process: psutil.Process) -> bool:
    try:
        return "stages.train" in process.cmdline()
    except psutil.Error:
        return False


def _status(pages: Pages, run_id: str) -> str:
    return next(str(one.info.status) for one in runs(pages.project.folder / "mlruns") if one.info.run_id == run_id)


def _answers(pages: Pages) -> bool:
    try:
        return pages.call("/health")[0] == 200
    except OSError:
        return False
