"""Classes for class-agnostic proposals from the three sources, and what a score file covers."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation.segments import GroundTruth, Predictions
from pipeline.evaluation.video_scores import (
    align_videos,
    classify_proposals,
    coverage,
    load_video_scores,
    oracle_video_scores,
    own_video_scores,
)

PROPOSALS = Predictions.from_rows([("a", "", 0.0, 1.0, 0.5), ("a", "", 2.0, 3.0, 0.9), ("b", "", 0.0, 4.0, 0.4)])


def rows(pred: Predictions) -> list[tuple[str, str, float, float]]:
    return [
        (pred.videos[v], pred.labels[c], s, round(p, 12))
        for v, c, s, p in zip(pred.video, pred.label, pred.t_start.tolist(), pred.score.tolist(), strict=True)
    ]


def test_fusion_of_the_two_best_classes() -> None:
    scores = own_video_scores({"a": np.array([0.5, 0.1, 0.4]), "b": np.array([0.0, 1.0, 0.0])}, ["x", "y", "z"], "net")
    assert scores.origin == "own"
    assert rows(classify_proposals(PROPOSALS, scores, top_k=2)) == [
        ("a", "x", 2.0, 0.45), ("a", "z", 2.0, 0.36), ("a", "x", 0.0, 0.25), ("a", "z", 0.0, 0.2), ("b", "y", 0.0, 0.4),
    ]  # fmt: skip
    assert rows(classify_proposals(PROPOSALS, scores, 1, most=1)) == [("a", "x", 2.0, 0.45), ("b", "y", 0.0, 0.4)]


def test_the_oracle_gives_exactly_the_labels_of_the_video() -> None:
    gt = GroundTruth.from_rows(
        ["a", "b"], [("a", "run", 0, 1), ("a", "hop", 2, 3), ("b", "hop", 0, 4), ("b", "hop", 5, 6)]
    )
    found = classify_proposals(PROPOSALS, oracle_video_scores(gt), top_k=len(gt.labels))
    assert {(v, c) for v, c, *_ in rows(found)} == {("a", "run"), ("a", "hop"), ("b", "hop")}
    assert sorted(found.score.tolist()) == [0.4, 0.5, 0.5, 0.9, 0.9]


@pytest.mark.parametrize("form", ["cuhk", "submission", "csv"])
def test_external_files(tmp_path: Path, form: str) -> None:
    path = tmp_path / ("s.csv" if form == "csv" else "s.json.gz")
    if form == "csv":
        path.write_text("video,x,y\na,0.25,0.75\nb,1,0\n")
    else:
        data = {
            "cuhk": {"class": ["x", "y"], "results": {"a": [0.25, 0.75], "b": [1, 0]}},
            "submission": {
                "results": {
                    "a": [{"label": "x", "score": 0.25}, {"label": "y", "score": 0.75}],
                    "b": [{"label": "x", "score": 1}],
                }
            },
        }[form]
        path.write_bytes(gzip.compress(json.dumps(data).encode()))
    scores = load_video_scores(path)
    assert (scores.origin, scores.videos, scores.classes) == ("external", ("a", "b"), ("x", "y"))
    assert scores.scores.tolist() == [[0.25, 0.75], [1.0, 0.0]]


def test_our_own_classifiers_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", a=np.array([0.25, 0.75]), b=np.array([1.0, 0.0]), classes=np.array(["x", "y"]))
    scores = load_video_scores(tmp_path / "s.npz")
    assert (scores.origin, scores.videos, scores.classes) == ("own", ("a", "b"), ("x", "y"))
    assert scores.scores.tolist() == [[0.25, 0.75], [1.0, 0.0]]
    np.savez(tmp_path / "t.npz", a=np.array([0.25, 0.75]))
    with pytest.raises(ValueError, match=r"t\.npz: no array 'classes'"):
        load_video_scores(tmp_path / "t.npz")


def test_coverage_names_what_is_missing(tmp_path: Path) -> None:
    scores = own_video_scores({"a": np.ones(2), "more": np.ones(2)}, ["x", "old"], "net")
    covered = coverage(scores, ["a", "b", "c"], ["x", "y"])
    assert not covered.complete
    assert (covered.missing_videos, covered.missing_classes) == (("b", "c"), ("y",))
    assert (covered.further_videos, covered.further_classes) == (1, ("old",))
    assert str(covered) == "scores for 1 of 3 videos; without scores: b, c (2); classes it lacks: y (1)"
    with pytest.raises(ValueError, match="no class scores for 1 videos with proposals, such as 'b'"):
        classify_proposals(PROPOSALS, scores)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"results": {}}', "no field 'results'"),
        ('{"class": ["x"], "results": {"a": [1, 2]}}', "video 'a' has 2 scores, there are 1 classes"),
        ('{"class": ["x"], "results": {"a": ["p"]}}', "video 'a' has a score that is no finite number"),
        ('{"results": {"a": [{"label": "x"}]}}', "video 'a'"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(ValueError, match=message) as raised:
        load_video_scores(tmp_path / "s.json")
    assert "s.json" in str(raised.value)


def test_the_official_sample_covers_the_ground_truth(shared: Path) -> None:
    folder = shared / "annotations" / "activitynet"
    scores = load_video_scores(folder / "sample_classification_prediction.json.gz")
    names = (folder / "action_name.csv").read_text().split("\n")[1:]
    assert len(scores.videos) == 4926
    assert coverage(scores, scores.videos[:50], [name for name in names if name]).complete


def test_untrimmednets_array_of_thumos(tmp_path: Path, shared: Path) -> None:
    """Rows are test videos from 1, columns UCF101's classes: both as the set's own annotations number them."""
    with open(shared / "annotations/thumos14/test_Annotation.csv") as handle:
        truth = [row for row in csv.DictReader(handle) if row["type"] != "Ambiguous"]
    table = np.zeros((1574, 101), np.float32)
    for row in truth:
        table[int(row["video"][-4:]) - 1, int(row["type_idx"]) - 1] = 0.5
    np.save(tmp_path / "uNet_test.npy", table)
    scores = load_video_scores(tmp_path / "uNet_test.npy")
    assert scores.scores.shape == (1574, 20) and scores.origin == "external"
    for row in truth:
        video, label = scores.videos.index(row["video"]), scores.classes.index(row["type"])
        assert scores.scores[video, label] == 0.5
    assert scores.scores.sum() == 0.5 * len({(row["video"], row["type"]) for row in truth})
    np.save(tmp_path / "other.npy", table[:, :20])
    with pytest.raises(ValueError, match=r"other.npy: an array \[1574, 20\]; allowed: finite scores \[videos, 101\]"):
        load_video_scores(tmp_path / "other.npy")


def test_hacs_file_by_position(tmp_path: Path) -> None:
    gt = GroundTruth.from_rows(["b", "a", "c"], [("a", "run", 0, 1), ("b", "hop", 2, 3), ("c", "hop", 0, 4)])
    best = {"0": [("run", 6), ("hop", 2)], "1": [("hop", 9), ("run", 1)], "2": [("hop", 1), ("run", 1)]}
    data = {key: [{"label": label, "score": score} for label, score in two] for key, two in best.items()}
    (tmp_path / "top2.json").write_text(json.dumps(data))
    scores = align_videos(load_video_scores(tmp_path / "top2.json"), gt)
    assert scores.videos == ("a", "b", "c") and scores.classes == ("run", "hop")
    assert scores.scores.tolist() == [[0.75, 0.25], [0.1, 0.9], [0.5, 0.5]]
    (tmp_path / "short.json").write_text(json.dumps({key: data[key] for key in "01"}))
    with pytest.raises(ValueError, match=r"by position, of 2 videos; .* has 3"):
        align_videos(load_video_scores(tmp_path / "short.json"), gt)
    (tmp_path / "bad.json").write_text(json.dumps({"0": [{"label": "run"}]}))
    with pytest.raises(ValueError, match=r"bad.json: position '0'"):
        load_video_scores(tmp_path / "bad.json")
