"""MLflow's SQLite store as a file: its address, and how it comes to be where several processes are its first users."""

import fcntl
import subprocess
import sys
from pathlib import Path


def store_uri(folder: Path) -> str:
    """The store as MLflow names it; it is created if there is none."""
    database = folder.resolve() / "mlflow.db"
    _create_store(database)
    return f"sqlite:///{database}"


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
