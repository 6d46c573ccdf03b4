"""A small data set in AVA's format, drawn by the procedural world: what ingest makes of it and what the readers see.

The annotations tell of whole seconds alone, as the world knows them; everything else about the videos stays unsaid.
"""

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from pipeline.datasets.schema import Dataset, Video
from pipeline.datasets.world import CLASSES, PlannedVideo, world_plan, write_video
from pipeline.datasets.world.render import World, render_frames
from pipeline.report.blocks import Sheets
from pipeline.run import kinds
from pipeline.run.files import write_json
from pipeline.run.params import PARAMS_FILE, Section, check_params, read_params
from pipeline.run.progress import StageProgress
from pipeline.run.stage import Context, VideoStage, find_stage, section_models
from stages import _boxes, _detector, _examples, _outputs, _people
from tests.stages.one_stage import run_one

STARTS_S, FPS, SIDE = 900, 4, 72
EMPTY, EXCLUDED = 7, 5
"""Seconds of every video: of the one it is said that nobody is there, the other is listed as excluded."""
NAMES = tuple(f"{name} (alone, or with (e.g., a group))" for name in CLASSES)
IDS = {name: 80 - 3 * i for i, name in enumerate(NAMES)}


class Told(NamedTuple):
    """One video, and what is said of it: the key frames' seconds, and the truth there."""

    plan: PlannedVideo
    world: World
    seconds: list[int]
    frame: np.ndarray
    box: np.ndarray
    track: np.ndarray
    action: np.ndarray


class Project(NamedTuple):
    """A folder in which ingest and frames have run, by video id what was told, and its sections of params.yaml."""

    root: Path
    told: dict[str, Told]
    sections: dict[str, Section]

    def video(self, id_: str) -> Video:
        return next(v for v in Dataset.load(self.root / _outputs.DATASET_FILE) if v.id == id_)


def tell(plan: PlannedVideo, nobody: bool) -> tuple[Told, list[str]]:
    """The annotation rows of a video: of each second but the first two, and one before and one after the file."""
    world = World.of(plan)
    seconds = np.arange(2, int(plan.duration_s))
    truth = world.truth(seconds * plan.fps)
    person = truth.box_class == 0
    rows = [f"{plan.id},{STARTS_S - 1:04d},0.1,0.1,0.5,0.5,{IDS[NAMES[0]]},0"]
    rows += [f"{plan.id},{STARTS_S + 30:04d},0.1,0.1,0.5,0.5,{IDS[NAMES[0]]},0"]
    kept = person & ~np.isin(seconds[truth.box_frame], (EMPTY, EXCLUDED)) & (not nobody)
    for i in np.flatnonzero(person & (seconds[truth.box_frame] != EMPTY) & (not nobody)):
        corners = ",".join(f"{share:.9f}" for share in truth.box[i] / ([plan.width, plan.height] * 2))
        head = f"{plan.id},{STARTS_S + seconds[truth.box_frame[i]]:04d},{corners}"
        done = [str(IDS[NAMES[c]]) for c in np.flatnonzero(truth.box_action[i])]
        rows += [f"{head},{action},{truth.box_track[i]}" for action in done or [""]]
    rows += [f"{plan.id},{STARTS_S + s:04d}" for s in (seconds if nobody else [EMPTY])]
    known = [int(s) for s in seconds if s != EXCLUDED]
    frame = np.searchsorted(known, seconds[truth.box_frame[kept]])
    told = Told(plan, world, known, frame, truth.box[kept], truth.box_track[kept], truth.box_action[kept][:, ::-1])
    return told, rows


def run(root: Path, sections: dict[str, Section], name: str) -> dict[str, Any]:
    return run_one(root, sections, name)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Project:
    folder = tmp_path_factory.mktemp("ava")
    for name in ("pipeline", "stages", "models"):
        (folder / name).symlink_to(root / name)
    (folder / "lists").mkdir()
    told, rows = {}, dict[str, list[str]](training=[], testing=[])
    wanted = {("training", 0), ("training", 1), ("testing", 0)}
    for plan in (p for p in world_plan("tiny", 0) if (p.subset, p.index) in wanted):
        write_video(plan, folder / "clips" / f"{plan.id}.mp4", folder / "apart" / f"{plan.id}.truth.h5")
        told[plan.id], said = tell(plan, nobody=(plan.subset, plan.index) == ("training", 1))
        rows[plan.subset] += said
    for part, subset in (("train", "training"), ("val", "testing")):
        (folder / "lists" / f"ava_{part}_v2.2.csv").write_text("\n".join(rows[subset]) + "\n")
        excluded = [f"{id_},{STARTS_S + EXCLUDED:04d}\n" for id_, one in told.items() if one.plan.subset == subset]
        (folder / "lists" / f"ava_{part}_excluded_timestamps_v2.2.csv").write_text("".join(excluded))
    labels = [f'label {{\n  name: "{name}"\n  label_id: {number}\n}}\n' for name, number in IDS.items()]
    (folder / "lists" / "ava_action_list_v2.2.pbtxt").write_text("".join(labels))
    (folder / "data" / "datasets").mkdir(parents=True)
    (folder / "data" / "datasets" / "small_ava.yaml").write_text(
        f"kind: annotated\nsource: clips\nformat: ava\nannotations: lists\nstarts_s: {STARTS_S}\n"
        "subsets: {validation: testing}\n"
    )
    raw = read_params(root / PARAMS_FILE)
    raw["run"] |= {"executor": "inline", "tracking": False}
    raw["ingest"]["dataset"] = "small_ava"
    raw["frames"] |= {"fps": FPS, "short_side": SIDE}
    sections = check_params(raw, section_models(), PARAMS_FILE)
    for name in ("ingest", "frames"):
        assert run(folder, sections, name)["videos"] == 3
    return Project(folder, told, sections)


def test_ingest_writes_what_is_known_and_nothing_else(project: Project) -> None:
    dataset = Dataset.load(project.root / _outputs.DATASET_FILE)
    assert dataset.classes == NAMES[::-1], "in the order of their numbers"
    assert {video.id: video.subset for video in dataset} == {i: one.plan.subset for i, one in project.told.items()}
    acted = 0
    for video in dataset:
        told = project.told[video.id]
        times = np.arange(0, video.duration_s, 1 / FPS)
        true = _boxes.read_true_boxes(_outputs.truth(project.root, video), times)
        assert true is not None and true.action is not None
        assert times[true.known].tolist() == told.seconds
        np.testing.assert_array_equal(times[true.picture], np.array(told.seconds)[told.frame])
        np.testing.assert_allclose(true.box, told.box, atol=1e-3)
        np.testing.assert_array_equal(true.action, told.action.astype(bool))
        assert (true.classes, true.actions) == (("person",), dataset.classes)
        same = true.track[:, None] == true.track
        np.testing.assert_array_equal(same, told.track[:, None] == told.track)
        assert EMPTY in told.seconds and not (times[true.picture] == EMPTY).any()
        # The segments say the same of the seconds as the boxes.
        for row, second in enumerate(told.seconds):
            running = {s.label for s in video.segments if s.t_start < second < s.t_end}
            done = told.action[told.frame == row].any(0)
            assert running == {dataset.classes[c] for c in np.flatnonzero(done)}
            acted += len(running)
        assert all(s.t_start >= 0 and s.label in dataset.classes for s in video.segments)
    assert acted > 15


def test_a_detector_learns_from_pictures_that_are_known(project: Project) -> None:
    learn = _examples.of_set(project.root, "training")
    assert learn is not None and learn.classes == ("person",)
    row = 0
    for told in (one for one in project.told.values() if one.plan.subset == "training"):
        frames = np.array(told.seconds) * told.plan.fps
        width = round(told.plan.width * SIDE / told.plan.height)
        for number, drawn in enumerate(render_frames(told.world, frames)):
            drawn = cv2.resize(drawn, (width, SIDE), interpolation=cv2.INTER_AREA)
            mine = told.box[told.frame == number] * (SIDE / told.plan.height)
            assert np.abs(learn.picture(row).astype(int) - drawn).mean() < 10
            np.testing.assert_allclose(learn.boxes[row], mine, atol=1e-3)
            row += 1
    assert row == len(learn.boxes) == len(learn.labels)
    assert sum(map(len, learn.boxes)) > 20 and sum(not len(boxes) for boxes in learn.boxes) > 10


def found_by_all_but_between(project: Project, told: Told, wrong_at: str) -> dict[str, np.ndarray]:
    """What a tracker finds that is always right, but for a strange box at pictures that are ``known`` or ``unknown``."""
    pts = np.arange(0, int(told.plan.duration_s), 1 / FPS)
    truth = told.world.truth(np.rint(pts * told.plan.fps).astype(int))
    person = np.flatnonzero(truth.box_class == 0)
    known = np.isin(pts, told.seconds)
    strange = np.flatnonzero(known if wrong_at == "known" else ~known)
    # The key frame of which it is said that nobody is there would make even the right boxes wrong.
    person = person[pts[truth.box_frame[person]] != EMPTY]
    picture = np.concatenate([truth.box_frame[person], strange])
    order = np.argsort(picture, kind="stable")
    columns = {
        "box": (truth.box[person], np.tile(np.float32([1, 1, 12, 12]), (len(strange), 1))),
        "score": (np.full(len(person), 0.8, np.float32), np.full(len(strange), 0.9, np.float32)),
        "track": (truth.box_track[person], np.full(len(strange), 99, np.int32)),
    }
    rows = {name: np.concatenate(parts)[order] for name, parts in columns.items()}
    picture = picture[order].astype(np.int32)
    return {"pts": pts, "picture": picture, "t": pts[picture], "label": np.zeros(len(picture), np.int16), **rows}


@pytest.mark.parametrize("wrong_at", ["unknown", "known"])
def test_what_is_found_between_key_frames_is_neither_right_nor_wrong(
    project: Project, tmp_path: Path, wrong_at: str
) -> None:
    root, (id_,) = project.root, [i for i, one in project.told.items() if one.plan.subset == "testing"]
    video = project.video(id_)
    found = found_by_all_but_between(project, project.told[id_], wrong_at)
    attributes = {
        "classes": "ball,person",
        "width": video.width,
        "height": video.height,
        "duration_s": video.duration_s,
    }
    found["label"] += 1
    spec = _detector.DetectorSpec(
        network=_detector.Network(name="fcos_resnet18_fpn"), classes=("ball", "person"), own_boxes=True
    )
    write_json(root / _outputs.DETECTOR / _detector.SPEC_FILE, spec.model_dump(mode="json"))
    detections = {name: values for name, values in found.items() if name != "track"}
    kinds.DETECTIONS.write(root / _outputs.DETECTIONS / f"{video.file_stem}.h5", detections, attributes)
    kinds.TRACKS.write(root / _outputs.TRACKS / f"{video.file_stem}.h5", found, attributes)

    def finish(name: str, out: str) -> Any:
        stage = find_stage(name)
        assert isinstance(stage, VideoStage) and stage.finish is not None
        context = Context(
            root, project.sections[name], "", {}, StageProgress(name, tmp_path / "s.json"), lambda *_: None
        )
        return stage.finish(context, root / out, {id_: {"pictures": 1, "boxes": 1, "tracks": 1}})

    detect, track = finish("detect", _outputs.DETECTIONS), finish("track", _outputs.TRACKS)
    perfect = [detect["AP50_person"], detect["coco/AP"], track["IDF1"], track["IDF1_1Hz"], track["MOTA"], track["HOTA"]]
    if wrong_at == "unknown":
        assert perfect == pytest.approx([1.0] * 6), "the truth ends no tube at a cut that it does not know"
        assert track["switches"] == 0
    else:
        assert max(perfect) < 0.95

    for section in (_people.detections(root, [video], [], {}, 0.5), _people.tracks(root, [video], [])):
        (sheet,) = next(block for block in section.blocks if isinstance(block, Sheets)).sheets
        above, below = sheet.rows
        assert len(above.pictures) == len(below.pictures) >= 5
        seconds = [float(picture.caption.removesuffix(" s")) for picture in below.pictures]
        assert set(seconds) <= set(project.told[id_].seconds), "beside a truth stands what is known"
