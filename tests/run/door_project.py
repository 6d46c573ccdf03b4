"""The tiny project as a real git and dvc checkout, run through the door."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.run.tiny_project import FILES, ROOT, TinyProject, clean_environment

GRAPH = """
stages:
  ingest:
    cmd: python -m stages.ingest
    params: [ingest]
    deps: [stages/ingest.py, "data/datasets/${ingest.dataset}.yaml", "data/raw/${ingest.dataset}"]
    outs: [data/artifacts/numbers]
    metrics: [reports/metrics/ingest.json: {cache: false}]
  train:
    matrix: {kind: [a, b]}
    cmd: python -m stages.train ${item.kind}
    params: [train]
    deps: [stages/train.py, data/artifacts/numbers]
    outs: ["data/checkpoints/${item.kind}"]
    metrics: ["reports/metrics/train@${item.kind}.json": {cache: false}]
  report:
    cmd: python -m stages.report
    deps: [stages/report.py, data/checkpoints/a, data/checkpoints/b]
    outs: [reports/page: {cache: false}]
"""


class DoorProject(TinyProject):
    """A checkout with one commit; ``run_door`` is ``python -m pipeline run``."""

    def __init__(self, folder: Path, videos: dict[str, str], tracking: bool = False) -> None:
        super().__init__(folder, {}, tracking)
        self.write("stages/ingest.py", FILES["stages/ingest.py"].replace('"raw")', '"raw" / "tiny")'))
        self.write("dvc.yaml", GRAPH)
        self.write("recipes/big.yaml", "ingest: {rows: 7}\ntrain: {steps: 25}\n")
        self.write("data/datasets/tiny.yaml", "kind: tiny\n")
        self.write(".gitignore", "__pycache__/\n/data/raw\n/data/artifacts\n/data/checkpoints\n/data/work\n/mlruns\n")
        self.write("params.yaml", yaml.safe_dump(self.params | {"ingest": {"dataset": "tiny"}}))
        for name, text in videos.items():
            self.add_video(name, text)
        self.command("git", "init", "-q")
        self.command("dvc", "init", "-q")
        (folder / ".dvcignore").write_text("__pycache__\n/data/work\n/mlruns\n")
        (folder / ".dvc" / "config").write_text('[core]\n    analytics = false\n[cache]\n    type = "hardlink,copy"\n')
        self.commit()

    def add_video(self, name: str, text: str) -> None:
        self.write(f"data/raw/tiny/{name}.txt", text)

    def commit(self) -> None:
        self.command("git", "add", "-A")
        self.command("git", "commit", "-q", "--allow-empty", "-m", "x")

    def environment(self) -> dict[str, str]:
        names = {f"GIT_{who}_{what}": "t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        return clean_environment() | names | {
            "PATH": f"{Path(sys.executable).parent}:{clean_environment()['PATH']}",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "HOME": str(self.folder.parent),
            "DVC_NO_ANALYTICS": "1",
            "PYTHONPATH": str(ROOT),
        }  # fmt: skip

    def command(self, *words: str, expect: int = 0) -> str:
        """Run a command in the checkout; returns what it printed."""
        done = subprocess.run(words, cwd=self.folder, env=self.environment(), capture_output=True, text=True)
        assert done.returncode == expect, f"{words} exited {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def door(self, *words: str, expect: int = 0) -> str:
        """``python -m pipeline run``; returns what it printed."""
        return self.command(sys.executable, "-m", "pipeline", "run", *words, expect=expect)

    def start_door(self, *words: str, pause: float = 0) -> "subprocess.Popen[str]":
        """Start the door as a shell would: leader of its own process group."""
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", "run", *words], cwd=self.folder,
            env=self.environment() | {"TINY_PAUSE": str(pause)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def worktrees(self) -> list[Path]:
        return sorted(path.parent for path in (self.folder / "data" / "work" / "runs").glob("*/.git"))

    def lines(self, checkout: Path | None = None) -> list[str]:
        """What was computed in a checkout since the last call."""
        path = (checkout or self.folder) / "computed.log"
        lines = path.read_text().splitlines() if path.is_file() else []
        path.unlink(missing_ok=True)
        return lines

    def processes(self) -> list[str]:
        """Processes that work in the project or in one of its worktrees."""
        found = []
        for process in psutil.process_iter(["cwd", "cmdline", "status"]):
            cwd = process.info["cwd"]
            if cwd and Path(cwd).is_relative_to(self.folder) and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.info["cmdline"] or []))
        return found


def runs(store: Path) -> list[Any]:
    """All MLflow runs of the experiment ``tiny``, newest first."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))
