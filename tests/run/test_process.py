"""The life of a stage's process: signals, the watchdog, the lock."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.run.tiny_project import TinyProject, clean_environment, wait_until

LOCKER = """
import sys, time
from pathlib import Path
from pipeline.run.process import folder_lock
print("asking", flush=True)
with folder_lock(Path(sys.argv[1])):
    print("holding", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def locker(folder: Path, seconds: float) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", LOCKER, str(folder), str(seconds)],
        env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_the_lock_waits_and_is_freed_by_sigkill(tmp_path: Path) -> None:
    first = locker(tmp_path / "work", 60)
    assert first.stdout is not None
    assert [first.stdout.readline() for _ in range(2)] == ["asking\n", "holding\n"]
    second = locker(tmp_path / "work", 0)
    assert second.stdout is not None
    assert second.stderr is not None
    line = second.stderr.readline()
    assert f"{tmp_path / 'work'} is in use by process {first.pid}; waiting" in line
    assert second.poll() is None
    first.kill()
    out, _ = second.communicate(timeout=5)
    assert out == "asking\nholding\n"
    assert second.returncode == 0
    first.communicate(timeout=30)


def test_a_waiting_stage_can_be_stopped(project: TinyProject) -> None:
    holder = locker(project.folder / "data" / "work" / "ingest", 60)
    assert holder.stdout is not None
    assert [holder.stdout.readline() for _ in range(2)] == ["asking\n", "holding\n"]
    stage = project.start("ingest")
    assert stage.stderr is not None
    assert "waiting for it to finish" in stage.stderr.readline()
    stage.send_signal(signal.SIGTERM)
    stage.communicate(timeout=5)
    assert stage.returncode == 75
    holder.kill()
    holder.communicate(timeout=30)


def gone(pids: list[int]) -> bool:
    def ended(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return all(map(ended, pids))


@pytest.mark.parametrize("shell_between", [False, True], ids=["direct", "a shell between"])
def test_stage_and_workers_end_when_dvc_is_killed(tmp_path: Path, shell_between: bool) -> None:
    project = TinyProject(tmp_path / "project", {str(index): str(index) for index in range(6)})
    project.params["run"] |= {"executor": "process", "workers": 2}
    project.run("report", expect=1)  # writes params.yaml
    command = f"{sys.executable} -m stages.ingest" + ("; true" if shell_between else "")
    # The watchdog knows dvc by the name of its script.
    (tmp_path / "dvc").write_text(f"import subprocess; subprocess.run({command!r}, shell=True)")
    dvc = subprocess.Popen(
        [sys.executable, str(tmp_path / "dvc")], cwd=project.folder, env=clean_environment() | {"TINY_PAUSE": "30"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    log = project.folder / "computed.log"
    wait_until(lambda: log.is_file() and len(log.read_text().splitlines()) == 2, "both workers are busy")
    family = [child.pid for child in psutil.Process(dvc.pid).children(recursive=True)]
    assert len(family) >= 3, "a stage and two workers"
    dvc.kill()
    dvc.wait()
    start = time.monotonic()
    wait_until(lambda: gone(family), "the stage and its workers have ended", 5)
    assert time.monotonic() - start < 2.5
    assert project.json("data/work/status/ingest.json")["outcome"] == "running"


def test_a_worker_whose_parent_is_gone_before_it_could_look_ends_too() -> None:
    code = "import os, time; from pipeline.run.process import end_with_parent; end_with_parent({}); time.sleep({})"
    for parent, seconds, status in (("os.getppid() + 1", 30, 75), ("os.getppid()", 1, 0), ("None", 1, 0)):
        command = [sys.executable, "-c", code.format(parent, seconds)]
        assert subprocess.run(command, env=clean_environment(), timeout=10).returncode == status


@pytest.mark.parametrize("executor", ["inline", "process"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_on_the_group_and_sigterm(tmp_path: Path, number: signal.Signals, executor: str) -> None:
    project = TinyProject(tmp_path / "project", {str(index): str(index) for index in range(6)})
    project.params["run"] |= {"executor": executor, "workers": 2}
    stage = project.start("ingest", TINY_PAUSE="20")
    log = project.folder / "computed.log"
    wait_until(lambda: log.is_file(), "a unit has begun")
    family = [child.pid for child in psutil.Process(stage.pid).children(recursive=True)]
    for pid in [*family, stage.pid] if number is signal.SIGINT else [stage.pid]:
        psutil.Process(pid).send_signal(number)
    _, error = stage.communicate(timeout=5)
    assert stage.returncode == 75, error
    assert "Traceback" not in error
    status = project.json("data/work/status/ingest.json")
    assert (status["outcome"], status["message"]) == (
        "retry", f"stopped by {number.name}; start it again and it goes on"
    )  # fmt: skip
    wait_until(lambda: gone(family), "the workers have ended", 5)
    assert not list((project.folder / "data" / "work").rglob(".writing-*/unit.h5"))
