"""Tasks of the stage memory on written banks and truths: each person's actions (AVA), verbs and nouns (EPIC-Kitchens)."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.datasets.schema import Dataset, Segment, Video
from pipeline.evaluation.from_files.ava import run as evaluate_ava
from pipeline.evaluation.from_files.request import Request
from pipeline.run import kinds
from pipeline.run.files import read_json
from pipeline.run.params import PARAMS_FILE, Section, check_params, read_params
from pipeline.run.stage import StageError, section_models
from stages import _memory_segments, _outputs, memory
from stages._memory import Window
from tests.stages.one_stage import run_one

DURATION_S = 30.0
ACTIONS = ("talk to (a person, a group)", "take", "put")
PEOPLE = (np.array([5, 5, 45, 75], np.float32), np.array([55, 5, 95, 75], np.float32))
TRAINING = {"steps": 150, "batch": 32, "optimizer": "adamw", "lr": 0.01, "weight_decay": 0.0, "clip_norm": 1.0,
            "threads": 1}  # fmt: skip
Change = Callable[[dict[str, np.ndarray]], None]


def write_people(root: Path, subset: str, number: int, change: Change | None = None, first_s: float = 0.0) -> Video:
    """Two people, one of whom always talks; what the other always does is shown in the first two seconds alone."""
    rng = np.random.default_rng([len(subset), number])
    at = np.arange(first_s, DURATION_S)
    takes = bool(number % 2)
    feature = 0.2 * rng.standard_normal((len(at), 2, 5))
    feature[:, 0, 0] += 2  # the one on the left talks
    feature[:2, :, 1] += 6 if takes else -6
    box = np.tile(np.stack(PEOPLE) + 1, (len(at), 1, 1))
    rows = {
        "t": np.repeat(at, 2), "track": np.tile([0, 1], len(at)).astype(np.int32),
        "label": np.zeros(2 * len(at), np.int16), "box": box.reshape(-1, 4), "score": np.ones(2 * len(at), np.float32),
        "feature": feature.reshape(-1, 5).astype(np.float32),
    }  # fmt: skip
    if change is not None:
        change(rows)
    about = {"classes": "person,true_person", "encoder": "e", "window_s": 1.0, "duration_s": DURATION_S}
    id_ = f"{subset}-{number}"
    kinds.BANK.write(root / _outputs.BANK / f"{id_}.h5", rows, about)
    known = at[2:-2]  # as on AVA, not all seconds are key frames
    action = np.zeros((len(known), 2, 3), np.uint8)
    action[:, 0, 0] = 1
    action[:, 1, 1 if takes else 2] = 1
    kinds.TRUTH.write(
        root / _outputs.VIDEOS / f"{id_}.truth.h5",
        {
            "pts": known, "labels": action.max(axis=1), "box_frame": np.repeat(np.arange(len(known)), 2).astype(np.int32),
            "box": np.tile(np.stack(PEOPLE), (len(known), 1, 1)).reshape(-1, 4),
            "box_class": np.zeros(2 * len(known), np.int16),
            "box_track": np.tile([3, 8], len(known)).astype(np.int32), "box_action": action.reshape(-1, 3),
            "shot_start": np.zeros(0),
        },
        {"box_classes": "person", "label_classes": "\n".join(ACTIONS)},
    )  # fmt: skip
    return Video(id_, "v.mp4", subset, DURATION_S, 20.0, 600, 100, 80, ())


def sections_of(tmp_path: Path, root: Path, dataset: Dataset, **values: Any) -> dict[str, Section]:
    for name in ("pipeline", "stages", "models"):
        if not (tmp_path / name).exists():
            (tmp_path / name).symlink_to(root / name)
    raw = read_params(root / PARAMS_FILE)
    raw["memory"] |= {
        "classes": [], "network": {"layers": 1, "hidden": 32, "attention_dropout": 0.0, "dropout": 0.0, "fresh": "glorot"},
        "training": TRAINING, "seeds": 2, "examples": 2, "resamples": 100,
    } | values  # fmt: skip
    raw["run"] |= {"tracking": False}
    dataset.save(tmp_path / _outputs.DATASET_FILE)
    return check_params(raw, section_models(), PARAMS_FILE)


def run(tmp_path: Path, sections: dict[str, Section]) -> dict[str, float]:
    return run_one(tmp_path, sections, "memory")


BOXES = {
    "task": "boxes",
    "window": {"mode": "centred", "kinds": ["person"], "short": "person", "per_second": 2},
    "variants": {
        "short_term": {"operator": "none"},
        "sto": {"operator": "sto"},
        "bank": {"operator": "nl", "window_s": 61},
    },
}


def test_each_person_has_actions_of_its_own(tmp_path: Path, root: Path) -> None:
    videos = [write_people(tmp_path, subset, i) for subset, n in (("training", 8), ("testing", 8)) for i in range(n)]
    sections = sections_of(tmp_path, root, Dataset("made", ACTIONS, tuple(videos)), **BOXES)
    metrics = run(tmp_path, sections)
    assert metrics["training_clips"] == 8 * 2 * 26 and metrics["test_clips"] == 8 * 2 * 26 == metrics["true_boxes"]
    assert metrics["key_frames"] == 8 * 26 and metrics["positives"] == metrics["test_clips"]
    # Who talks is seen in the box; what the other one does is not: of three classes, two are even chances.
    assert 0.5 < metrics["frame_mAP/short_term"] < 0.8
    assert metrics["frame_mAP_low/short_term"] < metrics["frame_mAP/short_term"] < metrics["frame_mAP_high/short_term"]
    assert metrics["frame_mAP/bank"] > 0.9 and metrics["frame_mAP_gain_low/bank"] > 0.1
    assert metrics["covered/short_term"] == 0 and metrics["covered/sto"] == 1

    written = tmp_path / _outputs.MEMORY / "ava"
    for name in ("short_term", "sto", "bank"):
        values = []
        for seed in range(2):
            found_csv = written / f"{name}-{seed}.csv.gz"
            request = Request(written / "truth.csv.gz", found_csv, classes=written / "label_map.txt")
            found = evaluate_ava(request)
            assert found["classes"] == 3 and found["key_frames"] == metrics["key_frames"]
            values.append(found["mAP"])
        assert np.mean(values) == pytest.approx(metrics[f"frame_mAP/{name}"], abs=1e-12), "as the command says"
    assert ACTIONS[0] in (written / "label_map.txt").read_text()
    before = (written / "bank-0.csv.gz").read_bytes()
    assert gzip.decompress(before).decode().splitlines()[0].startswith("testing-0,2,")
    (tmp_path / "data" / "work").rename(tmp_path / "data" / "elsewhere")
    run(tmp_path, sections)
    assert (written / "bank-0.csv.gz").read_bytes() == before, "same input, same bytes"


def test_who_is_nobody_true_is_a_false_detection_and_not_learned_from(tmp_path: Path, root: Path) -> None:
    def a_ghost(rows: dict[str, np.ndarray]) -> None:
        ghost = rows["track"] == 0
        order = np.argsort(np.concatenate([rows["t"], rows["t"][ghost]]), kind="stable")
        for name in rows:
            rows[name] = np.concatenate([rows[name], rows[name][ghost]])[order]
        rows["box"][rows["track"] == 0] = np.tile(
            np.array([[6, 6, 46, 76], [0, 0, 20, 10]], np.float32), (len(rows["t"]) // 3, 1)
        )

    videos = [write_people(tmp_path, "training", i, a_ghost) for i in range(3)]
    videos += [write_people(tmp_path, "testing", i) for i in range(2)]
    few = BOXES | {"training": {**TRAINING, "steps": 40}, "seeds": 1}
    sections = sections_of(tmp_path, root, Dataset("made", ACTIONS, tuple(videos)), **few)
    metrics = run(tmp_path, sections)
    assert metrics["training_clips"] == 3 * 2 * 26, "ghosts are left out"
    alone = metrics["frame_mAP/short_term"]
    for number in range(2):
        write_people(tmp_path, "testing", number, a_ghost)
    metrics = run(tmp_path, sections)
    assert metrics["test_clips"] == 2 * 3 * 26 and metrics["frame_mAP/short_term"] < alone

    (tmp_path / _outputs.BANK / "testing-1.h5").unlink()
    metrics = run(tmp_path, sections)
    assert metrics["without_bank"] == 1 and metrics["key_frames"] == 2 * 26, "its people were missed"
    assert metrics["frame_mAP/short_term"] < 0.6


@pytest.mark.parametrize("unmatched", ["left_out", "nothing"])
def test_true_people_and_sure_boxes_are_learned_from(tmp_path: Path, root: Path, unmatched: str) -> None:
    """AVA's training boxes (thesis, section 7.2.1): the true ones, and found ones of 0.9, some of which match nobody."""

    def as_found(rows: dict[str, np.ndarray]) -> None:
        true = {name: values.copy() for name, values in rows.items()}
        true |= {"track": np.full_like(rows["track"], -1), "label": np.ones_like(rows["label"])}
        true["box"] -= 1  # exactly there
        left, second = rows["track"] == 0, np.floor(rows["t"])
        rows["score"] = np.where(left, 0.95, 0.87).astype(np.float32)
        rows["box"][left & (second < 10)] += 20  # matches nobody by 0.9
        order = np.argsort(np.concatenate([rows["t"], true["t"]]), kind="stable")
        for name in rows:
            rows[name] = np.concatenate([rows[name], true[name]])[order]

    videos = [write_people(tmp_path, subset, i, as_found) for subset in ("training", "testing") for i in range(3)]
    boxes = {"match_iou": 0.9, "unmatched": unmatched, "training_score": 0.9, "testing_score": 0.85}
    window = {**BOXES["window"], "min_score": 0.9}  # type: ignore[dict-item]
    section = BOXES | {"boxes": boxes, "window": window, "seeds": 1, "training": {**TRAINING, "steps": 40}}
    sections = sections_of(tmp_path, root, Dataset("made", ACTIONS, tuple(videos)), **section)
    metrics = run(tmp_path, sections)
    # Of 26 known seconds: two true people, and the left one where it was found rightly (18), or wherever it was found.
    assert metrics["training_clips"] == 3 * (2 * 26 + (18 if unmatched == "left_out" else 26))
    assert metrics["test_clips"] == 3 * 2 * 26, "found ones of 0.85, no true ones"
    data = memory.read(tmp_path, Dataset("made", ACTIONS, tuple(videos)), sections["memory"])[""]
    silent = ~data.training.labels.any(axis=1)
    assert silent.sum() == (0 if unmatched == "left_out" else 3 * 8)
    assert all(len(bank.t) == 30 for bank in data.banks.banks.values()), "looked back at: found ones of 0.9"


def test_a_set_that_does_not_tell_who_acts_is_named(tmp_path: Path, root: Path) -> None:
    videos = [write_people(tmp_path, subset, 0) for subset in ("training", "testing")]
    sections = sections_of(tmp_path, root, Dataset("made", ACTIONS, tuple(videos)), **BOXES)
    (tmp_path / _outputs.VIDEOS / "testing-0.truth.h5").unlink()
    with pytest.raises(StageError, match="made: no tracked person of testing is known to do any of talk to"):
        run(tmp_path, sections)
    Dataset("made", ACTIONS[1:], tuple(videos)).save(tmp_path / _outputs.DATASET_FILE)
    with pytest.raises(ValueError, match=r"truth.h5: label_classes names 'talk to .*; allowed: take, put"):
        run(tmp_path, sections)


VERBS, NOUNS = ("take", "put", "wash"), ("cup", "dish", "pan")


def write_kitchen(root: Path, subset: str, number: int) -> Video:
    """Three segments of 5 s: their verb is seen at once, their noun was shown three seconds before each begins."""
    rng = np.random.default_rng([7, len(subset), number])
    at = np.arange(0.5, 40.0)
    feature = 0.2 * rng.standard_normal((len(at), 2, 8))
    segments = []
    for start in range(6, 36, 12):
        verb = int(rng.integers(3))
        noun = verb if rng.random() < 0.5 else int(rng.integers(3))  # some pairs are common: what a prior knows
        feature[start : start + 5, 1, verb] += 3
        feature[start - 3 : start - 1, 0, 4 + noun] += 4
        segments.append(Segment(f"{VERBS[verb]} {NOUNS[noun]}", float(start), start + 5.0))
    rows = {
        "t": np.repeat(at, 2), "track": np.tile([0, -1], len(at)).astype(np.int32),
        "label": np.tile([0, 1], len(at)).astype(np.int16),
        "box": np.tile(np.array([0, 0, 10, 10], np.float32), (2 * len(at), 1)),
        "score": np.ones(2 * len(at), np.float32), "feature": feature.reshape(-1, 8).astype(np.float32),
    }  # fmt: skip
    about = {"classes": "thing,global", "encoder": "e", "window_s": 1.0, "duration_s": 40.0}
    id_ = f"{subset}-{number}"
    kinds.BANK.write(root / _outputs.BANK / f"{id_}.h5", rows, about)
    return Video(id_, "v.mp4", subset, 40.0, 20.0, 800, 100, 80, tuple(segments))


SEGMENTS = {
    "task": "segments",
    "window": {"mode": "centred", "kinds": ["global"], "per_second": 1},
    "segments": {
        "separator": " ",
        "noun_window": {"mode": "causal", "settle_s": 0, "kinds": ["object"], "per_second": 1},
    },
    "variants": {
        "short_term": {"operator": "none"},
        "bank": {"operator": "nl", "window_s": 4, "noun_window_s": 9},
    },
    "training": {**TRAINING, "steps": 250},
}


def kitchen(tmp_path: Path) -> Dataset:
    videos = [write_kitchen(tmp_path, subset, i) for subset, n in (("training", 24), ("testing", 12)) for i in range(n)]
    return Dataset("made", tuple(sorted({s.label for video in videos for s in video.segments})), tuple(videos))


def test_verbs_and_nouns_have_networks_that_the_prior_joins(tmp_path: Path, root: Path) -> None:
    metrics = run(tmp_path, sections_of(tmp_path, root, kitchen(tmp_path), **SEGMENTS))
    assert metrics["test_clips"] == 12 * 3 and metrics["training_clips"] == 24 * 15, "all seconds to learn, one to test"
    assert metrics["verb_top1/short_term"] > 0.95, "seen at once"
    assert metrics["noun_top1/short_term"] < 0.85 < 0.95 < metrics["noun_top1/bank"], (
        "only the nouns' window reaches it"
    )
    assert metrics["noun_top1_gain_low/bank"] > 0
    assert metrics["action_top1/bank"] > 0.9 and metrics["action_top5/bank"] >= metrics["action_top1/bank"]
    assert metrics["action_top1/short_term"] < 0.8 and metrics["guessed/action"] < 0.4
    assert metrics["covered/verb_bank"] == 1 and metrics["covered/noun_bank"] == 1
    names = {path.name for path in (tmp_path / _outputs.MEMORY_MODELS).iterdir()}
    assert {"verb-bank-0.safetensors", "noun-short_term-1.safetensors"} < names and len(names) == 8
    with np.load(tmp_path / _outputs.MEMORY / "scores.npz") as file:
        assert file["verb_scores_bank"].shape == (2, 36, 3) == file["noun_scores_bank"].shape
        np.testing.assert_allclose(file["noun_scores_bank"].sum(axis=-1), 1, atol=1e-5)
        hits = file["noun_scores_bank"].argmax(axis=-1) == file["noun_labels"].argmax(axis=-1)
        assert hits.mean() == pytest.approx(metrics["noun_top1/bank"])


def test_nouns_may_have_a_training_of_their_own(tmp_path: Path, root: Path) -> None:
    """The release's 36k and 50k iterations (thesis, section 7.4.1), in small."""
    own = {**TRAINING, "steps": 30, "schedule": "step", "milestones": [20, 25], "lr": 0.02}
    few = SEGMENTS | {"training": {**TRAINING, "steps": 20}, "seeds": 1}
    few["segments"] = {**SEGMENTS["segments"], "noun_training": own}  # type: ignore[dict-item]
    run(tmp_path, sections_of(tmp_path, root, kitchen(tmp_path), **few))
    for part, steps in (("verb", 20), ("noun", 30)):
        for name in ("short_term", "bank"):
            history = read_json(tmp_path / "data" / "checkpoints" / "history" / "memory" / f"{part}-{name}-0.json")
            assert history[-1]["step"] == steps


def test_wrong_segments_are_named(tmp_path: Path, root: Path) -> None:
    dataset = kitchen(tmp_path)
    with pytest.raises(ValueError, match="classes are a; with task segments all count"):
        sections_of(tmp_path, root, dataset, **SEGMENTS, classes=["a"])
    with pytest.raises(StageError, match=r"separator = '/': none of the . labels of data set made has one"):
        run(tmp_path, sections_of(tmp_path, root, dataset, **(SEGMENTS | {"segments": {"separator": "/"}})))
    for path in (tmp_path / _outputs.BANK).glob("testing-*.h5"):
        path.unlink()
    with pytest.raises(StageError, match="no segment of testing is in a video with a bank"):
        run(tmp_path, sections_of(tmp_path, root, dataset, **SEGMENTS))


def test_the_prior_joins_a_sure_verb_with_the_noun_that_goes_with_it(tmp_path: Path, root: Path) -> None:
    dataset = kitchen(tmp_path)
    data = _memory_segments.read(tmp_path, dataset, Window(kinds=("global",)), _memory_segments.Segments())
    test = [s.label.split() for video in dataset.subset("testing") for s in video.segments]
    verbs, nouns = data["verb"].classes, data["noun"].classes
    sure = np.full((1, len(test), 3), 0.01, np.float32)
    sure[0, np.arange(len(test)), [verbs.index(verb) for verb, _ in test]] = 0.98
    even = np.full((1, len(test), 3), 1 / 3, np.float32)
    metrics = _memory_segments.measure(dataset, data, {"verb": {"a": sure}, "noun": {"a": even}}, " ", 100, 0)
    learned = [s.label.split() for video in dataset.subset("training") for s in video.segments]
    partner = {verb: max(NOUNS, key=lambda noun: learned.count([verb, noun])) for verb in VERBS}
    expected = np.mean([partner[verb] == noun for verb, noun in test])
    assert metrics["action_top1/a"] == pytest.approx(expected) and expected > 0.5
    assert metrics["action_without_prior_top1/a"] == pytest.approx(np.mean([noun == nouns[0] for _, noun in test]))
    gain = metrics["action_top1/a"] - metrics["action_without_prior_top1/a"]
    assert metrics["prior_gain/a"] == pytest.approx(gain) and metrics["prior_gain_low/a"] > 0
    assert metrics["verb_top1/a"] == 1
    most = max(NOUNS, key=lambda noun: sum(other == noun for _, other in learned))
    assert metrics["guessed/noun"] == pytest.approx(np.mean([noun == most for _, noun in test]))
