"""CPU time of every evaluator at its data set's full size, on random scores: what ``bench protocols`` writes down."""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pipeline.datasets.formats.ava import read_boxes
from pipeline.datasets.formats.common import AnnotatedVideo
from pipeline.datasets.formats.dense import CHARADES_CLASSES, MULTITHUMOS_CLASSES
from pipeline.datasets.formats.epic import NOUNS, VERBS, Actions
from pipeline.datasets.schema import Segment
from pipeline.evaluation.activitynet import evaluate
from pipeline.evaluation.ava import ava_map
from pipeline.evaluation.charades import localize
from pipeline.evaluation.dedup import deduplicate
from pipeline.evaluation.epic import accuracies, rank_official, rank_with_prior
from pipeline.evaluation.frames import score_frames
from pipeline.evaluation.proposals import average_recall
from pipeline.evaluation.recognition import combine_views, recognition
from pipeline.evaluation.segments import GroundTruth, Predictions
from pipeline.evaluation.video_scores import classify_proposals, own_video_scores

VIDEOS, INSTANCES = 4728, 7293  # ActivityNet's validation set as BMN and its successors use it


def cpu_seconds() -> dict[str, float]:
    """CPU seconds of one thread by evaluator and size; takes about two minutes."""
    found = {}
    for cases in (_segments, _frames, _clips, _boxes):
        for name, case in cases():
            begin = time.process_time()
            case()
            found[name] = round(time.process_time() - begin, 2)
    return found


def _segments() -> Iterator[tuple[str, Callable[[], object]]]:
    rng = np.random.default_rng(0)
    ids = tuple(f"v{i}" for i in range(VIDEOS))
    start = rng.uniform(0, 100, INSTANCES).tolist()
    truth = GroundTruth.from_rows(ids, [(ids[i % VIDEOS], f"c{i % 200}", s, s + 20) for i, s in enumerate(start)])
    n = VIDEOS * 100
    begin, video = rng.uniform(0, 100, n), np.repeat(np.arange(VIDEOS), 100)
    proposals = Predictions(
        ids, ("",), video, np.zeros(n, np.int64), begin, begin + rng.uniform(1, 40, n), rng.random(n)
    )
    scores = own_video_scores({id_: rng.random(200) for id_ in ids}, truth.labels, "random")
    yield "AR@AN, 472,800 proposals", lambda: average_recall(truth, proposals)
    detections = classify_proposals(proposals, scores, 2)
    yield "classes for 472,800 proposals, best 2 of 200", lambda: classify_proposals(proposals, scores, 2)
    yield "activitynet official, 945,600 detections", lambda: evaluate(truth, detections)
    yield "activitynet dedup, 945,600 detections", lambda: evaluate(deduplicate(truth)[0], detections)


def _dense(videos: int, classes: tuple[str, ...], duration_s: float, actions: int) -> list[AnnotatedVideo]:
    rng = np.random.default_rng(1)
    found = []
    for number in range(videos):
        label, start = rng.integers(0, len(classes), actions), rng.uniform(0, duration_s - 2, actions).tolist()
        segments = tuple(Segment(classes[c], s, s + 5) for c, s in zip(label, start, strict=True))
        found.append(AnnotatedVideo(str(number), "testing", segments, duration_s))
    return found


def _frames() -> Iterator[tuple[str, Callable[[], object]]]:
    rng = np.random.default_rng(2)
    charades = _dense(1863, CHARADES_CLASSES, 30.0, 7)
    points = {video.id: rng.random((25, 157), np.float32) for video in charades}
    yield "charades_v1_localize, 46,575 rows", lambda: localize(charades, points)
    every = {video.id: rng.random((720, 157), np.float32) for video in charades}
    yield "charades_frames at 24 fps, 1,341,360 rows", lambda: score_frames(charades, CHARADES_CLASSES, every)
    thumos = _dense(213, MULTITHUMOS_CLASSES, 213.0, 90)
    steps = {video.id: rng.random((2130, 65), np.float32) for video in thumos}
    yield "multithumos at 10 fps, 453,690 rows", lambda: score_frames(thumos, MULTITHUMOS_CLASSES, steps)


def _clips() -> Iterator[tuple[str, Callable[[], object]]]:
    rng = np.random.default_rng(3)
    n, verbs, nouns = 9668, VERBS["epic100"], NOUNS["epic100"]
    names, zeros = tuple(map(str, range(n))), np.zeros(n)
    truth = Actions(
        names, ("P01",) * n, names, zeros, zeros, rng.integers(0, verbs, n), rng.integers(0, nouns, n), np.arange(n)
    )  # fmt: skip
    verb, noun = rng.random((n, verbs), np.float32), rng.random((n, nouns), np.float32)
    yield "epic100 no_prior, 9,668 segments", lambda: accuracies(rank_official(verb, noun), truth)
    prior = rng.random((verbs, nouns))
    yield "epic100 prior, 9,668 segments", lambda: accuracies(rank_with_prior(verb, noun, prior), truth)
    views, labels = rng.random((1988, 30, 400), np.float32), rng.integers(0, 400, 1988)
    yield "kinetics, a tenth: 1,988 clips x 30 views", lambda: recognition(combine_views(views), labels)


def _boxes() -> Iterator[tuple[str, Callable[[], object]]]:
    rng = np.random.default_rng(4)
    n = 1_000_000
    at = rng.integers(0, 64, n), rng.integers(902, 1799, n)
    columns = (*at, rng.random((n, 2)) / 2, rng.integers(1, 61, n), rng.random(n))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detections.csv"
        with open(path, "w") as handle:
            handle.writelines(
                f"video{v},{second},{x:.3f},{y:.3f},{x + 0.3:.3f},{y + 0.4:.3f},{label},{score:.6f}\n"
                for v, second, (x, y), label, score in zip(*columns, strict=True)
            )
        yield "ava, reading 1,000,000 rows", lambda: read_boxes(path)
        found = read_boxes(path)
        yield "ava official, 1,000,000 rows", lambda: ava_map(found, found, {i: str(i) for i in range(1, 61)})
