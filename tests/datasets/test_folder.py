import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets import folder
from pipeline.datasets.definition import ActivityNetDefinition, DefinitionError, FolderDefinition
from pipeline.datasets.schema import Segment
from pipeline.video.decode import VideoError
from tests.video.clips import encode_clip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    videos = tmp_path / "videos"
    shown = ["a.mp4", "deep/er/b.MKV", "x/same.mp4", "y/same.avi", "v_key.mp4"]
    for name in (*shown, "notes.txt", ".hidden.mp4", ".cache/c.mp4"):
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        (videos / name).write_bytes(b"not opened when listed")
    return tmp_path


def annotate(project: Path, database: dict[str, Any], name: str = "gt.json", **more: Any) -> str:
    data = json.dumps({"database": database} | more)
    (project / name).write_bytes(gzip.compress(data.encode()) if name.endswith(".gz") else data.encode())
    return name


def entry(subset: str, *segments: tuple[str, float, float]) -> dict[str, Any]:
    return {"subset": subset, "annotations": [{"label": label, "segment": [a, b]} for label, a, b in segments]}


def test_ids_are_stems_or_paths_where_stems_collide(project: Path) -> None:
    listing = folder.folder_plan(FolderDefinition("mine", "videos"), project)
    assert [video.id for video in listing.videos] == ["a", "b", "v_key", "x/same.mp4", "y/same.avi"]
    assert {video.subset for video in listing.videos} == {"testing"}
    assert [video.path for video in listing.videos][1] == "videos/deep/er/b.MKV"
    assert listing.classes == listing.missing == ()


def test_ids_of_files_from_anywhere() -> None:
    assert folder.video_ids([Path("p/a.mp4"), Path("q/b.mp4")]) == ["a", "b"]
    assert folder.video_ids([Path("p/a.mp4"), Path("q/r/a.mp4"), Path("q/c.mp4")]) == ["p/a.mp4", "q/r/a.mp4", "c"]
    assert folder.video_ids([Path("a.mp4"), Path("a.avi"), Path("a.mp4.mkv")]) == ["a.mp4", "a.avi", "a.mp4.mkv"]
    assert folder.video_ids([Path("q/../p/a.mp4"), Path("p/b/a.mp4")]) == ["a.mp4", "b/a.mp4"]
    assert folder.video_ids([]) == []


def test_linked_folders_are_followed_once(project: Path) -> None:
    (project / "more").mkdir()
    (project / "more" / "z.mp4").touch()
    (project / "videos" / "linked").symlink_to(project / "more")
    (project / "more" / "loop").symlink_to(project / "videos")
    ids = [video.id for video in folder.folder_plan(FolderDefinition("mine", "videos"), project).videos]
    assert ids == ["a", "b", "v_key", "x/same.mp4", "y/same.avi", "z"]


@pytest.mark.parametrize("name", ["gt.json", "gt.json.gz"])
def test_annotations_are_brought_to_the_files(project: Path, name: str) -> None:
    database = {
        "a": entry("training", ("jump", 1, 2.5), ("run", 2, 3)),
        "key": entry("validation", ("run", 0, 1)),
        "x/same": entry("val", ("run", 4, 5)),
        "lost": entry("training", ("hop", 0, 1)),
    }
    gt = annotate(project, database, name)
    listing = folder.folder_plan(FolderDefinition("mine", "videos", gt, {"val": "validation"}), project)
    by_id = {video.id: video for video in listing.videos}
    assert by_id["a"].segments == (Segment("jump", 1.0, 2.5), Segment("run", 2.0, 3.0))
    assert by_id["a"].subset == "training"
    assert by_id["v_key"].subset == by_id["x/same.mp4"].subset == "validation"
    assert (by_id["y/same.avi"].subset, by_id["y/same.avi"].segments) == ("testing", ())
    assert listing.missing == ("lost",)
    assert listing.classes == ("hop", "jump", "run")
    only = folder.folder_plan(ActivityNetDefinition("mine", "videos", gt, {"val": "validation"}), project)
    assert [video.id for video in only.videos] == ["a", "v_key", "x/same.mp4"]


def test_classes_keep_the_order_of_the_file(project: Path) -> None:
    gt = annotate(project, {"a": entry("training", ("b", 0, 1))}, classes=["c", "b"])
    assert folder.folder_plan(FolderDefinition("mine", "videos", gt), project).classes == ("c", "b")


@pytest.mark.parametrize(
    ("database", "message"),
    [
        ({"a": entry("local")}, r"video 'a': subset is 'local', ours are .*`subsets: \{local: testing\}`"),
        ({"a": {"annotations": []}}, r"video 'a': no field 'subset'"),
        ({"a": {"subset": "training", "annotations": [{"label": "x"}]}}, r"video 'a': no field 'segment'"),
        ({"a": {"subset": "training", "annotations": [{"label": "x", "segment": [1]}]}}, "video 'a'"),
        ({"a": {"subset": "training", "annotations": [{"label": "x", "segment": ["p", 1]}]}}, "video 'a'.*'p'"),
    ],
)
def test_malformed_annotations_are_named(project: Path, database: dict[str, Any], message: str) -> None:
    gt = annotate(project, database)
    with pytest.raises(DefinitionError, match=message) as raised:
        folder.folder_plan(FolderDefinition("mine", "videos", gt), project)
    assert "gt.json" in str(raised.value)


def test_missing_things_are_named(project: Path) -> None:
    with pytest.raises(DefinitionError, match=r"annotations is 'no\.json', but there is no file"):
        folder.folder_plan(FolderDefinition("mine", "videos", "no.json"), project)
    with pytest.raises(DefinitionError, match="source is 'nowhere'"):
        folder.folder_plan(FolderDefinition("mine", "nowhere"), project)
    (project / "bad.json").write_text("{")
    with pytest.raises(DefinitionError, match="not valid JSON"):
        folder.folder_plan(FolderDefinition("mine", "videos", "bad.json"), project)
    (project / "list.json").write_text("[]")
    with pytest.raises(DefinitionError, match="no `database`"):
        folder.folder_plan(FolderDefinition("mine", "videos", "list.json"), project)


def test_videos_are_opened_one_by_one(project: Path) -> None:
    encode_clip(project / "videos" / "a.mp4", count=20, fps=10)
    gt = annotate(project, {"a": entry("training", ("run", 0.5, 1.5))})
    planned = {p.id: p for p in folder.plan(FolderDefinition("mine", "videos", gt), project)}
    video = folder.make("a", planned["a"].inputs, planned["a"].spec, project)
    assert (video.id, video.path, video.subset, video.n_frames) == ("a", "videos/a.mp4", "training", 20)
    assert video.segments == (Segment("run", 0.5, 1.5),)
    with pytest.raises(VideoError, match=r"b\.MKV: not a video"):
        folder.make("b", planned["b"].inputs, planned["b"].spec, project)


def test_the_real_untrimmed_video(root: Path, shared: Path) -> None:
    gt = str(shared / "annotations" / "activitynet" / "untrimmed_local_gt.json")
    definition = ActivityNetDefinition("anet", str(shared / "videos"), gt, {"local": "testing"})
    (planned,) = folder.plan(definition, root)
    video = folder.make(planned.id, planned.inputs, planned.spec, root)
    assert (video.id, video.n_frames, video.width, video.height) == ("anet_v_GGSY1Qvo990", 355, 320, 240)
    assert video.duration_s == pytest.approx(18.16, abs=0.1)
    (segment,) = video.segments
    assert (segment.label, round(segment.t_start, 3), round(segment.t_end, 3)) == ("Clean and jerk", 5.824, 16.199)


def test_all_shared_videos_are_listed(root: Path, shared: Path) -> None:
    listing = folder.folder_plan(FolderDefinition("all", str(shared / "videos")), root)
    assert len(listing.videos) == 180
    assert all(Path(video.path).is_file() for video in listing.videos)
