"""Makes scratch checkouts for the chain's tests."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipeline.run.launch import merge
from tests.chain.project import Project


@pytest.fixture
def make_project(root: Path, tmp_path: Path) -> Callable[[str], Project]:
    """Makes scratch checkouts of the working tree, with data set and recipe ``tiny`` in params.yaml."""

    def make(name: str) -> Project:
        folder, home = tmp_path / name, tmp_path / "home"
        home.mkdir(exist_ok=True)
        listed = subprocess.run(
            ["git", "-C", str(root), "ls-files", "-co", "--exclude-standard"],
            capture_output=True,
            text=True,
            check=True,
        )
        for file in listed.stdout.splitlines():
            if (root / file).is_file() and file != "dvc.lock":
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / file, folder / file)
        raw = yaml.safe_load((root / "params.yaml").read_text())
        raw = merge(raw, yaml.safe_load((root / "recipes" / "tiny.yaml").read_text()))
        raw["ingest"]["dataset"] = "tiny"
        raw["run"]["tracking"] = False
        (folder / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
        (folder / "data" / "raw" / "tiny").mkdir(parents=True)
        (folder / "data" / "raw" / "tiny" / ".gitkeep").touch()
        project = Project(folder, home)
        project.run("git", "init", "-q")
        project.run("git", "add", "-A")
        project.run("git", "commit", "-qm", "scratch")
        return project

    return make
