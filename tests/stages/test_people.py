"""detector, detect, track and bank, run for real on seven tiny videos: what they write agrees with the truth."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.run import kinds
from pipeline.run.stage import StageError
from pipeline.video.online_tracks import TRACKERS
from stages import _boxes, _examples, _outputs
from tests.stages.tiny_world import Project

OVERRIDES = {
    "run": {"executor": "inline", "tracking": False},
    "frames": {"short_side": 72},
    "detector": {
        "network": {"name": "fcos_resnet18_fpn", "short_side": 72, "base_width": 16, "first_level": 2, "last_level": 4,
                    "channels": 32, "head_convs": 1},
        "training": {"steps": 90, "batch": 8, "optimizer": "adamw", "lr": 0.003, "schedule": "one_cycle",
                     "clip_norm": 10.0, "validate_every": 45, "threads": 1},
        "validation_pictures": 40, "world_videos": 4,
    },
    "track": {"begin_score": 0.5, "continue_score": 0.4},
    "bank": {"short_side": 64, "chunk": 4},
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Project:
    made = Project(tmp_path_factory.mktemp("people"), root, {"training": 4, "validation": 1, "testing": 2}, OVERRIDES)
    made.metrics |= {name: made.run(name) for name in ("frames", "detector", "detect", "track", "bank")}
    return made


def test_people_are_found_and_followed(project: Project) -> None:
    detector, detect, track = (project.metrics[name] for name in ("detector", "detect", "track"))
    assert detector["own_boxes"] == 1
    assert detect["AP50_person"] > 0.5
    assert 0 < detect["AP50_person_low"] <= detect["AP50_person_high"] <= 1
    assert {f"AP50/{name}" for name in ("person", "chest")} <= set(detect)
    assert track["IDF1"] > 0.4
    assert track["IDF1_low"] <= track["IDF1"] <= track["IDF1_high"] <= 1


def test_detections_have_their_time_and_lie_in_the_picture(project: Project) -> None:
    found = project.read("detections", _outputs.DETECTIONS)
    assert np.allclose(np.diff(found["pts"]), 1 / 3, atol=0.06)
    assert (found["t"] == found["pts"][found["picture"]]).all()
    assert (np.diff(found["picture"]) >= 0).all()
    assert (found["box"] >= 0).all()
    assert (found["box"] <= [112, 84, 112, 84]).all()
    assert found["box"][:, 3].max() > 74, "in source pixels, not in those of the stored pictures"


def test_tubes_are_detections_and_stay_within_shots(project: Project) -> None:
    found, tracks = project.read("detections", _outputs.DETECTIONS), project.read("tracks", _outputs.TRACKS)
    boxes = {(t, *box) for t, box in zip(found["t"], map(tuple, found["box"]), strict=True)}
    assert all((t, *box) in boxes for t, box in zip(tracks["t"], map(tuple, tracks["box"]), strict=True))
    shot = np.searchsorted(project.read("shots", _outputs.SHOTS)["t_start"], tracks["t"], side="right")
    assert shot.max() > 1
    for number in np.unique(tracks["track"]):
        mine = tracks["track"] == number
        assert mine.sum() >= 2
        assert (np.diff(tracks["t"][mine]) > 0).all()
        assert len(np.unique(shot[mine])) == len(np.unique(tracks["label"][mine])) == 1


def test_bank_has_a_row_per_second_of_each_track(project: Project) -> None:
    tracks, bank = project.read("tracks", _outputs.TRACKS), project.read("bank", _outputs.BANK)
    assert len(bank["t"])
    assert (np.diff(bank["t"]) >= 0).all()
    assert bank["feature"].shape == (len(bank["t"]), 64)
    assert np.isfinite(bank["feature"]).all()
    assert (bank["feature"].std(axis=0) > 0).any()
    for number in np.unique(tracks["track"]):
        t = tracks["t"][tracks["track"] == number]
        instants = np.arange(0.5, 60)
        expected = instants[(instants >= t[0]) & (instants <= t[-1])]
        assert bank["t"][bank["track"] == number].tolist() == expected.tolist()


def with_values(project: Project, stage: str, **values: Any) -> None:
    """Change values of a section from here on."""
    changed = project.sections[stage].model_dump() | values
    project.sections[stage] = type(project.sections[stage]).model_validate(changed)


def test_scores_of_boxes_and_tubes(project: Project) -> None:
    track = project.metrics["track"]
    assert 0 < track["HOTA"] < 1 and track["DetA"] > 0.2 and track["AssA"] > 0.2
    assert 0.4 < track["IDF1_1Hz_low"] <= track["IDF1_1Hz"] <= track["IDF1_1Hz_high"] <= 1
    coco = {name for name in project.metrics["detect"] if name.startswith("coco/")}
    assert {"coco/AP", "coco/AP50", "coco/AP75"} <= coco
    assert 0 < project.metrics["detect"]["coco/AP"] <= project.metrics["detect"]["coco/AP50"] <= 1


def test_linking_by_the_detectors_features(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(project.sections)
    monkeypatch.setattr(project, "sections", before)
    with_values(project, "track", method="linking", linking={"min_similarity": 0.2}, min_length=1)
    with pytest.raises(StageError, match=r"track\.method: linking needs detect\.regions\.layer"):
        project.run("track")
    with_values(project, "detect", regions={"layer": "p3", "size": 5})
    project.run("detect")
    embedding = project.read("detections", _outputs.DETECTIONS)["embedding"]
    assert embedding.dtype == np.float16 and embedding.shape[1] == 32 and (embedding.std(axis=0) > 0).any()
    metrics = project.run("track")
    tracks = project.read("tracks", _outputs.TRACKS)
    assert np.allclose(tracks["pts"] % 1, 0.5, atol=1 / 6 + 1e-6), "one picture a second"
    assert (tracks["t"] == tracks["pts"][tracks["picture"]]).all()
    assert metrics["IDF1"] == metrics["IDF1_1Hz"] > 0.3
    project.run("bank")
    with_values(project, "detect", regions={"layer": "c9"})
    with pytest.raises(StageError, match="there is no layer 'c9'; allowed: p2, p3, p4, own"):
        project.run("detect")
    with_values(project, "detect", regions={"layer": ""})
    assert project.run("detect") == project.metrics["detect"], "as it was before"


def test_an_online_tracker_or_how_to_get_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "sections", dict(project.sections))
    for tracker in TRACKERS:
        with_values(project, "track", method="online", online={"tracker": tracker})
        if find_spec("trackers"):
            assert project.run("track")["IDF1"] > 0.3
        else:
            with pytest.raises(StageError, match=f"tracker '{tracker}' needs the libraries trackers and supervision"):
                project.run("track")


def test_a_set_without_boxes_learns_from_the_world_and_reports_no_ap_of_its_validation(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path, root, {"testing": 1}, OVERRIDES)
    training = project.sections["detector"].training.model_copy(update={"steps": 2, "validate_every": 0})
    project.sections["detector"] = project.sections["detector"].model_copy(update={"training": training})
    project.run("frames")
    metrics = project.run("detector")
    assert metrics["own_boxes"] == 0
    assert metrics["pictures"] > 50
    assert not any("AP50" in name for name in metrics)
    assert 0 <= project.run("detect")["AP50_person"] <= 1, "the test video has boxes all the same"
    # Hardly trained, it finds little or nothing: what follows must bear that.
    assert project.run("track")["videos"] == project.run("bank")["videos"] == 1


def test_boxes_beyond_the_picture_are_learned_as_what_is_seen_of_them() -> None:
    boxes: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    rows = np.array([[-10.0, -5, 20, 30], [50, 10, 90, 60], [70, 0, 90, 40], [63.5, 0, 70, 20]])
    _examples._append(boxes, labels, np.array([0, 0, 1, 1]), rows, np.array([0, 1, 0, 0]), 3, (64, 48))
    assert [one.tolist() for one in boxes] == [[[0, 0, 20, 30], [50, 10, 64, 48]], [], []]
    assert [one.tolist() for one in labels] == [[0, 1], [], []]


def test_true_boxes_are_those_of_the_nearest_source_frame(tmp_path: Path) -> None:
    path = tmp_path / "v.truth.h5"
    write: Callable[..., None] = kinds.TRUTH.write
    box = np.arange(20, dtype=np.float32).reshape(5, 4)
    arrays = {
        "pts": np.array([0.0, 0.1, 0.2, 0.3]), "labels": np.zeros((4, 1), np.uint8),
        "box_frame": np.array([0, 0, 2, 3, 3], np.int32), "box": box, "box_class": np.array([0, 1, 0, 0, 1], np.int16),
        "box_track": np.array([5, 9, 5, 5, 9], np.int32), "shot_start": np.array([0.0, 0.3]),
    }  # fmt: skip
    write(path, arrays, {"box_classes": "person,ball", "label_classes": "a"})
    true = _boxes.read_true_boxes(path, np.array([0.04, 0.12, 0.21, 0.38]))
    assert true is not None
    assert true.picture.tolist() == [0, 0, 2, 3, 3]
    assert true.known.all() and true.action is None and true.actions == ("a",)
    assert (true.box == box).all()
    assert true.classes == ("person", "ball")
    assert true.track[0] == true.track[2] != true.track[3], "the same person after a cut is another tube"
    assert len(set(true.track[[0, 1, 3, 4]])) == 4
    acts = np.array([[1, 0], [0, 0], [0, 1], [1, 1], [0, 0]], np.uint8)
    known = {"pts": np.array([0.0, 1.0, 2.0, 3.0]), "labels": np.zeros((4, 2), np.uint8), "box_action": acts}
    write(path, arrays | known, {"box_classes": "person,ball", "label_classes": "talk to (a person, a group)\nrun"})
    sparse = _boxes.read_true_boxes(path, np.array([0.0, 0.5, 1.95, 2.95, 3.9]))
    assert sparse is not None and sparse.action is not None
    assert sparse.known.tolist() == [True, False, True, True, False], "beside the key frames nothing is known"
    assert sparse.picture.tolist() == [0, 0, 2, 3, 3]
    assert (sparse.action == acts.astype(bool)).all()
    assert sparse.actions == ("talk to (a person, a group)", "run")
    empty = arrays | {name: arrays[name][:0] for name in ("box_frame", "box", "box_class", "box_track")}
    write(path, empty, {"box_classes": "", "label_classes": "a"})
    assert _boxes.read_true_boxes(path, np.zeros(1)) is None
    write(path, empty, {"box_classes": "person", "label_classes": "a"})
    nobody = _boxes.read_true_boxes(path, np.array([0.1, 5.0]))
    assert nobody is not None and nobody.known.tolist() == [True, False] and not len(nobody.box), "they were looked for"
    assert _boxes.read_true_boxes(tmp_path / "none.h5", np.zeros(1)) is None
