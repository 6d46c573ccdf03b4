"""AVA frame mAP: the official number on the oracle pair, and the rule told row by row on random tables with ties."""

import heapq
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets.formats.ava import read_boxes, read_label_map
from pipeline.evaluation.ava import AvaResult, ava_map

Row = tuple[str, float, tuple[float, float, float, float], int, float]


def literal(truth: list[Row], found: list[Row], ids: set[int], capacity: int | None) -> dict[int, float]:
    """The official script told row by row (its reader's heap, its per-picture matching, VOC's area)."""
    pictures = {row[:2] for row in truth}
    heaps: dict[tuple[str, float], list] = defaultdict(list)
    for video, at, (x1, y1, x2, y2), label, score in found:
        if label in ids:
            entry, heap = (score, label, y1, x1, y2, x2), heaps[video, at]
            if capacity is None or len(heap) < capacity:
                heapq.heappush(heap, entry)
            elif score > heap[0][0]:
                heapq.heapreplace(heap, entry)
    scores, hits = defaultdict(list), defaultdict(list)
    for picture, heap in heaps.items():
        if picture not in pictures:
            continue
        for label in ids:
            taken: set[int] = set()
            true = [row[2] for row in truth if row[:2] == picture and row[3] == label]
            for score, of, y1, x1, y2, x2 in sorted(heap, key=lambda entry: -entry[0]):
                if of != label or x2 <= x1 or y2 <= y1:
                    continue
                ious = []
                for a, b, c, d in true:
                    shared = max(0.0, min(y2, d) - max(y1, b)) * max(0.0, min(x2, c) - max(x1, a))
                    ious.append(shared / ((y2 - y1) * (x2 - x1) + (d - b) * (c - a) - shared))
                best = int(np.argmax(ious)) if ious else -1
                hit = bool(ious) and ious[best] >= 0.5 and best not in taken
                if hit:
                    taken.add(best)
                scores[label].append(score)
                hits[label].append(hit)
    aps = {}
    for label in ids:
        positives = sum(row[3] == label for row in truth)
        if not positives:
            continue
        order = np.argsort(np.array(scores[label]))[::-1]
        true = np.cumsum(np.array(hits[label], int)[order])
        recall = np.concatenate([[0], true / positives, [1]])
        precision = np.concatenate([[0], true / np.arange(1, len(true) + 1), [0]])
        for i in range(len(precision) - 2, -1, -1):
            precision[i] = max(precision[i], precision[i + 1])
        step = np.where(recall[1:] != recall[:-1])[0] + 1
        aps[label] = float(np.sum((recall[step] - recall[step - 1]) * precision[step]))
    return aps


def write(path: Path, rows: list[Row], last: str) -> Path:
    lines = [
        f"{video},{at:04g},{','.join(f'{x:.3f}' for x in box)},{label},{score if last == 'score' else number}"
        for number, (video, at, box, label, score) in enumerate(rows)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def score(tmp_path: Path, truth: list[Row], found: list[Row], ids: set[int], **options) -> AvaResult:
    files = write(tmp_path / "gt.csv", truth, "person"), write(tmp_path / "found.csv", found, "score")
    return ava_map(read_boxes(files[0], "person"), read_boxes(files[1]), dict.fromkeys(ids, "x"), **options)


def test_the_oracle_pair_gives_the_official_number(shared: Path) -> None:
    folder = shared / "annotations" / "oracles"
    classes = read_label_map(folder / "mmaction2_ava_action_list.txt")
    truth = read_boxes(folder / "mmaction2_ava_gt.csv", "person")
    result = ava_map(truth, read_boxes(folder / "mmaction2_ava_pred.csv"), classes)
    assert result.mAP == 0.09385521885521886  # printed by the toolkit's get_ava_performance.py on these files
    assert result.ap.tolist() == [0.17045454545454547, 0.0, 0.1111111111111111]
    assert (result.key_frames, result.true_boxes, result.detections) == (3, 12, 30)


@pytest.mark.parametrize("variant", ["official", "uncapped"])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_literal_rule_bit_for_bit(tmp_path: Path, seed: int, variant: str) -> None:
    rng = np.random.default_rng(seed)
    truth: list[Row] = []
    found: list[Row] = []
    for frame in range(8):
        key = (f"v{frame % 3}", float(902 + frame // 3))
        for _ in range(rng.integers(1, 5)):
            x, y, w, h = rng.integers(1, 10, 4) / 20
            for label in rng.choice([1, 12, 17, 2], 2, replace=False).tolist():
                truth.append((*key, (x, y, x + w, y + h), label, 1.0))
                for _ in range(rng.integers(0, 12)):
                    dx, dy = rng.integers(-1, 2, 2) / 20
                    grade = float(rng.integers(0, 5)) / 4 if seed % 2 else round(float(rng.random()), 3)
                    found.append((*key, (x + dx, y + dy, x + w + dx, y + h), label, grade))
    found += [("v0", 902.0, (0.5, 0.5, 0.5, 0.9), 1, 1.0), ("zz", 902.0, (0.1, 0.1, 0.2, 0.2), 1, 1.0)]
    found = [found[i] for i in rng.permutation(len(found))]
    # What is written has three decimals: the literal rule reads the same numbers.
    truth, found = ([(v, t, tuple(round(x, 3) for x in b), c, s) for v, t, b, c, s in rows] for rows in (truth, found))  # type: ignore[misc]
    result = score(tmp_path, truth, found, {1, 12, 17}, variant=variant)
    expected = literal(truth, found, {1, 12, 17}, 50 if variant == "official" else None)
    assert 0.05 < np.mean(list(expected.values())) < 1
    assert {i: ap for i, ap in zip(result.ids, result.ap.tolist(), strict=True) if ap == ap} == expected
    assert result.unknown_frames == 1


BOX = (0.1, 0.1, 0.5, 0.5)
NEAR = (0.1, 0.1, 0.5, 0.45)


def test_a_second_detection_of_a_person_does_not_fall_to_the_next_box(tmp_path: Path) -> None:
    truth: list[Row] = [("a", 902, BOX, 1, 1), ("a", 902, NEAR, 1, 1)]
    found: list[Row] = [("a", 902, BOX, 1, 0.9), ("a", 902, BOX, 1, 0.8)]
    assert score(tmp_path, truth, found, {1}).ap.tolist() == [0.5]


def test_the_cap_moves_the_number(tmp_path: Path) -> None:
    truth: list[Row] = [("a", 902, BOX, 1, 1)]
    found: list[Row] = [("a", 902, (0.8, 0.8, 0.9, 0.9), 2, 0.9)] * 50 + [("a", 902, BOX, 1, 0.5)]
    assert score(tmp_path, truth, found, {1, 2}).ap[0] == 0.0
    assert score(tmp_path, truth, found, {1, 2}, variant="uncapped").ap[0] == 1.0


def test_classes_and_key_frames_that_do_not_count(tmp_path: Path) -> None:
    truth: list[Row] = [("a", 902, BOX, 1, 1), ("a", 903, BOX, 1, 1), ("a", 902, BOX, 99, 1)]
    found: list[Row] = [("a", 902, BOX, 1, 0.5), ("a", 902, BOX, 99, 0.9), ("b", 902, BOX, 1, 0.9)]
    result = score(tmp_path, truth, found, {1, 7})
    assert result.ap[0] == 0.5  # 903 is missed
    assert np.isnan(result.ap[1])  # no true box: left out of the mean
    assert result.mAP == 0.5
    assert score(tmp_path, truth, found, {1}, excluded=frozenset({("a", 903.0)})).mAP == 1.0
    assert np.isnan(score(tmp_path, truth, found, {5}).mAP)


def test_an_empty_key_frame_is_known(tmp_path: Path) -> None:
    gt, found = tmp_path / "gt.csv", tmp_path / "found.csv"
    gt.write_text("a,0902\na,0903,0.1,0.1,0.5,0.5,1,0\n")
    found.write_text("a,0902,0.1,0.1,0.5,0.5,1,0.9\na,0903,0.1,0.1,0.5,0.5,1,0.5\n")
    assert ava_map(read_boxes(gt, "person"), read_boxes(found), {1: "x"}).mAP == 0.5


def test_bad_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x2 < x1"):
        score(tmp_path, [("a", 902, (0.5, 0.1, 0.1, 0.2), 1, 1)], [("a", 902, BOX, 1, 0.5)], {1})
    with pytest.raises(ValueError, match="no classes"):
        score(tmp_path, [("a", 902, BOX, 1, 1)], [], set())


def test_200_000_rows_in_seconds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = 200_000
    corner = rng.random((n, 2)) / 2
    with open(tmp_path / "big.csv", "w") as handle:
        handle.writelines(
            f"v{v},{902 + t},{x:.3f},{y:.3f},{x + 0.3:.3f},{y + 0.3:.3f},{c},{s:.6f}\n"
            for v, t, (x, y), c, s in zip(
                rng.integers(0, 20, n),
                rng.integers(0, 897, n),
                corner,
                rng.integers(1, 81, n),
                rng.random(n),
                strict=True,
            )
        )
    begin = time.process_time()
    found = read_boxes(tmp_path / "big.csv")
    result = ava_map(found, found, dict.fromkeys(range(1, 61), "x"), variant="uncapped")
    assert result.mAP > 0.9
    assert (
        time.process_time() - begin < 6
    )  # 7.6 M rows, every person x class of v2.2's validation, in under four minutes
