"""EPIC-Kitchens: the official script's steps told segment by segment, and the prior by hand."""

import numpy as np
import pytest

from pipeline.datasets.formats.epic import Actions
from pipeline.evaluation.epic import accuracies, action_prior, rank_official, rank_with_prior


def actions(verb: list[int], noun: list[int], participants: list[str] | None = None) -> Actions:
    n = len(verb)
    people = tuple(participants or ["P01"] * n)
    return Actions(
        tuple(f"s{i}" for i in range(n)), people, people, np.zeros(n), np.ones(n), np.array(verb), np.array(noun),
        np.arange(n),
    )  # fmt: skip


def literal_actions(verb: np.ndarray, noun: np.ndarray, top: int) -> list[list[int]]:
    """The C1 script, segment by segment; each softmax is over the whole matrix, as there."""

    def best(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(scores)[:, ::-1][:, :top]
        kept = scores[np.arange(len(scores))[:, None], order]
        shares = np.exp(kept - kept.max())
        return order, shares / shares.sum()

    (verbs, p_verb), (nouns, p_noun) = best(verb), best(noun)
    ranked = []
    for i in range(len(verb)):
        table = p_verb[i][:, None] * p_noun[i][None, :]
        order = table.reshape(-1).argsort()[::-1][:top]
        ids = np.array([verbs[i][o // table.shape[1]] * 1000 + nouns[i][o % table.shape[1]] for o in order])
        # As a dictionary of scores it is ranked once more.
        ranked.append(ids[np.argsort(table.reshape(-1)[order])[::-1]].tolist())
    return ranked


@pytest.mark.parametrize("ties", [False, True])
def test_official_ranks(ties: bool) -> None:
    rng = np.random.default_rng(0)
    verb, noun = rng.normal(size=(40, 12)).astype(np.float32), rng.normal(size=(40, 30)).astype(np.float32)
    if ties:
        verb, noun = np.round(verb), np.round(noun)
    ranks = rank_official(verb, noun, top_n=10)
    assert ranks.action.tolist() == literal_actions(verb, noun, 10)
    assert ranks.verb.tolist() == [row.argsort()[::-1].tolist() for row in verb]


def test_accuracies_and_their_names() -> None:
    verb = np.array([[3.0, 1.0, 0.0], [3.0, 1.0, 0.0], [0.0, 1.0, 3.0], [0.0, 3.0, 1.0]])
    noun = np.array([[3.0, 0.0], [0.0, 3.0], [0.0, 3.0], [0.0, 3.0]])
    truth = actions([0, 0, 1, 1], [0, 0, 1, 0], ["P01", "P02", "P02", "P03"])
    found = accuracies(rank_official(verb, noun), truth, unseen=["P02"], tail_verbs=[1], tail_nouns=[])
    assert found == {
        "all_verb_accuracy_at_1": 75.0, "all_verb_accuracy_at_5": 100.0,
        "all_noun_accuracy_at_1": 50.0, "all_noun_accuracy_at_5": 100.0,
        "all_action_accuracy_at_1": 25.0, "all_action_accuracy_at_5": 100.0,
        "tail_verb_accuracy_at_1": 50.0, "tail_action_accuracy_at_1": 0.0,
        "unseen_verb_accuracy_at_1": 50.0, "unseen_noun_accuracy_at_1": 50.0, "unseen_action_accuracy_at_1": 0.0,
    }  # fmt: skip


def test_the_prior_decides() -> None:
    training = actions([0, 0, 0, 1], [0, 0, 1, 1])
    prior = action_prior(training, 2, 2)
    shares = np.array([[2, 1], [0, 1]]) / 4
    assert prior.tolist() == [[2 / 4 / (3 / 4 + 1e-5), 1 / 4 / (3 / 4 + 1e-5)], [0.0, 1 / 4 / (1 / 4 + 1e-5)]]
    assert prior == pytest.approx(shares / shares.sum(axis=1, keepdims=True), abs=1e-4)
    with pytest.raises(ValueError, match="needs training segments"):
        action_prior(actions([], []), 2, 2)
    verb, noun = np.log([[0.5, 0.5]]), np.log([[0.6, 0.4]])
    assert rank_with_prior(verb, noun, None).action[0, 0] in (0, 1000)  # equal verbs: noun 0 either way
    # 0.5*0.6*2/3 = 0.2, 0.5*0.4*1/3 = 0.067, 0, 0.5*0.4*1 = 0.2 (a little less: 1e-5 in the denominator)
    assert rank_with_prior(verb, noun, prior).action[0].tolist()[:3] == [0, 1001, 1]
    with pytest.raises(ValueError, match=r"prior \(2, 2\)"):
        rank_with_prior(np.zeros((1, 3)), noun, prior)


def test_ranking_with_a_prior_is_a_stable_sort_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    verb, noun = np.round(rng.normal(size=(20, 6))), np.round(rng.normal(size=(20, 9)))  # many equal scores
    prior = rng.integers(0, 3, (6, 9)) / 2
    ranked = rank_with_prior(verb, noun, prior, top_n=15).action

    def shares(row: np.ndarray) -> np.ndarray:
        return np.exp(row - row.max()) / np.exp(row - row.max()).sum()

    for i in range(20):
        p_verb, p_noun = shares(verb[i]), shares(noun[i])
        pairs = [(-(p_verb[v] * p_noun[n] * prior[v, n]), v * 1000 + n) for v in range(6) for n in range(9)]
        assert ranked[i].tolist() == [id_ for _, id_ in sorted(pairs, key=lambda pair: pair[0])][:15]


def test_no_segments_is_an_error() -> None:
    with pytest.raises(ValueError, match="truth of 0"):
        accuracies(rank_official(np.zeros((1, 3)), np.zeros((1, 3))), actions([], []))
