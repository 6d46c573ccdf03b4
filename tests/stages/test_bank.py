"""The stage bank on one tiny video: kinds of rows, precision, an encoder of its own, and tracks of every awkward sort."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.datasets.bank_windows import WindowRule, index_banks, read_window
from pipeline.datasets.schema import Dataset
from pipeline.datasets.spans import OBJECT, PERSON, instances_of
from pipeline.run import kinds
from pipeline.run.files import read_json
from pipeline.run.stage import StageError
from stages import _encoder, _outputs, _snippets
from stages._bank_description import described
from stages._bank_index import index_kinds
from stages._bank_rows import rows_of
from stages._boxes import read_true_boxes
from stages.bank import Bank
from tests.stages.tiny_world import SPEC, Project

NAME = "world-testing-0000.h5"
SIZE = (84, 112)
OVERRIDES: dict[str, dict[str, Any]] = {
    "run": {"executor": "inline", "tracking": False, "max_failed": 0.0},
    "frames": {"short_side": 72},
    "bank": {"short_side": 64, "chunk": 4},
}


def tracks(rows: list[tuple[float, int, int, tuple[float, ...]]]) -> dict[str, np.ndarray]:
    """Rows of (t, track, label, box)."""
    rows = sorted(rows)
    return {
        "pts": np.arange(0, 15, 0.5),
        "picture": np.zeros(len(rows), np.int32),
        "t": np.array([row[0] for row in rows], np.float64),
        "track": np.array([row[1] for row in rows], np.int32),
        "label": np.array([row[2] for row in rows], np.int16),
        "box": np.array([row[3] for row in rows], np.float32).reshape(-1, 4),
        "score": np.full(len(rows), 0.5, np.float32),
    }


PERSON_AND_BALL = [(t, 0, 0, (10.0, 20.0, 40.0, 80.0)) for t in (1.0, 2.0, 4.0)] + [
    (t, 1, 1, (60.0, 60.0, 70.0, 70.0)) for t in (2.4, 2.6)
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Project:
    made = Project(tmp_path_factory.mktemp("bank"), root, {"testing": 1, "training": 1}, OVERRIDES)
    made.run("frames")
    torch.manual_seed(5)
    _encoder.save(made.root / "data" / "own", _encoder.build(SPEC), SPEC)
    return made


def fill(
    project: Project, rows: Mapping[str, np.ndarray], name: str = NAME, duration_s: float = 15.0, **options: Any
) -> dict[str, np.ndarray]:
    about = {"classes": "person,ball", "height": SIZE[0], "width": SIZE[1], "duration_s": duration_s}
    kinds.TRACKS.write(project.root / _outputs.TRACKS / name, dict(rows), about)
    project.sections["bank"] = Bank(short_side=64, chunk=4, **options)
    project.metrics["bank"] = project.run("bank")
    with kinds.BANK.open(project.root / _outputs.BANK / name) as reader:
        return {name: reader[name] for name in kinds.BANK.arrays if name in reader}


def test_rows_of_every_kind(project: Project) -> None:
    wanted = ("person", "object", "grid", "global")
    bank = fill(project, tracks(PERSON_AND_BALL), kinds=wanted, grid=2)
    tracked = bank["track"] >= 0
    assert list(zip(bank["t"][tracked].tolist(), bank["track"][tracked].tolist(), strict=True)) == [
        (1.5, 0), (2.5, 0), (2.5, 1), (3.5, 0),
    ]  # fmt: skip
    assert np.bincount(bank["label"]).tolist() == [3, 1, 60, 15]
    assert "short" not in bank and project.metrics["bank"]["tracked_seconds"] == 3
    for only in wanted:
        alone = fill(project, tracks(PERSON_AND_BALL), kinds=(only,), grid=2)
        label = {"person": 0, "object": 1, "grid": 2, "global": 3}[only]
        np.testing.assert_array_equal(alone["feature"], bank["feature"][bank["label"] == label])


def test_the_picture_is_what_the_encoder_says_of_it(project: Project) -> None:
    bank = fill(project, tracks([]), kinds=("grid", "global"), grid=2)
    encoder, spec = _encoder.load(project.root / _outputs.ENCODERS.format(variant="acp"))
    from models.encoders.snippets import normalise_for
    from pipeline.video.crop import crop_resize

    snippets = _snippets.Snippets(spec, {"v": project.root / _outputs.FRAMES / NAME})
    pictures = crop_resize(snippets.pictures("v", np.array([7.5]))[0], 64, 85)
    clip = torch.from_numpy(pictures).permute(3, 0, 1, 2)[None]
    with torch.inference_mode():
        found = encoder(normalise_for(encoder, clip)).mean(dim=2)[0]
    assert found.shape[1:] == (2, 3)
    # Two cells each way: the columns of three overlap in the middle one.
    cells = [found[:, y, x : x + 2].mean(dim=1) for y in (0, 1) for x in (0, 1)]
    expected = torch.stack([*cells, found.mean(dim=(1, 2))]).numpy()
    mine = bank["t"] == 7.5
    assert bank["label"][mine].tolist() == [2, 2, 2, 2, 3]
    np.testing.assert_allclose(bank["feature"][mine], expected, rtol=1e-3, atol=1e-4)
    assert bank["box"][mine][1].tolist() == [56, 0, 112, 42]


def test_true_people_of_training_videos_alone(project: Project) -> None:
    """As AVA's training boxes (thesis, section 7.2.1); no window of the bank shows them."""
    wanted = ("person", "true_person", "grid", "global")
    tested = fill(project, tracks(PERSON_AND_BALL), kinds=wanted, grid=2)
    assert np.bincount(tested["label"]).tolist() == [3, 0, 0, 4 * 15, 15], "what is tested is not given away"

    video = Dataset.load(project.root / _outputs.DATASET_FILE).subset("training")[0]
    path = project.root / _outputs.TRACKS / f"{video.file_stem}.h5"
    learned = fill(
        project, tracks([]), path.name, video.duration_s, kinds=wanted, grid=2, encoder="data/own", describe=("class",)
    )
    when = np.unique(learned["t"])
    true = read_true_boxes(_outputs.truth(project.root, video), when)
    assert true is not None
    mine, people = learned["label"] == 2, true.label == true.classes.index("person")
    assert mine.sum() == people.sum() > 10 and (learned["track"] == -1).all()
    np.testing.assert_array_equal(learned["t"][mine], when[true.picture[people]])
    height, width = SIZE
    np.testing.assert_allclose(
        learned["box"][mine], np.clip(true.box[people], 0, [width, height, width, height]), atol=1e-4
    )
    assert learned["feature"].shape[1] == learned["short"].shape[1] + 5 and (learned["feature"][mine, -3] == 1).all()

    paths = {video.id: project.root / _outputs.BANK / path.name}
    assert index_kinds(paths, ("global",)).banks[video.id].t.tolist() == when.tolist()
    tracked = [(t, 0, 0, tuple(box)) for t, box in zip(when, true.box[people][: len(when)], strict=False)]
    both = fill(project, tracks(tracked), path.name, video.duration_s, kinds=("person", "true_person"))
    assert len(index_kinds(paths, ("person", "object")).banks[video.id].t) == (both["label"] == 0).sum()
    same = [np.flatnonzero((both["t"] == when[0]) & (both["label"] == label))[0] for label in (0, 2)]
    np.testing.assert_array_equal(both["box"][same[0]], both["box"][same[1]])
    np.testing.assert_allclose(both["feature"][same[0]], both["feature"][same[1]], rtol=1e-5)
    path.unlink()


def test_half_precision_and_an_encoder_of_its_own(project: Project) -> None:
    shared = fill(project, tracks(PERSON_AND_BALL))
    half = fill(project, tracks(PERSON_AND_BALL), precision="fp16")
    assert half["feature"].dtype == np.float16
    np.testing.assert_array_equal(half["feature"], shared["feature"].astype(np.float16))
    apart = fill(project, tracks(PERSON_AND_BALL), encoder="data/own", precision="fp16")
    assert set(apart) == {*shared, "short"} and apart["short"].dtype == np.float16
    np.testing.assert_array_equal(apart["short"], half["feature"])
    assert np.abs(apart["feature"] - half["feature"]).max() > 0.01
    index = index_banks({"v": project.root / _outputs.BANK / NAME})
    window = read_window(index, "v", 2.5, WindowRule(4, 5))
    np.testing.assert_array_equal(window.features[window.valid], apart["feature"])
    with pytest.raises((StageError, OSError)):
        fill(project, tracks(PERSON_AND_BALL), encoder="data/nowhere")


def test_a_described_row_says_what_where_and_since_when(project: Project) -> None:
    plain = fill(project, tracks(PERSON_AND_BALL), kinds=("person", "object", "global"))
    told = fill(
        project, tracks(PERSON_AND_BALL), kinds=("person", "object", "global"), describe=("class", "box", "age")
    )
    assert set(told) == {*plain, "short"}
    np.testing.assert_array_equal(told["short"], plain["feature"])
    np.testing.assert_array_equal(told["feature"][:, :64], plain["feature"])
    ball, person = told["track"] == 1, (told["track"] == 0) & (told["t"] == 3.5)
    # One of person, ball, global; middle and size on 112 x 84 px; the ball was first seen at 2.4 s, the person at 1 s.
    expected = [
        [0, 1, 0, 65 / 112, 65 / 84, 10 / 112, 10 / 84, 0.1],
        [1, 0, 0, 25 / 112, 50 / 84, 30 / 112, 60 / 84, 2.5],
    ]
    np.testing.assert_allclose(told["feature"][ball | person, 64:], expected, rtol=1e-5)
    np.testing.assert_array_equal(told["feature"][told["track"] < 0, 64:], [[0, 0, 1, 0.5, 0.5, 1, 1, 0]] * 15)
    own = fill(project, tracks(PERSON_AND_BALL), encoder="data/own", describe=("age",), precision="fp16")
    assert own["feature"].shape[1] == 65 and own["feature"].dtype == np.float16
    np.testing.assert_array_equal(own["short"], plain["feature"][plain["track"] >= 0].astype(np.float16))
    assert fill(project, tracks([]), describe=("class", "age"))["feature"].shape == (0, 67)
    alone = fill(project, tracks(PERSON_AND_BALL), describe=("class", "box", "age"), regions=False)
    tracked = told["track"] >= 0
    np.testing.assert_array_equal(alone["feature"], np.delete(told["feature"][tracked, 64:], 2, axis=1))
    np.testing.assert_array_equal(alone["short"], plain["feature"][tracked])
    for wrong in ({}, {"describe": ("age",), "encoder": "data/own"}):
        with pytest.raises(ValueError, match="regions: false leaves the channels of describe"):
            Bank(short_side=64, regions=False, **wrong)


def test_a_description_does_not_look_ahead() -> None:
    given = tracks([*PERSON_AND_BALL, *((t, 2, 1, (1.0 + t, 1.0, 9.0 + t, 9.0)) for t in (0.0, 2.6, 9.0))])
    for now in (3.0, 5.0):
        cut = {name: values if name == "pts" else values[given["t"] <= now] for name, values in given.items()}
        both = []
        for known in (given, cut):
            rows = rows_of(known, ("person", "ball"), SIZE, 15.0)
            both.append((rows, described(rows, known, ("person", "ball"), SIZE, ("class", "age"))))
        (rows, told), (seen, told_then) = both
        there = [(t, k) for t, k in zip(seen["t"], seen["track"], strict=True)]
        mine = [i for i, (t, k) in enumerate(zip(rows["t"], rows["track"], strict=True)) if (t, k) in there]
        assert len(mine) == len(there) > 0
        np.testing.assert_array_equal(told[mine], told_then)


def test_awkward_tracks(project: Project) -> None:
    nobody = fill(project, tracks([]))
    assert len(nobody["t"]) == 0 and nobody["feature"].shape == (0, 64)
    assert not read_window(
        index_banks({"v": project.root / _outputs.BANK / NAME}), "v", 3.0, WindowRule(4, 5)
    ).valid.any()

    crowd = [(t, n, 0, (n % 80.0, 10.0, n % 80.0 + 20, 60.0)) for n in range(300) for t in (3.0, 4.0)]
    bank = fill(project, tracks(crowd))
    assert len(bank["t"]) == 300 and np.isfinite(bank["feature"]).all()
    np.testing.assert_allclose(bank["feature"][5], bank["feature"][85], rtol=1e-5)
    window = read_window(index_banks({"v": project.root / _outputs.BANK / NAME}), "v", 3.5, WindowRule(1, 5))
    assert window.features.shape == (5, 64) and window.valid.all(), "no more than K of them in a window"

    odd = [
        *((t, 0, 0, (-30.0, -20.0, 50.0, 60.0)) for t in (1.0, 2.0)),  # reaches out of the picture
        *((t, 1, 0, (200.0, 10.0, 230.0, 60.0)) for t in (1.0, 2.0)),  # lies outside
        *((t, 2, 0, (20.0, 30.0, 20.0, 60.0)) for t in (1.0, 2.0)),  # has no width
        (1.5, 3, 0, (10.0, 10.0, 30.0, 60.0)),  # a tube of one picture, just then
        (1.6, 4, 0, (10.0, 10.0, 30.0, 60.0)),  # and one that no instant meets
    ]
    bank = fill(project, tracks(odd))
    assert bank["track"].tolist() == [0, 3]
    assert bank["box"][0].tolist() == [0, 0, 50, 60] and np.isfinite(bank["feature"]).all()


def test_features_that_are_no_numbers_fail_their_video(project: Project) -> None:
    spoilt = _encoder.build(SPEC)
    with torch.no_grad():
        next(spoilt.parameters()).fill_(torch.nan)
    _encoder.save(project.root / "data" / "spoilt", spoilt, SPEC)
    with pytest.raises(
        StageError, match=r"the feature of row 0 \(1.50 s\) is not finite in fp32; encoder: tsm_resnet18"
    ):
        fill(project, tracks(PERSON_AND_BALL), encoder="data/spoilt")
    cause = read_json(project.root / _outputs.BANK / "failures.json")[0]["cause"]
    assert "is not finite" in cause


def test_only_what_is_tracked_becomes_a_token() -> None:
    rows = rows_of(tracks(PERSON_AND_BALL), ["person", "ball"], SIZE, 15.0, ("person", "object", "grid", "global"), 2)
    rows["feature"] = np.zeros((len(rows["t"]), 3), np.float32)
    names = ["person", "ball", "grid", "global"]
    tokens = instances_of(rows, names, [0.0], 112, 84, (PERSON, OBJECT))
    assert tokens.source.tolist() == [PERSON, PERSON, OBJECT, PERSON]


def test_rows_that_are_settled_do_not_hang_on_the_future() -> None:
    """Causal windows leave out what is younger than ``settle_s`` = the tracker's ``max_gap_s``."""
    from pipeline.video.tracks import link

    options = {"begin_score": 0.5, "continue_score": 0.4, "max_gap_s": 1.0, "min_length": 2, "min_similarity": -0.2}
    rng = np.random.default_rng(3)
    now, differing = 9.5, 0
    for _ in range(12):
        futures = []
        t = np.repeat(np.arange(0, 15, 1 / 3), 3)
        corner = np.tile([0.0, 30.0, 60.0], 45) + 12 * rng.random(135)
        score = rng.choice([0.3, 0.45, 0.9], 135)
        for _ in range(2):
            later = t > now
            x = np.where(later, 90 * rng.random(135), corner)
            sure = np.where(later, rng.choice([0.3, 0.9], 135), score)
            box = np.stack([x, np.full(135, 20.0), x + 20, np.full(135, 70.0)], axis=1)
            number = link(t, box, np.zeros(135, np.int64), sure, [0.0, 6.2], **options)
            kept = number >= 0
            found = {"t": t[kept], "track": number[kept], "label": np.zeros(kept.sum(), np.int16), "box": box[kept],
                     "score": sure[kept]}  # fmt: skip
            rows = rows_of(found, ["person"], SIZE, 15.0, ("person",))
            futures.append({name: values[rows["t"] <= now - 1.0] for name, values in rows.items() if name != "track"})
            differing += int((rows["t"] > now - 1.0).sum())
        assert all(np.array_equal(futures[0][name], futures[1][name]) for name in futures[0])
        assert len(futures[0]["t"])
    assert differing
