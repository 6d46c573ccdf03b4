"""``python -m pipeline ui``: the Prefect server, the served flow and the MLflow server on loopback, ended together."""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pipeline.run.announced import store_folder
from pipeline.run.dvc import stop_tree, tethered
from pipeline.run.store import work_root
from pipeline.run.tracking_store import store_uri

HOST = "127.0.0.1"
START_SECONDS = 180.0
STOP_SECONDS = 8.0
RESTARTS = 3


@dataclass
class Service:
    """One process with an address that answers when it is ready."""

    name: str
    command: list[str]
    environment: dict[str, str]
    ready: str
    log: Path
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    def start(self, folder: Path) -> None:
        """Start it as leader of its own group (Ctrl-C is for us alone), its output in a file."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.process is None:
            self.log.unlink(missing_ok=True)  # of an earlier day
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                tethered(self.command), cwd=folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def wait_until_ready(self, end: float) -> None:
        """Wait for its address to answer; raises OSError with the end of its log when it does not."""
        while True:
            if self.process is None or self.process.poll() is not None:
                raise OSError(f"{self.name} ended at its start; the end of {self.log}:\n{_tail(self.log)}")
            with contextlib.suppress(OSError):
                if self.is_ready():
                    return
            if time.monotonic() > end:
                raise OSError(
                    f"{self.name} did not answer at {self.ready} in time; the end of {self.log}:\n{_tail(self.log)}"
                )
            time.sleep(0.3)

    def is_ready(self) -> bool:
        """Whether the address answers."""
        with urllib.request.urlopen(self.ready, timeout=5) as answer:
            return bool(answer.status == 200)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--prefect-port", type=int, default=4200, metavar="PORT", help="default 4200")
    parser.add_argument("--mlflow-port", type=int, default=5000, metavar="PORT", help="default 5000")


def run(options: argparse.Namespace) -> int:
    """Serve; see :func:`ui`."""
    return ui(Path.cwd(), options.prefect_port, options.mlflow_port)


def ui(root: Path, prefect_port: int, mlflow_port: int) -> int:
    """Start all three, print their addresses, wait for Ctrl-C or SIGTERM, stop all; returns the exit status.

    Raises:
        OSError: a port is taken, or a server did not start; nothing is left running.
    """
    for name, port, option in (("Prefect", prefect_port, "--prefect-port"), ("MLflow", mlflow_port, "--mlflow-port")):
        if not _is_free(port):
            raise OSError(
                f"port {port}, where {name} should listen, is taken; stop what is there or choose another: {option} PORT"
            )
    services = _services(root, prefect_port, mlflow_port)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    server, tracking, flow = services
    try:
        print("starting, this takes about half a minute", flush=True)
        end = time.monotonic() + START_SECONDS
        server.start(root)
        tracking.start(root)
        server.wait_until_ready(end)
        flow.start(root)
        tracking.wait_until_ready(end)
        flow.wait_until_ready(end)
        base = f"http://{HOST}:{prefect_port}"
        print(f"start a run            {base}/deployments/deployment/{_deployment(flow)}/run")
        print(f"watch runs (Prefect)   {base}/runs")
        print(f"compare runs (MLflow)  http://{HOST}:{mlflow_port}")
        print(f"logs are in {server.log.parent}; Ctrl-C stops everything", flush=True)
        _keep_running(services, root)
    except KeyboardInterrupt:
        print("\nstopping", flush=True)
        return 0
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of them
        for service in reversed(services):
            if service.process is not None:
                stop_tree(service.process, STOP_SECONDS)


def _keep_running(services: Sequence[Service], root: Path) -> NoReturn:
    """Start again what ends by itself: runs go on meanwhile, and only their progress is late. Ends by an exception."""
    left = dict.fromkeys((service.name for service in services), RESTARTS)
    while True:
        time.sleep(0.5)
        for service in services:
            if service.process is not None and service.process.poll() is not None:
                if not left[service.name]:
                    raise OSError(
                        f"{service.name} ended again and again; the end of {service.log}:\n{_tail(service.log)}"
                    )
                left[service.name] -= 1
                print(f"{service.name} ended by itself and is started again; {service.log} may say why", flush=True)
                service.start(root)


def _services(root: Path, prefect_port: int, mlflow_port: int) -> tuple[Service, Service, Service]:
    home, programs = work_root(root).resolve() / "prefect", Path(sys.executable).parent
    api = f"http://{HOST}:{prefect_port}/api"
    store = store_folder(root)
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")])),
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_UI_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLI_PROMPT": "false",
        "PIPELINE_MLFLOW_URL": f"http://{HOST}:{mlflow_port}",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven processes for what we do not use
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
    }
    prefect = [str(programs / "prefect"), "server", "start", "--host", HOST, "--port", str(prefect_port)]
    mlflow = [
        *(str(programs / "mlflow"), "server", "--host", HOST, "--port", str(mlflow_port), "--workers", "1"),
        *("--backend-store-uri", store_uri(store), "--artifacts-destination", str(store.resolve() / "artifacts")),
    ]
    flow = [sys.executable, "-m", "pipeline.flow"]
    return (
        Service("the Prefect server", prefect, environment, f"{api}/health", home / "server.log"),
        Service("the MLflow server", mlflow, environment, f"http://{HOST}:{mlflow_port}/health", home / "mlflow.log"),
        _Flow("the flow", flow, environment, f"{api}/deployments/name/long-form-video/here", home / "flow.log"),
    )


class _Flow(Service):
    """Ready when the server knows the deployment of this process, and not only that of an earlier one."""

    def is_ready(self) -> bool:
        return super().is_ready() and b"is being served" in self.log.read_bytes()


def _deployment(flow: Service) -> str:
    with urllib.request.urlopen(flow.ready, timeout=30) as answer:
        return str(json.loads(answer.read())["id"])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-15:]) if path.is_file() else "(no log)"
