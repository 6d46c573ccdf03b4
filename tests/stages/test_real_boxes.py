"""AP on real boxes: published detections against MOT15's truth, and our detector learned on one real clip, tried on another.

No pretrained weights are to be had here, so the detector sees 240 pictures of one juggler and is scored on another one,
elsewhere, whom it never saw.
"""

import csv
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets.schema import Dataset, Video
from pipeline.evaluation.coco import coco_ap
from pipeline.evaluation.detection import BoxTable, average_precision, match
from pipeline.run import kinds
from pipeline.run.files import read_json
from pipeline.run.params import PARAMS_FILE, check_params, read_params
from pipeline.run.progress import StageProgress
from pipeline.run.runner import run_stage
from pipeline.run.stage import find_stage, section_models
from stages import _outputs

CLIP = "ucf_SoccerJuggling_{}_c01"
FPS, FRAMES = 25.0, {"g23": 240, "g24": 251}


def mot(path: Path, scores: bool) -> BoxTable:
    rows = np.loadtxt(path, delimiter=",")
    corners = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1)
    none = np.zeros(len(rows), np.int64)
    return BoxTable.of(rows[:, 0].astype(np.int64), none, corners, rows[:, 6] if scores else np.ones(len(rows)))


@pytest.mark.parametrize("sequence", ["TUD-Campus", "TUD-Stadtmitte"])
def test_published_detections_of_real_streets(shared: Path, sequence: str) -> None:
    folder = shared / "annotations" / "mot"
    true, found = mot(folder / f"{sequence}_gt.txt", False), mot(folder / f"{sequence}_det.txt", True)
    figures = coco_ap([true], [found], ["person"])
    assert 0.6 < figures["AP50"] < 0.95 and 0.2 < figures["AP"] < figures["AP50"]
    # COCO's takes the precision at 101 recalls, ours at every one.
    assert float(average_precision(match([true], [found], 0))[0]) == pytest.approx(figures["AP50"], abs=0.02)
    worse = BoxTable.of(found.picture, found.label, found.box + 12.0, found.score)
    assert coco_ap([true], [worse], ["person"])["AP"] < figures["AP"] - 0.05
    shuffled = BoxTable.of(found.picture, found.label, found.box, np.random.default_rng(0).permutation(found.score))
    assert coco_ap([true], [shuffled], ["person"])["AP50"] < figures["AP50"]


@pytest.mark.slow
def test_a_detector_learned_on_one_real_clip_finds_the_person_of_another(
    shared: Path, tmp_path: Path, root: Path
) -> None:
    for name in ("pipeline", "stages", "models"):
        (tmp_path / name).symlink_to(root / name)
    boxes: dict[str, list[tuple[int, float, float, float, float]]] = {"g23": [], "g24": []}
    with (shared / "annotations" / "ucf101_24_boxes_SoccerJuggling.csv").open() as file:
        for row in csv.DictReader(file):
            x, y, w, h = (float(row[name]) for name in "xywh")
            boxes[row["video"].split("_")[2]].append((int(row["frame0"]), x, y, x + w, y + h))
    videos = []
    # Weights are not chosen on the tested clip; what they are chosen on is the learned one, and means nothing.
    for id_, group, subset in (
        ("learned", "g23", "training"),
        ("held", "g23", "validation"),
        ("new", "g24", "testing"),
    ):
        source = shared / "videos" / "actions" / f"{CLIP.format(group)}.avi"
        (tmp_path / _outputs.VIDEOS).mkdir(parents=True, exist_ok=True)
        (tmp_path / _outputs.VIDEOS / f"{id_}.avi").symlink_to(source)
        count, rows = FRAMES[group], np.array(boxes[group])
        assert len(rows) == count
        kinds.TRUTH.write(
            tmp_path / _outputs.VIDEOS / f"{id_}.truth.h5",
            {
                "pts": np.arange(count) / FPS,
                "labels": np.zeros((count, 1), np.uint8),
                "box_frame": rows[:, 0].astype(np.int32),
                "box": rows[:, 1:].astype(np.float32),
                "box_class": np.zeros(count, np.int16),
                "box_track": np.zeros(count, np.int32),
                "shot_start": np.zeros(1),
            },
            {"box_classes": "person", "label_classes": "juggle"},
        )
        path = f"{_outputs.VIDEOS}/{id_}.avi"
        videos.append(Video(id_, path, subset, count / FPS, FPS, count, 320, 240, ()))
    Dataset("juggling", ("juggle",), tuple(videos)).save(tmp_path / _outputs.DATASET_FILE)
    raw = read_params(root / PARAMS_FILE)
    raw["run"] |= {"executor": "inline", "tracking": False}
    raw["frames"] |= {"fps": 12, "short_side": 72}
    raw["detector"] |= {
        "network": {
            "name": "fcos_resnet18_fpn", "short_side": 72, "base_width": 16, "first_level": 2, "last_level": 4,
            "channels": 32, "head_convs": 1,
        },
        "training": {
            "steps": 120, "batch": 8, "optimizer": "adamw", "lr": 0.003, "schedule": "one_cycle", "clip_norm": 10.0,
            "validate_every": 0, "threads": 1,
        },
        "validation_pictures": 20,
    }  # fmt: skip
    raw["detect"] |= {"min_score": 0.05}
    sections = check_params(raw, section_models(), PARAMS_FILE)
    for name in ("frames", "detector", "detect"):
        with StageProgress(name, tmp_path / "status.json") as progress:
            run_stage(find_stage(name), "", sections, tmp_path, progress)
    metrics = read_json(tmp_path / _outputs.METRICS / "detect.json")["metrics"]
    assert metrics["coco/AP50"] > 0.8 and metrics["coco/AP"] > 0.15
    # It is seen, not remembered: the place of the learned person finds nobody.
    learned, new = (np.array(boxes[group])[:, 1:] for group in ("g23", "g24"))
    pictures, none = np.arange(len(new)), np.zeros(len(new), np.int64)
    usual = BoxTable.of(pictures, none, np.tile(np.median(learned, axis=0), (len(new), 1)), np.ones(len(new)))
    assert coco_ap([BoxTable.of(pictures, none, new)], [usual], ["person"])["AP50"] < metrics["coco/AP50"] - 0.3
