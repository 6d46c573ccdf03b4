"""Long-term context of the localisation head: its part of section ``head``, and the windows of feature banks that it sees.

A snippet's window stands around its middle, a proposal's around that of the proposal; ``causal`` windows end ``settle_s``
before. A video without a bank, or a window without a row, leaves the features as they are
(:mod:`models.heads.bank_context`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from pydantic import Field

from pipeline.datasets.bank_windows import (
    BankIndex,
    BankWindow,
    WindowMode,
    WindowRule,
    read_window,
    stack_windows,
    window_bounds,
)
from pipeline.datasets.schema import Video
from pipeline.run.params import Section
from pipeline.run.stage import StageError
from stages import _bank_index, _outputs
from stages._bank_rows import RowKind

if TYPE_CHECKING:
    from torch import Tensor

    from models.heads.bank_context import BankContext, BankWindows

_STATISTICS = 64
"""Training videos whose rows give mean and deviation of the bank's channels."""


class InBank(NamedTuple):
    """A video as its bank knows it."""

    id: str
    duration_s: float


class ContextSpec(Section):
    """What a head sees of the feature bank, and through which operator; sizes are the thesis' (section 7.1.4)."""

    operator: Literal["nl", "avg", "max"] = "nl"
    window_s: float = Field(60.0, gt=0, description="length of the window of the bank")
    kinds: tuple[RowKind, ...] = Field(("person", "object"), min_length=1, description="of rows of the bank")
    mode: WindowMode = Field("centred", description="centred: half before, half after; causal: only what was before")
    settle_s: float = Field(1.0, ge=0, description="causal: younger rows are left out; tracks look so far ahead")
    per_second: int = Field(5, ge=1, description="K, most rows of a second")
    min_score: float = Field(0.0, ge=0, le=1, description="of a row's detection")
    layers: int = Field(2, ge=1, le=3, description="blocks of nl")
    hidden: int = Field(512, ge=1, description="channels of nl")
    dropout: float = Field(0.2, ge=0, lt=1, description="in nl")


@dataclass(frozen=True)
class Banks:
    """The banks of videos, and which of their rows are seen; ``index`` None: there are none, every window is empty."""

    spec: ContextSpec
    dim: int
    index: BankIndex | None

    def windows(self, wanted: Iterable[tuple[str, float]], rng: np.random.Generator | None = None) -> "BankWindows":
        """The windows of queries, each a video's id and an instant in seconds; those with the same rows are read once.

        Args:
            wanted: the queries.
            rng: draws the rows of a second that has too many (training); None: the surest are taken.
        """
        import torch

        from models.heads.bank_context import BankWindows

        spec = self.spec
        rule = WindowRule(spec.window_s, spec.per_second, spec.mode)
        known: dict[tuple[str | None, int, int], int] = {(None, 0, 0): 0}
        read, of = list[BankWindow](), list[int]()
        for id_, instant_s in wanted:
            bank = self.index.banks.get(id_) if self.index else None
            if bank is None:
                of.append(0)
                continue
            seen_s = instant_s + bank.reach_s - spec.settle_s if spec.mode == "causal" else instant_s
            low, high = np.searchsorted(bank.t, window_bounds(seen_s, rule, bank.reach_s)).tolist()
            number = known.setdefault((id_, low, high), len(known))
            if number > len(read):
                assert self.index is not None
                read.append(read_window(self.index, id_, seen_s, rule, rng))
            of.append(number)
        rows, valid = np.zeros((1, 1, self.dim), np.float32), np.zeros((1, 1), bool)  # the first window is empty
        if read:
            stacked = stack_windows(read)
            filled = max(1, int(stacked.valid.sum(axis=1).max()))
            shape = ((1, 0), (0, 0), (0, 0))
            rows = np.pad(stacked.features[:, :filled].astype(np.float32), shape)
            valid = np.pad(stacked.valid[:, :filled], shape[:2])
        return BankWindows(torch.from_numpy(rows), torch.from_numpy(valid), torch.tensor(of, dtype=torch.int64))

    def of_snippets(
        self, videos: Sequence[InBank], length: int, rng: np.random.Generator | None = None
    ) -> "BankWindows":
        """The windows of all ``length`` snippets, equal parts of a video, of some videos, video by video."""
        middles = (np.arange(length) + 0.5) / length
        return self.windows(((video.id, float(at) * video.duration_s) for video in videos for at in middles), rng)

    def of_segments(
        self, segments: Iterable[tuple[InBank, "Tensor"]], rng: np.random.Generator | None = None
    ) -> "BankWindows":
        """The windows of segments, each with its video and ``[2]`` ends as fractions of that."""
        return self.windows(((video.id, float(ends.mean()) * video.duration_s) for video, ends in segments), rng)

    def missing(self, videos: Sequence[Video]) -> int:
        """How many of the videos have no bank."""
        return sum(self.index is None or video.id not in self.index.banks for video in videos)

    def context(self, feature_dim: int, training: Sequence[InBank] = ()) -> "BankContext":
        """A fresh module, weights from torch's global generator; rows standardised by those of some training videos."""
        from models.heads.bank_context import BankContext

        spec = self.spec
        made = BankContext(feature_dim, self.dim, spec.operator, spec.layers, spec.hidden, spec.dropout)
        some = training[:: max(1, len(training) // _STATISTICS)]
        windows = self.of_snippets(some, 2)
        if windows.valid.any():
            made.standardise.fit(windows.rows[windows.valid].T[None])
        return made


def open_banks(root: Path, videos: Sequence[Video], spec: ContextSpec, dim: int | None = None) -> Banks:
    """The banks of videos; one whose bank failed has none.

    Args:
        root: of the project.
        videos: that may have one.
        spec: what is seen.
        dim: features that a trained head expects; None: any.

    Raises:
        StageError: none of the videos has a bank, no bank has a row of the wanted kinds, or features of another size.
    """
    paths = _bank_index.bank_paths(root, videos)
    if not paths:
        raise StageError(
            f"head.context needs feature banks, and none of {len(videos)} videos has one in {_outputs.BANK}; "
            "run the stage `bank`, or set head.context=null and train the head again"
        )
    index = _bank_index.index_kinds(paths, spec.kinds, spec.min_score)
    if not index.rows:
        raise StageError(
            f"head.context.kinds = {', '.join(spec.kinds)}, min_score = {spec.min_score:g}: no row of the banks of "
            f"{len(paths)} videos is one of these; bank.kinds says what the stage `bank` keeps"
        )
    if dim not in (None, index.dim):
        raise StageError(
            f"the head was trained with banks of {dim} features; those in {_outputs.BANK} have {index.dim}"
        )
    return Banks(spec, index.dim, index)
