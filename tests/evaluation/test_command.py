"""The evaluate command: its JSON, and the numbers that the official toolkit gives on real files."""

import argparse
import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluation.command import PROTOCOLS, add_arguments, run


def call(*argv: str) -> dict[str, Any]:
    """Run the command as the door does."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(list(argv)))


def evaluate(ground_truth: Path, predictions: Path, *more: str) -> dict[str, Any]:
    """Score two files by the ActivityNet protocol."""
    files = ("--ground-truth", str(ground_truth), "--predictions", str(predictions))
    return call("--protocol", "activitynet", *files, *more)


@pytest.fixture(scope="module")
def activitynet(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The real ground truth in the official format, and the sample submission with and without the 198 lost videos."""
    folder, out = shared / "annotations" / "activitynet", tmp_path_factory.mktemp("activitynet")
    annotations = json.loads(gzip.decompress((folder / "anet_anno_action.json.gz").read_bytes()))
    table = gzip.decompress((folder / "video_info_new.csv.gz").read_bytes()).decode()
    subset_of = {row["video"]: row["subset"] for row in csv.DictReader(io.StringIO(table))}
    database = {
        id_.removeprefix("v_"): {"subset": subset_of[id_], "annotations": entry["annotations"]}
        for id_, entry in annotations.items()
    }
    (out / "gt.json").write_text(json.dumps({"database": database}))
    sample = folder / "sample_detection_prediction.json.gz"
    submission = json.loads(gzip.decompress(sample.read_bytes()))
    submission["results"] = {id_: rows for id_, rows in submission["results"].items() if id_ in database}
    (out / "known.json").write_text(json.dumps(submission))
    return {"gt": out / "gt.json", "sample": sample, "known": out / "known.json"}


def test_sample_submission_gives_the_official_number(activitynet: dict[str, Path]) -> None:
    printed = evaluate(activitynet["gt"], activitynet["sample"])
    assert set(printed["mAP"].values()) == {0.9719758051394811}
    assert printed["average_mAP"] == 0.9719758051394811
    assert (printed["videos"], printed["instances"], printed["predictions"]) == (4728, 7293, 7654)
    assert printed["classes"] == 200


def test_perfect_submission_reaches_one(activitynet: dict[str, Path]) -> None:
    printed = evaluate(activitynet["gt"], activitynet["known"])
    assert set(printed["mAP"].values()) == {1.0}
    assert printed["average_mAP"] == 1.0


def test_small_real_pair_with_differing_prefixes(shared: Path) -> None:
    folder = shared / "annotations" / "oracles"
    printed = evaluate(folder / "mmaction2_localization_gt.json", folder / "mmaction2_localization_result.json")
    assert printed["videos"] == 2
    assert "prefix 'v_'" in printed["warnings"][0]
    assert printed["average_mAP"] > 0.1


def test_printed_fields_and_subset(tmp_path: Path) -> None:
    gt, pred = tmp_path / "gt.json", tmp_path / "p.json"
    video = {"subset": "testing", "annotations": [{"label": "run", "segment": [0, 10]}]}
    gt.write_text(json.dumps({"database": {"a": video, "b": {**video, "subset": "validation"}}}))
    pred.write_text(json.dumps({"results": {"a": [{"label": "run", "score": 1, "segment": [0, 7.6]}]}}))
    printed = evaluate(gt, pred, "--subset", "testing")
    tious = ["0.50", "0.55", "0.60", "0.65", "0.70", "0.75", "0.80", "0.85", "0.90", "0.95"]
    assert printed == {
        "protocol": "activitynet",
        "variant": "official",
        "subset": "testing",
        "mAP": {tiou: float(tiou < "0.76") for tiou in tious},
        "average_mAP": pytest.approx(0.6),
        "videos": 1,
        "classes": 1,
        "instances": 1,
        "predictions": 1,
        "warnings": [],
    }
    assert json.loads(json.dumps(printed, allow_nan=False)) == printed
    assert evaluate(gt, pred)["average_mAP"] == 0.0  # the default subset is validation


def test_unknown_protocol_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call("--protocol", "activtynet", "--ground-truth", "g", "--predictions", "p")
    printed = capsys.readouterr().err
    assert all(name in printed for name in PROTOCOLS)
