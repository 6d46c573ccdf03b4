"""The stage recognise, run for real on streams whose motion alone tells the class."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.datasets.schema import Dataset, Segment, Video
from pipeline.run.files import read_json
from pipeline.run.params import PARAMS_FILE, ParameterError, check_params, read_params
from pipeline.run.stage import section_models
from stages import _outputs, _recognition
from tests.datasets.coded import write_stream
from tests.stages.one_stage import run_one

CLASSES = ("left", "right")
NETWORK = {
    "base_width": 8,
    "training": {"steps": 24, "batch": 8, "optimizer": "adamw", "lr": 0.01, "schedule": "one_cycle", "threads": 1},
}
SECTION: dict[str, Any] = {
    "clips": {"size": 32, "segments": 2, "test_segments": 3, "test_crops": 1, "flip": False},
    "streams": ["i", "mv", "residual"],
    "networks": {"i": NETWORK, "mv": NETWORK, "residual": NETWORK},
    "resamples": 200,
}


def make(folder: Path, root: Path) -> None:
    """12 training and 10 test videos of two actions each: what is seen moves to one side, then to the other."""
    for name in ("pipeline", "stages", "models"):
        (folder / name).symlink_to(root / name)
    videos = []
    rng = np.random.default_rng(0)
    for subset, count in (("training", 12), ("testing", 10)):
        for number in range(count):
            id_, order = f"{subset}-{number}", rng.permutation(2)
            side = np.repeat(np.where(order == 1, 6, -6), 20)
            mv = np.stack([side + rng.integers(-1, 2, 40), rng.integers(-2, 3, 40)], axis=1)
            write_stream(folder / _outputs.COMPRESSED / f"{id_}.h5", [20, 20], mv=mv)
            segments = tuple(Segment(CLASSES[c], float(k), k + 1.0) for k, c in enumerate(order))
            videos.append(Video(id_, "none.mp4", subset, 2.0, 20.0, 40, 112, 80, segments))
    Dataset("sides", CLASSES, tuple(videos)).save(folder / _outputs.DATASET_FILE)


def run(folder: Path, root: Path, **changes: Any) -> dict[str, float]:
    raw = read_params(root / PARAMS_FILE)
    raw["run"] |= {"tracking": False}
    raw["recognise"] = copy.deepcopy(SECTION) | changes
    sections = check_params(raw, section_models(), PARAMS_FILE)
    return run_one(folder, sections, "recognise")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, root: Path) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("recognise")
    make(folder, root)
    return folder, run(folder, root)


def test_streams_that_see_the_motion_are_right_and_pictures_are_not(done: tuple[Path, dict[str, float]]) -> None:
    _, metrics = done
    assert (metrics["chance_uniform"], metrics["chance_majority"]) == (0.5, 0.5)
    for name in ("M", "R", "I+M", "I+R", "I+M+R"):
        assert metrics[f"top1/{name}"] == 1.0, name
        assert metrics[f"above_chance/{name}"] == 1.0
    # Every second I-frame is of each class, so pictures cannot tell.
    assert metrics["top1/I"] < 0.8 and metrics["above_chance/I"] == 0.0
    assert metrics["gain/I+M"] == pytest.approx(metrics["top1/I+M"] - metrics["top1/I"])
    assert metrics["gmacs_per_picture/i"] > metrics["gmacs_per_picture/mv"] > 0


def test_scores_are_the_published_format(done: tuple[Path, dict[str, float]]) -> None:
    folder, metrics = done
    found = {name: np.load(folder / _outputs.RECOGNITION / f"{name}.npz") for name in ("i", "mv", "residual")}
    for one in found.values():
        assert one["scores"].shape == (20, 2) and one["labels"].shape == one["names"].shape == (20,)
        assert np.array_equal(one["labels"], found["i"]["labels"])
    fused = 2 * found["i"]["scores"] + found["mv"]["scores"] + found["residual"]["scores"]
    assert (fused.argmax(axis=1) == found["i"]["labels"]).mean() == metrics["top1/I+M+R"]
    for name in found:
        assert (folder / _outputs.RECOGNISERS / f"{name}.safetensors").is_file()


def test_the_reports_rows_are_the_metrics(done: tuple[Path, dict[str, float]]) -> None:
    folder, metrics = done
    rows = {row["streams"]: row for row in _recognition.rows([read_json(folder / _outputs.METRICS / "recognise.json")])}
    assert list(rows) == ["I", "M", "R", "I+M", "I+R", "I+M+R", "chance, uniform", "chance, majority"]
    assert rows["I+M"]["gain"] == metrics["gain/I+M"]
    assert rows["chance, majority"] == {"streams": "chance, majority", "top1": 0.5}
    assert _recognition.rows([]) == []


def test_frames_are_labelled_as_on_charades(done: tuple[Path, dict[str, float]], root: Path) -> None:
    folder, _ = done
    metrics = run(folder, root, task="frames", streams=["mv"])
    # Every video holds both actions, so any ranking of videos is right.
    assert metrics["mAP/M"] == metrics["wAP/M"] == 1.0
    scores = np.load(folder / _outputs.RECOGNITION / "mv.npz")
    assert scores["labels"].tolist() == [[1, 1]] * 10
    assert ((scores["scores"] > 0.3) & (scores["scores"] < 0.7)).mean() > 0.5, "half of the frames each"


def test_wrong_sections_are_named(root: Path) -> None:
    raw = read_params(root / PARAMS_FILE)
    for change, message in (
        ({"networks": {"depth": NETWORK}}, "depth"),
        ({"streams": ["i", "flow"]}, "networks lack the streams flow"),
        ({"networks": {"mv": NETWORK | {"weights": "resnet18.pth"}}}, "base_width: 64"),
        ({"fusion": {"i": 1.0}}, "weight for each"),
    ):
        raw["recognise"] = copy.deepcopy(SECTION) | change
        with pytest.raises(ParameterError, match=message):
            check_params(raw, section_models(), PARAMS_FILE)
