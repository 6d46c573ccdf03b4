"""MLflow in two levels: one run per pipeline run, one child per stage that really executed.

The only file that imports mlflow.
Tracking is an observer: whatever goes wrong here becomes a warning in the stage's metrics and never fails a stage.

The pipeline run (the parent) is opened by the first stage that executes, so a run with nothing to do leaves no trace; see
``pipeline.run.announced``. The door closes it; under bare ``dvc repro`` the report does.
"""

import importlib
import os
import posixpath
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.run.announced import PARENT_VARIABLE, announced_path, locked_state, read_state, state_path, store_folder
from pipeline.run.stage import Signature
from pipeline.run.tracking_store import store_uri

FLUSH_SECONDS = 5.0
SYSTEM_SECONDS = 5.0
MOST_FAULTS = 3
"""After so many different faults a stage stops talking to MLflow: each may have cost it seconds of waiting."""


class Tracker:
    """Logs one stage as a child run. Every method is safe to call when MLflow is off, absent or broken."""

    def __init__(self, root: Path, experiment: str, enabled: bool) -> None:
        self.run_id: str | None = None
        self.warnings: list[str] = []
        self._root, self._experiment, self._enabled = root, experiment, enabled
        self._client: Any = None
        self._monitor: Any = None
        self._buffer: list[tuple[int, dict[str, float], int]] = []
        self._flushed = 0.0

    def begin(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str], inputs: str = "") -> None:
        """Open the child run (and the parent where there is none yet); log the stage's own parameters.

        Args:
            name: of the stage, variant included.
            params: flat names and values.
            tags: more tags of the run.
            inputs: digest of all that the stage reads, which becomes the run's data set.
        """
        if self._enabled:
            self._guard("begin", lambda: self._begin(name, params, tags, inputs))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Buffer metrics of one step; written in batches every few seconds."""
        self._buffer.append((step, dict(values), int(time.time() * 1000)))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def checkpoint(self, name: str, folder: Path, loader: str) -> None:
        """Log a folder of weights as a model that ``mlflow.pyfunc.load_model`` gives back from the project's root.

        Args:
            name: of the model within the experiment.
            folder: copied as it is.
            loader: module whose ``_load_pyfunc(folder)`` builds it; its ``signature(folder)`` says what it takes and gives.
        """
        if self._client is not None and self.run_id is not None:
            self._guard("log a checkpoint", lambda: self._checkpoint(name, folder, loader))

    def end(self, metrics: Mapping[str, float], files: list[Path], failed: bool) -> None:
        """Log the final metrics and files and close the child run."""
        if self._client is None or self.run_id is None:
            return
        if self._monitor is not None:
            # In a thread: finish() waits for the monitor, which may be waiting for a store that is locked.
            finish = threading.Thread(target=self._monitor.finish, daemon=True)
            finish.start()
            finish.join(SYSTEM_SECONDS)
        self.log(0, metrics)
        self._flush()
        run_id, client = self.run_id, self._client
        for path in files:
            self._guard("log file", lambda path=path: client.log_artifact(run_id, str(path)))  # type: ignore[misc]
        self._guard("end", lambda: client.set_terminated(run_id, "FAILED" if failed else "FINISHED"))

    def close_parent(self, metrics: Mapping[str, float], files: list[Path]) -> None:
        """Give the pipeline run its headline metrics and files, and close it unless the door does; for the report stage."""
        if self._client is None:
            return
        client = self._client

        def close() -> None:
            with locked_state(announced_path(self._root)) as state:
                if not state.get("run_id"):
                    return
                _log_metrics(client, state["run_id"], metrics)
                for path in files:
                    client.log_artifact(state["run_id"], str(path))
                if PARENT_VARIABLE not in os.environ:
                    client.set_terminated(state["run_id"], "FINISHED")
                    state.clear()

        self._guard("close the pipeline run", close)

    def _begin(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str], inputs: str) -> None:
        folder = store_folder(self._root)
        self._client = client = connect(folder)
        experiment_id = _experiment(client, folder, self._experiment)
        with locked_state(announced_path(self._root)) as state:
            _open_parent(client, experiment_id, state)
            parent = str(state["run_id"])
        run = client.create_run(
            experiment_id, run_name=name, tags={"mlflow.parentRunId": parent, "dvc.stage": name, **tags}
        )
        self.run_id = run.info.run_id
        from mlflow.entities import Param

        listed = [Param(key, str(value)[:6000]) for key, value in params.items()]
        for start in range(0, len(listed), 100):
            client.log_batch(self.run_id, params=listed[start : start + 100])
        if inputs:
            _log_data_set(client, str(self.run_id), self._experiment, inputs, str(self._root))
        self._monitor = _start_monitor(folder, str(self.run_id))

    def _checkpoint(self, name: str, folder: Path, loader: str) -> None:
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model
        from mlflow.pyfunc import save_model

        client, run_id = self._client, str(self.run_id)
        signature = _signature(importlib.import_module(loader).signature(folder))
        experiment_id = client.get_run(run_id).info.experiment_id
        model = client.create_logged_model(experiment_id, name, source_run_id=run_id, model_type=loader)
        with tempfile.TemporaryDirectory() as temp:
            save_model(
                f"{temp}/model", loader_module=loader, data_path=str(folder), signature=signature,
                mlflow_model=Model(run_id=run_id, model_id=model.model_id), pip_requirements=[],
            )  # fmt: skip
            client.log_model_artifacts(model.model_id, f"{temp}/model")
        client.finalize_logged_model(model.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])

    def _flush(self) -> None:
        self._flushed = time.monotonic()
        buffer, self._buffer = self._buffer, []
        if self._client is None or self.run_id is None:
            return

        def write() -> None:
            from mlflow.entities import Metric

            metrics = [
                Metric(metric_name(k), float(v), when, step) for step, values, when in buffer for k, v in values.items()
            ]
            for start in range(0, len(metrics), 1000):
                self._client.log_batch(self.run_id, metrics=metrics[start : start + 1000])

        self._guard("log metrics", write)

    def _guard(self, what: str, action: Callable[[], None]) -> None:
        if len(self.warnings) >= MOST_FAULTS:
            return
        try:
            action()
        except Exception as error:
            text = _fault(what, error)
            if text not in self.warnings:
                self.warnings.append(text)
                print(text, file=sys.stderr)


@dataclass(frozen=True)
class PipelineRun:
    """The parent run as the door sees it: a file in which stages open it."""

    path: Path

    @classmethod
    def announce(
        cls,
        workspace: Path,
        store: Path,
        experiment: str,
        name: str,
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> "PipelineRun":
        """Say what the run will be if a stage opens it; a run that a killed door left open will be closed then."""
        run = cls(state_path(workspace, store))
        with locked_state(run.path) as state:
            left = [*state.get("left", []), *([state["run_id"]] if state.get("run_id") else [])]
            state.clear()
            state |= {"name": name, "experiment": experiment, "params": dict(params), "tags": dict(tags), "left": left}
        return run

    @property
    def run_id(self) -> str | None:
        """The id, once a stage has opened it."""
        return read_state(self.path).get("run_id")

    @property
    def experiment_id(self) -> str | None:
        """The id of its experiment, once a stage has opened it."""
        return read_state(self.path).get("experiment_id")

    def close(
        self, status: str, stages: Mapping[str, Mapping[str, Any]], wall_s: float, tags: Mapping[str, str]
    ) -> str | None:
        """Close the run, if any stage opened it: what each stage did, the sums, the status. Returns the run's id.

        Args:
            status: FINISHED, FAILED or KILLED.
            stages: the metrics file's content of every stage by name; empty where there is none.
            wall_s: seconds since the run was started.
            tags: more tags.
        """
        run_id = None
        try:
            with locked_state(self.path) as state:
                run_id = state.get("run_id")
                if run_id:
                    client = connect(self.path.parent)
                    _close_parent(client, run_id, status, stages, wall_s, tags)
                    state.clear()
                elif not state.get("left"):
                    state.clear()
        except Exception as error:
            print(_fault("close the pipeline run", error), file=sys.stderr)
        return run_id


def stage_tag(stage: str) -> str:
    """The pipeline run's tag that says which run made a stage's results (MLflow allows no @ in it)."""
    return f"stage.{stage.replace('@', '/')}"


def _open_parent(client: Any, experiment_id: str, state: dict[str, Any]) -> None:
    for run_id in state.pop("left", []):
        _end_run_and_children(client, experiment_id, run_id, "KILLED")
    if state.get("run_id"):
        return
    run = client.create_run(experiment_id, run_name=state.get("name", "dvc repro"), tags=state.get("tags", {}))
    state |= {"run_id": run.info.run_id, "experiment_id": experiment_id}
    for key, value in state.get("params", {}).items():
        client.log_param(state["run_id"], key, value)


def _close_parent(
    client: Any,
    run_id: str,
    status: str,
    stages: Mapping[str, Mapping[str, Any]],
    wall_s: float,
    tags: Mapping[str, str],
) -> None:
    experiment_id = client.get_run(run_id).info.experiment_id
    _end_run_and_children(client, experiment_id, run_id, status)  # first: whatever fails below, the run is closed
    children = {run.data.tags.get("dvc.stage", ""): run for run in children_of(client, experiment_id, run_id)}
    executed = [name for name in stages if name in children]
    for name, values in stages.items():
        if name in children:
            client.set_tag(run_id, stage_tag(name), f"executed:{children[name].info.run_id}")
        elif values:
            client.set_tag(run_id, stage_tag(name), f"cached:{values.get('mlflow_run_id')}")
    for key, value in tags.items():
        client.set_tag(run_id, key, value)
    failed = sum(float(values.get("metrics", {}).get("failed", 0)) for values in stages.values())
    cpu = sum(float(stages[name].get("cost", {}).get("process_cpu_s", 0)) for name in executed)
    sums = {"stages/executed": len(executed), "stages/cached": len(stages) - len(executed), "videos/failed": failed}
    _log_metrics(client, run_id, {**sums, "cost/cpu_s": cpu, "cost/wall_s": wall_s})


def _end_run_and_children(client: Any, experiment_id: str, run_id: str, status: str) -> None:
    # A stage that was killed outright could not close its own.
    for child in children_of(client, experiment_id, run_id):
        if child.info.status == "RUNNING":
            client.set_terminated(child.info.run_id, "KILLED")
    client.set_terminated(run_id, status)


def children_of(client: Any, experiment_id: str, run_id: str) -> Sequence[Any]:
    """The MLflow runs of the stages that a pipeline run executed."""
    found: Sequence[Any] = client.search_runs([experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'")
    return found


def metric_name(name: str) -> str:
    """The name as MLflow takes it: ``top1/I+M`` becomes ``top1/I_M``; names of classes may hold any character."""
    return posixpath.normpath("/" + re.sub(r"[^\w\-. :/]", "_", name)).lstrip("/") or "_"


def _log_metrics(client: Any, run_id: str, metrics: Mapping[str, float]) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    client.log_batch(
        run_id, metrics=[Metric(metric_name(name), float(value), now, 0) for name, value in metrics.items()]
    )


def _signature(signature: Signature) -> Any:
    """MLflow's form of a signature: tensors by dtype and shape, tables by column types."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    def schema(values: Any) -> Any:
        if isinstance(values, Mapping):
            return Schema([ColSpec(kind, name) for name, kind in values.items()])
        return Schema([TensorSpec(np.dtype(values.dtype), values.shape)])

    return ModelSignature(schema(signature.inputs), schema(signature.outputs))


def _start_monitor(folder: Path, run_id: str) -> Any:
    """CPU, memory, disk, network and, where there is one, GPU of this machine, logged while the stage runs."""
    import logging

    from mlflow.system_metrics import system_metrics_monitor

    for module in ("mlflow.system_metrics.system_metrics_monitor", "mlflow.system_metrics.metrics.gpu_monitor"):
        logging.getLogger(module).setLevel(logging.ERROR)
    make: Any = system_metrics_monitor.SystemMetricsMonitor
    monitor = make(run_id, sampling_interval=SYSTEM_SECONDS, tracking_uri=store_uri(folder))
    monitor.start()
    return monitor


def _experiment(client: Any, folder: Path, name: str) -> str:
    """The id of the experiment (one per data set), made where there is none; another process may be as quick."""
    for _ in range(2):
        experiment = client.get_experiment_by_name(name)
        if experiment:
            return str(experiment.experiment_id)
        try:
            files = (folder.resolve() / "artifacts" / name).as_uri()
            # The kind opens its pages on runs, metrics and models instead of on the traces of a language model.
            return str(
                client.create_experiment(name, files, tags={"mlflow.experimentKind": "custom_model_development"})
            )
        except Exception as error:
            if "already exists" not in str(error):
                raise
    return str(client.get_experiment_by_name(name).experiment_id)


def _log_data_set(client: Any, run_id: str, name: str, digest: str, source: str) -> None:
    """Say what a run read; another process may log the same data set at the same time."""
    from mlflow.entities import Dataset, DatasetInput

    inputs = [DatasetInput(Dataset(name, digest, "local", source))]
    try:
        client.log_inputs(run_id, inputs)
    except Exception as error:
        # MLflow looks whether the data set is there and then writes it; the second to write it finds it when it looks again.
        if "UNIQUE constraint failed: datasets" not in str(error):
            raise
        client.log_inputs(run_id, inputs)


def _fault(what: str, error: Exception) -> str:
    return f"MLflow could not {what}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def connect(folder: Path) -> Any:
    """An MLflow client of the store in ``folder``, which is created if there is none."""
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "GIT_PYTHON_REFRESH": "quiet"}
    uri = store_uri(folder)
    from mlflow import MlflowClient

    return MlflowClient(uri)
