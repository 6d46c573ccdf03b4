"""Boxes at key frames become the truth of a video: one box a person, with all that the person does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets import annotated
from pipeline.datasets.definition import AnnotatedDefinition
from pipeline.datasets.formats import ava
from pipeline.datasets.formats.class_map import apply_class_map
from pipeline.datasets.key_frames import plan_key_frames, write_key_frames
from pipeline.datasets.schema import Video
from pipeline.run.kinds import TRUTH
from tests.video.clips import encode_clip

VIDEO = Video("b", "b.mp4", "training", 5.0, 10.0, 50, 200, 100)
LEFT, RIGHT = "0.1,0.2,0.3,0.8", "0.5,0.25,0.75,1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Video b has an excluded key frame, an empty one, and two at its end and after it; c has an empty one."""
    (tmp_path / "ava_train_v2.2.csv").write_text(
        f"a,0901,{LEFT},5,0\n"
        f"b,0901,{RIGHT},12,9\nb,0901,{LEFT},5,3\nb,0901,{RIGHT},80,9\n"
        f"b,0902\n"
        f"b,0903,{LEFT},5,3\n"  # excluded
        f"b,0904,{RIGHT},5,-1\nb,0904,{LEFT},12,-1\nb,0904,{RIGHT},12,-1\nb,0904,{RIGHT},12,4\n"
        f"b,0905,{LEFT},5,3\nb,0906\n"
        f"c,0902\n"
    )
    (tmp_path / "ava_train_excluded_timestamps_v2.2.csv").write_text("b,0903\n")
    (tmp_path / "ava_label_map.txt").write_text("5: fall, down\n12: stand\n80: watch (a person)\n")
    return tmp_path


def test_truth_of_key_frames(folder: Path) -> None:
    found = ava.read(folder).from_second(900.0)
    planned = plan_key_frames(found)
    assert planned.keys() == {0, 1, 2}
    assert planned[1]["time_s"] == [1.0, 2.0, 4.0, 5.0, 6.0]
    assert write_key_frames(folder / "b.truth.h5", planned[1], found.classes, VIDEO)
    truth = TRUTH.read(folder / "b.truth.h5")
    assert truth["pts"].tolist() == [1.0, 2.0, 4.0], "the excluded one is not known, the last two are not in the file"
    left, right = [20.0, 20.0, 60.0, 80.0], [100.0, 25.0, 150.0, 100.0]
    boxes = zip(
        truth["box_frame"].tolist(), truth["box_track"].tolist(), truth["box"].tolist(), truth["box_action"].tolist(),
        strict=True,
    )  # fmt: skip
    fall, stand, _ = np.eye(3, dtype=int).tolist()
    assert [(frame, track, [round(x, 4) for x in box], action) for frame, track, box, action in boxes] == [
        (0, 3, left, fall), (0, 9, right, [0, 1, 1]),
        (2, 10, left, stand), (2, 11, right, [1, 1, 0]), (2, 4, right, stand),
    ]  # fmt: skip
    assert truth["labels"].tolist() == [[1, 1, 1], [0, 0, 0], [1, 1, 0]]
    assert truth["shot_start"].shape == (0,) and not truth["box_class"].any()
    with TRUTH.open(folder / "b.truth.h5") as reader:
        assert reader.attributes == {"box_classes": "person", "label_classes": "fall, down\nstand\nwatch (a person)"}

    assert write_key_frames(folder / "c.truth.h5", planned[2], found.classes, VIDEO)
    empty = TRUTH.read(folder / "c.truth.h5")
    assert empty["pts"].tolist() == [2.0] and empty["box"].shape == (0, 4) and empty["labels"].tolist() == [[0, 0, 0]]
    assert empty["box_action"].shape == (0, 3)
    assert not write_key_frames(folder / "d.truth.h5", planned[1], found.classes, replace(VIDEO, duration_s=1.0))
    assert not (folder / "d.truth.h5").exists()
    assert plan_key_frames(replace(found, boxes=None)) == {}


def test_actions_follow_a_class_map(folder: Path) -> None:
    (folder / "mine.txt").write_text("watch (a person)\nstand\n")
    found = apply_class_map(ava.read(folder), folder / "mine.txt")
    assert [defect.text for defect in found.defects if defect.severity == "error"] == [
        f"video {id_!r}: class 'fall, down' is not in mine.txt" for id_ in "ab"
    ]
    assert plan_key_frames(found)[1]["actions"] == [[], [1, 0], [1], [1], [1], []]


def test_a_planned_video_is_made_with_its_truth(folder: Path) -> None:
    (folder / "videos").mkdir()
    for name, count in (("b", 50), ("c", 15)):
        encode_clip(folder / "videos" / f"{name}.mp4", count=count, fps=10)
    definition = AnnotatedDefinition("mine", "videos", "ava", ".", starts_s=900.0)
    one, other = annotated.plan(definition, folder)
    made = {}
    for planned in (one, other):
        out = folder / planned.id
        out.mkdir()
        made[planned.id] = annotated.make(planned.id, planned.inputs, planned.spec, out)
    video = made["b"]
    truth = TRUTH.read(folder / "b" / "unit.truth.h5")
    assert truth["pts"].tolist() == [1.0, 2.0, 4.0]
    np.testing.assert_allclose(truth["box"][0], np.array([0.1, 0.2, 0.3, 0.8]) * ([video.width, video.height] * 2))
    assert {(s.label, s.t_start, s.t_end) for s in video.segments} == {
        ("fall, down", 0.5, 1.5), ("stand", 0.5, 1.5), ("watch (a person)", 0.5, 1.5), ("stand", 3.5, 4.5),
        ("fall, down", 3.5, 5.5),
    }  # fmt: skip
    assert not list((folder / "c").iterdir()), "it ends before its only key frame"
    assert annotated.classes(definition, folder) == ("fall, down", "stand", "watch (a person)")
