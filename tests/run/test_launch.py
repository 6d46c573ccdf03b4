"""The door: refusals, worktrees, interruptions, and the MLflow run around it all; with the real git, dvc and MLflow."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest

from pipeline.run.dvc import forget_dead_locks
from pipeline.run.tracking import stage_tag
from tests.run.door_project import DoorProject, runs
from tests.run.tiny_project import wait_until


@pytest.fixture
def project(tmp_path: Path) -> DoorProject:
    """Two videos, tracking off."""
    return DoorProject(tmp_path / "project", {"one": "1", "two": "2"})


def test_a_wrong_request_is_refused_before_anything_starts(project: DoorProject) -> None:
    before = sorted(project.folder.rglob("*"))
    for words, named in {
        ("--set", "ingest.rows=many"): "ingest.rows = 'many'",
        ("--set", "ingest.rowz=3"): "unknown parameter ingest.rowz = 3",
        ("--set", "nothing"): "override 'nothing'",
        ("--dataset", "moon"): "data set 'moon'",
        ("--recipe", "moon"): "recipe 'moon'",
        ("--target", "moon"): "stages: ingest, train, train@a, train@b, report",
    }.items():
        text = project.door(*words, expect=1)
        assert named in text, text
        assert "Traceback" not in text
    assert [path for path in sorted(project.folder.rglob("*")) if "__pycache__" not in path.parts] == before


def test_overrides_work_in_a_worktree_that_shares_all_equal_work(project: DoorProject) -> None:
    project.door()
    here = project.outputs()
    assert len(project.lines()) == 42
    params = (project.folder / "params.yaml").read_text()
    lock = (project.folder / "dvc.lock").read_bytes()
    project.write("stages/train.py", (project.folder / "stages" / "train.py").read_text() + "\n# changed\n")
    project.write("models/new.py", "")

    text = project.door("--set", "train.steps=3", "--target", "train@a")
    assert "uncommitted changes are not part of it: " in text
    assert "stages/train.py" in text
    assert "models/new.py" in text
    (worktree,) = project.worktrees()
    assert project.lines(worktree) == [f"train@a {step}" for step in range(3)], "videos come from the store"
    assert not project.lines()
    assert (project.folder / "params.yaml").read_text() == params
    assert (project.folder / "dvc.lock").read_bytes() == lock
    assert project.outputs() == here
    assert json.loads((worktree / "data/checkpoints/a/weights.json").read_text())["rows"] == 3
    assert not (worktree / "data/checkpoints/b").exists()

    # The same parameters: the same worktree, nothing to do. Deleted or damaged by hand: made anew, nothing computed.
    for damage in ("none", "deleted", "without .git", "not registered"):
        if damage == "deleted":
            shutil.rmtree(worktree)
        elif damage == "without .git":
            (worktree / ".git").unlink()
        elif damage == "not registered":
            shutil.rmtree(project.folder / ".git" / "worktrees")
        text = project.door("--set", "train.steps=3", "--target", "train@a")
        assert project.worktrees() == [worktree], damage
        assert not project.lines(worktree), damage
        assert ("made anew" in text) == (damage in ("without .git", "not registered"))
        assert (worktree / "data/checkpoints/a/weights.json").is_file()


def test_a_definition_need_not_be_committed(project: DoorProject) -> None:
    project.write("data/datasets/mine.yaml", "kind: tiny\nsource: ../videos\n")
    text = project.door("--dataset", "mine", "--target", "ingest", expect=1)
    assert "there is no folder" in text
    assert "ln -s FOLDER data/raw/mine" in text
    project.write("../videos/three.txt", "3")
    project.write("stages/ingest.py", (project.folder / "stages/ingest.py").read_text().replace('"tiny")', '"mine")'))
    project.commit()
    project.write("data/raw/kinetics/x3d_m.pyth", "weights that a recipe names")
    project.door("--dataset", "mine", "--target", "ingest")
    (worktree,) = project.worktrees()
    assert (worktree / "data/raw/kinetics/x3d_m.pyth").read_text() == "weights that a recipe names"
    assert project.lines(worktree) == ["ingest three"]
    assert (project.folder / "data/raw/mine").resolve() == (project.folder / "../videos").resolve()


def test_two_runs_at_once_are_both_right(project: DoorProject) -> None:
    doors = [project.start_door("--set", f"train.steps={steps}") for steps in (3, 4)]
    same = project.start_door("--set", "train.steps=3")
    for door in (*doors, same):
        text, _ = door.communicate(timeout=180)
        assert door.returncode == 0, text
    worktrees = project.worktrees()
    assert len(worktrees) == 2
    done = sorted(sorted(project.lines(worktree)) for worktree in worktrees)
    trained = [[line for line in lines if line.startswith("train")] for lines in done]
    assert sorted(map(len, trained)) == [6, 8]
    ingested = [line for lines in done for line in lines if line.startswith("ingest")]
    assert sorted(ingested) == ["ingest one", "ingest two"], "each video once, whoever came first"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ctrl-c", "SIGINT", "SIGTERM", "SIGKILL"])
def test_an_interrupted_run_leaves_nothing_and_goes_on(project: DoorProject, how: str) -> None:
    door = project.start_door("--target", "train@a", pause=0.3)
    log = project.folder / "computed.log"
    wait_until(lambda: log.is_file() and "train@a 4" in log.read_text(), "training is under way", 60)
    start = time.monotonic()
    if how == "ctrl-c":
        os.killpg(door.pid, signal.SIGINT)
    else:
        door.send_signal(getattr(signal, how))
    text, _ = door.communicate(timeout=20)
    wait_until(lambda: not project.processes(), f"all have ended, not {project.processes()}", 10)
    assert time.monotonic() - start < 8
    assert door.returncode == {"SIGTERM": 143, "SIGKILL": -9}.get(how, 130), text
    assert "Traceback" not in text

    before = project.lines()
    project.door("--target", "train@a")
    after = project.lines()
    assert len(before) + len(after) in (22, 23), "at most the step in flight is done twice"
    assert after[0] in (before[-1], f"train@a {int(before[-1].split()[1]) + 1}"), "it goes on where it was stopped"


def test_a_lock_of_a_dead_dvc_is_dropped(project: DoorProject) -> None:
    """Its PID has been given to another process since, which dvc takes for the holder."""
    ours, file = {"pid": os.getpid(), "cmd": "dvc repro"}, str(project.folder / "data/artifacts/numbers")
    project.write(".dvc/tmp/rwlock", json.dumps({"read": {file: [ours]}, "write": {file: ours}}))
    assert "busy" in project.command("dvc", "repro", "ingest", expect=255)
    assert "a lock that a killed dvc left was dropped (dvc repro)" in project.door("--target", "ingest")
    project.write(".dvc/tmp/rwlock", "{")
    assert "damaged" in forget_dead_locks(project.folder)[0]


@pytest.mark.slow
def test_the_pipeline_run_in_mlflow(tmp_path: Path) -> None:
    project = DoorProject(tmp_path / "project", {"one": "1", "bad": "x"}, tracking=True)
    project.door("--recipe", "big", "--set", "train.steps=4")
    found = runs(project.folder / "mlruns")
    (parent,) = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = {run.data.tags["dvc.stage"]: run for run in found if run is not parent}
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", "tiny big steps=4")
    assert parent.data.params.items() >= {"dataset": "tiny", "recipe": "big", "overrides": "train.steps=4"}.items()
    assert children.keys() == {"ingest", "train@a", "train@b", "report"}
    assert children["ingest"].inputs.dataset_inputs[0].dataset.name == "tiny"
    for name in ("ingest", "train@a", "train@b"):
        assert parent.data.tags[stage_tag(name)] == f"executed:{children[name].info.run_id}"
    assert parent.data.tags["git.commit"] == project.command("git", "rev-parse", "HEAD").strip()
    assert parent.data.tags["git.dirty"] == "false"
    wanted = {"stages/executed": 4, "stages/cached": 0, "videos/failed": 1}
    assert parent.data.metrics.items() >= wanted.items()
    assert parent.data.metrics["final"] == children["report"].data.metrics["final"]

    # Nothing to do, no run; the same videos, and the cached stage names the run that made it.
    project.door("--recipe", "big", "--set", "train.steps=4")
    assert len(runs(project.folder / "mlruns")) == len(found)
    project.door("--recipe", "big", "--set", "train.steps=5", "--target", "train@a")
    newest = next(run for run in runs(project.folder / "mlruns") if "mlflow.parentRunId" not in run.data.tags)
    assert newest.data.tags["stage.ingest"] == f"cached:{children['ingest'].info.run_id}"
    assert newest.data.metrics["stages/cached"] == 1

    text = project.command("python", "-m", "pipeline", "compare", parent.info.run_id[:10], newest.info.run_id)
    for expected in ("train@a", "steps", "weight", "What was different", "What it did"):
        assert expected in text
    assert "rows" not in text, "what both have in common is not listed"
    assert "names no runs" in project.command("python", "-m", "pipeline", "compare", "zzz", "zzz", expect=1)
    assert not list((project.folder / "mlruns").glob("open_run*.json"))


@pytest.mark.slow
def test_a_killed_run_is_closed_by_the_next(tmp_path: Path) -> None:
    project = DoorProject(tmp_path / "project", {"one": "1"}, tracking=True)
    door = project.start_door("--target", "train@a", pause=0.5)
    log = project.folder / "computed.log"
    wait_until(lambda: log.is_file() and "train@a 2" in log.read_text(), "training is under way", 90)
    for process in [psutil.Process(door.pid), *psutil.Process(door.pid).children(recursive=True)]:
        process.kill()
    door.communicate(timeout=20)
    assert {run.info.status for run in runs(project.folder / "mlruns")} == {"FINISHED", "RUNNING"}
    project.door("--target", "train@a")
    found = runs(project.folder / "mlruns")
    assert sorted(run.info.status for run in found) == ["FINISHED", "FINISHED", "FINISHED", "KILLED", "KILLED"]
