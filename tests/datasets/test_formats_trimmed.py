"""Trimmed sets: Kinetics, Something-Something v2, UCF101 and HMDB51 in their own lists."""

import json
from pathlib import Path

import pytest

from pipeline.datasets.formats import trimmed
from pipeline.datasets.formats.common import FormatError


def test_kinetics(tmp_path: Path) -> None:
    (tmp_path / "kinetics-400_train.csv").write_text(
        "label,youtube_id,time_start,time_end,split,is_cc\n"
        "juggling balls,xYz,10,20,train,0\n"
        '"news, anchoring",aaa,0,10,train,0\n'
        "abseiling,bbb,x,10,train,0\n"
        "abseiling,xYz,10,20,train,0\n"
    )
    (tmp_path / "kinetics-400_test.csv").write_text("youtube_id,time_start,time_end,split\nccc,1,11,test\n")
    found = trimmed.read_kinetics(tmp_path)
    assert [(v.id, v.subset, dict(v.labels)) for v in found.videos] == [
        ("ccc_000001_000011", "test", {}),
        ("xYz_000010_000020", "train", {"class": "juggling balls"}),
        ("aaa_000000_000010", "train", {"class": "news, anchoring"}),
    ]
    assert found.classes == ("abseiling", "juggling balls", "news, anchoring")
    assert found.videos[1].files == ("juggling balls/xYz_000010_000020", "xYz_000010_000020", "xYz")
    assert found.videos[1].trimmed
    assert [(d.line, d.severity) for d in found.defects] == [(4, "error"), (5, "error")]


def test_path_lists(tmp_path: Path) -> None:
    (tmp_path / "val.csv").write_text("some/where/xYz.mp4 176\nb.mp4 300 9\nbroken line of words\n")
    found = trimmed.read_kinetics(tmp_path / "val.csv")
    assert [(v.id, v.subset, v.labels["class"]) for v in found.videos] == [("xYz", "val", "176"), ("b", "val", "9")]
    assert found.classes == ("9", "176")
    assert [d.line for d in found.defects] == [3]


def test_ssv2(tmp_path: Path) -> None:
    classes = {"Pushing something from left to right": "94", "Holding something": "0"}
    (tmp_path / "something-something-v2-labels.json").write_text(json.dumps(classes))
    (tmp_path / "something-something-v2-train.json").write_text(
        '[{"id": "90017", "label": "pushing mug", "template": "Pushing [something] from left to right"},\n'
        ' {"id": "90018", "template": "Eating [something]"},\n'
        ' {"template": "Holding [something]"},\n'
        ' {"id": "90019"}]'
    )
    (tmp_path / "something-something-v2-test.json").write_text('[{"id": "5"}]')
    found = trimmed.read_ssv2(tmp_path)
    assert found.classes == ("Holding something", "Pushing something from left to right")
    assert [(v.id, v.subset, v.labels.get("class")) for v in found.videos] == [
        ("90017", "train", "Pushing something from left to right"),
        ("90019", "train", None),
        ("5", "test", None),
    ]
    assert [(d.line, d.severity) for d in found.defects] == [(2, "error"), (3, "error"), (None, "error")]
    with pytest.raises(FormatError, match=r"no something-something-v2-labels\.json"):
        trimmed.read_ssv2(tmp_path / "..")


def test_ucf101(tmp_path: Path) -> None:
    (tmp_path / "classInd.txt").write_text("1 Archery\n17 Diving\n")
    (tmp_path / "trainlist02.txt").write_text(
        "Diving/v_Diving_g09_c02.avi 17\nDiving/v_Diving_g09_c03.avi 16\nno clip\n"
    )
    (tmp_path / "testlist02.txt").write_text("Diving/v_Diving_g01_c02.avi\nSwimming/v_Swimming_g01_c01.avi\n")
    found = trimmed.read_ucf101(tmp_path, 2)
    assert found.classes == ("Archery", "Diving")
    assert [(v.id, v.subset) for v in found.videos] == [("v_Diving_g09_c02", "train"), ("v_Diving_g01_c02", "test")]
    assert found.videos[0].files == ("Diving/v_Diving_g09_c02.avi", "v_Diving_g09_c02.avi")
    assert [(Path(d.file).name, d.line) for d in found.defects] == [
        ("trainlist02.txt", 2), ("trainlist02.txt", 3), ("testlist02.txt", 2),
    ]  # fmt: skip
    with pytest.raises(FormatError, match=r"no trainlist01\.txt"):
        trimmed.read_ucf101(tmp_path, 1)
    with pytest.raises(FormatError, match="split is 4"):
        trimmed.read_ucf101(tmp_path, 4)


def test_real_splits_share_no_clip_and_have_the_class_list_of_the_label_map(shared: Path) -> None:
    folder = shared / "annotations"
    for split in trimmed.SPLITS:
        for read, name, names in (
            (trimmed.read_ucf101, "ucf101", "ucf101_label_map.txt"),
            (trimmed.read_hmdb51, "hmdb51", "hmdb51_label_map.txt"),
        ):
            found = read(folder / name, split)
            assert list(found.classes) == (folder / "label_maps" / names).read_text().split()
            assert not found.defects  # a clip in both parts would be one


def test_hmdb51_names_with_odd_letters(tmp_path: Path) -> None:
    (tmp_path / "dive_test_split1.txt").write_text("a_[b]&c!_dive_0.avi 1 \nx.avi 0\ny z.avi 2 \nz.avi 3\n")
    (tmp_path / "dive_test_split2.txt").write_text("x.avi 1\n")
    found = trimmed.read_hmdb51(tmp_path, 1)
    assert [(v.id, v.subset) for v in found.videos] == [("a_[b]&c!_dive_0", "train"), ("y z", "test")]
    assert [d.line for d in found.defects] == [4]
    assert [v.id for v in trimmed.read_hmdb51(tmp_path, 2).videos] == ["x"]
    with pytest.raises(FormatError, match="no <class>_test_split3"):
        trimmed.read_hmdb51(tmp_path, 3)
