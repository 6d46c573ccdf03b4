"""The stage long_form on written banks: what only order tells, boxes with actions, and all that can be missing."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.heads import long_form as heads
from pipeline.datasets.formats.lvu import read_tasks
from pipeline.datasets.schema import Dataset, Segment, Video
from pipeline.datasets.simulated_spans import write_simulated_annotations
from pipeline.datasets.spans import PERSON
from pipeline.evaluation.from_files.ava import run as evaluate_ava
from pipeline.evaluation.from_files.request import Request
from pipeline.report.blocks import Plots, Table, Text
from pipeline.report.blocks import Section as ReportSection
from pipeline.run import kinds
from pipeline.run.files import read_json
from pipeline.run.params import PARAMS_FILE, Section, check_params, read_params
from pipeline.run.stage import section_models
from stages import _long_form_report, _long_form_runs, _outputs
from stages._instances import load_instances
from tests.stages.one_stage import run_one

DURATION_S = 12.0
CLASSES = ("bow", "wave")
ABOUT = {"classes": "person,ball,global", "duration_s": DURATION_S}
OVERRIDES: dict[str, Any] = {
    "spans": {"length_s": 60, "budget": 64, "jitter": 0.1},
    "network": {"width": 32, "layers": 1, "heads": 2, "inner": 32, "dropout": 0.0},
    "variants": {
        "average": {"model": "average", "lr": 0.03},
        "scratch": {"model": "object_transformer"},
        "object_transformer": {"model": "object_transformer", "pretrain": "both"},
    },
    "short_term": {"steps": 100, "batch": 64, "lr": 0.05},
    "pretraining": {"steps": 12, "batch": 4, "lr": 0.003},
    "tuning": {"steps": 60, "batch": 16, "lr": 0.006},
    "fusion": {"every_s": 4, "rounds": 2, "schedule": {"steps": 20, "batch": 64, "lr": 0.01}},
    "seeds": 1,
    "resamples": 200,
}
QUICK: dict[str, Any] = {
    "pretraining": {"steps": 2, "batch": 2},
    "tuning": {"steps": 2, "batch": 4},
    "short_term": {"steps": 2, "batch": 4},
    "fusion": {"every_s": 4, "rounds": 2, "schedule": {"steps": 2, "batch": 8}},
}
Change = Callable[[dict[str, np.ndarray]], None]


def write_bank(root: Path, id_: str, rng: np.random.Generator, ball_first: bool, change: Change | None = None) -> None:
    """Two people and a ball in every second; person 0 shows one thing in one half and another in the other half."""
    middles = np.arange(0.5, DURATION_S)
    feature = 0.3 * rng.standard_normal((len(middles), 4, 6))
    early = middles < DURATION_S / 2
    feature[:, 0, 0] += np.where(early == ball_first, 3, -3)  # the video's order
    feature[:, 1, 1] += np.where(middles % 8 < 4, 3, -3)  # what the second person does: bow, then wave, then bow
    rows = {
        "t": np.repeat(middles, 4),
        "track": np.tile([0, 1, 2, -1], len(middles)).astype(np.int32),
        "label": np.tile([0, 0, 1, 2], len(middles)).astype(np.int16),
        "box": np.tile(np.array([0, 0, 10, 10], np.float32), (4 * len(middles), 1)),
        "score": np.ones(4 * len(middles), np.float32),
        "feature": feature.reshape(-1, 6).astype(np.float32),
    }
    if change is not None:
        change(rows)
    kinds.BANK.write(root / _outputs.BANK / f"{id_}.h5", rows, {**ABOUT, "encoder": "e", "window_s": 1.0})
    nothing = {
        name: np.zeros((0, 4) if name == "box" else 0, np.dtype(a.dtype)) for name, a in kinds.TRACKS.arrays.items()
    }
    kinds.TRACKS.write(root / _outputs.TRACKS / f"{id_}.h5", nothing, {**ABOUT, "width": 100, "height": 80})
    shots = {"t_start": np.array([0.0]), "t_end": np.array([DURATION_S]), "score": np.zeros(1)}
    kinds.SHOTS.write(root / _outputs.SHOTS / f"{id_}.h5", shots, {"detector": "adaptive"})


def video(subset: str, number: int, labels: bool = True, actions: bool = True) -> Video:
    starts = [(at, CLASSES[int(at // 4) % 2]) for at in np.arange(0, DURATION_S, 4)]
    segments = tuple(Segment(name, at, at + 4) for at, name in starts) if actions else ()
    given = {"order": ("first", "second")[number % 2]} if labels else {}
    return Video(f"{subset}-{number}", "v.mp4", subset, DURATION_S, 20.0, 400, 100, 80, segments, given)


def make(
    folder: Path, root: Path, subsets: Mapping[str, int], videos: Sequence[Video] | None = None, **values: Any
) -> dict[str, Section]:
    for name in ("pipeline", "stages", "models"):
        if not (folder / name).exists():
            (folder / name).symlink_to(root / name)
    raw = read_params(root / PARAMS_FILE)
    raw["long_form"] |= OVERRIDES | values
    raw["run"] |= {"tracking": False}
    made = videos if videos is not None else [video(subset, i) for subset, n in subsets.items() for i in range(n)]
    for number, one in enumerate(made):
        write_bank(folder, one.id, np.random.default_rng(number), one.labels.get("order") == "first")
    classes = tuple(name for name in CLASSES if any(s.label == name for one in made for s in one.segments))
    Dataset("made", classes, tuple(made)).save(folder / _outputs.DATASET_FILE)
    return check_params(raw, section_models(), PARAMS_FILE)


def run(folder: Path, sections: dict[str, Section]) -> tuple[dict[str, float], dict[str, Any]]:
    metrics = run_one(folder, sections, "long_form")
    return metrics, read_json(folder / "data" / "predictions" / "long_form" / "table.json")


def report(folder: Path) -> ReportSection:
    return _long_form_report.section(folder, Dataset.load(folder / _outputs.DATASET_FILE))


def models(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "data" / "checkpoints" / "long_form").iterdir()}


SMALL = {"training": 4, "testing": 3}


def test_what_only_order_tells_and_what_boxes_do(tmp_path: Path, root: Path) -> None:
    sections = make(tmp_path, root, {"training": 24, "validation": 4, "testing": 16})
    metrics, table = run(tmp_path, sections)
    order = table["tasks"]["order"]
    assert order["videos"] == {"train": 24, "val": 4, "test": 16} and order["without_looking"] == order["chance"] == 50
    value = {name: figures["value"] for name, figures in order["variants"].items()}
    assert value["average"] < 80 < 93 < value["object_transformer"], "the mean of all boxes is the same in both orders"
    assert order["variants"]["object_transformer"]["gain_low"] > 0
    assert "pretraining_gain" in order["variants"]["object_transformer"] and "gain" not in order["variants"]["average"]
    assert metrics["order/object_transformer"] == value["object_transformer"] and metrics["missing"] == 0
    with np.load(tmp_path / "data" / "predictions" / "long_form" / "scores.npz") as file:
        scores, targets = file["order/object_transformer"], file["order/targets"]
        assert scores.shape == (1, 16, 2) and file["order/videos"][0] == "testing-0"
    assert 100 * (scores[0].argmax(axis=1) == targets).mean() == value["object_transformer"]

    boxes = table["boxes"]
    assert (boxes["boxes"], boxes["videos"], boxes["classes"], boxes["chance"]) == (2 * 3 * 16, 16, 2, 50)
    assert boxes["variants"]["short_term"]["value_low"] > 60, "one of the two people in a picture shows it"
    assert set(boxes["variants"]) == {"short_term", "context", "fused"}
    assert table["labelled_by"] == "segments" and "unmatched" not in boxes
    before = models(tmp_path)
    assert set(before) == {f"{name}-order-0.safetensors" for name in OVERRIDES["variants"]}
    histories = {path.stem for path in (tmp_path / "data" / "checkpoints" / "history" / "long_form").iterdir()}
    assert histories >= {"short_term_boxes", "pretrain_object_transformer_both-0", "fusion-0", "average-order-0"}

    (tmp_path / "data" / "work").rename(tmp_path / "data" / "elsewhere")
    turned = dict(reversed([item for item in OVERRIDES["variants"].items() if item[0] != "scratch"]))
    section = type(sections["long_form"]).model_validate(sections["long_form"].model_dump() | {"variants": turned})
    _, again = run(tmp_path, {**sections, "long_form": section})
    after = models(tmp_path)
    assert len(after) == 2 and all(after[name] == before[name] for name in after), "same bytes, whatever stands beside"
    assert again["boxes"] == boxes


KNOWN_S = (0, 1, 2, 4, 5, 6)
"""Seconds of what is true; an action lasts from 0 to 4 s, the next from 4 to 8 s."""


def write_own(folder: Path, videos: Sequence[Video]) -> None:
    """Two people apart, whose actions are known: the second's, the first has none; the ball passes for a third person.

    A third true person is never found.
    """
    left = np.array([0.0, 40, 80, 0])

    def apart(rows: dict[str, np.ndarray]) -> None:
        at = np.tile(left, int(DURATION_S)).astype(np.float32)
        rows["box"] = np.stack([at, 0 * at, at + 10, 0 * at + 20], axis=1)
        rows["label"] = np.where(rows["track"] == 2, 0, rows["label"]).astype(np.int16)
        rows["feature"] = rows["feature"].astype(np.float16)

    n = len(KNOWN_S)
    box = np.tile(np.array([[1, 0, 11, 20], [40, 1, 50, 21], [60, 0, 70, 20]], np.float32), (n, 1))
    action = np.zeros((n, 3, 2), np.uint8)
    for row, second in enumerate(KNOWN_S):
        action[row, 1, 1 - second // 4 % 2] = 1
    truth = {
        "pts": np.array(KNOWN_S) + 0.53, "labels": np.zeros((n, 2), np.uint8), "box": box,
        "box_frame": np.repeat(np.arange(n, dtype=np.int32), 3), "box_class": np.zeros(3 * n, np.int16),
        "box_track": np.tile(np.arange(3, dtype=np.int32), n), "box_action": action.reshape(-1, 2),
        "shot_start": np.zeros(0),
    }  # fmt: skip
    for number, one in enumerate(videos):
        write_bank(folder, one.id, np.random.default_rng(number), one.labels.get("order") == "first", apart)
        about = {"box_classes": "person", "label_classes": "wave\nbow"}
        kinds.TRUTH.write(_outputs.truth(folder, one), truth, about)


def test_a_box_has_its_own_actions_where_they_are_known(tmp_path: Path, root: Path) -> None:
    videos = [video(subset, i, False) for subset, count in (("training", 8), ("testing", 5)) for i in range(count)]
    sections = make(tmp_path, root, {}, videos)
    write_own(tmp_path, videos)
    metrics, table = run(tmp_path, sections)
    boxes = table["boxes"]
    assert table["labelled_by"] == "boxes" and boxes["videos"] == 5
    assert boxes["boxes"] == 5 * 2 * 3, "at 0 and 4 s; 8 s is not known; who is nobody stays"
    assert boxes["unmatched"] == metrics["boxes/unmatched"] == 5 * 2 and boxes["missed"] == 5 * 2
    assert boxes["chance"] == pytest.approx(100 / 6), "one of three boxes acts, in one of two classes"
    assert boxes["variants"]["short_term"]["value"] > 95, "what one does is not the other's"

    looked = read_json(tmp_path / "data" / "predictions" / "long_form" / "attention.json")
    assert len(looked) == 3 and len({one["video"] for one in looked}) == 3
    for one in looked:
        assert one["instance"] == 1 and one["t"] in (0.5, 4.5), "only the second person does anything"
        assert one["label"] == CLASSES[int(one["t"] // 4)]
        t, instance, share = zip(*one["rows"], strict=True)
        assert list(t) == sorted(t) and len(t) == 3 * 12 and set(instance) == {0, 1, 2}
        assert min(share) >= 0 and 0.5 < sum(share) < 1, "the rest went to [CLS]"
    table_block, plots = report(tmp_path).blocks
    assert isinstance(table_block, Table) and isinstance(plots, Plots)
    assert table_block.header.count("95 % interval") == 2 and len(table_block.rows[2]) == 7
    written = tmp_path / "data" / "predictions" / "long_form" / "ava"
    for name, figures in boxes["variants"].items():
        files = Request(written / "truth.csv.gz", written / f"{name}-0.csv.gz", classes=written / "label_map.txt")
        found = evaluate_ava(files)
        assert found["key_frames"] == 5 * 2 and found["instances"] == 5 * 2
        assert 100 * found["mAP"] == pytest.approx(figures["frame_mAP"]), "as the command says"
    assert boxes["variants"]["short_term"]["frame_mAP"] > 95
    assert "true person that it overlaps most, if by enough; 10 boxes match nobody" in table_block.caption

    one = load_instances(tmp_path / "data" / "artifacts", "testing-0", (PERSON,))
    assert one is not None and one.feature.dtype == np.float16, "as the bank has them"
    assert one.t[:4].tolist() == [0.5, 0.5, 0.5, 1.5] and one.second[:4].tolist() == [0, 0, 0, 1]


def test_of_boxes_that_nobody_told_nothing_is_learned(tmp_path: Path, root: Path) -> None:
    """Truth of training alone; then one whose key frames lie half a second beside the bank's instants."""
    videos = [video(subset, i) for subset in ("training", "testing") for i in range(3)]
    sections = make(tmp_path, root, {}, videos, **QUICK)
    write_own(tmp_path, videos)
    for one in videos:
        if one.subset == "testing":
            _outputs.truth(tmp_path, one).unlink()
    _, table = run(tmp_path, sections)
    assert table["boxes"] == {} and table["labelled_by"] == "boxes"
    assert table["skipped"]["boxes"].startswith("no person's box of training or of testing matches a true one")
    assert "object_transformer" in table["tasks"]["order"]["variants"], "the short-term model learned on training"
    for one in videos:
        if one.subset == "training":
            arrays = kinds.TRUTH.read(_outputs.truth(tmp_path, one))
            arrays["pts"] += 0.47
            about = {"box_classes": "person", "label_classes": "wave\nbow"}
            kinds.TRUTH.write(_outputs.truth(tmp_path, one), arrays, about)
    _, table = run(tmp_path, sections)
    assert "no short-term model" in table["skipped"]["model object_transformer"]


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    for folder in (quiet, killed):
        folder.mkdir()
        sections = make(folder, root, SMALL, **QUICK)
    run(quiet, sections)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_long_form_runs, "spans", stop)
        patch.setattr(_long_form_runs, "score", stop)
        with pytest.raises(KeyboardInterrupt):
            run(killed, make(killed, root, SMALL, **QUICK, variants=_pretrained_first()))
    seen: list[int] = []
    original = heads.masked_instance_loss
    monkeypatch.setattr(heads, "masked_instance_loss", lambda *given: seen.append(1) or original(*given))
    run(killed, make(killed, root, SMALL, **QUICK, variants=_pretrained_first()))
    assert not seen, "the pre-training was done before the kill"
    assert models(killed) == models(quiet)


def _pretrained_first() -> dict[str, Any]:
    return dict(reversed(OVERRIDES["variants"].items()))


def test_without_labels_or_actions(tmp_path: Path, root: Path) -> None:
    silent = [video(subset, i, False, False) for subset in ("training", "testing") for i in range(2)]
    metrics, table = run(tmp_path, make(tmp_path, root, {}, silent, **QUICK))
    assert table["tasks"] == table["boxes"] == {} and metrics["missing"] == 0 and models(tmp_path) == {}
    assert table["left_out"] == "the videos have no labels, and the seconds of people no actions"
    (text,) = report(tmp_path).blocks
    assert isinstance(text, Text) and text.text.startswith("Nothing was trained: ") and not text.warning

    acting = [video(subset, i, False) for subset in ("training", "testing") for i in range(2)]
    _, table = run(tmp_path, make(tmp_path, root, {}, acting, **QUICK))
    assert table["tasks"] == {} and table["boxes"]["boxes"] == 2 * 2 * 3
    found, looked = report(tmp_path).blocks
    assert isinstance(found, Table) and isinstance(looked, Plots)

    labelled = [video(subset, i, True, False) for subset in ("training", "testing") for i in range(2)]
    _, table = run(tmp_path, make(tmp_path, root, {}, labelled, **QUICK))
    assert set(table["tasks"]["order"]["variants"]) == {"average", "scratch"} and table["boxes"] == {}
    assert "no short-term model tells what is masked" in table["skipped"]["model object_transformer"]
    masked = {name: {"model": "object_transformer", "pretrain": name} for name in ("mask", "both")}
    _, table = run(tmp_path, make(tmp_path, root, {}, labelled, **QUICK, variants=masked))
    assert table["tasks"] == {} and set(table["skipped"]) == {"model mask", "model both"}
    compatible = {"a": {"model": "average"}, "b": {"model": "frame_transformer", "pretrain": "compatibility"}}
    _, table = run(tmp_path, make(tmp_path, root, {}, labelled, **QUICK, variants=compatible))
    assert set(table["tasks"]["order"]["variants"]) == {"a", "b"}, "compatibility needs no short-term model"


def test_missing_videos_nobody_and_crowds(tmp_path: Path, root: Path) -> None:
    def nobody(rows: dict[str, np.ndarray]) -> None:
        for name in rows:
            rows[name] = rows[name][:0]

    def crowd_outside(rows: dict[str, np.ndarray]) -> None:
        for name in rows:
            rows[name] = np.repeat(rows[name], 300, axis=0)
        rows["track"] = np.arange(len(rows["t"]), dtype=np.int32)  # each seen once
        rows["box"] += np.where(rows["track"] % 2, 5000, -5000)[:, None].astype(np.float32)

    sections = make(tmp_path, root, {"training": 5, "testing": 4}, **QUICK)
    for id_ in ("training-1", "testing-1"):
        write_bank(tmp_path, id_, np.random.default_rng(1), True, crowd_outside)
    (tmp_path / _outputs.BANK / "testing-3.h5").unlink()
    for id_ in ("training-0", "testing-0"):
        write_bank(tmp_path, id_, np.random.default_rng(0), True, nobody)
    metrics, table = run(tmp_path, sections)
    assert table["missing"] == table["tasks"]["order"]["missing"] == ["testing-3"] and metrics["missing"] == 1
    assert table["tasks"]["order"]["videos"] == {"train": 5, "val": 0, "test": 3}, "a video with nobody is scored too"
    # A span holds 64 boxes: of the crowd's 3 x 900 people and things at every fourth second, those nearest to it.
    assert table["boxes"]["videos"] == 2 and 6 < table["boxes"]["boxes"] <= 6 + 3 * 64
    assert table["left_out"] == "videos without a bank: 1"

    for path in (tmp_path / _outputs.BANK).iterdir():
        path.unlink()
    metrics, table = run(tmp_path, sections)
    assert table["tasks"] == {} and metrics["missing"] == 9
    assert table["skipped"]["label order"] == "no video with a bank in train, test"


def test_labels_of_unknown_videos_are_listed(tmp_path: Path, root: Path) -> None:
    """LVU's own files: nine tasks with splits of their own, on whatever videos there are."""
    write_simulated_annotations(tmp_path / "lvu", (4, 3, 3))
    rows = read_tasks(tmp_path / "lvu").rows
    known = [Video(row.video, "v.mp4", "training", DURATION_S, 20.0, 400, 100, 80) for row in rows["scene"][:-1]]
    known += [Video(row.video, "v.mp4", "testing", DURATION_S, 20.0, 400, 100, 80) for row in rows["like_ratio"]]
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "teacher.npz", weight=rng.standard_normal((7, 6)), bias=np.zeros(7))
    sections = make(tmp_path, root, {}, known, **QUICK, annotations="lvu", teacher="teacher.npz")
    metrics, table = run(tmp_path, sections)
    assert set(table["tasks"]) == {"scene", "like_ratio"} and len(table["skipped"]) == 8
    assert table["tasks"]["scene"]["missing"] == [rows["scene"][-1].video]
    assert table["tasks"]["scene"]["videos"] == {"train": 4, "val": 3, "test": 2}, "the task's own splits"
    assert set(table["missing"]) == {r.video for mine in rows.values() for r in mine} - {one.id for one in known}
    assert table["tasks"]["like_ratio"]["metric"] == "mse" and "chance" not in {k for k in metrics if "like" in k}
    assert table["skipped"]["boxes"] == "the short-term model has 7 classes, the data set 0"
    found, text = report(tmp_path).blocks
    assert isinstance(found, Table) and isinstance(text, Text) and "label genre: no video with a bank" in text.text
    assert any(row[0].startswith("like_ratio (squared error), average") for row in found.rows)


def test_a_feature_that_is_no_number_is_named(tmp_path: Path, root: Path) -> None:
    def broken(rows: dict[str, np.ndarray]) -> None:
        rows["feature"][7, 2] = np.nan

    sections = make(tmp_path, root, SMALL, **QUICK)
    write_bank(tmp_path, "testing-1", np.random.default_rng(0), True, broken)
    with pytest.raises(ValueError, match=r"testing-1.h5: the bank's feature of row 7 is not finite"):
        run(tmp_path, sections)


def test_the_reports_table_says_what_the_table_says(tmp_path: Path, root: Path) -> None:
    _, table = run(tmp_path, make(tmp_path, root, SMALL, **QUICK))
    tasks, boxes, looked = report(tmp_path).blocks
    assert isinstance(tasks, Table) and isinstance(boxes, Table) and isinstance(looked, Plots)
    assert "A box is labelled by the segments of its second, whoever acts. The context" in boxes.caption
    order = table["tasks"]["order"]
    assert [row[0] for row in tasks.rows] == [f"order, {name}" for name in OVERRIDES["variants"]], "in their order"
    for row, (name, figures) in zip(tasks.rows, ((n, order["variants"][n]) for n in order["names"]), strict=True):
        assert row[:2] == [f"order, {name}", f"{figures['value']:.1f}"] and row[-1] == "66.7"
        assert row[2] == f"{figures['value_low']:.1f} … {figures['value_high']:.1f}"
    assert tasks.header[3] == "gain over average" and tasks.rows[0][3] == "" != tasks.rows[1][3]
    assert boxes.rows[0][1] == f"{table['boxes']['variants']['short_term']['value']:.1f}" and boxes.rows[0][3] == ""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"variants": {"a": {"model": "average", "pretrain": "mask"}, "b": {"model": "max"}}}, "nothing to pre-train"),
        ({"variants": {"a": {"model": "lstm"}, "b": {"model": "max"}}}, "object_transformer"),
        ({"variants": {"a/b": {"model": "average"}, "b": {"model": "max"}}}, "allowed: letters, digits and _"),
        ({"variants": {"a": {"model": "average"}}}, "at least 2"),
        ({"pretraining": {"steps": 0}}, "pretraining.steps is 0; only the tuning's may be"),
    ],
)
def test_wrong_values_are_named(root: Path, values: dict[str, Any], message: str) -> None:
    raw = read_params(root / PARAMS_FILE)["long_form"] | values
    with pytest.raises(ValueError, match=message):
        section_models()["long_form"].model_validate(raw)
