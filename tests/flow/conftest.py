"""The pages themselves: servers and flow of a tiny project, started by ``python -m pipeline ui`` once for all tests."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.run.door_project import DoorProject
from tests.run.tiny_project import ROOT, wait_until

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_project(folder: Path, tracking: bool) -> DoorProject:
    """A tiny project with the library in it, as in the real checkout: the flow works where its file lies."""
    shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    return DoorProject(folder, {"one": "1", "two": "2", "bad": "x"}, tracking)


class Pages:
    """The three processes, and Prefect's API as the form uses it."""

    def __init__(self, project: DoorProject, pause: float) -> None:
        self.project = project
        self.prefect, self.mlflow = free_port(), free_port()
        self.url, self.api = f"http://127.0.0.1:{self.prefect}", f"http://127.0.0.1:{self.prefect}/api"
        self.process = subprocess.Popen(
            self.command(), cwd=project.folder, env=project.environment() | {"TINY_PAUSE": str(pause), "PYTHONPATH": ""},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        self.said: list[str] = []

    def command(self) -> list[str]:
        ports = ["--prefect-port", str(self.prefect), "--mlflow-port", str(self.mlflow)]
        return [sys.executable, "-m", "pipeline", "ui", *ports]

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if "Ctrl-C" in line:
                return
        raise AssertionError("the pages did not start:\n" + "".join(self.said))

    def family(self) -> list[psutil.Process]:
        return [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]

    def stop(self) -> None:
        """Ctrl-C; no process may be left."""
        if self.process.poll() is None:
            family = self.family()
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
            assert not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        assert not self.project.processes()

    def call(self, path: str, body: Any = None) -> tuple[int, Any]:
        for _ in range(5):
            status, answer = self._call(path, body)
            if status != 503:  # the server's database is busy: so is the machine
                break
            time.sleep(1)
        return status, answer

    def _call(self, path: str, body: Any) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.api + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def deployment(self) -> dict[str, Any]:
        return dict(self.call("/deployments/name/long-form-video/here")[1])

    def start(self, **parameters: Any) -> str:
        """Start a run as the form does; returns its id."""
        status, answer = self.call(
            f"/deployments/{self.deployment()['id']}/create_flow_run", {"parameters": parameters}
        )
        assert status == 201, answer
        return str(answer["id"])

    def state(self, run: str) -> dict[str, Any]:
        return dict(self.call(f"/flow_runs/{run}")[1]["state"])

    def wait(self, run: str, timeout_s: float = 120) -> dict[str, Any]:
        """Wait for the run's end; returns its state."""
        end = time.monotonic() + timeout_s
        while (state := self.state(run))["type"] not in ENDED:
            assert time.monotonic() < end, f"run {run} did not end: {state}\n{self.logs(run)}"
            time.sleep(0.5)
        return state

    def tasks(self, run: str) -> dict[str, tuple[str, str]]:
        """State and message of each task by name, once the server has heard of all of them."""
        _, found = self.call("/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}, "limit": 100})
        states = {one["name"]: one["state"] or {} for one in found}
        return {name: (state.get("name", ""), state.get("message") or "") for name, state in states.items()}

    def artifacts(self, run: str) -> dict[str, dict[str, Any]]:
        _, found = self.call("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}, "limit": 100})
        return {one["key"]: one for one in found}

    def logs(self, run: str) -> str:
        wanted = {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200, "sort": "TIMESTAMP_ASC"}
        return "\n".join(one["message"] for one in self.call("/logs/filter", wanted)[1])

    def wait_for_task(self, run: str, name: str, state: str) -> None:
        wait_until(lambda: self.tasks(run).get(name, ("",))[0] == state, f"task {name} is {state}", 60)


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """The running pages of a project of its own, with MLflow."""
    pages = Pages(make_project(tmp_path_factory.mktemp("pages") / "project", tracking=True), pause=0.1)
    try:
        pages.wait_until_ready()
        yield pages
    finally:
        pages.stop()
