"""Fixtures of the video tests."""

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.video.clips import Encode, encode_clip


@pytest.fixture(scope="session")
def encode(tmp_path_factory: pytest.TempPathFactory) -> Encode:
    """Encode a clip of that name, once for equal names; arguments as of ``encode_clip``."""
    folder = tmp_path_factory.mktemp("clips")

    def run(name: str, *arguments: Any, **options: Any) -> Path:
        path = folder / name
        return path if path.is_file() else encode_clip(path, *arguments, **options)

    return run


@pytest.fixture(scope="session")
def manifest(shared: Path) -> dict[str, dict[str, str]]:
    """Rows of the real videos' manifest by file name."""
    with open(shared / "videos" / "MANIFEST.csv", newline="") as handle:
        return {row["file"]: row for row in csv.DictReader(handle)}
