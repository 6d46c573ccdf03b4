"""EPIC-Kitchens from files: protocols epic100 and epic55.

Truth: the annotation CSV. Predictions: the challenge's JSON ``{"results": {id: {"verb": {"0": score}, "noun": {...}}}}``,
or an ``.npz`` with ``verb_output`` [N, V], ``noun_output`` [N, M] and ``narration_id`` [N]. The lists of unseen people and
tail classes (``EPIC_100_unseen_participant_ids*.csv``, ``EPIC_100_tail_verbs.csv``, ``EPIC_100_tail_nouns.csv``) are read
where they lie beside the truth.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.formats.common import only_file
from pipeline.datasets.formats.epic import EPIC55_VALIDATION, NOUNS, VERBS, Actions, read_actions
from pipeline.datasets.formats.text import read_object, read_table
from pipeline.evaluation.epic import accuracies, action_prior, rank_official, rank_with_prior
from pipeline.evaluation.from_files.request import Request, listed


class Scores(NamedTuple):
    """Raw scores of N segments: ``ids`` [N], ``verb`` [N, V], ``noun`` [N, M]."""

    ids: tuple[str, ...]
    verb: NDArray[np.floating]
    noun: NDArray[np.floating]


def run_100(request: Request) -> dict[str, Any]:
    """EK-100; ``no_prior`` is the official rule, ``prior`` needs ``--training``, the training CSV."""
    variant = request.choose(("no_prior", "prior"))
    truth = read_actions(request.truth, "epic100")
    training = None
    if variant == "prior":
        if request.training is None:
            raise ValueError("variant prior needs --training, the CSV of the training segments")
        training = read_actions(request.training, "epic100")
    return _run(request, "epic100", variant, truth, training)


def run_55(request: Request) -> dict[str, Any]:
    """EK-55, validation participants P26 to P31; the prior is counted on the others, P01 to P25."""
    variant = request.choose(("prior", "no_prior"))
    every = read_actions(request.training or request.truth, "epic55")
    held_out = frozenset(EPIC55_VALIDATION)
    training = every.of_participants(frozenset(every.participants) - held_out) if variant == "prior" else None
    truth = read_actions(request.truth, "epic55").of_participants(held_out)
    if not len(truth):
        raise ValueError(f"{request.truth}: no segment of {', '.join(EPIC55_VALIDATION)}")
    return _run(request, "epic55", variant, truth, training)


def load_scores(path: Path, edition: str) -> Scores:
    """Read predictions.

    Raises:
        ValueError: neither form, or scores of another number of classes; file, segment and field are named.
    """
    verbs, nouns = VERBS[edition], NOUNS[edition]
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            for name in ("verb_output", "noun_output", "narration_id"):
                if name not in archive.files:
                    raise ValueError(f"{path}: no array {name!r}; there are {', '.join(archive.files) or 'none'}")
            scores = Scores(
                tuple(map(str, archive["narration_id"].tolist())), archive["verb_output"], archive["noun_output"]
            )
        wanted = {"verb_output": (scores.verb, verbs), "noun_output": (scores.noun, nouns)}
        for name, (array, width) in wanted.items():
            if array.shape != (len(scores.ids), width):
                raise ValueError(f"{path}: {name} is {array.shape}, expected ({len(scores.ids)}, {width})")
    else:
        results = read_object(path).get("results")
        if not isinstance(results, dict):
            raise ValueError(f"{path}: no field 'results' with scores by segment")
        table = [
            [_row(path, id_, entry, kind, width) for kind, width in (("verb", verbs), ("noun", nouns))]
            for id_, entry in results.items()
        ]
        scores = Scores(
            tuple(results),
            np.array([row[0] for row in table], np.float64),
            np.array([row[1] for row in table], np.float64),
        )
    if not scores.ids:
        raise ValueError(f"{path}: no segments")
    if not (np.isfinite(scores.verb).all() and np.isfinite(scores.noun).all()):
        raise ValueError(f"{path}: a score is not finite")
    return scores


def _row(path: Path, id_: str, entry: Any, kind: str, width: int) -> list[float]:
    given = entry.get(kind) if isinstance(entry, dict) else None
    if not isinstance(given, dict) or set(given) != {str(number) for number in range(width)}:
        raise ValueError(f"{path}: segment {id_!r}: field {kind!r} must have a score for each of '0' to '{width - 1}'")
    return [float(given[str(number)]) for number in range(width)]


def _run(request: Request, edition: str, variant: str, truth: Actions, training: Actions | None) -> dict[str, Any]:
    errors = [defect for defect in truth.defects if defect.severity == "error"]
    if errors:
        raise ValueError("; ".join(map(str, errors[:3])))
    scores = load_scores(request.predictions, edition)
    row_of = {id_: row for row, id_ in enumerate(truth.ids)}
    known = [i for i, id_ in enumerate(scores.ids) if id_ in row_of]
    if not known:
        raise ValueError(f"{request.predictions}: none of its {len(scores.ids)} segments is in {request.truth}")
    # In the order of the predictions, as the script has it: numpy's sums and sorts then agree to the last digit.
    mine = truth.take([row_of[scores.ids[i]] for i in known])
    verb, noun = scores.verb[known], scores.noun[known]
    if variant == "no_prior" and edition == "epic100":
        ranks = rank_official(verb, noun)
    else:
        prior = action_prior(training, VERBS[edition], NOUNS[edition]) if training is not None else None
        ranks = rank_with_prior(verb, noun, prior)
    folder = request.truth.parent
    unseen, verbs, nouns = (
        _column(folder, pattern, column)
        for pattern, column in (
            ("EPIC_100_unseen_participant_ids*.csv", "participant_id"),
            ("EPIC_100_tail_verbs*.csv", "verb"),
            ("EPIC_100_tail_nouns*.csv", "noun"),
        )
    )
    found = set(scores.ids)
    notes = listed([id_ for id_ in truth.ids if id_ not in found], "segments of the truth have no scores, left out")
    if len(known) < len(scores.ids):
        notes.append(f"{len(scores.ids) - len(known)} segments with scores are not in the truth; they were ignored")
    return {
        "variant": variant,
        **accuracies(ranks, mine, unseen, [int(value) for value in verbs], [int(value) for value in nouns]),
        "videos": len(set(mine.videos)),
        "instances": len(mine),
        "warnings": notes,
    }


def _column(folder: Path, pattern: str, column: str) -> list[str]:
    table = only_file(folder, (pattern,))
    return [row[column] for _, row in read_table(table, (column,))] if table else []
