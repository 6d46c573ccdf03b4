"""The stage memory on written banks in which only what happened long ago tells two classes apart."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.datasets.schema import Dataset, Segment, Video
from pipeline.evaluation.accuracy import multi_label_map
from pipeline.run import kinds
from pipeline.run.artifacts import ArtifactError
from pipeline.run.files import read_json
from pipeline.run.params import PARAMS_FILE, Section, check_params, read_params
from pipeline.run.stage import StageError, section_models
from stages import _memory, _memory_seconds, _memory_training, _outputs
from stages._memory import Clips, Variant, Window, batch
from tests.stages.one_stage import run_one

DURATION_S = 40.0
CLASSES = ("reach_for_ball", "reach_for_box", "walk")
TRAINING = {"steps": 300, "batch": 32, "optimizer": "adamw", "lr": 0.004, "weight_decay": 0.0, "clip_norm": 1.0,
            "threads": 1}  # fmt: skip
OVERRIDES: dict[str, Any] = {
    "classes": ["reach_for_ball", "reach_for_box"],
    "variants": {
        "short_term": {"operator": "none"},
        "bank_3s": {"operator": "nl", "window_s": 3},
        "bank_60s": {"operator": "nl", "window_s": 60},
    },
    "network": {"layers": 1, "hidden": 128, "attention_dropout": 0.0, "dropout": 0.0},
    "training": TRAINING,
    "seeds": 1,
    "examples": 2,
}


def write_video(
    root: Path, subset: str, number: int, change: Callable[[dict[str, np.ndarray]], None] | None = None
) -> Video:
    """A bank in which somebody shows a thing early on, and a data set's entry in which a reach for it comes much later."""
    rng = np.random.default_rng([len(subset), number])
    ball = bool(number % 2)
    shown, reach = 2 + int(rng.integers(5)), 20 + int(rng.integers(14))
    walk = reach - 6
    middles = np.arange(0.5, DURATION_S)
    feature = 0.3 * rng.standard_normal((len(middles), 3, 6))
    feature[reach : reach + 4, 2, 0] += 3  # the picture shows that somebody reaches, not for what
    feature[walk, 2, 1] += 3
    feature[shown, 0, 2] += 4
    feature[shown, 0, 3] += 4 if ball else -4
    feature[:, 1, 3] += rng.choice([-1, 1], len(middles))  # things lie about
    rows = {
        "t": np.repeat(middles, 3),
        "track": np.tile([0, 1, -1], len(middles)).astype(np.int32),
        "label": np.tile([0, 1, 2], len(middles)).astype(np.int16),
        "box": np.tile(np.array([0, 0, 10, 10], np.float32), (3 * len(middles), 1)),
        "score": np.ones(3 * len(middles), np.float32),
        "feature": feature.reshape(-1, 6).astype(np.float32),
    }
    if change is not None:
        change(rows)
    about = {"classes": "person,ball,global", "encoder": "e", "window_s": 1.0, "duration_s": DURATION_S}
    id_ = f"{subset}-{number}"
    kinds.BANK.write(root / _outputs.BANK / f"{id_}.h5", rows, about)
    segments = (
        Segment(CLASSES[0] if ball else CLASSES[1], float(reach), reach + 4.0),
        Segment("walk", float(walk), walk + 1.0),
    )
    return Video(id_, "v.mp4", subset, DURATION_S, 20.0, 800, 100, 80, segments)


def make(tmp_path: Path, root: Path, subsets: Mapping[str, int]) -> dict[str, Section]:
    for name in ("pipeline", "stages", "models"):
        (tmp_path / name).symlink_to(root / name)
    raw = read_params(root / PARAMS_FILE)
    raw["memory"] |= OVERRIDES
    raw["run"] |= {"tracking": False}
    videos = [write_video(tmp_path, subset, i) for subset, n in subsets.items() for i in range(n)]
    Dataset("made", CLASSES, tuple(videos)).save(tmp_path / _outputs.DATASET_FILE)
    return check_params(raw, section_models(), PARAMS_FILE)


def run(tmp_path: Path, sections: dict[str, Section]) -> dict[str, float]:
    return run_one(tmp_path, sections, "memory")


def with_memory(sections: dict[str, Section], **values: Any) -> dict[str, Section]:
    section = type(sections["memory"]).model_validate(sections["memory"].model_dump() | values)
    return {**sections, "memory": section}


def read(root: Path, videos: Sequence[Video], window: Window) -> _memory_training.Data:
    """As the stage does, also where there is nothing to train on."""
    dataset = Dataset("made", CLASSES, tuple(videos))
    known = {name: i for i, name in enumerate(CLASSES)}

    def clips(some: Sequence[Video], _subset: str) -> Clips:
        return _memory.read_clips(root, some, window, _memory_seconds.take_of(known), len(CLASSES))

    data = _memory_training.data_of(root, dataset, window, clips, CLASSES, CLASSES[:2])
    return data._replace(training=data.testing)


def test_a_long_window_remembers_and_a_short_one_does_not(tmp_path: Path, root: Path) -> None:
    sections = make(tmp_path, root, {"training": 30, "validation": 4, "testing": 16})
    metrics = run(tmp_path, sections)
    assert metrics["positives"] == 64 and metrics["test_clips"] == 640 and metrics["test_videos"] == 16
    assert metrics["mAP/short_term"] < 0.8 < 0.95 < metrics["mAP/bank_60s"]
    assert metrics["mAP_gain_low/bank_60s"] > 0.05
    assert metrics["mAP_high/short_term"] < metrics["mAP_low/bank_60s"]
    assert metrics["mAP_gain/bank_3s"] < 0.1, "what happened is beyond its reach"
    assert metrics["told_apart_low/bank_60s"] > 0.9 and metrics["told_apart_low/short_term"] < 0.6
    assert metrics["told_apart_low/bank_3s"] < 0.6
    assert metrics["covered/bank_60s"] > 0.9 and metrics["covered/short_term"] == 0
    looked = read_json(tmp_path / _outputs.MEMORY / "attention.json")
    assert [clip["label"] for clip in looked] == list(CLASSES[:2]) and len({clip["video"] for clip in looked}) == 2
    for clip in looked:
        assert sum(share for _, share in clip["rows"]) == pytest.approx(1, abs=1e-4)
        assert max(t for t, _ in clip["rows"]) <= clip["t"] - 1, "nothing younger than settle_s"
        assert max(clip["rows"], key=lambda row: row[1])[0] < 7, "when the thing was shown"
    with np.load(tmp_path / _outputs.MEMORY / "scores.npz") as file:
        assert file["scores_bank_60s"].shape == (1, 640, 3) and file["labels"].sum() == 80
        highest = file["scores_bank_60s"][0].reshape(16, 40, 3).max(axis=1)
        labels = file["labels"].reshape(16, 40, 3).any(axis=1)
    assert metrics["video_mAP/bank_60s"] == pytest.approx(multi_label_map(highest[:, :2], labels[:, :2])[0])
    assert metrics["video_mAP/bank_60s"] > 0.95 > metrics["video_mAP_high/short_term"]
    with np.load(tmp_path / _outputs.MEMORY / "videos" / "bank_60s-0.npz") as file:
        np.testing.assert_array_equal(np.stack([file[id_] for id_ in file.files]), highest)

    bytes_before = {p.name: p.read_bytes() for p in (tmp_path / _outputs.MEMORY_MODELS).iterdir()}
    assert len(bytes_before) == 3
    (tmp_path / "data" / "work").rename(tmp_path / "data" / "elsewhere")
    two = {name: OVERRIDES["variants"][name] for name in ("short_term", "bank_3s")}
    run(tmp_path, with_memory(sections, variants=two, seeds=2))
    again = {p.name: p.read_bytes() for p in (tmp_path / _outputs.MEMORY_MODELS).iterdir()}
    assert len(again) == 4 and len({again["bank_3s-0.safetensors"], again["bank_3s-1.safetensors"]}) == 2
    for name in again.keys() & bytes_before.keys():
        assert again[name] == bytes_before[name], "same input, same bytes, whatever stands beside it"


@pytest.mark.parametrize("operator", ["nl", "avg", "max", "sto"])
def test_a_causal_model_does_not_see_the_future(tmp_path: Path, root: Path, operator: str) -> None:
    now = 25.0

    def another_future(rows: dict[str, np.ndarray]) -> None:
        later = rows["t"] + 0.5 > now  # clips that saw a picture after it
        rows["feature"][later] = np.random.default_rng(9).standard_normal((int(later.sum()), 6)) * 5

    sections = make(tmp_path, root, {"training": 4, "testing": 1})
    params: Any = sections["memory"]
    window_s = None if operator == "sto" else 30.0
    for mode in ("causal", "centred"):
        window = params.window.model_copy(update={"mode": mode})
        variant = Variant(operator=operator, window_s=window_s)
        scores = []
        for change in (None, another_future):
            videos = [write_video(tmp_path, "testing", 0, change)]
            data = read(tmp_path, videos, window)
            torch.manual_seed(0)
            model = _memory_training.build(data, params.network, variant).eval()
            for parameter in model.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
            scores.append(_memory_training.score(model, data.testing, data, variant))
        before = data.testing.t + 0.5 <= now
        same = (scores[0] == scores[1]).all(axis=1)
        assert same[before].all() == (mode == "causal" or operator == "sto")
        assert not same[~before].any()


def test_first_steps_may_learn_of_the_classes_that_count_alone(tmp_path: Path, root: Path) -> None:
    sections = make(tmp_path, root, {"training": 6, "testing": 3})
    two = {name: OVERRIDES["variants"][name] for name in ("short_term", "bank_3s")}
    walks = []
    for counted_steps in (0, 60):
        training = {**TRAINING, "steps": 60, "lr": 0.05}
        run(
            tmp_path, with_memory(sections, variants=two, training=training, counted_steps=counted_steps, resamples=100)
        )
        with np.load(tmp_path / _outputs.MEMORY / "scores.npz") as file:
            walks.append(float(file["scores_short_term"][0, :, 2][file["labels"][:, 2]].mean()))
    assert walks[0] > 0.5 > 0.1 > walks[1], "no clip of the other class was ever seen"


def test_windows_reach_as_far_as_is_settled(tmp_path: Path, root: Path) -> None:
    sections = make(tmp_path, root, {"testing": 1})
    window: Any = sections["memory"].window  # type: ignore[attr-defined]
    dataset = Dataset.load(tmp_path / _outputs.DATASET_FILE)
    data = read(tmp_path, dataset.videos, window)
    variant = Variant(operator="nl", window_s=3)
    short, present, rows, valid = batch(data.testing, np.array([0, 1, 20]), data.banks, window, variant)
    assert short.shape == (3, 1, 6) and present.all()
    # Two tracked rows a second; the clip at 20.5 s sees 17.5, 18.5 and 19.5.
    assert valid.sum(dim=1).tolist() == [0, 2, 6] and rows.shape == (3, 6, 6)
    with kinds.BANK.open(tmp_path / _outputs.BANK / "testing-0.h5") as reader:
        t, label, feature = reader["t"], reader["label"], reader["feature"]
    expected = feature[(label < 2) & (t >= 17.5) & (t <= 19.5)]
    np.testing.assert_array_equal(rows[2].numpy(), expected)


def test_people_may_be_classified_one_by_one(tmp_path: Path, root: Path) -> None:
    def nobody_then_a_crowd(rows: dict[str, np.ndarray]) -> None:
        kept = (rows["label"] != 0) | (rows["t"] > 10)
        person = (rows["t"] == 30.5) & (rows["label"] == 0)
        for name in rows:
            rows[name] = np.concatenate([rows[name][kept], np.repeat(rows[name][person], 299, axis=0)])
        order = np.argsort(rows["t"], kind="stable")
        for name in rows:
            rows[name] = rows[name][order]

    sections = make(tmp_path, root, {"testing": 2})
    window = sections["memory"].window.model_copy(update={"short": "person"})  # type: ignore[attr-defined]
    data = read(tmp_path, [write_video(tmp_path, "testing", 0, nobody_then_a_crowd)], window)
    clips = data.testing
    count = clips.short.last - clips.short.first
    assert count[:10].tolist() == [0] * 10 and count[30] == 300 and len(clips) == 40
    variant = Variant(operator="nl", window_s=60)
    model = _memory_training.build(data, sections["memory"].network, variant).eval()  # type: ignore[attr-defined]
    assert np.isfinite(_memory_training.score(model, clips, data, variant)).all()


def test_what_cannot_be_used_is_named(tmp_path: Path, root: Path) -> None:
    sections = make(tmp_path, root, {"training": 2, "testing": 2})
    window: Any = sections["memory"].window  # type: ignore[attr-defined]
    dataset = Dataset.load(tmp_path / _outputs.DATASET_FILE)

    def changed(change: Callable[[dict[str, np.ndarray]], None]) -> Clips:
        write_video(tmp_path, "testing", 0, change)
        return read(tmp_path, dataset.videos, window).testing

    def without_pictures(rows: dict[str, np.ndarray]) -> None:
        for name in rows:
            rows[name] = rows[name][np.tile([True, True, False], 40)]

    def broken(rows: dict[str, np.ndarray]) -> None:
        rows["feature"][7, 2] = np.nan

    def empty(rows: dict[str, np.ndarray]) -> None:
        kept = rows["label"] == 2
        for name in rows:
            rows[name] = rows[name][kept]

    with pytest.raises(ArtifactError, match=r"testing-0.h5: has no rows of kind global; add it to bank.kinds"):
        changed(without_pictures)
    with pytest.raises(ArtifactError, match=r"testing-0.h5: a short-term feature is not finite"):
        changed(broken)
    assert len(changed(empty)) == 80, "a video in which nothing is tracked has clips all the same"
    unknown = Dataset("made", CLASSES[1:], dataset.videos)
    with pytest.raises(ValueError, match="label 'reach_for_ball' is none of the 2 classes"):
        _memory_seconds.read(tmp_path, unknown, CLASSES[1:], window)
    for path in (tmp_path / _outputs.BANK).glob("testing-*.h5"):
        path.unlink()
    with pytest.raises(StageError, match="no second of testing with a bank has any of the classes reach_for_ball, "):
        run(tmp_path, sections)


def test_a_video_whose_bank_failed_is_left_out_and_counted(tmp_path: Path, root: Path) -> None:
    sections = make(tmp_path, root, {"training": 3, "testing": 3})
    (tmp_path / _outputs.BANK / "testing-2.h5").unlink()
    training = {**TRAINING, "steps": 2}
    few = {"short_term": {"operator": "none"}, "sto": {"operator": "sto"}, "max": {"operator": "max", "window_s": 9}}
    metrics = run(tmp_path, with_memory(sections, training=training, variants=few, seeds=1, resamples=100))
    assert metrics["without_bank"] == 1 and metrics["test_videos"] == 2
    assert read_json(tmp_path / _outputs.MEMORY / "attention.json") == [], "nothing with attention over time"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"variants": {"a": {"operator": "none", "window_s": 3}, "b": {"operator": "none"}}}, "none and sto have none"),
        ({"variants": {"a": {"operator": "nl"}, "b": {"operator": "none"}}}, "operator nl and window_s None"),
        ({"variants": {"a/b": {"operator": "none"}, "b": {"operator": "none"}}}, "allowed: letters, digits and _"),
        ({"variants": {"a": {"operator": "none"}}}, "at least 2"),
    ],
)
def test_wrong_variants_are_named(root: Path, values: dict[str, Any], message: str) -> None:
    raw = read_params(root / PARAMS_FILE)["memory"] | values
    with pytest.raises(ValueError, match=message):
        section_models()["memory"].model_validate(raw)
