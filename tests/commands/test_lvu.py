"""The command lvu: all nine tasks end to end on simulated people, both published file forms, what is missing."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.commands import lvu
from pipeline.datasets.formats.lvu import TASKS, Row, read_tasks
from pipeline.datasets.schema import Dataset, Video
from pipeline.datasets.simulated_spans import ACTIONS, simulated_video, simulation, write_simulated_annotations
from pipeline.datasets.spans import PERSON
from pipeline.evaluation.lvu import combine_spans, score_task
from pipeline.run import kinds
from stages._long_form_schedule import Schedule, linear
from stages._long_form_tasks import score

TINY = replace(
    lvu.SCALES["demo"],
    model={"width": 16, "layers": 1, "heads": 2, "inner": 16},
    pretraining=Schedule(steps=4, batch=3, lr=1e-3),
    tuning=Schedule(steps=4, lr=1e-3),
    videos=6,
)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lvu.SCALES, "demo", TINY)


def run(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    lvu.add_arguments(parser)
    out = tmp_path / "lvu.json"
    assert lvu.run(parser.parse_args([*arguments, "--out", str(out)])) == 0
    figures: dict[str, Any] = json.loads(out.read_text())
    return figures


def test_nine_tasks_end_to_end(tmp_path: Path, tiny: None) -> None:
    simulated = ("--annotations", "simulated", "--features", "simulated")
    figures = run(tmp_path, *simulated, "--pretrain", "both", "--seeds", "2")
    assert set(figures["tasks"]) == set(TASKS) and not figures["without_labels"]
    assert figures["pretraining"]["videos"] == 9 * 6
    for name, task in figures["tasks"].items():
        assert task["metric"] == ("accuracy" if TASKS[name].classes else "mse")
        assert np.isfinite(task["test"]) and task["standard_error"] is not None
        assert task["videos"] == {"train": 6, "val": 6, "test": 6} and not task["missing"]
    again = run(tmp_path, *simulated, "--pretrain", "both", "--seeds", "2", "--task", "scene")
    assert again["tasks"]["scene"]["test"] == figures["tasks"]["scene"]["test"]
    assert again["pretraining"] == figures["pretraining"], "on the videos of all tasks, whichever are run"


@pytest.mark.parametrize("form", ["thesis", "released"])
@pytest.mark.parametrize("model", ["object_transformer", "frame_transformer", "average"])
def test_a_run_repeats_to_the_last_bit(tmp_path: Path, tiny: None, model: str, form: str) -> None:
    arguments = ["--annotations", "simulated", "--features", "simulated", "--task", "view_count", "--model", model]
    arguments += ["--form", form, *(["--pretrain", "none"] if model == "average" else [])]
    first, second = (run(tmp_path, *arguments)["tasks"]["view_count"] for _ in range(2))
    assert first["test"] == second["test"]


def test_the_published_json_has_seven_of_them(tmp_path: Path, tiny: None, shared: Path) -> None:
    folder = shared / "annotations" / "lvu"
    figures = run(tmp_path, "--annotations", str(folder), "--features", "simulated", "--pretrain", "none", "--task", "year",
                  "--task", "like_ratio")  # fmt: skip
    assert list(figures["tasks"]) == ["year"] and figures["without_labels"] == ["like_ratio"]


def test_a_transformer_learns_what_the_simulation_hides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = lvu.SCALES["demo"]
    monkeypatch.setitem(lvu.SCALES, "demo", replace(demo, tuning=demo.tuning.but(steps=60)))
    figures = run(tmp_path, "--annotations", "simulated", "--features", "simulated", "--pretrain", "none", "--task",
                  "way_speaking")["tasks"]["way_speaking"]  # fmt: skip
    assert figures["test"] > figures["without_looking"] + 25, "of 5 classes, in percent"


def test_banks_of_the_pipeline_and_missing_videos(tmp_path: Path, tiny: None) -> None:
    annotations, artifacts = tmp_path / "lvu", tmp_path / "artifacts"
    annotations.mkdir()
    write_simulated_annotations(annotations, (4, 3, 3))
    rows = read_tasks(annotations).rows["scene"]
    rng = np.random.default_rng(0)
    for row in rows[:-1]:  # the last one is gone from the web
        n = 0 if row is rows[0] else 20  # and one shows nobody
        box = np.sort(rng.random((n, 2, 2)), axis=1).reshape(n, 4).astype(np.float32) * [100, 80, 100, 80]
        t, zeros = np.arange(n) + 0.5, np.zeros(n, np.int32)
        bank = {"t": t, "track": zeros, "label": zeros.astype(np.int16), "box": box, "score": zeros.astype(np.float32),
                "feature": rng.standard_normal((n, 5)).astype(np.float16)}  # fmt: skip
        about = {"classes": "person,ball", "duration_s": 20.0}
        kinds.BANK.write(artifacts / "bank" / f"{row.video}.h5", bank, {**about, "encoder": "e", "window_s": 1.0})
        nothing = {name: np.zeros((0, 4) if name == "box" else 0, np.dtype(array.dtype)) for name, array in
                   kinds.TRACKS.arrays.items()}  # fmt: skip
        kinds.TRACKS.write(artifacts / "tracks" / f"{row.video}.h5", nothing, {**about, "width": 100, "height": 80})
        shots = {"t_start": np.array([0.0, 9.0]), "t_end": np.array([9.0, 20.0]), "score": np.zeros(2)}
        kinds.SHOTS.write(artifacts / "shots" / f"{row.video}.h5", shots, {"detector": "adaptive"})
    np.savez(tmp_path / "teacher.npz", weight=rng.standard_normal((7, 5)), bias=np.zeros(7))
    given = ["--annotations", str(annotations), "--features", str(artifacts)]
    figures = run(tmp_path, *given, "--teacher", str(tmp_path / "teacher.npz"), "--objects")
    assert figures["tasks"]["scene"]["missing"] == [rows[-1].video]
    assert figures["tasks"]["scene"]["videos"] == {"train": 4, "val": 3, "test": 2}
    assert figures["tasks"]["year"]["skipped"] == "no video with features in train, val, test"
    assert len(figures["tasks"]["year"]["missing"]) == 10
    with pytest.raises(ValueError, match="--teacher is missing"):
        run(tmp_path, *given)
    np.savez(tmp_path / "teacher.npz", weight=np.zeros((7, 6)), bias=np.zeros(7))
    with pytest.raises(ValueError, match=r"weight is \[7, 6\], bias 7; features have 5"):
        run(tmp_path, *given, "--teacher", str(tmp_path / "teacher.npz"))
    with pytest.raises(ValueError, match="channels; needed: one number"):
        run(tmp_path, "--annotations", str(annotations), "--features", str(tmp_path / "nowhere"), "--pretrain", "none")


def test_video_labels_of_an_own_data_set(tmp_path: Path, tiny: None) -> None:
    videos = tuple(
        Video(f"{subset}-{i}", "v.mp4", subset, 30.0, 25.0, 750, 100, 80, (), {"place": ("room", "street")[i % 2]})
        for subset in ("auxiliary", "training", "validation", "testing")
        for i in range(4)
    )
    Dataset("own", (), videos).save(tmp_path / "dataset.json")
    figures = run(tmp_path, "--annotations", str(tmp_path / "dataset.json"), "--features", "simulated")
    assert list(figures["tasks"]) == ["place"]
    place = figures["tasks"]["place"]
    assert place["videos"] == {"train": 4, "val": 4, "test": 4} and place["without_looking"] == 50
    assert place["test"] in (0, 25, 50, 75, 100)


def test_spans_vote_with_their_probabilities() -> None:
    rows = [Row("a", "test", 1.0, None, "", None), Row("b", "test", 0.0, None, "", None)]
    spans = {"a": np.log([[0.6, 0.4], [0.6, 0.4], [0.1, 0.9]]) + 5, "b": np.log([[0.3, 0.7]])}
    assert score(2, rows, spans) == 50, "sums 1.3 and 1.7 for a, though two of three spans say 0; b is wrong"
    official = {
        k: combine_spans("scene", list(np.pad(v, ((0, 0), (0, 4)), constant_values=-99))) for k, v in spans.items()
    }
    assert score(2, rows, spans) == score_task("scene", rows, official).value
    values = {"a": np.array([[1.0], [2.0]]), "b": np.array([[3.0]])}
    official = {k: combine_spans("like_ratio", list(v)) for k, v in values.items()}
    assert score(0, rows, values) == score_task("like_ratio", rows, official).value == (0.5**2 + 3**2) / 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--task", "plot"), "task is 'plot'; allowed: relationship, "),
        (("--model", "average"), "model average has nothing to pre-train; say --pretrain none"),
        (("--model", "lstm", "--pretrain", "none"), "unknown long-form model 'lstm'"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, tiny: None, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(tmp_path, "--annotations", "simulated", "--features", "simulated", *arguments)


def test_the_simulated_teacher_knows_the_actions() -> None:
    made = simulation()
    weight, bias = made.teacher()
    assert ((made.prototypes @ weight.T + bias).argmax(axis=1) == np.arange(ACTIONS)).all()
    one, two = (simulated_video(made, "a", 90, {"scene": 2.0}, {"scene": 6}) for _ in range(2))
    np.testing.assert_array_equal(one.feature, two.feature)
    assert one.second.max() < 90 and (np.diff(one.second) >= 0).all() and (one.source == PERSON).all()
    assert (one.box >= 0).all() and (one.box <= 1).all()


def test_the_learning_rate_rises_and_falls() -> None:
    factor = linear(100, 10)
    assert [factor(0), factor(9), factor(55), factor(99)] == pytest.approx([0.1, 1.0, 0.5, 1 / 90])
    assert torch.tensor([factor(step) for step in range(100)]).max() <= 1
