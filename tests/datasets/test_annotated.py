"""The data set kind ``annotated``: published formats as data sets, down to the ingest stage's entries."""

import json
import typing
from pathlib import Path

import pytest

from pipeline.datasets import annotated
from pipeline.datasets.check import check_videos
from pipeline.datasets.definition import AnnotatedDefinition, DefinitionError
from pipeline.datasets.formats.table import FORMATS
from pipeline.datasets.readers import class_names, reader_entry, reader_module
from pipeline.datasets.schema import Segment
from pipeline.video.decode import probe
from tests.video.clips import encode_clip


def test_the_definition_knows_every_format() -> None:
    hints = typing.get_type_hints(AnnotatedDefinition)
    assert set(typing.get_args(hints["format"])) == set(FORMATS)


@pytest.fixture
def ucf(tmp_path: Path) -> AnnotatedDefinition:
    """Three clips of UCF101's split 1, two of them there."""
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "classInd.txt").write_text("1 Archery\n2 Diving\n3 Biking\n")
    (tmp_path / "lists" / "trainlist01.txt").write_text(
        "Diving/v_Diving_g09_c02.avi 2\nBiking/v_Biking_g01_c01.avi 3\n"
    )
    (tmp_path / "lists" / "testlist01.txt").write_text("Archery/v_Archery_g01_c01.avi\n")
    for name in ("Diving/v_Diving_g09_c02.mp4", "Archery/v_Archery_g01_c01.mp4"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        encode_clip(tmp_path / "videos" / name, count=30, fps=10)
    return AnnotatedDefinition("ucf", "videos", "ucf101", "lists", {"testing": "auxiliary"})


def test_trimmed_clips_become_whole_segments(tmp_path: Path, ucf: AnnotatedDefinition, capsys) -> None:
    module = reader_module(reader_entry(ucf))
    assert module is annotated
    planned = module.plan(ucf, tmp_path)
    assert "1 of 3 annotated videos have no file, 0 annotation rows" in capsys.readouterr().err
    assert [p.id for p in planned] == ["v_Archery_g01_c01", "v_Diving_g09_c02"]
    video = module.make(planned[1].id, planned[1].inputs, planned[1].spec, tmp_path)
    assert (video.path, video.subset, video.n_frames) == ("videos/Diving/v_Diving_g09_c02.mp4", "training", 30)
    assert video.segments == (Segment("Diving", 0.0, video.duration_s),)
    assert video.labels == {"class": "Diving"}
    assert module.make(planned[0].id, planned[0].inputs, planned[0].spec, tmp_path).subset == "auxiliary"


def test_classes_keep_the_sets_own_order(tmp_path: Path, ucf: AnnotatedDefinition) -> None:
    assert class_names(ucf, tmp_path, {"Diving"}) == ("Archery", "Diving", "Biking")


def test_videos_are_held_out_and_left_out(tmp_path: Path) -> None:
    """By their ids alone: without the last videos, the others stay where they were."""
    (tmp_path / "videos").mkdir()
    names = [f"v{number:03d}" for number in range(300)]
    subsets = ["training"] * 200 + ["validation"] * 50 + ["testing"] * 50
    for name in names:
        (tmp_path / "videos" / f"{name}.mp4").touch()
    renamed = {"validation": "testing", "testing": "unused"}

    def dealt(count: int) -> dict[str, str]:
        rows = {
            name: {"subset": subset, "duration": 9, "annotations": [{"label": "a", "segment": [1, 2]}]}
            for name, subset in list(zip(names, subsets, strict=True))[:count]
        }
        (tmp_path / "gt.json").write_text(json.dumps({"database": rows}))
        definition = AnnotatedDefinition("d", "videos", "activitynet", "gt.json", renamed, held_out=0.1)
        return {planned.id: str(planned.spec["subset"]) for planned in annotated.plan(definition, tmp_path)}

    found = dealt(300)
    assert set(found) == set(names[:250])
    assert {found[name] for name in names[200:250]} == {"testing"}
    assert 8 <= sum(found[name] == "validation" for name in names[:200]) <= 35
    assert dealt(100) == {name: found[name] for name in names[:100]}
    with pytest.raises(ValueError, match=r"held_out is 1\.0; it must be at least 0 and below 1"):
        AnnotatedDefinition("d", "videos", "activitynet", "gt.json", held_out=1.0)
    with pytest.raises(ValueError, match=r"subsets\.testing is 'gone'; it must be one of .*, unused"):
        AnnotatedDefinition("d", "videos", "activitynet", "gt.json", {"testing": "gone"})


def test_segments_and_multi_label_videos(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    encode_clip(tmp_path / "videos" / "QK7ZP.mp4", count=30, fps=10)
    (tmp_path / "charades.json").write_text(
        '{"QK7ZP": {"subset": "testing", "duration": 3, "actions": [[61, 0, 2], [5, 1, 2]]}}'
    )
    definition = AnnotatedDefinition("charades", "videos", "charades", "charades.json")
    (planned,) = annotated.plan(definition, tmp_path)
    video = annotated.make(planned.id, planned.inputs, planned.spec, tmp_path)
    assert video.segments == (Segment("c061", 0.0, 2.0), Segment("c005", 1.0, 2.0))
    assert len(class_names(definition, tmp_path, {"c061"})) == 157


EPIC55 = (
    "uid,participant_id,video_id,narration,start_timestamp,stop_timestamp,start_frame,stop_frame,verb,verb_class,noun,"
    "noun_class,all_nouns,all_noun_classes\n"
)
UNKNOWN = {
    "ava": ("ava_train_v2.2.csv", "known,0902,0.1,0.1,0.5,0.5,12,0\ngone,0902,0.1,0.1,0.5,0.5,3,7\n", 2),
    "epic55": (
        "EPIC_train_action_labels.csv",
        EPIC55
        + "0,P01,known,open door,00:00:00.14,00:00:03.37,8,202,open,2,door,8,['door'],[8]\n"
        + "1,P26,gone,wash cup,00:00:02.00,00:00:03.00,8,202,wash,4,cup,13,['cup'],[13]\n",
        3,
    ),
    "own": ("a.csv", "video,label,t_start,t_end,subset\nknown,run,0,1,train\ngone,run,0,1,train\n", 3),
}


@pytest.mark.parametrize("format_", UNKNOWN)
def test_labels_for_unknown_videos_are_counted_and_named_and_stop_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], format_: str
) -> None:
    name, text, line = UNKNOWN[format_]
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / name).write_text(text)
    (tmp_path / "videos").mkdir()
    for stem in ("known", "stranger"):
        encode_clip(tmp_path / "videos" / f"{stem}.mp4", count=70, fps=10)
    source = f"labels/{name}" if format_ == "own" else "labels"
    subsets = {"train": "training", "validation": "training"}
    definition = AnnotatedDefinition("some", "videos", format_, source, subsets)  # type: ignore[arg-type]
    planned = annotated.plan(definition, tmp_path)
    assert [one.id for one in planned] == ["known"]
    said = capsys.readouterr().err
    assert "some: 1 of 2 annotated videos have no file, 0 annotation rows cannot be read" in said
    assert "`python -m pipeline check --dataset some` lists them" in said
    found = list(check_videos(annotated.annotations(definition, tmp_path), tmp_path / "videos", probe))
    gone = [defect for defect in found if "'gone'" in defect.text]
    assert [(defect.line, defect.severity) for defect in gone] == [(line, "warning")]
    assert f"video 'gone': no file of that name in {tmp_path / 'videos'}" in gone[0].text
    assert [defect.text for defect in found if "stranger" in defect.file] == ["a video without annotation"]
    (tmp_path / "videos" / "known.mp4").unlink()
    with pytest.raises(DefinitionError, match="none of its 2 videos has a file"):
        annotated.plan(definition, tmp_path)


def test_errors_name_what_is_wrong(tmp_path: Path, ucf: AnnotatedDefinition) -> None:
    def like(**changes: object) -> AnnotatedDefinition:
        return AnnotatedDefinition(**({**vars(ucf), **changes}))  # type: ignore[arg-type]

    with pytest.raises(DefinitionError, match=r"data set ucf: .*nowhere: there is no such file"):
        annotated.plan(like(annotations="nowhere"), tmp_path)
    with pytest.raises(DefinitionError, match="source is 'nowhere'"):
        annotated.plan(like(source="nowhere"), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DefinitionError, match="none of its 3 videos has a file"):
        annotated.plan(like(source="empty"), tmp_path)
    with pytest.raises(ValueError, match="split is 4"):
        like(split=4)
    (tmp_path / "m.csv").write_text("video,label,t_start,t_end,subset\nv_Diving_g09_c02,run,0,1,holdout\n")
    with pytest.raises(DefinitionError, match=r"subset is 'holdout'.*`subsets: \{holdout: testing\}`"):
        annotated.plan(like(format="own", annotations="m.csv"), tmp_path)
