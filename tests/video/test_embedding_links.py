"""Linking key frames by appearance: who is whom, cuts, gaps, and the best matching of all."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from pipeline.video.embedding_links import link_by_embedding

PEOPLE = np.eye(4)


def scene(who: list[list[int]], step_s: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, noisy embeddings and labels of the people that are seen at each key frame."""
    rng = np.random.default_rng(0)
    t = np.repeat(np.arange(len(who)) * step_s, [len(now) for now in who])
    people = np.array([person for now in who for person in now], int)
    return t, 3 * PEOPLE[people].reshape(-1, 4) + rng.normal(0, 0.2, (len(t), 4)), np.zeros(len(t), int)


def link(who: list[list[int]], shots: Any = (0.0,), **options: Any) -> list[int]:
    t, embedding, label = scene(who)
    tracks: list[int] = link_by_embedding(t, embedding, label, shots, **options).tolist()
    return tracks


def test_people_are_followed_whatever_their_order() -> None:
    assert link([[0, 1, 2], [2, 0, 1], [1, 2, 0, 3], [3]]) == [0, 1, 2, 2, 0, 1, 1, 2, 0, 3, 3]


def test_a_cut_ends_tubes_unless_identities_are_followed() -> None:
    who = [[0, 1], [1, 0], [0, 1], [1, 0]]
    assert link(who, [0.0, 2.0]) == [0, 1, 1, 0, 2, 3, 3, 2]
    assert link(who, [0.0, 2.0], across_shots=True) == [0, 1, 1, 0, 0, 1, 1, 0]


def test_gaps() -> None:
    who = [[0, 1], [1], [0, 1]]
    assert link(who) == [0, 1, 1, 2, 1]
    assert link(who, max_gap_s=2.0) == [0, 1, 1, 0, 1]
    assert link(who, min_length=2) == [-1, 0, 0, -1, 0]


def test_a_tube_has_one_class() -> None:
    t, embedding, label = scene([[0], [0], [0]])
    label[1] = 1
    assert link_by_embedding(t, embedding, label, [0.0], max_gap_s=2.0).tolist() == [0, 1, 0]


def test_the_matching_is_the_best_of_all() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        n = int(rng.integers(1, 5))
        embedding = rng.standard_normal((2 * n, 3))
        t = np.repeat([0.0, 1.0], n)
        tracks = link_by_embedding(t, embedding, np.zeros(2 * n, int), [0.0], min_similarity=-1.0)
        unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
        cosine = unit[:n] @ unit[n:].T
        best = max(sum(cosine[i, j] for i, j in enumerate(order)) for order in permutations(range(n)))
        found = sum(cosine[i, int(np.flatnonzero(tracks[n:] == tracks[i])[0])] for i in range(n))
        assert found == pytest.approx(best)


def test_nothing_and_what_is_refused() -> None:
    nothing = link_by_embedding(np.zeros(0), np.zeros((0, 4)), np.zeros(0, int), [0.0])
    assert nothing.shape == (0,) and nothing.dtype == np.int32
    t, embedding, label = scene([[0, 1], [1, 0]])
    with pytest.raises(ValueError, match="the time falls after row 1"):
        link_by_embedding(t[::-1], embedding, label, [0.0])
    with pytest.raises(ValueError, match="4 times, 3 embeddings, 4 labels"):
        link_by_embedding(t, embedding[:3], label, [0.0])
    embedding[2, 1] = np.nan
    with pytest.raises(ValueError, match="the embedding of row 2 is not finite"):
        link_by_embedding(t, embedding, label, [0.0])
    with pytest.raises(ValueError, match="min_similarity is 2"):
        link([[0]], min_similarity=2)
