"""Progress: status.json for whoever polls, plain lines where there is no terminal."""

import json
from pathlib import Path

import pytest

from pipeline.run.progress import StageProgress


def test_status_file_and_plain_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "status" / "frames.json"

    def status() -> dict:
        return json.loads(path.read_text())

    with StageProgress("frames", path) as progress:
        progress.start("videos", 3, 1, 1)
        assert status() == {
            "stage": "frames", "unit": "videos", "total": 3, "done": 1, "failed": 0, "reused": 1, "message": "",
            "outcome": "running",
        }  # fmt: skip
        progress.update(3, 1, "loss 0.5")
        assert status() | {"done": 3, "failed": 1, "message": "loss 0.5", "outcome": "running"} == status()
        progress.say("v2 failed: [bad] video")
        progress.finish("done", "3 videos")
        assert (status()["outcome"], status()["message"]) == ("done", "3 videos")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "frames: 1/3 videos",
        "frames: v2 failed: [bad] video",
        "frames: 3/3 videos 3 videos (1 failed)",
    ]


def test_many_updates_write_few_lines_and_few_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "status.json"
    with StageProgress("train", path) as progress:
        progress.start("steps", 5000)
        first = path.stat().st_ino
        for step in range(4000):
            progress.update(step)
        assert path.stat().st_ino == first or json.loads(path.read_text())["done"] < 4000
    assert len(capsys.readouterr().err.splitlines()) <= 2


def test_a_status_that_cannot_be_written_stops_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    with StageProgress("train", tmp_path / "file" / "status.json") as progress:
        progress.start("steps", 2)
        progress.finish("done", "")
    assert "could not write" in capsys.readouterr().err
