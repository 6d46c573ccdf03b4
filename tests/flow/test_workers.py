"""A second machine: a worker with a home and a clone of its own takes the GPU queue's stages. Second tier."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.flow.conftest import Pages
from tests.run.tiny_project import wait_until

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent


def prefect(pages: Pages, home: Path) -> dict[str, str]:
    return pages.project.environment() | {
        "PREFECT_API_URL": pages.api, "PREFECT_HOME": str(home), "HOME": str(home), "DO_NOT_TRACK": "1",
    }  # fmt: skip


@pytest.fixture(scope="module")
def clone(pages: Pages, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Another clone with the same data and DVC remote, and a worker on the queue ``gpu`` in it."""
    tmp_path = tmp_path_factory.mktemp("machine")
    project, clone, remote = pages.project, tmp_path / "clone", tmp_path / "remote"
    text = (project.folder / "stages/train.py").read_text()
    project.write("stages/train.py", text.replace('variants=("a", "b"),', 'variants=("a", "b"), needs="gpu",'))
    project.commit()
    project.command("dvc", "remote", "add", "--local", "-d", "shared", str(remote))
    subprocess.run(["git", "clone", "-q", str(project.folder), str(clone)], check=True)
    (clone / ".dvc/config.local").write_text((project.folder / ".dvc/config.local").read_text())
    (clone / "data/raw").mkdir(parents=True)
    (clone / "data/raw/tiny").symlink_to(project.folder / "data/raw/tiny")

    environment = prefect(pages, tmp_path / "home")
    for words in (
        ("work-pool", "create", "machines", "--type", "process"),
        ("--no-prompt", "deploy", "--all", "--prefect-file", "pipeline/prefect.yaml"),
    ):
        done = subprocess.run([BIN / "prefect", *words], cwd=clone, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    worker = subprocess.Popen(
        [BIN / "prefect", "worker", "start", "--pool", "machines", "--work-queue", "gpu"], cwd=clone,
        env=environment | {"PYTHONPATH": str(clone), "PREFECT_WORKER_QUERY_SECONDS": "2"},
        stdout=open(tmp_path / "worker.log", "w"), stderr=subprocess.STDOUT, start_new_session=True,  # noqa: SIM115
    )  # fmt: skip
    yield clone
    family = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
    alive = family
    for number in (signal.SIGINT, signal.SIGTERM):
        # Prefect hands the first on to a child that has it already as one of the group, and then at times waits for ever.
        if alive:
            os.killpg(worker.pid, number)
            _, alive = psutil.wait_procs(family, 20)
    for process in alive:
        process.kill()
    print((tmp_path / "worker.log").read_text())
    assert not alive


def test_a_second_worker_takes_the_gpu_queue(pages: Pages, clone: Path) -> None:
    run = pages.start(target="train@a", overrides=["train.steps=7"], gpu_stages="queue")
    assert pages.wait(run, 240)["type"] == "COMPLETED", pages.logs(run)
    here = [one for one in pages.project.worktrees() if "steps: 7" in (one / "params.yaml").read_text()]
    there = sorted(path.parent for path in (clone / "data/work/runs").glob("*/.git"))
    assert len(here) == len(there) == 1
    assert "train@a" not in "".join(pages.project.lines(here[0])), "nothing was trained here"
    assert [line for line in pages.project.lines(there[0]) if "train" in line] == [
        f"train@a {step}" for step in range(7)
    ]
    weights = "data/checkpoints/a/weights.json"
    assert (here[0] / weights).read_bytes() == (there[0] / weights).read_bytes()
    wait_until(
        lambda: pages.tasks(run)["train@a"] == ("Cached", "up to date, restored from the cache"), "it was cached"
    )


def test_a_cancelled_run_cancels_what_it_delegated(pages: Pages, clone: Path) -> None:
    """The stage on the other machine ends too: nobody waits for its result any more."""
    run = pages.start(target="train@b", overrides=["train.steps=100000"], gpu_stages="queue")

    def training() -> list[Path]:
        logs = (clone / "data/work/runs").glob("*/computed.log")
        return [path for path in logs if "train@b" in path.read_text()]

    wait_until(training, "the second machine trains", 120)
    status, answer = pages.call(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    assert status == 201, answer
    assert pages.wait(run, 60)["type"] == "CANCELLED"
    _, found = pages.call("/flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 1})
    delegated = found[0]
    assert delegated["id"] != run
    assert delegated["parameters"]["target"] == "train@b"
    assert pages.wait(delegated["id"], 60)["type"] == "CANCELLED"
    (log,) = training()
    assert not [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] and Path(p.info["cwd"]) == log.parent]
    assert len(log.read_text().splitlines()) < 100000
