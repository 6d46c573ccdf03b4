"""The whole chain at tiny size: same bytes after kills, cheap additions, nothing done twice. Second tier."""

import json
import os
import random
import signal
import time
from collections.abc import Callable

import psutil
import pytest

from tests.chain.project import Project

pytestmark = pytest.mark.slow

STAGES = [
    "ingest",
    "frames",
    "pretrain",
    "lofi",
    *(f"{stage}@lofi" for stage in ("features", "head", "evaluate")),
]


def metrics(project: Project, stage: str) -> dict:
    return json.loads((project.root / "reports" / "metrics" / f"{stage}.json").read_text())


def running_stages(project: Project) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = process.info["cmdline"] or []
        if process.info["cwd"] == str(project.root) and any(word.startswith("stages.") for word in command):
            found.append(process)
    return found


def test_killed_anywhere_ends_with_the_same_bytes(make_project: Callable[[str], Project]) -> None:
    quiet = make_project("quiet")
    quiet.run("dvc", "repro")
    expected = quiet.digests()

    killed = make_project("killed")
    rng = random.Random(0)
    for stage in STAGES:
        # Half of the time it took undisturbed, start-up included: somewhere within its work.
        wall = metrics(quiet, stage)["cost"]["wall_s"] + 2.0
        process = killed.start("dvc", "repro", stage)
        time.sleep(1.5 + rng.random() * wall)
        # Only dvc is killed, and not its group: the stage must notice by itself.
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 10
        while running_stages(killed) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not running_stages(killed), "a stage outlived its dvc"
        killed.run("dvc", "repro", stage)
    killed.run("dvc", "repro")
    assert killed.digests() == expected

    # Nothing to do: nothing is done, and quickly.
    before = (killed.root / "dvc.lock").read_bytes()
    start = time.process_time(), time.monotonic()
    done = killed.run("dvc", "repro")
    assert "Running stage" not in done.stdout
    assert time.monotonic() - start[1] < 15  # 5 s is asked of a quiet machine
    assert (killed.root / "dvc.lock").read_bytes() == before

    # One more video costs only that video.
    definition = killed.root / "data" / "datasets" / "tiny.yaml"
    definition.write_text(definition.read_text() + "extra: 1\n")
    killed.run("dvc", "repro", "frames")
    for stage in ("ingest", "frames"):
        assert metrics(killed, stage)["videos"] == {"done": 18, "failed": 0, "reused": 17}

    # A parameter set back costs nothing.
    definition.write_text(definition.read_text().replace("extra: 1\n", ""))
    done = killed.run("dvc", "repro")
    assert killed.digests() == expected
    for stage in ("ingest", "frames", "pretrain", "lofi", "head@lofi"):
        # DVC restores it from its cache, or the stage runs and finds everything in the work store.
        assert f"Running stage '{stage}'" not in done.stdout or not metrics(killed, stage)["executed"]


def test_executors_give_the_same_bytes(make_project: Callable[[str], Project]) -> None:
    digests = []
    for executor in ("inline", "process"):
        project = make_project(executor)
        project.params(lambda raw, executor=executor: raw["run"].update(executor=executor))
        project.run("dvc", "repro", "frames")
        digests.append(project.digests())
    assert digests[0] == digests[1]


def test_a_worktree_run_leaves_the_checkout_alone_and_shares_equal_work(make_project: Callable[[str], Project]) -> None:
    project = make_project("main")
    project.run("dvc", "repro", "frames")
    before = project.run("git", "status", "--porcelain", "--ignored=no").stdout
    done = project.run("python", "-m", "pipeline", "run", "--set", "frames.jpeg_quality=70", "--target", "frames")
    assert project.run("git", "status", "--porcelain", "--ignored=no").stdout == before
    (worktree,) = [p for p in (project.root / "data" / "work" / "runs").iterdir() if (p / ".git").exists()]
    other = Project(worktree, project.root)
    assert "Running stage 'ingest'" not in done.stdout or metrics(other, "ingest")["videos"]["reused"] == 17
    assert metrics(other, "frames")["videos"]["reused"] == 0
    here, there = project.digests(), other.digests()
    same = {name for name in here if here[name] == there[name]}
    assert any(name.startswith("data/artifacts/videos") for name in same)
    assert not any(name.endswith(".h5") and "frames" in name for name in same)
