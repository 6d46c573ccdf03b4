"""The graph as we read it against dvc's own, and stages run one by one through the conductor."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.run.conduct import Conductor, StageFailed, StageStopped
from pipeline.run.dvc import needed_for, read_graph, targets
from pipeline.run.launch import Plan, Request, Session
from pipeline.run.tracking import PipelineRun
from tests.run.door_project import DoorProject
from tests.run.tiny_project import wait_until

DVC = str(Path(sys.executable).parent / "dvc")


def edges(dot: str) -> set[tuple[str, str]]:
    return {(a, b) for a, b in re.findall(r'"([^"]+)" -> "([^"]+)"', dot)}


def test_the_graph_is_the_one_dvc_sees(root: Path) -> None:
    done = subprocess.run([DVC, "dag", "--dot", "--full"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    graph = read_graph(root)
    assert {(parent, name) for name, node in graph.items() for parent in node.after} == edges(done.stdout)
    for index, (_, node) in enumerate(graph.items()):
        assert set(node.after) <= set(list(graph)[:index]), "each after those it stands on"
    assert needed_for(graph, None) == list(graph.values())
    assert [node.name for node in needed_for(graph, "frames")] == ["ingest", "frames"]
    assert targets(graph)[:2] == ["ingest", "frames"]


@pytest.fixture
def project(tmp_path: Path) -> DoorProject:
    return DoorProject(tmp_path / "project", {"one": "1", "two": "2"})


def session(project: DoorProject, **environment: str) -> Session:
    root = project.folder
    plan = Plan(root, Request(), {}, "tiny", tuple(read_graph(root).values()), root)
    run = PipelineRun(root / "mlruns" / "open_run.json")
    return Session(plan, root, project.environment() | environment, run)


def test_stages_one_by_one(project: DoorProject) -> None:
    lines: list[str] = []
    seen: list[Mapping[str, Any]] = []
    conductor = Conductor(session(project, TINY_PAUSE="0.1"))
    assert conductor.find_fresh() == set()
    result = conductor.run("ingest", lines.append, seen.append)
    assert (result.executed, result.summary.split(" (")[0]) == (True, "2 videos")
    assert "Running stage 'ingest':" in lines
    conductor.run("train@a", lines.append, seen.append)
    steps = [status["done"] for status in seen if status["stage"] == "train@a"]
    assert any(0 < step < 20 for step in steps), "progress is told while it runs"
    assert steps[-1] == 20

    again = Conductor(session(project))
    assert again.find_fresh() == {"ingest", "train@a"}
    assert again.run("train@a", lines.append, seen.append).summary == "up to date"
    assert again.run("train@b", lines.append, seen.append).executed


def test_a_stage_that_fails_says_why(project: DoorProject) -> None:
    project.write("data/raw/tiny/three.txt", "x")
    project.write("data/raw/tiny/four.txt", "y")
    project.write("data/raw/tiny/five.txt", "z")

    def broken(_status: Mapping[str, Any]) -> None:
        raise ConnectionError("the server is down")

    with pytest.raises(StageFailed, match=r"3 of 5 videos failed, more than run\.max_failed = 0\.5 allows: five: "):
        Conductor(session(project)).run("ingest", lambda line: None, broken)


def test_stop_ends_the_stage_and_lets_none_begin(project: DoorProject) -> None:
    conductor = Conductor(session(project, TINY_PAUSE="30"))
    raised: list[Exception] = []

    def run() -> None:
        try:
            conductor.run("ingest", lambda line: None, lambda status: None)
        except StageStopped as stop:
            raised.append(stop)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until((project.folder / "computed.log").is_file, "the stage is at work")
    start = time.monotonic()
    conductor.stop()
    thread.join(10)
    assert time.monotonic() - start < 5
    assert "start the run again" in str(raised[0])
    assert not project.processes()
    with pytest.raises(StageStopped):
        conductor.run("ingest", lambda line: None, lambda status: None)


@pytest.mark.parametrize(("where", "cause"), [("params.yaml/remote", "Not a directory"), (None, "no remote specified")])
def test_a_remote_that_is_away_costs_a_message(project: DoorProject, where: str | None, cause: str) -> None:
    """A path that cannot be reached, or no remote at all: the stage's own work is done, and kept for the next run."""
    if where is not None:
        project.command("dvc", "remote", "add", "--local", "-d", "shared", str(project.folder / where))
    lines: list[str] = []
    result = Conductor(session(project), share=True).run("ingest", lines.append, lambda status: None)
    assert result.executed
    assert project.json("reports/metrics/ingest.json")["metrics"]["total"] == 6
    assert re.search(f"ingest: its results are in this machine's cache but not in the DVC remote: .*{cause}", lines[-1])
    again = Conductor(session(project), share=True).run("ingest", lines.append, lambda status: None)
    assert not again.executed
