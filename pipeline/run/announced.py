"""The pipeline run that is going on in a checkout, as a small file beside MLflow's store.

The door announces a run there and passes the file's path in ``PIPELINE_PARENT_RUN``; the first stage that executes opens the
run in MLflow and notes its id. Under bare ``dvc repro`` that stage makes the file. Whoever closes the run empties it.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.run.files import read_json, write_json
from pipeline.run.store import make_key

PARENT_VARIABLE = "PIPELINE_PARENT_RUN"
STORE_VARIABLE = "PIPELINE_TRACKING"


def store_folder(root: Path) -> Path:
    """Where the SQLite store and the runs' files lie: ``mlruns``, or another checkout's."""
    return Path(os.environ.get(STORE_VARIABLE) or root / "mlruns")


def state_path(workspace: Path, store: Path) -> Path:
    """The file of a checkout: one each, because worktrees share the store and may run at the same time."""
    return store.resolve() / f"open_run-{make_key(str(workspace.resolve()))}.json"


def announced_path(root: Path) -> Path:
    """The file that the door named, or else this checkout's."""
    named = os.environ.get(PARENT_VARIABLE)
    return Path(named) if named else state_path(root, store_folder(root))


def read_state(path: Path) -> dict[str, Any]:
    """What the file says now; empty where no run is announced."""
    return dict(read_json(path)) if path.is_file() else {}


def open_run(root: Path) -> str | None:
    """The id of the pipeline run that is going on in this checkout, once a stage has opened it."""
    return read_state(announced_path(root)).get("run_id")


@contextmanager
def locked_state(path: Path) -> Iterator[dict[str, Any]]:
    """The announced run, to read and change while no other process does; emptied means: remove the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            state: dict[str, Any] = read_json(path)
        except (FileNotFoundError, ValueError):
            state = {}
        before = dict(state)
        try:
            yield state
        finally:
            if not state:
                path.unlink(missing_ok=True)
            elif state != before:
                write_json(path, state)
