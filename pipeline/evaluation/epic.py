"""EPIC-Kitchens action recognition: top-1 and top-5 of verb, noun and action, on EK-100 and EK-55.

``epic100``, the official rule (C1-Action-Recognition): no prior; an action is scored by softmax(the 100 best verbs) x
softmax(the 100 best nouns), and its best 100 pairs are ranked. Beside all segments, those of unseen participants and of
tail classes (top-1; a segment is tail for *action* if its verb or its noun is). The script takes each softmax over the
whole matrix of the set, not segment by segment; kept, as within a segment it only scales (and may underflow).

``epic55``, with the prior of long-term feature banks (thesis section 7.2.2): P(verb) P(noun) mu(verb, noun), softmax by
segment, mu = f(verb, noun) / (f(verb) + 1e-5) with f the share of the training segments, as LFB's ``evaluate_actions.py``
has it (which names it the other way round); all pairs are ranked, equal ones in the order of verb and noun.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.formats.epic import Actions
from pipeline.evaluation.segments import FloatArray, IntArray

TOP_N = 100
ACTION_BASE = 1000
"""Number of an action: 1000 x verb + noun."""
_ROWS = 256  # of the pair table at a time; a row has up to 10,000 numbers

Scores = NDArray[np.floating]


@dataclass(frozen=True)
class Ranks:
    """Class numbers of each segment, best first: ``verb`` [N, V], ``noun`` [N, M], ``action`` [N, at most 100]."""

    verb: IntArray
    noun: IntArray
    action: IntArray


def rank_official(verb: Scores, noun: Scores, top_n: int = TOP_N) -> Ranks:
    """Rank by the EK-100 script; ``verb`` [N, V] and ``noun`` [N, M] raw scores of any scale."""
    verbs, nouns = _rank(verb), _rank(noun)
    best_verbs, best_nouns = verbs[:, :top_n], nouns[:, :top_n]
    verb_share = _softmax(np.take_along_axis(verb, best_verbs, axis=1), None)
    noun_share = _softmax(np.take_along_axis(noun, best_nouns, axis=1), None)
    actions = []
    for first in range(0, len(verb), _ROWS):
        block = slice(first, first + _ROWS)
        pairs = verb_share[block, :, None] * noun_share[block, None, :]
        flat = pairs.reshape(len(pairs), -1)
        order = _rank(flat)[:, :top_n]
        # The script ranks the best pairs a second time, which turns round those of equal score.
        order = np.take_along_axis(order, _rank(np.take_along_axis(flat, order, axis=1)), axis=1)
        verb_at, noun_at = np.unravel_index(order, pairs.shape[1:])
        rows = np.arange(len(pairs))[:, None]
        actions.append(best_verbs[block][rows, verb_at] * ACTION_BASE + best_nouns[block][rows, noun_at])
    return Ranks(verbs, nouns, np.concatenate(actions))


def action_prior(training: Actions, verbs: int, nouns: int) -> FloatArray:
    """mu(verb, noun) [V, M] from the training segments: how often a verb goes with a noun.

    Raises:
        ValueError: there is no training segment.
    """
    if not len(training):
        raise ValueError("a prior needs training segments")
    counts = np.zeros((verbs, nouns))
    np.add.at(counts, (training.verb, training.noun), 1.0)
    shares = counts / counts.sum()
    prior: FloatArray = shares / (shares.sum(axis=1, keepdims=True) + 1e-5)
    return prior


def rank_with_prior(verb: Scores, noun: Scores, prior: FloatArray | None, top_n: int = TOP_N) -> Ranks:
    """Rank by P(verb) P(noun) mu, softmax by segment; ``prior`` None: by P(verb) P(noun).

    Raises:
        ValueError: the prior has another shape than [V, M].
    """
    if prior is not None and prior.shape != (verb.shape[1], noun.shape[1]):
        raise ValueError(f"prior {prior.shape}, scores of {verb.shape[1]} verbs and {noun.shape[1]} nouns")
    p_verb, p_noun = _softmax(verb, 1), _softmax(noun, 1)
    actions = []
    for first in range(0, len(verb), _ROWS):
        block = slice(first, first + _ROWS)
        pairs = p_verb[block, :, None] * p_noun[block, None, :]
        if prior is not None:
            pairs *= prior  # in the precision of the scores, as the script does
        flat = pairs.reshape(len(pairs), -1)
        order = np.stack([_best(row, top_n) for row in flat])
        verb_at, noun_at = np.divmod(order, noun.shape[1])
        actions.append(verb_at * ACTION_BASE + noun_at)
    return Ranks(_rank(verb), _rank(noun), np.concatenate(actions))


def accuracies(
    ranks: Ranks,
    truth: Actions,
    unseen: Iterable[str] = (),
    tail_verbs: Iterable[int] = (),
    tail_nouns: Iterable[int] = (),
) -> dict[str, float]:
    """Shares in percent, named as the official script names them: ``all_verb_accuracy_at_1`` and so on.

    ``unseen_*`` and ``tail_*`` stand where their lists are given and leave a segment.

    Raises:
        ValueError: no segment, or ranks and truth differ in number.
    """
    if not len(truth) or len(ranks.verb) != len(truth):
        raise ValueError(f"scores of {len(ranks.verb)} segments, truth of {len(truth)}")
    labels = {"verb": truth.verb, "noun": truth.noun, "action": truth.verb * ACTION_BASE + truth.noun}
    tables = {"verb": ranks.verb, "noun": ranks.noun, "action": ranks.action}
    everything = np.ones(len(truth), bool)
    stranger = np.isin(np.array(truth.participants), list(unseen))
    rare_verb, rare_noun = np.isin(truth.verb, list(tail_verbs)), np.isin(truth.noun, list(tail_nouns))
    rows: dict[str, Mapping[str, NDArray[np.bool_]]] = {
        "all": dict.fromkeys(labels, everything),
        "tail": {"verb": rare_verb, "noun": rare_noun, "action": rare_verb | rare_noun},
        "unseen": dict.fromkeys(labels, stranger),
    }
    found = {}
    for name, chosen in rows.items():
        for task, some in chosen.items():
            for k in (1, 5) if name == "all" else (1,):
                if some.any():
                    hit = (tables[task][some, :k] == labels[task][some, None]).max(axis=1)
                    found[f"{name}_{task}_accuracy_at_{k}"] = float(hit.mean() * 100)
    return found


def _best(scores: Scores, top_n: int) -> IntArray:
    """Places of the best ``top_n`` scores, falling, equal ones in order, without sorting the others."""
    most = min(top_n, len(scores))
    candidates = np.flatnonzero(scores >= np.partition(scores, -most)[-most])
    best: IntArray = candidates[np.argsort(-scores[candidates], kind="stable")][:most]
    return best


def _rank(scores: Scores) -> IntArray:
    """Columns in falling score; equal ones as the script leaves them (numpy's unstable argsort, reversed)."""
    order: IntArray = scores.argsort(axis=-1)[:, ::-1]
    return order


def _softmax(scores: Scores, axis: int | None) -> Scores:
    shares = np.exp(scores - scores.max(axis=axis, keepdims=True))
    normed: Scores = shares / shares.sum(axis=axis, keepdims=True)
    return normed
