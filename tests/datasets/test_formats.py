"""Readers of segments: the real files' published counts, small files in each form, and every defect with its line."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from pipeline.datasets.formats import activitynet, dense, own, thumos14
from pipeline.datasets.formats.common import Annotations, FormatError
from pipeline.datasets.formats.table import FORMATS, read_annotations
from pipeline.datasets.formats.text import JsonLines
from pipeline.datasets.schema import Segment


def counts(found: Annotations) -> tuple[dict[str, int], int, int]:
    return dict(Counter(v.subset for v in found.videos)), sum(len(v.segments) for v in found.videos), len(found.classes)


def lines(found: Annotations) -> list[tuple[int | None, str, str]]:
    return [(defect.line, defect.severity, defect.text) for defect in found.defects]


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("activitynet", "activitynet", ({"training": 9649, "validation": 4728, "testing": 4851}, 22152, 200)),
        ("thumos14", "thumos14", ({"training": 200, "testing": 213}, 6365, 20)),
        ("thumos14", "thumos14/thumos_gt.json", ({"training": 200, "testing": 210}, 6318, 20)),
        ("charades", "charades", ({"training": 7985, "testing": 1863}, 66500, 157)),
        ("multithumos", "multithumos", ({"training": 200, "testing": 213}, 38690, 65)),
        ("ava_segments", "ava", ({"training": 154, "testing": 38}, 119574, 80)),
        ("epic100", "epic_kitchens_100", ({"validation": 138}, 9668, 1352)),
        ("ucf101", "ucf101", ({"training": 9537, "testing": 3783}, 0, 101)),
        ("hmdb51", "hmdb51", ({"training": 3570, "testing": 1530}, 0, 51)),
        ("lvu", "lvu", ({"training": 5765, "validation": 1252, "testing": 1181}, 0, 0)),
    ],
)
def test_real_files_have_the_published_counts(shared: Path, name: str, path: str, expected: object) -> None:
    found = read_annotations(name, shared / "annotations" / path)
    assert counts(found) == expected
    assert not [defect for defect in found.defects if defect.severity == "error"]


def test_activitynet_defects_have_their_lines(tmp_path: Path) -> None:
    text = """{"version": "1", "database": {
 "good": {"subset": "training", "duration": 10.0, "annotations": [
   {"label": "run", "segment": [1, 2]},
   {"label": "run", "segment": [1, 2]},
   {"label": "run", "segment": [5, 4]},
   {"label": "run", "segment": [3, 12]},
   {"label": "run", "segment": ["0.5", "0.5"]},
   {"label": "run", "segment": [1]},
   {"segment": [1, 2]},
   {"label": "run", "segment": [1, null]}]},
 "no-subset": {"annotations": []},
 "empty": {"subset": "validation", "duration": -1, "annotations": []},
 "twice": {"subset": "testing", "annotations": []},
 "strange": 5,
 "twice": {"subset": "testing", "annotations": []}
}}"""
    (tmp_path / "gt.json").write_text(text)
    found = activitynet.read(tmp_path / "gt.json")
    assert lines(found) == [
        (15, "error", "video 'twice' stands twice; only the last one counts"),
        (4, "warning", "video 'good', annotation 1: the same as an earlier one"),
        (5, "warning", "video 'good', annotation 2: [5, 4] s of 'run' ends before it starts"),
        (6, "warning", "video 'good', annotation 3: [3, 12] s of 'run' ends after the video, which lasts 10 s"),
        (7, "warning", "video 'good', annotation 4: [0.5, 0.5] s of 'run' has no length"),
        (8, "error", "video 'good', annotation 5: segment is [1], expected [t_start, t_end] in seconds"),
        (9, "error", "video 'good', annotation 6: label is None, expected a class name"),
        (10, "error", "video 'good', annotation 7: segment is [1, None], expected two finite numbers"),
        (11, "error", "video 'no-subset': no field 'subset'"),
        (12, "warning", "video 'empty': duration is -1 s"),
        (12, "warning", "video 'empty' (validation): no annotation"),
        (1, "error", "video 'strange': not an object with a list 'annotations'"),
    ]
    assert [(v.id, len(v.segments)) for v in found.videos] == [("good", 5), ("empty", 0), ("twice", 0)]
    with pytest.raises(FormatError, match=r"gt\.json:15: error: video 'twice' stands twice.*; and \d+ more"):
        found.require()


def test_lines_of_json_values(tmp_path: Path) -> None:
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b'{"a": [1,\n {"b": 2}],\n\n "c": {}}'))
    at = JsonLines(tmp_path / "a.json.gz")
    assert (at(), at("a"), at("a", 1), at("a", 1, "b"), at("c"), at("gone")) == (1, 1, 2, 2, 4, 1)


@pytest.mark.parametrize(
    ("text", "message"), [("[]", "no object"), ("{", r"x\.json:1: not valid JSON"), ('{"a": 1}', "layout")]
)
def test_other_json_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(FormatError, match=message):
        activitynet.read(tmp_path / "x.json")


def test_own_csv_and_json_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "video,label,t_start,t_end,subset,duration\na,run,0,2.5,training,10\nb,,,,testing,4\n"
    )
    rows = [
        {"video": "a", "label": "run", "t_start": 0, "t_end": 2.5, "duration": 10},
        {"video": "b", "subset": "testing"},
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    for name in ("a.csv", "a.json"):
        found = own.read(tmp_path / name).require()
        assert [(v.id, v.subset, v.segments) for v in found.videos] == [
            ("a", "training", (Segment("run", 0.0, 2.5),)),
            ("b", "testing", ()),
        ]
        assert found.videos[0].duration_s == 10.0


def test_own_defects_have_their_lines(tmp_path: Path) -> None:
    text = """video,label,t_start,t_end,subset,duration
a,run,0,2,training,10
a,run,x,2,training,10
,run,0,1,training,
a,run,0,2,validation,11
a,run,9,12,training,10
b,,,,,
"""
    (tmp_path / "a.csv").write_text(text)
    assert lines(own.read(tmp_path / "a.csv")) == [
        (3, "error", "video 'a': t_start 'x' and t_end '2' must be numbers"),
        (4, "error", "no video named"),
        (5, "error", "video 'a' is in subset 'validation' here and in 'training' before (line 2)"),
        (5, "error", "video 'a' lasts 11 s here and 10 s before"),
        (5, "warning", "video 'a': the same row stands before"),
        (6, "warning", "video 'a': [9, 12] s of 'run' ends after the video, which lasts 10 s"),
        (7, "warning", "video 'b' (training): no annotation"),
    ]
    (tmp_path / "b.csv").write_text("video,label,start\n")
    with pytest.raises(FormatError, match=r"b\.csv: line 1: no column 't_start'"):
        own.read(tmp_path / "b.csv")


def test_thumos_text_files(tmp_path: Path) -> None:
    (tmp_path / "HighJump_val.txt").write_text("video_validation_0000001  1.5 2.5\nvideo_validation_0000001 3 x\n")
    (tmp_path / "HighJump_test.txt").write_text("video_test_0000004 0.2  1.1 \n")
    (tmp_path / "Ambiguous_test.txt").write_text("video_test_0000004 5.0 6.0\nvideo_test_0000009 5.0 6.0\n")
    found = thumos14.read(tmp_path)
    assert counts(found) == ({"validation": 1, "test": 2}, 2, 1)
    assert {v.id: v.segments for v in found.videos}["video_test_0000004"] == (Segment("HighJump", 0.2, 1.1),)
    assert lines(found) == [(2, "error", "video 'video_validation_0000001': start '3' and end 'x' must be seconds")]
    assert {v.subset for v in read_annotations("thumos14", tmp_path).videos} == {"training", "testing"}


HEADER = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"


def test_charades_csv(tmp_path: Path) -> None:
    (tmp_path / "Charades_v1_train.csv").write_text(
        HEADER
        + 'QK7ZP,A1,Kitchen,6,7,Yes,"A person opens, then\nlaughs.",jar,"x, y",c061 3.10 9.40;c149 8.00 14.20,21.54\n'
        + "EMPTY,A1,Hall,6,7,Yes,,,,,8.0\n"
        + "BAD01,A1,Hall,6,7,Yes,,,,c200 1 2;c001 5 9.5,8.0\n"
        + "EMPTY,A1,Hall,6,7,Yes,,,,,zero\n"
    )
    (tmp_path / "Charades_v1_test.csv").write_text(HEADER + "T,A1,Hall,6,7,Yes,,,,c156 1 2,8.0\n")
    found = dense.read_charades(tmp_path)
    assert found.videos[0].segments == (Segment("c061", 3.1, 9.4), Segment("c149", 8.0, 14.2))
    assert (found.videos[0].duration_s, found.videos[0].line, len(found.classes)) == (21.54, 3, 157)
    assert [v.subset for v in found.videos] == ["train", "train", "train", "train", "test"]
    assert [(line, severity) for line, severity, _ in lines(found)] == [
        (5, "error"), (5, "warning"), (6, "error"), (6, "error"),
    ]  # fmt: skip


def test_charades_csv_and_json_agree(tmp_path: Path) -> None:
    (tmp_path / "Charades_v1_test.csv").write_text(HEADER + "T,A1,Hall,6,7,Yes,,,,c061 3.1 9.4,21.5\n")
    (tmp_path / "c.json").write_text('{"T": {"subset": "testing", "duration": 21.5, "actions": [[61, 3.1, 9.4]]}}')
    first, second = (dense.read_charades(tmp_path / name).videos[0] for name in ("Charades_v1_test.csv", "c.json"))
    assert (first.segments, first.duration_s) == (second.segments, second.duration_s)


def test_dense_json_defects(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(
        '{"v": {"subset": "testing", "duration": 9, "actions": [\n [65, 1, 2],\n [0, 1, 2],\n [66, 1, 2],\n [1, 1],\n'
        " [2, 8, 10]]}}"
    )
    found = dense.read_multithumos(tmp_path / "m.json")
    assert [s.label for s in found.videos[0].segments] == ["65", "2"]
    assert [(line, severity) for line, severity, _ in lines(found)] == [
        (3, "error"), (4, "error"), (5, "error"), (6, "warning"),
    ]  # fmt: skip


def test_unknown_formats_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="format is 'anet'; it must be one of own, activitynet"):
        read_annotations("anet", tmp_path)
    for name in FORMATS:
        with pytest.raises(FormatError, match="no such file"):
            read_annotations(name, tmp_path / "nothing.json")
        with pytest.raises(FormatError):
            read_annotations(name, tmp_path)
