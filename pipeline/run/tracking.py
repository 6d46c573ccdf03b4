"""MLflow in two levels: one run per pipeline run, one child per stage that really executed.

The only file that names mlflow.
Tracking is an observer: whatever goes wrong here becomes a warning in the stage's metrics and never fails a stage.
"""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.run.files import read_json, write_json
from pipeline.run.store import make_key

PARENT_VARIABLE = "PIPELINE_PARENT_RUN"
STORE_VARIABLE = "PIPELINE_TRACKING"
FLUSH_SECONDS = 5.0


def store_folder(root: Path) -> Path:
    """Where the SQLite store and the runs' files lie: ``mlruns``, or another checkout's."""
    return Path(os.environ.get(STORE_VARIABLE) or root / "mlruns")


class Tracker:
    """Logs one stage as a child run. Every method is safe to call when MLflow is off, absent or broken."""

    def __init__(self, root: Path, experiment: str, enabled: bool) -> None:
        self.run_id: str | None = None
        self.warnings: list[str] = []
        self._root, self._experiment, self._enabled = root, experiment, enabled
        self._client: Any = None
        self._buffer: list[tuple[int, dict[str, float], int]] = []
        self._flushed = 0.0

    def begin(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Open the child run (and the parent where there is none yet); log the stage's own parameters."""
        if self._enabled:
            self._guard("begin", lambda: self._begin(name, params, tags))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Buffer metrics of one step; written in batches every few seconds."""
        self._buffer.append((step, dict(values), int(time.time() * 1000)))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def end(self, metrics: Mapping[str, float], files: list[Path], failed: bool) -> None:
        """Log the final metrics and files and close the child run."""
        if self._client is None or self.run_id is None:
            return
        self.log(0, metrics)
        self._flush()
        run_id, client = self.run_id, self._client
        for path in files:
            self._guard("log file", lambda path=path: client.log_artifact(run_id, str(path)))  # type: ignore[misc]
        self._guard("end", lambda: client.set_terminated(run_id, "FAILED" if failed else "FINISHED"))

    def close_parent(self, metrics: Mapping[str, float], files: list[Path]) -> None:
        """Close the pipeline run with its headline metrics; the report stage calls it."""
        parent = self._open_parent()
        if self._client is None or parent is None:
            return
        client = self._client

        def close() -> None:
            for name, value in metrics.items():
                client.log_metric(parent, name, value)
            for path in files:
                client.log_artifact(parent, str(path))
            if PARENT_VARIABLE not in os.environ:
                client.set_terminated(parent, "FINISHED")
                self._open_file().unlink(missing_ok=True)

        self._guard("close the pipeline run", close)

    def _begin(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        self._client = _connect(store_folder(self._root))
        experiment = self._client.get_experiment_by_name(self._experiment)
        experiment_id = (
            experiment.experiment_id
            if experiment
            else self._client.create_experiment(
                self._experiment, artifact_location=(store_folder(self._root) / "artifacts" / self._experiment).as_uri()
            )
        )
        parent = self._open_parent()
        if parent is None:
            parent = self._client.create_run(experiment_id, run_name="dvc repro").info.run_id
            write_json(self._open_file(), {"run_id": parent})
        run = self._client.create_run(
            experiment_id, run_name=name, tags={"mlflow.parentRunId": parent, "dvc.stage": name, **tags}
        )
        self.run_id = run.info.run_id
        for key, value in params.items():
            self._client.log_param(self.run_id, key, value)

    def _open_parent(self) -> str | None:
        if PARENT_VARIABLE in os.environ:
            return os.environ[PARENT_VARIABLE]
        path = self._open_file()
        return str(read_json(path)["run_id"]) if path.is_file() else None

    def _open_file(self) -> Path:
        # One per checkout: worktrees share the store and may run at the same time.
        return store_folder(self._root) / f"open_run-{make_key(str(self._root))}.json"

    def _flush(self) -> None:
        self._flushed = time.monotonic()
        buffer, self._buffer = self._buffer, []
        if self._client is None or self.run_id is None:
            return

        def write() -> None:
            from mlflow.entities import Metric

            metrics = [Metric(k, float(v), when, step) for step, values, when in buffer for k, v in values.items()]
            for start in range(0, len(metrics), 1000):
                self._client.log_batch(self.run_id, metrics=metrics[start : start + 1000])

        self._guard("log metrics", write)

    def _guard(self, what: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            text = (
                f"MLflow could not {what}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            )
            if text not in self.warnings:
                self.warnings.append(text)
                print(text, file=sys.stderr)


def _connect(folder: Path) -> Any:
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "GIT_PYTHON_REFRESH": "quiet"}
    database = folder / "mlflow.db"
    _create_store(database)
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{database}")


def _create_store(database: Path) -> None:
    """Create the SQLite store once: MLflow's first migration survives neither a second first user nor a kill."""
    if database.is_file():
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with open(database.parent / ".create.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if database.is_file():
            return
        temp = database.with_suffix(".creating")
        temp.unlink(missing_ok=True)
        code = "import sys; from mlflow import MlflowClient; MlflowClient(sys.argv[1]).search_experiments()"
        done = subprocess.run([sys.executable, "-c", code, f"sqlite:///{temp}"], capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"{database} could not be created: {done.stderr.strip().splitlines()[-1:]}")
        temp.rename(database)
