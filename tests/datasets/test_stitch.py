import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets import stitch
from pipeline.datasets.definition import DefinitionError, StitchDefinition, StitchSubset, load_definition
from pipeline.datasets.readers import Planned
from pipeline.run.kinds import TRUTH
from pipeline.video.decode import VideoError, decode, scan
from tests.video.clips import encode_clip

LEVELS = {"nod": 30, "wave": 130}
SLOPE = 3
GROUPS = ("ann", "bob", "eve")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with six trimmed clips: 12 to 17 frames at 10 fps whose brightness rises by three grey levels a frame."""
    root = tmp_path_factory.mktemp("project")
    (root / "clips").mkdir()
    lines = ["file,label,group,n_frames,fps,family"]
    for g, group in enumerate(GROUPS):
        for k, (label, level) in enumerate(LEVELS.items()):
            count = 12 + 2 * g + k

            def picture(index: int, start: int = level + 15 * g) -> np.ndarray:
                ramp = np.full((48, 64, 3), start + SLOPE * index, dtype=np.uint8)
                ramp[:, :8] = 250  # a mark at the left, to see mirroring
                return ramp

            name = f"{group}_{label}.mp4"
            encode_clip(root / "clips" / name, count=count, fps=10, picture=picture, options={"crf": "5"})
            lines.append(f"{name},{label},{group},{count},10,play")
    lines.append("other.mp4,jump,ann,3,10,else")
    (root / "clips" / "pool.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def definition() -> StitchDefinition:
    subsets = {
        "auxiliary": StitchSubset(("ann", "bob"), 2, (2, 4)),
        "training": StitchSubset(("ann", "bob"), 3, (2, 3)),
        "testing": StitchSubset(("eve",), 2, (2, 2)),
    }
    return StitchDefinition(
        "toy", "clips", "pool.csv", 64, 48, 10.0, subsets, where={"family": "play"}, noise=0.0, crf=10, mirror=False
    )


def made(planned: Planned, folder: Path) -> tuple[stitch.Video, list[float], dict[str, np.ndarray]]:
    video = stitch.make(planned.id, planned.inputs, planned.spec, folder)
    levels = [float(frame.picture[:, 16:48].mean()) for frame in decode(folder / "unit.mp4")]
    return video, levels, TRUTH.read(folder / "unit.truth.h5")


def test_groups_never_cross_subsets_and_clips_are_dealt_evenly(project: Path, definition: StitchDefinition) -> None:
    plans = stitch.plan(definition, project)
    assert [p.id for p in plans if "-testing-" in p.id] == ["toy-testing-0000", "toy-testing-0001"]
    for planned in plans:
        groups = {path.name.split("_")[0] for path in planned.inputs}
        assert groups <= ({"eve"} if "testing" in planned.id else {"ann", "bob"})
    testing = [planned for planned in plans if "-testing-" in planned.id]
    dealt = [planned.inputs[part["input"]].name for planned in testing for part in planned.spec["parts"]]
    assert sorted(dealt) == 2 * ["eve_nod.mp4"] + 2 * ["eve_wave.mp4"]
    assert all(planned.spec["classes"] == ("nod", "wave") for planned in plans)


def test_more_videos_change_no_other(project: Path, definition: StitchDefinition) -> None:
    more = replace(definition, subsets=definition.subsets | {"training": StitchSubset(("ann", "bob"), 5, (2, 3))})
    before = {planned.id: planned for planned in stitch.plan(definition, project)}
    after = {planned.id: planned for planned in stitch.plan(more, project)}
    assert len(after) == len(before) + 2
    assert all(after[id_] == planned for id_, planned in before.items())
    assert stitch.plan(replace(definition, seed=1), project) != stitch.plan(definition, project)


def test_segments_are_exactly_where_the_clips_play(project: Path, definition: StitchDefinition, tmp_path: Path) -> None:
    for planned in stitch.plan(definition, project)[2:5]:
        video, levels, truth = made(planned, tmp_path)
        assert video.n_frames == len(levels) == len(truth["pts"])
        assert video.duration_s == pytest.approx(scan(tmp_path / "unit.mp4").duration_s)
        assert np.allclose(truth["pts"], [frame.pts_s for frame in decode(tmp_path / "unit.mp4")])
        covered = np.zeros(len(levels), dtype=bool)
        for segment, part in zip(video.segments, planned.spec["parts"], strict=True):
            start, end = round(segment.t_start * 10), round(segment.t_end * 10)
            name = planned.inputs[part["input"]].stem
            base = LEVELS[segment.label] + 15 * GROUPS.index(name.split("_")[0])
            assert end - start == 12 + 2 * GROUPS.index(name.split("_")[0]) + ("wave" in name)
            off = np.abs(levels[start:end] - (base + SLOPE * np.arange(end - start))).mean()
            assert off < SLOPE / 2, "not the clip, frame by frame"
            assert truth["labels"][start:end, video_class(planned, segment.label)].all()
            covered[start:end] = True
        assert (truth["labels"].any(axis=1) == covered).all()
        assert (truth["labels"].sum(axis=1) <= 1).all()
        assert 0.2 < covered.mean() < 0.8


def video_class(planned: Planned, label: str) -> int:
    return planned.spec["classes"].index(label)


def test_the_picture_jumps_only_inside_gaps(project: Path, definition: StitchDefinition, tmp_path: Path) -> None:
    seen = 0
    for planned in stitch.plan(definition, project)[2:]:
        video, levels, truth = made(planned, tmp_path)
        shots = np.round(truth["shot_start"] * 10).astype(int)
        assert shots[0] == 0
        jumps = np.flatnonzero(np.abs(np.diff(levels)) > 2 * SLOPE) + 1
        assert set(jumps) <= set(shots), "a jump that is no shot"
        for segment in video.segments:
            border = np.array([segment.t_start, segment.t_end]) * 10
            assert np.abs(shots[1:, None] - border).min(initial=9) >= 2, "a cut at an action's border gives it away"
        seen += len(jumps)
    assert seen


def test_gaps_are_as_long_as_asked(project: Path, definition: StitchDefinition, tmp_path: Path) -> None:
    for planned in stitch.plan(definition, project)[2:]:
        video, _, _ = made(planned, tmp_path)
        edges = [0.0, *(t for s in video.segments for t in (s.t_start, s.t_end)), video.duration_s]
        gaps = np.diff(edges)[::2]
        assert (gaps >= 0.8).all() and (gaps <= 4.2).all()


def test_idle_time_is_held_or_runs_back_a_little() -> None:
    assert stitch._idle(10, 4, 0).tolist() == [9, 9, 9, 9]
    assert stitch._idle(10, 6, 3).tolist() == [8, 7, 6, 6, 6, 6]
    assert stitch._idle(3, 6, 10).tolist() == [1, 0, 0, 0, 0, 0]
    assert stitch._idle(1, 3, 10).tolist() == [0, 0, 0]
    assert stitch._idle(5, 0, 2).tolist() == []


def test_auxiliary_videos_have_no_idle_time(project: Path, definition: StitchDefinition, tmp_path: Path) -> None:
    video, _, truth = made(stitch.plan(definition, project)[0], tmp_path)
    assert video.subset == "auxiliary"
    assert truth["labels"].any(axis=1).all()
    assert [s.t_start for s in video.segments] == pytest.approx(truth["shot_start"])


def test_same_plan_same_bytes(project: Path, definition: StitchDefinition, tmp_path: Path) -> None:
    noisy = replace(definition, noise=3.0)
    planned = stitch.plan(noisy, project)[2]
    files = []
    for name in ("a", "b"):
        stitch.make(planned.id, planned.inputs, planned.spec, tmp_path / name)
        files.append([(tmp_path / name / f).read_bytes() for f in ("unit.mp4", "unit.truth.h5")])
    assert files[0] == files[1]


def test_sensor_noise_is_on_every_frame(project: Path, definition: StitchDefinition, tmp_path: Path) -> None:
    """Held frames differ from each other like any others, so a frozen picture does not give a gap away."""
    planned = stitch.plan(replace(definition, noise=6.0), project)[2]
    video, _, _ = made(planned, tmp_path)
    frames = [frame.picture[:, 16:48].astype(int) for frame in decode(tmp_path / "unit.mp4")]
    spread = np.array([frame.std() for frame in frames])
    assert spread.min() > 2
    assert 0.7 < spread[: round(video.segments[0].t_start * 10)].mean() / spread.mean() < 1.4


def test_mirroring_flips_about_half(project: Path, definition: StitchDefinition, tmp_path: Path) -> None:
    plans = stitch.plan(replace(definition, mirror=True), project)
    flags = [part["mirrored"] for planned in plans for part in planned.spec["parts"]]
    assert 0.2 < np.mean(flags) < 0.8
    planned = next(p for p in plans if p.spec["parts"][0]["mirrored"])
    stitch.make(planned.id, planned.inputs, planned.spec, tmp_path)
    first = next(decode(tmp_path / "unit.mp4")).picture
    assert first[:, -6:].mean() > 200 > first[:, :6].mean()


def test_clips_are_brought_to_the_sets_rate_and_size(
    project: Path, definition: StitchDefinition, tmp_path: Path
) -> None:
    planned = stitch.plan(replace(definition, fps=20.0, width=40, height=40), project)[2]
    video, _, _ = made(planned, tmp_path)
    info = scan(tmp_path / "unit.mp4")
    assert (info.width, info.height, info.fps) == (40, 40, pytest.approx(20))
    first = video.segments[0]
    count = 12 + 2 * GROUPS.index(planned.inputs[planned.spec["parts"][0]["input"]].stem.split("_")[0])
    assert first.t_end - first.t_start == pytest.approx((count + (first.label == "wave")) / 10)


def test_a_broken_clip_is_named(project: Path, definition: StitchDefinition, tmp_path: Path) -> None:
    shutil.copytree(project / "clips", tmp_path / "clips")
    planned = stitch.plan(definition, tmp_path)[2]
    planned.inputs[0].write_bytes(b"")
    with pytest.raises(VideoError, match=rf"{planned.inputs[0].name}: the file is empty"):
        stitch.make(planned.id, planned.inputs, planned.spec, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pool": "pond.csv"}, r"pool is 'pond\.csv', but there is no file"),
        ({"where": {"colour": "red"}}, "no column 'colour'"),
        ({"where": {"family": "work"}}, r"no row has \{'family': 'work'\}"),
        ({"subsets": {"testing": StitchSubset(("zoe",), 1, (1, 1))}}, "'zoe'; groups in the pool: ann, bob, eve"),
    ],
)
def test_a_wrong_definition_is_named(
    project: Path, definition: StitchDefinition, change: dict[str, object], message: str
) -> None:
    with pytest.raises(DefinitionError, match=message):
        stitch.plan(replace(definition, **change), project)


def test_weizmann(root: Path, shared: Path, tmp_path: Path) -> None:
    definition = load_definition(root, "weizmann")
    assert isinstance(definition, StitchDefinition)
    plans = stitch.plan(definition, root)
    actors = {name: set() for name in definition.subsets}
    for planned in plans:
        actors[planned.spec["subset"]] |= {path.stem.split("_")[0] for path in planned.inputs}
    assert actors["training"] == actors["auxiliary"] == {"daria", "denis", "eli", "ido"}
    assert (actors["validation"], actors["testing"]) == ({"ira"}, {"lena", "moshe"})
    assert len(plans[0].spec["classes"]) == 10
    for planned in (plans[0], next(p for p in plans if "-testing-" in p.id)):
        video = stitch.make(planned.id, planned.inputs, planned.spec, tmp_path)
        assert scan(tmp_path / "unit.mp4").n_frames == video.n_frames
        for segment, part in zip(video.segments, planned.spec["parts"], strict=True):
            clip = scan(planned.inputs[part["input"]])
            assert segment.t_end - segment.t_start == pytest.approx(clip.n_frames / 25)
