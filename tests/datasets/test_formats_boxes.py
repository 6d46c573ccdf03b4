"""AVA, EPIC-Kitchens and LVU in their published formats: real files where they are, small ones in the format else."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets.formats import ava, epic, lvu
from pipeline.datasets.formats.common import FormatError
from pipeline.datasets.schema import Segment


def test_real_ava_sample_and_label_maps(shared: Path) -> None:
    folder = shared / "annotations"
    found = ava.read_boxes(folder / "ava" / "ava_sample.csv", "person")
    assert found.videos == ("0f39OWEqJ24", "_-Z6wFjXtGQ")
    assert found.boxes.label.tolist() == [12, 17, 79, 12, 17, 12, 74, 80]
    assert found.boxes.time_s.tolist() == [902, 902, 902, 903, 903, 902, 902, 902]
    assert found.boxes.box[0].tolist() == [0.031, 0.162, 0.67, 0.995]
    official = ava.read_label_map(folder / "ava" / "ava_action_list_v2.1_for_activitynet_2018.pbtxt.txt")
    assert len(official) == 60
    assert official[12] == "stand"
    assert ava.read_label_map(folder / "label_maps" / "ava_label_map.txt").keys() == official.keys()
    excluded = ava.read_excluded(folder / "ava" / "ava_excluded_timestamps_sample.csv")
    assert excluded == {("0f39OWEqJ24", 903.0), ("_-Z6wFjXtGQ", 902.0)}
    assert ava.without(found, excluded).time_s.tolist() == [902, 902, 902]


def test_predicted_boxes_and_the_80_class_map(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("a,0904,0.1,0.2,0.5,0.9,,0.973\na,0904,0.1,0.2,0.5,0.9,80,0.5\nb,0905\n")
    found = ava.read_boxes(tmp_path / "p.csv")
    assert found.boxes.label.tolist() == [-1, 80]
    assert found.boxes.score.tolist() == [0.973, 0.5]
    assert found.empty == ((1, 905.0),)
    (tmp_path / "m.pbtxt").write_text('label {\n  name: "stand"\n  label_id: 12\n  label_type: PERSON_MOVEMENT\n}\n')
    assert ava.read_label_map(tmp_path / "m.pbtxt") == {12: "stand"}
    (tmp_path / "none.txt").write_text("stand\n")
    with pytest.raises(FormatError, match="no class in this file"):
        ava.read_label_map(tmp_path / "none.txt")


def test_ava_folder_leaves_out_excluded_key_frames(tmp_path: Path) -> None:
    (tmp_path / "ava_train_v2.2.csv").write_text("a,0902,0.1,0.1,0.5,0.5,12,0\na,0903,0.1,0.1,0.5,0.5,12,0\n")
    (tmp_path / "ava_val_v2.2.csv").write_text("b,0902,0.1,0.1,0.5,0.5,3,7\n")
    (tmp_path / "ava_train_excluded_timestamps_v2.2.csv").write_text("a,0903\n")
    (tmp_path / "ava_action_list_v2.2.pbtxt").write_text('item {\n  name: "stand"\n  id: 12\n}\n')
    found = ava.read(tmp_path).require()
    assert [(v.id, v.subset, v.line) for v in found.videos] == [("a", "train", 1), ("b", "val", 1)]
    assert found.boxes is not None
    assert found.boxes.video.tolist() == [0, 1]
    assert found.boxes.person.tolist() == [0, 7]
    assert found.classes == ("3", "stand")
    assert found.boxes_of("b").label.tolist() == [3]
    with pytest.raises(KeyError, match="no video 'c'"):
        found.boxes_of("c")


def test_runs_of_avas_key_frames_are_segments(tmp_path: Path) -> None:
    at = "0.1,0.1,0.5,0.5"
    (tmp_path / "ava_train_v2.2.csv").write_text(
        f"a,0904,{at},12,0\na,0902,{at},12,0\na,0903,{at},12,0\n"  # in any order
        f"a,0903,{at},12,1\n"  # by somebody else too
        f"a,0903,{at},5,1\na,0906,{at},12,0\na,0908,{at},12,0\na,0907,{at},12,0\n"
        f"a,0909,0.5,0.1,0.1,0.5,12,0\n"  # no box
        f"a,0910,{at},,0\n"  # nothing is told
        f"b,0909,{at},12,0\nc,0902\nc,0903\n"
    )
    (tmp_path / "ava_val_v2.2.csv").write_text(f"d,0902,{at},12,0\nd,0903\nd,0904\n")
    (tmp_path / "ava_train_excluded_timestamps_v2.2.csv").write_text("a,0907\nc,0902\n")
    (tmp_path / "ava_action_list_v2.2.pbtxt").write_text(
        'item {\n  name: "talk to (e.g., self, a group)"\n  id: 12\n}\n'
    )
    found = ava.read(tmp_path)
    assert found.classes == ("5", talk := "talk to (e.g., self, a group)")
    assert found.box_classes == {5: "5", 12: talk}
    assert [video.segments for video in found.videos] == [
        (
            Segment(talk, 901.5, 904.5), Segment("5", 902.5, 903.5), Segment(talk, 905.5, 906.5),
            Segment(talk, 907.5, 908.5),
        ),
        (Segment(talk, 908.5, 909.5),), (), (Segment(talk, 901.5, 902.5),),
    ]  # fmt: skip
    assert found.empty == ((2, 903.0), (3, 903.0), (3, 904.0))
    assert found.boxes is not None and 909.0 not in found.boxes.time_s[found.boxes.video == 0]

    cut = found.from_second(903.0)
    assert cut.videos[0].segments[:2] == (Segment(talk, 0.0, 1.5), Segment("5", 0.0, 0.5))
    assert cut.videos[3].segments == ()
    assert cut.boxes is not None and cut.boxes.time_s.tolist() == [1.0, 0.0, 0.0, 0.0, 3.0, 5.0, 7.0, 6.0]
    assert cut.empty == ((2, 0.0), (3, 0.0), (3, 1.0))
    assert found.from_second(0.0) is found


def test_lvu_keeps_person_and_shot_beside_avas_columns(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("a,0904,0.1,0.2,0.5,0.9,,0.973,14,3,0\na,0904,0.1,0.2,0.5\n")
    found = ava.read_boxes(tmp_path / "p.csv")
    assert (found.boxes.person.tolist(), found.boxes.score.tolist()) == ([14], [0.973])
    assert [(d.line, d.text.rpartition(": ")[2]) for d in found.defects] == [(2, "5 fields, expected 2, 7, 8, 11")]


def test_ava_defects_have_their_lines(tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text(
        "a,0902,0.1,0.1,0.5,0.5,12,0\n"
        "a,0902,0.5,0.1,0.1,0.5,12,0\n"
        "a,0902,0.1,0.1,0.5,1.5,12,0\n"
        "a,0902,0.1,0.1,0.1,0.5,12,0\n"
        "a,0902,0.1,0.1,0.5\n"
        "a,0902,0.1,0.1,0.5,x,12,0\n"
        "a,1800,0.1,0.1,0.5,0.5,12,0\n"
    )
    found = ava.read(tmp_path / "g.csv").defects
    assert sorted((d.line, d.severity) for d in found) == [
        (2, "error"), (3, "warning"), (4, "warning"), (5, "error"), (6, "error"), (7, "warning"),
    ]  # fmt: skip
    (tmp_path / "none.csv").write_text("video,label\n")
    (tmp_path / "wrong.csv").write_text("video,label,t_start\n")
    with pytest.raises(FormatError, match="no AVA file"):
        ava.read_boxes(tmp_path / "wrong.csv")


def test_real_epic_100(shared: Path) -> None:
    folder = shared / "annotations" / "epic_kitchens_100"
    actions = epic.read_actions(folder / "EPIC_100_validation.csv.gz", "epic100")
    assert len(actions) == 9668
    assert (actions.ids[0], actions.videos[0], actions.verb[0], actions.noun[0]) == ("P01_11_0", "P01_11", 0, 2)
    assert (actions.t_start[1], actions.t_end[1]) == (1.56, 2.45)
    assert actions.verb.max() < 97
    assert actions.noun.max() < 300
    assert not actions.defects
    video = next(v for v in epic.read_100(folder).videos if v.id == "P01_11")
    assert video.segments[0] == Segment("take plate", 0.0, 1.89)
    assert video.fps is not None
    assert video.fps == pytest.approx(59.94, abs=0.01)
    assert len(epic.read_class_keys(folder / "EPIC_100_verb_classes.csv")) == 97
    nouns = epic.read_class_keys(folder / "EPIC_100_noun_classes_v2.csv.gz")
    assert set(nouns) == set(range(305))  # the last five are of other tasks


EPIC55 = (
    "uid,participant_id,video_id,narration,start_timestamp,stop_timestamp,start_frame,stop_frame,verb,verb_class,noun,"
    "noun_class,all_nouns,all_noun_classes\n"
)


def test_epic_55_and_its_defects(tmp_path: Path) -> None:
    (tmp_path / "EPIC_train_action_labels.csv").write_text(
        EPIC55
        + "0,P01,P01_01,open door,00:00:00.14,00:00:03.37,8,202,open,2,door,8,['door'],[8]\n"
        + "1,P26,P26_01,wash cup,01:00:02.00,01:00:01.00,8,202,wash,4,cup,13,\"['cup', 'tap']\",\"[13, 0]\"\n"
        + "2,P26,P26_01,wash cup,0:62,00:00:03.37,8,202,wash,4,cup,13,['cup'],[13]\n"
        + "3,P26,P26_01,wash cup,00:00:00.14,00:00:03.37,8,202,wash,125,cup,13,['cup'],[13]\n"
        + "1,P26,P26_01,wash cup,00:00:00.14,00:00:03.37,8,202,wash,4,cup,13,['cup'],[13]\n"
    )
    found = epic.read_55(tmp_path)
    assert [(v.id, v.subset) for v in found.videos] == [("P01_01", "train"), ("P26_01", "validation")]
    assert found.videos[1].segments == (Segment("4 13", 3602.0, 3601.0),)
    assert [(d.line, d.severity) for d in found.defects] == [(4, "error"), (5, "error"), (6, "error"), (3, "warning")]
    held_out = epic.read_actions(tmp_path / "EPIC_train_action_labels.csv", "epic55").of_participants(
        frozenset({"P26"})
    )
    assert held_out.ids == ("1",)
    with pytest.raises(FormatError, match="no column 'narration_id'"):
        epic.read_actions(tmp_path / "EPIC_train_action_labels.csv", "epic100")


def test_seconds() -> None:
    assert epic.seconds("01:02:03.5") == 3723.5
    with pytest.raises(ValueError, match="is not hh:mm:ss"):
        epic.seconds("62.5")


def write_lvu(folder: Path) -> Path:
    """The CSV form with three tasks, one of each kind."""
    tables = {
        "director": ("class_id class_name youtube_id imdb_id", "9 nm0000233 v{0} tt{0}"),
        "like_ratio": ("like_count dislike_count youtube_id imdb_id", "3 1 v{0} tt1"),
        "view_count": ("view_count youtube_id imdb_id", "1000 v{0} tt{0}"),
    }
    for task, (header, row) in tables.items():
        (folder / task).mkdir(parents=True)
        for number, split in enumerate(lvu.SPLITS):
            (folder / task / f"{split}.csv").write_text(f"{header}\n{row.format(number)}\n")
    return folder


def test_lvu_csvs(tmp_path: Path) -> None:
    found = lvu.read_tasks(write_lvu(tmp_path))
    row = found.rows["director"][2]
    assert (row.video, row.subset, row.target, row.movie, row.line) == ("v2", "test", 7.0, "tt2", 2)
    assert lvu.TASKS["director"].class_names[7] == "quentin"
    assert found.rows["like_ratio"][0].target == 7.5 - 9.138220535629456
    assert found.rows["view_count"][0].target == np.log(1000) - 11.76425435683139
    assert [(d.severity, d.line) for d in found.defects] == [
        ("warning", None)
    ]  # one movie in three splits of like_ratio
    assert lvu.shared_movies(found.rows["like_ratio"]) == {"tt1": ("train", "val", "test")}


def test_lvu_metadata_tasks_must_not_share_movies(tmp_path: Path) -> None:
    folder = write_lvu(tmp_path)
    (folder / "director" / "val.csv").write_text(
        "class_id class_name youtube_id imdb_id\n0 nm0000229 v9 tt0\n2 x v8 tt8\n"
    )
    (folder / "director" / "test.csv").unlink()
    found = [d for d in lvu.read_tasks(folder).defects if d.severity == "error"]
    assert [d.line for d in found] == [3, None, None]
    assert "class ids are 0, 1, 4, 5, 6, 7, 8, 9" in found[0].text
    assert "the file is missing" in found[1].text
    assert "must not share movies" in found[2].text


def test_lvu_json(tmp_path: Path) -> None:
    entry = {"subset": "test", "duration": 60, "director": "quentin", "director_answer": "(h)"}
    (tmp_path / "test.json").write_text(json.dumps({"a": entry, "b": {**entry, "director_answer": "(a)"}}, indent=1))
    found = lvu.read_tasks(tmp_path)
    assert [(r.video, r.target) for r in found.rows["director"]] == [("a", 7.0)]
    assert found.durations == {"a": 60.0, "b": 60.0}
    assert [(d.line, d.severity) for d in found.defects] == [(8, "error")]
    with pytest.raises(FormatError, match="neither"):
        lvu.read_tasks(tmp_path / "..")


def test_real_lvu_json(shared: Path) -> None:
    found = lvu.read_tasks(shared / "annotations" / "lvu")
    assert {task: len(rows) for task, rows in found.rows.items()} == {
        "relationship": 228, "way_speaking": 1261, "scene": 705, "director": 950, "writer": 1090, "year": 1030,
        "genre": 3967,
    }  # fmt: skip
    assert not found.defects
    labels = {v.id: v.labels for v in lvu.read(shared / "annotations" / "lvu").videos}
    # For the first two it is a test video, for genre one of validation: splits are per task.
    assert labels["5rkWzIzJiiA"] == {"director": "steven", "year": "5", "genre": "action"}
    assert [{r.subset for r in found.rows[t] if r.video == "5rkWzIzJiiA"} for t in ("year", "genre")] == [
        {"test"},
        {"val"},
    ]
