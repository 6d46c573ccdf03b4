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
from pipeline.video.decode import decode, scan
from pipeline.video.encode import encode_h264
from stages import _detector, _encoder, _localiser, _opened_head, _scene
from stages._head_context import Banks, ContextSpec
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


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector with fresh weights that is sure of everything: what it finds has a place, a class and a score."""
    folder = tmp_path_factory.mktemp("detector")
    torch.manual_seed(0)
    network = _detector.Network(name="fcos_resnet18_fpn", short_side=32, base_width=8, first_level=3, last_level=4,
                                channels=32, head_convs=1)  # fmt: skip
    spec = _detector.DetectorSpec(network=network, classes=("person", "ball"), own_boxes=False)
    model = _detector.build(spec)
    head = model.network.head
    torch.nn.init.constant_(head.classification_head.cls_logits.bias, 3.0)
    torch.nn.init.constant_(head.regression_head.bbox_ctrness.bias, 3.0)
    _detector.save(folder, model, spec)
    return folder


def test_people_shots_and_an_annotated_video(videos: Path, tmp_path: Path, checkpoint: Path, detector: Path) -> None:
    out = tmp_path / "out"
    words = (videos / "one.mp4", "--out", out, "--checkpoint", checkpoint, "--detector", detector, "--video")
    assert predict(*words) == 0
    found = json.loads((out / "scenes.json").read_text())["one"]
    assert found["shots"][0][0] == 0 and found["shots"][-1][1] == pytest.approx(2.0)
    assert len(found["tracks"]) >= 2
    for track in found["tracks"]:
        assert track["label"] in ("person", "ball")
        assert len(track["t"]) == len(track["box"]) == len(track["score"]) >= 2
        assert (np.array(track["box"]) >= 0).all() and (np.array(track["box"]) <= [64, 48, 64, 48]).all()
    page = (out / "one.html").read_text()
    assert f"track{'' if sum(t['label'] == 'person' for t in found['tracks']) == 1 else 's'} of people" in page
    assert page.count("<rect") > 2 and 'class="span shot' in page and "People and objects" in page
    seen = list(decode(out / "one.annotated.mp4"))
    assert len(seen) == 40 and seen[0].picture.shape == (480, 640, 3)


def test_a_head_with_long_term_context_says_that_a_file_has_no_bank(
    videos: Path, tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(checkpoint, folder := tmp_path / "context")
    dim = _localiser.load(folder)[0].feature_dim
    banks = Banks(ContextSpec(layers=1, hidden=8), 4, None)
    _opened_head.save(folder, banks, banks.context(dim), banks.context(dim))
    results = []
    for number, head in enumerate((checkpoint, folder)):
        out = tmp_path / str(number)
        assert predict(videos / "one.mp4", "--out", out, "--checkpoint", head) == 0
        said = "sees every snippet by itself"
        assert (said in capsys.readouterr().err) == (said in (out / "one.html").read_text()) == bool(number)
        results.append(json.loads((out / "predictions.json").read_text())["results"]["one"])
    assert results[0] == results[1], "without a bank it is the head alone"


def test_nobody_is_found_and_nobody_is_looked_for(
    videos: Path, tmp_path: Path, checkpoint: Path, detector: Path
) -> None:
    shutil.copytree(detector, unsure := tmp_path / "unsure")
    model, spec = _detector.load(unsure)
    torch.nn.init.constant_(model.network.head.classification_head.cls_logits.bias, -9.0)
    _detector.save(unsure, model, spec)
    out = tmp_path / "out"
    assert predict(videos / "one.mp4", "--out", out, "--checkpoint", checkpoint, "--detector", unsure, "--video") == 0
    assert json.loads((out / "scenes.json").read_text())["one"]["tracks"] == []
    page = (out / "one.html").read_text()
    assert "0 tracks of people, 0 of objects" in page and "<rect" not in page
    assert (out / "one.annotated.mp4").is_file()
    with pytest.raises(ValueError, match=r"--detector .*detector\.safetensors, detector\.json missing"):
        _scene.find_detector(tmp_path, tmp_path, "data/checkpoints/detector")
    assert _scene.find_detector(tmp_path, None, "data/checkpoints/detector") is None
    info = scan(videos / "one.mp4")
    chosen = _scene.settings(Path.cwd(), None)
    alone = _scene.look(
        videos / "one.mp4", Frames(fps=8, short_side=32, jpeg_quality=90), (64, 48), info.duration_s, chosen
    )
    assert alone.classes == () and len(alone.shots) >= 1


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
