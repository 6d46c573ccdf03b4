"""Clips of the stage ``memory``: every second of a video, its labels, its short-term features, and its window of the bank.

Plain arrays until :func:`batch`. A video without a bank (its file failed) has no clips.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.datasets.bank_windows import BankIndex, WindowMode, WindowRule, index_banks, read_window, stack_windows
from pipeline.datasets.frame_labels import frame_labels
from pipeline.datasets.schema import Dataset, Video
from pipeline.run import kinds
from pipeline.run.artifacts import ArtifactError
from pipeline.run.params import Section
from stages import _outputs
from stages._bank_rows import RowKind, instants

if TYPE_CHECKING:
    from torch import Tensor


class Window(Section):
    """What is read from the bank, and which of a clip's own features are classified."""

    mode: WindowMode = Field("causal", description="causal: nothing after the clip; centred: half before, half after")
    settle_s: float = Field(1.0, ge=0, description="causal: younger rows are left out; tracks look so far ahead")
    kinds: tuple[RowKind, ...] = Field(("person", "object"), min_length=1, description="of rows of the bank")
    per_second: int = Field(5, ge=1, description="K, most rows of a second")
    min_score: float = Field(0.0, ge=0, le=1, description="of a row's detection")
    short: Literal["global", "person"] = Field(
        "global",
        description="a clip's own features: of the whole picture, or of each person (the highest answer counts)",
    )


class Variant(Section):
    """One of the models that are compared (table 7.1)."""

    operator: Literal["none", "sto", "nl", "avg", "max"] = Field(description="none: the 3D CNN's features alone")
    window_s: float | None = Field(None, gt=0, description="length of the window; none and sto have no window")
    lr: float | None = Field(None, gt=0, description="in place of the training's: a linear model takes a higher one")

    @model_validator(mode="after")
    def _window_where_read(self) -> "Variant":
        if (self.window_s is None) != (self.operator in ("none", "sto")):
            raise ValueError(
                f"operator {self.operator} and window_s {self.window_s}: none and sto have none, others one"
            )
        return self


class Ragged(NamedTuple):
    """Any number of rows for each of N clips: ``rows`` [M, D], those of clip n from ``first[n]`` to ``first[n + 1]``."""

    rows: NDArray[np.floating]
    first: NDArray[np.int64]

    def padded(self, chosen: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Rows of some clips ``[B, Q, D]``, zeros behind, and which are filled ``[B, Q]``; Q is at least 1."""
        count = self.first[chosen + 1] - self.first[chosen]
        filled = np.arange(max(1, int(count.max(initial=0)))) < count[:, None]
        table = np.zeros((*filled.shape, self.rows.shape[1]), np.float32)
        table[filled] = np.concatenate([self.rows[:0], *(self.rows[self.first[n] : self.first[n + 1]] for n in chosen)])
        return table, filled


@dataclass(frozen=True)
class Clips:
    """N clips of V videos.

    ``ids`` the videos; ``video`` [N] number of each clip's; ``t`` [N] middle of its second; ``seen_s`` [N] up to when its
    window reaches, or its middle; ``labels`` [N, C]; ``short`` what is classified; ``own`` the clip's tracked rows (STO).
    """

    ids: tuple[str, ...]
    video: NDArray[np.int64]
    t: NDArray[np.float64]
    seen_s: NDArray[np.float64]
    labels: NDArray[np.bool_]
    short: Ragged
    own: Ragged

    def __len__(self) -> int:
        return len(self.t)


def bank_paths(root: Path, videos: Sequence[Video]) -> dict[str, Path]:
    """The banks that there are, by video."""
    return {video.id: path for video, path in _outputs.existing(root, _outputs.BANK, videos).items()}


def index(paths: Mapping[str, Path], window: Window) -> BankIndex:
    """Index banks for the wanted kinds of rows; raises as :func:`index_banks`."""
    return index_banks(paths, min_score=window.min_score, classes=_names(next(iter(paths.values())), window.kinds))


def read_clips(root: Path, dataset: Dataset, videos: Sequence[Video], window: Window) -> Clips:
    """All clips of the videos that have a bank.

    Raises:
        ArtifactError: a bank without the rows that ``window.short`` names, or features that are not finite.
        ValueError: a label that is no class of the data set.
    """
    paths = bank_paths(root, videos)
    known = [video for video in videos if video.id in paths]
    classes = {name: i for i, name in enumerate(dataset.classes)}
    t, seen, labels, video_number = [], [], [np.zeros((0, len(classes)), bool)], []
    parts: dict[str, list[NDArray[np.floating]]] = {"short": [], "own": []}
    counts: dict[str, list[NDArray[np.int64]]] = {"short": [np.zeros(1, np.int64)], "own": [np.zeros(1, np.int64)]}
    for number, video in enumerate(known):
        with kinds.BANK.open(paths[video.id]) as reader:
            at, label, score = reader["t"], reader["label"], reader["score"]
            feature = reader["short" if "short" in reader else "feature"]
            duration, reach = reader.attributes["duration_s"], reader.attributes["window_s"] / 2
        if not np.isfinite(feature).all():
            raise ArtifactError(f"{paths[video.id]}: a short-term feature is not finite")
        middle = instants(duration)
        for name, wanted in (("short", (window.short,)), ("own", window.kinds)):
            names = _names(paths[video.id], wanted)
            mine = np.flatnonzero(np.isin(label, _numbers(paths[video.id], names)) & (score >= window.min_score))
            if name == "short" and window.short == "global" and len(mine) != len(middle):
                raise ArtifactError(f"{paths[video.id]}: has no rows of kind global; add it to bank.kinds")
            parts[name].append(feature[mine])
            counts[name].append(np.searchsorted(at[mine], middle, "right") - np.searchsorted(at[mine], middle, "left"))
        t.append(middle)
        seen.append(middle + reach - window.settle_s if window.mode == "causal" else middle)
        labels.append(frame_labels(video.segments, classes, middle).dense())
        video_number.append(np.full(len(middle), number, np.int64))
    none = np.zeros(0)
    return Clips(
        tuple(video.id for video in known),
        np.concatenate([none.astype(np.int64), *video_number]),
        np.concatenate([none, *t]),
        np.concatenate([none, *seen]),
        np.concatenate(labels),
        *(
            Ragged(np.concatenate(parts[name]) if known else np.zeros((0, 1)), np.cumsum(np.concatenate(counts[name])))
            for name in ("short", "own")
        ),
    )


def batch(
    clips: Clips,
    chosen: NDArray[np.int64],
    banks: BankIndex,
    window: Window,
    variant: Variant,
    rng: np.random.Generator | None = None,
) -> "tuple[Tensor, Tensor, Tensor, Tensor]":
    """``short`` [B, Q, D], ``present`` [B, Q], ``bank`` [B, M, D'], ``valid`` [B, M] of some clips.

    Columns of the window that no clip of the batch fills are cut off; masked padding has no part in anything.
    """
    import torch

    short, present = clips.short.padded(chosen)
    if variant.window_s is not None:
        rule = WindowRule(variant.window_s, window.per_second, window.mode)
        read = [read_window(banks, clips.ids[clips.video[n]], float(clips.seen_s[n]), rule, rng) for n in chosen]
        rows, valid, _ = stack_windows(read)
        filled = max(1, int(valid.sum(axis=1).max()))
        rows, valid = rows[:, :filled].astype(np.float32), valid[:, :filled]
    elif variant.operator == "sto":
        rows, valid = clips.own.padded(chosen)
    else:
        rows, valid = np.zeros((len(chosen), 1, banks.dim), np.float32), np.zeros((len(chosen), 1), bool)
    return torch.from_numpy(short), torch.from_numpy(present), torch.from_numpy(rows), torch.from_numpy(valid)


def _classes(path: Path) -> list[str]:
    with kinds.BANK.open(path) as reader:
        return list(reader.attributes["classes"].split(","))


def _names(path: Path, wanted: Sequence[RowKind]) -> list[str]:
    """Row classes of these kinds."""
    own = ("person", "grid", "global")
    return [name for name in _classes(path) if (name if name in own else "object") in wanted]


def _numbers(path: Path, names: Sequence[str]) -> list[int]:
    return [number for number, name in enumerate(_classes(path)) if name in names]
