"""Unreadable files in a folder of one's own: each is a row of a failures table with its cause, the rest goes on."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.run.params import check_params, read_params
from pipeline.run.progress import StageProgress
from pipeline.run.runner import run_stage
from pipeline.run.stage import StageError, find_stage, section_models
from pipeline.video.encode import encode_h264

BAD = {"empty": "empty", "text": "not a video", "truncated": "truncated", "corrupted": "corrupted|damaged"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose data set is a folder with four good and four bad files."""
    videos = tmp_path / "videos"
    videos.mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        pictures = [rng.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(50)]
        encode_h264(videos / f"good{number}.mp4", pictures, 25.0, gop=12)
    data = (videos / "good0.mp4").read_bytes()
    (videos / "empty.mp4").touch()
    (videos / "text.mp4").write_text("this is not a video\n" * 100)
    (videos / "truncated.mp4").write_bytes(data[: len(data) // 2])
    broken = bytearray(data)
    broken[len(data) // 3 : len(data) // 3 + 2000] = bytes(2000)
    (videos / "corrupted.mp4").write_bytes(broken)
    (tmp_path / "data" / "datasets").mkdir(parents=True)
    (tmp_path / "data" / "datasets" / "own.yaml").write_text("kind: folder\nsource: videos\n")
    return tmp_path


def run(name: str, root: Path, project: Path, max_failed: float) -> None:
    raw = read_params(root / "params.yaml")
    raw["ingest"]["dataset"] = "own"
    raw["run"] |= {"executor": "inline", "tracking": False, "max_failed": max_failed}
    (project / "params.yaml").write_text(yaml.safe_dump(raw))
    sections = check_params(raw, section_models(), "params.yaml")
    with StageProgress(name, project / "status.json") as progress:
        run_stage(find_stage(name), "", sections, project, progress)


def test_every_bad_file_is_a_row_with_its_cause(root: Path, project: Path) -> None:
    causes = {}
    for stage in ("ingest", "frames"):
        run(stage, root, project, max_failed=0.5)
        metrics = json.loads((project / "reports" / "metrics" / f"{stage}.json").read_text())
        for row in metrics["failures"]:
            assert row["stage"] == stage
            assert row["video"] not in causes, "a video that failed is gone for later stages"
            causes[row["video"]] = row["cause"]
        assert metrics["metrics"]["failed"] == len(metrics["failures"])
    assert set(causes) == set(BAD)
    for name, cause in BAD.items():
        assert any(word in causes[name] for word in cause.split("|")), (name, causes[name])
    assert sorted(p.stem for p in (project / "data" / "artifacts" / "frames").glob("*.h5")) == [
        f"good{n}" for n in range(4)
    ]


def test_too_many_failures_end_the_stage_and_name_the_limit(root: Path, project: Path) -> None:
    with pytest.raises(StageError, match=r"run\.max_failed = 0\.1") as error:
        run("ingest", root, project, max_failed=0.1)
        run("frames", root, project, max_failed=0.1)
    assert "empty" in str(error.value)
