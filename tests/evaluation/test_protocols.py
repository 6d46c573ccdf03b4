"""Every protocol of the command from files to JSON: published numbers where real files are, small files else."""

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.evaluation.command import PROTOCOLS, add_arguments, run
from tests.evaluation.test_command import activitynet  # noqa: F401  (a fixture)


def evaluate(protocol: str, truth: Path, predictions: Path, *more: object) -> dict[str, Any]:
    """Run the command as the door does; what it prints is valid JSON."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    argv = ["--protocol", protocol, "--truth", truth, "--predictions", predictions, *more]
    printed = run(parser.parse_args([str(word) for word in argv]))
    assert printed["protocol"] == protocol
    assert "warnings" in printed
    return json.loads(json.dumps(printed, allow_nan=False))


def test_dedup_gives_opentads_numbers(activitynet: dict[str, Path]) -> None:  # noqa: F811
    printed = evaluate("activitynet", activitynet["gt"], activitynet["sample"], "--variant", "dedup")
    assert printed["average_mAP"] == 0.9707378302732635
    assert (printed["variant"], printed["videos"], printed["instances"]) == ("dedup", 4728, 7271)
    printed = evaluate("activitynet", activitynet["gt"], activitynet["known"], "--variant", "dedup")
    # A perfect submission cannot reach 1. The first is what OpenTAD prints at each threshold, the second on average.
    assert set(printed["mAP"].values()) == {0.9988814698973733}
    assert printed["average_mAP"] == 0.9988814698973731


def test_the_folder_that_bmn_carries_is_a_truth_too(shared: Path) -> None:
    folder = shared / "annotations" / "activitynet"
    printed = evaluate("activitynet", folder, folder / "sample_detection_prediction.json.gz")
    assert printed["average_mAP"] == 0.9719758051394811
    assert (printed["videos"], printed["instances"]) == (4728, 7293)
    with pytest.raises(ValueError, match="no annotation in subset 'test'; there are testing, training, validation"):
        evaluate("activitynet", folder, folder / "sample_detection_prediction.json.gz", "--subset", "test")


def test_mmaction2_localisation_oracle(shared: Path) -> None:
    folder = shared / "annotations" / "oracles"
    files = folder / "mmaction2_localization_gt.json", folder / "mmaction2_localization_result.json"
    for protocol in ("activitynet", "hacs"):
        printed = evaluate(protocol, *files)
        assert printed["average_mAP"] == 0.6177579365079365  # published in MMAction2's own test
        assert list(printed["mAP"].values()) == pytest.approx(
            [0.71428571, 0.71428571, 0.71428571, 0.6875, 0.6875, 0.59722222, 0.52083333, 0.52083333, 0.52083333, 0.5]
        )
    printed = evaluate("proposals", *files)
    assert (printed["AR@100"], printed["videos"], printed["instances"]) == (0.75, 2, 4)


def test_ava_oracle_through_the_command(shared: Path) -> None:
    folder = shared / "annotations" / "oracles"
    files = folder / "mmaction2_ava_gt.csv", folder / "mmaction2_ava_pred.csv"
    printed = evaluate("ava", *files, "--classes", folder / "mmaction2_ava_action_list.txt")
    assert printed["mAP"] == 0.09385521885521886
    assert printed["AP"] == {"action1": 0.17045454545454547, "action2": 0.0, "action3": 0.1111111111111111}
    with pytest.raises(ValueError, match="needs --classes"):
        evaluate("ava", *files)


def test_thumos_on_the_real_truth(shared: Path, tmp_path: Path) -> None:
    truth = shared / "annotations" / "thumos14" / "thumos_gt.json"
    database = json.loads(truth.read_text())["database"]
    results = {
        id_: [
            {"label": a["label"], "score": 1.0, "segment": [float(x) for x in a["segment"]]}
            for a in entry["annotations"]
        ]
        for id_, entry in database.items()
        if entry["subset"] == "test"
    }
    (tmp_path / "p.json").write_text(json.dumps({"results": results}))
    printed = evaluate("thumos", truth, tmp_path / "p.json")
    assert list(printed["mAP"]) == ["0.30", "0.40", "0.50", "0.60", "0.70"]
    assert (printed["average_mAP"], printed["videos"], printed["instances"]) == (1.0, 210, 3311)
    assert printed["subset"] == "test"


@pytest.fixture
def proposals(tmp_path: Path) -> tuple[Path, Path]:
    """Two videos with class-agnostic proposals that hit everything."""
    truth = {
        id_: {"subset": "validation", "annotations": [{"label": label, "segment": [0, 10]}]}
        for id_, label in (("a", "run"), ("b", "hop"), ("c", "run"))
    }
    found = {id_: [{"label": "proposal", "score": 0.9, "segment": [0, 10]}] for id_ in ("a", "b", "outside")}
    (tmp_path / "gt.json").write_text(json.dumps({"database": truth}))
    (tmp_path / "p.json").write_text(json.dumps({"results": found}))
    return tmp_path / "gt.json", tmp_path / "p.json"


def test_three_sources_of_classes(proposals: tuple[Path, Path], tmp_path: Path) -> None:
    printed = evaluate("activitynet", *proposals, "--class-scores", "oracle")
    assert printed["average_mAP"] == 0.75  # run: one of two instances; hop: all
    assert printed["class_scores"].startswith("oracle: ")
    (tmp_path / "s.csv").write_text("video,run,hop\nv_a,0.8,0.2\nv_b,0.6,0.4\n")
    printed = evaluate("activitynet", *proposals, "--class-scores", tmp_path / "s.csv", "--top-k", 1)
    assert printed["average_mAP"] == 0.25  # b is taken for run
    assert "scores for 2 of 2 videos; best 1 classes" in printed["class_scores"]
    assert evaluate("activitynet", *proposals, "--class-scores", tmp_path / "s.csv")["average_mAP"] == 0.75
    (tmp_path / "s.csv").write_text("video,run,hop\na,0.8,0.2\n")
    with pytest.raises(ValueError, match=r"s\.csv: scores for 1 of 2 videos; without scores: b"):
        evaluate("activitynet", *proposals, "--class-scores", tmp_path / "s.csv")


def test_excluded_videos(proposals: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "lost.txt").write_text("c\nnever-there\n")
    printed = evaluate("activitynet", *proposals, "--class-scores", "oracle", "--exclude", tmp_path / "lost.txt")
    assert (printed["average_mAP"], printed["videos"]) == (1.0, 2)
    assert "1 videos of the subset are excluded: c" in printed["warnings"]


@pytest.fixture
def charades(tmp_path: Path) -> tuple[Path, list[str]]:
    """Two test videos and the rows of a perfect submission."""
    entries = {"A": [[0, 0.0, 5.0], [1, 10.0, 25.0]], "B": [[1, 0.0, 12.0]]}
    data = {id_: {"subset": "testing", "duration": 25.0, "actions": actions} for id_, actions in entries.items()}
    (tmp_path / "c.json").write_text(json.dumps(data))
    rows = []
    for id_, actions in entries.items():
        for frame in range(25):
            on = {c for c, start, end in actions if start <= frame / 25 * 25.0 <= end}
            rows.append(f"{id_} {frame + 1} " + " ".join("0.9" if c in on else "0.1" for c in range(157)))
    return tmp_path / "c.json", rows


def test_charades_localize(charades: tuple[Path, list[str]], tmp_path: Path) -> None:
    truth, rows = charades
    (tmp_path / "s.txt").write_text("\n".join(rows) + "\n")
    printed = evaluate("charades_v1_localize", truth, tmp_path / "s.txt")
    assert (printed["mAP"], printed["wAP"], printed["mAP_present"]) == (None, 1.0, 1.0)
    assert (printed["rows"], printed["videos"], printed["classes"]) == (50, 2, 157)
    assert any("155 classes have no positive" in warning for warning in printed["warnings"])
    shifted = [
        " ".join([r.split()[0], str(int(r.split()[1]) - 1), *r.split()[2:], "7"]) for r in rows
    ]  # 0..24, 158 numbers
    (tmp_path / "z.txt").write_text("\n".join(shifted))
    printed_shifted = evaluate("charades_v1_localize", truth, tmp_path / "z.txt")
    assert printed_shifted["wAP"] == 1.0
    assert "a frame number is 0, so 1 was added to all" in printed_shifted["warnings"]
    (tmp_path / "m.txt").write_text("\n".join([*rows[1:25], "Q 3 " + "0 " * 157]))
    missing = evaluate("charades_v1_localize", truth, tmp_path / "m.txt")
    assert missing["wAP"] < 1
    assert "1 rows of videos with scores are missing; they rank last" in missing["warnings"]
    assert any("1 videos have no scores at all" in warning for warning in missing["warnings"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("A 1 0.5 0.5", r"s\.txt:1: 2 scores; a row is 'id frame s0"),
        ("A 1.5 " + "0 " * 157, r"s\.txt:1: frame number is '1\.5'"),
        ("A 1 " + "0 " * 156 + "nan", r"s\.txt:1: a score is NaN"),
        ("A 1 " + "x " * 157, r"s\.txt:1: could not convert"),
    ],
)
def test_bad_submissions_are_named(charades: tuple[Path, list[str]], tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / "s.txt").write_text(row)
    with pytest.raises(ValueError, match=message):
        evaluate("charades_v1_localize", charades[0], tmp_path / "s.txt")


def test_charades_arrays_and_classify(charades: tuple[Path, list[str]], tmp_path: Path) -> None:
    truth, rows = charades
    tables = {id_: np.array([[float(x) for x in r.split()[2:]] for r in rows if r[0] == id_]) for id_ in "AB"}
    np.savez(tmp_path / "s.npz", **tables)
    assert evaluate("charades_v1_localize", truth, tmp_path / "s.npz")["wAP"] == 1.0
    np.savez(tmp_path / "dense.npz", **{id_: np.repeat(table, 8, axis=0) for id_, table in tables.items()})
    assert evaluate("charades_v1_localize", truth, tmp_path / "dense.npz")["wAP"] > 0.9
    np.savez(tmp_path / "v.npz", **{id_: table.max(axis=0) for id_, table in tables.items()})
    assert evaluate("charades_v1_classify", truth, tmp_path / "v.npz")["wAP"] == 1.0
    (tmp_path / "v.txt").write_text("\n".join(f"{i} " + " ".join(map(str, t.max(axis=0))) for i, t in tables.items()))
    assert evaluate("charades_v1_classify", truth, tmp_path / "v.txt")["wAP"] == 1.0


def test_frame_map_names_its_step(tmp_path: Path) -> None:
    entry = {"subset": "testing", "duration": 10.0, "actions": [[1, 2.0, 6.0]]}
    (tmp_path / "m.json").write_text(json.dumps({"v": entry, "w": entry}))
    scores = np.zeros((20, 65), np.float32)
    scores[5:12, 0] = 1.0  # strictly inside 2 to 6 s at half a second a row
    np.savez(tmp_path / "s.npz", v=scores)
    printed = evaluate("multithumos", tmp_path / "m.json", tmp_path / "s.npz")
    assert (printed["mAP"], printed["mAP_present"], printed["step_s"], printed["frames"]) == (1 / 65, 1.0, 0.5, 20)
    assert any("1 videos of the subset have no scores and count nowhere: w" in w for w in printed["warnings"])
    (tmp_path / "own.csv").write_text("video,label,t_start,t_end,subset,duration\nv,run,2,6,testing,10\n")
    np.savez(tmp_path / "o.npz", v=scores[:, :1])
    assert evaluate("frames", tmp_path / "own.csv", tmp_path / "o.npz")["mAP"] == 1.0
    with pytest.raises(ValueError, match="no video has subset 'validation'; there are testing"):
        evaluate("frames", tmp_path / "own.csv", tmp_path / "o.npz", "--subset", "validation")


def test_real_multithumos_perfect_scores(shared: Path, tmp_path: Path) -> None:
    truth = shared / "annotations" / "multithumos" / "multithumos.json.gz"
    data = json.loads(gzip.decompress(truth.read_bytes()))
    arrays = {}
    for id_, entry in data.items():
        if entry["subset"] == "testing":
            times = np.arange(int(entry["duration"])) * entry["duration"] / int(entry["duration"])
            arrays[id_] = np.zeros((len(times), 65), np.float32)
            for label, start, end in entry["actions"]:
                arrays[id_][(times > start) & (times < end), label - 1] = 1.0
    np.savez(tmp_path / "s.npz", **arrays)
    printed = evaluate("multithumos", truth, tmp_path / "s.npz")
    assert (printed["mAP_present"], printed["videos"]) == (1.0, 213)


def test_epic_100_on_the_real_truth(shared: Path, tmp_path: Path) -> None:
    truth = shared / "annotations" / "epic_kitchens_100" / "EPIC_100_validation.csv.gz"
    rows = [line.split(",") for line in gzip.decompress(truth.read_bytes()).decode().splitlines()[1:301]]
    ids, rng = [row[0] for row in rows], np.random.default_rng(0)
    verb, noun = rng.random((300, 97)).astype(np.float32), rng.random((300, 300)).astype(np.float32)
    np.savez(tmp_path / "s.npz", verb_output=verb, noun_output=noun, narration_id=np.array(ids))
    printed = evaluate("epic100", truth, tmp_path / "s.npz")
    assert printed["instances"] == 300
    assert printed["variant"] == "no_prior"
    assert 0 <= printed["all_verb_accuracy_at_1"] <= printed["all_verb_accuracy_at_5"] < 30
    assert any("9368 segments of the truth have no scores" in warning for warning in printed["warnings"])
    entries = zip(ids, verb, noun, strict=True)
    results = {
        i: {k: {str(c): float(x) for c, x in enumerate(s)} for k, s in (("verb", v), ("noun", n))}
        for i, v, n in entries
    }
    (tmp_path / "s.json").write_text(json.dumps({"version": "0.2", "results": results}))
    assert (
        evaluate("epic100", truth, tmp_path / "s.json")["all_verb_accuracy_at_5"] == printed["all_verb_accuracy_at_5"]
    )
    del results[ids[0]]["verb"]["3"]
    (tmp_path / "s.json").write_text(json.dumps({"results": results}))
    with pytest.raises(ValueError, match="field 'verb' must have a score for each of '0' to '96'"):
        evaluate("epic100", truth, tmp_path / "s.json")
    with pytest.raises(ValueError, match="variant prior needs --training"):
        evaluate("epic100", truth, tmp_path / "s.npz", "--variant", "prior")
    printed = evaluate("epic100", truth, tmp_path / "s.npz", "--variant", "prior", "--training", truth)
    assert printed["variant"] == "prior"


def test_epic_55_counts_its_prior_on_the_training_people(tmp_path: Path) -> None:
    header = "uid,participant_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class\n"
    span = "00:00:00.00,00:00:01.00"
    nouns = {"P01": 1, "P02": 1, "P26": 1, "P31": 1}
    rows = [f"{i},{person},{person}_01,{span},0,{noun}" for i, (person, noun) in enumerate(nouns.items())]
    (tmp_path / "EPIC_train_action_labels.csv").write_text(header + "\n".join(rows) + "\n")
    verb, noun = np.zeros((2, 125)), np.zeros((2, 352))
    verb[:, 0], noun[:, 0], noun[:, 1] = 9, 5.0, 4.9  # noun 0 wins, unless the prior says that verb 0 goes with noun 1
    np.savez(tmp_path / "s.npz", verb_output=verb, noun_output=noun, narration_id=np.array(["2", "3"]))
    files = tmp_path / "EPIC_train_action_labels.csv", tmp_path / "s.npz"
    prior, without = evaluate("epic55", *files), evaluate("epic55", *files, "--variant", "no_prior")
    assert (prior["variant"], prior["all_action_accuracy_at_1"], prior["instances"]) == ("prior", 100.0, 2)
    assert (without["all_action_accuracy_at_1"], without["all_action_accuracy_at_5"]) == (0.0, 100.0)
    for printed in (prior, without):
        assert (printed["all_verb_accuracy_at_1"], printed["all_noun_accuracy_at_1"]) == (100.0, 0.0)


def test_lvu_all_tasks_and_one(shared: Path, tmp_path: Path) -> None:
    truth = shared / "annotations" / "lvu"
    test = json.loads(gzip.decompress((truth / "test.json.gz").read_bytes()))
    tasks = {}
    for task in ("director", "year"):
        right = {id_: ord(entry[f"{task}_answer"][1]) - ord("a") for id_, entry in test.items() if task in entry}
        tasks[task] = dict(list(right.items())[1:])
    (tmp_path / "p.json").write_text(json.dumps(tasks))
    printed = evaluate("lvu", truth, tmp_path / "p.json")
    assert printed["tasks"]["director"] == {"accuracy": 100.0, "videos": 106, "missing": 1}
    assert printed["tasks"]["year"] == {"accuracy": 100.0, "videos": 140, "missing": 1}
    assert any(w.startswith("director: 1 videos without a prediction") for w in printed["warnings"])
    (tmp_path / "one.json").write_text(json.dumps(tasks["director"]))
    assert set(evaluate("lvu", truth, tmp_path / "one.json", "--task", "director")["tasks"]) == {"director"}
    with pytest.raises(ValueError, match="--task is 'directr'"):
        evaluate("lvu", truth, tmp_path / "one.json", "--task", "directr")
    (tmp_path / "one.json").write_text(json.dumps({"like_ratio": {"a": 1.0}}))
    with pytest.raises(ValueError, match="task 'like_ratio' has no truth"):
        evaluate("lvu", truth, tmp_path / "one.json")


def test_recognition_by_views_and_over_splits(shared: Path, tmp_path: Path) -> None:
    truth = shared / "annotations" / "ucf101"
    classes = (shared / "annotations" / "label_maps" / "ucf101_label_map.txt").read_text().split()
    for split in (1, 2, 3):
        clips = gzip.decompress((truth / f"testlist0{split}.txt.gz").read_bytes()).decode().split()[:40]
        arrays = {}
        for number, clip in enumerate(clips):
            views = np.zeros((3, 101), np.float32)
            views[:2, (classes.index(clip.split("/")[0]) + (number < 10 * split)) % 101] = 5.0
            arrays[Path(clip).stem] = views
        np.savez(tmp_path / f"split{split}.npz", **arrays)
    printed = evaluate("ucf101", truth, tmp_path / "split2.npz", "--split", 2)
    assert (printed["top1"], printed["split"], printed["videos"]) == (50.0, "2", 40)
    assert printed["views"] == "combined by softmax_mean"
    printed = evaluate("ucf101", truth, tmp_path, "--variant", "mean")
    assert (printed["top1"], printed["split"]) == (50.0, "mean of 3")
    with pytest.raises(ValueError, match="--variant is 'sum'; it must be one of softmax_mean, mean, max"):
        evaluate("ucf101", truth, tmp_path, "--variant", "sum")


def test_options_that_a_protocol_does_not_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(ValueError, match="--task: protocol ava reads --variant, --classes, --exclude"):
        evaluate("ava", tmp_path / "x", tmp_path / "x", "--task", "director")
    with pytest.raises(FileNotFoundError, match="gone: there is no such file or folder"):
        evaluate("ava", tmp_path / "gone", tmp_path / "x")


def test_every_protocol_has_a_function_that_says_what_it_is() -> None:
    from importlib import import_module

    for name, protocol in PROTOCOLS.items():
        module, _, function = protocol.entry.partition(":")
        assert getattr(import_module(module), function).__doc__, name
