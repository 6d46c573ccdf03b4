"""The rule of THUMOS14's challenge, told step by step as its MATLAB does, and its corners."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation.segments import GroundTruth, Predictions
from pipeline.evaluation.thumos import CHALLENGE_TIOUS, RECALLS, challenge, matlab_range


def overlap(a: tuple[float, float], b: tuple[float, float]) -> float:
    inside = min(a[1], b[1]) - max(a[0], b[0])
    return inside / (max(a[1], b[1]) - min(a[0], b[0])) if inside > 0 else 0.0


def literal(truths, found, ambiguous, label: str, tiou: float) -> float:
    """TH14eventdetpr, video by video."""
    right: list[float] = []
    wrong: list[float] = []
    for video in sorted({row[0] for row in (*truths, *found)}):
        det = [row for row in found if row[:2] == (video, label)]
        det.sort(key=lambda row: -row[4])
        free = [True] * len(det)
        for _, _, start, end in (row for row in truths if row[:2] == (video, label)):
            candidates = [(overlap((start, end), d[2:4]), -i) for i, d in enumerate(det) if free[i]]
            if candidates and max(candidates)[0] > tiou:
                free[-max(candidates)[1]] = False
        for d, is_free in zip(det, free, strict=True):
            if not is_free:
                right.append(d[4])
            elif not any(overlap(span, d[2:4]) for span in ambiguous.get(video, ())):
                wrong.append(d[4])
    if not right:
        return 0.0
    ranked = sorted([(-p, 0) for p in right] + [(-p, 1) for p in wrong])
    total, positives, points = 0, sum(row[1] == label for row in truths), []
    for rank, (_, is_wrong) in enumerate(ranked, start=1):
        total += not is_wrong
        points.append((total / positives, total / rank))
    return sum(max((p for r, p in points if r >= level), default=0.0) / 11 for level in RECALLS)


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_literal_rule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = rng.integers(0, 20, 40) / 2
    truths = [
        (f"v{rng.integers(3)}", f"c{i % 2}", float(s), float(s + rng.integers(1, 6) / 2))
        for i, s in enumerate(times[:14])
    ]
    found = [
        (
            f"v{rng.integers(4)}",
            f"c{rng.integers(2)}",
            float(s),
            float(s + rng.integers(1, 6) / 2),
            float(rng.integers(0, 6)) / 5,
        )
        for s in rng.choice(times, 80)
    ]
    ambiguous = {"v0": [(0.0, 2.0), (6.0, 7.0)], "v3": [(1.0, 4.0)]}
    gt, pred = GroundTruth.from_rows(["v0", "v1", "v2"], truths), Predictions.from_rows(found)
    result = challenge(gt, pred, ambiguous)
    for t, tiou in enumerate(CHALLENGE_TIOUS):
        for c, label in enumerate(gt.labels):
            assert result.ap[t, c] == pytest.approx(literal(truths, found, ambiguous, label, float(tiou)), abs=1e-12)
    assert 0.02 < result.ap.mean() < 0.98


def test_corners() -> None:
    gt = GroundTruth.from_rows(["a"], [("a", "run", 0.0, 10.0)])

    def ap(*rows: tuple[str, str, float, float, float], spans: tuple[tuple[float, float], ...] = ()) -> float:
        return float(challenge(gt, Predictions.from_rows(rows), {"a": spans}, np.array([0.5])).ap[0, 0])

    assert ap(("a", "run", 0.0, 5.0, 0.9)) == 0.0  # an overlap of exactly the threshold is not more
    assert ap(("a", "run", 0.0, 5.1, 0.9)) == pytest.approx(1.0)
    # The instance takes what overlaps it most, not what scores most: the better scored one is then false.
    assert ap(("a", "run", 0.0, 10.0, 0.5), ("a", "run", 0.0, 9.0, 0.9)) == pytest.approx(0.5)
    assert ap(("a", "run", 20.0, 30.0, 0.9), ("a", "run", 0.0, 9.0, 0.5)) == pytest.approx(0.5)
    assert ap(("a", "run", 20.0, 30.0, 0.9), ("a", "run", 0.0, 9.0, 0.5), spans=((29.0, 31.0),)) == pytest.approx(1.0)
    assert ap(("a", "run", 20.0, 30.0, 0.5), ("a", "run", 0.0, 9.0, 0.5)) == pytest.approx(1.0)  # right ones first
    assert ap() == ap(("a", "hop", 0.0, 10.0, 0.9)) == 0.0


def test_ranges_are_matlabs() -> None:
    assert matlab_range(0, 0.1, 1)[3] == 0.30000000000000004
    assert matlab_range(0, 0.1, 1)[[6, 7, 10]].tolist() == [0.6, 0.7, 1.0]
    assert CHALLENGE_TIOUS.tolist() == [0.1, 0.2, 0.30000000000000004, 0.4, 0.5]


def test_through_the_command_with_the_sets_own_files(tmp_path: Path) -> None:
    from tests.evaluation.test_protocols import evaluate

    folder = tmp_path / "annotation"
    folder.mkdir()
    (folder / "HighJump_test.txt").write_text("video_test_0000001 0.0 10.0\n")
    (folder / "Ambiguous_test.txt").write_text("video_test_0000001 40.0 50.0\n")
    rows = [{"label": "HighJump", "score": s, "segment": t} for s, t in ((0.9, [45, 46]), (0.5, [0, 9]))]
    rows.append({"label": "LongJump", "score": 1.0, "segment": [0, 10]})
    (tmp_path / "p.json").write_text(str({"results": {"video_test_0000001": rows}}).replace("'", '"'))
    printed = evaluate("thumos", folder, tmp_path / "p.json", "--variant", "challenge")
    assert list(printed["mAP"]) == ["0.10", "0.20", "0.30", "0.40", "0.50", "0.60", "0.70"]
    assert printed["mAP"]["0.70"] == pytest.approx(1.0)
    assert printed["warnings"] == ["1 detections of other classes were ignored"]
    with pytest.raises(ValueError, match="no class of the ground truth"):
        evaluate("thumos", folder, tmp_path / "p.json")
    assert evaluate("thumos", folder, tmp_path / "p.json", "--variant", "dedup")["mAP"]["0.70"] == 0.5
