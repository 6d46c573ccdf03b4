from pathlib import Path

import pytest

from pipeline.datasets.definition import (
    DefinitionError,
    FolderDefinition,
    StitchDefinition,
    WorldDefinition,
    definition_names,
    load_definition,
    resolve_source,
)

STITCH = """
kind: stitch
source: clips
pool: pool.csv
width: 64
height: 48
fps: 25
subsets:
  training: {groups: [a, b], videos: 2, clips: [1, 3]}
  testing: {groups: [c], videos: 1, clips: [2, 2]}
"""


def load(tmp_path: Path, text: str) -> object:
    folder = tmp_path / "data" / "datasets"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.yaml").write_text(text)
    return load_definition(tmp_path, "mine")


def test_every_definition_of_the_project_parses(root: Path) -> None:
    names = definition_names(root)
    assert {"world", "tiny", "weizmann"} <= set(names)
    for name in names:
        assert load_definition(root, name).name == name


def test_fields_get_their_types(tmp_path: Path) -> None:
    definition = load(tmp_path, STITCH)
    assert isinstance(definition, StitchDefinition)
    assert definition.fps == 25.0 and isinstance(definition.fps, float)
    assert definition.subsets["training"].groups == ("a", "b")
    assert definition.subsets["testing"].clips == (2, 2)
    world = load(tmp_path, "kind: world\nsize: tiny\n")
    assert world == WorldDefinition("mine", "tiny", 0, 0.5, 0)
    assert load(tmp_path, "{kind: folder, source: x, annotations: null}") == FolderDefinition("mine", "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: word\nsize: tiny", r"kind is 'word'; it must be one of world, stitch, folder, activitynet"),
        ("size: tiny", "kind is None"),
        ("kind: world\nsize: huge", r"size is 'huge'; it must be one of 'tiny', 'small', 'medium'"),
        ("kind: world\nsize: tiny\nsede: 3", r"sede is not a field; there are name, size, seed"),
        ("kind: world", "size is missing"),
        (
            "{kind: annotated, source: x, format: ava, annotations: y, starts_s: -1}",
            r"starts_s is -1\.0; it must be a number from 0",
        ),
        ("{kind: world, size: tiny, videos: {train: 3}}", r"videos is 'train'; it must be of auxiliary, training"),
        ("{kind: world, size: tiny, videos: {testing: -1}}", r"videos.testing is -1; it must be a whole number from 0"),
        ("kind: world\nsize: tiny\nseed: 1.5", r"seed is 1.5; it must be a whole number"),
        ("kind: world\nsize: tiny\nseed: true", r"seed is True; it must be a whole number"),
        ("kind: world\nsize: tiny\ndifficulty: 2", r"difficulty is 2.0; it must be a number from 0 to 1"),
        ("kind: folder\nsource: [a]", r"source is \['a'\]; it must be text"),
        ("kind: folder\nsource: a\nsubsets: {val: valid}", r"subsets.val is 'valid'; it must be one of auxiliary"),
        (STITCH.replace("videos: 2", "vidoes: 2"), r"subsets.training.vidoes is not a field"),
        (STITCH.replace("[1, 3]", "[3, 1]"), r"subsets.training.clips is \(3, 1\); it must be \[least, most\]"),
        (STITCH.replace("[1, 3]", "[1, x]"), r"subsets.training.clips\[1\] is 'x'; it must be a whole number"),
        (STITCH.replace("[c]", "[b]"), r"subsets.testing.groups is 'b'; it must be not in training too"),
        (STITCH.replace("width: 64", "width: 63"), r"width is 63; it must be even"),
        (STITCH.replace("testing:", "test:"), r"subsets is 'test'; it must be one of auxiliary"),
        ("just text", "it holds 'just text'"),
        ("kind: [", "not valid YAML"),
    ],
)
def test_wrong_definitions_name_file_field_and_value(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message) as raised:
        load(tmp_path, text)
    assert "mine.yaml" in str(raised.value)


def test_auxiliary_may_share_groups_with_training_only(tmp_path: Path) -> None:
    load(tmp_path, STITCH + "  auxiliary: {groups: [a, b], videos: 1, clips: [1, 1]}\n")
    with pytest.raises(DefinitionError, match="kept apart"):
        load(tmp_path, STITCH + "  auxiliary: {groups: [c], videos: 1, clips: [1, 1]}\n")


def test_an_unknown_name_lists_the_known(root: Path) -> None:
    with pytest.raises(DefinitionError, match=r"nothing\.yaml: there is no such data set; there are .*weizmann"):
        load_definition(root, "nothing")


def test_the_source_is_the_link_or_the_field(tmp_path: Path) -> None:
    definition = FolderDefinition("mine", "videos")
    with pytest.raises(
        DefinitionError, match=r"mine\.yaml: source is 'videos', but there is no folder .*data/raw/mine"
    ):
        resolve_source(definition, tmp_path)
    (tmp_path / "videos").mkdir()
    assert resolve_source(definition, tmp_path) == tmp_path / "videos"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data" / "raw").mkdir(parents=True)
    (tmp_path / "data" / "raw" / "mine").symlink_to(tmp_path / "elsewhere")
    assert resolve_source(definition, tmp_path) == tmp_path / "data" / "raw" / "mine"


def test_numbers_of_the_worlds_videos(tmp_path: Path) -> None:
    from pipeline.datasets.world import world_plan

    world = load(tmp_path, "{kind: world, size: tiny, videos: {auxiliary: 0, testing: 6}}")
    assert isinstance(world, WorldDefinition)
    usual = {video.id: video for video in world_plan("tiny", 0)}
    found = {video.id: video for video in world_plan("tiny", 0, videos=world.videos)}
    counted = [
        sum(video.subset == subset for video in found.values()) for subset in ("auxiliary", "training", "testing")
    ]
    assert counted == [0, 6, 6] and len(usual) == 17
    assert all(found[id_] == usual[id_] for id_ in found.keys() & usual.keys()), "more videos change no other"
    with pytest.raises(ValueError, match="world videos names 'train'"):
        world_plan("tiny", 0, videos={"train": 1})
