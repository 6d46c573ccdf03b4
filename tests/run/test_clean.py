"""Forgetting results that no output uses; what may still be needed is kept."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run.tiny_project import TinyProject, clean_environment


def clean(project: TinyProject, dry_run: bool = False) -> str:
    code = f"from pathlib import Path; from pipeline.run.clean import clean; clean(Path.cwd(), {dry_run})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project.folder, env=clean_environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def entries(project: TinyProject, store: str = "ingest") -> set[str]:
    return {path.name for path in (project.folder / "data" / "work" / store).glob("[0-9a-f]*")}


@pytest.fixture
def used(project: TinyProject) -> set[str]:
    """Keys of the current outputs, after an earlier run with other params."""
    project.params["ingest"]["rows"] = 5000
    project.run("ingest")
    project.run("train", "a")
    old = entries(project)
    project.params["ingest"]["rows"] = 3
    project.run("ingest")
    project.run("train", "a")
    assert len(old) == 3
    return entries(project) - old


def test_what_the_outputs_use_is_kept(project: TinyProject, used: set[str]) -> None:
    assert len(entries(project, "train@a")) == 2
    said = clean(project, dry_run=True)
    assert "ingest: 3 results, 0.1 MiB" in said
    assert "0.1 MiB would be freed" in said
    assert len(entries(project)) == 6
    assert "0.1 MiB were freed" in clean(project)
    assert entries(project) == used
    assert len(entries(project, "train@a")) == 1
    assert "0.0 MiB were freed" in clean(project)
    shutil.rmtree(project.folder / "data" / "artifacts")
    project.computed()
    project.run("ingest")
    assert project.computed() == []


def test_outputs_count_by_content(project: TinyProject, used: set[str]) -> None:
    """DVC may replace outputs by its own copies, or bring back those of an earlier run."""
    for path in (project.folder / "data" / "artifacts").rglob("*.h5"):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    clean(project)
    assert entries(project) == used


def test_a_stage_that_did_not_end_keeps_all(project: TinyProject, used: set[str]) -> None:
    project.add_video("bad", "exit")
    project.run("ingest", expect=7)
    assert "ingest: kept as it is" in clean(project)
    assert len(entries(project)) == 6
    (project.folder / "data" / "raw" / "bad.txt").unlink()
    project.run("ingest")
    shutil.rmtree(project.folder / "data" / "artifacts")
    assert "ingest: kept as it is" in clean(project)
    project.run("ingest")
    clean(project)
    assert entries(project) == used


def test_checkpoints_of_given_up_trainings_go_and_foreign_files_stay(project: TinyProject, used: set[str]) -> None:
    store = project.folder / "data" / "work" / "train@a"
    work = store / f"{'0' * 24}-work"
    work.mkdir()
    (work / "state.json").write_text("{}")
    (store / "notes.txt").write_text("mine")
    gone = project.folder / "data" / "work" / "renamed_stage" / ("1" * 24)
    gone.mkdir(parents=True)
    (gone / "entry.json").write_text("{}")
    clean(project)
    assert not work.exists()
    assert not gone.exists()
    assert (store / "notes.txt").read_text() == "mine"


def test_worktrees_of_runs_count_too(project: TinyProject, used: set[str]) -> None:
    worktree = project.folder / "data" / "work" / "runs" / "tiny-0"
    (worktree / "data").mkdir(parents=True)
    (worktree / ".git").write_text("gitdir: elsewhere\n")
    everything = entries(project)
    kept = worktree / "data" / "artifacts" / "numbers"
    kept.mkdir(parents=True)
    old = sorted(everything - used)[0]
    shutil.copy(Path(project.folder / "data" / "work" / "ingest" / old / "unit.h5"), kept / "one.h5")
    assert "1 worktrees" in clean(project)
    assert entries(project) == used | {old}
