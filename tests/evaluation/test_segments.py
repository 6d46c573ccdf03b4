"""Reading ActivityNet's JSON files: what they mean, and what bad ones say."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluation.segments import (
    GroundTruth,
    Predictions,
    align_prefix,
    load_ground_truth,
    load_predictions,
)

DATABASE: dict[str, Any] = {
    "a": {"subset": "validation", "annotations": [{"label": "run", "segment": [1, "2.5"]}]},
    "b": {"subset": "validation", "annotations": []},
    "c": {"subset": "training", "annotations": [{"label": "jump", "segment": [0, 1]}]},
}
RESULTS: dict[str, Any] = {"a": [{"label": "run", "score": 1, "segment": [0.5, 2.0]}], "b": []}


def write(folder: Path, value: Any, name: str = "file.json") -> Path:
    """Write JSON as a user would."""
    path = folder / name
    data = json.dumps(value).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["file.json", "file.json.gz"])
def test_reads_both_files_plain_and_gzipped(tmp_path: Path, name: str) -> None:
    gt = load_ground_truth(write(tmp_path, {"database": DATABASE, "version": "1.3"}, name))
    assert (gt.videos, gt.labels) == (("a", "b"), ("run",))
    assert (gt.t_start.tolist(), gt.t_end.tolist()) == ([1.0], [2.5])
    pred = load_predictions(write(tmp_path, {"results": RESULTS}, name))
    assert (pred.videos, pred.labels, pred.score.tolist(), len(pred)) == (("a", "b"), ("run",), [1.0], 1)


def test_reads_a_bare_database_and_another_subset(tmp_path: Path) -> None:
    gt = load_ground_truth(write(tmp_path, DATABASE), "training")
    assert (gt.videos, gt.labels) == (("c",), ("jump",))


@pytest.mark.parametrize(
    ("database", "message"),
    [
        ({"a": {"annotations": []}}, r"video 'a' has no field 'subset'"),
        ({"a": {"subset": "validation"}}, r"video 'a' has no field 'annotations'"),
        ({"a": {"subset": "validation", "annotations": {}}}, r"video 'a': field 'annotations' is an object"),
        ({"a": {"subset": "validation", "annotations": [{"segment": [0, 1]}]}}, r"annotation 0 has no field 'label'"),
        ({"a": {"subset": "testing", "annotations": []}}, r"no video has subset 'validation'.*testing \(1 videos\)"),
        ({"a": {"subset": "validation", "annotations": []}}, r"have no annotation"),
        ({"a": 3}, r"video 'a' is a number"),
        ([], r"'database' is a list"),
    ],
)
def test_bad_ground_truth(tmp_path: Path, database: Any, message: str) -> None:
    path = write(tmp_path, {"database": database})
    with pytest.raises(ValueError, match=r"file\.json: .*" + message):
        load_ground_truth(path)


GOOD = {"label": "run", "score": 0.5, "segment": [0, 1]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": float("nan")}, r"field 'score' is nan, expected a finite number"),
        ({"score": float("inf")}, r"field 'score' is inf"),
        ({"score": "0.5"}, r"field 'score' is '0.5'"),
        ({"score": True}, r"field 'score' is True"),
        ({"score": None}, r"field 'score' is None"),
        ({"segment": [0, float("nan")]}, r"field 'segment\[1\]' is nan"),
        ({"segment": [None, 1]}, r"field 'segment\[0\]' is None"),
        ({"segment": [10**400, 1]}, r"field 'segment\[0\]' is 1000"),
        ({"segment": [1]}, r"field 'segment' is \[1\], expected \[t_start, t_end\]"),
        ({"label": 3}, r"field 'label' is 3"),
    ],
)
def test_bad_prediction_names_file_video_and_field(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path, {"results": {"vid": [GOOD, {**GOOD, **change}]}})
    with pytest.raises(ValueError, match=r"file\.json: video 'vid', prediction 1: " + message):
        load_predictions(path)


@pytest.mark.parametrize("field", ["label", "score", "segment"])
def test_missing_field_of_a_prediction(tmp_path: Path, field: str) -> None:
    path = write(tmp_path, {"results": {"vid": [{key: value for key, value in GOOD.items() if key != field}]}})
    with pytest.raises(ValueError, match=rf"video 'vid', prediction 0 has no field '{field}'"):
        load_predictions(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (gzip.compress(b"{}" * 999, mtime=0)[:-9], "broken gzip"),
        (b"[]", "the top level is a list"),
        (b"{}", "no field 'results'"),
        (b'{"results": []}', "field 'results' is a list"),
        (b'{"results": {"vid": {}}}', "video 'vid': field 'results' is an object"),
    ],
)
def test_not_a_prediction_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"file\.json.*{message}"):
        load_predictions(path)


@pytest.mark.parametrize(
    ("truth", "predicted", "aligned"),
    [
        (("v_a", "v_b"), ("a", "x"), ("v_a", "v_x")),
        (("a", "b"), ("v_a", "x"), ("a", "x")),
        (("a", "v_b"), ("v_a", "v_b"), ("v_a", "v_b")),  # one id is right as it stands: nothing is touched
        (("a",), ("x", "y"), ("x", "y")),
    ],
)
def test_prefix_is_aligned_only_where_nothing_matches(
    truth: tuple[str, ...], predicted: tuple[str, ...], aligned: tuple[str, ...]
) -> None:
    gt = GroundTruth.from_rows(truth, [(truth[0], "run", 0.0, 1.0)])
    pred, note = align_prefix(gt, Predictions.from_rows([], videos=predicted))
    assert pred.videos == aligned
    assert (note is None) == (aligned == predicted)
