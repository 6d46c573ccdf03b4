"""Tokens of spans: which boxes, their indices, jitter, and what is refused."""

from typing import Any

import numpy as np
import pytest

from pipeline.datasets.spans import (
    OBJECT,
    PERSON,
    Instances,
    instances_of,
    make_span,
    one_source,
    pad_spans,
    span_ends,
)


def bank(seconds: int, per_second: Any = 2, **changed: Any) -> dict[str, np.ndarray]:
    t = np.repeat(np.arange(seconds) + 0.5, per_second)
    n, rng = len(t), np.random.default_rng(0)
    corner = rng.uniform(0, 50, (n, 2))
    rows = {
        "t": t,
        "track": np.arange(n) % 3,
        "label": (np.arange(n) % 2).astype(np.int16),
        "box": np.concatenate([corner, corner + rng.uniform(5, 30, (n, 2))], axis=1).astype(np.float32),
        "score": np.ones(n, np.float32),
        "feature": rng.standard_normal((n, 4)).astype(np.float16),
    }
    return rows | changed


def video(seconds: int, per_second: Any = 2, shots: Any = (0.0,), **changed: Any) -> Instances:
    rows = bank(seconds, per_second, **changed)
    return instances_of(rows, ["person", "ball"], shots, 100, 80, (PERSON, OBJECT))


def test_tokens_are_the_banks_rows() -> None:
    rows = bank(10)
    made = video(10, shots=[0.0, 4.0, 7.0])
    np.testing.assert_allclose(made.box[:, [0, 2]], rows["box"][:, [0, 2]] / 100, rtol=1e-6)
    np.testing.assert_allclose(made.box[:, [1, 3]], rows["box"][:, [1, 3]] / 80, rtol=1e-6)
    assert made.shot.tolist() == [1] * 8 + [2] * 6 + [3] * 6
    assert made.source.tolist() == [PERSON, OBJECT] * 10
    people = instances_of(rows, ["person", "ball"], [0.0], 100, 80)
    np.testing.assert_array_equal(people.feature, rows["feature"][::2])
    np.testing.assert_array_equal(one_source(made, PERSON).feature, people.feature)


def test_a_box_outside_the_picture_is_cut_to_it() -> None:
    box = np.tile(np.array([[-20, 10, 120, 400]], np.float32), (20, 1))
    np.testing.assert_allclose(video(10, box=box).box[0], [0, 0.125, 1, 1])


@pytest.mark.parametrize("name", ["t", "box", "feature"])
def test_what_is_not_finite_is_refused(name: str) -> None:
    rows = bank(10)
    rows[name][13] = np.nan
    with pytest.raises(ValueError, match=f"the bank's {name} of row 13 is not finite"):
        instances_of(rows, ["person", "ball"], [0.0], 100, 80)
    with pytest.raises(ValueError, match="there is no class 'person' among cat"):
        instances_of(bank(3), ["cat"], [0.0], 100, 80)


def test_all_overlapping_spans() -> None:
    assert span_ends(video(70)).tolist() == list(range(59, 70))
    assert span_ends(video(60)).tolist() == [59]
    assert span_ends(video(7)).tolist() == [6]
    assert span_ends(video(0)).tolist() == [0]
    gap = video(200, [2] * 20 + [0] * 150 + [2] * 30)
    ends = span_ends(gap)
    assert ends.tolist() == [*range(59, 79), *range(170, 200)], "not those without a token"


def test_indices_count_from_both_ends_and_the_centre() -> None:
    made = make_span(video(80, 1, shots=[0.0, 30.0, 50.0]), 70)
    assert made.time[:, 0].tolist() == list(range(60))
    assert made.time[:, 1].tolist() == list(range(59, -1, -1))
    assert made.time[:, 2].tolist() == list(range(-29, 31)), "the centre of 11 to 70 is 40"
    assert made.shot[0].tolist() == [0, 2, -1] and made.shot[-1].tolist() == [2, 0, 1]
    around = make_span(video(80, 1), 40, "centre")
    assert around.time[:, 2].tolist() == list(range(-30, 30))
    np.testing.assert_array_equal(around.row, np.arange(10, 70))


def test_what_a_crowd_leaves() -> None:
    crowd = video(60, 10)
    latest = make_span(crowd, 59)
    assert len(latest.row) == 254
    assert latest.row.tolist() == [*range(340, 344), *range(350, 600)], "the last 25 seconds, and 4 boxes"
    centre = crowd.second[make_span(crowd, 30, "centre").row]
    assert np.bincount(centre, minlength=60)[17:44].tolist() == [4] + [10] * 25 + [0], "25 seconds around 30"
    even = np.bincount(crowd.second[make_span(crowd, 59, "even").row], minlength=60)
    assert even.min() == 4 and even.max() == 5 and even.sum() == 254
    assert len(make_span(video(3, 300), 2).row) == 254, "300 people in a picture"
    assert len(make_span(crowd, 59, budget=7).row) == 7


def test_instance_numbers_are_a_permutation() -> None:
    made = video(20, 3, track=np.repeat([900, 17, 400, 5], 15))
    still = make_span(made, 19)
    assert still.instance.tolist() == [0] * 15 + [1] * 15 + [2] * 15 + [3] * 15
    seen = set()
    for seed in range(40):
        drawn = make_span(made, 19, rng=np.random.default_rng(seed)).instance
        assert (drawn.reshape(4, 15) == drawn.reshape(4, 15)[:, :1]).all()
        seen.add(tuple(drawn[::15].tolist()))
    assert {frozenset(one) for one in seen} == {frozenset(range(4))} and len(seen) > 10


def test_jitter_moves_corners_within_a_fifth() -> None:
    made = video(60)
    still, moved = make_span(made, 59), make_span(made, 59, jitter=0.2, rng=np.random.default_rng(0))
    size = np.tile(still.box[:, 2:4] - still.box[:, :2], 2)
    share = (moved.box[:, :4] - still.box[:, :4]) / size
    assert 0.19 < np.abs(share).max() <= 0.2001 and abs(share.mean()) < 0.02
    for one in (still, moved):
        np.testing.assert_allclose(one.box[:, 4], (one.box[:, 2] - one.box[:, 0]) * (one.box[:, 3] - one.box[:, 1]))
    with pytest.raises(ValueError, match=r"jitter is 0\.2; it needs a generator"):
        make_span(made, 59, jitter=0.2)
    with pytest.raises(ValueError, match="order is 'first'; allowed: latest, centre, even"):
        make_span(made, 59, "first")  # type: ignore[arg-type]


def test_a_batch_is_padded_and_an_empty_video_has_no_token() -> None:
    batch = pad_spans([make_span(video(5), 4), make_span(video(0), 0)])
    assert batch["feature"].shape == (2, 10, 4) and batch["feature"].dtype == np.float32
    assert batch["valid"].sum(axis=1).tolist() == [10, 0]
    assert not batch["feature"][1].any()
    assert pad_spans([make_span(video(0), 0)])["valid"].shape == (1, 1)
