"""Fixtures of the frame's tests."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.run.tiny_project import TinyProject


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    """A project with three good videos."""
    return TinyProject(tmp_path / "project", {"one": "1", "two": "2", "three": "3"})


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a real, small file system; skips where that is not permitted."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        folder = tmp_path / f"disk-{size}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError as error:
            pytest.skip(f"needs a small tmpfs to fill up: {error}")
        if done.returncode:
            pytest.skip(f"needs a small tmpfs to fill up, uid {os.getuid()} may not mount one: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)
