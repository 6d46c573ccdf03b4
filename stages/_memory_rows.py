"""Rows of a video's bank as the stage ``memory`` reads them, and any number of them for each clip."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.run import kinds
from pipeline.run.artifacts import ArtifactError
from stages._bank_index import names_of
from stages._bank_rows import FIRST_S, STEP_S, TRUE_PERSON, RowKind, instants


class Ragged(NamedTuple):
    """Any number of rows for each of N clips: of ``rows`` [M, D], clip n has those from ``first[n]`` to ``last[n]``."""

    rows: NDArray[np.floating]
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    def padded(self, chosen: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Rows of some clips ``[B, Q, D]``, zeros behind, and which are filled ``[B, Q]``; Q is at least 1."""
        count = self.last[chosen] - self.first[chosen]
        filled = np.arange(max(1, int(count.max(initial=0)))) < count[:, None]
        table = np.zeros((*filled.shape, self.rows.shape[1]), np.float32)
        table[filled] = np.concatenate([self.rows[:0], *(self.rows[self.first[n] : self.last[n]] for n in chosen)])
        return table, filled


class BankRows(NamedTuple):
    """The n rows of one video's bank.

    ``t``, ``label`` (of ``classes``), ``score`` [n]; ``box`` [n, 4] px; ``feature`` [n, D] is of the short-term side;
    ``instants`` [K] are all that the bank has, ``reach_s`` is how far a feature's clip reaches to either side.
    """

    path: Path
    t: NDArray[np.float64]
    label: NDArray[np.int16]
    score: NDArray[np.float32]
    box: NDArray[np.float32]
    feature: NDArray[np.floating]
    classes: tuple[str, ...]
    instants: NDArray[np.float64]
    reach_s: float

    def of_kinds(self, wanted: Sequence[RowKind], min_score: float) -> NDArray[np.int64]:
        """The rows of these kinds whose detection has ``min_score``, in the order of time."""
        labels = [self.classes.index(name) for name in names_of(self.classes, wanted)]
        return np.flatnonzero(np.isin(self.label, labels) & (self.score >= min_score))

    def true_people(self) -> NDArray[np.int64]:
        """The rows of people who are truly there; none where the bank has not been asked for them."""
        return np.flatnonzero(np.isin(self.label, [n for n, name in enumerate(self.classes) if name == TRUE_PERSON]))


def read_rows(path: Path) -> BankRows:
    """One video's bank.

    Raises:
        ArtifactError: a short-term feature is not finite.
    """
    with kinds.BANK.open(path) as reader:
        t, label, score, box = (reader[name] for name in ("t", "label", "score", "box"))
        feature = reader["short" if "short" in reader else "feature"]
        about = reader.attributes
    if not np.isfinite(feature).all():
        raise ArtifactError(f"{path}: a short-term feature is not finite")
    first = float(t[0]) % STEP_S if len(t) else FIRST_S
    return BankRows(
        path, t, label, score, box, feature, tuple(about["classes"].split(",")),
        instants(about["duration_s"], first), about["window_s"] / 2,
    )  # fmt: skip


def rows_at(rows: BankRows, wanted: Sequence[RowKind], min_score: float, t: NDArray[np.float64]) -> Ragged:
    """The rows of some kinds at each of the instants ``t``."""
    mine = rows.of_kinds(wanted, min_score)
    at = rows.t[mine]
    return Ragged(rows.feature[mine], np.searchsorted(at, t, "left"), np.searchsorted(at, t, "right"))


def joined(parts: Sequence[Ragged]) -> Ragged:
    """Those of all videos as one."""
    start = np.cumsum([0, *(len(part.rows) for part in parts)])
    first, last = (
        np.concatenate(
            [np.zeros(0, np.int64), *(getattr(part, end) + at for part, at in zip(parts, start, strict=False))]
        )
        for end in ("first", "last")
    )
    return Ragged(np.concatenate([part.rows for part in parts]) if parts else np.zeros((0, 1)), first, last)
