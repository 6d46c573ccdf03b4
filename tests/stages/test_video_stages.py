"""The stages `shots` and `compressed` on a small data set, called as the runner calls them."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.datasets.schema import Dataset, Video
from pipeline.datasets.world.plan import world_plan
from pipeline.datasets.world.write import write_video
from pipeline.run import kinds
from pipeline.run.params import read_params
from pipeline.run.progress import StageProgress
from pipeline.run.stage import Context, VideoStage, find_stage
from pipeline.video import jpeg
from pipeline.video.decode import VideoError, decode
from stages import _outputs
from tests.video.clips import encode_clip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rendered test videos with truth, one training video without, and one that is not H.264."""
    root = tmp_path_factory.mktemp("project")
    folder = root / _outputs.VIDEOS
    folder.mkdir(parents=True)
    videos: list[Video] = []
    for plan in [plan for plan in world_plan("tiny", seed=0) if plan.subset == "testing" and plan.index < 2]:
        video = write_video(plan, folder / f"{plan.id}.mp4", folder / f"{plan.id}.truth.h5")
        videos.append(replace(video, path=f"{_outputs.VIDEOS}/{plan.id}.mp4"))
    for name, codec in (("plain.mp4", "libx264"), ("jpeg.avi", "mjpeg")):
        encode_clip(folder / name, codec, 20, pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p")
        videos.append(Video(name, f"{_outputs.VIDEOS}/{name}", "training", 0.8, 25, 20, 96, 64))
    Dataset("d", (), tuple(videos)).save(root / _outputs.DATASET_FILE)
    return root


def run(
    name: str, root: Path, project: Path, folder: Path
) -> tuple[dict[str, Any], dict[str, str], Mapping[str, float]]:
    """Records, failures and metrics of a stage with the values of params.yaml."""
    stage = find_stage(name)
    assert isinstance(stage, VideoStage)
    params = stage.section.model_validate(read_params(root / "params.yaml")[name])
    context = Context(project, params, "", {}, StageProgress(name, folder / "status.json"), lambda step, values: None)
    records: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for unit in stage.units(context):
        try:
            records[unit.id] = stage.process(unit, params, folder)
            (folder / "unit.h5").rename(folder / f"{unit.stem}.h5")
        except VideoError as error:
            failures[unit.id] = str(error)
    assert stage.finish is not None
    return records, failures, stage.finish(context, folder, records)


def test_shots_are_written_and_scored(root: Path, project: Path, tmp_path: Path) -> None:
    records, failures, metrics = run("shots", root, project, tmp_path)
    assert not failures
    assert len(records) == 4
    assert metrics["cut_F1"] >= 0.95
    assert metrics["cut_F1_low"] <= metrics["cut_F1"] <= metrics["cut_F1_high"]
    assert metrics["test_videos"] == 2
    assert metrics["true_cuts"] > 0
    for video in Dataset.load(project / _outputs.DATASET_FILE):
        shots = kinds.SHOTS.read(tmp_path / f"{video.file_stem}.h5")
        assert len(shots["t_start"]) == records[video.id]["shots"]
        assert (shots["t_start"][0], shots["t_end"][-1]) == (0, pytest.approx(video.duration_s))


def test_the_cuts_of_a_video_that_failed_count_as_missed(root: Path, project: Path, tmp_path: Path) -> None:
    records, _, whole = run("shots", root, project, tmp_path)
    stage = find_stage("shots")
    assert isinstance(stage, VideoStage)
    assert stage.finish is not None
    params = stage.section.model_validate(read_params(root / "params.yaml")["shots"])
    context = Context(project, params, "", {}, StageProgress("shots", tmp_path / "s.json"), lambda step, values: None)
    first = next(id_ for id_, record in records.items() if record["shots"] > 1)
    metrics = stage.finish(context, tmp_path, {id_: record for id_, record in records.items() if id_ != first})
    assert metrics["true_cuts"] == whole["true_cuts"]
    assert metrics["cut_recall"] < whole["cut_recall"]


def test_cuts_that_are_not_known_are_neither_missed_nor_false(root: Path, project: Path, tmp_path: Path) -> None:
    _, _, whole = run("shots", root, project, tmp_path)
    one, other = Dataset.load(project / _outputs.DATASET_FILE).subset("testing")
    alone = {}
    for unknown, known in ((one, other), (other, one)):
        shutil.copytree(project, here := tmp_path / unknown.id)
        path = _outputs.truth(here, unknown)
        with kinds.TRUTH.open(path) as reader:
            attributes = {name: reader.attributes[name] for name in kinds.TRUTH.attributes}
        kinds.TRUTH.write(path, kinds.TRUTH.read(path) | {"shot_start": np.zeros(0)}, attributes)
        _, _, alone[known.id] = run("shots", root, here, tmp_path)
    assert sum(metrics["true_cuts"] for metrics in alone.values()) == whole["true_cuts"]
    for metrics in alone.values():
        assert metrics["test_videos"] == 1
        assert metrics["cut_precision"] == metrics["cut_recall"] == 1.0


def test_the_coded_stream_is_written(root: Path, project: Path, tmp_path: Path) -> None:
    records, failures, metrics = run("compressed", root, project, tmp_path)
    assert list(failures) == ["jpeg.avi"]
    assert "codec mjpeg gives no motion vectors; transcode it" in failures["jpeg.avi"]
    assert len(records) == 3
    assert 0.5 < metrics["valid_share"] < 1
    for video in Dataset.load(project / _outputs.DATASET_FILE):
        if video.id in failures:
            continue
        with kinds.COMPRESSED.open(tmp_path / f"{video.file_stem}.h5") as reader:
            rows = {name: reader[name] for name in kinds.COMPRESSED.arrays if name in reader}
            size = (reader.attributes["rows"], reader.attributes["columns"])
            assert (reader.attributes["width"], reader.attributes["height"]) == (video.width, video.height)
            assert (min(size), reader.attributes["codec"]) == (56, "h264")
        times = rows["pts"].tolist()  # I- and P-frames only
        assert set(times) < {frame.pts_s for frame in decode(project / video.path)}
        assert set(rows["frame_type"]) == {1, 2}
        assert rows["mv"].shape == rows["mv_accumulated"].shape == (len(times), *size, 2)
        assert rows["residual_accumulated"].shape == (len(times), *size, 3)
        predicted = rows["reference_index"] >= 0
        assert (predicted == (rows["frame_type"] > 1)).all()
        assert (rows["reference_index"] < np.arange(len(times))).all()
        assert not rows["residual_accumulated"][~predicted].any()
        assert rows["residual_accumulated"][predicted].any()
        assert not rows["mv"][rows["valid"] == 0].any()
        assert rows["i_frame_row"].tolist() == np.flatnonzero(rows["frame_type"] == 1).tolist()
        assert jpeg.decode(rows["i_frame"][0]).shape == (*size, 3)
