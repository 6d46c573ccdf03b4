"""The procedural world: plans, scripts, pictures, files and truths agree with each other."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pipeline.datasets.schema import SUBSETS
from pipeline.datasets.world import (
    BOX_CLASSES,
    CLASSES,
    SIZES,
    VIDEO_LABELS,
    PlannedVideo,
    render_arrays,
    render_video,
    world_plan,
    write_video,
)
from pipeline.datasets.world.__main__ import main
from pipeline.datasets.world.plan import MEMORY_GAP_S, PEOPLE, PLACES
from pipeline.datasets.world.render import World, render_frames
from pipeline.run.kinds import TRUTH


@pytest.fixture(scope="module")
def tiny() -> list[PlannedVideo]:
    return world_plan("tiny", seed=0)


@pytest.fixture(scope="module")
def small_worlds() -> list[World]:
    return [World.of(plan) for plan in world_plan("small", seed=0)]


def test_plan_lists_every_size_and_a_video_depends_on_its_index_alone() -> None:
    for name, size in SIZES.items():
        plan = world_plan(name, seed=3)
        assert Counter(p.subset for p in plan) == {s: row.videos for s, row in size.subsets.items()}
        assert {p.id for p in plan} == {f"world-{p.subset}-{p.index:04d}" for p in plan}
        assert tuple(size.subsets) == SUBSETS
        assert all(15 <= p.duration_s <= 60 for p in plan)
    few, more = world_plan("tiny", seed=3), world_plan("tiny", seed=3, extra=5)
    assert len(more) == len(few) + 5
    assert set(few) < set(more)
    assert not set(few) & set(world_plan("tiny", seed=4))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": "huge", "seed": 0}, ["huge", "tiny", "medium"]),
        ({"size": "tiny", "seed": -1}, ["seed", "-1"]),
        ({"size": "tiny", "seed": 0, "difficulty": 1.5}, ["difficulty", "1.5", "0", "1"]),
        ({"size": "tiny", "seed": 0, "extra": -2}, ["extra", "-2"]),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, words: list[str]) -> None:
    with pytest.raises(ValueError) as error:
        world_plan(**arguments)
    assert all(word in str(error.value) for word in words)


def test_every_subset_of_the_demo_has_every_class_in_balance(small_worlds: list[World]) -> None:
    counts = {s: Counter() for s in SUBSETS}
    for world in small_worlds:
        counts[world.plan.subset].update(e.label for e in world.script.events if e.label)
    for subset, least in (("auxiliary", 7), ("training", 18), ("validation", 2), ("testing", 12)):
        assert set(counts[subset]) == set(CLASSES)
        assert min(counts[subset].values()) >= least, (subset, counts[subset])
        solo = [counts[subset][label] for label in CLASSES if label != "hide"]
        assert subset == "validation" or max(solo) <= 2.6 * min(solo)
    testing = [w for w in small_worlds if w.plan.subset == "testing"]
    assert 4 <= np.mean([len([e for e in w.script.events if e.label]) for w in testing]) <= 10
    for label, values in VIDEO_LABELS.items():
        assert {w.truth(np.array([0])).video_labels[label] for w in testing} == set(values)


def test_scripts_keep_their_promises(small_worlds: list[World]) -> None:
    overlaps = 0
    for world in small_worlds:
        plan, events = world.plan, [e for e in world.script.events if e.label]
        busy = np.zeros((plan.people, plan.n_frames), int)
        for event in world.script.events:
            assert 0 <= event.start < event.stop <= plan.n_frames
            busy[list(event.who), event.start : event.stop] += 1
        assert busy.max() == 1, "nobody does two things at once"
        overlaps += int((busy.sum(0) > 1).any() and not plan.dense)
        assert all(1.5 <= (e.stop - e.start) / plan.fps <= 6 for e in events)
        hides = [e for e in events if e.action == "hide"]
        reaches = [e for e in events if e.action == "reach"]
        assert len(hides) == 1 and reaches
        for reach in reaches:
            assert reach.start - hides[0].stop >= MEMORY_GAP_S * plan.fps
            assert reach.label == f"reach_for_{world.script.items[hides[0].item].kind}"
        for shot, after in zip(world.script.shots, world.script.shots[1:], strict=False):
            assert after.start - shot.start >= 1.5 * plan.fps
            if shot.cutaway:
                assert not busy[:, shot.start : after.start].any(), "people act while they are not in the picture"
        for item, seen in zip(world.tracks.items, world.tracks.seen, strict=True):
            assert np.isfinite(item[seen]).all()
    # The auxiliary subset is for classification: mostly one person after the other.
    assert overlaps > sum(not w.plan.dense for w in small_worlds) / 2
    assert {w.plan.place for w in small_worlds} == set(PLACES)
    assert {PEOPLE[w.plan.people - 1] for w in small_worlds} == set(PEOPLE)


def test_things_do_not_jump(small_worlds: list[World]) -> None:
    """Picking up, handing over and putting down are smooth: a thing moves less than 0.12 picture heights a frame."""
    for world in small_worlds[::7]:
        for path, seen in zip(world.tracks.items, world.tracks.seen, strict=True):
            step = np.linalg.norm(np.diff(path, axis=0), axis=1)[seen[1:] & seen[:-1]]
            assert not len(step) or step.max() < 0.12
        assert np.abs(np.diff(world.tracks.joints, axis=1)).max() < 0.25


def test_files_are_real_h264_and_equal_for_equal_plans(tiny: list[PlannedVideo], tmp_path: Path) -> None:
    plan = tiny[5]
    first = write_video(plan, tmp_path / "a.mp4", tmp_path / "a.h5")
    write_video(plan, tmp_path / "b" / "other.mp4", tmp_path / "b" / "other.h5")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b" / "other.mp4").read_bytes()
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b" / "other.h5").read_bytes()
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.codec.name == "h264"
        frames = list(container.decode(stream))
        times = [float(f.pts * stream.time_base) for f in frames]
        pictures = np.stack([f.to_ndarray(format="rgb24") for f in frames])
        assert len({f.pict_type for f in frames}) > 1, "not only key frames"
    assert pictures.shape == (plan.n_frames, plan.height, plan.width, 3)
    assert (first.n_frames, first.width, first.height, first.fps) == (plan.n_frames, plan.width, plan.height, plan.fps)
    np.testing.assert_allclose(times, np.arange(plan.n_frames) / plan.fps, atol=1e-6)
    drawn, truth = render_arrays(plan)
    assert np.abs(pictures.astype(int) - drawn).mean() < 8, "the file shows what was rendered"
    stored = TRUTH.read(tmp_path / "a.h5")
    np.testing.assert_array_equal(stored["labels"], truth.labels)
    np.testing.assert_array_equal(stored["box_action"], truth.box_action)
    np.testing.assert_allclose(stored["pts"], times, atol=1e-6)
    assert first.segments == truth.segments and first.path == str(tmp_path / "a.mp4")
    with TRUTH.open(tmp_path / "a.h5") as reader:
        assert reader.attributes["box_classes"].split(",") == list(BOX_CLASSES)


def test_another_seed_or_index_gives_another_video(tiny: list[PlannedVideo]) -> None:
    one, other = (World.of(p) for p in (tiny[5], world_plan("tiny", seed=1)[5]))
    assert one.script.events != other.script.events
    assert World.of(tiny[5]).script.events == one.script.events != World.of(tiny[6]).script.events


def test_segments_and_frame_labels_are_the_same(tiny: list[PlannedVideo]) -> None:
    for plan in tiny:
        truth = World.of(plan).truth()
        labels = np.zeros_like(truth.labels)
        for segment in truth.segments:
            inside = (truth.pts >= segment.t_start - 1e-9) & (truth.pts < segment.t_end - 1e-9)
            labels[inside, CLASSES.index(segment.label)] = 1
        np.testing.assert_array_equal(labels, truth.labels)
        assert truth.labels.shape == (plan.n_frames, len(CLASSES))


def test_boxes_are_where_the_figures_are(tiny: list[PlannedVideo]) -> None:
    for plan in tiny[::3]:
        world = World.of(plan)
        frames = np.arange(10, plan.n_frames, 37)
        truth = world.truth(frames)
        assert (truth.box >= 0).all() and (truth.box <= [plan.width, plan.height] * 2).all()
        assert (truth.box[:, 2:] > truth.box[:, :2]).all()
        pairs = list(zip(truth.box_frame.tolist(), truth.box_track.tolist(), strict=True))
        assert len(pairs) == len(set(pairs)), "a track is in a frame once"
        with_people, without = (
            np.stack(list(render_frames(world, frames, people=people))).astype(int) for people in (True, False)
        )
        changed = np.abs(with_people - without).max(-1) > 16
        covered = np.zeros(changed.shape, bool)
        for f, box, kind in zip(truth.box_frame, truth.box, truth.box_class, strict=True):
            x1, y1, x2, y2 = np.rint(box).astype(int)
            inside = changed[f, y1:y2, x1:x2]
            assert inside.mean() > (0.25 if kind == 0 else 0.4)
            if kind == 0:  # tight: the figure comes near to each side
                rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
                slack = 3 + 0.06 * (y2 - y1)
                assert rows[0] <= slack and columns[0] <= slack
                assert columns[-1] >= x2 - x1 - 1 - slack and rows[-1] >= y2 - y1 - 1 - slack
            covered[f, max(0, y1 - 3) : y2 + 4, max(0, x1 - 3) : x2 + 4] = True
        # Beyond the boxes there are shadows only.
        assert (changed & ~covered).sum() < 0.06 * changed.sum()


def test_actions_are_those_of_the_boxes_actors(tiny: list[PlannedVideo]) -> None:
    pairs = checked = 0
    for plan in tiny:
        world = World.of(plan)
        frames = np.arange(3, plan.n_frames, 7)
        truth = world.truth(frames, height=48)
        assert truth.box_action.shape == (len(truth.box), len(CLASSES)) and truth.box_action.dtype == np.uint8
        # Passers-by are told by where they are, not by the numbers of their tracks: they show in cutaways alone.
        assert not truth.box_action[truth.box_class > 0].any(), "things do nothing"
        cutaway = np.zeros(plan.n_frames, bool)
        for shot, after in zip(world.script.shots, [*world.script.shots[1:], None], strict=True):
            cutaway[shot.start : after.start if after else None] = shot.cutaway
        assert not truth.box_action[cutaway[frames[truth.box_frame]]].any(), "nor do passers-by"
        for row, frame in enumerate(frames):
            here = truth.box_frame == row
            done = truth.box_action[here]
            assert done.sum(1).max(initial=0) <= 1, "nobody does two things at once"
            visible = set(truth.box_track[here & (truth.box_class == 0)].tolist())
            running = [e for e in world.script.events if e.label and e.start <= frame < e.stop]
            actors = [{world.script.people[who].track for who in event.who} for event in running]
            assert done.sum() == sum(len(tracks & visible) for tracks in actors), "of those who are seen"
            if all(tracks <= visible for tracks in actors):
                np.testing.assert_array_equal(done.any(0), truth.labels[row])
                checked += len(actors)
            for event, tracks in zip(running, actors, strict=True):
                if event.label in ("hand_over", "shake_hands") and tracks <= visible:
                    of_it = here & (truth.box_action[:, CLASSES.index(event.label)] == 1)
                    assert set(truth.box_track[of_it].tolist()) == tracks and of_it.sum() == 2
                    pairs += 1
        whole = world.truth()
        wanted = np.isin(whole.box_frame, frames)
        np.testing.assert_array_equal(whole.box_action[wanted], truth.box_action), "whatever the frames and the height"
    assert pairs > 20 and checked > 300


def test_a_track_is_one_person_or_thing_over_all_shots(tiny: list[PlannedVideo]) -> None:
    for plan in tiny[:8]:
        truth = World.of(plan).truth()
        for track in np.unique(truth.box_track):
            assert len(np.unique(truth.box_class[truth.box_track == track])) == 1
        assert len(np.unique(truth.box_track[truth.box_class == 0])) >= plan.people


def test_things_are_large_enough_to_be_found(small_worlds: list[World]) -> None:
    for world in small_worlds[::11]:
        truth = world.truth(np.array([0, 50]))
        sides = truth.box[:, 2:] - truth.box[:, :2]
        inner = (truth.box[:, 0] > 0) & (truth.box[:, 2] < world.plan.width)
        assert sides[inner].min() >= 10
        assert (sides[truth.box_class == 0, 1] > 0.3 * world.plan.height).all()


def test_shots_are_where_the_picture_changes_at_once(tiny: list[PlannedVideo]) -> None:
    shots = 0
    for plan in tiny:
        world = World.of(plan)
        pictures = np.stack([cv2.resize(p, (16, 12), interpolation=cv2.INTER_AREA)
                             for p in render_frames(world, np.arange(plan.n_frames), 48)]).astype(float)  # fmt: skip
        change = np.abs(np.diff(pictures, axis=0)).mean((1, 2, 3))
        cuts = np.rint(world.truth().shot_start[1:] * plan.fps).astype(int) - 1
        rest = np.delete(change, cuts)
        assert change[cuts].min() > 1.2 * rest.max(), plan.id
        shots += len(cuts)
    assert shots >= len(tiny)


def test_arrays_at_any_rate_and_size(tiny: list[PlannedVideo]) -> None:
    plan = tiny[0]
    pictures, truth = render_arrays(plan, fps=5, short_side=48)
    assert pictures.shape == (len(truth.pts), 48, 64, 3) and pictures.dtype == np.uint8
    np.testing.assert_allclose(np.diff(truth.pts), 0.2)
    assert truth.box[:, 2].max() <= 64 and truth.labels.shape == (len(truth.pts), len(CLASSES))
    lazily, _ = render_video(plan)
    np.testing.assert_array_equal(next(lazily), next(render_frames(World.of(plan), np.array([0]))))
    with pytest.raises(ValueError, match="fps"):
        render_arrays(plan, fps=60)


def test_difficulty_moves_the_background_and_adds_noise() -> None:
    def unrest(difficulty: float) -> float:
        plan = world_plan("tiny", seed=2, difficulty=difficulty)[6]
        world = World.of(plan)
        first = world.script.shots[1].start if len(world.script.shots) > 1 else plan.n_frames
        pictures = np.stack(list(render_frames(world, np.arange(0, first, 5), people=False))).astype(float)
        return float(np.abs(np.diff(pictures, axis=0)).mean())

    easy, moderate, hard = unrest(0.0), unrest(0.5), unrest(1.0)
    assert easy < 0.5 < moderate < hard


def test_it_renders_on_a_machine_without_pyav_and_pydantic(root: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('av', 'pydantic', 'mlflow', 'scipy', 'torch'): sys.modules[name] = None\n"
        "from pipeline.datasets.world import world_plan, render_arrays\n"
        "assert render_arrays(world_plan('tiny', 0)[0], fps=1, short_side=32)[0].any()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_contact_sheet_and_clip_can_be_made(tmp_path: Path) -> None:
    sheet, clip = tmp_path / "sheet.png", tmp_path / "clip.mp4"
    main(["--size", "tiny", "--contact-sheet", str(sheet), "--clip", str(clip), "--seconds", "1", "--height", "64",
          "--boxes"])  # fmt: skip
    picture = cv2.imread(str(sheet))
    assert picture is not None and picture.shape[0] >= 64 * len(CLASSES) // 2
    with av.open(str(clip)) as container:
        assert len(list(container.decode(video=0))) == 20
    with pytest.raises(ValueError, match="world-testing-9999"):
        main(["--size", "tiny", "--clip", str(clip), "--video", "world-testing-9999"])
