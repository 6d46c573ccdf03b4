"""AVA's frame mAP with intervals: against literally repeated videos, pairs on the same draws, trainings that vary."""

import numpy as np
import pytest

from pipeline.datasets.formats.ava import AvaFile
from pipeline.datasets.formats.common import Boxes
from pipeline.evaluation.ava import ava_map
from pipeline.evaluation.ava_bootstrap import ava_maps
from pipeline.evaluation.bootstrap import draw_videos

CLASSES = {1: "a", 3: "b"}
VIDEOS = ("v0", "v1", "v2", "v3")


def table(rng: np.random.Generator, n: int, true: AvaFile | None = None) -> AvaFile:
    """Random boxes; detections lie near true boxes half of the time, and no two scores are equal."""
    video, time = rng.integers(len(VIDEOS), size=n), rng.integers(3, size=n).astype(float)
    corner = rng.random((n, 2)) * 0.6
    box = np.concatenate([corner, corner + 0.1 + 0.3 * rng.random((n, 2))], axis=1)
    label = rng.choice([1, 2, 3], n)
    if true is not None:
        near = rng.integers(len(true.boxes), size=n // 2)
        video[: n // 2], time[: n // 2] = true.boxes.video[near], true.boxes.time_s[near]
        box[: n // 2], label[: n // 2] = true.boxes.box[near] + 0.01, true.boxes.label[near]
    score = rng.permutation(n) / n + 0.001
    boxes = Boxes(video, time, box, label, np.full(n, -1), score)
    return AvaFile(VIDEOS, boxes, ((2, 7.0),), np.zeros(n, np.int64), ())


def repeated(file: AvaFile, copies: np.ndarray) -> AvaFile:
    """Every video as often as is drawn, under a name of its own each time."""
    names, rows, numbers, empty = list[str](), [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], []
    for video, count in enumerate(copies):
        for copy in range(count):
            mine = np.flatnonzero(file.boxes.video == video)
            rows.append(mine)
            numbers.append(np.full(len(mine), len(names)))
            empty += [(len(names), time) for of, time in file.empty if of == video]
            names.append(f"{file.videos[video]} {copy}")
    boxes = file.boxes.take(np.concatenate(rows))
    moved = Boxes(np.concatenate(numbers), boxes.time_s, boxes.box, boxes.label, boxes.person, boxes.score)
    return AvaFile(tuple(names), moved, tuple(empty), np.zeros(len(moved), np.int64), ())


def test_resamples_are_literally_repeated_videos() -> None:
    rng = np.random.default_rng(0)
    truth = table(rng, 60)
    found = {"a": [table(rng, 90, truth)], "b": [table(rng, 90, truth)]}
    maps = ava_maps(truth, found, CLASSES, resamples=20, seed=4)
    for name, (one,) in found.items():
        assert maps.point[name] == ava_map(truth, one, CLASSES).mAP
        # Copies have equal scores, which the script orders by its heap and unstable sort: some thousandths.
        literal = [
            ava_map(repeated(truth, copies), repeated(one, copies), CLASSES).mAP for copies in draw_videos(4, 20, 4)
        ]
        np.testing.assert_allclose(maps.samples[name], literal, atol=0.01)
    assert np.ptp(maps.samples["a"]) > 0.05, "videos differ"
    gain = maps.difference("b", "a")
    assert gain.low < gain.value < gain.high


def test_trainings_vary_and_are_read_once() -> None:
    rng = np.random.default_rng(1)
    truth = table(rng, 60)
    good, bad = table(rng, 90, truth), table(rng, 90)
    maps = ava_maps(truth, {"both": iter([good, bad]), "good": iter([good])}, CLASSES, resamples=200)
    values = [ava_map(truth, one, CLASSES).mAP for one in (good, bad)]
    assert maps.point["both"] == pytest.approx(np.mean(values))
    assert np.ptp(maps.samples["both"]) > np.ptp(maps.samples["good"])
    with pytest.raises(ValueError, match="none: no training to score"):
        ava_maps(truth, {"none": iter(())}, CLASSES)
