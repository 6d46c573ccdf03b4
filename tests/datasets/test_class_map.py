"""Class maps in the forms that the sets publish, and labels that a map does not have."""

from pathlib import Path

import pytest

from pipeline.datasets.formats.class_map import read_class_map
from pipeline.datasets.formats.common import FormatError
from pipeline.datasets.formats.table import read_annotations
from pipeline.datasets.schema import Segment


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_forms(tmp_path: Path) -> None:
    assert read_class_map(write(tmp_path / "a", "c000 Holding clothes\nc001 Putting: away\n")) == {
        "c000": "Holding clothes",
        "c001": "Putting: away",
    }
    assert read_class_map(write(tmp_path / "b", "17 Diving\n1 Archery\n")) == {"17": "Diving", "1": "Archery"}
    assert read_class_map(write(tmp_path / "c", "3: sit\n12: stand\n")) == {"3": "sit", "12": "stand"}
    assert read_class_map(write(tmp_path / "d", "abseiling\n100 m sprint\n")) == {"0": "abseiling", "1": "100 m sprint"}
    with pytest.raises(FormatError, match=r"e:3: class 'run' stands before \(line 1\)"):
        read_class_map(write(tmp_path / "e", "run\nhop\nrun\n"))
    with pytest.raises(FormatError, match="no class"):
        read_class_map(write(tmp_path / "f", "\n"))


def test_real_label_maps(shared: Path) -> None:
    folder = shared / "annotations" / "label_maps"
    for name, count in (("kinetics_label_map_k400", 400), ("sthv2_label_map", 174), ("ava_label_map", 60)):
        assert len(read_class_map(folder / f"{name}.txt")) == count
    assert read_class_map(folder / "ava_label_map.txt")["12"] == "stand"


def test_ids_become_names_and_unknown_classes_are_defects(tmp_path: Path) -> None:
    csv = write(tmp_path / "a.csv", "video,label,t_start,t_end\na,1,0,2\na,hop,2,3\na,5,3,4\nb,5,0,1\n")
    names = write(tmp_path / "map.txt", "run\nhop\nfly\n")
    found = read_annotations("own", csv, class_map=names)
    assert found.classes == ("run", "hop", "fly")
    assert found.videos[0].segments == (Segment("hop", 0, 2), Segment("hop", 2, 3))
    assert [(d.line, d.severity, d.text) for d in found.defects] == [
        (2, "error", "video 'a': class '5' is not in map.txt"),
        (5, "error", "video 'b': class '5' is not in map.txt"),
    ]


def test_charades_and_path_lists_get_their_names(tmp_path: Path) -> None:
    json = write(tmp_path / "c.json", '{"v": {"subset": "testing", "duration": 9, "actions": [[1, 0, 2]]}}')
    names = write(tmp_path / "classes.txt", "c000 Holding clothes\nc001 Putting clothes\n")
    found = read_annotations("charades", json, class_map=names)
    assert (found.classes, found.videos[0].segments[0].label) == (
        ("Holding clothes", "Putting clothes"),
        "Putting clothes",
    )
    clips = write(tmp_path / "train.csv", "a.mp4 1\n")
    found = read_annotations("kinetics", clips, class_map=write(tmp_path / "k.txt", "abseiling\nair drumming\n"))
    assert found.videos[0].labels == {"class": "air drumming"}
    assert not found.defects
