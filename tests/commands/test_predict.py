"""`python -m pipeline predict` on files of one's own; the checkpoint is untrained, all but its weights is tested."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from models.heads import build_head
from pipeline.cli import main
from pipeline.commands.predict import find_checkpoint, named_files
from pipeline.video.encode import encode_h264
from stages import _encoder, _localiser
from stages.frames import Frames

CLASSES = ("run", "walk")


@pytest.fixture(scope="module", params=["tsm_resnet18", "coviar_resnet18"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head on an encoder of decoded frames, and on one of the coded stream."""
    folder = tmp_path_factory.mktemp("head")
    torch.manual_seed(0)
    spec = _encoder.EncoderSpec(name=request.param, base_width=8, frames=4, window_s=0.5, height=32, width=48)
    encoder = _encoder.build(spec)
    _encoder.save(folder, encoder, spec)
    sizes = _localiser.GTADSpec(hidden=16, groups=4, inner_points=4, context_points=2, aligned=8, localisation=8)
    localiser = _localiser.LocaliserSpec("gtad", sizes)
    dim = _encoder.feature_dim(encoder)
    classifier = build_head("segment_classifier", feature_dim=dim, classes=len(CLASSES))
    frames = Frames(fps=8, short_side=32, jpeg_quality=90)
    built, reading = _localiser.build(localiser, dim), {"short_side": 32, "b_frames": True}
    _localiser.save(folder, built, classifier, localiser, CLASSES, 10, frames, reading)
    return folder


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(40)]
    encode_h264(folder / "one.mp4", pictures, 20.0, gop=10)
    for twin in ("a", "b"):
        (folder / twin).mkdir()
        shutil.copy(folder / "one.mp4", folder / twin / "twin.mp4")
    (folder / "notes.mp4").write_text("no video")
    return folder


def predict(*words: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(["predict", *map(str, words)])
    code = exit_.value.code
    return code if isinstance(code, int) else 1


def test_good_files_are_predicted_and_the_bad_one_is_named(videos: Path, tmp_path: Path, checkpoint: Path) -> None:
    out = tmp_path / "out"
    assert predict(videos, "--out", out, "--checkpoint", checkpoint) == 1
    submission = json.loads((out / "predictions.json").read_text())
    assert set(submission) == {"version", "external_data", "results"}
    assert set(submission["results"]) == {"one", "a/twin.mp4", "b/twin.mp4"}
    rows = submission["results"]["one"]
    assert rows and rows == sorted(rows, key=lambda row: -row["score"])
    for row in rows:
        assert row["label"] in CLASSES
        assert 0 <= row["segment"][0] < row["segment"][1] <= 2.0 + 1e-6
    assert submission["results"]["a/twin.mp4"] == rows, "equal files, equal predictions"
    index = (out / "index.html").read_text()
    assert "notes" in index
    assert "not a video" in index
    for page in ("one.html", "a%2Ftwin.mp4.html", "b%2Ftwin.mp4.html"):
        text = (out / page).read_text()
        assert "data:image/jpeg" in text
        assert "http" not in text.replace("http://www.w3.org", "")


def test_all_good_is_success(videos: Path, tmp_path: Path, checkpoint: Path) -> None:
    assert predict(videos / "one.mp4", "--out", tmp_path / "out", "--checkpoint", checkpoint) == 0


def test_no_checkpoint_is_a_clear_word(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="make repro"):
        find_checkpoint(tmp_path, None)
    (tmp_path / "dvc.lock").touch()
    with pytest.raises(ValueError, match="leaves its old outputs deleted"):
        find_checkpoint(tmp_path, None)
    with pytest.raises(ValueError, match=r"localiser\.safetensors"):
        find_checkpoint(tmp_path, tmp_path)
    head = tmp_path / "data" / "checkpoints" / "heads" / "lofi"
    shutil.copytree(checkpoint, head)
    assert find_checkpoint(tmp_path, None) == head


def test_names_are_stems_and_relative_paths_where_stems_collide(videos: Path) -> None:
    assert [id_ for id_, _ in named_files([videos])] == ["a/twin.mp4", "b/twin.mp4", "notes", "one"]
    names = [id_ for id_, _ in named_files([videos / "a" / "twin.mp4", videos / "b" / "twin.mp4"])]
    assert len(set(names)) == 2
