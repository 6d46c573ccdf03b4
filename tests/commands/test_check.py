"""check: every defect of a set with file and line, on real files and on files made wrong."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import main
from pipeline.commands.check import check as run
from pipeline.datasets.formats.own import read
from pipeline.datasets.locate import locate
from tests.video.clips import encode_clip


def check(root: Path, **options: Any) -> tuple[int, list[str]]:
    defaults = {"dataset": None, "annotations": None, "format": None, "videos": None, "split": 1, "decode": False}
    defaults |= {"class_map": None, "starts_s": 0.0}
    said: list[str] = []
    status = run(argparse.Namespace(**(defaults | options)), root, said.append)
    return status, said


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Videos and a CSV in which each line from the second on has something of its own wrong."""
    videos = tmp_path / "videos"
    (videos / "again").mkdir(parents=True)
    encode_clip(videos / "good.mp4", count=80, fps=20)  # 4 s
    encode_clip(videos / "short.mp4", count=10, fps=20)
    encode_clip(videos / "long.mp4", count=80, fps=20)
    encode_clip(videos / "again" / "long.mp4", count=80, fps=20)
    encode_clip(videos / "extra.mp4", count=80, fps=20)
    (videos / "broken.mp4").write_bytes(b"this is not a video")
    (tmp_path / "mine.csv").write_text(
        "video,label,t_start,t_end,subset,duration\n"
        "good,run,0,2,training,4\n"
        "short,run,0,0.4,training,0.5\n"
        "long,run,1,9,training,9.5\n"
        "gone,run,0,1,training,\n"
        "broken,run,0,1,validation,\n"
        "good,hop,3,2,training,4\n"
    )
    return tmp_path


def test_every_defect_has_its_file_and_line(folder: Path) -> None:
    csv, videos = folder / "mine.csv", folder / "videos"
    status, said = check(folder, annotations=csv, format="own", videos=videos)
    assert status == 1
    assert said[-1] == f"{csv}: 5 videos (4 training, 1 validation), 6 instances, 2 classes; 1 errors, 7 warnings"
    by_place = {line.partition(": ")[0].removeprefix(f"{folder}/"): line.partition(": ")[2] for line in said[:-1]}
    assert by_place["mine.csv:7"].startswith("warning: video 'good': [3, 2] s of 'hop' ends before it starts")
    assert by_place["mine.csv:5"].startswith("warning: video 'gone': no file of that name in")
    assert by_place["mine.csv:3"] == "warning: video 'short': 10 frames, less than one snippet of 64 (short.mp4)"
    of_long = [line for line in said if ":4: " in line]
    assert "2 files have that name, the first is used: again/long.mp4, long.mp4" in of_long[0]
    assert "stated to last 9.5 s, the file lasts 4.00 s" in of_long[1]
    assert "1 segments end after the file's 4.00 s, the last at 9 s" in of_long[2]
    assert by_place["videos/extra.mp4"] == "warning: a video without annotation"
    assert by_place["videos/broken.mp4"].startswith("error: video 'broken': ")


def test_json_annotations_have_the_line_of_the_video(folder: Path) -> None:
    entry = {"subset": "training", "duration": 4, "annotations": [{"label": "run", "segment": [0, 1]}]}
    data = {"database": {"good": entry, "gone": entry}}
    text = json.dumps(data, indent=1)
    (folder / "gt.json").write_text(text)
    at = text.split("\n").index('  "gone": {') + 1
    _, said = check(folder, annotations=folder / "gt.json", format="activitynet", videos=folder / "videos")
    assert any(line.startswith(f"{folder}/gt.json:{at}: warning: video 'gone': no file") for line in said)


def test_a_clean_set_is_clean(folder: Path) -> None:
    (folder / "mine.csv").write_text("video,label,t_start,t_end\ngood,run,0,2\n")
    status, said = check(folder, annotations=folder / "mine.csv", format="own")
    assert (status, len(said)) == (0, 1)
    status, said = check(folder, annotations=folder / "mine.csv", format="own", videos=folder / "videos", decode=True)
    assert status == 0


def test_definitions_are_checked(folder: Path) -> None:
    (folder / "data" / "datasets").mkdir(parents=True)
    (folder / "data" / "datasets" / "mine.yaml").write_text(
        "kind: annotated\nsource: videos\nformat: own\nannotations: mine.csv\nsubsets: {validation: holdout}\n"
    )
    with pytest.raises(ValueError, match=r"subsets\.validation is 'holdout'"):
        check(folder, dataset="mine")
    (folder / "data" / "datasets" / "mine.yaml").write_text(
        "kind: annotated\nsource: videos\nformat: own\nannotations: mine.csv\n"
    )
    status, said = check(folder)  # all definitions
    assert status == 1
    assert said[-1].startswith("mine: 5 videos")
    (folder / "data" / "datasets" / "away.yaml").write_text(
        "kind: annotated\nsource: nowhere\nformat: own\nannotations: mine.csv\n"
    )
    _, said = check(folder)
    assert said[0] == f"away: not here, neither {folder}/data/raw/away nor nowhere is a folder"
    with pytest.raises(ValueError, match="source is 'nowhere'"):
        check(folder, dataset="away")


def test_times_are_those_of_the_files(folder: Path) -> None:
    rows = "".join(f"good,{second:04d},0.1,0.1,0.5,0.5,12,0\n" for second in (902, 903))
    (folder / "ava_train_v2.2.csv").write_text(rows)
    (folder / "data" / "datasets").mkdir(parents=True)
    late = "1 segments end after the file's 4.00 s, the last at 903.5 s (good.mp4)"
    for starts_s in (0.0, 900.0):
        (folder / "data" / "datasets" / "mine.yaml").write_text(
            f"kind: annotated\nsource: videos\nformat: ava\nannotations: ava_train_v2.2.csv\nstarts_s: {starts_s}\n"
        )
        _, of_set = check(folder, dataset="mine")
        given = {"annotations": folder / "ava_train_v2.2.csv", "format": "ava", "videos": folder / "videos"}
        _, of_file = check(folder, **given, starts_s=starts_s)
        for said in (of_set, of_file):
            assert any(late in line for line in said) == (starts_s == 0)
            assert "1 training), 1 instances, 1 classes, 2 boxes" in said[-1]
    with pytest.raises(ValueError, match="and --starts-s go with --annotations"):
        check(folder, dataset="mine", starts_s=900.0)


def test_a_set_as_a_whole(folder: Path) -> None:
    (folder / "mine.csv").write_text("video,label,t_start,t_end,subset\ngood,run,0,2,holdout\n")
    status, said = check(folder, annotations=folder / "mine.csv", format="own")
    assert status == 1
    assert (
        "1 videos are in subset 'holdout', which is none of ours (auxiliary, training, validation, testing)" in said[0]
    )


def test_wrong_options_and_the_door(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="--annotations goes with --format"):
        check(folder, annotations=folder / "mine.csv")
    with pytest.raises(ValueError, match="go with --annotations"):
        check(folder, videos=folder)
    with pytest.raises(ValueError, match="no such folder"):
        check(folder, annotations=folder / "mine.csv", format="own", videos=folder / "nowhere")
    with pytest.raises(SystemExit) as stopped:
        main(["check", "--annotations", str(folder / "mine.csv"), "--format", "own"])
    assert stopped.value.code == 0
    assert "5 videos" in capsys.readouterr().out


def test_real_clips_against_their_own_class_folders(shared: Path, tmp_path: Path) -> None:
    clips = sorted((shared / "videos" / "weizmann").rglob("*.avi"))
    rows = [f"{clip.stem},{clip.parent.name},0,0.5" for clip in clips]
    (tmp_path / "w.csv").write_text("video,label,t_start,t_end\n" + "\n".join(rows) + "\n")
    located = locate(read(tmp_path / "w.csv").videos, shared / "videos" / "weizmann")
    assert (len(located.files), located.missing, located.ambiguous, located.unannotated) == (len(clips), (), {}, ())
    assert len(clips) > 50
    status, said = check(tmp_path, annotations=tmp_path / "w.csv", format="own", videos=shared / "videos" / "weizmann")
    assert status == 0
    assert all("less than one snippet" in line for line in said[:-1])
